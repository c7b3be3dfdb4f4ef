//! Whether a firewall of this machine lets in what the rules hand to the daemon, and that comes through its INPUT.
//!
//! Only what is certain is called blocked: a rule whose conditions are not all understood may let in as well as not.

mod iptables;
mod nft;

use super::case::Case;
use super::finding::Finding;
use crate::config::Capture;

/// Chains that jump in a circle are refused by the kernel; this is more than it allows.
const DEEP: usize = 16;
/// Of what TPROXY takes, this must not be dropped.
const HTTPS: u16 = 443;
/// What TPROXY's packets are marked with, see handyproxy-rules(8).
const MARK: &str = "0x6869";

/// One chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The tool that showed it, as it is called to change it.
    tool: &'static str,
    /// `filter`, or `inet filter` of nft.
    table: String,
    name: String,
    /// Whether it is for IPv4, and for IPv6.
    families: [bool; 2],
    /// Whether what comes in for this machine begins here.
    is_input: bool,
    /// Whether what no rule decides is dropped.
    drops: bool,
    rules: Vec<String>,
}

/// A connection's first packet as INPUT sees it.
#[derive(Clone, Copy, Debug)]
struct Packet {
    /// The port that it was redirected to, or that it was for where TPROXY takes it.
    port: u16,
    is_redirected: bool,
}

/// Whether a packet meets a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    No,
    Maybe,
    Yes,
}

/// What becomes of it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict<'a> {
    /// It is let in, or handed to somebody who may.
    Accept,
    Drop,
    Return,
    /// Another chain; whether it does not come back.
    Chain(&'a str, bool),
    /// The next rule.
    Nothing,
}

/// What becomes of it in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// It may be let in.
    In,
    /// It is dropped for certain, by this.
    Blocked(String),
    /// The chain leaves that to where it came from.
    Through,
}

impl Match {
    fn of(is: bool) -> Match {
        if is { Match::Yes } else { Match::No }
    }

    fn not(self, negated: bool) -> Match {
        match self {
            Match::No if negated => Match::Yes,
            Match::Yes if negated => Match::No,
            other => other,
        }
    }
}

impl Packet {
    /// Whether one of these ports and ranges (80, 8000:8999, 8000-8999) is its own.
    fn is_to<'a>(self, mut ports: impl Iterator<Item = &'a str>) -> Match {
        let port = self.port;
        let is_it = |word: &str| {
            let (first, last) = word.split_once([':', '-']).unwrap_or((word, word));
            matches!((first.parse::<u16>(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&port))
        };
        // names of sets and services are not known here
        let mut is_unknown = false;
        let has = ports.any(|word| {
            is_unknown |= !word.starts_with(|first: char| first.is_ascii_digit());
            is_it(word)
        });
        if is_unknown && !has { Match::Maybe } else { Match::of(has) }
    }
}

/// All chains that a tool has printed.
pub(super) fn chains(tool: &'static str, text: &str) -> Vec<Chain> {
    if tool == "nft" { nft::chains(text) } else { iptables::chains(tool, text) }
}

/// nft shows the chains of iptables-nft once more.
pub(super) fn forget_twins(chains: &mut Vec<Chain>) {
    let known: Vec<_> = chains.iter().filter(|chain| chain.tool != "nft").map(Chain::family_and_table).collect();
    chains.retain(|chain| chain.tool != "nft" || !known.contains(&chain.table));
}

/// Looks at the firewall, where other machines' connections are captured.
pub(super) fn check(case: &Case) -> Vec<Finding> {
    if !case.is_gateway() {
        return Vec::new();
    }
    let by_hand = case.made_by_hand();
    let is_caught = |six: bool| {
        case.lines.iter().any(|line| !line.is_local() && line.is_six() == six)
            || by_hand.iter().any(|rule| if six { rule.is_six } else { rule.is_four })
    };
    let families = [is_caught(false), is_caught(true)];
    if !families.contains(&true) || !case.asker.sees_all() {
        return Vec::new();
    }
    let packet = match case.config.capture {
        Capture::Tproxy => Packet { port: HTTPS, is_redirected: false },
        _ => Packet { port: case.config.local_port, is_redirected: true },
    };
    let what = if packet.is_redirected {
        format!("what comes to port {}", packet.port)
    } else {
        "what TPROXY takes".to_owned()
    };
    let inputs = case.chains.iter().filter(|chain| chain.is_input);
    let in_the_way = inputs.filter(|chain| (0..2).any(|family| families[family] && chain.families[family]));
    let findings = in_the_way.filter_map(|chain| {
        let seen =
            format!("{what} is dropped by {}: clients get no answer", chain.shown(&chain.blocks(case.chains, packet)?));
        Some(Finding::warn("input", seen, chain.opened(packet)))
    });
    let findings: Vec<Finding> = findings.collect();
    if findings.is_empty() {
        return vec![Finding::ok("input", format!("no firewall of this machine is known to drop {what}"))];
    }
    findings
}

impl Chain {
    fn family_and_table(&self) -> String {
        format!("{} {}", if self.families[0] { "ip" } else { "ip6" }, self.table)
    }

    /// Why a packet does not get through this chain, if that is certain.
    fn blocks(&self, chains: &[Chain], packet: Packet) -> Option<String> {
        match self.way(chains, packet, DEEP) {
            Way::Blocked(rule) => Some(rule),
            Way::Through if self.drops => Some("its policy".to_owned()),
            Way::Through | Way::In => None,
        }
    }

    fn way(&self, chains: &[Chain], packet: Packet, depth: usize) -> Way {
        if depth == 0 {
            return Way::In;
        }
        let is_sister = |chain: &&Chain| (chain.tool, &chain.table) == (self.tool, &self.table);
        // some rule before may have ended it
        let mut may_be_through = false;
        for rule in &self.rules {
            let (is, verdict) =
                if self.tool == "nft" { nft::judge(rule, packet) } else { iptables::judge(rule, packet) };
            if is == Match::No {
                continue;
            }
            let way = match verdict {
                Verdict::Nothing => continue,
                Verdict::Accept => Way::In,
                Verdict::Drop => Way::Blocked(rule.clone()),
                Verdict::Return => Way::Through,
                Verdict::Chain(name, for_good) => {
                    // a target that is no chain decides nothing
                    let Some(chain) = chains.iter().filter(is_sister).find(|chain| chain.name == name) else {
                        continue;
                    };
                    match chain.way(chains, packet, depth - 1) {
                        Way::Through if !for_good => continue,
                        way => way,
                    }
                }
            };
            match (way, is) {
                (Way::In, _) => return Way::In,
                (Way::Through, Match::Maybe) => may_be_through = true,
                (Way::Blocked(_), Match::Maybe) => {}
                (Way::Blocked(_), _) if may_be_through => return Way::Through,
                (way, _) => return way,
            }
        }
        Way::Through
    }

    /// Itself and what of it is meant, for people.
    fn shown(&self, why: &str) -> String {
        let Chain { tool, table, name, .. } = self;
        format!("chain {name} of table {table} ({tool}): {why}")
    }

    /// The command that lets a packet in.
    fn opened(&self, packet: Packet) -> String {
        let Chain { tool, table, name, .. } = self;
        let what = match (packet.is_redirected, *tool) {
            (true, "nft") => format!("tcp dport {} ct status dnat", packet.port),
            (false, "nft") => format!("meta mark and 0xffff == {MARK}"),
            (true, _) => format!("-p tcp --dport {} -m conntrack --ctstate DNAT", packet.port),
            (false, _) => format!("-m mark --mark {MARK}/0xffff"),
        };
        let command = match *tool {
            "nft" => format!("nft insert rule {table} {name} {what} accept"),
            _ => format!("{tool} -t {table} -I {name} {what} -j ACCEPT"),
        };
        format!("{command}, and the same where the firewall keeps its rules")
    }
}

/// Words, and texts in quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut is_quoted, mut is_one) = (String::new(), false, false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => (is_quoted, is_one) = (!is_quoted, true),
            '\\' if is_quoted => word.extend(letters.next()),
            letter if letter.is_whitespace() && !is_quoted => {
                if is_one || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                is_one = false;
            }
            letter => word.push(letter),
        }
    }
    if is_one || !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
#[path = "firewall_tests.rs"]
mod tests;
