//! What a request becomes, and which ones are refused.

use std::net::SocketAddr;

use super::*;
use proptest::prelude::*;

fn origin(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 9], port))
}

/// The whole request as the proxy gets it, by name where it has one.
fn relayed(head: &str, port: u16) -> Result<String, Refusal> {
    let mut room = fields::room();
    let request = parse(head.as_bytes(), &mut room)?;
    let site = match &request.host {
        Some(host) => Target::Name(host, port),
        None => Target::Addr(origin(port)),
    };
    let mut out = Vec::new();
    let line = request.write(&site, &mut out);
    assert!(out.starts_with(&out[line.method.clone()]) && out[line.uri.clone()].starts_with(b"http://"));
    request.facts.finish(None, Leg::Whole, &mut out);
    Ok(String::from_utf8(out).expect("text"))
}

fn facts(head: &str) -> Facts {
    let mut room = fields::room();
    parse(head.as_bytes(), &mut room).expect("valid").facts
}

fn status(head: &[u8]) -> u16 {
    let mut room = fields::room();
    parse(head, &mut room).map_or_else(|refusal| refusal.status, |_| 200)
}

#[test]
fn host_and_the_origins_port_make_the_uri() {
    for (head, port, line, host) in [
        ("GET /x?y HTTP/1.1\r\nHost: A.example\r\n\r\n", 80, "GET http://a.example/x?y", "a.example"),
        ("GET / HTTP/1.1\r\nHost: a.example:22\r\n\r\n", 80, "GET http://a.example/", "a.example"),
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", 8080, "GET http://a.example:8080/", "a.example:8080"),
        ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", 80, "GET http://203.0.113.9/", "203.0.113.9"),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", 81, "GET http://203.0.113.9:81/", "203.0.113.9:81"),
        ("GET / HTTP/1.0\r\n\r\n", 80, "GET http://203.0.113.9/", "203.0.113.9"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", 80, "OPTIONS http://a.example", "a.example"),
        ("OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", 80, "OPTIONS http://a.example", "a.example"),
        ("GET http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", 80, "GET http://a.example/", "a.example"),
        ("GET HTTP://a.example:8?q HTTP/1.1\r\nHost: a.example\r\n\r\n", 80, "GET http://a.example/?q", "a.example"),
        ("GET http://a.example/ HTTP/1.0\r\n\r\n", 80, "GET http://a.example/", "a.example"),
        ("GET //b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 80, "GET http://a.example//b.example/", "a.example"),
        ("PROPFIND /d HTTP/1.1\r\nHost: a.example\r\n\r\n", 80, "PROPFIND http://a.example/d", "a.example"),
    ] {
        let relayed = relayed(head, port).expect(head);
        assert!(relayed.starts_with(&format!("{line} HTTP/1.1\r\nHost: {host}\r\n")), "{head:?} became {relayed:?}");
        assert_eq!(relayed.matches("Host:").count(), 1);
    }
    let mut out = Vec::new();
    write_authority(&Target::Addr("[2001:db8::9]:80".parse().expect("an address")), &mut out);
    assert_eq!(out, b"[2001:db8::9]");
}

#[test]
fn fields_of_the_hop_to_the_client_stay_there() {
    let head = "POST / HTTP/1.1\r\nAccept: */*\r\nHost: a.example\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nProxy-Else: x\r\nTE: gzip\r\n\
                Trailer: Sum\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nX-Raw: \u{fc}\r\nVia: 1.1 other\r\n\r\n";
    assert_eq!(
        relayed(head, 80).expect("valid"),
        "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nTrailer: Sum\r\nX-Raw: \u{fc}\r\n\
         Via: 1.1 other\r\nVia: 1.1 handyproxy\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let te = relayed("GET / HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: TE\r\n\r\n", 80).expect("valid");
    assert!(te.contains("\r\nTE: trailers\r\nConnection: TE\r\n"), "{te}");
}

#[test]
fn an_upgrade_goes_on_only_where_a_tunnel_can_follow() {
    let wish = |more: &str| format!("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\n{more}\r\n");
    let websocket = wish("Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n");
    assert!(facts(&websocket).upgrade);
    let relayed = relayed(&websocket, 80).expect("valid");
    assert!(relayed.contains("\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nConnection: Upgrade\r\n"), "{relayed}");
    for other in [
        wish("Upgrade: h2c\r\nHTTP2-Settings: x\r\n"),
        wish("Upgrade: websocket\r\nContent-Length: 5\r\n"),
        wish(""),
        websocket.replace("HTTP/1.1", "HTTP/1.0"),
        websocket.replace("Connection: Upgrade", "X: y"),
    ] {
        assert!(!facts(&other).upgrade, "{other:?}");
        assert!(!self::relayed(&other, 80).expect("valid").contains("pgrade"));
    }
}

#[test]
fn credentials_and_empty_legs_are_written_at_the_end() {
    let facts = facts("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
    assert!(facts.expects && facts.has_body());
    let finished = |credentials, leg| {
        let mut out = Vec::new();
        facts.finish(credentials, leg, &mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(finished(None, Leg::Last), "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(
        finished(Some(Some("NTLM x")), Leg::Empty),
        "Content-Length: 0\r\nProxy-Connection: Keep-Alive\r\nProxy-Authorization: NTLM x\r\n\r\n"
    );
    assert_eq!(finished(Some(None), Leg::Empty), "Content-Length: 0\r\nProxy-Connection: Keep-Alive\r\n\r\n");
}

#[test]
fn the_proxy_is_to_close_first_where_the_client_will() {
    let facts = facts("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    for (leg, wanted) in [(Leg::Last, "Connection: close\r\n\r\n"), (Leg::Whole, "\r\n")] {
        let mut out = Vec::new();
        facts.finish(None, leg, &mut out);
        assert_eq!(out, wanted.as_bytes());
    }
}

#[test]
fn who_may_keep_its_connection() {
    for (head, keep) in [
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: x, Close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: a.example\r\nConnection: Keep-Alive\r\n\r\n", true),
    ] {
        assert_eq!(facts(head).keep, keep, "{head:?}");
    }
    assert!(facts("PUT / HTTP/1.0\r\n\r\n").idempotent && !facts("POST / HTTP/1.0\r\n\r\n").idempotent);
    assert!(!facts("get / HTTP/1.0\r\n\r\n").idempotent && facts("HEAD / HTTP/1.0\r\n\r\n").head);
}

#[test]
fn what_is_ambiguous_or_invalid_is_refused() {
    const HOST: &str = "Host: a.example\r\n";
    for (head, wanted) in [
        (format!("GET / HTTP/1.1\r\n{HOST}\r\n"), 200),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}{HOST}\r\n"), 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a.example/b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: u@a.example\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a.example:port\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a.example:+1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a.example:99999\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: 127.1\r\n\r\n".to_owned(), 400),
        (format!("GET http://b.example/ HTTP/1.1\r\n{HOST}\r\n"), 400),
        (format!("GET http://u@a.example/ HTTP/1.1\r\n{HOST}\r\n"), 400),
        (format!("GET http:///x HTTP/1.1\r\n{HOST}\r\n"), 400),
        (format!("GET https://a.example/ HTTP/1.1\r\n{HOST}\r\n"), 400),
        (format!("GET a.example HTTP/1.1\r\n{HOST}\r\n"), 400),
        (format!("GET * HTTP/1.1\r\n{HOST}\r\n"), 400),
        (format!("GET / x HTTP/1.1\r\n{HOST}\r\n"), 400),
        (format!("GET /\tx HTTP/1.1\r\n{HOST}\r\n"), 400),
        (format!("G@T / HTTP/1.1\r\n{HOST}\r\n"), 400),
        (format!("CONNECT a.example:80 HTTP/1.1\r\n{HOST}\r\n"), 405),
        (format!("TRACE / HTTP/1.1\r\n{HOST}\r\n"), 405),
        (format!("GET / HTTP/2.0\r\n{HOST}\r\n"), 505),
        (format!("GET / HTTP/1.2\r\n{HOST}\r\n"), 505),
        (format!("GET /\r\n{HOST}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}A: b\r\n folded\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n folded\r\n{HOST}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}A : b\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}A\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}: b\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}A: b\rc\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}A: b\0c\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}A: b\x0bc\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}A: \x7f\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}A(: b\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding : chunked\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: xchunked\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: \x0bchunked\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n"), 501),
        (format!("POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{HOST}Expect: miracles\r\n\r\n"), 417),
        (format!("POST / HTTP/1.0\r\n{HOST}Expect: miracles\r\n\r\n"), 200),
        (format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "X: y\r\n".repeat(fields::MAX_FIELDS)), 431),
        (format!("GET / HTTP/1.1\r\n{HOST}Connection: {}\r\n\r\n", "x,".repeat(33)), 400),
        (format!("GET / HTTP/1.1\r\n{HOST}\r\nGET / HTTP/1.1\r\n{HOST}\r\n"), 400),
    ] {
        assert_eq!(status(head.as_bytes()), wanted, "{head:?}");
    }
    assert_eq!(status(b"GET / HTTP/1.1\nHost: a.example\n\n"), 200);
}

proptest! {
    #[test]
    fn whatever_is_relayed_is_one_request_with_our_framing(
        lines in proptest::collection::vec("[ -~]{0,12}(:|: |)[ -~\t\u{0}\r\n]{0,12}", 0..6),
        target in "(/[!-~]{0,12}|http://[a-z.:@/?#]{0,12}|[ -~]{0,6})",
    ) {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n{}\r\n\r\n", lines.join("\r\n"));
        if let Ok(relayed) = relayed(&head, 80) {
            let mut room = fields::room();
            let again = parse(relayed.as_bytes(), &mut room).expect("valid again");
            let host = again.host.expect("a name");
            prop_assert_eq!(host.as_str(), "a.example");
            prop_assert_eq!(again.facts.length, relayed.len());
            prop_assert!(relayed.starts_with("GET http://a.example"));
        }
    }
}

#[test]
fn a_method_that_some_read_without_case_is_refused_in_any() {
    for (method, wanted) in
        [("trace", 405), ("Trace", 405), ("connect", 405), ("head", 400), ("Head", 400), ("get", 200)]
    {
        assert_eq!(status(format!("{method} / HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes()), wanted, "{method}");
    }
}
