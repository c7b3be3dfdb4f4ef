//! Requests that two programs could understand differently: the client gets 400, and the proxy not a byte of them.

use super::{GET, GET_LINE, answer, ask, relay};
use crate::support::each_row;
use crate::support::topology::V4;
use crate::support::wire::Ending;

const HOST: &str = "Host: www.bench.example\r\n";

/// Heads, with what would be hidden behind them.
fn heads() -> Vec<(&'static str, Vec<u8>)> {
    let post = |name, fields: &str| {
        let hidden = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: hidden.example\r\n\r\n";
        (name, format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n{hidden}").into_bytes())
    };
    let raw = |name, head: &[u8]| (name, head.to_vec());
    vec![
        post("length, then chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        post("chunks, then length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        post("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        post("two lengths in one", "Content-Length: 5, 6\r\n"),
        post("a length with a sign", "Content-Length: +5\r\n"),
        post("a length below nothing", "Content-Length: -1\r\n"),
        post("a length with a blank", "Content-Length: 5 5\r\n"),
        post("a hexadecimal length", "Content-Length: 0x5\r\n"),
        post("an empty length", "Content-Length: \r\n"),
        post("a length beyond 64 bits", "Content-Length: 18446744073709551621\r\n"),
        post("xchunked", "Transfer-Encoding: xchunked\r\n"),
        post("chunked twice", "Transfer-Encoding: chunked, chunked\r\n"),
        post("chunked in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        post("chunked, then identity", "Transfer-Encoding: chunked, identity\r\n"),
        post("identity and a length", "Transfer-Encoding: identity\r\nContent-Length: 5\r\n"),
        post("a vertical tab before chunked", "Transfer-Encoding: \u{b}chunked\r\n"),
        post("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n"),
        post("a folded field", "Transfer-Encoding:\r\n chunked\r\n"),
        post("a folded other field", "X-A: b\r\n\tc\r\nContent-Length: 5\r\n"),
        post("a blank before the colon", "Transfer-Encoding : chunked\r\n"),
        post("a blank before the name", " Transfer-Encoding: chunked\r\n"),
        post("a field without a colon", "Transfer-Encoding chunked\r\n"),
        post("a field without a name", ": chunked\r\n"),
        post("a bare CR in a value", "X-A: b\rTransfer-Encoding: chunked\r\n"),
        post("NUL in a value", "X-A: b\0c\r\n"),
        post("NUL in a name", "X-A\0: b\r\n"),
        post("chunks in HTTP/1.0", "")
            .tap(|head| head.replace("HTTP/1.1\r\nHost", "HTTP/1.0\r\nTransfer-Encoding: chunked\r\nHost")),
        raw("two hosts", b"GET / HTTP/1.1\r\nHost: www.bench.example\r\nHost: hidden.example\r\n\r\n"),
        raw("two hosts in one", b"GET / HTTP/1.1\r\nHost: www.bench.example, hidden.example\r\n\r\n"),
        raw("a host with a user", b"GET / HTTP/1.1\r\nHost: www.bench.example@hidden.example\r\n\r\n"),
        raw("a host with a path", b"GET / HTTP/1.1\r\nHost: www.bench.example/hidden\r\n\r\n"),
        raw("no host", b"GET / HTTP/1.1\r\n\r\n"),
        raw("target and host differ", b"GET http://hidden.example/ HTTP/1.1\r\nHost: www.bench.example\r\n\r\n"),
        raw("another scheme", b"GET ftp://www.bench.example/ HTTP/1.1\r\nHost: www.bench.example\r\n\r\n"),
        raw("a target that is no path", b"GET hidden HTTP/1.1\r\nHost: www.bench.example\r\n\r\n"),
    ]
}

/// Request lines that are none: what begins with one of them is not taken for HTTP.
fn odd_lines() -> Vec<(&'static str, Vec<u8>)> {
    let raw = |name, head: &[u8]| (name, head.to_vec());
    vec![
        raw("a blank in the target", b"GET /a /hidden HTTP/1.1\r\nHost: www.bench.example\r\n\r\n"),
        raw("a bare CR in the target", b"GET /a\r/hidden HTTP/1.1\r\nHost: www.bench.example\r\n\r\n"),
        raw("a tab in the request line", b"GET\t/ HTTP/1.1\r\nHost: www.bench.example\r\n\r\n"),
    ]
}

trait Tap {
    fn tap(self, change: fn(String) -> String) -> Self;
}

impl Tap for (&'static str, Vec<u8>) {
    fn tap(self, change: fn(String) -> String) -> Self {
        (self.0, change(String::from_utf8(self.1).expect("text")).into_bytes())
    }
}

#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused_behind_another() {
    let scene = relay();
    each_row(
        &[heads(), odd_lines()].concat(),
        |(name, _)| (*name).to_owned(),
        |(_, bytes)| {
            let (mut client, mut up) = ask(&scene, GET);
            up.expect_head(GET_LINE);
            answer(&mut client, &mut up);
            client.send(bytes);
            client.expect_status(400).expect("connection", Some("close"));
            let (_, end) = client.receive_all();
            assert_eq!(end, Ending::Fin);
            client.fin();
            let (reached, _) = up.receive_all();
            assert_eq!(reached, b"", "it reached the proxy");
            scene.gateway.session_of(&client).expect("end=bad-request by=client");
        },
    );
}

#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused_as_the_first_one() {
    let scene = relay();
    each_row(
        &heads(),
        |(name, _)| (*name).to_owned(),
        |(_, bytes)| {
            scene.upstream.forget();
            let mut client = scene.connect(V4, 80);
            client.send(bytes);
            client.expect_status(400);
            client.receive_all();
            client.fin();
            let line = scene.gateway.session_of(&client);
            line.expect("end=bad-request by=client");
            scene.upstream.expect_no_byte();
        },
    );
}

#[test]
fn chunks_that_can_be_read_in_two_ways_end_the_request() {
    let scene = relay();
    let rows: [(&str, &[u8]); 12] = [
        ("no size", b"\r\nhello\r\n0\r\n\r\n"),
        ("no number", b"zz\r\nhello\r\n0\r\n\r\n"),
        ("a sign", b"+5\r\nhello\r\n0\r\n\r\n"),
        ("a prefix", b"0x5\r\nhello\r\n0\r\n\r\n"),
        ("beyond 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("longer than its size", b"4\r\nhello\r\n0\r\n\r\n"),
        ("no line end behind it", b"5\r\nhello0\r\n\r\n"),
        ("LF alone behind a size", b"5\nhello\r\n0\r\n\r\n"),
        ("CR alone behind a size", b"5\rhello\r\n0\r\n\r\n"),
        ("LF alone behind the data", b"5\r\nhello\n0\r\n\r\n"),
        ("NUL in an extension", b"5;a=\0\r\nhello\r\n0\r\n\r\n"),
        ("LF in an extension", b"5;a=\nb\r\nhello\r\n0\r\n\r\n"),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(_, chunks)| {
            let head = format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n");
            let hidden: &[u8] = b"GET /hidden HTTP/1.1\r\nHost: hidden.example\r\n\r\n";
            let (mut client, mut up) = ask(&scene, head);
            up.expect_head("POST http://www.bench.example/ HTTP/1.1");
            client.send([chunks, hidden].concat());
            let (told, end) = client.receive_all();
            assert_ne!(end, Ending::Open);
            client.fin();
            assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 400 "), "{}", told.escape_ascii());
            let (reached, _) = up.receive_all();
            let reached = String::from_utf8_lossy(&reached).into_owned();
            assert!(!reached.contains("hidden"), "{reached}");
            assert!(!reached.ends_with("0\r\n\r\n"), "it looks whole: {reached}");
            scene.gateway.session_of(&client).expect("end=bad-request by=client");
        },
    );
}

#[test]
fn what_a_request_does_not_hold_stays_out_of_it() {
    let scene = relay();
    // too many fields, and a head without end
    let many = format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "X-A: b\r\n".repeat(500));
    let long = format!("GET / HTTP/1.1\r\n{HOST}X-A: {}\r\n\r\n", "a".repeat(200_000));
    for (name, request) in [("500 fields", many), ("200 KB", long)] {
        let (mut client, mut up) = ask(&scene, GET);
        up.expect_head(GET_LINE);
        answer(&mut client, &mut up);
        let _ = client.try_send(request);
        let head = client.head();
        assert!(head.line.starts_with("HTTP/1.1 431 ") || head.line.starts_with("HTTP/1.1 400 "), "{name}: {head:?}");
        assert_eq!(up.receive_all().0, b"", "{name}");
        scene.gateway.session_of(&client).expect("end=bad-request by=client");
    }
    // methods that would show or do what is ours alone
    for method in ["CONNECT www.bench.example:80", "TRACE /"] {
        let (mut client, mut up) = ask(&scene, GET);
        up.expect_head(GET_LINE);
        answer(&mut client, &mut up);
        client.send(format!("{method} HTTP/1.1\r\n{HOST}\r\n"));
        let head = client.head();
        assert!(head.line.starts_with("HTTP/1.1 4"), "{method}: {head:?}");
        assert_eq!(up.receive_all().0, b"", "{method}");
    }
}
