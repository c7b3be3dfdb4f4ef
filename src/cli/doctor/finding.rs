//! What was found: one line for people, one object for programs.

use std::fmt::Write as _;

use serde_json::json;

/// Every check in the order of its findings, which is the way of a connection: its group, its name, what it looks at.
pub const CHECKS: [(&str, &str, &str); 29] = [
    ("rules", "settings", "the file has no mistake, and the daemon's user may read it and the files that it names"),
    ("rules", "rules", "netfilter hands connections to local-port, and the interfaces that the rules name are there"),
    ("rules", "rules-match", "what is loaded is what the file says"),
    ("rules", "captured", "connections have been captured; the kernel counts them"),
    ("rules", "confirm", "the rules are there to stay, and wait for no handyproxy-rules confirm"),
    ("rules", "quic", "QUIC is refused where port 443 is captured, so that browsers fall back to TCP at once"),
    ("rules", "ipv6", "no IPv6 goes past rules for IPv4 only"),
    ("rules", "input", "no firewall of this machine drops what the rules hand to local-port"),
    ("rules", "loop", "our own connections to the proxies do not come back to us"),
    ("capture", "tproxy", "the policy routing and the capability that capture = \"tproxy\" needs"),
    ("capture", "route-localnet", "the kernel lets DNAT to 127.0.0.1 pass, where there is such a rule"),
    ("kernel", "forwarding", "a gateway forwards what is not captured"),
    ("kernel", "conntrack", "there is room in the kernel's table of connections"),
    ("kernel", "ports", "local ports are enough for max-sessions towards one proxy"),
    ("kernel", "pipes", "the daemon's user may have pipes of full size, or bytes are copied"),
    ("daemon", "daemon", "handyproxy, and nothing else, listens on local-port"),
    ("daemon", "descriptors", "the descriptor limit is enough for max-sessions"),
    ("daemon", "taps", "the daemon may write where each tap writes, and there is room; none is failing"),
    ("daemon", "access-log", "the same for the access log, where it is a file or the journal"),
    ("daemon", "admin", "the daemon, and nothing else, answers at admin, and is ready"),
    ("upstream", "route", "there is a route to each address of each proxy, and for local rules a default route"),
    ("upstream", "reach", "each address of each proxy can be connected to, TLS included"),
    ("upstream", "login", "the proxy asks for nothing that we cannot say, and takes our credentials"),
    ("upstream", "connect-443", "the proxy opens a tunnel by name to port 443"),
    ("upstream", "connect-80", "the same to port 80, or plain-http knows what to do"),
    ("upstream", "by-address", "the proxy opens a tunnel by address, for connections without a name"),
    ("names", "names", "the names of the proxies resolve, and soon"),
    ("names", "client-dns", "clients have a resolver: ours where dns is set, or another one on this machine"),
    ("clock", "clock", "the clock is right, for certificates and Kerberos: compared with the Date of a proxy"),
];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// All is well.
    Ok,
    /// Worth knowing, and nothing wrong.
    Note,
    /// It works for some, or not for long; or it could not be seen.
    Warn,
    /// It does not work.
    Fail,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        }
    }
}

/// What one check has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// One of [`CHECKS`].
    pub(super) check: &'static str,
    pub(super) status: Status,
    pub(super) seen: String,
    /// A command, or a setting to change; empty where there is nothing to do.
    pub(super) fix: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, seen: impl Into<String>) -> Finding {
        Finding { check, status: Status::Ok, seen: seen.into(), fix: String::new() }
    }

    pub(super) fn note(check: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { status: Status::Note, fix: fix.into(), ..Finding::ok(check, seen) }
    }

    pub(super) fn warn(check: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { status: Status::Warn, ..Finding::note(check, seen, fix) }
    }

    pub(super) fn fail(check: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { status: Status::Fail, ..Finding::note(check, seen, fix) }
    }

    fn is_well(&self) -> bool {
        matches!(self.status, Status::Ok | Status::Note)
    }
}

/// All findings about one instance.
#[derive(Debug)]
pub(super) struct Report {
    /// The file that the instance was read from.
    file: Option<String>,
    findings: Vec<Finding>,
}

impl Report {
    /// Puts the findings in the order of [`CHECKS`]; those of one check keep theirs.
    pub(super) fn new(file: Option<String>, mut findings: Vec<Finding>) -> Report {
        findings.sort_by_key(|finding| CHECKS.iter().position(|(_, name, _)| *name == finding.check));
        Report { file, findings }
    }

    pub(super) fn is_well(&self) -> bool {
        self.findings.iter().all(Finding::is_well)
    }

    /// One line per finding, and one for what to do about it.
    pub(super) fn text(&self, headed: bool) -> String {
        let mut text = String::new();
        if let (true, Some(file)) = (headed, &self.file) {
            let _ = writeln!(text, "{file}");
        }
        for Finding { check, status, seen, fix } in &self.findings {
            let _ = writeln!(text, "{:<5} {check}: {}", status.word(), plain(seen));
            if !fix.is_empty() {
                let _ = writeln!(text, "      fix: {}", plain(fix));
            }
        }
        text
    }

    /// The objects of all reports, in one array.
    pub(super) fn json(reports: &[Report]) -> String {
        let objects = reports.iter().flat_map(|report| {
            report.findings.iter().map(|Finding { check, status, seen, fix }| {
                let status = status.word().to_ascii_lowercase();
                json!({ "file": report.file, "check": check, "status": status, "seen": plain(seen), "fix": fix })
            })
        });
        let array: Vec<_> = objects.collect();
        format!("{:#}\n", serde_json::Value::Array(array))
    }
}

/// One line, whatever a tool or a proxy has said.
fn plain(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_follow_the_way_of_a_connection_and_say_what_to_do() {
        let findings = vec![
            Finding::warn("clock", "an hour\nlate", "timedatectl set-ntp true"),
            Finding::ok("rules", "up"),
            Finding::note("captured", "nothing yet", ""),
        ];
        let report = Report::new(Some("a.toml".to_owned()), findings);
        let lines = "ok    rules: up\nnote  captured: nothing yet\nwarn  clock: an hour late\n      fix: timedatectl set-ntp true\n";
        assert_eq!(report.text(false), lines);
        assert_eq!(report.text(true), format!("a.toml\n{lines}"));
        assert!(!report.is_well());
        let read: serde_json::Value = serde_json::from_str(&Report::json(&[report])).expect("JSON");
        let last = json!({ "file": "a.toml", "check": "clock", "status": "warn", "seen": "an hour late",
            "fix": "timedatectl set-ntp true" });
        assert_eq!((read.as_array().map(Vec::len), &read[2]), (Some(3), &last));
    }

    #[test]
    fn notes_are_well() {
        let well = [Finding::ok("rules", ""), Finding::note("rules", "", "")];
        assert!(Report::new(None, well.to_vec()).is_well());
        assert!(!Report::new(None, vec![Finding::fail("rules", "", "")]).is_well());
    }

    #[test]
    fn no_check_has_two_meanings() {
        for (at, (_, name, what)) in CHECKS.iter().enumerate() {
            assert!(!what.is_empty() && CHECKS[..at].iter().all(|(_, other, _)| other != name), "{name}");
        }
    }
}
