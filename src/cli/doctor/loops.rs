//! Whether our own connections to the proxies could come back to us.

use std::net::SocketAddr;

use super::case::Case;
use super::finding::Finding;
use super::loaded::Spared;
use crate::sys::account::Account;
use crate::sys::origin;

/// What decides it, where this machine's own connections are captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    /// SO_MARK of our connections; 0: none.
    mark: u32,
    /// Whom the rules leave alone; `None` where the rules could not be seen.
    spared: Option<Spared>,
    /// The user of `[rules]`.
    user: Option<String>,
    /// The daemon: its user's number, and whether it may set a mark.
    daemon: Option<(u32, bool)>,
}

/// Looks at the rules; the upstreams are looked at by `of_address`.
pub(super) fn check(case: &Case) -> Vec<Finding> {
    if !case.asker.sees_all() && case.config.rules.is_none() {
        return vec![Finding::note(
            "loop",
            "not seen: only root may look at the rules",
            "run handyproxy doctor as root",
        )];
    }
    if !case.is_local() {
        return vec![Finding::ok("loop", "not possible: connections of this machine are not captured")];
    }
    let name = case.lines.first().map(|line| line.get("name")).or(case.name).unwrap_or_default();
    let own: Vec<_> = case.loaded.iter().filter(|rule| rule.is_local_of(name)).collect();
    let rules = if own.is_empty() { case.loaded.iter().collect() } else { own };
    let account = case.listener.daemon().and_then(|pid| Account::of(&pid.to_string()));
    let facts = Facts {
        mark: case.config.mark,
        spared: (!rules.is_empty()).then(|| Spared::by(rules)),
        user: case.config.rules.as_ref().and_then(|rules| rules.values("uid").first().cloned()),
        daemon: account.map(|account| (account.uid, account.may_mark())),
    };
    vec![judge(&facts, &case.set("mark", "0x68"), &case.rules_up())]
}

fn judge(facts: &Facts, set_mark: &str, up: &str) -> Finding {
    let Facts { mark, spared, user, daemon } = facts;
    let by_user = match spared {
        // of several users one may be the daemon's, by name or by number
        Some(spared) => !spared.users.is_empty(),
        None => user.is_some(),
    };
    let marks = spared.as_ref().map(|spared| &spared.marks[..]);
    let marked = *mark != 0 && marks.is_none_or(|marks| marks.contains(mark));
    if !marked && !by_user {
        return match (mark, marks) {
            (0, _) => {
                let seen = "mark is 0 and the rules leave no user alone: our own connections are captured";
                Finding::fail("loop", seen, format!("{set_mark}; {up}"))
            }
            (_, Some([first, ..])) => {
                let seen = format!("our connections are marked {mark:#x}, and the rules leave {first:#x} alone");
                Finding::fail("loop", seen, up)
            }
            _ => Finding::fail("loop", format!("the rules do not leave connections marked {mark:#x} alone"), up),
        };
    }
    if let (true, false, Some((_, false))) = (marked, by_user, daemon) {
        let seen = "the rules leave our mark alone, and the daemon lacks CAP_NET_ADMIN, without which it sets none";
        return Finding::fail(
            "loop",
            seen,
            "AmbientCapabilities=CAP_NET_ADMIN in its unit, or uid = USER under [rules]",
        );
    }
    if let (false, Some(spared), Some((uid, _))) = (marked, spared, daemon) {
        let numbers: Vec<u32> = spared.users.iter().filter_map(|user| user.parse().ok()).collect();
        if numbers.len() == spared.users.len() && !numbers.contains(uid) {
            let seen = format!("the rules leave user {} alone, and the daemon is user {uid}", spared.users.join(", "));
            return Finding::fail("loop", seen, format!("uid = the daemon's user under [rules], or {set_mark}"));
        }
    }
    let by = if marked { format!("mark {mark:#x}") } else { "the daemon's user".to_owned() };
    match spared {
        Some(_) => Finding::ok("loop", format!("not possible: the rules leave {by} alone")),
        None => Finding::note("loop", format!("the rules are not seen; they should leave {by} alone"), up),
    }
}

/// Whether an address of a proxy is our own listener.
pub(super) fn of_address(addr: SocketAddr, case: &Case) -> Option<Finding> {
    let is_us = addr.port() == case.config.local_port && origin::is_local(addr.ip());
    is_us.then(|| {
        let seen = format!("the proxy {addr} is our own listener");
        Finding::fail("loop", seen, case.set("upstream-proxy", "\"ANOTHER HOST:PORT\""))
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status::{Fail, Note, Ok};
    use super::*;

    #[test]
    fn whoever_captures_this_machine_must_leave_us_alone() {
        let spared = |marks: &[u32], users: &[&str]| {
            Some(Spared { marks: marks.to_vec(), users: users.iter().map(|user| (*user).to_owned()).collect() })
        };
        let marked = Facts { mark: 0x68, spared: spared(&[0x68], &[]), user: None, daemon: Some((998, true)) };
        let unmarked = Facts { mark: 0, spared: spared(&[0x68], &["998"]), ..marked.clone() };
        let rows = [
            (marked.clone(), Ok, "mark 0x68"),
            (unmarked.clone(), Ok, "user"),
            (Facts { daemon: None, ..marked.clone() }, Ok, "mark"),
            (Facts { mark: 0, ..marked.clone() }, Fail, "mark is 0"),
            (Facts { mark: 7, ..marked.clone() }, Fail, "marked 0x7, and the rules leave 0x68"),
            (Facts { spared: spared(&[], &[]), ..marked.clone() }, Fail, "do not leave"),
            (Facts { daemon: Some((998, false)), ..marked.clone() }, Fail, "CAP_NET_ADMIN"),
            (Facts { daemon: Some((0, true)), ..unmarked.clone() }, Fail, "the daemon is user 0"),
            (Facts { mark: 0, spared: None, ..marked.clone() }, Fail, "mark is 0"),
            (Facts { spared: None, ..marked }, Note, "not seen"),
            (Facts { spared: None, user: Some("handyproxy".to_owned()), ..unmarked }, Note, "not seen"),
        ];
        for (facts, status, words) in rows {
            let found = judge(&facts, "set", "up");
            assert_eq!(found.status, status, "{facts:?}: {found:?}");
            assert!(found.seen.contains(words) && (status == Ok) == found.fix.is_empty(), "{found:?}");
        }
    }
}
