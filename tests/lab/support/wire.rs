//! One TCP connection in the hands of a test: a client's, or the upstream's end of a tunnel.
//!
//! Blocking, and every call has a deadline. A mismatch fails the test with both sides shown.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, SockRef, Socket, Type};

use super::netns::Netns;
use super::pace::Pace;
use super::random::Random;
use super::{AT_ONCE, PATIENCE};

/// What `fill` sends.
const FILLING: u8 = b'f';

/// How a connection stands or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The peer has said that it will send no more.
    Fin,
    /// The peer has reset it.
    Reset,
    /// It is still open.
    Open,
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    who: &'static str,
    /// Another call than read(2) has told of a reset, and the socket does not tell again.
    was_reset: bool,
}

impl Netns {
    /// Connects from this namespace; fails the test if that does not work. A peer that accepts and resets at once can
    /// be faster than the call: that is a connection too, one that was reset.
    pub fn connect(&self, to: SocketAddr) -> Wire {
        self.connect_from(any(to), to)
    }

    /// Connects from this namespace, if it can.
    pub fn try_connect(&self, to: SocketAddr) -> io::Result<Wire> {
        self.try_connect_from(any(to), to)
    }

    /// Connects from one of its addresses.
    pub fn connect_from(&self, from: IpAddr, to: SocketAddr) -> Wire {
        let connected = self.bound(from, to).and_then(|socket| {
            let told = socket.connect_timeout(&to.into(), PATIENCE);
            // a SYN that is answered so would have been refused
            let was_reset = is_reset(&told);
            if was_reset { Ok(()) } else { told }?;
            Ok(Wire { was_reset, ..Wire::new(socket.into(), "client") })
        });
        connected.unwrap_or_else(|why| panic!("client: connect from {from} to {to}: {why}"))
    }

    /// The same, if it can.
    pub fn try_connect_from(&self, from: IpAddr, to: SocketAddr) -> io::Result<Wire> {
        let socket = self.bound(from, to)?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Ok(Wire::new(socket.into(), "client"))
    }

    fn bound(&self, from: IpAddr, to: SocketAddr) -> io::Result<Socket> {
        let socket = self.enter(|| Socket::new(Domain::for_address(to), Type::STREAM, None))?;
        socket.bind(&SocketAddr::new(from, self.fresh_port()).into())?;
        Ok(socket)
    }
}

fn any(to: SocketAddr) -> IpAddr {
    if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

impl Wire {
    pub(super) fn new(stream: TcpStream, who: &'static str) -> Self {
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .expect("options of a new socket");
        Self { stream, who, was_reset: false }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let who = self.who;
        self.try_send(bytes).unwrap_or_else(|why| panic!("{who}: send: {why}"));
    }

    /// Sends bytes to a peer that may have gone.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let sent = self.stream.write_all(bytes.as_ref());
        self.was_reset |= is_reset(&sent);
        sent
    }

    /// Receives exactly these bytes.
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let want = bytes.as_ref();
        let got = self.receive(want.len());
        if got != want {
            let at = got.iter().zip(want).position(|(a, b)| a != b);
            let at = at.unwrap_or(got.len());
            panic!(
                "{}: got {} bytes, wanted {}; they differ from byte {at} on: got \"{}\", wanted \"{}\"",
                self.who,
                got.len(),
                want.len(),
                excerpt(&got[at..]),
                excerpt(&want[at..]),
            );
        }
    }

    /// Receives `count` bytes, or fewer if the peer ends first or nothing more comes. Each of them has its deadline: many
    /// bytes may take a while on a busy machine.
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut got = vec![0; count];
        let mut filled = 0;
        while filled < count {
            match self.read(&mut got[filled..], Instant::now() + PATIENCE) {
                Ok(0) | Err(_) => break,
                Ok(n) => filled += n,
            }
        }
        got.truncate(filled);
        got
    }

    /// Receives up to and with `mark`, one byte at a time so that nothing behind it is touched.
    pub fn receive_through(&mut self, mark: &[u8]) -> Vec<u8> {
        let start = Instant::now();
        let mut got = Vec::new();
        while !got.ends_with(mark) {
            let mut byte = [0];
            match self.read(&mut byte, start + PATIENCE) {
                Ok(1) => got.push(byte[0]),
                Ok(_) => panic!("{}: ended after \"{}\"", self.who, got.escape_ascii()),
                Err(why) => panic!("{}: {why} after \"{}\"", self.who, got.escape_ascii()),
            }
        }
        got
    }

    /// Receives whatever comes until the peer ends, and how it ended.
    pub fn receive_all(&mut self) -> (Vec<u8>, Ending) {
        let start = Instant::now();
        let mut got = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match self.read(&mut chunk, start + PATIENCE) {
                Ok(0) => return (got, Ending::Fin),
                Ok(n) => got.extend_from_slice(&chunk[..n]),
                Err(why) if why.kind() == ErrorKind::TimedOut => return (got, Ending::Open),
                Err(_) => return (got, Ending::Reset),
            }
        }
    }

    /// Waits for the peer's end for at most `patience`; fails the test if a byte comes instead.
    pub fn ending_within(&mut self, patience: Duration) -> Ending {
        let mut byte = [0];
        match self.read(&mut byte, Instant::now() + patience) {
            Ok(0) => Ending::Fin,
            Ok(_) => panic!("{}: got byte {:#04x}, wanted an end", self.who, byte[0]),
            Err(why) if why.kind() == ErrorKind::TimedOut => Ending::Open,
            Err(why) if why.kind() == ErrorKind::ConnectionReset => Ending::Reset,
            Err(why) => panic!("{}: {why}", self.who),
        }
    }

    /// Whether bytes or an end are there within `patience`; they stay there.
    pub fn has_news(&self, patience: Duration) -> bool {
        readable(self.stream.as_fd(), patience)
    }

    /// Whether bytes are there now, which is more than an end; they stay there.
    pub fn has_bytes(&self) -> bool {
        self.has_news(Duration::ZERO) && self.stream.peek(&mut [0]).is_ok_and(|n| n > 0)
    }

    /// Sees this end at once.
    pub fn expect_end(&mut self, end: Ending) {
        let who = self.who;
        let start = Pace::start();
        let got = self.ending_within(PATIENCE);
        let took = start.elapsed();
        assert_eq!(got, end, "{who}: how it ended, after {took:?}");
        assert!(took < AT_ONCE, "{who}: {end:?} took {took:?}");
    }

    /// Sees neither a byte nor an end for so long.
    pub fn expect_silence(&mut self, time: Duration) {
        let end = self.ending_within(time);
        assert_eq!(end, Ending::Open, "{}: wanted silence", self.who);
    }

    /// Sends until nothing more has been taken for so long; returns how many bytes were.
    pub fn fill(&mut self, quiet: Duration) -> usize {
        self.stream.set_nonblocking(true).expect("an open socket");
        let chunk = vec![FILLING; 256 * 1024];
        let mut taken = 0;
        let mut last = Instant::now();
        while last.elapsed() < quiet {
            match self.stream.write(&chunk) {
                Ok(n) => {
                    taken += n;
                    last = Instant::now();
                }
                told => {
                    self.was_reset |= is_reset(&told);
                    thread::sleep(Duration::from_millis(2));
                }
            }
            assert!(taken < 1 << 30, "{}: a gigabyte was taken", self.who);
        }
        self.stream.set_nonblocking(false).expect("an open socket");
        taken
    }

    /// Receives what the other end was filled with.
    pub fn expect_filling(&mut self, count: usize) {
        let got = self.receive(count);
        assert_eq!(got.len(), count, "{}: lost bytes", self.who);
        assert!(got.iter().all(|&byte| byte == FILLING), "{}: other bytes", self.who);
    }

    /// Sends a FIN; receiving goes on.
    pub fn fin(&mut self) {
        match self.stream.shutdown(Shutdown::Write) {
            // the peer has reset it already
            Err(why) if why.kind() == ErrorKind::NotConnected => {}
            other => other.expect("shut down a connection"),
        }
    }

    /// Ends with a RST.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER on an open socket");
    }

    /// The same connection in a second pair of hands, so that one can send while the other receives.
    pub fn another(&self) -> Self {
        let stream = self.stream.try_clone().expect("a descriptor is free");
        Self { stream, ..*self }
    }

    /// Its own address, which is how the log names a client.
    pub fn address(&self) -> String {
        let address = self.stream.local_addr();
        address.expect("a connected socket").to_string()
    }

    /// The socket itself, for what a script cannot say.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// One read before a deadline; past it, the error is `TimedOut`.
    pub fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        // zero would mean to wait for ever
        let left = left.max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left))?;
        loop {
            match self.stream.read(buffer) {
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                // what had come before it is read first
                Ok(0) if self.was_reset && !buffer.is_empty() => return Err(ErrorKind::ConnectionReset.into()),
                other => return other,
            }
        }
    }
}

/// Moves `count` random bytes from one end of a tunnel to the other and checks every one.
pub fn carry(from: &mut Wire, to: &mut Wire, count: usize) {
    let bytes = Random::new(count as u64).bytes(count);
    thread::scope(|scope| {
        scope.spawn(|| from.send(&bytes));
        to.expect(&bytes);
    });
}

/// Whether a descriptor has something to read, an end or an error among them, within `patience`.
pub(super) fn readable(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).expect("less than a month");
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(n) => return n > 0,
            Err(Errno::EINTR) => {}
            Err(why) => panic!("poll: {why}"),
        }
    }
}

fn is_reset<T>(told: &io::Result<T>) -> bool {
    told.as_ref().is_err_and(|why| why.kind() == ErrorKind::ConnectionReset)
}

/// The beginning of some bytes, for a message.
fn excerpt(bytes: &[u8]) -> impl std::fmt::Display {
    bytes[..bytes.len().min(200)].escape_ascii()
}
