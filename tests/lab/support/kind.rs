//! Clients by what handyproxy can know of them, and how each kind is told of a failure.

use std::thread;
use std::time::Duration;

use super::AT_ONCE;
use super::hello::Hello;
use super::pace::Pace;
use super::scene::Scene;
use super::topology::V4;
use super::wire::{Ending, Wire};

/// A client, by what handyproxy can know of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Speaks HTTP/1.
    Http,
    /// Speaks HTTP/1 and wants no body.
    Head,
    /// Speaks TLS.
    Tls,
    /// Speaks something else.
    Unknown,
}

impl Kind {
    /// The kinds that differ in how they can be told of a failure.
    pub const ALL: [Self; 4] = [Self::Http, Self::Head, Self::Tls, Self::Unknown];

    fn port(self) -> u16 {
        if matches!(self, Self::Http | Self::Head) { 80 } else { 443 }
    }

    /// Its first words.
    pub fn says(self) -> Vec<u8> {
        match self {
            Self::Http => b"GET / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n".to_vec(),
            Self::Head => b"HEAD / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n".to_vec(),
            Self::Tls => Hello::to("www.bench.example").bytes(),
            Self::Unknown => b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(),
        }
    }

    /// Connects and says its first words; nothing is accepted yet.
    pub fn speak(self, scene: &Scene) -> Wire {
        let mut client = scene.connect(V4, self.port());
        client.send(self.says());
        client
    }

    /// Brings it to where the upstream owes an answer to its CONNECT.
    pub fn ask(self, scene: &Scene) -> (Wire, Wire) {
        scene.upstream.forget();
        let client = self.speak(scene);
        let mut up = scene.upstream.accept();
        up.connect_target();
        (client, up)
    }
}

/// What a client is told of a failure.
#[derive(Clone, Copy)]
pub struct Told {
    /// The status of the answer to an HTTP client.
    pub status: u16,
    /// The description of the alert to a TLS client (RFC 8446 section 6).
    pub alert: u8,
}

/// The upstream says no.
pub const ACCESS_DENIED: u8 = 49;
/// Anything else.
pub const INTERNAL_ERROR: u8 = 80;
/// The upstream does not know the name.
pub const UNRECOGNIZED_NAME: u8 = 112;

impl Told {
    /// Checks what this kind of client gets, all of it and how it ends. Returns the HTTP client's page.
    pub fn check(self, kind: Kind, client: &mut Wire) -> String {
        let start = Pace::start();
        let (bytes, end) = client.receive_all();
        let took = start.elapsed();
        assert!(took < AT_ONCE, "{kind:?}: told after {took:?}");
        let ends = if kind == Kind::Unknown { Ending::Reset } else { Ending::Fin };
        assert_eq!(end, ends, "{kind:?}");
        // a reset right behind the news would cost some clients the news
        thread::sleep(Duration::from_millis(20));
        assert!(matches!(client.socket().take_error(), Ok(None)), "{kind:?}: reset behind the news");
        match kind {
            Kind::Http | Kind::Head => self.page(kind, &String::from_utf8_lossy(&bytes)),
            Kind::Tls => {
                assert_eq!(bytes, [21, 3, 3, 0, 2, 2, self.alert], "{kind:?}");
                String::new()
            }
            Kind::Unknown => {
                assert_eq!(bytes, b"", "{kind:?}");
                String::new()
            }
        }
    }

    fn page(self, kind: Kind, text: &str) -> String {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{kind:?}: no whole head: {text:?}"));
        let status = format!("HTTP/1.1 {} ", self.status);
        assert!(head.starts_with(&status), "{kind:?}: wanted {status}: {head}");
        let fields = head.to_ascii_lowercase();
        assert!(fields.contains("\r\nconnection: close"), "{kind:?}: {head}");
        assert!(fields.contains("\r\ncache-control: no-store"), "{kind:?}: {head}");
        if let Some((_, rest)) = fields.split_once("\r\ncontent-length: ") {
            let length = rest.split("\r\n").next().and_then(|n| n.parse().ok());
            if kind != Kind::Head {
                assert_eq!(length, Some(body.len()), "{kind:?}: its length: {head}");
            }
        }
        if kind == Kind::Head {
            assert_eq!(body, "", "HEAD has no body");
        }
        body.to_owned()
    }
}
