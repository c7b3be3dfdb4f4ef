//! What the kernel must be told: forwarding, the table of connections, and what TPROXY and DNAT need.

use super::super::tool;
use super::case::Case;
use super::finding::Finding;
use super::machine;
use super::status::Line;
use crate::config::Capture;

/// The mark and the table of the policy routing of TPROXY.
const MARK: &str = "0x6869";
const TABLE: &str = "26729";

/// Everything about the kernel that is no matter of rules.
pub(super) fn check(case: &Case) -> Vec<Finding> {
    let mut findings = Vec::new();
    if case.is_gateway() {
        findings.push(forwarding(case));
    }
    findings.push(conntrack());
    if case.config.capture == Capture::Tproxy || case.lines.iter().any(Line::is_tproxy) {
        findings.extend(tproxy(case));
    }
    findings.extend(route_localnet(case));
    findings
}

fn forwarding(case: &Case) -> Finding {
    let four = machine::is_on("/proc/sys/net/ipv4/ip_forward");
    let six = machine::is_on("/proc/sys/net/ipv6/conf/all/forwarding");
    // addresses of the uplink are no reason to forward
    let interfaces: Vec<&str> = case.lines.iter().filter_map(Line::interfaces).flatten().collect();
    let addresses = machine::addresses6().unwrap_or_default();
    let has_six = case.lines.iter().any(Line::is_six)
        && addresses.iter().any(|address| interfaces.contains(&address.interface.as_str()));
    judge_forwarding(four, six, has_six)
}

fn judge_forwarding(four: bool, six: bool, wants_six: bool) -> Finding {
    let means = "what is not captured, such as DNS, ping and the refusal of QUIC, does not pass this machine";
    let persist = "and the same in /etc/sysctl.d/handyproxy.conf";
    match (four, six) {
        (false, _) => {
            let fix = format!("sysctl -w net.ipv4.ip_forward=1, {persist}");
            Finding::warn("forwarding", format!("off for IPv4: {means}"), fix)
        }
        (true, false) if wants_six => {
            let fix = format!("sysctl -w net.ipv6.conf.all.forwarding=1, {persist}");
            Finding::warn("forwarding", format!("off for IPv6, which clients have: {means}"), fix)
        }
        (true, false) => Finding::ok("forwarding", "on for IPv4, off for IPv6"),
        (true, true) => Finding::ok("forwarding", "on for IPv4 and IPv6"),
    }
}

fn conntrack() -> Finding {
    let at = |name| machine::number(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
    judge_conntrack(at("count"), at("max"))
}

fn judge_conntrack(count: Option<u64>, max: Option<u64>) -> Finding {
    let (Some(count), Some(max)) = (count, max) else {
        return Finding::note("conntrack", "not loaded yet: the first rule that redirects does that", "");
    };
    let percent = count * 100 / max.max(1);
    let seen = format!("{count} of {max} connections, {percent} %");
    let fix = format!(
        "sysctl -w net.netfilter.nf_conntrack_max={}, and net.netfilter.nf_conntrack_tcp_timeout_established=7200 to forget sooner",
        max * 4
    );
    match percent {
        0..80 => Finding::ok("conntrack", seen),
        80..100 => Finding::warn("conntrack", format!("{seen}: when it is full, new connections are dropped"), fix),
        _ => Finding::fail("conntrack", format!("{seen}: new connections are dropped"), fix),
    }
}

/// What policy routing there is for one family, and how the kernel looks at senders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Routing {
    six: bool,
    rules: String,
    table: String,
}

fn tproxy(case: &Case) -> Vec<Finding> {
    let families: Vec<bool> = match case.lines.iter().map(Line::is_six).collect::<Vec<_>>() {
        families if families.is_empty() => vec![false],
        families => families,
    };
    let mut findings = Vec::new();
    for six in families {
        let family = if six { "-6" } else { "-4" };
        let Some(rules) = tool::run("ip", &[family, "rule", "show"]).said() else {
            let seen = "the policy routing is not seen: there is no ip, or it failed";
            return vec![Finding::warn("tproxy", seen, "install iproute2")];
        };
        // an empty table is an error to some
        let table = tool::run("ip", &[family, "route", "show", "table", TABLE]).said().unwrap_or_default();
        findings.push(judge_routing(&Routing { six, rules, table }, &case.rules_up()));
    }
    if let Some(name) = doubtful_interface(case) {
        findings.push(Finding::fail(
            "tproxy",
            format!(
                "src_valid_mark is on for {name}: the kernel looks for the senders in our table and drops them all"
            ),
            format!("sysctl -w net.ipv4.conf.all.src_valid_mark=0 net.ipv4.conf.{name}.src_valid_mark=0"),
        ));
    }
    findings
}

fn judge_routing(routing: &Routing, up: &str) -> Finding {
    let Routing { six, rules, table } = routing;
    let family = if *six { "IPv6" } else { "IPv4" };
    let has_rule = rules.lines().any(|line| line.contains(MARK) && line.contains(&format!("lookup {TABLE}")));
    let has_route = table.lines().any(|line| line.starts_with("local ") && line.contains("dev lo"));
    let missing = match (has_rule, has_route) {
        (true, true) => {
            return Finding::ok("tproxy", format!("{family}: what is marked {MARK} stays here, by table {TABLE}"));
        }
        (false, true) => format!("ip rule fwmark {MARK} lookup {TABLE}"),
        (_, false) => format!("local default dev lo in table {TABLE}"),
    };
    Finding::fail("tproxy", format!("{family}: there is no {missing}: what is marked does not come to us"), up)
}

/// An interface of clients on which the check of senders (rp_filter) heeds the mark: then the route of the answer is
/// found to be local, and the packet is no good whatever rp_filter says. wg-quick(8) turns that on.
fn doubtful_interface(case: &Case) -> Option<String> {
    let is_on = |name: &str| machine::is_on(&format!("/proc/sys/net/ipv4/conf/{name}/src_valid_mark"));
    let named: Vec<String> = case.lines.iter().filter_map(Line::interfaces).flatten().map(str::to_owned).collect();
    let names = if named.is_empty() { machine::interfaces() } else { named };
    names.into_iter().find(|name| is_on("all") || is_on(name))
}

fn route_localnet(case: &Case) -> Option<Finding> {
    let mut rules = case.loaded.iter().filter(|rule| rule.leads_to(case.config.local_port) && rule.is_to_loopback());
    let rule = rules.find(|rule| !rule.is_output)?;
    let at = |name: &str| machine::is_on(&format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"));
    let mut names = machine::interfaces();
    // iptables and nft both name it where the rule is for one
    names.retain(|name| !rule.text.contains("-i ") || rule.text.split_whitespace().any(|word| word == name));
    let on = at("all") || (!names.is_empty() && names.iter().all(|name| at(name)));
    let instead = format!("REDIRECT to port {} instead of DNAT to 127.0.0.1", case.config.local_port);
    Some(if on {
        let seen = "on, for DNAT to 127.0.0.1: clients can reach everything that listens on loopback";
        Finding::note("route-localnet", seen, instead)
    } else {
        let seen = format!("off, and {} sends connections to 127.0.0.1: the kernel drops them", rule.tool);
        Finding::fail("route-localnet", seen, format!("{instead}, or sysctl -w net.ipv4.conf.all.route_localnet=1"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status::{Fail, Note, Ok, Warn};
    use super::*;

    #[test]
    fn a_gateway_forwards() {
        for (four, six, wants_six, status) in
            [(true, true, true, Ok), (true, false, false, Ok), (true, false, true, Warn), (false, true, false, Warn)]
        {
            assert_eq!(judge_forwarding(four, six, wants_six).status, status, "{four} {six} {wants_six}");
        }
    }

    #[test]
    fn the_table_of_connections_fills_up() {
        for (count, max, status) in [
            (Some(0), Some(65_536), Ok),
            (Some(79), Some(100), Ok),
            (Some(80), Some(100), Warn),
            (Some(100), Some(100), Fail),
            (None, Some(100), Note),
            (Some(1), Some(0), Fail),
        ] {
            assert_eq!(judge_conntrack(count, max).status, status, "{count:?} of {max:?}");
        }
    }

    #[test]
    fn policy_routing_is_a_rule_and_a_route() {
        let rules = "0:\tfrom all lookup local\n32765:\tfrom all fwmark 0x6869/0xffff lookup 26729\n".to_owned();
        let table = "local default dev lo scope host\n".to_owned();
        let whole = Routing { six: false, rules, table };
        assert_eq!(judge_routing(&whole, "up").status, Ok);
        let without_rule = Routing { rules: String::new(), ..whole.clone() };
        let without_route = Routing { table: String::new(), ..whole };
        for broken in [without_rule, without_route] {
            let found = judge_routing(&broken, "up");
            assert_eq!((found.status, &found.fix[..]), (Fail, "up"));
        }
    }
}
