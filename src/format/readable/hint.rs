//! What the first bytes of a direction are. Refuses to show more than the first line of HTTP, and of that neither the
//! query nor a user: both carry secrets.

use std::fmt;

use super::Foreign;

/// What bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// A request: its method and where it goes.
    Request(String, String),
    /// A response: its first line.
    Response(String),
    /// A TLS record of the handshake.
    Handshake(&'static str),
    /// TLS says that it ends or fails: the description of RFC 8446 section 6, where it is not encrypted.
    Alert(Option<u8>),
}

/// Methods that are believed before the line is whole.
const METHODS: [&[u8]; 8] = [b"GET", b"POST", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"CONNECT"];
/// A longer token is no method.
const METHOD: usize = 20;
/// The most of a target or a reason that is shown, in bytes.
const SHOWN: usize = 44;

impl Hint {
    /// What a direction begins with.
    pub(super) fn first(bytes: &[u8]) -> Option<Hint> {
        match bytes {
            [0x16, 3, _, _, _, 1, ..] => Some(Hint::Handshake("ClientHello")),
            [0x16, 3, _, _, _, 2, ..] => Some(Hint::Handshake("ServerHello")),
            [0x15, 3, ..] => Hint::alert(bytes),
            [b'H', b'T', b'T', b'P', b'/', ..] => response(bytes),
            _ => request(bytes),
        }
    }

    /// An alert, which is a record of two bytes unless it is encrypted.
    pub(super) fn alert(bytes: &[u8]) -> Option<Hint> {
        match bytes {
            [0x15, 3, 0..=4, 0, 2, 1..=2, description] => Some(Hint::Alert(Some(*description))),
            [0x15, 3, 0..=4, 0, length, rest @ ..] if *length > 2 && usize::from(*length) == rest.len() => {
                Some(Hint::Alert(None))
            }
            _ => None,
        }
    }
}

fn request(bytes: &[u8]) -> Option<Hint> {
    let whole = bytes.iter().position(|&b| b == b'\n');
    let line = bytes[..whole.unwrap_or(bytes.len())].trim_ascii_end();
    let mut words = line.split(|&b| b == b' ');
    let method = words.next()?;
    let target = words.next()?;
    let token = |b: &u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
    if method.is_empty() || method.len() > METHOD || !method.iter().all(token) || target.is_empty() {
        return None;
    }
    let sure = match whole {
        Some(_) => words.next()?.starts_with(b"HTTP/") && words.next().is_none(),
        None => METHODS.contains(&method) && (target.starts_with(b"/") || target.starts_with(b"http")),
    };
    sure.then(|| Hint::Request(String::from_utf8_lossy(method).into_owned(), place(target)))
}

/// The target of a request without its user, its parameters and its query.
fn place(target: &[u8]) -> String {
    let (scheme, rest) = match target.windows(3).position(|it| it == b"://") {
        Some(at) if !target.starts_with(b"/") => target.split_at(at + 3),
        _ => target.split_at(0),
    };
    let path = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
    let host = rest[..path].iter().rposition(|&b| b == b'@').map_or(0, |at| at + 1);
    let rest = &rest[host..];
    let end = rest.iter().position(|b| matches!(b, b'?' | b'#' | b';')).unwrap_or(rest.len());
    let shown = &rest[..end.min(SHOWN)];
    let more = match rest.get(shown.len()) {
        None => "",
        Some(b'?') => "?...",
        Some(_) => "...",
    };
    format!("{}{}{more}", Foreign(scheme), Foreign(shown))
}

fn response(bytes: &[u8]) -> Option<Hint> {
    let end = bytes.iter().position(|&b| b == b'\n')?;
    let line = bytes[..end].trim_ascii_end();
    let [_, b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b' ', rest @ ..] = line else { return None };
    let code = rest.get(..3)?.iter().all(u8::is_ascii_digit) && rest.get(3).is_none_or(|&b| b == b' ');
    let more = if line.len() > SHOWN { "..." } else { "" };
    code.then(|| Hint::Response(format!("{}{more}", Foreign(&line[..line.len().min(SHOWN)]))))
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::Request(method, place) => write!(f, "{method} {place}"),
            Hint::Response(line) => f.write_str(line),
            Hint::Handshake(kind) => write!(f, "TLS {kind}"),
            Hint::Alert(None) => f.write_str("TLS alert, encrypted"),
            Hint::Alert(Some(description)) => match name(*description) {
                Some(name) => write!(f, "TLS alert {description}, {name}"),
                None => write!(f, "TLS alert {description}"),
            },
        }
    }
}

/// The alerts that tell why a handshake fails (RFC 8446 section 6).
fn name(description: u8) -> Option<&'static str> {
    Some(match description {
        0 => "close notify",
        40 => "handshake failure",
        42 => "bad certificate",
        44 => "certificate revoked",
        45 => "certificate expired",
        46 => "certificate unknown",
        48 => "unknown CA",
        70 => "protocol version",
        80 => "internal error",
        112 => "unrecognized name",
        116 => "certificate required",
        120 => "no application protocol",
        _ => return None,
    })
}
