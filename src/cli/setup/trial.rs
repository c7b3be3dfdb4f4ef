//! The test of the upstream, before anything is changed: its name, a connection, a tunnel with our credentials, and
//! whether it makes tunnels for HTTP without TLS. All by the code that sessions go through.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::wait_for;
use crate::addr::{Host, Target};
use crate::config::Config;
use crate::session::Setup;
use crate::upstream::{Deadline, Failure, Retries, Upstream};

/// How long a proxy's name may take.
const RESOLVE: Duration = Duration::from_secs(8);
/// How long a proxy may take to be connected to, and to open a tunnel.
const OPEN: Duration = Duration::from_secs(20);

/// What is asked for in a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Name(Host, u16),
    Addr(SocketAddr),
}

impl Goal {
    /// Reads `HOST[:PORT]`, port 443 if left out.
    pub(super) fn read(text: &str) -> Result<Goal, String> {
        let bad = || format!("{text:?} is no host, such as example.com:443");
        if let Ok(addr) = text.parse() {
            return Ok(Goal::Addr(addr));
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Ok(Goal::Addr(SocketAddr::new(ip, 443)));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?),
            None => (text, 443),
        };
        Host::parse(host.as_bytes()).map(|host| Goal::Name(host, port)).ok_or_else(bad)
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Goal::Name(_, port) => *port,
            Goal::Addr(addr) => addr.port(),
        }
    }

    /// The host alone, if it is one by name.
    pub(super) fn host(&self) -> Option<&Host> {
        match self {
            Goal::Name(host, _) => Some(host),
            Goal::Addr(_) => None,
        }
    }

    fn target(&self, port: u16) -> Target<'_> {
        match self {
            Goal::Name(host, _) => Target::Name(host, port),
            Goal::Addr(addr) => Target::Addr(SocketAddr::new(addr.ip(), port)),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target(self.port()).fmt(f)
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What was seen, a line for each step.
    pub(super) seen: Vec<String>,
    /// Why it is of no use as it is.
    pub(super) failed: Option<String>,
    /// Whether credentials are what is missing, or wrong.
    pub(super) wants_credentials: bool,
    /// Whether it makes no tunnels for HTTP without TLS.
    pub(super) refuses_plain: bool,
}

/// Tests the upstream of the settings.
///
/// # Errors
/// The settings cannot be used at all.
pub(super) fn test(config: Config, goal: &Goal) -> Result<Outcome, String> {
    let setup = Setup::new(config, None)?;
    let upstream = &setup.upstreams[setup.config.default_upstream];
    let mut outcome = Outcome::default();
    wait_for(async {
        if let Err(why) = steps(upstream, goal, &mut outcome).await {
            outcome.failed = Some(why);
        }
    })?;
    Ok(outcome)
}

async fn steps(upstream: &Upstream, goal: &Goal, outcome: &mut Outcome) -> Result<(), String> {
    let late = |_| format!("{}: its name does not resolve within {}s", upstream.name(), RESOLVE.as_secs());
    let answers = tokio::time::timeout(RESOLVE, upstream.addresses()).await.map_err(late)?;
    let mut resolved = false;
    for (proxy, answer) in answers {
        outcome.seen.push(match answer {
            Ok(addrs) => {
                resolved = true;
                let addrs: Vec<String> = addrs.iter().map(|addr| addr.ip().to_string()).collect();
                format!("{proxy} is {}", addrs.join(", "))
            }
            Err(why) => why,
        });
    }
    if !resolved {
        return Err("its name does not resolve".to_owned());
    }
    match tunnel(upstream, &goal.target(goal.port())).await {
        Ok(seen) => outcome.seen.push(seen),
        Err(failure) => {
            // 401 is what some proxies say to a wrong password
            outcome.wants_credentials =
                matches!(failure.status, Some(401 | 407)) || failure.close.end == crate::close::End::Auth;
            return Err(failure.close.error.as_deref().unwrap_or("no reason was given").to_owned());
        }
    }
    if goal.port() == 80 {
        return Ok(());
    }
    match tunnel(upstream, &goal.target(80)).await {
        Ok(seen) => outcome.seen.push(seen),
        Err(failure) => {
            let why = failure.close.error.as_deref().unwrap_or_default().to_owned();
            outcome.refuses_plain = matches!(failure.status, Some(403 | 405 | 501));
            outcome.seen.push(format!("no tunnel for port 80: {why}"));
        }
    }
    Ok(())
}

/// Opens a tunnel over a connection of its own, and lets go of it.
async fn tunnel(upstream: &Upstream, target: &Target<'_>) -> Result<String, Failure> {
    let start = Instant::now();
    let deadline = Deadline::after(OPEN);
    let link = match tokio::time::timeout(OPEN, upstream.dial(&Retries::default())).await {
        Ok(link) => link?,
        Err(_) => return Err(Failure::timeout(&format!("dial {}", upstream.shown()), OPEN)),
    };
    let dialled = start.elapsed();
    let (link, opened) = upstream.open(link, target, false, deadline, &Retries::default()).await?;
    let status = opened.status.map_or(String::new(), |status| format!(" ({status})"));
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let (connect, whole) = (millis(dialled), millis(start.elapsed()));
    Ok(format!(
        "{} opens a tunnel to {target}{status}: connected after {connect:.0} ms, open after {whole:.0} ms",
        link.addr
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_a_host_with_a_port() {
        for (text, wanted) in [
            ("www.example.com", "www.example.com:443"),
            ("WWW.example.com:80", "www.example.com:80"),
            ("192.0.2.7", "192.0.2.7:443"),
            ("192.0.2.7:8080", "192.0.2.7:8080"),
            ("2001:db8::7", "[2001:db8::7]:443"),
            ("[2001:db8::7]", "[2001:db8::7]:443"),
            ("[2001:db8::7]:80", "[2001:db8::7]:80"),
        ] {
            assert_eq!(Goal::read(text).map(|goal| goal.to_string()).as_deref(), Ok(wanted), "{text}");
        }
        for text in ["", ":", "a b", "www.example.com:0", "www.example.com:https", "http://www.example.com"] {
            assert!(Goal::read(text).is_err(), "{text}");
        }
    }
}
