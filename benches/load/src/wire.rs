//! What client and origin say to each other, on any port, with or without a CONNECT before it. The first byte decides:
//! - `0x16`: a TLS-sized exchange: a real ClientHello, 3000 bytes back, 80, 300 back; the client closes
//! - `G`: an HTTP GET and a 3 KB answer; the client closes
//! - `GET http:`: requests to a proxy, one after the other, a 1 KB answer to each; it closes where the request says so
//! - `0x00` and a mode: the origin answers one byte, `READY`, which tells the client that the tunnel is open; then
//!   `Down`: 8 bytes (LE) of milliseconds; the origin sends for as long and ends the stream
//!   `Up`: bytes until the client ends its side; the origin answers how many, 8 bytes (LE)
//!   `Echo`: every byte comes back; `Quiet`: nothing
//!
//! `0x00` starts neither TLS nor HTTP, so a sniffing proxy is done at once.

pub const HELLO: &[u8] = include_bytes!("hello.bin");
pub const FLIGHT: &[u8] = &[0x17; 3000];
pub const FINISH: &[u8] = &[0x17; 80];
pub const TICKET: &[u8] = &[0x17; 300];
pub const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: www.bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
pub const PAGE: &[u8] = &{
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2933\r\n\r\n";
    let mut page = [b'.'; 3000];
    let mut at = 0;
    while at < head.len() {
        page[at] = head[at];
        at += 1;
    }
    assert!(head.len() + 2933 == page.len());
    page
};
/// What a request for a page gets from a proxy that plays the origin.
pub const LEAF: &[u8] = &[b'.'; 1024];
pub const OPENED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
pub const READY: u8 = b'k';

/// The first byte of a conversation of ours.
pub const OURS: u8 = 0;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Down = 1,
    Up,
    Echo,
    Quiet,
}

impl Mode {
    pub fn header(self) -> [u8; 2] {
        [OURS, self as u8]
    }

    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Down, Self::Up, Self::Echo, Self::Quiet].into_iter().find(|&mode| mode as u8 == byte)
    }
}

/// What a short connection says.
#[derive(Clone, Copy)]
pub enum Talk {
    Tls,
    Http,
}

impl Talk {
    pub fn named(word: &str) -> Result<Self, String> {
        match word {
            "tls" => Ok(Self::Tls),
            "http" => Ok(Self::Http),
            _ => Err(format!("--talk {word}: neither tls nor http")),
        }
    }
}

/// How a request names what it is for.
#[derive(Clone, Copy)]
pub enum Form {
    /// As to an origin.
    Origin,
    /// As to a proxy.
    Absolute,
}

impl Form {
    pub fn named(word: &str) -> Result<Self, String> {
        match word {
            "origin" => Ok(Self::Origin),
            "absolute" => Ok(Self::Absolute),
            _ => Err(format!("--form {word}: neither origin nor absolute")),
        }
    }
}

/// Length of a TLS record from its first bytes, header included.
pub fn tls_record_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [_, _, _, high, low, ..] => Some(5 + usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

/// Length of an HTTP head that ends with an empty line.
pub fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}
