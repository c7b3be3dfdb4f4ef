//! A TCP connection to one of several addresses: each is tried in turn, the next one a little later
//! while the ones before it are still trying (RFC 8305 section 5).
//!
//! Where sources are given they take turns. One that has no port left towards an address, or that this
//! machine does not have, is followed by the next source before the next address gets its chance.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::sys::socket;

/// RFC 8305 section 8: Connection Attempt Delay.
const HEAD_START: Duration = Duration::from_millis(250);

/// Who dials.
#[derive(Debug)]
pub(super) struct From<'a> {
    /// SO_MARK; 0 is none.
    pub(super) mark: u32,
    /// Idle time before keepalive probes.
    pub(super) keepalive: Option<Duration>,
    /// Local addresses to dial from, of either family; a family without one is dialled from anywhere.
    pub(super) sources: &'a [IpAddr],
    /// Whose turn it is among the sources.
    pub(super) turn: &'a AtomicUsize,
}

impl From<'_> {
    /// The sources to dial `to` from, the one whose turn it is first; empty: from anywhere.
    fn sources(&self, to: SocketAddr) -> Vec<IpAddr> {
        if self.sources.is_empty() {
            return Vec::new();
        }
        let mut usable: Vec<IpAddr> =
            self.sources.iter().copied().filter(|source| source.is_ipv4() == to.is_ipv4()).collect();
        if usable.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % usable.len();
            usable.rotate_left(turn);
        }
        usable
    }

    fn attempt(&self, addr: SocketAddr) -> Attempt {
        Attempt { addr, mark: self.mark, keepalive: self.keepalive, sources: self.sources(addr) }
    }
}

/// Why an address could not be connected to.
#[derive(Debug)]
pub(super) struct Undialled {
    pub(super) addr: SocketAddr,
    pub(super) error: io::Error,
}

impl fmt::Display for Undialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if socket::is_port_shortage(&self.error) {
            return write!(f, "dial {}: out of local ports: {}", self.addr, self.error);
        }
        write!(f, "dial {}: {}", self.addr, self.error)
    }
}

/// Connects to one of `addrs`, which is not empty. The error is that of the last one that failed.
pub(super) async fn any(addrs: &[SocketAddr], from: &From<'_>) -> Result<(TcpStream, SocketAddr), Undialled> {
    if let [only] = addrs {
        return from.attempt(*only).run().await;
    }
    let mut waiting = addrs.iter().copied();
    let mut attempts = JoinSet::new();
    let mut failed = None;
    loop {
        if let Some(addr) = waiting.next() {
            attempts.spawn(from.attempt(addr).run());
        }
        let outcome = tokio::select! {
            outcome = attempts.join_next() => outcome,
            () = tokio::time::sleep(HEAD_START), if waiting.len() > 0 => continue,
        };
        match outcome {
            Some(Ok(Ok(connected))) => return Ok(connected),
            // a shortage of ours must not look like the other side's fault because of what came after it
            Some(Ok(Err(undialled))) => {
                failed = failed.filter(|first: &Undialled| socket::is_shortage(&first.error)).or(Some(undialled));
            }
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            None => return Err(failed.expect("addrs is not empty, so the last attempt has failed")),
        }
    }
}

/// One address, from one source after the other.
struct Attempt {
    addr: SocketAddr,
    mark: u32,
    keepalive: Option<Duration>,
    sources: Vec<IpAddr>,
}

impl Attempt {
    async fn run(self) -> Result<(TcpStream, SocketAddr), Undialled> {
        let mut sources = self.sources.iter().copied();
        let mut source = sources.next();
        let mut short = None;
        loop {
            let error = match self.connect(source).await {
                Ok(stream) => return Ok((stream, self.addr)),
                Err(error) => error,
            };
            let unavailable = error.kind() == io::ErrorKind::AddrNotAvailable;
            // a shortage of ports tells more than a source that does not exist
            let error = match short.take() {
                Some(short) if unavailable && !socket::is_port_shortage(&error) => short,
                _ => error,
            };
            source = sources.next();
            if !unavailable || source.is_none() {
                return Err(Undialled { addr: self.addr, error });
            }
            short = Some(error);
        }
    }

    async fn connect(&self, source: Option<IpAddr>) -> io::Result<TcpStream> {
        socket::dialler(self.addr, self.mark, self.keepalive, source)?.connect(self.addr).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listener() -> (tokio::net::TcpListener, SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        (listener, addr)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Connects, and tells the address that it came from.
    async fn source(addrs: &[SocketAddr], sources: &[IpAddr], turn: &AtomicUsize) -> Result<IpAddr, String> {
        let from = From { mark: 0, keepalive: None, sources, turn };
        let (stream, _) = any(addrs, &from).await.map_err(|error| error.to_string())?;
        Ok(stream.local_addr().expect("connected").ip())
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next() {
        let (listener, good) = listener().await;
        // bound, so that nobody else gets the port, and deaf
        let closed = tokio::net::TcpSocket::new_v4().expect("a socket");
        closed.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback");
        let bad = closed.local_addr().expect("bound");
        let from = From { mark: 0, keepalive: None, sources: &[], turn: &AtomicUsize::new(0) };
        let (_, reached) = any(&[bad, bad, good], &from).await.expect("the third answers");
        assert_eq!(reached, good);
        drop(listener);
        // a child that another test has begun holds it too, until it is another program
        let start = std::time::Instant::now();
        let error = loop {
            match any(&[bad, good], &from).await {
                Err(error) => break error,
                Ok(_) => assert!(start.elapsed() < std::time::Duration::from_secs(30), "one answers"),
            }
        };
        assert_eq!(error.error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn sources_of_the_family_take_turns() {
        let (_listener, addr) = listener().await;
        let turn = AtomicUsize::new(0);
        let sources = [ip("127.0.0.2"), ip("::1"), ip("127.0.0.3")];
        for wanted in ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"] {
            assert_eq!(source(&[addr], &sources, &turn).await, Ok(ip(wanted)));
        }
        assert_eq!(source(&[addr], &[ip("::1")], &turn).await, Ok(ip("127.0.0.1")), "no source of the family");
    }

    #[tokio::test]
    async fn a_source_that_does_not_exist_is_passed_over_and_named_where_it_is_the_only_one() {
        let (_listener, addr) = listener().await;
        let turn = AtomicUsize::new(0);
        let missing = ip("192.0.2.7");
        for _ in 0..2 {
            assert_eq!(source(&[addr], &[missing, ip("127.0.0.2")], &turn).await, Ok(ip("127.0.0.2")));
        }
        let error = source(&[addr], &[missing], &turn).await.expect_err("no such source");
        assert_eq!(error, format!("dial {addr}: bind 192.0.2.7: no such address on this machine"));
    }

    #[tokio::test]
    async fn a_source_that_does_not_exist_is_a_shortage_of_ours_but_none_of_ports() {
        let to = "127.0.0.1:1".parse().expect("an address");
        let error = socket::dialler(to, 0, None, Some(ip("192.0.2.7"))).expect_err("no such source");
        assert!(socket::is_shortage(&error) && !socket::is_port_shortage(&error));
        let error = io::Error::from_raw_os_error(99);
        assert!(socket::is_shortage(&error) && socket::is_port_shortage(&error));
        let undialled = Undialled { addr: to, error };
        assert!(undialled.to_string().starts_with("dial 127.0.0.1:1: out of local ports: "), "{undialled}");
    }

    #[tokio::test]
    async fn one_port_of_a_source_serves_several_destinations() {
        // without IP_BIND_ADDRESS_NO_PORT the port would be taken at bind
        let to = "127.0.0.1:1".parse().expect("an address");
        let socket = socket::dialler(to, 0, None, Some(ip("127.0.0.2"))).expect("an address of loopback");
        assert_eq!(socket.local_addr().expect("bound"), "127.0.0.2:0".parse().expect("an address"));
        let to = "[::1]:1".parse().expect("an address");
        if let Ok(socket) = socket::dialler(to, 0, None, Some(ip("::1"))) {
            assert_eq!(socket.local_addr().expect("bound").port(), 0);
        }
    }
}
