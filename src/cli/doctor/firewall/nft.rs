//! What `nft list ruleset` prints (man 8 nft).

use super::{Chain, Match, Packet, Verdict, words};

pub(super) fn chains(text: &str) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let (mut table, mut families, mut depth, mut is_chain) = (String::new(), [false; 2], 0, false);
    for line in text.lines().map(str::trim) {
        if let Some(opened) = line.strip_suffix('{') {
            let words: Vec<&str> = opened.split_whitespace().collect();
            match (depth, &words[..]) {
                (0, ["table", family, name]) => {
                    table = format!("{family} {name}");
                    families = [matches!(*family, "ip" | "inet"), matches!(*family, "ip6" | "inet")];
                }
                (1, ["chain", name]) => {
                    is_chain = true;
                    chains.push(Chain {
                        tool: "nft",
                        table: table.clone(),
                        name: (*name).to_owned(),
                        families,
                        is_input: false,
                        drops: false,
                        rules: Vec::new(),
                    });
                }
                _ => {}
            }
            depth += 1;
        } else if line == "}" {
            depth -= 1;
            is_chain &= depth > 1;
        } else if let (true, Some(chain)) = (is_chain && depth == 2, chains.last_mut()) {
            if line.starts_with("type ") {
                chain.is_input = line.contains(" hook input ");
                chain.drops = line.contains("policy drop");
            } else if !line.is_empty() && !line.starts_with('#') && !line.starts_with("comment ") {
                chain.rules.push(line.to_owned());
            }
        }
    }
    chains
}

/// Words of a rule, with what is behind one of them.
struct Scan<'a> {
    words: &'a [String],
    at: usize,
}

impl<'a> Scan<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    fn takes(&mut self, wanted: &str) -> bool {
        let is_it = self.words.get(self.at).is_some_and(|word| word == wanted);
        self.at += usize::from(is_it);
        is_it
    }

    /// `22`, `{ 22, 80 }`, `established,related`; and whether it must not be one of them.
    fn values(&mut self) -> (Vec<&'a str>, bool) {
        let negated = self.takes("!=");
        self.takes("==");
        let mut values = Vec::new();
        if self.takes("{") {
            while let Some(word) = self.next().filter(|word| *word != "}") {
                values.push(word.trim_end_matches(','));
            }
        } else {
            values.extend(self.next().into_iter().flat_map(|word| word.split(',')));
        }
        (values, negated)
    }

    /// Whether a value is among those that come; a named set is not known.
    fn has(&mut self, is_it: impl Fn(&str) -> bool) -> Match {
        let (values, negated) = self.values();
        if values.iter().any(|value| value.starts_with('@')) {
            return Match::Maybe;
        }
        Match::of(values.into_iter().any(is_it)).not(negated)
    }
}

/// Whether a packet meets the conditions of a rule, and what follows.
pub(super) fn judge(rule: &str, packet: Packet) -> (Match, Verdict<'_>) {
    let all = words(rule);
    let mut scan = Scan { words: &all, at: 0 };
    let mut met = Match::Yes;
    let is_tcp = |value: &str| matches!(value, "tcp" | "6");
    while let Some(word) = scan.next() {
        let is = match word {
            "accept" | "queue" => return (met, Verdict::Accept),
            "drop" | "reject" => return (met, Verdict::Drop),
            "return" => return (met, Verdict::Return),
            "jump" | "goto" => return (met, chain(rule, word)),
            "counter" => {
                if scan.takes("packets") {
                    scan.at += 3;
                }
                Match::Yes
            }
            "log" => {
                while ["prefix", "level", "group", "snaplen", "flags"].iter().any(|word| scan.takes(word)) {
                    scan.next();
                }
                Match::Yes
            }
            "comment" => {
                scan.next();
                Match::Yes
            }
            "iif" | "iifname" if scan.takes("vmap") => return (met.min(Match::Maybe), Verdict::Accept),
            "iif" | "iifname" => {
                let (values, negated) = scan.values();
                if values == ["lo"] { Match::No.not(negated) } else { Match::Maybe }
            }
            "udp" | "udplite" | "sctp" | "dccp" | "icmp" | "icmpv6" | "igmp" | "esp" | "ah" | "comp" => {
                return (Match::No, Verdict::Nothing);
            }
            "tcp" | "th" if scan.takes("dport") => {
                if scan.takes("vmap") {
                    return (met.min(Match::Maybe), Verdict::Accept);
                }
                let (values, negated) = scan.values();
                packet.is_to(values.into_iter()).not(negated)
            }
            "l4proto" | "protocol" | "nexthdr" => scan.has(is_tcp),
            "meta" | "ip" | "ip6" => continue,
            "ct" if scan.takes("state") => {
                if scan.takes("vmap") {
                    let (values, _) = scan.values();
                    let is_told = values.contains(&"new");
                    return (Match::of(is_told).min(Match::Maybe), Verdict::Accept);
                }
                scan.has(|state| state == "new")
            }
            "ct" if scan.takes("status") => scan.has(|status| status == "dnat" && packet.is_redirected),
            "vmap" => return (met.min(Match::Maybe), Verdict::Accept),
            _ => Match::Maybe,
        };
        met = met.min(is);
    }
    (met, Verdict::Nothing)
}

fn chain<'a>(rule: &'a str, how: &str) -> Verdict<'a> {
    let mut words = rule.split_whitespace().skip_while(|word| *word != how).skip(1);
    words.next().map_or(Verdict::Nothing, |chain| Verdict::Chain(chain, how == "goto"))
}
