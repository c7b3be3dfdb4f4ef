//! Whether this machine's own connections have a way to go: without one they are not begun, and no rule sees them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::case::Case;
use super::finding::Finding;
use super::machine;
use super::rules::{wants_four, wants_six};

/// Far away, and nothing for which there would be a route of its own: a root server of the DNS. Nothing is sent there.
const FAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)), IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30))];

/// Looks for it, for each family of which this machine's own connections are captured.
pub(super) fn check(case: &Case) -> Vec<Finding> {
    let captured = families(case);
    let has_six = machine::addresses6().is_some_and(|all| all.iter().any(|address| address.interface != "lo"));
    let wanted = [captured[0], captured[1] && has_six];
    let asked = FAR.into_iter().zip(wanted).filter(|(_, is_wanted)| *is_wanted);
    asked.filter_map(|(far, _)| Some(judge(far, &look_up(far)?))).collect()
}

/// Whether this machine's own IPv4 and IPv6 are captured, or would be by what the file says.
fn families(case: &Case) -> [bool; 2] {
    if !case.is_local() {
        return [false; 2];
    }
    let up = case.lines.iter().filter(|line| line.is_local()).map(|line| [!line.is_six(), line.is_six()]);
    let by_hand = case.made_by_hand().into_iter().filter(|rule| rule.is_output);
    let each: Vec<[bool; 2]> = up.chain(by_hand.map(|rule| [rule.is_four, rule.is_six])).collect();
    match &case.config.rules {
        Some(rules) if each.is_empty() => {
            let (family, from) = (rules.values("family"), rules.values("from"));
            [wants_four(family, from), wants_six(family, from)]
        }
        _ => [0, 1].map(|family| each.iter().any(|captured| captured[family])),
    }
}

/// What a program hears that connects to there; `None` where it cannot be told.
fn look_up(far: IpAddr) -> Option<io::Result<()>> {
    let any = if far.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0u16; 8]) };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // of UDP this is a look at the routes, and nothing else
    Some(socket.connect(SocketAddr::new(far, 443)))
}

fn judge(far: IpAddr, found: &io::Result<()>) -> Finding {
    let (family, ip) = if far.is_ipv4() { ("IPv4", "ip") } else { ("IPv6", "ip -6") };
    let Err(why) = found else {
        return Finding::ok("route", format!("{family} that programs of this machine send has a way, as to {far}"));
    };
    let seen = format!(
        "there is no default route for {family}, and programs of this machine hear so before any rule sees them: \
         connect to {far}: {why}"
    );
    let fix = format!("{ip} route add default via GATEWAY, or dev INTERFACE: it may lead nowhere");
    // an address of a bridge is enough to be asked about IPv6, and programs fall back to IPv4
    if far.is_ipv6() { Finding::note("route", seen, fix) } else { Finding::fail("route", seen, fix) }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status::{Fail, Note, Ok};
    use super::*;

    #[test]
    fn a_family_without_a_way_is_named_with_its_command() {
        let rows = [(FAR[0], "IPv4", Fail, "ip route add"), (FAR[1], "IPv6", Note, "ip -6 route add")];
        for (far, family, status, command) in rows {
            let found = judge(far, &Err(nix::errno::Errno::ENETUNREACH.into()));
            assert_eq!(found.status, status, "{found:?}");
            assert!(found.seen.contains(family) && found.seen.contains("Network is unreachable"), "{found:?}");
            assert!(found.fix.starts_with(command), "{found:?}");
            let found = judge(far, &Result::Ok(()));
            assert_eq!((found.status, found.seen.contains(family)), (Ok, true), "{found:?}");
        }
    }

    #[test]
    fn the_routes_are_looked_at_without_a_word() {
        // wherever this runs, there is a way to itself
        let found = look_up(IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("a socket");
        assert!(found.is_ok(), "{found:?}");
    }
}
