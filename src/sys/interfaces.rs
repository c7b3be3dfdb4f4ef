//! Network interfaces of this machine.

use std::io;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

/// An interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it has an address that is good for more than its own link: a port of a bridge has none.
    pub is_addressed: bool,
}

/// Those that are up, loopback apart, by name.
///
/// # Errors
/// What the kernel says.
pub fn up() -> io::Result<Vec<Interface>> {
    let mut found: Vec<Interface> = Vec::new();
    for one in getifaddrs()? {
        if !one.flags.contains(InterfaceFlags::IFF_UP) || one.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let is_addressed = is_addressed(&one);
        // an entry for each address, and one more
        match found.iter_mut().find(|known| known.name == one.interface_name) {
            Some(known) => known.is_addressed |= is_addressed,
            None => found.push(Interface { name: one.interface_name, is_addressed }),
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn is_addressed(one: &InterfaceAddress) -> bool {
    let Some(address) = &one.address else { return false };
    let v6 = address.as_sockaddr_in6().map(|address| !address.ip().is_unicast_link_local());
    v6.unwrap_or(address.as_sockaddr_in().is_some())
}
