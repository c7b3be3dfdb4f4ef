//! From up to down: what is asked to wait for a confirmation, what stands in the way, what breaks off, and what is said.

use crate::net::{Dial, Net, Ran, SCRIPT, TOOLS, expect_line};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

/// The variant of iptables that the machine has, and the backend that is asked for.
const WAYS: [(&str, &str); 3] = [("nft", "iptables"), ("legacy", "iptables"), ("nft", "nft")];

/// How many processes of this namespace wait for a confirmation.
fn guards(net: &Net) -> usize {
    let script = "for p in /proc/[0-9]*; do
        [ \"$(readlink $p/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ] || tr '\\0' ' ' <$p/cmdline || :; echo; done 2>/dev/null";
    net.sh(script).lines().filter(|line| line.contains("handyproxy-rules --take-back gateway ")).count()
}

// ---- a confirmation

#[test]
fn what_is_not_confirmed_is_taken_back() {
    for (variant, backend) in WAYS {
        for earlier in
            ["", "gateway up -i lo --dports 80 --exclude 192.0.2.0/24 --dns 5353", "gateway up --capture tproxy"]
        {
            let net = Net::new(variant);
            if !earlier.is_empty() {
                net.rules(&format!("{earlier} --backend {backend}")).ok();
            }
            let before = net.what_counts();
            net.stop_time();
            let up = net.rules(&format!("gateway up --backend {backend} --confirm 2s --dns-pool 198.18.0.0/15")).ok();
            up.says("taken back in 2 s");
            assert_ne!(net.what_counts(), before);
            net.until("somebody sleeps", |net| guards(net) == 1);
            net.pass_time();
            net.until("taken back", |net| net.what_counts() == before);
            net.until("the guard ends", |net| guards(net) == 0);
            assert_eq!(net.pass_time(), ["2"]);
        }
        // the same in real time
        let net = Net::new(variant);
        let before = net.what_counts();
        net.rules(&format!("gateway up --backend {backend} --confirm 1s")).ok();
        net.until("taken back", |net| net.what_counts() == before);
    }
}

#[test]
fn what_is_confirmed_stays() {
    for (variant, backend) in WAYS {
        let net = Net::new(variant);
        net.rules(&format!("gateway up --name a --backend {backend} --confirm=1m")).ok();
        let status = net.rules("status --porcelain").ok().stdout;
        let left: u32 = value(status.lines().next().expect("a line"), "confirm").parse().expect("a number");
        assert!((1..=60).contains(&left), "{status}");
        net.until("one guard", |net| guards(net) == 1);
        let up = net.everything();
        net.rules("confirm --name b").exits(1).says("nothing named b waits");
        net.rules("confirm --name a").ok().says("gateway a stays up");
        net.until("the guard ends", |net| guards(net) == 0);
        assert_eq!(net.everything(), up);
        assert!(net.rules("status --porcelain").ok().stdout.lines().all(|l| l.ends_with(" confirm=no")));
        net.rules("confirm --name a").exits(1);

        net.stop_time();
        net.rules(&format!("gateway up --name a --backend {backend} --confirm 1")).ok();
        net.rules("confirm --name a").ok();
        let up = net.everything();
        net.pass_time();
        net.until("the guard ends", |net| guards(net) == 0);
        assert_eq!(net.everything(), up);
    }
}

/// What was there before the first of two unconfirmed changes is what counts.
#[test]
fn unconfirmed_twice_goes_back_to_the_beginning() {
    let net = Net::new("nft");
    net.rules("gateway up --dports 80").ok();
    let before = net.what_counts();
    net.stop_time();
    net.rules("gateway up --dports 443 --confirm 60s").ok();
    net.rules("gateway up --backend nft --dports 25 --confirm 2s").ok();
    net.until("one guard", |net| guards(net) == 1);
    net.pass_time();
    net.until("taken back", |net| net.what_counts() == before);
}

#[test]
fn up_and_down_for_good_need_no_confirmation() {
    let net = Net::new("nft");
    let nothing = net.what_counts();
    net.stop_time();
    net.rules("gateway up --dports 443 --confirm 1s").ok();
    net.rules("gateway up --dports 80").ok().says("no longer waits");
    let up = net.what_counts();
    net.rules("gateway up --dports 443 --confirm 60s").ok();
    net.rules("gateway down").ok();
    assert_eq!(net.what_counts(), nothing);
    net.until("the guards end", |net| guards(net) == 0);
    net.rules("gateway up --dports 80").ok();
    net.pass_time();
    net.until("nobody waits", |net| guards(net) == 0);
    assert_eq!(net.what_counts(), up);
}

/// As when ssh breaks off because of what was just loaded.
#[test]
fn the_way_back_outlives_the_terminal() {
    for (variant, backend) in WAYS {
        let net = Net::new(variant);
        let before = net.what_counts();
        net.stop_time();
        let mut terminal = net.command("script");
        terminal.args([
            "-qec",
            &format!("{SCRIPT} gateway up --backend {backend} --confirm 3s 2>/dev/null; echo up; /bin/sleep 100"),
        ]);
        let mut terminal =
            terminal.arg("/dev/null").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("spawn script");
        expect_line(&mut terminal, "up");
        assert_ne!(net.what_counts(), before);
        // no signal of the terminal's, nor one to the group of what runs there, can reach it
        let guard = net.sh("sed -n 's/^#pid //p' /run/handyproxy-rules/*.confirm");
        let stat = net.sh(&format!("cat /proc/{}/stat", guard.trim()));
        let fields: Vec<&str> = stat.split_whitespace().collect();
        let [group, session, terminal_of_it] = [4, 5, 6].map(|at| fields[at]);
        assert_eq!([group, session, terminal_of_it], [guard.trim(), guard.trim(), "0"], "{stat}");
        terminal.kill().expect("kill the terminal");
        terminal.wait().expect("wait");
        net.pass_time();
        net.until("taken back", |net| net.what_counts() == before);
    }
}

#[test]
fn the_caller_need_not_wait_for_the_way_back() {
    let net = Net::new("nft");
    net.stop_time();
    // its output is a pipe, which the guard must not hold open, or this would not come back
    net.rules("gateway up --confirm 60s").ok();
    net.until("the guard waits", |net| guards(net) == 1);
    net.rules("gateway down").ok();
}

// ---- what stands in the way

#[test]
fn a_foreign_chain_of_our_name_is_refused() {
    for variant in ["nft", "legacy"] {
        for (tool, table) in
            [("iptables", "nat"), ("ip6tables", "nat"), ("iptables", "mangle"), ("ip6tables", "filter")]
        {
            for rule in [
                "HANDYPROXY_GW_gw -j ACCEPT",
                "HANDYPROXY_GW_gw -m comment --comment mine",
                // it only counts
                "HANDYPROXY_GW_gw",
                "OUTPUT -j HANDYPROXY_GW_gw",
            ] {
                let net = Net::new(variant);
                net.sh(&format!("{tool} -w -t {table} -N HANDYPROXY_GW_gw"));
                net.sh(&format!("{tool} -w -t {table} -A {rule}"));
                let before = net.what_counts();
                for command in
                    ["gateway up", "gateway up --backend nft", "gateway up --confirm 9s", "gateway down", "down"]
                {
                    let ran = net.rules(&format!("{command} --name gw")).exits(1);
                    ran.says("HANDYPROXY_GW_gw");
                    ran.says(table);
                    ran.says("not ours");
                    assert_eq!(net.what_counts(), before, "{tool} {table} {command}");
                }
                net.rules("gateway up --name other").ok();
            }
        }
    }
}

/// As after `iptables -t nat -F`, where somebody's own rule is added before we are asked.
#[test]
fn rules_of_others_that_use_an_emptied_chain_are_named() {
    for (variant, backend) in [("nft", "iptables"), ("legacy", "auto")] {
        let net = Net::new(variant);
        let nothing = net.what_counts();
        net.rules(&format!("gateway up --name gw --backend {backend}")).ok();
        net.sh("iptables -w -t nat -F; iptables -w -t nat -A PREROUTING -p tcp --dport 99 -j HANDYPROXY_GW_gw");
        let before = net.what_counts();
        let named = |ran: &Ran| {
            ran.says("these rules are not ours, but use our chain HANDYPROXY_GW_gw in the IPv4 nat table");
            ran.says("-A PREROUTING -p tcp -m tcp --dport 99 -j HANDYPROXY_GW_gw");
            assert!(!ran.stderr.contains("another --name"), "{}", ran.stderr);
        };
        let up = net.rules("gateway up --name gw").exits(1);
        named(&up);
        up.says("nothing was changed");
        assert_eq!(net.what_counts(), before);
        net.rules("gateway down --name gw --dry-run").exits(1);
        assert_eq!(net.what_counts(), before);
        for down in ["gateway down", "down"] {
            named(&net.rules(&format!("{down} --name gw")).exits(1));
            let left = net.what_counts();
            assert_eq!(left.matches("HANDYPROXY_GW_gw").count(), 1, "the other's rule alone: {left}");
        }
        net.sh("iptables -w -t nat -D PREROUTING -p tcp --dport 99 -j HANDYPROXY_GW_gw");
        net.rules("down --name gw").ok().silent();
        assert_eq!(net.what_counts(), nothing);
        assert!(!net.everything().contains("HANDYPROXY"), "{}", net.everything());
    }
}

#[test]
fn a_foreign_table_of_our_name_is_refused() {
    for content in [
        "",
        "chain gateway4_nat {\n}",
        "chain x { type filter hook input priority 0; tcp dport 1 accept comment \"mine\"\n}",
    ] {
        let net = Net::new("nft");
        net.sh(&format!("nft 'table inet handyproxy-gw {{ {content}\n}}'"));
        let before = net.everything();
        for command in ["gateway up", "gateway up --backend nft", "gateway down", "down"] {
            net.rules(&format!("{command} --name gw")).exits(1).says("nft table inet handyproxy-gw is not ours");
            assert_eq!(net.everything(), before, "{command}");
        }
        net.rules("status").exits(3);
    }
}

#[test]
fn a_load_that_nft_refuses_changes_nothing() {
    let net = Net::new("nft");
    net.rules("gateway up --backend nft --dports 80 --name a").ok();
    net.rules("gateway up --backend iptables --dports 80 --name b").ok();
    let before = net.everything();
    // the last rule is broken: all before it must not count
    net.replace("nft", "#!/bin/sh\ncase $1 in -f) { cat; echo 'add rule inet nowhere x'; } | /usr/sbin/nft -f - ;; *) exec /usr/sbin/nft \"$@\" ;; esac\n");
    for up in [
        "gateway up --name a",
        "gateway up --name b --backend nft",
        "gateway up --name c --backend nft --capture tproxy",
    ] {
        let ran = net.rules(up).exits(1);
        ran.says("loading the nft rules failed");
        ran.says("nothing was changed");
        assert_eq!(net.everything(), before, "{up}");
    }
}

#[test]
fn a_failure_takes_the_policy_routing_back() {
    for variant in ["nft", "legacy"] {
        let net = Net::new(variant);
        let before = net.what_counts();
        net.replace("ip6tables-restore", "#!/bin/sh\ncat >/dev/null\necho 'line 3 failed' >&2; exit 1\n");
        net.rules("gateway up --capture tproxy").exits(1).says("nothing was changed");
        assert_eq!(net.what_counts(), before);
        net.rules("gateway up --capture tproxy --confirm 60s").exits(1).says("nothing was changed");
        assert_eq!(net.what_counts(), before);
        net.until("no guard is left", |net| guards(net) == 0);
    }
}

// ---- broken off

#[test]
fn what_was_killed_half_way_is_mended() {
    for (variant, backend) in WAYS {
        let options = format!("--backend {backend} --capture tproxy --dns 5353");
        let [fresh, untouched] = [Net::new(variant), Net::new(variant)];
        fresh.rules(&format!("gateway up {options}")).ok();
        let nothing = untouched.what_counts();
        for victim in ["iptables-restore", "ip6tables-restore", "nft", "ip"] {
            for mend in ["up", "down"] {
                let net = Net::new(variant);
                let real = if victim == "ip" {
                    "/usr/sbin/ip".into()
                } else {
                    fs::read_link(net.tools.join(victim)).expect("a link")
                };
                if victim == "ip" {
                    symlink(&real, net.tools.join(victim)).expect("link ip");
                }
                // does its work, and the script never hears of it
                let change = "case \" $* \" in *' -f '*|*' -w '*|*' add '*) ;; *) exec $r \"$@\" ;; esac";
                net.replace(victim, &format!("#!/bin/sh\nr={}\n{change}\n$r \"$@\"; kill -9 $PPID\n", real.display()));
                let ran = net.rules(&format!("gateway up {options}"));
                let concerned = match victim {
                    "nft" => backend == "nft",
                    "ip" => true,
                    _ => backend == "iptables",
                };
                assert_eq!(ran.code.is_none(), concerned, "{victim} {backend}: {ran:?}");
                net.link_tools(variant);
                let _ = fs::remove_file(net.tools.join("ip"));
                match mend {
                    "up" => {
                        net.rules(&format!("gateway up {options}")).ok();
                        assert_eq!(net.what_counts(), fresh.what_counts(), "{victim} {backend}");
                    }
                    _ => {
                        net.rules("down --name 8443").ok();
                        assert_eq!(net.what_counts(), nothing, "{victim} {backend}");
                    }
                }
            }
        }
    }
}

#[test]
fn down_by_name_takes_everything_of_that_name_everywhere() {
    let net = Net::new("nft");
    let before = net.what_counts();
    net.rules("gateway up --name x --capture tproxy").ok();
    net.rules("local up --name x --backend nft").ok();
    net.rules("gateway up --name y --backend nft --port 8044").ok();
    // the other variant, as after update-alternatives
    net.link_tools("legacy");
    net.rules("gateway up --name z --port 8045 --backend iptables").ok();
    net.link_tools("nft");
    let status = net.rules("status --porcelain").ok().stdout;
    let backends: Vec<_> = status.lines().map(|l| format!("{} {}", value(l, "name"), value(l, "backend"))).collect();
    let expected = [
        "x iptables-nft",
        "x iptables-nft",
        "x nft",
        "x nft",
        "y nft",
        "y nft",
        "z iptables-legacy",
        "z iptables-legacy",
    ];
    let mut sorted = backends.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
    net.rules("down --name x").ok().silent();
    net.rules("down --name z").ok().silent();
    net.rules("down --name nobody").ok().silent();
    let status = net.rules("status --porcelain").ok().stdout;
    assert!(status.lines().all(|l| value(l, "name") == "y") && status.lines().count() == 2, "{status}");
    net.rules("gateway down --name y").ok().silent();
    assert_eq!(net.what_counts(), before);
    // one table of nft for both modes
    for mode in ["gateway", "local"] {
        net.rules(&format!("{mode} up --name x --backend nft")).ok();
    }
    net.rules("down --name x").ok().silent();
    assert_eq!(net.what_counts(), before);
    net.rules("gateway up --name x --backend nft").ok().silent();
}

// ---- which backend

fn backend_of(net: &Net) -> String {
    let status = net.rules("status --porcelain").ok().stdout;
    value(status.lines().next().expect("a line"), "backend").to_owned()
}

#[test]
fn auto_takes_the_backend_that_the_machine_uses() {
    let firewall = "nft 'table inet firewall { chain input { type filter hook input priority 0; policy accept; }; }'";
    let rows = [
        ("nft", "", "iptables-nft"),
        ("legacy", "", "iptables-legacy"),
        ("nft", firewall, "nft"),
        ("legacy", firewall, "nft"),
        ("nft", "iptables -w -A INPUT -j ACCEPT", "iptables-nft"),
        ("nft", &format!("{firewall}; ip6tables -w -A INPUT -j ACCEPT"), "iptables-nft"),
        ("legacy", &format!("{firewall}; iptables -w -P FORWARD DROP"), "iptables-legacy"),
        // what iptables-nft cannot read
        (
            "nft",
            "nft 'table ip nat { chain mine { type nat hook prerouting priority -100; }; set s { type ipv4_addr; }; }'",
            "nft",
        ),
    ];
    for (variant, machine, backend) in rows {
        let net = Net::new(variant);
        net.sh(if machine.is_empty() { ":" } else { machine });
        let printed = net.rules("gateway print").ok().stdout;
        net.rules("gateway up").ok();
        assert_eq!(backend_of(&net), backend, "{variant} {machine}");
        assert_eq!(printed.starts_with("add table inet"), backend == "nft", "{printed}");
    }
}

#[test]
fn auto_stays_where_the_instance_is() {
    for (variant, first) in [("nft", "iptables"), ("nft", "nft")] {
        let net = Net::new(variant);
        net.rules(&format!("gateway up --backend {first}")).ok();
        net.sh("iptables -w -A INPUT -j ACCEPT; nft add table inet firewall");
        let before = net.everything();
        net.rules("gateway up").ok();
        assert_eq!(net.everything(), before, "{first}");
    }
    // update-alternatives in between
    let net = Net::new("legacy");
    net.rules("gateway up").ok();
    net.link_tools("nft");
    net.rules("gateway up --dports 80").ok();
    assert_eq!(backend_of(&net), "iptables-legacy");
    // and a change of backend leaves nothing behind
    for backend in ["nft", "iptables"] {
        net.rules(&format!("gateway up --backend {backend}")).ok();
        assert_eq!(net.rules("status --porcelain").ok().stdout.lines().count(), 2, "{backend}");
    }
    assert_eq!(backend_of(&net), "iptables-nft");
    net.rules("gateway down").ok();
    assert!(!net.everything().contains("HANDYPROXY"), "{}", net.everything());
}

#[test]
fn without_iptables_there_is_nft() {
    let net = Net::new("nft");
    for tool in TOOLS.iter().filter(|tool| **tool != "nft") {
        fs::remove_file(net.tools.join(tool)).expect("remove the link");
    }
    let real = fs::read_link(net.tools.join("nft")).expect("a link");
    net.sh("cp /usr/sbin/nft /usr/sbin/ip /run/; mkdir /run/empty; for d in /usr/local/sbin /usr/sbin /sbin; do mount --bind /run/empty $d; done");
    assert!(real.ends_with("nft"));
    net.replace("nft", "#!/bin/sh\nexec /run/nft \"$@\"\n");
    net.rules("gateway up --backend iptables").exits(1).says("iptables is not installed");
    net.rules("gateway up").ok().silent();
    assert_eq!(backend_of(&net), "nft");
    net.rules("gateway down").ok().silent();
    net.rules("status").exits(3);
}

/// As a kernel started with ipv6.disable=1 has it.
#[test]
fn without_ipv6_one_line_says_so_and_ipv4_goes_on() {
    for (variant, backend) in WAYS {
        let net = Net::new(variant);
        net.sh("mkdir /run/proc /run/net; mount --rbind /proc /run/proc; mount -t tmpfs tmpfs /run/net
            for f in $(ls /run/proc/self/net); do [ $f = if_inet6 ] || ln -s /run/proc/self/net/$f /run/net/$f; done
            mount -t tmpfs tmpfs /proc
            for f in $(ls /run/proc); do [ $f = net ] || ln -s /run/proc/$f /proc/$f; done; ln -s /run/net /proc/net");
        let up = net.rules(&format!("gateway up --backend {backend}")).ok();
        assert_eq!(
            up.stderr,
            "handyproxy-rules: IPv6 left out, its connections are not redirected: this machine has no IPv6\n"
        );
        let status = net.rules("status --porcelain").ok().stdout;
        assert!(status.lines().count() == 1 && status.contains(" family=4 "), "{status}");
        net.rules(&format!("gateway up -6 --backend {backend}")).exits(1).says("this machine has no IPv6");
        net.rules("gateway down").ok().silent();
        net.rules("status").exits(3);
    }
}

// ---- what is said

fn value<'a>(line: &'a str, key: &str) -> &'a str {
    let word = line.split(' ').find_map(|word| word.strip_prefix(&format!("{key}=")));
    word.unwrap_or_else(|| panic!("no {key}= in {line}"))
}

#[test]
fn status_counts_what_was_caught() {
    for (variant, backend, label) in
        [("nft", "iptables", "iptables-nft"), ("legacy", "iptables", "iptables-legacy"), ("nft", "nft", "nft")]
    {
        let [client, gateway] = [Net::new(variant), Net::new(variant)];
        client.link(
            "c0",
            ["198.51.100.2/24", "2001:db8:7::2/64"],
            &gateway,
            "lan0",
            ["198.51.100.1/24", "2001:db8:7::1/64"],
        );
        client.default_routes("198.51.100.1", "2001:db8:7::1");
        gateway.sh("ip route add default dev lan0; ip -6 route add default dev lan0
            echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
        gateway.serve(8443, "caught");
        gateway.serve(5353, "resolver");
        for host in ["198.51.100.1", "[2001:db8:7::1]"] {
            gateway.serve_udp(&format!("{host}:5353"), "resolver");
        }
        let nothing = gateway.rules("status").exits(3);
        assert_eq!((nothing.stdout.as_str(), nothing.stderr.as_str()), ("nothing is up\n", ""));
        assert_eq!(gateway.rules("status --porcelain").exits(3).stdout, "");
        gateway
            .rules(&format!("gateway up --name gw --backend {backend} -i lan0 -i wlan+ --dns 5353"))
            .ok()
            .says("no interface wlan+");
        gateway.rules(&format!("local up --name me --port 9000 --backend {backend} --quic leave")).ok().silent();
        for _ in 0..3 {
            client.hears("203.0.113.9:80", Dial::default());
        }
        client.hears("[2001:db8:9::9]:80", Dial::default());
        client.hears("203.0.113.9:53", Dial::default());
        client.asks("203.0.113.9:53").expect("an answer");
        client.asks("[2001:db8:9::9]:443").expect_err("QUIC is refused");
        let porcelain = gateway.rules("status --porcelain").ok();
        let line = |rest: &str| format!("{}\n", rest.replace("BACKEND", label));
        let gw = "port=8443 capture=redirect backend=BACKEND";
        // cksum(1) of the sorted words, its last five digits
        let sum = |words: &str| {
            let sum: u32 =
                gateway.sh(&format!("printf '{words}' | cksum | cut -d' ' -f1")).trim().parse().expect("a sum");
            format!("{:05}", sum % 100_000)
        };
        let (lan, mark) = (sum("lan0\\nwlan+\\n"), sum("104\\n"));
        let expected = [
            line(&format!(
                "name=gw mode=gateway {gw} family=4 interfaces=lan0,wlan+ captured=3 quic=reject quic_rejected=0 dns=5353 dns_captured=2 sums={lan},-,-,-,-,-,-,- confirm=no"
            )),
            line(&format!(
                "name=gw mode=gateway {gw} family=6 interfaces=lan0,wlan+ captured=1 quic=reject quic_rejected=1 dns=5353 dns_captured=0 sums={lan},-,-,-,-,-,-,- confirm=no"
            )),
            line(&format!(
                "name=me mode=local port=9000 capture=redirect backend=BACKEND family=4 interfaces=all captured=0 quic=leave quic_rejected=0 dns=no dns_captured=0 sums=-,-,-,-,-,-,{mark},- confirm=no",
            )),
            line(&format!(
                "name=me mode=local port=9000 capture=redirect backend=BACKEND family=6 interfaces=all captured=0 quic=leave quic_rejected=0 dns=no dns_captured=0 sums=-,-,-,-,-,-,{mark},- confirm=no",
            )),
        ];
        assert_eq!(porcelain.stdout, expected.concat());
        assert_eq!(porcelain.stderr, "");
        let human = gateway.rules("status --name gw").ok().stdout;
        assert_eq!(
            human.lines().next(),
            Some(&*format!(
                "gw: gateway, IPv4, {label}, from lan0, wlan+: redirect to port 8443, 3 packets; QUIC refused, 0 packets; DNS to port 5353, 2 packets"
            ))
        );
        assert_eq!(human.lines().count(), 2);
        assert_eq!(gateway.rules("local status").ok().stdout.lines().count(), 2);
        gateway.rules("status --name other").exits(3);
        assert_eq!(gateway.rules("status --name other").stdout, "nothing is up under the name other\n");
    }
}

/// As after `iptables -t nat -F`: what is left of us holds nothing that could be somebody's.
#[test]
fn rules_that_were_flushed_come_up_and_go_down() {
    for (variant, options) in
        [("nft", "--quic leave"), ("legacy", "--quic leave"), ("nft", ""), ("legacy", "--capture tproxy")]
    {
        let net = Net::new(variant);
        let flush = "for t in nat mangle; do iptables -w -t $t -F; ip6tables -w -t $t -F; done";
        // to look into a table makes it
        net.sh(flush);
        let before = net.saved_with_tables();
        let up = format!("gateway up --backend iptables {options}");
        net.rules(&up).ok();
        let whole = net.saved();
        net.sh(flush);
        net.rules(&up).ok();
        assert_eq!(net.saved(), whole, "{variant} {options}");
        net.sh(flush);
        net.rules("gateway down").ok();
        assert_eq!(net.saved_with_tables(), before, "{variant} {options}");
    }
}

/// The same after `nft flush table`; a chain in it that is not ours makes it somebody's.
#[test]
fn a_table_that_was_flushed_comes_up_and_goes_down() {
    for options in ["", "--capture tproxy --dns 5353"] {
        let net = Net::new("nft");
        let before = net.everything();
        let up = format!("gateway up --backend nft {options}");
        net.rules(&up).ok();
        let whole = net.everything();
        net.sh("nft flush table inet handyproxy-8443");
        net.rules("status").exits(3);
        net.rules(&up).ok();
        assert_eq!(net.everything(), whole, "{options}");
        net.sh("nft flush table inet handyproxy-8443");
        net.rules("gateway down").ok();
        assert_eq!(net.everything(), before, "{options}");
        for mine in ["chain inet handyproxy-8443 mine", "set inet handyproxy-8443 mine { type ipv4_addr; }"] {
            net.rules(&up).ok();
            net.sh(&format!("nft flush table inet handyproxy-8443; nft add '{mine}'"));
            let before = net.everything();
            for command in [&up, "gateway down", "down --name 8443"] {
                net.rules(command).exits(1).says("nft table inet handyproxy-8443 is not ours");
                assert_eq!(net.everything(), before, "{mine}");
            }
            net.sh("nft delete table inet handyproxy-8443");
        }
    }
}

/// As after `iptables -F PREROUTING`: a chain that nothing jumps to catches nothing.
#[test]
fn status_tells_only_what_is_in_force() {
    for variant in ["nft", "legacy"] {
        let net = Net::new(variant);
        net.rules("gateway up --backend iptables").ok();
        net.sh("iptables -w -t nat -F PREROUTING");
        let status = net.rules("status --porcelain").ok().stdout;
        assert!(status.lines().count() == 1 && status.contains(" family=6 "), "{status}");
        net.rules("gateway up").ok();
        assert_eq!(net.rules("status --porcelain").ok().stdout.lines().count(), 2);
    }
}

/// What the status says of a key, of each family.
fn told(net: &Net, key: &str) -> Vec<String> {
    let status = net.rules("status --porcelain").ok().stdout;
    status.lines().map(|line| value(line, key).to_owned()).collect()
}

/// As after `iptables -F FORWARD`: browsers go past the proxy, though TCP is caught as before.
#[test]
fn status_tells_that_nothing_refuses_quic_any_more() {
    let legs = [
        ("nft", "iptables", "iptables -w -F FORWARD"),
        ("nft", "iptables", "iptables -w -F"),
        ("nft", "iptables", "iptables -w -F; iptables -w -X"),
        ("legacy", "iptables", "iptables -w -F FORWARD"),
        ("legacy", "iptables", "iptables -w -F HANDYPROXY_GW_8443"),
        ("nft", "nft", "nft flush chain inet handyproxy-8443 gateway4_filter"),
        ("nft", "nft", "nft delete chain inet handyproxy-8443 gateway4_filter"),
    ];
    for (variant, backend, breaks) in legs {
        let quic = |net: &Net| told(net, "quic");
        for options in ["", "--dports 80,400-500", "--capture tproxy"] {
            let net = Net::new(variant);
            net.rules(&format!("gateway up --backend {backend} {options}")).ok();
            assert_eq!(quic(&net), ["reject", "reject"], "{breaks} {options}");
            net.sh(breaks);
            assert_eq!(quic(&net), ["missing", "reject"], "{breaks} {options}");
            let human = net.rules("status").ok().stdout;
            assert!(human.lines().next().is_some_and(|line| line.contains("QUIC passes by, for")), "{human}");
            net.rules(&format!("gateway up {options}")).ok();
            assert_eq!(quic(&net), ["reject", "reject"], "{breaks} {options}");
        }
        // what is not caught by TCP is not refused by UDP either
        let net = Net::new(variant);
        net.rules(&format!("gateway up --backend {backend} --dports 80,8000-8999")).ok();
        assert_eq!(quic(&net), ["reject", "reject"]);
    }
}

/// With TPROXY names are caught in another table than connections: as after `iptables -t nat -F` there.
#[test]
fn status_tells_that_nothing_catches_dns_any_more() {
    let legs = [
        ("nft", "iptables", "iptables -w -t nat -F PREROUTING"),
        ("legacy", "iptables", "iptables -w -t nat -F"),
        ("nft", "nft", "nft flush chain inet handyproxy-8443 gateway4_nat"),
        ("nft", "nft", "nft delete chain inet handyproxy-8443 gateway4_nat"),
    ];
    for (variant, backend, breaks) in legs {
        let net = Net::new(variant);
        let dns = || told(&net, "dns");
        let up = format!("gateway up --backend {backend} --capture tproxy --dns 5353");
        net.rules(&up).ok();
        assert_eq!(dns(), ["5353", "5353"], "{breaks}");
        net.sh(breaks);
        assert_eq!(dns(), ["missing", "5353"], "{breaks}");
        let human = net.rules("status").ok().stdout;
        assert!(human.lines().next().is_some_and(|line| line.contains("DNS passes by, for")), "{human}");
        net.rules(&up).ok();
        assert_eq!(dns(), ["5353", "5353"], "{breaks}");
    }
}

#[test]
fn what_is_printed_is_what_up_loads() {
    let options = "-i lo -i br-+ --from 10.0.5.0/24 --from fd00:5::/64 --dports 80,443,8000-8999 --exclude 192.0.2.0/24 --dns 5353 --dns-pool 198.18.0.0/15";
    for (variant, backend) in WAYS {
        for extra in ["", "--capture tproxy --private", "--quic leave --port 8044"] {
            let [printed, done] = [Net::new(variant), Net::new(variant)];
            let before = printed.everything();
            for (flag, tool) in [("-4", "iptables"), ("-6", "ip6tables")] {
                let print = printed.rules(&format!("gateway print {options} {extra} {flag} --backend {backend}")).ok();
                if flag == "-4" {
                    assert_eq!(printed.everything(), before);
                }
                let path = printed.tools.join("printed");
                fs::write(&path, &print.stdout).expect("write what was printed");
                match backend {
                    "nft" => printed.sh(&format!("nft -f {}", path.display())),
                    _ => printed.sh(&format!("{tool}-restore -w --noflush {}", path.display())),
                };
                // routing is not the backend's language, so it is told in comments
                for line in print.stdout.lines().filter_map(|line| line.strip_prefix("# ip ")) {
                    printed.sh(&format!("ip {line}"));
                }
            }
            done.rules(&format!("gateway up {options} {extra} --backend {backend}")).ok();
            assert_eq!(printed.everything(), done.everything(), "{backend} {extra}");
        }
    }
}

#[test]
fn up_and_down_of_every_option_leave_no_trace() {
    for (variant, backend) in WAYS {
        let [used, untouched] = [Net::new(variant), Net::new(variant)];
        for net in [&used, &untouched] {
            net.foreign_rules();
            net.sh("nft add table inet firewall; ip rule add fwmark 0x1/0xff lookup 100");
            net.sh("for t in iptables ip6tables; do $t -w -t mangle -N MADE; $t -w -t mangle -X MADE; done");
        }
        let before = used.everything();
        for options in [
            "gateway up --name a --from 10.0.5.0/24 --from fd00:5::/64 --exclude 192.0.2.1 --dns 5353",
            "gateway up --name b --capture tproxy --private --dns-pool 198.18.0.0/15 --dns 5354 --port 8044",
            "local up --name c --dns 5353 --quic leave --mark 5",
            "local up --name c --dns 5353 --mark 5",
            "gateway up --name b --port 8044 -4",
        ] {
            used.rules(&format!("{options} --backend {backend}")).ok();
            let once = used.everything();
            assert_ne!(once, before);
            used.rules(&format!("{options} --backend {backend}")).ok();
            assert_eq!(used.everything(), once, "{options}");
        }
        for name in ["a", "b", "c"] {
            used.rules(&format!("down --name {name}")).ok().silent();
        }
        assert_eq!(used.everything(), before, "{backend}");
        assert_eq!(used.everything(), untouched.everything(), "{backend}");
        if variant == "nft" {
            // to ask legacy would load its modules, and make iptables-nft warn for ever
            assert_eq!(used.sh("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names"), "");
        }
    }
}

#[test]
fn an_interface_that_is_not_there_is_noted() {
    let net = Net::new("nft");
    net.interfaces("eth1 wlan7");
    net.rules("gateway up -i eth1 -i wlan+").ok().silent();
    let up = net.rules("gateway up -i eth1 -i eth -i wlan1 -i br-+").ok();
    let missing: Vec<_> =
        up.stderr.lines().filter_map(|l| l.split("no interface ").nth(1)?.split(' ').next()).collect();
    assert_eq!(missing, ["eth", "wlan1", "br-+"]);
    assert!(net.saved().contains("-i br-+"));
}

/// What OpenWrt has: the shell and every small tool are busybox.
#[test]
fn busybox_does_it_as_well() {
    let busybox = Path::new("/usr/bin/busybox");
    assert!(busybox.exists(), "busybox is not there: install the package of that name");
    for (variant, backend) in WAYS {
        let [small, large] = [Net::new(variant), Net::new(variant)];
        for tool in
            ["sh", "awk", "sed", "grep", "sort", "tr", "mkdir", "rm", "mv", "sleep", "setsid", "head", "id", "cat"]
        {
            symlink(busybox, small.tools.join(tool)).expect("link busybox");
        }
        let run = |net: &Net, words: &str| {
            let mut command =
                if std::ptr::eq(net, &raw const small) { net.command("busybox") } else { net.command("dash") };
            if std::ptr::eq(net, &raw const small) {
                command.arg("ash");
            }
            Ran::of(command.arg(SCRIPT).args(words.split(' ')).output().expect("run the script"))
        };
        for command in [
            "gateway up --from 10.0.5.0/24 --from fd00:5:: --exclude 192.0.2.1 --dns 5353 --dports 80,443",
            "gateway up --name t --capture tproxy --port 8044",
            "local up --uid nobody",
            "status",
            "status --porcelain",
            "gateway down",
            "gateway up --name t --port 8044 --confirm 60s",
            "confirm --name t",
            "down --name 8443",
            "gateway up --port 0 --from x",
        ] {
            let command =
                if command.contains(" up ") { format!("{command} --backend {backend}") } else { command.to_owned() };
            let [with, without] = [run(&small, &command), run(&large, &command)];
            assert_eq!(
                (with.code, &with.stdout, &with.stderr),
                (without.code, &without.stdout, &without.stderr),
                "{command}"
            );
            assert_eq!(small.everything(), large.everything(), "{command}");
        }
    }
}

/// Three terminals and a unit at the same moment.
#[test]
fn instances_of_either_backend_brought_up_at_once_all_arrive() {
    let net = Net::new("nft");
    let started: Vec<_> = (1..=6)
        .map(|n| {
            let backend = if n % 2 == 0 { "nft" } else { "iptables" };
            let port = (9000 + n).to_string();
            net.script(&["gateway", "up", "--capture", "tproxy", "--backend", backend, "--port", &port])
                .spawn()
                .expect("spawn sh")
        })
        .collect();
    for child in started {
        Ran::of(child.wait_with_output().expect("wait")).ok().silent();
    }
    assert_eq!(net.rules("status --porcelain").ok().stdout.lines().count(), 12);
    assert_eq!(net.sh("ip rule; ip -6 rule").matches("26729").count(), 2);
    let started: Vec<_> =
        (9001..=9006).map(|n| net.script(&["down", "--name", &n.to_string()]).spawn().expect("spawn sh")).collect();
    for child in started {
        Ran::of(child.wait_with_output().expect("wait")).ok().silent();
    }
    net.rules("status").exits(3);
    assert!(!net.everything().contains("26729"));
}

/// Two of us at once would plan from the same state.
#[test]
fn one_waits_for_the_other() {
    let net = Net::new("nft");
    let before = net.what_counts();
    let mut holder = net.command("sh");
    holder.args([
        "-c",
        "mkdir -p /run/handyproxy-rules; exec flock /run/handyproxy-rules/lock sh -c 'echo held; exec cat'",
    ]);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("spawn flock");
    expect_line(&mut holder, "held");
    let mut script = net.script(&["gateway", "up"]).spawn().expect("spawn the script");
    thread::sleep(Duration::from_secs(1));
    assert_eq!((script.try_wait().expect("wait"), net.what_counts()), (None, before));
    drop(holder.stdin.take());
    holder.wait().expect("wait for flock");
    Ran::of(script.wait_with_output().expect("wait for the script")).ok().silent();
    assert_eq!(net.rules("status --porcelain").ok().stdout.lines().count(), 2);
}

#[test]
fn status_and_confirm_without_privileges_say_so() {
    let net = Net::new("nft");
    net.rules("gateway up --confirm 60s").ok();
    for command in ["status", "confirm", "down --name 8443", "gateway up --backend nft"] {
        let mut unprivileged = net.command("setpriv");
        unprivileged.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin", SCRIPT]).args(command.split(' '));
        Ran::of(unprivileged.output().expect("run setpriv")).exits(1).says("you must be root");
    }
    net.rules("confirm").ok();
}
