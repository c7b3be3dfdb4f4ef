//! Firewalls as their makers leave them, and what comes to port 8443 through them.

use super::*;

const REDIRECTED: Packet = Packet { port: 8443, is_redirected: true };
const MARKED: Packet = Packet { port: 443, is_redirected: false };

/// Debian's ufw with ssh let in, shortened.
const UFW: &str = r#"*nat
:INPUT ACCEPT [0:0]
COMMIT
*filter
:INPUT DROP [3:180]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:ufw-after-input - [0:0]
:ufw-not-local - [0:0]
:ufw-skip-to-policy-input - [0:0]
:ufw-track-input - [0:0]
:ufw-user-input - [0:0]
:ufw-user-limit-accept - [0:0]
[9:540] -A INPUT -j ufw-before-input
[3:180] -A INPUT -j ufw-after-input
[3:180] -A INPUT -j ufw-track-input
[0:0] -A FORWARD -j ACCEPT
[0:0] -A ufw-before-input -i lo -j ACCEPT
[6:360] -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[0:0] -A ufw-before-input -m conntrack --ctstate INVALID -m comment --comment "bad -j ACCEPT" -j DROP
[0:0] -A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
[0:0] -A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
[3:180] -A ufw-before-input -j ufw-not-local
[0:0] -A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
[3:180] -A ufw-before-input -j ufw-user-input
[0:0] -A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
[3:180] -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
[0:0] -A ufw-not-local -j DROP
[0:0] -A ufw-skip-to-policy-input -j DROP
[0:0] -A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
[0:0] -A ufw-user-limit-accept -j ACCEPT
COMMIT
"#;

/// firewalld's, shortened: it lets in what was redirected.
const FIREWALLD: &str = r#"table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_INPUT_ZONES
		reject with icmpx admin-prohibited
	}

	chain filter_INPUT_ZONES {
		iifname "lan0" goto filter_IN_internal
		goto filter_IN_public
	}

	chain filter_IN_internal {
		tcp dport 22 ct state { new, untracked } accept
	}

	chain filter_IN_public {
		tcp dport 22 ct state { new, untracked } accept
		meta l4proto { icmp, ipv6-icmp } accept
	}
}
"#;

/// One as handbooks have it.
const NFT: &str = r#"table inet filter {
	set allowed {
		type inet_service
		elements = { 22, 80 }
	}

	chain input {
		type filter hook input priority filter; policy drop;
		ct state vmap { invalid : drop, established : accept, related : accept }
		iif "lo" accept
		ip protocol icmp accept
		icmpv6 type { nd-neighbor-solicit, nd-router-advert } accept
		tcp dport { 22, 80-90 } counter packets 3 bytes 180 accept
		udp dport 53 accept
		log prefix "dropped: accept " level info
	}

	chain output {
		type filter hook output priority filter; policy accept;
	}
}
"#;

/// Why the first packet is dropped in each chain where it comes in.
fn blocked(tool: &'static str, text: &str, packet: Packet) -> Vec<String> {
    let chains = chains(tool, text);
    let inputs = chains.iter().filter(|chain| chain.is_input);
    inputs.filter_map(|chain| chain.blocks(&chains, packet)).collect()
}

/// The text with a rule before another one.
fn with(text: &str, rule: &str, before: &str) -> String {
    assert!(text.contains(before), "{before}");
    text.replacen(before, &format!("{rule}\n{before}"), 1)
}

#[test]
fn firewalls_that_drop_are_known() {
    assert_eq!(blocked("iptables-save", UFW, REDIRECTED), ["its policy"]);
    // it is for no address of this machine
    assert_eq!(blocked("iptables-save", UFW, MARKED), ["-j DROP"]);
    assert_eq!(blocked("nft", NFT, REDIRECTED), ["its policy"]);
    assert_eq!(blocked("nft", FIREWALLD, REDIRECTED), [] as [&str; 0]);
    assert_eq!(blocked("nft", FIREWALLD, MARKED), ["reject with icmpx admin-prohibited"]);
    let without = FIREWALLD.replace("ct status dnat accept\n", "");
    assert_eq!(blocked("nft", &without, REDIRECTED), ["reject with icmpx admin-prohibited"]);
    assert_eq!(blocked("nft", &NFT.replace("policy drop", "policy accept"), REDIRECTED), [] as [&str; 0]);
}

#[test]
fn whatever_may_let_in_is_believed() {
    let ssh = "[0:0] -A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT";
    for (rule, is_in) in [
        ("-p tcp -m tcp --dport 8443 -j ACCEPT", true),
        ("-p tcp -m multiport --dports 80,8000:8999 -j ACCEPT", true),
        ("-p tcp -m tcp ! --dport 22 -j ACCEPT", true),
        ("-i eth1 -j ACCEPT", true),
        ("! -i lo -j ACCEPT", true),
        ("-s 10.0.0.0/8 -j ACCEPT", true),
        ("-m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT", true),
        ("-p tcp -m tcp --dport 8443 -m conntrack --ctstate DNAT -j ACCEPT", true),
        ("-m set --match-set friends src -j ufw-user-limit-accept", true),
        ("-g ufw-user-limit-accept", true),
        ("-j NFQUEUE --queue-num 0", true),
        ("-p udp -m udp --dport 8443 -j ACCEPT", false),
        ("-p tcp -m tcp --dport 8442 -j ACCEPT", false),
        ("! -p tcp -j ACCEPT", false),
        ("-p tcp -m tcp --dport 8443 -m conntrack --ctstate ESTABLISHED -j ACCEPT", false),
        ("-p tcp -m multiport ! --dports 8443,22 -j ACCEPT", false),
        ("-m comment --comment \"all -j ACCEPT\" -j LOG --log-prefix \"x\"", false),
        ("-m addrtype --dst-type BROADCAST -j ACCEPT", false),
        ("-p tcp -m tcp --dport 22 -j ufw-user-limit-accept", false),
    ] {
        let text = with(UFW, &format!("[0:0] -A ufw-user-input {rule}"), ssh);
        assert_eq!(blocked("iptables-save", &text, REDIRECTED).is_empty(), is_in, "{rule}");
    }
    for (rule, is_in) in [
        ("tcp dport 8443 accept", true),
        ("tcp dport { 80, 8000-8999 } accept", true),
        ("tcp dport @allowed accept", true),
        ("tcp dport != 22 accept", true),
        ("iifname \"lan0\" accept", true),
        ("iifname != \"lo\" accept", true),
        ("iifname vmap { \"lan0\" : accept, \"wan0\" : drop }", true),
        ("ct status dnat accept", true),
        ("meta l4proto tcp ct state new counter packets 1 bytes 60 accept", true),
        ("ip saddr 10.0.0.0/8 jump some", true),
        ("tcp dport vmap { 22 : accept, 8443 : accept }", true),
        ("accept", true),
        ("tcp dport 8442 accept comment \"8443\"", false),
        ("meta l4proto { udp, icmp } accept", false),
        ("ct state established,related accept", false),
        ("th dport 53 accept", false),
        ("tcp dport 22 jump some", false),
        ("counter packets 0 bytes 0 log prefix \"accept\"", false),
    ] {
        let text = format!(
            "{}table inet other {{\n\tchain some {{\n\t\taccept\n\t}}\n}}\n",
            with(NFT, rule, "udp dport 53 accept")
        );
        // of another table
        assert_eq!(blocked("nft", &text, REDIRECTED).is_empty(), is_in && !rule.contains("jump"), "{rule}");
        let text = with(&text, "chain some {\naccept\n}\n", "chain output {");
        assert_eq!(blocked("nft", &text, REDIRECTED).is_empty(), is_in, "{rule}");
    }
}

#[test]
fn only_what_drops_for_certain_drops() {
    let save = |rules: &str| format!("*filter\n:INPUT ACCEPT [0:0]\n:own - [0:0]\n{rules}\nCOMMIT\n");
    for (rules, is_blocked) in [
        ("-A INPUT -j REJECT --reject-with icmp-host-prohibited", true),
        ("-A INPUT -i wan0 -j DROP", false),
        ("-A INPUT -p tcp -j DROP", true),
        ("-A INPUT ! -i lo -p tcp -m tcp --dport 1024:65535 -j DROP", true),
        ("-A INPUT -i wan0 -j RETURN\n-A INPUT -j DROP", false),
        ("-A INPUT -j own\n-A own -s 10.0.0.0/8 -j RETURN\n-A own -j DROP", false),
        ("-A INPUT -j own\n-A own -i lo -j RETURN\n-A own -j DROP", true),
        ("-A INPUT -j own\n-A INPUT -j DROP\n-A own -j RETURN", true),
        ("-A INPUT -g own\n-A INPUT -j DROP\n-A own -j RETURN", false),
        ("-A INPUT -i wan0 -j own\n-A own -j DROP", false),
    ] {
        assert_eq!(!blocked("iptables-legacy-save", &save(rules), REDIRECTED).is_empty(), is_blocked, "{rules}");
    }
}

#[test]
fn the_command_that_lets_in_does() {
    for (tool, text) in [("iptables-save", UFW), ("nft", NFT)] {
        for packet in [REDIRECTED, MARKED] {
            let there = chains(tool, text);
            let chain =
                there.iter().find(|chain| chain.is_input && chain.table.ends_with("filter")).expect("there is one");
            let command = chain.opened(packet);
            let (command, _) = command.split_once(", and").expect("two parts");
            let text = match tool {
                "nft" => with(
                    text,
                    command.strip_prefix("nft insert rule inet filter input ").expect(command),
                    "iif \"lo\" accept",
                ),
                _ => with(
                    text,
                    &command.replace("iptables -t filter -I", "[0:0] -A"),
                    "[9:540] -A INPUT -j ufw-before-input",
                ),
            };
            assert_eq!(blocked(tool, &text, packet), [] as [&str; 0], "{command}");
        }
    }
}

#[test]
fn chains_that_two_tools_show_are_there_once() {
    let mut both = chains("iptables-save", UFW);
    let known = both.len();
    both.extend(chains(
        "nft",
        "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n",
    ));
    both.extend(chains("nft", NFT));
    forget_twins(&mut both);
    assert_eq!(both.len(), known + 2);
}
