//! UDP sockets that answer from the address at which they were asked, also where they listen at all of them.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpListener, UdpSocket};

/// Questions that wait while we are busy.
const ROOM: usize = 1 << 20;
/// Connections that wait for accept.
const BACKLOG: i32 = 128;

/// Who asked, and where: the address that was asked, and by which interface where that is part of it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Where the answer goes.
    pub addr: SocketAddr,
    asked: Option<Asked>,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    V4(Ipv4Addr),
    V6(Ipv6Addr, u32),
}

/// Listens for datagrams; an IPv6 address is for IPv6 only.
///
/// # Errors
/// The port is in use (EADDRINUSE) or not allowed (EACCES), or this machine has no such address (EADDRNOTAVAIL).
pub fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    // the kernel may give less
    let _ = socket.set_recv_buffer_size(ROOM);
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
        setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
    }
    socket.bind(&at.into())?;
    UdpSocket::from_std(socket.into())
}

/// Listens for connections at the same kind of address.
///
/// # Errors
/// As of [`bind`].
pub fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A socket that hears nobody but `to`, from a port that the kernel picks at random; `mark` 0 leaves it unmarked.
///
/// # Errors
/// Out of descriptors or ports, or no way there.
pub fn dialler(to: SocketAddr, mark: u32) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if mark != 0 {
        let _ = socket.set_mark(mark);
    }
    socket.connect(&to.into())?;
    UdpSocket::from_std(socket.into())
}

/// The next datagram, and who sent it; one that does not fit into `buffer` has no bytes.
///
/// # Errors
/// What the network did; it may go on.
pub async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Peer)> {
    socket.async_io(Interest::READABLE, || receive_now(socket, buffer)).await
}

fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Peer)> {
    let mut room = nix::cmsg_space!(libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let got = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::MSG_DONTWAIT)?;
    let length = if got.flags.contains(MsgFlags::MSG_TRUNC) { 0 } else { got.bytes };
    let from = got.address.ok_or(io::ErrorKind::InvalidData)?;
    let v4 = from.as_sockaddr_in().map(|a| SocketAddr::from((a.ip(), a.port())));
    let v6 = from
        .as_sockaddr_in6()
        .map(|a| std::net::SocketAddrV6::new(a.ip(), a.port(), a.flowinfo(), a.scope_id()).into());
    let addr = v4.or(v6).ok_or(io::ErrorKind::InvalidData)?;
    let asked = got.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Asked::V4(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr))))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(Asked::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr), info.ipi6_ifindex))
        }
        _ => None,
    });
    Ok((length, Peer { addr, asked }))
}

/// Answers, from where it was asked. A client that cannot be reached, or a full buffer, loses its answer.
pub fn answer(socket: &UdpSocket, bytes: &[u8], peer: Peer) {
    let v4 = match peer.asked {
        Some(Asked::V4(addr)) => Some(libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(addr).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        }),
        _ => None,
    };
    let v6 = match peer.asked {
        Some(Asked::V6(addr, index)) => Some(libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: addr.octets() },
            // an address of a link is one of this interface only
            ipi6_ifindex: if addr.is_unicast_link_local() { index } else { 0 },
        }),
        _ => None,
    };
    let messages: Vec<ControlMessage<'_>> = (v4.as_ref().map(ControlMessage::Ipv4PacketInfo).into_iter())
        .chain(v6.as_ref().map(ControlMessage::Ipv6PacketInfo))
        .collect();
    let to = SockaddrStorage::from(peer.addr);
    // a client asks again
    let _ = sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &messages, MsgFlags::MSG_DONTWAIT, Some(&to));
}

/// Whether the address can mean a peer: not everybody, not a group.
pub fn is_peer(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    !(ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST))
}
