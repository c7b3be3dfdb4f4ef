//! The HTTP/1 scanner: the name of the first request on a connection.
//!
//! The rule: the head is read to its end, and there is a name only if exactly one Host field stands
//! in it, it is valid, and it agrees with the authority of an absolute-form target, if there is one.
//! A later field could contradict an earlier one, so nothing is decided before the end of the head,
//! except where a limit ends the reading: then the whole lines seen so far decide. A port in Host is
//! dropped: the port is always the origin's.

use super::Verdict;
use crate::addr::{Host, Name, Source};

/// What an HTTP/2 client with prior knowledge says first (RFC 9113 section 3.4): its name is inside HPACK.
pub const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// More fields than this, and the request has no name.
const MAX_FIELDS: usize = 128;

/// Looks at everything that was read so far.
pub fn scan(prefix: &[u8]) -> Verdict {
    if prefix.starts_with(H2_PREFACE) {
        return Verdict::Nameless;
    }
    if H2_PREFACE.starts_with(prefix) {
        return Verdict::More;
    }
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(prefix, &mut fields) {
        Ok(httparse::Status::Partial) => Verdict::More,
        Ok(httparse::Status::Complete(_)) => name(&request).map_or(Verdict::Nameless, Verdict::Named),
        // the request line was fine, so this is HTTP, but nothing after it can be trusted
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::TooManyHeaders) => {
            Verdict::Nameless
        }
        Err(_) => Verdict::Not,
    }
}

/// Decides a prefix on which [`scan`] still said `More` when a limit ended the reading.
pub fn settle(prefix: &[u8]) -> Verdict {
    let Some(newline) = prefix.iter().rposition(|&b| b == b'\n') else {
        return Verdict::Not;
    };
    let (lines, rest) = prefix.split_at(newline + 1);
    // a folded line would still belong to the field before it
    if matches!(rest.first(), Some(b' ' | b'\t')) {
        return Verdict::Nameless;
    }
    match scan(&[lines, b"\r\n"].concat()) {
        Verdict::More => Verdict::Not,
        verdict => verdict,
    }
}

/// Whether the first bytes are a HEAD request, whose answer has no body.
pub fn is_head(prefix: &[u8]) -> bool {
    prefix.trim_ascii_start().starts_with(b"HEAD ")
}

fn name(request: &httparse::Request<'_, '_>) -> Option<Name> {
    // the client believes that it talks to a proxy: the name is not that of the origin
    if request.method == Some("CONNECT") {
        return None;
    }
    let mut hosts = request.headers.iter().filter(|f| f.name.eq_ignore_ascii_case("host"));
    let field = hosts.next();
    if hosts.next().is_some() {
        return None;
    }
    let field = field.map(|f| host_of(f.value));
    match (absolute_authority(request.path?), field) {
        (Some(authority), None) => Some(Name { host: host_of(authority)?, source: Source::Authority }),
        (Some(authority), Some(field)) => {
            let host = host_of(authority)?;
            (field.as_ref() == Some(&host)).then_some(Name { host, source: Source::Authority })
        }
        (None, field) => Some(Name { host: field??, source: Source::HostField }),
    }
}

/// The authority of `http://authority/path`.
fn absolute_authority(path: &str) -> Option<&[u8]> {
    let (scheme, rest) = path.split_once("://")?;
    if !(scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")) {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(&rest.as_bytes()[..end])
}

/// The host of `host[:port]`; user names, addresses and brackets are no names.
fn host_of(authority: &[u8]) -> Option<Host> {
    let authority = authority.trim_ascii();
    let Some(colon) = authority.iter().position(|&b| b == b':') else {
        return Host::parse(authority);
    };
    let (host, port) = (&authority[..colon], &authority[colon + 1..]);
    let digits = port.iter().all(u8::is_ascii_digit);
    let port_fits = port.is_empty() || std::str::from_utf8(port).is_ok_and(|p| p.parse::<u16>().is_ok());
    (digits && port_fits).then(|| Host::parse(host))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(host: &str, source: Source) -> Verdict {
        Verdict::Named(Name { host: Host::parse(host.as_bytes()).expect("a valid name"), source })
    }

    const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nHost: www.bench.example\r\nAccept: */*\r\n\r\n";

    #[test]
    fn the_host_field_names_a_whole_head() {
        let wanted = named("www.bench.example", Source::HostField);
        for head in [
            PLAIN,
            b"\r\n\r\nPOST /x HTTP/1.1\r\nhOsT:www.bench.example:8080\r\n\r\nbody body",
            b"get / HTTP/1.0\nHost: www.bench.example.\n\n",
            b"PROPFIND /d HTTP/1.1\r\nHost: WWW.bench.example:22\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: www.bench.example:\r\n\r\n",
        ] {
            assert_eq!(scan(head), wanted, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn the_authority_of_an_absolute_target_is_a_name_if_host_agrees() {
        let wanted = named("abs.example", Source::Authority);
        assert_eq!(scan(b"GET http://abs.example/ HTTP/1.1\r\nHost: abs.example:80\r\n\r\n"), wanted);
        assert_eq!(scan(b"GET HTTP://Abs.Example:8080?q HTTP/1.0\r\n\r\n"), wanted);
        assert_eq!(scan(b"GET http://abs.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n"), Verdict::Nameless);
        assert_eq!(scan(b"GET http://u@abs.example/ HTTP/1.1\r\n\r\n"), Verdict::Nameless);
    }

    #[test]
    fn what_is_ambiguous_or_invalid_is_http_without_a_name() {
        for head in [
            &b"GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a.example\r\nX: y\r\nhost: b.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.example/b@c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.example:port\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.example:99999\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.example:+80\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.example\r\n b.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
            b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
            H2_PREFACE,
        ] {
            assert_eq!(scan(head), Verdict::Nameless, "{}", head.escape_ascii());
        }
        let crowd = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{}\r\n", "X: y\r\n".repeat(MAX_FIELDS));
        assert_eq!(scan(crowd.as_bytes()), Verdict::Nameless);
    }

    #[test]
    fn the_first_impossible_byte_ends_it() {
        for (bytes, at) in [
            (&b"\x16\x03\x01"[..], 1),
            (b"SSH-2.0-OpenSSH_9.2\r\n", 20),
            (b"EHLO me\r\n", 8),
            (b"GET / HTTQ/1.1", 10),
            (b"\x00", 1),
        ] {
            assert_eq!(scan(&bytes[..at]), Verdict::Not, "{}", bytes[..at].escape_ascii());
            assert_eq!(scan(&bytes[..at - 1]), Verdict::More, "{}", bytes[..at - 1].escape_ascii());
        }
    }

    #[test]
    fn every_prefix_of_a_head_asks_for_more() {
        for end in 0..PLAIN.len() {
            assert_eq!(scan(&PLAIN[..end]), Verdict::More, "{end}");
        }
        for end in 0..H2_PREFACE.len() {
            assert_eq!(scan(&H2_PREFACE[..end]), Verdict::More, "{end}");
        }
    }

    #[test]
    fn a_limit_settles_by_the_whole_lines_seen() {
        let wanted = named("www.bench.example", Source::HostField);
        let line_end = PLAIN.iter().position(|&b| b == b'A').expect("the Accept line");
        for end in line_end..PLAIN.len() {
            assert_eq!(settle(&PLAIN[..end]), wanted, "{end}");
        }
        assert_eq!(settle(b"GET / HTTP/1.1\r\nHost: www.bench.exam"), Verdict::Nameless);
        assert_eq!(settle(b"GET / HTTP/1.1\r\nHost: www.bench.example\r\n folded"), Verdict::Nameless);
        assert_eq!(settle(b"GET / HTT"), Verdict::Not);
        assert_eq!(settle(b"hello\nthere"), Verdict::Not);
        assert_eq!(settle(b""), Verdict::Not);
        assert_eq!(settle(b"\r\n\r\n"), Verdict::Not);
    }

    proptest! {
        #[test]
        fn a_verdict_never_changes_with_more_bytes(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"GET /HOSThost:. \r\nP1.0".to_vec())], 0..120),
            cut in 0usize..120,
        ) {
            let cut = cut.min(bytes.len());
            let early = scan(&bytes[..cut]);
            let _ = settle(&bytes[..cut]);
            if early != Verdict::More {
                prop_assert_eq!(early, scan(&bytes));
            }
        }

        #[test]
        fn any_cut_of_a_request_finds_the_same_name(host in "[a-z][a-z0-9-]{0,15}\\.example", cut in 0usize..200, body in any::<Vec<u8>>()) {
            let mut bytes = format!("GET /{} HTTP/1.1\r\nUser-Agent: x\r\nHost: {host}\r\n\r\n", "p".repeat(20)).into_bytes();
            let head = bytes.len();
            bytes.extend(body);
            let verdict = scan(&bytes[..cut.min(bytes.len())]);
            prop_assert_eq!(verdict, if cut < head { Verdict::More } else { named(&host, Source::HostField) });
        }
    }
}
