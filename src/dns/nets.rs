//! The networks of fake addresses: which number an address has, and which addresses a number has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::pool::MOST;

/// Both networks; the address with number n is the n-th behind the network's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nets {
    v4: Ipv4Net,
    v6: Ipv6Net,
}

impl Nets {
    /// Both networks.
    pub fn new(v4: Ipv4Net, v6: Ipv6Net) -> Nets {
        Nets { v4, v6 }
    }

    /// Whether an address is one of these, in use or not.
    pub fn contain(&self, addr: IpAddr) -> bool {
        match addr.to_canonical() {
            IpAddr::V4(addr) => self.v4.contains(&addr),
            IpAddr::V6(addr) => self.v6.contains(&addr),
        }
    }

    /// The last number that has an address in both. Neither the networks' own addresses are given nor the broadcast
    /// address.
    pub(super) fn last(&self) -> u32 {
        let v4 = (1u64 << (32 - self.v4.prefix_len())) - 2;
        let v6 = (1u128 << (128 - self.v6.prefix_len()).min(64)) - 1;
        u32::try_from(u128::from(v4).min(v6)).unwrap_or(MOST).min(MOST)
    }

    /// An address's number, if it has one.
    pub(super) fn number(&self, addr: IpAddr) -> Option<u32> {
        let number = match addr.to_canonical() {
            IpAddr::V4(addr) if self.v4.contains(&addr) => u128::from(u32::from(addr) - u32::from(self.v4.network())),
            IpAddr::V6(addr) if self.v6.contains(&addr) => u128::from(addr) - u128::from(self.v6.network()),
            _ => return None,
        };
        u32::try_from(number).ok().filter(|number| (1..=self.last()).contains(number))
    }

    /// A number's IPv4 address.
    pub(super) fn v4(&self, number: u32) -> IpAddr {
        Ipv4Addr::from(u32::from(self.v4.network()) + number).into()
    }

    /// A number's IPv6 address.
    pub(super) fn v6(&self, number: u32) -> IpAddr {
        Ipv6Addr::from(u128::from(self.v6.network()) + u128::from(number)).into()
    }

    /// The IPv4 network.
    pub fn v4_net(&self) -> Ipv4Net {
        self.v4
    }

    /// The IPv6 network.
    pub fn v6_net(&self) -> Ipv6Net {
        self.v6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(v4: &str, v6: &str) -> Nets {
        Nets::new(v4.parse().expect("a network"), v6.parse().expect("a network"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_number_is_the_same_in_both_networks() {
        let nets = nets("198.18.0.0/15", "fd68:616e:6479::/112");
        assert_eq!(nets.last(), 65_535);
        for (number, v4, v6) in
            [(1, "198.18.0.1", "fd68:616e:6479::1"), (65_535, "198.18.255.255", "fd68:616e:6479::ffff")]
        {
            assert_eq!((nets.v4(number), nets.v6(number)), (ip(v4), ip(v6)));
            assert_eq!((nets.number(ip(v4)), nets.number(ip(v6))), (Some(number), Some(number)));
        }
        assert_eq!(nets.number(ip("::ffff:198.18.0.9")), Some(9));
        for addr in ["198.18.0.0", "198.19.0.0", "198.20.0.1", "198.17.255.255", "fd68:616e:6479::", "fd68::1"] {
            assert_eq!(nets.number(ip(addr)), None, "{addr}");
        }
        assert!(nets.contain(ip("198.19.255.255")) && !nets.contain(ip("198.20.0.0")));
    }

    #[test]
    fn networks_of_any_size_have_as_many_numbers_as_both_can_hold() {
        for (v4, v6, last) in [
            ("198.18.0.0/29", "fd00::/112", 6),
            ("198.18.0.0/15", "fd00::/64", 131_070),
            ("10.0.0.0/8", "fd00::/8", MOST),
            ("10.0.0.0/8", "fd00::/112", 65_535),
        ] {
            let nets = nets(v4, v6);
            assert_eq!(nets.last(), last, "{v4} {v6}");
            assert_eq!((nets.number(nets.v4(last)), nets.number(nets.v6(last))), (Some(last), Some(last)));
        }
    }
}
