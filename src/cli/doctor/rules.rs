//! Whether netfilter hands connections over, as the settings say, and whether any came.

use super::case::Case;
use super::finding::{self, Finding};
use super::interfaces::is_for;
use super::loaded::Rule;
use super::machine;
use super::same;
use super::status::{Line, Status};

/// Everything about the rules but loops, which are another matter.
pub(super) fn check(case: &Case) -> Vec<Finding> {
    let mut findings = present(case);
    if case.lines.is_empty() {
        findings.extend(made_by_hand(case));
        return findings;
    }
    let interfaces: Option<Vec<&str>> = case.lines.iter().try_fold(Vec::new(), |mut all, line| {
        all.extend(line.interfaces()?);
        Some(all)
    });
    let captured_six = case.lines.iter().any(Line::is_six);
    let six = ipv6(captured_six, interfaces.as_deref(), case);
    let is_bad = |finding: &Finding| matches!(finding.status, finding::Status::Warn | finding::Status::Fail);
    findings.push(same::check(case, [findings.iter().any(is_bad), six.iter().any(is_bad)]));
    findings.extend(confirm(case));
    findings.push(captured(case.lines.iter().map(|line| line.count("captured")).sum()));
    findings.extend(quic(case));
    findings.extend(six);
    findings
}

fn present(case: &Case) -> Vec<Finding> {
    if !case.lines.is_empty() {
        let up: Vec<String> = case.lines.iter().map(shown).collect();
        return vec![four(&up.join("; "), case)];
    }
    let by_hand = case.made_by_hand();
    if let Some(rule) = by_hand.first() {
        let seen =
            format!("made by hand, {} in all, such as {} {}: {}", by_hand.len(), rule.tool, rule.chain, rule.text);
        return vec![Finding::ok("rules", seen)];
    }
    if !case.asker.sees_all() {
        return vec![Finding::warn(
            "rules",
            "not seen: only root may look at the rules",
            "run handyproxy doctor as root",
        )];
    }
    let port = case.config.local_port;
    match (case.status, case.unseen) {
        (Status::Unseen(why), _) => vec![Finding::warn("rules", format!("not seen: {why}"), "see handyproxy-rules(8)")],
        (Status::NoTool, [why, ..]) => {
            vec![Finding::warn("rules", format!("not seen: {why}"), "install iptables or nftables")]
        }
        (Status::NoTool, _) => {
            let seen = format!("nothing hands connections to port {port}, and there is no handyproxy-rules");
            vec![Finding::fail("rules", seen, "install handyproxy-rules, or see handyproxy(8) for rules by hand")]
        }
        (Status::Up(others), _) => {
            let seen = format!("nothing hands connections to port {port}{}", up_are(others));
            vec![Finding::fail("rules", seen, case.rules_up())]
        }
    }
}

/// The instances of these lines, each once.
fn up_are(lines: &[Line]) -> String {
    let mut names: Vec<&str> = lines.iter().map(|line| line.get("name")).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { String::new() } else { format!(" (up are: {})", names.join(", ")) }
}

/// Whether IPv4 is caught, where it is wanted; what is known of IPv6 is said elsewhere.
fn four(up: &str, case: &Case) -> Finding {
    let wanted = match &case.config.rules {
        Some(rules) => wants_four(rules.values("family"), rules.values("from")),
        None => has_remains(case),
    };
    if !wanted || case.lines.iter().any(|line| !line.is_six()) || case.catches_by_hand(false) {
        return Finding::ok("rules", up);
    }
    let forwards = machine::is_on("/proc/sys/net/ipv4/ip_forward");
    if !forwards && !case.is_local() && !has_remains(case) {
        return Finding::note("rules", format!("{up}; nothing catches IPv4, which is not forwarded"), case.rules_up());
    }
    Finding::fail("rules", format!("nothing catches IPv4, it goes past the proxy; up is: {up}"), case.rules_up())
}

/// Whether `[rules]` is for IPv4 too: by its family, and by the networks of its clients.
pub(super) fn wants_four(family: &[String], from: &[String]) -> bool {
    family.first().is_none_or(|family| family != "6") && (from.is_empty() || from.iter().any(|net| !net.contains(':')))
}

/// The same for IPv6.
pub(super) fn wants_six(family: &[String], from: &[String]) -> bool {
    family.first().is_none_or(|family| family != "4") && (from.is_empty() || from.iter().any(|net| net.contains(':')))
}

/// Whether a chain for IPv4 is left to which nothing leads.
fn has_remains(case: &Case) -> bool {
    let of_instance = |rule: &Rule| case.lines.iter().any(|line| rule.is_of(line.get("name")));
    case.loaded.iter().any(|rule| !rule.is_six && of_instance(rule) && rule.leads_to(case.config.local_port))
}

fn shown(line: &Line) -> String {
    let get = |key| line.get(key);
    format!("{} IPv{} to port {} by {} of {}", get("mode"), get("family"), get("port"), get("capture"), get("backend"))
}

/// What can be told of rules that are not handyproxy-rules'.
fn made_by_hand(case: &Case) -> Vec<Finding> {
    let rules = case.made_by_hand();
    if rules.is_empty() {
        return Vec::new();
    }
    let mut findings = vec![captured(rules.iter().filter_map(|rule| rule.packets).sum())];
    findings.push(if case.loaded.iter().any(Rule::refuses_quic) {
        Finding::ok("quic", "refused by another rule")
    } else {
        let fix = "refuse UDP to port 443 with an ICMP error, as handyproxy-rules does";
        Finding::warn("quic", "left alone: browsers go past the proxy by UDP 443, or wait for it in vain", fix)
    });
    findings.extend(ipv6(rules.iter().any(|rule| rule.is_six), None, case));
    findings
}

fn confirm(case: &Case) -> Option<Finding> {
    let line = case.lines.iter().find(|line| !matches!(line.get("confirm"), "" | "no"))?;
    let (left, name) = (line.get("confirm"), line.get("name"));
    let seen = format!("the rules are taken back in {left}s, unless they are confirmed");
    Some(Finding::warn("confirm", seen, format!("handyproxy-rules confirm --name {name}")))
}

fn captured(packets: u64) -> Finding {
    if packets > 0 {
        return Finding::ok("captured", format!("{packets} packets that began a connection"));
    }
    let fix = "connect from a client, such as curl https://example.com/, and look again: \
               if this stays, its connections do not come through this machine or through another interface";
    Finding::note("captured", "no connection yet", fix)
}

fn quic(case: &Case) -> Option<Finding> {
    if case.lines.iter().any(|line| line.get("quic") == "missing") {
        let seen = "nothing leads to the rules that refuse it, as after iptables -F FORWARD: browsers go past the proxy by UDP 443";
        return Some(Finding::warn("quic", seen, case.rules_up()));
    }
    let ports = case.config.rules.as_ref().map(|rules| rules.values("dports").join(",")).unwrap_or_default();
    quic_of(&case.lines, &ports).map(|seen| match seen {
        Ok(refused) => Finding::ok("quic", refused),
        Err(leaves) => Finding::warn("quic", leaves, case.set_rule("quic", "\"reject\"", "--quic reject")),
    })
}

/// What becomes of QUIC, if port 443 is captured at all.
fn quic_of(lines: &[Line], ports: &str) -> Option<Result<String, String>> {
    let has_443 = |part: &str| match part.split_once('-') {
        Some((first, last)) => {
            let bound = |text: &str| text.trim().parse::<u16>().ok();
            matches!((bound(first), bound(last)), (Some(first), Some(last)) if (first..=last).contains(&443))
        }
        None => matches!(part.trim(), "" | "*" | "443"),
    };
    if !ports.split(',').any(has_443) {
        return None;
    }
    if lines.iter().any(|line| line.get("quic") == "leave") {
        return Some(Err("left alone: browsers go past the proxy by UDP 443, or wait for it in vain".to_owned()));
    }
    let refused: u64 = lines.iter().map(|line| line.count("quic_rejected")).sum();
    Some(Ok(format!("refused at once, {refused} packets so far")))
}

/// What decides whether IPv6 goes past the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Leak {
    /// Whether rules for IPv6 are up.
    captured: bool,
    local: bool,
    /// The interfaces of clients with IPv6 addresses, or for local rules those of this machine.
    addresses: Vec<String>,
    forwards: bool,
    has_way: bool,
}

fn ipv6(captured: bool, interfaces: Option<&[&str]>, case: &Case) -> Option<Finding> {
    let addresses = machine::addresses6()?;
    let counts =
        |name: &str| name != "lo" && interfaces.is_none_or(|words| words.iter().any(|word| is_for(word, name)));
    let local = case.is_local();
    let leak = Leak {
        captured,
        local,
        addresses: addresses
            .into_iter()
            .filter(|address| local || counts(&address.interface))
            .filter(|address| address.interface != "lo")
            .map(|address| format!("{} on {}", address.ip, address.interface))
            .collect(),
        forwards: machine::is_on("/proc/sys/net/ipv6/conf/all/forwarding"),
        has_way: machine::has_default_route6(),
    };
    let fix = match &case.config.rules {
        // the file has it, and somebody took them away
        Some(rules) if wants_six(rules.values("family"), rules.values("from")) => case.rules_up(),
        _ => case.set_rule("family", "\"both\"", "(without -4)"),
    };
    Some(judge_leak(&leak, &fix))
}

fn judge_leak(leak: &Leak, fix: &str) -> Finding {
    let Leak { captured, local, addresses, forwards, has_way } = leak;
    if *captured {
        return Finding::ok("ipv6", "captured");
    }
    let first = addresses.first().cloned().unwrap_or_default();
    match (local, addresses.is_empty()) {
        (_, true) if !forwards || *local => Finding::ok("ipv6", "not captured, and not there"),
        (true, _) if !has_way => Finding::note("ipv6", format!("not captured; {first}, but no way out"), fix),
        (true, _) => Finding::warn("ipv6", format!("goes past the rules, which are for IPv4 only: {first}"), fix),
        (false, true) => {
            let seen =
                "not captured; it is forwarded (net.ipv6.conf.all.forwarding = 1), but clients have no addresses";
            Finding::note("ipv6", seen, fix)
        }
        (false, false) if !forwards => Finding::note("ipv6", format!("not captured; {first}, but not forwarded"), fix),
        (false, false) => {
            let fix = format!("{fix}, or sysctl -w net.ipv6.conf.all.forwarding=0");
            Finding::warn("ipv6", format!("goes past the rules, which are for IPv4 only: {first}, forwarded"), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status::{Note, Ok, Warn};
    use super::*;
    use crate::cli::doctor::status::tests::line;

    #[test]
    fn quic_matters_where_port_443_is_captured() {
        let left = [line("quic=leave")];
        for ports in ["", "*", "80,443", "400-500"] {
            assert!(matches!(quic_of(&left, ports), Some(Err(_))), "{ports}");
            assert!(
                matches!(quic_of(&[line("")], ports), Some(Result::Ok(seen)) if seen.contains("4 packets")),
                "{ports}"
            );
        }
        for ports in ["80", "8000-8999", "80,4430"] {
            assert_eq!(quic_of(&left, ports), None, "{ports}");
        }
    }

    #[test]
    fn ipv6_leaks_where_it_has_a_way() {
        let none = Leak::default();
        let has = Leak { addresses: vec!["fd00::1 on lan".to_owned()], ..Leak::default() };
        let rows = [
            (Leak { captured: true, forwards: true, ..has.clone() }, Ok),
            (none.clone(), Ok),
            (Leak { forwards: true, ..none.clone() }, Note),
            (has.clone(), Note),
            (Leak { forwards: true, ..has.clone() }, Warn),
            (Leak { local: true, ..has.clone() }, Note),
            (Leak { local: true, has_way: true, ..has }, Warn),
            (Leak { local: true, forwards: true, has_way: true, ..none }, Ok),
        ];
        for (leak, status) in rows {
            assert_eq!(judge_leak(&leak, "fix").status, status, "{leak:?}");
        }
    }

    #[test]
    fn each_family_is_wanted_unless_the_file_says_no() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (family, from, four, six) in [
            ("", "", true, true),
            ("both", "", true, true),
            ("4", "", true, false),
            ("6", "", false, true),
            ("", "fd00:5::/64", false, true),
            ("", "10.0.5.0/24", true, false),
            ("both", "fd00:5::/64 10.0.5.0/24", true, true),
        ] {
            let (family, from) = (words(family), words(from));
            assert_eq!((wants_four(&family, &from), wants_six(&family, &from)), (four, six), "{family:?} {from:?}");
        }
    }

    #[test]
    fn each_other_instance_is_named_once() {
        let lines = [line("name=socks"), line("name=all"), line("name=socks family=6")];
        assert_eq!(up_are(&lines), " (up are: all, socks)");
        assert_eq!(up_are(&[]), "");
    }

    #[test]
    fn nothing_captured_is_worth_a_note() {
        assert_eq!((captured(0).status, captured(1).status), (Note, Ok));
        assert!(captured(0).fix.contains("curl"));
    }
}
