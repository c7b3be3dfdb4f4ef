//! The upstream's reply to CONNECT: where its head ends, and what its status line says.
//!
//! Tolerant where the field is (bare LF, HTTP/1.0, no reason, any field at all), strict where it
//! matters: the head ends at the first empty line and not a byte later. Content-Length and
//! Transfer-Encoding of a 2xx are nobody's business (RFC 9110 section 9.3.6).

/// The longest head that is read, in bytes, interim replies included.
pub const MAX_HEAD: usize = 64 * 1024;

/// What the bytes read so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The head is not whole yet.
    More,
    /// This is no HTTP/1 reply, and more bytes will not make it one.
    Bad,
    /// A whole head.
    Head {
        /// The status code, 100 to 999.
        status: u16,
        /// The length of the head, its empty line included.
        length: usize,
    },
}

/// Looks at everything that was read since the last reply; says `Bad` at the first byte that cannot open
/// an HTTP/1 reply, and of a whole head whose status line is none.
/// The first `seen` bytes are known to hold no end of a head, so that a drip costs no quadratic work.
pub fn scan(bytes: &[u8], seen: usize) -> Reply {
    const VERSION: &[u8] = b"HTTP/1.";
    let shown = bytes.len().min(VERSION.len());
    if bytes[..shown] != VERSION[..shown] {
        return Reply::Bad;
    }
    // the empty line may have begun in the last three bytes of what was seen
    let Some(length) = head_end(bytes, seen.saturating_sub(3)) else {
        return Reply::More;
    };
    match status(&bytes[..length]) {
        Some(status) => Reply::Head { status, length },
        None => Reply::Bad,
    }
}

/// The position behind the first empty line at or after `from`.
pub fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(newline) = bytes[at..].iter().position(|&b| b == b'\n') {
        at += newline + 1;
        match bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// The status code of the status line; the fields behind it are not looked at.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|&b| b == b'\n').next()?.trim_ascii_end();
    let rest = line.strip_prefix(b"HTTP/1.0").or_else(|| line.strip_prefix(b"HTTP/1.1"))?;
    let code = rest.trim_ascii_start();
    if code.len() == rest.len() || !(code.len() == 3 || code.get(3) == Some(&b' ')) {
        return None;
    }
    let code = std::str::from_utf8(&code[..3]).ok().filter(|c| c.bytes().all(|b| b.is_ascii_digit()))?;
    code.parse().ok().filter(|&c: &u16| c >= 100)
}

/// The status line without its version, for people: `403 Forbidden`.
pub fn status_text(head: &[u8]) -> &[u8] {
    let line = head.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii();
    line.iter().position(|&b| b == b' ').map_or(line, |space| line[space..].trim_ascii_start())
}

/// The value of a field of a head, by its lower-case name; `None` where the fields are not HTTP.
pub fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let body = head.iter().position(|&b| b == b'\n')? + 1;
    httparse::parse_headers(&head[body..], &mut fields).ok()?;
    fields.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value)
}

/// The values of all fields of this name.
pub fn fields(head: &[u8], name: &str) -> Vec<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let Some(newline) = head.iter().position(|&b| b == b'\n') else { return Vec::new() };
    if httparse::parse_headers(&head[newline + 1..], &mut fields).is_err() {
        return Vec::new();
    }
    fields.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value.to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> (u16, usize) {
        match scan(text.as_bytes(), 0) {
            Reply::Head { status, length } => (status, length),
            other => panic!("{other:?} for {text:?}"),
        }
    }

    #[test]
    fn odd_but_whole_heads_are_read_to_their_end_exactly() {
        for text in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/1.1 200 \r\n\r\n",
            "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 OK\nA: b\r\n\n",
            "HTTP/1.1  200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno field at all\r\n: x\r\n\x01\r\n\r\n",
        ] {
            assert_eq!(head(text), (200, text.len()), "{text:?}");
            assert_eq!(head(&format!("{text}\n\r\n\r\nHTTP/1.1")), (200, text.len()), "{text:?}");
        }
        assert_eq!(head("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").0, 407);
    }

    #[test]
    fn every_prefix_asks_for_more_whatever_was_seen() {
        let text = b"HTTP/1.1 200 OK\r\nVia: 1.1 proxy\r\n\r\n";
        for end in 0..text.len() {
            for seen in 0..=end {
                assert_eq!(scan(&text[..end], seen), Reply::More, "{end} {seen}");
            }
            assert_eq!(scan(text, end), Reply::Head { status: 200, length: text.len() }, "{end}");
        }
    }

    #[test]
    fn what_is_not_http_is_known_at_the_first_byte() {
        for text in ["S", "HTTQ", "HTTP/2", "http/1.1"] {
            assert_eq!(scan(text.as_bytes(), 0), Reply::Bad, "{text}");
        }
        for text in [
            "HTTP/1.1200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
            "HTTP/1.1 099\r\n\r\n",
            "HTTP/1.7 200 OK\r\n\r\n",
            "HTTP/1.1 +20 OK\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(scan(text.as_bytes(), 0), Reply::Bad, "{text}");
        }
    }

    #[test]
    fn fields_are_found_and_garbage_is_not() {
        let text = b"HTTP/1.1 503 x\r\nx-squid-error: ERR_DNS_FAIL 0\r\nA: b\r\n\r\n";
        assert_eq!(field(text, "X-Squid-Error"), Some(&b"ERR_DNS_FAIL 0"[..]));
        assert_eq!(field(text, "content-type"), None);
        assert_eq!(field(b"HTTP/1.1 503 x\r\n\x01\r\nA: b\r\n\r\n", "a"), None);
        assert_eq!(status_text(text), b"503 x");
        assert_eq!(status_text(b"HTTP/1.1 200\n\n"), b"200");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_a_head_never_moves(
            tail in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"\r\n 12".to_vec())], 0..80), cut in 0usize..90,
        ) {
            let bytes = [b"HTTP/1.1 ", &tail[..]].concat();
            let cut = cut.min(bytes.len());
            let early = scan(&bytes[..cut], 0);
            let _ = (field(&bytes, "a"), status_text(&bytes));
            if early == Reply::More {
                prop_assert_eq!(scan(&bytes, cut), scan(&bytes, 0));
            } else {
                prop_assert_eq!(scan(&bytes, 0), early);
            }
        }
    }
}
