//! Whether the rules that are up are those of the settings.
//!
//! What the rules themselves show is compared with the settings. The rest stands in a comment of the rules, as short sums
//! that only handyproxy-rules can make: it is asked for those of the settings. Rules of an older version have none.

use super::super::tool;
use super::case::Case;
use super::finding::Finding;
use super::loaded::Rule;
use super::status::{self, Line};
use crate::config::{Capture, Config, Rules, rules_words};

/// What the sums are of, in their order; see handyproxy-rules(8).
const SUMMED: [&str; 8] = ["interfaces", "from", "dports", "exclude", "private", "dns-pool", "mark", "uid"];

/// Says so; `told` are the families, IPv4 and IPv6, of which another finding says that they go past.
pub(super) fn check(case: &Case, told: [bool; 2]) -> Finding {
    let wanted = wanted(case);
    let mut differences: Vec<String> = case.lines.iter().flat_map(|line| shown(line, case.config)).collect();
    if let Some(rules) = &case.config.rules {
        let of_mode: Vec<&Line> = case.lines.iter().filter(|line| line.get("mode") == rules.mode.word()).collect();
        differences.extend(of_mode.iter().filter_map(|line| backend(line, rules)));
        differences.extend(of_mode.iter().flat_map(|line| summed(line, &wanted, case.config)));
        let known = |six| (told[usize::from(six)] && has_remains(case, six)) || case.catches_by_hand(six);
        differences.extend([false, true].into_iter().filter_map(|six| family(six, &of_mode, &wanted, known(six))));
    }
    differences.sort();
    differences.dedup();
    if differences.is_empty() {
        return Finding::ok("rules-match", alike(case, &wanted));
    }
    if let Some((port, pid)) = case.outdated() {
        differences.push(format!("the daemon (process {pid}) has older settings too, and listens on port {port}"));
    }
    // `up` exchanges rules of its own mode, and leaves those of the other one
    let mode = case.config.rules.as_ref().map(|rules| rules.mode.word());
    let other = case.lines.iter().find(|line| mode.is_some_and(|mode| line.get("mode") != mode));
    let fix = match other {
        Some(line) => {
            format!("handyproxy-rules {} down --name {}, then {}", line.get("mode"), line.get("name"), case.rules_up())
        }
        None => case.rules_up(),
    };
    Finding::fail("rules-match", differences.join("; "), fix)
}

/// What `up` would load, a line for each family; none where that cannot be told.
fn wanted(case: &Case) -> Vec<Line> {
    let Some(mut words) = case.name.and_then(|name| rules_words(case.config, name)) else { return Vec::new() };
    words.splice(1..1, ["print", "--porcelain"].map(str::to_owned));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    tool::run(status::TOOL, &words).said().map(|said| status::lines(&said)).unwrap_or_default()
}

fn alike(case: &Case, wanted: &[Line]) -> String {
    let shown = "mode, port, capture, interfaces, quic and dns are as the settings say";
    match (wanted.is_empty(), case.lines.iter().all(|line| sums(line).is_some())) {
        (true, _) => shown.to_owned(),
        (false, true) => "all that is loaded is as the settings say".to_owned(),
        (false, false) => format!("{shown}; the rest is unknown, an older handyproxy-rules loaded it"),
    }
}

/// In which ways a line is not what the settings say: `port 8043, and the settings say 8044`.
fn shown(line: &Line, config: &Config) -> Vec<String> {
    let mut wanted = vec![("port", config.local_port.to_string())];
    let tproxy = config.capture == Capture::Tproxy;
    wanted.push(("capture", if tproxy { "tproxy" } else { "redirect" }.to_owned()));
    if let Some(rules) = &config.rules {
        wanted.push(("mode", rules.mode.word().to_owned()));
        wanted.push(("quic", rules.values("quic").first().map_or("reject", String::as_str).to_owned()));
        let dns = config.dns.as_ref().filter(|_| rules.is_on("dns")).and_then(|dns| dns.listen.first());
        wanted.push(("dns", dns.map_or("no".to_owned(), |addr| addr.port().to_string())));
        if !line.is_local() {
            wanted.push(("interfaces", rules.values("interfaces").join(",")));
        }
    }
    let differs = |(key, wanted): &(&str, String)| {
        let is = line.get(key);
        // what somebody took away was as the file says, and is found missing elsewhere
        let lost = *key == "quic" && is == "missing" && wanted == "reject";
        let same = is == wanted || lost || (*key == "interfaces" && names(is) == names(wanted));
        let wanted = if wanted.is_empty() { "all" } else { wanted };
        (!same).then(|| format!("{key} {is}, and the settings say {wanted}"))
    };
    wanted.iter().filter_map(differs).collect()
}

/// The interfaces of a list, each once; + is the start of every name, and is shown by nothing.
fn names(list: &str) -> Vec<&str> {
    let mut names: Vec<&str> = list.split(',').filter(|name| !matches!(*name, "" | "all" | "+")).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn backend(line: &Line, rules: &Rules) -> Option<String> {
    let wanted = rules.values("backend").first().filter(|backend| *backend != "auto")?;
    let is = line.get("backend");
    (is.split('-').next() != Some(wanted)).then(|| format!("backend {is}, and the settings say {wanted}"))
}

/// Whether a family is loaded as it is wanted; `known` is whether its absence is no news.
fn family(six: bool, lines: &[&Line], wanted: &[Line], known: bool) -> Option<String> {
    // another mode's rules are another matter
    if lines.is_empty() || wanted.is_empty() {
        return None;
    }
    let name = if six { "IPv6" } else { "IPv4" };
    match (lines.iter().any(|line| line.is_six() == six), wanted.iter().any(|line| line.is_six() == six)) {
        (false, true) if !known => Some(format!("family: {name} is not loaded, and the settings want it")),
        (true, false) => Some(format!("family: {name} is loaded, and the settings leave it out")),
        _ => None,
    }
}

/// Whether somebody took rules of a family away: not all of them, as when the file says another family now.
fn has_remains(case: &Case, six: bool) -> bool {
    // nft keeps both families in one table
    let of_family = |rule: &&Rule| rule.tool != "nft" && rule.is_six == six;
    let of_instance = |rule: &Rule| case.lines.iter().any(|line| rule.is_of(line.get("name")));
    case.loaded.iter().filter(of_family).any(of_instance)
}

/// The settings that the sums of a line tell to be others: `dports not as the settings say (80,443)`.
fn summed(line: &Line, wanted: &[Line], config: &Config) -> Vec<String> {
    let wanted = wanted.iter().find(|wanted| wanted.is_six() == line.is_six());
    let (Some(loaded), Some(wanted)) = (sums(line), wanted.and_then(sums)) else { return Vec::new() };
    let differs = |(key, (loaded, wanted)): (&str, (&str, &str))| {
        if loaded == wanted || (key == "interfaces" && told_by_names(line, config)) {
            return None;
        }
        Some(format!("{key} not as the settings say ({})", value(key, config)))
    };
    SUMMED.into_iter().zip(loaded.into_iter().zip(wanted)).filter_map(differs).collect()
}

fn told_by_names(line: &Line, config: &Config) -> bool {
    shown(line, config).iter().any(|difference| difference.starts_with("interfaces "))
}

/// The sums of a line, where it has them.
fn sums(line: &Line) -> Option<[&str; SUMMED.len()]> {
    let sums: Vec<&str> = line.get("sums").split(',').collect();
    sums.try_into().ok()
}

/// What the settings say of a key, for people.
fn value(key: &str, config: &Config) -> String {
    let values = match key {
        "mark" => vec![format!("{:#x}", config.mark)],
        "dns-pool" => config.dns.iter().flat_map(|dns| [dns.pool.to_string(), dns.pool6.to_string()]).collect(),
        key => config.rules.as_ref().map(|rules| rules.values(key).to_vec()).unwrap_or_default(),
    };
    if values.is_empty() { "none".to_owned() } else { values.join(",") }
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::line;
    use super::*;
    use crate::config::{Mode, Place};

    fn config(options: &[(&'static str, &str)]) -> Config {
        let options = options.iter().map(|(key, values)| (*key, values.split(',').map(str::to_owned).collect()));
        let rules = Rules { mode: Mode::Gateway, options: options.collect(), place: Place::new("x.toml:1") };
        let mut config = Config::default();
        config.rules = Some(rules);
        config
    }

    #[test]
    fn what_is_loaded_is_compared_with_what_is_said() {
        let config = Config::default();
        assert_eq!(shown(&line("mode=local quic=leave"), &config), [""; 0], "nothing is said of rules");
        let wrong = shown(&line("port=1 capture=tproxy"), &config);
        assert_eq!(wrong, ["port 1, and the settings say 8443", "capture tproxy, and the settings say redirect"]);
    }

    #[test]
    fn interfaces_are_a_set() {
        for (loaded, said, same) in [
            ("all", "", true),
            ("lan,wlan+", "wlan+,lan,lan", true),
            ("all", "+", true),
            ("lan", "lan,+", true),
            ("lan", "", false),
            ("all", "lan", false),
        ] {
            let config = if said.is_empty() { config(&[]) } else { config(&[("interfaces", said)]) };
            let differences = shown(&line(&format!("interfaces={loaded}")), &config);
            assert_eq!(differences.is_empty(), same, "{loaded} {said}: {differences:?}");
        }
    }

    #[test]
    fn sums_tell_which_settings_are_others() {
        let config = config(&[("interfaces", "lan"), ("dports", "80,443")]);
        let (old, same) = (line("sums=unknown"), line("sums=1,-,2,-,-,-,-,-"));
        let wanted = [line("family=6 sums=9,9,9,9,yes,9,9,9"), same.clone()];
        for quiet in [&old, &same] {
            assert_eq!(summed(quiet, &wanted, &config), [""; 0]);
        }
        assert_eq!(summed(&same, &[old], &config), [""; 0]);
        let told = ["dports not as the settings say (80,443)", "exclude not as the settings say (none)"];
        assert_eq!(summed(&line("sums=1,-,-,3,-,-,-,-"), &wanted, &config), told);
        // what has been said of the names of interfaces is enough
        assert_eq!(summed(&line("interfaces=wan sums=3,-,2,-,-,-,-,-"), &wanted, &config), [""; 0]);
        assert_eq!(summed(&line("sums=3,-,2,-,-,-,-,-"), &wanted, &config).len(), 1);
    }

    #[test]
    fn families_are_neither_missing_nor_too_many() {
        let (four, six) = (line(""), line("family=6"));
        let both = [four.clone(), six.clone()];
        assert_eq!(family(true, &[&four], &both, true), None, "another finding says so");
        assert!(family(true, &[&four], &both, false).is_some_and(|told| told.contains("IPv6 is not loaded")));
        assert!(family(false, &[&four, &six], &both[1..], false).is_some_and(|told| told.contains("leave it out")));
        assert_eq!(family(false, &[&four], &[], false), None, "nobody knows");
        assert_eq!(family(false, &[], &both, false), None, "rules of another mode");
    }

    #[test]
    fn a_backend_matters_where_it_is_said() {
        for (loaded, said, same) in [
            ("nft", "auto", true),
            ("nft", "nft", true),
            ("nft", "iptables", false),
            ("iptables-nft", "nft", false),
            ("iptables-legacy", "iptables", true),
        ] {
            let config = config(&[("backend", said)]);
            let rules = config.rules.as_ref().expect("given above");
            assert_eq!(backend(&line(&format!("backend={loaded}")), rules).is_none(), same, "{loaded} {said}");
        }
    }
}
