//! Targets that lie in the upstream's own network, or in itself: loopback, private, link-local, metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::Target;

/// The name under which Google's clouds have their metadata server, 169.254.169.254.
const METADATA: &str = "metadata.google.internal";

/// The names under which /etc/hosts knows the machine itself.
const OWN: [&str; 5] = ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "localhost6"];

/// Whether the target is for private use: an upstream that is asked for it would look in its own network.
///
/// Other names are left to the upstream: what they resolve to is known there only.
pub fn is_private(target: &Target<'_>) -> bool {
    match target {
        Target::Name(host, _) => {
            let name = host.as_str();
            name == METADATA || OWN.contains(&name) || name.ends_with(".localhost")
        }
        Target::Addr(addr) => match addr.ip() {
            IpAddr::V4(addr) => v4(addr),
            IpAddr::V6(addr) => embedded(addr).map_or_else(|| v6(addr), v4),
        },
    }
}

/// The special-purpose registry of IANA (RFC 6890), without what is for documentation and benchmarks.
fn v4(addr: Ipv4Addr) -> bool {
    let [a, b, c, _] = addr.octets();
    // 0.0.0.0/8 this network; 192.0.0.0/24 protocols, and a cloud's metadata; 100.64.0.0/10 carriers (RFC 6598); from 224.0.0.0 multicast, reserved, broadcast
    a == 0
        || addr.is_loopback()
        || addr.is_private()
        || addr.is_link_local()
        || [a, b, c] == [192, 0, 0]
        || (a == 100 && b & 0xc0 == 0x40)
        || a >= 224
}

fn v6(addr: Ipv6Addr) -> bool {
    let [first, second, third, ..] = addr.segments();
    // fec0::/10 is what site-local addresses were (RFC 3879); 64:ff9b:1::/48 is for translation inside (RFC 8215)
    let site_local = first & 0xffc0 == 0xfec0 || [first, second, third] == [0x64, 0xff9b, 1];
    addr.is_unique_local() || addr.is_unicast_link_local() || addr.is_multicast() || site_local
}

/// The IPv4 address inside: `::ffff:a.b.c.d`, `::a.b.c.d` (RFC 4291 section 2.5.5; `::` and `::1` are among
/// them), `64:ff9b::a.b.c.d` (RFC 6052), and the site's of 6to4, `2002:AABB:CCDD::` (RFC 3056).
fn embedded(addr: Ipv6Addr) -> Option<Ipv4Addr> {
    if let [0x2002, high, low, ..] = addr.segments() {
        return Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    }
    let [prefix @ .., high, low] = addr.segments();
    let inside = matches!(prefix, [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0]);
    inside.then(|| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Host;
    use std::net::SocketAddr;

    fn addr(text: &str) -> bool {
        is_private(&Target::Addr(SocketAddr::new(text.parse().expect("an address"), 443)))
    }

    #[test]
    fn private_addresses_are_known_to_their_first_and_last() {
        for text in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.0.0.192",
            "2002:a00::1",
            "64:ff9b:1::8.8.8.8",
            "192.168.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "::ffff:10.1.2.3",
            "::ffff:127.0.0.1",
            "::10.1.2.3",
            "64:ff9b::10.1.2.3",
            "64:ff9b::169.254.169.254",
        ] {
            assert!(addr(text), "{text}");
        }
    }

    #[test]
    fn their_neighbours_are_not_private() {
        for text in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "223.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.9",
            "2001:db8::1",
            "fbff::1",
            "fe00::1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
            "1::10.1.2.3",
        ] {
            assert!(!addr(text), "{text}");
        }
    }

    #[test]
    fn names_for_the_machine_itself_are_private() {
        for (name, wanted) in [
            ("localhost", true),
            ("LOCALHOST.", true),
            ("a.b.localhost", true),
            ("metadata.google.internal", true),
            ("notlocalhost", false),
            ("localhost.example", false),
            ("a.metadata.google.internal", false),
            ("intranet", false),
        ] {
            let host = Host::parse(name.as_bytes()).expect("a valid name");
            assert_eq!(is_private(&Target::Name(&host, 80)), wanted, "{name}");
        }
    }
}
