//! Sockets made option by option, and the calls on them that tokio has no word for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::os::fd::{AsFd, AsRawFd};
use tokio::net::{TcpSocket, TcpStream};

const PROBES: u32 = 9;

/// A socket to dial `to` with; `mark` 0 leaves it unmarked. It dials from `source`, which must be of the
/// family of `to`, or from where the kernel likes. The port is chosen at connect, so that one port of a
/// source serves many destinations at once (man 7 ip, IP_BIND_ADDRESS_NO_PORT).
///
/// # Errors
/// Out of descriptors or memory, or this machine has no such `source`. A mark that may not be set is no
/// error here: see [`may_mark`].
pub fn dialler(
    to: SocketAddr,
    mark: u32,
    keepalive: Option<Duration>,
    source: Option<IpAddr>,
) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if mark != 0 {
        let _ = socket.set_mark(mark);
    }
    tune(&socket, keepalive)?;
    if let Some(source) = source {
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(source, 0).into()).map_err(|error| unbound(source, &error))?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// No port is wanted at bind: an address that is not available does not exist.
fn unbound(source: IpAddr, error: &io::Error) -> io::Error {
    match error.kind() {
        kind @ io::ErrorKind::AddrNotAvailable => {
            io::Error::new(kind, format!("bind {source}: no such address on this machine"))
        }
        kind => io::Error::new(kind, format!("bind {source}: {error}")),
    }
}

/// Whether this process may mark its sockets (CAP_NET_ADMIN, or CAP_NET_RAW since Linux 5.17).
///
/// # Errors
/// Why not.
pub fn may_mark(mark: u32) -> io::Result<()> {
    Socket::new(Domain::IPV4, Type::STREAM, None)?.set_mark(mark)
}

/// No Nagle; urgent data stays in its place; a dead peer is noticed after its keepalive probes. No
/// TCP_USER_TIMEOUT: the kernel would apply it also to a peer that is alive and keeps its window closed,
/// such as a download that somebody has paused.
pub(super) fn tune(socket: &Socket, keepalive: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    if let Some(idle) = keepalive {
        let probing = TcpKeepalive::new().with_time(idle).with_interval(idle).with_retries(PROBES);
        socket.set_tcp_keepalive(&probing)?;
    }
    Ok(())
}

/// Reads what is there; 0 is the end of the stream.
///
/// # Errors
/// `WouldBlock` where nothing is there, else what the peer or the network did.
pub fn read(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(socket.as_raw_fd(), buffer, MsgFlags::empty())?)
}

/// Writes what fits.
///
/// # Errors
/// `WouldBlock` where nothing fits, else what the peer or the network did.
pub fn write(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?)
}

/// Ends our direction: the peer reads the end of the stream and may go on sending.
pub fn finish(socket: &TcpStream) {
    // a peer that is gone already needs no end
    let _ = SockRef::from(socket).shutdown(std::net::Shutdown::Write);
}

/// Makes the coming close a reset: for the peer nothing that is on its way can be mistaken for whole.
pub fn abort_on_close(socket: &TcpStream) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Takes [`abort_on_close`] back.
pub fn end_on_close(socket: &TcpStream) {
    let _ = SockRef::from(socket).set_linger(None);
}

/// Whether the peer has ended its direction or broken it, unread bytes before that or not.
pub fn has_ended(socket: &TcpStream) -> bool {
    // nix has no name for this flag, and shows no flags at all where it is among them: the count must do
    let flag = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
    poll(&mut [PollFd::new(socket.as_fd(), flag)], PollTimeout::ZERO).is_ok_and(|shown| shown > 0)
}

/// Whether the error says that this machine lacks something: descriptors, memory, ports, or the address to
/// dial from.
pub fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    error.kind() == io::ErrorKind::AddrNotAvailable
        || matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

/// Whether the error of a connect says that all ports towards the destination are taken. That there is no
/// address to dial from is none.
pub fn is_port_shortage(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw) == Some(Errno::EADDRNOTAVAIL)
}
