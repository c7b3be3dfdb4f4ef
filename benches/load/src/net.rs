//! Sockets for the client side, and the descriptor limit.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};

use crate::wire::{Mode, READY};

/// No wait for a peer is longer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for as many descriptors as the hard limit allows.
pub fn raise_descriptor_limit() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

/// Starts a connection without waiting for it.
pub fn connect_nonblocking(to: SocketAddrV4) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}

/// Opens a tunnel and waits until the origin says that it is there.
pub fn open(to: SocketAddrV4, mode: Mode) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(to), PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&mode.header())?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    match answer[0] {
        READY => Ok(stream),
        other => Err(io::Error::other(format!("the origin's first byte is {other:#x}"))),
    }
}
