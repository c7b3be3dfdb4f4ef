//! What the heads of requests and responses have in common: their limits, how a body is framed, and which
//! fields belong to one hop only.
//!
//! Strict: two recipients that read a head differently are how requests are smuggled (RFC 9112 section 11.2).

use std::mem::MaybeUninit;

use httparse::Header;

/// The longest head, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// The most fields of a head.
pub const MAX_FIELDS: usize = 128;
/// The most connection options of a head.
const MAX_OPTIONS: usize = 32;

/// Room for the fields of one head.
pub type Room<'b> = [MaybeUninit<Header<'b>>; MAX_FIELDS];

/// An empty room.
pub fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// What Content-Length and Transfer-Encoding say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither is there.
    Unsaid,
    /// So many bytes.
    Length(u64),
    /// Chunks (RFC 9112 section 7.1).
    Chunked,
}

/// Why the framing cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misframed {
    /// It says two things at once, or nothing that is valid.
    Ambiguous(&'static str),
    /// A transfer coding other than chunked.
    Coded,
}

/// Reads the framing (RFC 9112 section 6.3). Equal lengths count as one.
pub(super) fn framing(fields: &[Header<'_>]) -> Result<Framing, Misframed> {
    let mut length = None;
    let mut chunked = false;
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-length") {
            let given = digits(field.value).ok_or(Misframed::Ambiguous("content-length is no number"))?;
            if length.replace(given).is_some_and(|before| before != given) {
                return Err(Misframed::Ambiguous("content-length says two things"));
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked {
                return Err(Misframed::Ambiguous("transfer-encoding stands there twice"));
            }
            chunked = true;
            if !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(if is_coded(field.value) {
                    Misframed::Coded
                } else {
                    Misframed::Ambiguous("transfer-encoding is unknown")
                });
            }
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(Misframed::Ambiguous("content-length beside transfer-encoding")),
        (None, true) => Ok(Framing::Chunked),
        (Some(length), false) => Ok(Framing::Length(length)),
        (None, false) => Ok(Framing::Unsaid),
    }
}

/// A length is digits and nothing else; what 18 of them cannot say is no length.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Whether these are known codings, chunked the last of them.
fn is_coded(value: &[u8]) -> bool {
    let known = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        ["gzip", "x-gzip", "deflate", "compress", "x-compress"]
            .iter()
            .any(|k| coding.eq_ignore_ascii_case(k.as_bytes()))
    };
    let mut codings = value.rsplit(|&b| b == b',');
    let last = codings.next().unwrap_or_default().trim_ascii();
    last.eq_ignore_ascii_case(b"chunked") && codings.all(known)
}

/// The connection options of a head (RFC 9110 section 7.6.1).
#[derive(Debug, Default)]
pub(super) struct Options<'b> {
    /// The connection ends after this message.
    pub(super) close: bool,
    /// The connection goes on; HTTP/1.0 says so.
    pub(super) keep_alive: bool,
    /// The sender wants, or does, another protocol.
    pub(super) upgrade: bool,
    /// Fields that are for this hop only.
    named: Vec<&'b [u8]>,
}

impl<'b> Options<'b> {
    /// Reads them, those of Proxy-Connection too where `proxy` is set; `None` where there are too many.
    pub(super) fn read(fields: &[Header<'b>], proxy: bool) -> Option<Options<'b>> {
        let mut options = Options::default();
        for field in fields {
            let counts = field.name.eq_ignore_ascii_case("connection");
            if !(counts || (proxy && field.name.eq_ignore_ascii_case("proxy-connection"))) {
                continue;
            }
            for option in field.value.split(|&b| b == b',') {
                let option = option.trim_ascii();
                if option.eq_ignore_ascii_case(b"close") {
                    options.close = true;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    options.keep_alive = true;
                } else if option.eq_ignore_ascii_case(b"upgrade") {
                    options.upgrade = true;
                } else if !option.is_empty() {
                    if options.named.len() >= MAX_OPTIONS {
                        return None;
                    }
                    options.named.push(option);
                }
            }
        }
        Some(options)
    }

    /// Whether a field ends here: it is for this hop only, or is written anew (framing, Upgrade).
    pub(super) fn ends_here(&self, name: &str) -> bool {
        is_for_one_hop(name) || self.named.iter().any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Fields that are never passed on as they are (RFC 9110 section 7.6.1): of one hop, of the framing, and
/// everything between a client and its proxy, for our client has none.
fn is_for_one_hop(name: &str) -> bool {
    const NAMES: [&str; 6] = ["connection", "keep-alive", "te", "transfer-encoding", "upgrade", "content-length"];
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("proxy-"))
        || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Writes one field.
pub(super) fn write(out: &mut Vec<u8>, field: &Header<'_>) {
    out.extend_from_slice(field.name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(field.value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a number.
pub(super) fn write_number(out: &mut Vec<u8>, number: u64) {
    use std::io::Write;
    write!(out, "{number}").expect("a Vec takes every byte");
}

/// Writes the field that frames a body.
pub(super) fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Unsaid => {}
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            write_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Copies the trailers of a chunked body, from behind its last chunk to the empty line, without those that
/// would change how the message was framed, routed or allowed (RFC 9110 section 6.5.1).
///
/// # Errors
/// They are no fields.
pub fn trailers(section: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    const BARRED: [&str; 8] =
        ["trailer", "host", "authorization", "cookie", "set-cookie", "content-encoding", "content-type", "expect"];
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let Ok(httparse::Status::Complete((length, fields))) = httparse::parse_headers(section, &mut fields) else {
        return Err("trailers that are no fields");
    };
    if length != section.len() {
        return Err("trailers that end early");
    }
    for field in fields {
        if !is_for_one_hop(field.name) && !BARRED.iter().any(|barred| field.name.eq_ignore_ascii_case(barred)) {
            write(out, field);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(lines: &str) -> Result<Framing, Misframed> {
        let text = format!("{lines}\r\n");
        let mut fields = [httparse::EMPTY_HEADER; 8];
        match httparse::parse_headers(text.as_bytes(), &mut fields) {
            Ok(httparse::Status::Complete((_, fields))) => framing(fields),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_valid_framing_counts() {
        assert_eq!(framed("A: b\r\n"), Ok(Framing::Unsaid));
        assert_eq!(framed("Content-Length: 0\r\n"), Ok(Framing::Length(0)));
        assert_eq!(framed("content-length: 00012\r\nContent-Length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(framed("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
    }

    #[test]
    fn framings_that_two_could_read_differently_are_refused() {
        for lines in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 1 1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 9999999999999999999\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked;q=1\r\n",
            "Transfer-Encoding:\r\n",
        ] {
            assert!(matches!(framed(lines), Err(Misframed::Ambiguous(_))), "{lines:?}");
        }
        assert_eq!(framed("Transfer-Encoding: gzip, chunked\r\n"), Err(Misframed::Coded));
    }

    #[test]
    fn trailers_are_passed_on_without_those_that_frame_route_or_allow() {
        let mut out = Vec::new();
        let given = b"Checksum: 1\r\nContent-Length: 5\r\nProxy-X: y\r\nAuthorization: z\r\nX-T: \r\n\r\n";
        assert_eq!(trailers(given, &mut out), Ok(()));
        assert_eq!(out, b"Checksum: 1\r\nX-T: \r\n\r\n");
        for bad in [&b"no field\r\n\r\n"[..], b"A: b\r\n c\r\n\r\n", b"A : b\r\n\r\n", b"A: b\r\n", b"\r\nA: b\r\n\r\n"]
        {
            assert!(trailers(bad, &mut Vec::new()).is_err(), "{}", bad.escape_ascii());
        }
    }
}
