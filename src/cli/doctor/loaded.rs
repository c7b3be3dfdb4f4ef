//! Rules as the kernel has them, whoever made them: only what a doctor looks for in them.

use super::super::tool::{self, Ran};
use super::firewall::{self, Chain};

/// Every tool that prints rules. nft shows those of iptables-nft too.
const TOOLS: [(&str, &[&str]); 5] = [
    ("iptables-save", &["-c"]),
    ("ip6tables-save", &["-c"]),
    ("iptables-legacy-save", &["-c"]),
    ("ip6tables-legacy-save", &["-c"]),
    ("nft", &["list", "ruleset"]),
];

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The tool that showed it.
    pub(super) tool: &'static str,
    /// The chain, or `table/chain` of nft.
    pub(super) chain: String,
    /// Whether it is for IPv4, alone or too.
    pub(super) is_four: bool,
    /// Whether it is for IPv6, alone or too.
    pub(super) is_six: bool,
    /// Whether that chain sees what this machine sends.
    pub(super) is_output: bool,
    pub(super) text: String,
    /// Packets that it has seen, as far as it counts them.
    pub(super) packets: Option<u64>,
}

/// All that the kernel has.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) rules: Vec<Rule>,
    pub(super) chains: Vec<Chain>,
    /// The tools that are there and say nothing, each with the reason.
    pub(super) unseen: Vec<String>,
}

/// Asks every tool that is there.
pub(super) fn ask() -> Loaded {
    let mut loaded = Loaded::default();
    for (tool, words) in TOOLS {
        match tool::run(tool, words) {
            Ran::Ended { status: 0, stdout, .. } => {
                loaded.rules.extend(if tool == "nft" { of_nft(&stdout) } else { of_save(tool, &stdout) });
                loaded.chains.extend(firewall::chains(tool, &stdout));
            }
            Ran::Ended { stderr, .. } => loaded.unseen.push(format!("{tool}: {}", stderr.trim())),
            Ran::Missing => {}
            Ran::Failed(why) => loaded.unseen.push(why),
        }
    }
    forget_twins(&mut loaded.rules);
    firewall::forget_twins(&mut loaded.chains);
    loaded
}

/// nft shows the rules of iptables-nft once more.
fn forget_twins(rules: &mut Vec<Rule>) {
    let shown: Vec<String> = rules.iter().filter(|rule| rule.tool != "nft").map(|rule| rule.chain.clone()).collect();
    rules.retain(|rule| rule.tool != "nft" || !shown.iter().any(|chain| rule.chain.ends_with(&format!("/{chain}"))));
}

/// `[12:720] -A CHAIN ...`
fn of_save(tool: &'static str, text: &str) -> Vec<Rule> {
    let rule = |line: &str| {
        let (counters, line) = line.strip_prefix('[')?.split_once("] -A ")?;
        let packets = counters.split(':').next()?.parse().ok();
        let (chain, text) = line.split_once(' ')?;
        let (is_six, is_output) = (tool.starts_with("ip6"), chain == "OUTPUT");
        let (chain, text) = (chain.to_owned(), text.to_owned());
        Some(Rule { tool, chain, is_four: !is_six, is_six, is_output, text, packets })
    };
    text.lines().filter_map(rule).collect()
}

/// Tables, chains in them, and a rule on each other line.
fn of_nft(text: &str) -> Vec<Rule> {
    let (mut rules, mut place) = (Vec::new(), Vec::new());
    let (mut is_four, mut is_six, mut is_output) = (false, false, false);
    for line in text.lines().map(str::trim) {
        if let Some(opened) = line.strip_suffix('{') {
            if place.is_empty() {
                is_four = !opened.starts_with("table ip6 ");
                is_six = !opened.starts_with("table ip ");
            }
            place.push(opened.trim().rsplit(' ').next().unwrap_or_default().to_owned());
            is_output = false;
        } else if line == "}" {
            place.pop();
        } else if line.starts_with("type ") {
            is_output |= line.contains("hook output");
        } else if place.len() == 2 && !line.is_empty() {
            let packets = word_behind(line, "packets").and_then(|word| word.parse().ok());
            let (chain, text) = (place.join("/"), line.to_owned());
            rules.push(Rule { tool: "nft", chain, is_four, is_six, is_output, text, packets });
        }
    }
    rules
}

fn word_behind<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut words = text.split_whitespace();
    words.find(|word| *word == key)?;
    words.next()
}

impl Rule {
    /// Whether it hands connections to this local port.
    pub(super) fn leads_to(&self, port: u16) -> bool {
        let behind = |key| word_behind(&self.text, key).unwrap_or_default();
        let ends = |word: &str| word.rsplit(':').next() == Some(&port.to_string());
        if self.tool == "nft" {
            let leads = ["redirect", "tproxy", "dnat"].iter().any(|word| word_behind(&self.text, word).is_some());
            return leads && ends(behind("to"));
        }
        match behind("-j") {
            "REDIRECT" => ends(behind("--to-ports")),
            "TPROXY" => behind("--on-port") == port.to_string(),
            "DNAT" => ends(behind("--to-destination")),
            _ => false,
        }
    }

    /// Whether it refuses QUIC, one way or another.
    pub(super) fn refuses_quic(&self) -> bool {
        let text = self.text.to_ascii_lowercase();
        text.contains("udp") && text.contains("443") && (text.contains("reject") || text.contains("drop"))
    }

    /// Whether it sends connections to a loopback address.
    pub(super) fn is_to_loopback(&self) -> bool {
        let to = match self.tool {
            "nft" if self.text.contains("dnat") => word_behind(&self.text, "to"),
            "nft" => None,
            _ => word_behind(&self.text, "--to-destination"),
        };
        to.is_some_and(|to| to.starts_with("127."))
    }

    /// Whether handyproxy-rules made it, for whichever instance.
    pub(super) fn is_of_tool(&self) -> bool {
        ["HANDYPROXY_GW_", "HANDYPROXY_LO_", "handyproxy-"].iter().any(|start| self.chain.starts_with(start))
    }

    /// Whether it belongs to the rules of this instance.
    pub(super) fn is_of(&self, name: &str) -> bool {
        self.chain == format!("HANDYPROXY_GW_{name}") || self.is_local_of(name)
    }

    /// Whether it belongs to the rules for this machine's own connections of this instance.
    pub(super) fn is_local_of(&self, name: &str) -> bool {
        self.chain == format!("HANDYPROXY_LO_{name}") || self.chain.starts_with(&format!("handyproxy-{name}/"))
    }

    /// The marks and the users that it speaks of.
    fn marks(&self) -> Option<u32> {
        let behind = |key| word_behind(&self.text, key);
        let word = behind("--mark").or_else(|| match behind("mark") {
            Some("!=") => behind("!="),
            // under a mask
            Some("&" | "and") => behind("==").or_else(|| behind("!=")),
            word => word,
        })?;
        let word = word.split('/').next()?;
        match word.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => word.parse().ok(),
        }
    }

    /// `--uid-owner 998`, `skuid 998`, `skuid != 998`, `skuid { 0, 998 }`.
    fn users(&self) -> Vec<String> {
        let mut words =
            self.text.split_whitespace().skip_while(|word| !matches!(*word, "--uid-owner" | "skuid")).skip(1);
        let users: Vec<&str> = match words.next() {
            Some("!=" | "==") => words.take(1).collect(),
            Some("{") => words.take_while(|word| *word != "}").collect(),
            word => word.into_iter().collect(),
        };
        users.into_iter().map(|user| user.trim_matches(['"', ',']).to_owned()).collect()
    }
}

/// Whom rules for this machine's own connections leave alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spared {
    pub(super) marks: Vec<u32>,
    pub(super) users: Vec<String>,
}

impl Spared {
    pub(super) fn by<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Spared {
        let mut spared = Spared::default();
        for rule in rules {
            spared.marks.extend(rule.marks());
            spared.users.extend(rule.users());
        }
        spared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVE: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n[12:720] -A PREROUTING -i lan -p tcp -j REDIRECT --to-ports 8443\n\
        [0:0] -A HANDYPROXY_LO_gw -m mark --mark 0x68 -j RETURN\n[0:0] -A OUTPUT -m owner --uid-owner 998 -j RETURN\n\
        [1:60] -A PREROUTING -p tcp -j DNAT --to-destination 127.0.0.1:8443\nCOMMIT\n";
    const NFT: &str = "table inet handyproxy-gw {\n\tcomment \"handyproxy-rules\"\n\tchain out {\n\
        \t\ttype nat hook output priority dstnat; policy accept;\n\t\tmeta mark 0x00000068 return\n\
        \t\tmeta skuid 998 return\n\t\ttcp dport 443 counter packets 7 bytes 420 redirect to :8443\n\t}\n}\n\
        table ip own {\n\tchain pre {\n\t\tmeta mark != 0x7 tcp dport 443 dnat to 127.0.0.1:8443\n\t}\n}\n";

    #[test]
    fn rules_that_lead_to_a_port_are_found_with_their_counters() {
        let saved = of_save("iptables-save", SAVE);
        let found: Vec<_> = saved.iter().filter(|rule| rule.leads_to(8443)).map(|rule| rule.packets).collect();
        assert_eq!(found, [Some(12), Some(1)]);
        assert_eq!(saved.iter().filter(|rule| rule.is_output).count(), 1, "PREROUTING is none, though it sounds so");
        let listed = of_nft(NFT);
        let found: Vec<_> = listed.iter().filter(|rule| rule.leads_to(8443)).collect();
        assert_eq!((found.len(), found[0].packets, &found[0].chain[..]), (2, Some(7), "handyproxy-gw/out"));
        assert!(found[0].is_output && !found[1].is_output && found[0].is_six && !found[1].is_six);
        let six = of_nft(&NFT.replace("table ip own", "table ip6 own"));
        let fours: Vec<bool> =
            listed.iter().chain(&six).filter(|rule| rule.leads_to(8443)).map(|r| r.is_four).collect();
        assert_eq!(fours, [true, true, true, false]);
        let quic = Rule { text: "udp dport 443 reject".to_owned(), ..found[0].clone() };
        assert!(quic.refuses_quic() && !found[0].refuses_quic());
        assert!(saved.iter().chain(&listed).all(|rule| !rule.leads_to(443) && !rule.leads_to(84)));
        assert_eq!(saved.iter().chain(&listed).filter(|rule| rule.is_to_loopback()).count(), 2);
    }

    #[test]
    fn who_is_left_alone_is_read_from_both() {
        for rules in [of_save("iptables-save", SAVE), of_nft(NFT)] {
            let spared = Spared::by(&rules);
            assert_eq!((spared.marks[0], &spared.users[..]), (0x68, &["998".to_owned()][..]));
            assert!(rules.iter().any(|rule| rule.is_local_of("gw")) && !rules.iter().any(|rule| rule.is_local_of("g")));
        }
        assert_eq!(Spared::by(&of_nft(NFT)).marks, [0x68, 7]);
        let rule = |text: &str| Rule { text: text.to_owned(), ..of_nft(NFT)[0].clone() };
        let spared =
            Spared::by(&[rule("meta mark & 0x000000ff == 0x00000069 return"), rule("meta skuid { 0, 998 } return")]);
        assert_eq!((&spared.marks[..], &spared.users[..]), (&[0x69][..], &["0".to_owned(), "998".to_owned()][..]));
    }

    #[test]
    fn what_two_tools_show_is_there_once() {
        let mut rules = of_save("iptables-save", SAVE);
        rules.extend(of_nft("table ip nat {\nchain PREROUTING {\ntcp dport 1 redirect to :8443\n}\n}\n"));
        rules.extend(of_nft(NFT));
        forget_twins(&mut rules);
        assert_eq!(rules.len(), 4 + 4);
    }
}
