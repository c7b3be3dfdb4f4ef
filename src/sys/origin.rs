//! Where a connection was going before rules brought it here: conntrack knows it of a redirected one (SO_ORIGINAL_DST,
//! linux/netfilter_ipv4.h), and one that TPROXY brought has it as its own address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::TcpStream;

/// Asks conntrack for the original destination. `peer` decides the option: on a dual-stack listener
/// an IPv4 client has only the IPv4 answer, a real IPv6 client only the other one.
///
/// # Errors
/// ENOENT where there is no conntrack entry: the connection was not redirected, or the entry is gone.
pub fn original_destination(socket: impl AsFd, peer: IpAddr) -> io::Result<SocketAddr> {
    if peer.to_canonical().is_ipv4() {
        let raw = getsockopt(&socket, sockopt::OriginalDst)?;
        let ip = Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr));
        Ok(SocketAddr::from((ip, u16::from_be(raw.sin_port))))
    } else {
        let raw = getsockopt(&socket, sockopt::Ip6tOriginalDst)?;
        let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
        Ok(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), 0, 0).into())
    }
}

/// The address that a connection was accepted at.
///
/// # Errors
/// The connection is over already.
pub fn own_address(socket: &TcpStream) -> io::Result<SocketAddr> {
    let own = socket.local_addr()?;
    // without the scope of a link-local one: it is for people and for proxies
    Ok(SocketAddr::new(own.ip().to_canonical(), own.port()))
}

/// Whether the address is one of this machine's, in this network namespace: whether it can be bound to.
pub fn is_local(ip: IpAddr) -> bool {
    match UdpSocket::bind((ip, 0)) {
        Ok(_) => true,
        // out of descriptors and the like: say local, the cautious answer
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable && error.kind() != io::ErrorKind::Unsupported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_and_a_documentation_address_is_not() {
        assert!(is_local(Ipv4Addr::LOCALHOST.into()));
        assert!(is_local("127.9.9.9".parse().expect("an address")));
        assert!(!is_local("203.0.113.9".parse().expect("an address")));
    }

    #[test]
    fn a_connection_that_was_not_redirected_has_no_origin_of_its_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let addr = listener.local_addr().expect("bound");
        let _client = std::net::TcpStream::connect(addr).expect("listening");
        let (accepted, peer) = listener.accept().expect("connected");
        // without netfilter there is no entry, with it the entry says the address itself
        if let Ok(origin) = original_destination(&accepted, peer.ip()) {
            assert_eq!(origin, addr);
        }
    }
}
