//! The resolver's settings: `dns` and what begins with `dns-`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};

use super::values::parts;
use crate::addr::Host;

/// What the resolver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Where it answers; nowhere: it is off.
    pub listen: Vec<SocketAddr>,
    /// What others answer.
    pub forward: Vec<Zone>,
    /// From where names get addresses.
    pub pool: Ipv4Net,
    /// The same for IPv6.
    pub pool6: Ipv6Net,
    /// Whether names have IPv6 addresses too.
    pub aaaa: bool,
    /// How long clients may keep an answer.
    pub ttl: Duration,
    /// Where names and their addresses outlive a restart; `None`: nowhere.
    pub state: Option<PathBuf>,
}

/// A name, with all below it, and who knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The name.
    pub name: Host,
    /// Servers in order of preference, one at least.
    pub servers: Vec<SocketAddr>,
}

impl DnsSettings {
    pub(super) fn empty() -> DnsSettings {
        DnsSettings {
            listen: Vec::new(),
            forward: Vec::new(),
            pool: Ipv4Net::default(),
            pool6: Ipv6Net::default(),
            aaaa: false,
            ttl: Duration::ZERO,
            state: None,
        }
    }
}

/// Addresses, port 53 where none is given.
pub(super) fn servers(text: &str) -> Result<Vec<SocketAddr>, String> {
    parts(text).map(server).collect()
}

fn server(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let addr = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse());
    addr.ok()
        .filter(|addr: &SocketAddr| addr.port() > 0)
        .ok_or_else(|| format!("{text:?} is no address, with or without a port, such as 10.0.0.1:5353"))
}

/// `NAME=SERVER`; several for one name stand one behind the other.
pub(super) fn zones(text: &str) -> Result<Vec<Zone>, String> {
    let mut zones: Vec<Zone> = Vec::new();
    for part in parts(text) {
        let wrong = || format!("{part:?} is not NAME=SERVER, such as corp.example=10.0.0.53");
        let (name, at) = part.split_once('=').ok_or_else(wrong)?;
        let name = name.trim();
        let name = Host::parse(name.strip_prefix('.').unwrap_or(name).as_bytes()).ok_or_else(wrong)?;
        let at = server(at.trim())?;
        match zones.iter_mut().find(|zone| zone.name == name) {
            Some(zone) => zone.servers.push(at),
            None => zones.push(Zone { name, servers: vec![at] }),
        }
    }
    Ok(zones)
}

/// A network to give addresses from: large enough to be of use, and no more than can be counted.
pub(super) fn pool(text: &str) -> Result<Ipv4Net, String> {
    let net: Ipv4Net = text.parse().map_err(|_| format!("{text:?} is no IPv4 network, such as 198.18.0.0/15"))?;
    if !(8..=29).contains(&net.prefix_len()) {
        return Err(format!("{text:?} is not between /8 and /29"));
    }
    Ok(net.trunc())
}

/// The same for IPv6.
pub(super) fn pool6(text: &str) -> Result<Ipv6Net, String> {
    let net: Ipv6Net = text.parse().map_err(|_| format!("{text:?} is no IPv6 network, such as fd00:1::/96"))?;
    if !(8..=112).contains(&net.prefix_len()) {
        return Err(format!("{text:?} is not between /8 and /112"));
    }
    Ok(net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_port_53_unless_they_say_so() {
        let read =
            servers("10.0.0.1, [2001:db8::1]:5353,2001:db8::2").map(|s| s.iter().map(SocketAddr::to_string).collect());
        assert_eq!(read, Ok(["10.0.0.1:53", "[2001:db8::1]:5353", "[2001:db8::2]:53"].map(str::to_owned).to_vec()));
        for text in ["name", "10.0.0.1:0", "10.0.0", "10.0.0.1:x", "::1]:53"] {
            assert!(servers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn zones_gather_their_servers() {
        let read = zones(".Corp.example=10.0.0.1, lab=10.0.0.2:5353, corp.example=10.0.0.3").unwrap_or_default();
        assert_eq!(read.len(), 2, "{read:?}");
        assert_eq!((read[0].name.as_str(), read[0].servers.len()), ("corp.example", 2));
        for text in ["corp", "=10.0.0.1", "corp=", "a b=10.0.0.1", "corp=dns.corp"] {
            assert!(zones(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pools_are_networks_of_a_sensible_size() {
        assert_eq!(pool("198.18.7.7/15").map(|net| net.to_string()), Ok("198.18.0.0/15".to_owned()));
        assert!(pool("198.18.0.0").is_err() && pool("10.0.0.0/30").is_err() && pool("0.0.0.0/0").is_err());
        assert!(pool6("fd00::/112").is_ok() && pool6("fd00::/120").is_err() && pool6("10.0.0.0/8").is_err());
    }
}
