//! What proves that it works: a connection of this machine that the rules catch, or a client's, and its trace.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::console::Console;
use super::machine;
use super::plan::Plan;
use super::trace::Trace;
use super::trial::Goal;
use crate::addr::Target;
use crate::cli::rules::TOOL;
use crate::route::is_private;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(25);
/// How long a look-up may take.
const LOOK_UP: Duration = Duration::from_secs(5);
/// How long a session's line may take to be logged once it has ended.
const LINE: Duration = Duration::from_secs(5);
/// How often it is looked whether a client has come.
const LOOK: Duration = Duration::from_millis(500);
/// An address of documentation (RFC 5737), for a name that has none here: what counts is the name.
const STAND_IN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80));

/// What was proven.
#[derive(Debug)]
pub(super) struct Proof {
    /// Whether a connection took the whole path.
    pub(super) whole: bool,
    /// For people.
    pub(super) lines: Vec<String>,
}

/// How many connections the rules of an instance have caught; `None`: they are not up.
pub(super) fn captured(name: &str) -> Option<u64> {
    count(&machine::printed(TOOL, &["status", "--porcelain", "--name", name]), name)
}

fn count(status: &str, name: &str) -> Option<u64> {
    let ours = status.lines().filter(|line| line.split(' ').any(|word| word.strip_prefix("name=") == Some(name)));
    let counts =
        ours.filter_map(|line| line.split(' ').find_map(|word| word.strip_prefix("captured=")?.parse::<u64>().ok()));
    counts.reduce(|sum, more| sum + more)
}

/// A connection of this machine itself, from here to the host that is asked for and back.
pub(super) fn from_here(plan: &Plan, goal: &Goal) -> Result<Proof, String> {
    let before = captured(&plan.name).ok_or("the rules are not up")?;
    let since = now();
    let addr = address(goal);
    let mut stream =
        TcpStream::connect_timeout(&addr, ANSWER).map_err(|error| format!("connect to {addr}: {error}"))?;
    let own = stream.local_addr().map_err(|error| error.to_string())?;
    let said = exchange(&mut stream, goal).map_err(|error| format!("{goal} by way of {addr}: {error}"));
    drop(stream);
    if captured(&plan.name).is_none_or(|after| after <= before) {
        return Err(format!("a connection to {addr} went past the rules: they caught nothing"));
    }
    let trace = trace(&plan.name, since, |trace| trace.get("client") == Some(&own.to_string()));
    let traced = trace.as_ref().map(Trace::lines).unwrap_or_default();
    let said = match said {
        Ok(said) => said,
        Err(why) => return Err([vec![why], traced].concat().join("\n")),
    };
    let mut lines = vec![format!(
        "proven: a connection of this machine to {goal} was caught by the rules, went through the proxy, and {said}"
    )];
    if traced.is_empty() {
        lines.push("its trace is not in the journal".to_owned());
    }
    lines.extend(traced);
    Ok(Proof { whole: true, lines })
}

/// A connection of a client: somebody is asked to make one, and it is waited for.
pub(super) fn from_client(plan: &Plan, console: &mut Console, until: Instant) -> Result<Proof, String> {
    let before = captured(&plan.name).ok_or("the rules are not up")?;
    let since = now();
    let left = until.saturating_duration_since(Instant::now()).as_secs();
    console.say(&format!("Open a web page on a client now. It is waited for up to {left}s; Enter goes on without."));
    let mut seen = 0;
    while Instant::now() < until && !console.was_entered() {
        console.wait(LOOK)?;
        let Some(count) = captured(&plan.name) else { return Err("the rules are gone".to_owned()) };
        if count > before && seen == 0 {
            console.say("a client's connection was caught; its trace comes when it ends");
        }
        seen = count.saturating_sub(before);
        if seen == 0 {
            continue;
        }
        if let Some(trace) = find(&plan.name, since, |trace| trace.get("end") != Some("direct")) {
            let opened = trace.get("stage") == Some("relay");
            let mut lines = vec![if opened {
                "proven: a client's connection was caught by the rules and went through the proxy".to_owned()
            } else {
                "a client's connection was caught by the rules, and no tunnel was opened for it:".to_owned()
            }];
            lines.extend(trace.lines());
            return Ok(Proof { whole: opened, lines });
        }
    }
    let line = if seen == 0 {
        "not proven: no client's connection has arrived".to_owned()
    } else {
        format!(
            "proven: {seen} connections of clients were caught by the rules; not proven: none of them has ended, so there is no trace"
        )
    };
    Ok(Proof { whole: false, lines: vec![line] })
}

/// The trace of a session, once it is logged.
fn trace(name: &str, since: u64, is_it: impl Fn(&Trace) -> bool) -> Option<Trace> {
    let start = Instant::now();
    loop {
        let found = find(name, since, &is_it);
        if found.is_some() || start.elapsed() > LINE {
            return found;
        }
        std::thread::sleep(LOOK / 2);
    }
}

fn find(name: &str, since: u64, is_it: impl Fn(&Trace) -> bool) -> Option<Trace> {
    if !machine::has_systemd() {
        return None;
    }
    let (unit, since) = (format!("handyproxy@{name}.service"), format!("@{since}"));
    let lines = machine::printed("journalctl", &["-q", "--no-pager", "-o", "cat", "--since", &since, "-u", &unit]);
    lines.lines().rev().filter_map(Trace::read).find(is_it)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Where to connect to: what the name resolves to here, unless that is left alone by the rules.
fn address(goal: &Goal) -> SocketAddr {
    let host = match goal {
        Goal::Addr(addr) => return *addr,
        Goal::Name(host, _) => host.to_string(),
    };
    let port = goal.port();
    let (sending, answer) = channel();
    std::thread::spawn(move || {
        let addrs = (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let _ = sending.send(addrs.unwrap_or_default());
    });
    let mut addrs = answer.recv_timeout(LOOK_UP).unwrap_or_default();
    addrs.retain(|addr| !is_private(&Target::Addr(*addr)));
    addrs.sort_by_key(SocketAddr::is_ipv6);
    addrs.first().copied().unwrap_or(SocketAddr::new(STAND_IN, port))
}

/// Says what a client would say first, and tells what came back.
fn exchange(stream: &mut TcpStream, goal: &Goal) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    stream.set_read_timeout(Some(ANSWER)).map_err(failed)?;
    let plain = matches!(goal.port(), 80 | 8080);
    let first = if plain { request(goal).into_bytes() } else { hello(goal)? };
    stream.write_all(&first).map_err(failed)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while answer.len() < 16 * 1024 {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if answer.is_empty() => return Err(format!("no answer: {error}")),
            Err(_) => break,
        }
        if !plain {
            break;
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let head = text.lines().next().unwrap_or_default();
    match (plain, answer.first()) {
        (_, None) => Err("the connection was closed without an answer".to_owned()),
        (true, _) if text.contains("handyproxy: ") => Err(format!("refused: {head}")),
        (true, _) if head.starts_with("HTTP/") => Ok(format!("the server answered {head:?}")),
        // RFC 8446 section 5.1: a handshake, an alert
        (false, Some(22)) => Ok("the server answered the TLS hello".to_owned()),
        (false, Some(21)) => Err("refused with a TLS alert".to_owned()),
        _ => Err(format!("an answer that is of no protocol that was asked for: {head:?}")),
    }
}

fn request(goal: &Goal) -> String {
    let host = goal.host().map_or_else(|| goal.to_string(), ToString::to_string);
    format!("GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: handyproxy-setup\r\nConnection: close\r\n\r\n")
}

/// A ClientHello, as a browser's says the name. Nothing secret follows it, so no certificate is looked at.
fn hello(goal: &Goal) -> Result<Vec<u8>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("make a TLS hello: {error}");
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = match goal {
        Goal::Name(host, _) => {
            rustls::pki_types::ServerName::try_from(host.to_string()).map_err(|error| wrong(&error))?
        }
        Goal::Addr(addr) => addr.ip().into(),
    };
    let mut client = rustls::ClientConnection::new(config.into(), name).map_err(|error| wrong(&error))?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).map_err(|error| wrong(&error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_caught_is_counted_over_both_families() {
        let status = "name=gateway mode=gateway port=8043 family=4 captured=12 quic=reject confirm=43\n\
                      name=gateway mode=gateway port=8043 family=6 captured=3 quic=reject dns_captured=7 confirm=43\n\
                      name=other mode=local family=4 captured=100\n";
        assert_eq!(count(status, "gateway"), Some(15));
        assert_eq!(count(status, "gate"), None);
        assert_eq!(count("", "gateway"), None);
    }

    #[test]
    fn a_hello_says_the_name() {
        let bytes = hello(&Goal::read("www.example.com").expect("a goal")).expect("a hello");
        assert_eq!(bytes.first(), Some(&22));
        assert!(bytes.windows(15).any(|window| window == b"www.example.com"));
    }
}
