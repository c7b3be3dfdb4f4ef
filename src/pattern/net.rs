//! Addresses, networks and ranges, read strictly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Subnets};

/// What can only be IPv6.
pub(super) fn v6(text: &str) -> Result<Vec<IpNet>, String> {
    if text.contains('%') {
        return Err("has an interface in it; write the address alone".into());
    }
    if let Some((first, last)) = text.split_once('-') {
        return range(first.trim(), last.trim());
    }
    if let Some((addr, length)) = text.split_once('/') {
        return network(addr, length);
    }
    match text.parse::<Ipv6Addr>() {
        Ok(addr) => Ok(vec![IpAddr::V6(addr).to_canonical().into()]),
        Err(_) => Err("is no IPv6 address; before a port it stands in brackets, [2001:db8::1]:443".into()),
    }
}

/// What is IPv4 or tries to be; `None` is a name.
pub(super) fn v4(text: &str) -> Option<Result<Vec<IpNet>, String>> {
    if let Some((first, last)) = text.split_once('-')
        && first.trim().parse::<Ipv4Addr>().is_ok()
        && last.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b' ')
    {
        return Some(range(first.trim(), last.trim()));
    }
    if let Some((addr, length)) = text.split_once('/') {
        return addr.starts_with(|c: char| c.is_ascii_digit()).then(|| network(addr, length));
    }
    if let Ok(addr) = text.parse::<Ipv4Addr>() {
        return Some(Ok(vec![IpAddr::V4(addr).into()]));
    }
    odd(text).map(Err)
}

/// Says what `10.`, `10.1`, `10.*`, `010.0.0.1` and `0x7f.1` should be: inet_aton(3) and other tools read them differently.
fn odd(text: &str) -> Option<String> {
    let last = text.trim_end_matches('.').rsplit('.').next()?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let starred = last == "*" && text.starts_with(|c: char| c.is_ascii_digit());
    let hex = last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if !(digits(last) || starred || hex) {
        return None;
    }
    let parts: Vec<&str> = text.split('.').filter(|part| !part.is_empty()).collect();
    let known = parts.iter().take_while(|part| **part != "*");
    let octets: Option<Vec<u8>> =
        known.map(|part| if part.len() > 1 && part.starts_with('0') { None } else { part.parse().ok() }).collect();
    Some(match octets.as_deref() {
        Some([a]) => format!("is no whole address; the network is {a}.0.0.0/8"),
        Some([a, b]) => format!("is no whole address; the network is {a}.{b}.0.0/16"),
        Some([a, b, c]) => format!("is no whole address; the network is {a}.{b}.{c}.0/24"),
        _ => "is no address: four numbers up to 255 without leading zeros".into(),
    })
}

fn network(addr: &str, length: &str) -> Result<Vec<IpNet>, String> {
    let Ok(addr) = addr.parse::<IpAddr>() else { return Err(format!("has {addr:?} where an address should stand")) };
    let longest = if addr.is_ipv4() { 32 } else { 128 };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u8>().ok()).flatten();
    let Some(length) = number(length).filter(|length| *length <= longest) else {
        let by_mask = length.parse().ok().filter(|mask: &IpAddr| mask.is_ipv4() == addr.is_ipv4());
        let by_mask = by_mask.and_then(|mask| IpNet::with_netmask(addr, mask).ok());
        return Err(match by_mask {
            Some(net) => format!("has a mask, write {}", net.trunc()),
            None => format!("has {length:?} where a prefix length up to {longest} should stand"),
        });
    };
    let net = IpNet::new(addr, length).map_err(|_| format!("has no prefix length up to {longest}"))?;
    if net.addr() != net.network() {
        return Err(format!("has host bits set, write {}", canonical(net.trunc())));
    }
    Ok(vec![canonical(net)])
}

/// IPv4 inside IPv6 (RFC 4291 section 2.5.5.2) is IPv4.
fn canonical(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.network().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(net, IpNet::V4),
            None => net,
        },
        _ => net,
    }
}

fn range(first: &str, last: &str) -> Result<Vec<IpNet>, String> {
    let addr = |text: &str| match text.parse::<IpAddr>() {
        Ok(addr) => Ok(addr.to_canonical()),
        Err(_) => Err(format!("has {text:?} where a whole address should stand, as in 10.0.0.1-10.0.0.9")),
    };
    let nets: Vec<IpNet> = match (addr(first)?, addr(last)?) {
        (first, last) if first.is_ipv4() != last.is_ipv4() => return Err("goes from IPv4 to IPv6 or back".into()),
        (first, last) if first > last => return Err(format!("counts down, write {last}-{first}")),
        (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect(),
        (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect(),
        _ => Vec::new(),
    };
    Ok(nets)
}
