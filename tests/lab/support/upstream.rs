//! The upstream proxy as a script: it accepts, checks the CONNECT byte by byte, and answers whatever the test says.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::netns::Netns;
use super::wire::{Wire, readable};
use super::{PATIENCE, eventually};

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

    /// Takes connections until one of them says something, and drops those that end without a word: a dial may be made
    /// ahead of need.
    pub fn accept_asked(&self) -> Wire {
        let mut quiet: Vec<Wire> = Vec::new();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            quiet.extend(self.accept_within(Duration::from_millis(1)));
            let spoken = quiet.iter().position(|wire| wire.has_news(Duration::ZERO));
            match spoken.map(|i| quiet.swap_remove(i)) {
                Some(wire) if wire.has_bytes() => return wire,
                _ => {}
            }
        }
        panic!("upstream: nothing was asked");
    }

    /// Takes every connection that came, now or a moment ago, and sees that none of them has said a word.
    pub fn expect_no_byte(&self) {
        while let Some(wire) = self.accept_within(Duration::from_millis(50)) {
            assert!(!wire.has_bytes(), "upstream: something was said to it");
        }
    }

    /// Hangs up on whatever else is dialled for a client, until that hears of it: a connection that was half a second old
    /// when it was asked, and then ends, is dialled once more, and a busy machine makes it that old.
    pub fn hangs_up_on(&self, client: &Wire) {
        eventually(|| {
            self.forget();
            if client.has_news(Duration::ZERO) { Ok(()) } else { Err("the client hears nothing".to_owned()) }
        });
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
        self.connect_with("").0
    }

    /// The same where credentials are configured: with what stands in Proxy-Authorization, if anything does.
    pub fn authorized_connect(&mut self) -> (String, Option<String>) {
        self.connect_with("Proxy-Connection: Keep-Alive\r\n")
    }

    /// Receives the CONNECT for this target without credentials, from a gateway that has some.
    pub fn expect_bare_connect(&mut self, target: &str) {
        assert_eq!(self.authorized_connect(), (target.to_owned(), None));
    }

    /// Receives the CONNECT for this target with credentials, and returns them.
    pub fn expect_credentials(&mut self, target: &str) -> String {
        let (got, credentials) = self.authorized_connect();
        assert_eq!(got, target, "what the CONNECT carries");
        credentials.expect("a CONNECT with credentials")
    }

    fn connect_with(&mut self, more: &str) -> (String, Option<String>) {
        let head = self.receive_through(b"\r\n\r\n");
        let text = String::from_utf8_lossy(&head).into_owned();
        let target = text
            .strip_prefix("CONNECT ")
            .and_then(|rest| rest.split(" HTTP/1.1\r\n").next())
            .unwrap_or_else(|| panic!("upstream: no CONNECT: {text:?}"));
        let version = env!("CARGO_PKG_VERSION");
        let start =
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: handyproxy/{version}\r\n{more}");
        let rest = text.strip_prefix(&start);
        let credentials = match rest {
            Some("\r\n") => None,
            Some(rest) if !more.is_empty() => {
                let field = rest.strip_prefix("Proxy-Authorization: ").and_then(|rest| rest.strip_suffix("\r\n\r\n"));
                Some(field.filter(|field| !field.contains('\n')).map(str::to_owned))
            }
            _ => Some(None),
        };
        assert_ne!(credentials, Some(None), "upstream: the request: {text:?}, wanted to begin with {start:?}");
        // nothing of the client's may leave before the answer: what is there now came too early
        self.expect_silence(Duration::from_millis(1));
        (target.to_owned(), credentials.flatten())
    }

    /// Answers; the same as `send`, in the words of an upstream.
    pub fn reply(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(bytes);
    }
}
