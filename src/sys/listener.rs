//! The socket that clients come to: made here, or taken over from whoever had it before.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::socket::tune;

/// Connections that wait for accept; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// The same at a unix socket, where few come.
const UNIX_BACKLOG: i32 = 64;

/// What a listening socket is like; accepted ones inherit it (man 7 tcp).
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Silence before a peer is probed.
    pub keepalive: Option<Duration>,
    /// Takes connections to addresses that are not this machine's: those that TPROXY brings.
    pub transparent: bool,
}

/// Listens on all interfaces, IPv6 and IPv4 through one socket, or IPv4 alone where the machine has
/// no IPv6. Nobody else can listen on the port too.
///
/// # Errors
/// The port is in use (EADDRINUSE) or not allowed (EACCES); TPROXY is not allowed.
pub fn listen(port: u16, options: Options) -> io::Result<TcpListener> {
    let socket = match Socket::new(Domain::IPV6, Type::STREAM.nonblocking(), Some(Protocol::TCP)) {
        Ok(socket) => {
            socket.set_only_v6(false)?;
            socket.set_reuse_address(true)?;
            match socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()) {
                Ok(()) => socket,
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => listen_v4(port)?,
                Err(error) => return Err(error),
            }
        }
        Err(_) => listen_v4(port)?,
    };
    ready(socket, options)
}

fn listen_v4(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    Ok(socket)
}

/// Takes over a socket that listens already, with the clients that wait at it.
///
/// # Errors
/// It is no TCP socket, or does not listen; TPROXY is not allowed.
pub fn adopt(socket: OwnedFd, options: Options) -> io::Result<TcpListener> {
    let socket = Socket::from(socket);
    let is_tcp = matches!(socket.domain(), Ok(Domain::IPV4 | Domain::IPV6))
        && matches!(socket.protocol(), Ok(Some(Protocol::TCP)));
    if !is_tcp {
        return Err(io::Error::other("it is no TCP socket"));
    }
    if !socket.is_listener()? {
        return Err(io::Error::other("it does not listen"));
    }
    socket.set_nonblocking(true)?;
    ready(socket, options)
}

fn ready(socket: Socket, options: Options) -> io::Result<TcpListener> {
    // on an IPv6 socket too: the kernel keeps one flag for both families (man 7 ip)
    socket.set_ip_transparent_v4(options.transparent).map_err(|error| {
        io::Error::other(format!(
            "capture = \"tproxy\" is not allowed, it needs root, CAP_NET_ADMIN or CAP_NET_RAW: {error}"
        ))
    })?;
    tune(&socket, options.keepalive)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Listens at a unix socket, whose file has no right for a moment that `mode` does not give: the kernel makes it with
/// that of the socket, less the umask.
///
/// # Errors
/// The file is there already (EADDRINUSE), its folder is not (ENOENT), or its name is too long.
pub fn unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(UNIX_BACKLOG)?;
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

/// Whether somebody listens at a unix socket; one whose clients fill the queue does, and is not waited for.
///
/// # Errors
/// Nobody does (ECONNREFUSED), or it cannot be told.
pub fn is_served(path: &Path) -> io::Result<()> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        // the queue is full (man 7 unix)
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        told => told,
    }
}

/// Gives an accepted connection what it did not inherit: it came before the listener was ours.
pub fn catch_up(client: &TcpStream, options: Options) {
    // a client that is gone already needs nothing
    let _ = tune(&SockRef::from(client), options.keepalive);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Options = Options { keepalive: None, transparent: false };

    #[test]
    fn a_unix_socket_whose_queue_is_full_is_served_and_not_waited_for() {
        let path = std::env::temp_dir().join(format!("handyproxy-full-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        listener.bind(&SockAddr::unix(&path).expect("a short path")).expect("it is free");
        listener.listen(0).expect("it is bound");
        // it would wait for ever where the queue is full
        let clients: Vec<Socket> = std::iter::from_fn(|| {
            let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).expect("a socket");
            client.connect(&SockAddr::unix(&path).expect("a short path")).is_ok().then_some(client)
        })
        .collect();
        assert!(!clients.is_empty());
        assert!(is_served(&path).is_ok());
        drop(listener);
        let refused = is_served(&path).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused));
        std::fs::remove_file(&path).expect("our own");
    }

    #[test]
    fn a_unix_socket_has_no_more_rights_than_it_is_given() {
        use std::os::unix::fs::MetadataExt as _;
        let path = std::env::temp_dir().join(format!("handyproxy-mode-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = unix(&path, 0o600).expect("a name that is free");
        // whatever the umask is
        assert_eq!(std::fs::metadata(&path).expect("it is there").mode() & 0o177, 0);
        assert!(is_served(&path).is_ok());
        assert_eq!(unix(&path, 0o600).expect_err("it is there").kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        std::fs::remove_file(&path).expect("our own");
        assert_eq!(unix(&path.join("x"), 0o600).expect_err("no folder").kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn only_a_listening_tcp_socket_is_taken_over() {
        let why = |socket: OwnedFd| adopt(socket, PLAIN).expect_err("it cannot be taken over").to_string();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        assert_eq!(why(udp.into()), "it is no TCP socket");
        let (unix, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert_eq!(why(unix.into()), "it is no TCP socket");
        let file = std::fs::File::open("/dev/null").expect("it is always there");
        assert_eq!(why(file.into()), "it is no TCP socket");
        let idle = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        assert_eq!(why(idle.into()), "it does not listen");

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let addr = listener.local_addr().expect("bound");
        // it waits there before it is taken over
        let _client = std::net::TcpStream::connect(addr).expect("listening");
        let options = Options { keepalive: Some(Duration::from_secs(7)), ..PLAIN };
        let adopted = adopt(listener.into(), options).expect("it listens");
        let (accepted, _) = adopted.accept().await.expect("a client waits");
        assert!(!accepted.nodelay().expect("a socket"), "this test needs a socket that inherited nothing");
        catch_up(&accepted, options);
        assert!(accepted.nodelay().expect("a socket"));
        assert!(SockRef::from(&accepted).keepalive().expect("a socket"));
        assert!(SockRef::from(&accepted).out_of_band_inline().expect("a socket"));
    }
}
