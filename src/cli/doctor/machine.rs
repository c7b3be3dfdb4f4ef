//! What the kernel tells in /proc.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};

/// A file of /proc as text.
pub(super) fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// A number of /proc/sys.
pub(super) fn number(path: &str) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// Whether a switch of /proc/sys is on.
pub(super) fn is_on(path: &str) -> bool {
    number(path).is_some_and(|value| value > 0)
}

/// An IPv6 address of an interface, link-local ones left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address6 {
    pub(super) interface: String,
    pub(super) ip: Ipv6Addr,
}

/// The IPv6 addresses by which more than one link can be reached; `None` on a machine without IPv6.
pub(super) fn addresses6() -> Option<Vec<Address6>> {
    let lines = text("/proc/net/if_inet6")?;
    (!lines.is_empty()).then(|| lines.lines().filter_map(address6).collect())
}

fn address6(line: &str) -> Option<Address6> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [ip, _, _, "00", _, interface] = words[..] else { return None };
    Some(Address6 { interface: interface.to_owned(), ip: Ipv6Addr::from(u128::from_str_radix(ip, 16).ok()?) })
}

/// Whether there is a way out for IPv6.
pub(super) fn has_default_route6() -> bool {
    let is_default = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() == 10 && words[0].bytes().all(|b| b == b'0') && words[1] == "00" && words[9] != "lo"
    };
    text("/proc/net/ipv6_route").is_some_and(|lines| lines.lines().any(is_default))
}

/// The interfaces of this machine, the loopback left out.
pub(super) fn interfaces() -> Vec<String> {
    let entries = fs::read_dir("/proc/sys/net/ipv4/conf").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !matches!(&name[..], "all" | "default" | "lo")).collect();
    names.sort();
    names
}

/// An address at which this machine can be asked itself, in place of one that means all of them.
pub(super) fn own(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_link_do_not_count() {
        let line = "fd100001000000000000000000000001 02 40 00 80      lan";
        let ip = "fd10:1::1".parse().expect("an address");
        assert_eq!(address6(line), Some(Address6 { interface: "lan".to_owned(), ip }));
        assert_eq!(address6("fe800000000000000000000000000001 02 40 20 80      lan"), None);
    }
}
