//! The upstream proxy as a script: it accepts, checks the CONNECT byte by byte, and answers whatever the test says.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::PATIENCE;
use super::netns::Netns;
use super::wire::{Wire, readable};

/// The shortest good answer to a CONNECT.
pub const OPEN: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// A listening upstream.
pub struct Upstream {
    listener: TcpListener,
}

impl Netns {
    /// Listens in this namespace.
    pub fn listen(&self, at: &str) -> Upstream {
        let at: SocketAddr = at.parse().expect("an address of the lab");
        let listener = self.enter(|| {
            let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&at.into())?;
            socket.listen(1024)?;
            Ok::<_, std::io::Error>(TcpListener::from(socket))
        });
        Upstream { listener: listener.unwrap_or_else(|why| panic!("listen at {at}: {why}")) }
    }
}

impl Upstream {
    /// Takes the next connection of the gateway.
    pub fn accept(&self) -> Wire {
        self.accept_within(PATIENCE).expect("upstream: no connection came")
    }

    /// Takes the next connection, if one comes in time.
    pub fn accept_within(&self, patience: Duration) -> Option<Wire> {
        if !self.waiting(patience) {
            return None;
        }
        let (stream, _) = self.listener.accept().expect("a connection was waiting");
        Some(Wire::new(stream, "upstream"))
    }

    /// Sees no connection for so long.
    pub fn expect_no_connection(&self, time: Duration) {
        assert!(!self.waiting(time), "upstream: a connection came");
    }

    /// Drops the connections that nobody took, so that the next row of a table does not.
    pub fn forget(&self) {
        while self.accept_within(Duration::ZERO).is_some() {}
    }

    fn waiting(&self, patience: Duration) -> bool {
        readable(self.listener.as_fd(), patience)
    }
}

impl Wire {
    /// Receives exactly the CONNECT for this target, and not a byte more.
    pub fn expect_connect(&mut self, target: &str) {
        let got = self.connect_target();
        assert_eq!(got, target, "what the CONNECT carries");
    }

    /// Receives a CONNECT that is right in every byte, and says what it carries.
    pub fn connect_target(&mut self) -> String {
        let head = self.receive_through(b"\r\n\r\n");
        let text = String::from_utf8_lossy(&head).into_owned();
        let target = text
            .strip_prefix("CONNECT ")
            .and_then(|rest| rest.split(" HTTP/1.1\r\n").next())
            .unwrap_or_else(|| panic!("upstream: no CONNECT: {text:?}"));
        let version = env!("CARGO_PKG_VERSION");
        let exact = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: handyproxy/{version}\r\n\r\n");
        assert_eq!(text, exact, "upstream: the request");
        // nothing of the client's may leave before the answer: what is there now came too early
        self.expect_silence(Duration::from_millis(1));
        target.to_owned()
    }

    /// Answers; the same as `send`, in the words of an upstream.
    pub fn reply(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(bytes);
    }
}
