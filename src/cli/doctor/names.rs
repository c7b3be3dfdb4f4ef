//! Names: those of the proxies, and who answers clients.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::super::tool;
use super::case::Case;
use super::finding::Finding;
use super::machine;
use super::status::Line;
use crate::addr::Host;
use crate::config::{DnsSettings, Proxy, UpstreamHost};
use crate::upstream::Upstream;

/// How long a name of a proxy may take, and from when on it is slow.
const PATIENCE: Duration = Duration::from_secs(5);
const SLOW: Duration = Duration::from_secs(1);
/// How long a resolver near by may take.
const NEAR: Duration = Duration::from_secs(2);
/// What is asked: a name that is there (RFC 6761).
const ASKED: [&str; 2] = ["example", "com"];
const ID: [u8; 2] = [0x68, 0x70];

/// The address of a host as this machine sees it, IPv4 first.
pub(super) async fn address_of(host: &Host) -> Option<IpAddr> {
    let looked_up = tokio::time::timeout(NEAR, tokio::net::lookup_host((host.as_str(), 443))).await.ok()?.ok()?;
    let addrs: Vec<IpAddr> = looked_up.map(|addr| addr.ip()).collect();
    addrs.iter().find(|ip| ip.is_ipv4()).or(addrs.first()).copied()
}

/// The addresses of a proxy, and what there is to say of its name.
pub(super) async fn of_proxy(proxy: &Proxy, upstream: &Upstream) -> (Vec<Finding>, Vec<SocketAddr>) {
    let start = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, upstream.addresses()).await;
    let answer = answer.map_err(|_| format!("no answer within {}s", PATIENCE.as_secs()));
    let answer = answer.and_then(|mut answers| answers.pop().map_or(Err("no answer".to_owned()), |(_, answer)| answer));
    let addrs = answer.as_ref().map(|addrs| addrs.to_vec()).unwrap_or_default();
    let UpstreamHost::Name(name) = &proxy.addr.host else { return (Vec::new(), addrs) };
    (vec![judge_name(name.as_str(), answer.as_deref(), start.elapsed())], addrs)
}

fn judge_name(name: &str, answer: Result<&[SocketAddr], &String>, took: Duration) -> Finding {
    let fix = format!("see to /etc/resolv.conf or /etc/hosts (getent ahosts {name}), or name the proxy by its address");
    let addrs = match answer {
        Ok(addrs) => addrs,
        Err(why) => return Finding::fail("names", format!("{name}: {why}"), fix),
    };
    let addrs: Vec<String> = addrs.iter().map(|addr| addr.ip().to_string()).collect();
    let seen = format!("{name} is {} within {} ms", addrs.join(", "), took.as_millis());
    if took > SLOW { Finding::warn("names", format!("{seen}, which is slow"), fix) } else { Finding::ok("names", seen) }
}

/// Who answers the questions of clients.
pub(super) async fn check(case: &Case<'_>) -> Vec<Finding> {
    match &case.config.dns {
        Some(dns) => ours(case, dns).await,
        None if case.is_gateway() => vec![others(case).await],
        None => Vec::new(),
    }
}

/// Our own resolver, at each of its addresses.
async fn ours(case: &Case<'_>, dns: &DnsSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for addr in &dns.listen {
        let at = SocketAddr::new(machine::own(addr.ip()), addr.port());
        let asked = [("UDP", udp(at).await), ("TCP", tcp(at).await)];
        let failed =
            asked.iter().find_map(|(how, answer)| answer.as_ref().err().map(|why| format!("{at} by {how}: {why}")));
        findings.push(match failed {
            None => Finding::ok("client-dns", format!("{at} answers by UDP and TCP")),
            Some(why) => {
                Finding::fail("client-dns", why, format!("{} (dns is set, and the daemon answers it)", case.start()))
            }
        });
    }
    findings
}

/// Another program on this machine, at the addresses that clients see.
async fn others(case: &Case<'_>) -> Finding {
    let interfaces: Vec<&str> = case.lines.iter().filter_map(Line::interfaces).flatten().collect();
    let listed = tool::run("ip", &["-o", "-4", "addr", "show"]).said().unwrap_or_default();
    let mut addrs = addresses(&listed, &interfaces);
    addrs.push(IpAddr::from([127, 0, 0, 1]));
    for ip in addrs {
        let at = SocketAddr::new(ip, 53);
        if udp(at).await.is_ok() {
            return Finding::ok("client-dns", format!("a resolver of this machine answers at {at}"));
        }
    }
    let seen = "no resolver answers on this machine, and dns is not set: clients need another one";
    let set = case.set("dns", "[\"THE ADDRESS THAT CLIENTS SEE\"]");
    // rules that no file knows of are brought up by other means
    let rules = if case.config.rules.is_some() { "dns = true under [rules], " } else { "" };
    Finding::note("client-dns", seen, format!("if they have none: {rules}{set}"))
}

/// The addresses of interfaces in what `ip -o addr` prints; of all where none is named.
fn addresses(listed: &str, interfaces: &[&str]) -> Vec<IpAddr> {
    let address = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, address) = (words.get(1)?, words.get(3)?);
        let counts = *name != "lo" && (interfaces.is_empty() || interfaces.contains(name));
        address.split('/').next()?.parse().ok().filter(|_| counts)
    };
    listed.lines().filter_map(address).collect()
}

/// A question for the address of one name (RFC 1035 section 4).
fn question() -> Vec<u8> {
    let mut bytes = [&ID[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in ASKED {
        bytes.push(u8::try_from(label.len()).expect("a short word"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

/// Whether these bytes answer it, be it with a no.
fn answer(bytes: &[u8]) -> Result<(), String> {
    match bytes {
        [a, b, flags, code, ..] if [*a, *b] == ID && flags & 0x80 != 0 => match code & 0x0f {
            0 | 3 => Ok(()),
            code => Err(format!("answers with error {code}")),
        },
        _ => Err("answers with something else than DNS".to_owned()),
    }
}

async fn udp(at: SocketAddr) -> Result<(), String> {
    let any: SocketAddr = if at.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let asking = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(at).await?;
        socket.send(&question()).await?;
        let mut bytes = [0; 512];
        let length = socket.recv(&mut bytes).await?;
        Ok(bytes[..length].to_vec())
    };
    heard(asking).await
}

async fn tcp(at: SocketAddr) -> Result<(), String> {
    let asking = async {
        let mut stream = TcpStream::connect(at).await?;
        let question = question();
        let length = u16::try_from(question.len()).expect("a short question").to_be_bytes();
        stream.write_all(&[&length[..], &question].concat()).await?;
        let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    };
    heard(asking).await
}

async fn heard(asking: impl Future<Output = std::io::Result<Vec<u8>>>) -> Result<(), String> {
    match tokio::time::timeout(NEAR, asking).await {
        Ok(Ok(bytes)) => answer(&bytes),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("nothing within {}s", NEAR.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status::{Fail, Ok, Warn};
    use super::*;

    #[test]
    fn slow_names_and_missing_names_are_told() {
        let addrs = ["10.0.0.1:3128".parse().expect("an address")];
        let (soon, late) = (Duration::from_millis(3), Duration::from_millis(1001));
        assert_eq!(judge_name("proxy", Result::Ok(&addrs), soon).seen, "proxy is 10.0.0.1 within 3 ms");
        assert_eq!(judge_name("proxy", Result::Ok(&addrs), soon).status, Ok);
        assert_eq!(judge_name("proxy", Result::Ok(&addrs), late).status, Warn);
        assert_eq!(judge_name("proxy", Err(&"unknown".to_owned()), soon).status, Fail);
    }

    #[test]
    fn an_answer_is_told_from_an_error() {
        assert_eq!(question().len(), 29);
        let reply = |code: u8| [&ID[..], &[0x81, 0x80 | code, 0, 1]].concat();
        assert!(answer(&reply(0)).is_ok() && answer(&reply(3)).is_ok());
        assert!(answer(&reply(2)).is_err() && answer(&reply(5)).is_err());
        assert!(answer(b"").is_err() && answer(&question()).is_err());
    }

    #[test]
    fn addresses_are_those_that_clients_see() {
        let listed = "1: lo    inet 127.0.0.1/8 scope host lo\n2: lan    inet 10.1.0.1/24 scope global lan\n3: wan    inet 10.2.0.1/24 scope global wan\n";
        assert_eq!(addresses(listed, &["lan"]), [IpAddr::from([10, 1, 0, 1])]);
        assert_eq!(addresses(listed, &[]).len(), 2);
    }
}
