//! Whether the interfaces that rules name are there. One that comes later is captured then, so none is a failure.

use super::case::Case;
use super::finding::Finding;
use super::machine;
use super::status::Line;

/// Those that the file names, or else the rules that are up.
pub(super) fn check(case: &Case) -> Option<Finding> {
    let named: Vec<&str> = match &case.config.rules {
        Some(rules) => rules.values("interfaces").iter().map(String::as_str).collect(),
        None => case.lines.iter().filter_map(Line::interfaces).flatten().collect(),
    };
    let set = match &case.config.rules {
        Some(_) => case.set_rule("interfaces", "[\"NAME\"]", ""),
        None => case.rules_up(),
    };
    let there = [machine::interfaces(), vec!["lo".to_owned()]].concat();
    judge(&named, &there, &set)
}

/// Whether a word of `interfaces` is for this one: its name, or `br-+`, the start of it.
pub(super) fn is_for(word: &str, name: &str) -> bool {
    match word.strip_suffix('+').or(word.strip_suffix('*')) {
        Some(start) => name.starts_with(start),
        None => name == word,
    }
}

fn judge(named: &[&str], there: &[String], set: &str) -> Option<Finding> {
    let is_missing = |word: &&str| !there.iter().any(|name| is_for(word, name));
    let mut missing: Vec<&str> = named.iter().copied().filter(is_missing).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return None;
    }
    let seen = format!("there is no interface {}: nothing is captured there until one comes", missing.join(", "));
    let fix = format!("ip -br link shows those that are there; {set}");
    Some(Finding::warn("rules", seen, fix))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status::Warn;
    use super::*;

    #[test]
    fn a_name_or_the_start_of_one_must_be_there() {
        let there = ["eth0", "br-lan", "lo"].map(str::to_owned);
        for named in [&["eth0"][..], &["br-+", "eth0"], &["br*"], &["lo"], &[]] {
            assert_eq!(judge(named, &there, "set"), None, "{named:?}");
        }
        for (named, missing) in [
            (&["eth9"][..], "no interface eth9:"),
            (&["eth", "eth0"], "no interface eth:"),
            (&["wg+", "eth0", "eth9", "wg+"], "no interface eth9, wg+:"),
        ] {
            let found = judge(named, &there, "set").expect(missing);
            assert_eq!(found.status, Warn, "{found:?}");
            assert!(found.seen.contains(missing) && found.fix.ends_with("; set"), "{found:?}");
        }
    }
}
