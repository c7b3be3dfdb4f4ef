//! Whether the admin answers, and is ours; and what it tells of taps and an access log that cannot be written.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;

use hyper::{Method, StatusCode};

use super::super::ask::{Unheard, ask};
use super::case::Case;
use super::daemon::{Holder, Listener};
use super::finding::Finding;
use super::{machine, places};
use crate::config::{AdminAddr, TapSettings};

/// Asks it, where there is to be one.
pub(super) async fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(addr) = &case.config.admin else { return Vec::new() };
    let addr = match addr {
        AdminAddr::Tcp(addr) => AdminAddr::Tcp(SocketAddr::new(machine::own(addr.ip()), addr.port())),
        unix @ AdminAddr::Unix(_) => unix.clone(),
    };
    let door = Door { shown: shown(&addr), holders: holders(&addr), addr, case };
    let answer = ask(&door.addr, Method::GET, "/readyz").await;
    let mut findings = vec![match &answer {
        Ok((status, body)) => door.judge_answer(*status, &String::from_utf8_lossy(body)),
        Err(unheard) => door.judge_silence(unheard),
    }];
    if answer.is_ok()
        && door.is_ours()
        && let Ok((StatusCode::OK, metrics)) = ask(&door.addr, Method::GET, "/metrics").await
    {
        let metrics = String::from_utf8_lossy(&metrics);
        findings.extend(taps(&metrics, case));
        findings.extend(access_log(&metrics, case));
    }
    findings
}

fn shown(addr: &AdminAddr) -> String {
    match addr {
        AdminAddr::Tcp(addr) => addr.to_string(),
        AdminAddr::Unix(path) => path.display().to_string(),
    }
}

/// Who listens there; for a socket of a file that is not looked for.
fn holders(addr: &AdminAddr) -> Listener {
    match addr {
        AdminAddr::Tcp(addr) => Listener::on(addr.port()),
        AdminAddr::Unix(_) => Listener::Hidden,
    }
}

/// The place where the admin is to be.
struct Door<'a> {
    addr: AdminAddr,
    shown: String,
    holders: Listener,
    case: &'a Case<'a>,
}

impl Door<'_> {
    /// Whether it may be that of the instance's daemon.
    fn is_ours(&self) -> bool {
        match (&self.holders, self.case.listener.daemon()) {
            (Listener::Seen(holders), Some(daemon)) => holders.iter().any(|holder| holder.pid == daemon),
            _ => true,
        }
    }

    /// Our daemon with older settings, if it may be its.
    fn outdated(&self) -> Option<(u16, u32)> {
        self.case.outdated().filter(|(_, older)| match &self.holders {
            Listener::Seen(holders) => holders.iter().any(|holder| holder.pid == *older),
            _ => true,
        })
    }

    fn judge_answer(&self, status: StatusCode, said: &str) -> Finding {
        let said = said.trim();
        let is_ready = status == StatusCode::OK && said == "ready";
        let is_not = status == StatusCode::SERVICE_UNAVAILABLE && said.starts_with("not ready: ");
        if !is_ready && !is_not {
            return self.taken(&format!("GET /readyz has status {} there", status.as_u16()));
        }
        if let Some((port, pid)) = self.outdated() {
            let seen = format!("{} answers: {said}; process {pid} has older settings, and port {port}", self.shown);
            return Finding::fail("admin", seen, self.case.restart());
        }
        // whoever is ready listens
        if !self.is_ours() || (is_ready && self.case.listener == Listener::None) {
            return self.taken("another instance has it");
        }
        if is_ready {
            return Finding::ok("admin", format!("{} answers: {said}", self.shown));
        }
        let fix = "reach, login and connect-443 below tell what is wrong with the upstream, descriptors how many seats there are";
        Finding::warn("admin", format!("{} answers: {said}", self.shown), fix)
    }

    fn judge_silence(&self, unheard: &Unheard) -> Finding {
        let shown = &self.shown;
        match unheard.kind() {
            Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => self.judge_nobody(),
            Some(ErrorKind::PermissionDenied) => {
                let seen = format!("{shown}: only its user, its group and root may connect to it");
                Finding::warn("admin", seen, "run handyproxy doctor as root")
            }
            Some(_) => Finding::fail("admin", format!("{shown}: {unheard}"), self.elsewhere()),
            None => match unheard {
                // whose it is cannot be told
                Unheard::Late if self.holders == Listener::Hidden => {
                    let seen = format!("whoever listens at {shown} gives {unheard}");
                    Finding::fail("admin", seen, format!("{}, or {}", self.case.restart(), self.elsewhere()))
                }
                Unheard::Late => self.taken(&unheard.to_string()),
                _ => self.taken(&format!("what it says is no HTTP: {unheard}")),
            },
        }
    }

    fn judge_nobody(&self) -> Finding {
        let (case, shown) = (self.case, &self.shown);
        if let AdminAddr::Unix(path) = &self.addr
            && fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket())
        {
            let seen = format!("{shown} is no socket, and the daemon does not start with it");
            return Finding::fail("admin", seen, format!("rm {shown}, or {}", self.elsewhere()));
        }
        if case.listener.daemon().is_none() && case.listener != Listener::Hidden {
            let why = match case.outdated() {
                Some((_, pid)) => format!("process {pid} has older settings"),
                None => "the daemon does not run".to_owned(),
            };
            return Finding::note("admin", format!("nobody listens at {shown}, since {why}"), "");
        }
        let fix = format!("{}: a change of admin needs that", case.restart());
        Finding::fail("admin", format!("nobody listens at {shown}, though the daemon runs"), fix)
    }

    /// It is somebody else's, or does not do what ours does.
    fn taken(&self, why: &str) -> Finding {
        let (shown, daemon) = (&self.shown, self.case.listener.daemon());
        let Listener::Seen(holders) = &self.holders else {
            return Finding::fail("admin", format!("something else is at {shown}: {why}"), self.elsewhere());
        };
        if holders.iter().any(|holder| Some(holder.pid) == daemon) {
            return Finding::fail("admin", format!("the daemon is at {shown}, and: {why}"), self.case.restart());
        }
        let names: Vec<String> = holders.iter().map(Holder::shown).collect();
        let fix = holders.first().map(|holder| format!("stop process {}, or {}", holder.pid, self.elsewhere()));
        let seen = format!("{shown} is taken by {}: {why}", names.join(", "));
        Finding::fail("admin", seen, fix.unwrap_or_else(|| self.elsewhere()))
    }

    fn elsewhere(&self) -> String {
        let other = match &self.addr {
            AdminAddr::Tcp(_) => "\"127.0.0.1:ANOTHER\"",
            AdminAddr::Unix(_) => "\"ANOTHER PATH\"",
        };
        self.case.set("admin", other)
    }
}

/// Taps that cannot write, or have missed something, by the metrics.
fn taps(metrics: &str, case: &Case) -> Vec<Finding> {
    let failing = samples(metrics, "handyproxy_tap_failing").into_iter().map(|sample| {
        Finding::fail("taps", format!("{}: the daemon cannot write it now", sample.tap(case)), why(case))
    });
    let missed = samples(metrics, "handyproxy_tap_records_missed_total").into_iter().map(|sample| {
        let seen = format!("{}: {} records were missed since it began", sample.tap(case), sample.value);
        Finding::note("taps", seen, "a larger queue, or when-full = \"wait\"; see man handyproxy-taps")
    });
    failing.chain(missed).collect()
}

/// The same of the access log.
fn access_log(metrics: &str, case: &Case) -> Vec<Finding> {
    let value = |name: &str| {
        let mut values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        values.next().filter(|value| *value > 0)
    };
    let failing = value("handyproxy_access_log_failing ")
        .map(|_| Finding::fail("access-log", "the access log: the daemon cannot write it now", why(case)));
    let lost = value("handyproxy_access_log_lines_lost_total ").map(|lines| {
        Finding::note("access-log", format!("the access log: {lines} lines were lost since the daemon began"), "")
    });
    failing.into_iter().chain(lost).collect()
}

/// Where it is told why something cannot be written.
fn why(case: &Case) -> String {
    let log = case.unit().map_or("the log of the daemon".to_owned(), |unit| format!("journalctl -u {unit} -n 50"));
    format!("{log} tells why")
}

/// What a metric tells of a tap.
#[derive(Debug, PartialEq, Eq)]
struct Sample {
    kind: String,
    format: String,
    path: String,
    /// Which of those that are alike in all of that, from 1.
    number: usize,
    value: u64,
}

impl Sample {
    /// Reads a line, if it is one of this name.
    fn read(line: &str, name: &str) -> Option<Sample> {
        let (kind, rest) = line.strip_prefix(name)?.strip_prefix("{kind=\"")?.split_once("\",format=\"")?;
        let (format, rest) = rest.split_once("\",path=\"")?;
        // a quote within a path has a backslash before it
        let (path, rest) = rest.rsplit_once("\",number=\"")?;
        let (number, value) = rest.split_once("\"} ")?;
        let value = value.split_whitespace().next()?.parse().ok()?;
        let number = number.parse().ok()?;
        Some(Sample { kind: kind.to_owned(), format: format.to_owned(), path: unescaped(path), number, value })
    }

    /// What the tap is called: by its place in the settings, unless the daemon has others by now.
    fn tap(&self, case: &Case) -> String {
        let is_it = |tap: &TapSettings| {
            tap.form.words() == (self.kind.as_str(), self.format.as_str()) && tap.shown_path() == self.path
        };
        let mut alike = case.config.taps.iter().enumerate().filter(|(_, tap)| is_it(tap));
        let found = alike.nth(self.number.saturating_sub(1)).map(|(at, tap)| places::name(at + 1, tap));
        found.unwrap_or_else(|| format!("tap {} {}", self.kind, self.path))
    }
}

/// The samples of this name that are not 0.
fn samples(metrics: &str, name: &str) -> Vec<Sample> {
    metrics.lines().filter_map(|line| Sample::read(line, name)).filter(|sample| sample.value > 0).collect()
}

/// The value of a label as it was before it was written.
fn unescaped(text: &str) -> String {
    let mut chars = text.chars();
    let mut plain = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next().map(|c| if c == 'n' { '\n' } else { c })),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_are_not_zero_are_told() {
        let metrics = r#"# TYPE handyproxy_tap_failing gauge
handyproxy_tap_failing{kind="flow",format="readable",path="/a",number="1"} 0
handyproxy_tap_failing{kind="pcapng",format="pcapng",path="/b \"} c\\",number="2"} 1
handyproxy_tap_records_missed_total{kind="flow",format="readable",path="-",number="1"} 17
"#;
        let sample = |kind: &str, format: &str, path: &str, number, value| {
            let [kind, format, path] = [kind, format, path].map(str::to_owned);
            [Sample { kind, format, path, number, value }]
        };
        let failing = sample("pcapng", "pcapng", "/b \"} c\\", 2, 1);
        assert_eq!(samples(metrics, "handyproxy_tap_failing"), failing);
        let missed = sample("flow", "readable", "-", 1, 17);
        assert_eq!(samples(metrics, "handyproxy_tap_records_missed_total"), missed);
        assert_eq!(samples(metrics, "handyproxy_tap"), []);
    }
}
