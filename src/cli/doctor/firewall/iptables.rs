//! What iptables-save prints (man 8 iptables-extensions).

use super::{Chain, Match, Packet, Verdict, words};

pub(super) fn chains(tool: &'static str, text: &str) -> Vec<Chain> {
    let families = [!tool.starts_with("ip6"), tool.starts_with("ip6")];
    let tool = match tool {
        "iptables-legacy-save" => "iptables-legacy",
        "ip6tables-legacy-save" => "ip6tables-legacy",
        "ip6tables-save" => "ip6tables",
        _ => "iptables",
    };
    let mut chains: Vec<Chain> = Vec::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            let drops = words.next() == Some("DROP");
            let is_input = name == "INPUT";
            chains.push(Chain { tool, table: table.to_owned(), name, families, is_input, drops, rules: Vec::new() });
        } else if let Some((_, rule)) = line.split_once("-A ") {
            let (name, rule) = rule.split_once(' ').unwrap_or((rule, ""));
            if let Some(chain) = chains.iter_mut().find(|chain| chain.table == table && chain.name == name) {
                chain.rules.push(rule.to_owned());
            }
        }
    }
    chains
}

/// Whether a packet meets the conditions of a rule, and what follows.
pub(super) fn judge(rule: &str, packet: Packet) -> (Match, Verdict<'_>) {
    let (mut met, mut negated) = (Match::Yes, false);
    let all = words(rule);
    let mut words = all.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        let is = match word {
            "-m" | "--comment" => {
                words.next();
                Match::Yes
            }
            // what comes behind it says how
            "-j" | "-g" => break,
            "-i" => {
                if words.next() == Some("lo") {
                    Match::No.not(negated)
                } else {
                    Match::Maybe
                }
            }
            "-p" => Match::of(matches!(words.next(), Some("tcp" | "all" | "6"))).not(negated),
            "--dport" | "--dports" => packet.is_to(words.next().unwrap_or_default().split(',')).not(negated),
            "--ctstate" | "--state" => {
                let has = |state: &str| state == "NEW" || (state == "DNAT" && packet.is_redirected);
                Match::of(words.next().unwrap_or_default().split(',').any(has)).not(negated)
            }
            "--dst-type" => {
                let own = if packet.is_redirected { "LOCAL" } else { "UNICAST" };
                Match::of(words.next().unwrap_or_default().split(',').any(|kind| kind == own)).not(negated)
            }
            option if option.starts_with('-') => Match::Maybe,
            // the value of an option that is not known
            _ => Match::Yes,
        };
        negated = false;
        met = met.min(is);
    }
    (met, verdict(rule))
}

fn verdict(rule: &str) -> Verdict<'_> {
    let behind = |key: &str| {
        let at = rule.rfind(&format!(" {key} ")).map(|at| at + 1).or(rule.starts_with(key).then_some(0))?;
        rule[at + key.len()..].split_whitespace().next()
    };
    match (behind("-j"), behind("-g")) {
        (Some("ACCEPT" | "QUEUE" | "NFQUEUE"), _) => Verdict::Accept,
        (Some("DROP" | "REJECT"), _) => Verdict::Drop,
        (Some("RETURN"), _) => Verdict::Return,
        (Some(chain), _) => Verdict::Chain(chain, false),
        (None, Some(chain)) => Verdict::Chain(chain, true),
        (None, None) => Verdict::Nothing,
    }
}
