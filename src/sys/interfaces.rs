//! Network interfaces of this machine.

use std::io;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// The names of those that are up, loopback apart, each once.
///
/// # Errors
/// What the kernel says.
pub fn up() -> io::Result<Vec<String>> {
    let mut names: Vec<String> = getifaddrs()?
        .filter(|one| one.flags.contains(InterfaceFlags::IFF_UP) && !one.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .map(|one| one.interface_name)
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}
