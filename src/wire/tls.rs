//! The TLS scanner: the server name of a ClientHello.
//!
//! Handshake bytes are joined over any number of records (tls-parser reads one whole message and
//! leaves the joining to its caller). The verdict waits for the whole hello, since a marker for an
//! encrypted hello may stand behind the name, except where a limit ends the reading: then the whole
//! extensions seen so far decide.

use std::borrow::Cow;

use tls_parser::{TlsExtension, TlsExtensionType};

use super::Verdict;
use crate::addr::{Host, Name, Source};

const HANDSHAKE: u8 = 0x16;
const CLIENT_HELLO: u8 = 1;
/// Version, random, and three empty vectors (RFC 8446 section 4.1.2).
const SHORTEST_BODY: usize = 2 + 32 + 1 + 2 + 1;
/// encrypted_client_hello (RFC 9849)
const ECH: TlsExtensionType = TlsExtensionType(0xfe0d);
/// RFC 8446 section 5.1
const MAX_RECORD: usize = 1 << 14;

/// Looks at everything that was read so far.
pub fn scan(prefix: &[u8]) -> Verdict {
    match join(prefix) {
        Handshake::Not => Verdict::Not,
        Handshake::Part(_) => Verdict::More,
        Handshake::Whole(hello) => name(&hello, false),
    }
}

/// Decides a prefix on which [`scan`] still said `More` when a limit ended the reading.
pub fn settle(prefix: &[u8]) -> Verdict {
    match join(prefix) {
        Handshake::Not => Verdict::Not,
        Handshake::Part(bytes) if bytes.len() < 4 => Verdict::Not,
        Handshake::Part(hello) => name(&hello, true),
        Handshake::Whole(hello) => name(&hello, false),
    }
}

/// The first handshake message, its header of 4 bytes included.
enum Handshake<'a> {
    Not,
    Part(Cow<'a, [u8]>),
    Whole(Cow<'a, [u8]>),
}

/// Joins the payloads of the handshake records at the front of `prefix`; copies only if there are
/// several. Says `Not` at the first byte that cannot be a ClientHello's.
fn join(prefix: &[u8]) -> Handshake<'_> {
    let mut joined: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut rest = prefix;
    loop {
        let header = &rest[..rest.len().min(5)];
        if !header_fits(header) {
            return Handshake::Not;
        }
        let &[_, _, _, high, low] = header else {
            return Handshake::Part(joined);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let payload = &rest[5..rest.len().min(5 + length)];
        if joined.is_empty() {
            joined = Cow::Borrowed(payload);
        } else {
            joined.to_mut().extend_from_slice(payload);
        }
        if !message_fits(&joined) {
            return Handshake::Not;
        }
        if let Some(header) = joined.first_chunk() {
            let whole = 4 + body_length(header);
            if joined.len() >= whole {
                return Handshake::Whole(match joined {
                    Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..whole]),
                    Cow::Owned(mut bytes) => {
                        bytes.truncate(whole);
                        Cow::Owned(bytes)
                    }
                });
            }
        }
        if payload.len() < length {
            return Handshake::Part(joined);
        }
        rest = &rest[5 + length..];
    }
}

/// Whether these first bytes can open a handshake record of TLS 1.0 to 1.3: 1 to 2^14 bytes long.
fn header_fits(header: &[u8]) -> bool {
    let fits = [HANDSHAKE..=HANDSHAKE, 3..=3, 0..=4, 0..=(MAX_RECORD >> 8) as u8, 0..=255];
    if !header.iter().zip(fits).all(|(byte, range)| range.contains(byte)) {
        return false;
    }
    match header {
        [_, _, _, high, low] => (1..=MAX_RECORD).contains(&usize::from(u16::from_be_bytes([*high, *low]))),
        _ => true,
    }
}

/// Whether these first bytes can open a ClientHello: its type, a length that has room for one, and its
/// version's major number.
fn message_fits(message: &[u8]) -> bool {
    message.first().is_none_or(|&b| b == CLIENT_HELLO)
        && message.first_chunk().is_none_or(|header| body_length(header) >= SHORTEST_BODY)
        && message.get(4).is_none_or(|&b| b == 3)
}

fn body_length(&[_, a, b, c]: &[u8; 4]) -> usize {
    usize::from(a) * 65536 + usize::from(b) * 256 + usize::from(c)
}

/// The name in a hello, or in the front `part` of one.
fn name(hello: &[u8], part: bool) -> Verdict {
    let extensions = match tls_parser::parse_tls_handshake_client_hello(&hello[4..]) {
        Ok((rest, parsed)) => match parsed.ext {
            Some(extensions) => extensions,
            // cut within the extensions: behind their length stands what there is of them
            None if part => rest.get(2..).unwrap_or_default(),
            None => return Verdict::Nameless,
        },
        Err(_) => return Verdict::Nameless,
    };
    let Ok((rest, extensions)) = tls_parser::parse_tls_client_hello_extensions(extensions) else {
        return Verdict::Nameless;
    };
    if !rest.is_empty() && !part {
        return Verdict::Nameless;
    }
    let mut names = extensions.iter().filter_map(|e| match e {
        TlsExtension::SNI(names) => Some(names.as_slice()),
        _ => None,
    });
    // one extension with one name of type host_name (0), anything else is ambiguous
    let (Some([(kind, bytes)]), None) = (names.next(), names.next()) else {
        return Verdict::Nameless;
    };
    let encrypted = extensions.iter().any(|e| matches!(e, TlsExtension::Unknown(kind, _) if *kind == ECH));
    let source = if encrypted { Source::SniOuter } else { Source::Sni };
    match Host::parse(bytes) {
        Some(host) if kind.0 == 0 => Verdict::Named(Name { host, source }),
        _ => Verdict::Nameless,
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
