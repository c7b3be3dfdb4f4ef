//! The table: first bytes of every kind and in every cut.

use super::Carries::{self, Address, Either};
use super::Step::{Fin, Pause, Send};
use super::{NAME, Row, bench, http, pieces, tls};
use crate::support::hello::{Hello, record};

/// All rows.
pub(super) fn table() -> Vec<Row> {
    [tls_rows(), http_rows(), other_rows(), fin_rows()].into_iter().flatten().collect()
}

fn tls_rows() -> Vec<Row> {
    let hello = Hello::to(NAME).bytes();
    let n = hello.len();
    let sni = || bench("sni");
    let hundreds: Vec<usize> = (100..n).step_by(100).collect();
    let large = Hello::nameless().padding(8700);
    vec![
        tls("ClientHello, one segment", hello.clone(), sni()),
        pieces("ClientHello, two segments 50 ms apart", 443, &hello, &[n / 2], sni()),
        pieces("ClientHello, cut inside the record header", 443, &hello, &[3], sni()),
        pieces("ClientHello, cut after one byte", 443, &hello, &[1], sni()),
        pieces("ClientHello, 100-byte pieces", 443, &hello, &hundreds, sni()),
        tls("ClientHello, two TLS records", Hello::to(NAME).records(90), sni()),
        tls("ClientHello, records of 16 bytes", Hello::to(NAME).records(16), sni()),
        tls("ClientHello, records of 1 byte", Hello::to(NAME).records(1), sni()),
        pieces("ClientHello, two TLS records, cut between them", 443, &Hello::to(NAME).records(90), &[95], sni()),
        tls("ClientHello of 9 KB, name first", Hello::to(NAME).padding(8700).bytes(), sni()),
        tls("ClientHello of 9 KB, name behind the limit", large.name(NAME).bytes(), Address),
        tls("ClientHello, post-quantum key share", Hello::default().post_quantum().name(NAME).bytes(), sni()),
        tls("ClientHello, GREASE", Hello::default().grease().name(NAME).bytes(), sni()),
        tls("ClientHello, padding before the name", Hello::default().padding(700).name(NAME).bytes(), sni()),
        tls("ClientHello, encrypted one inside", Hello::to(NAME).encrypted().bytes(), bench("sni-outer")),
        tls(
            "ClientHello, encrypted one before the name",
            Hello::default().encrypted().name(NAME).bytes(),
            bench("sni-outer"),
        ),
        tls("ClientHello, no SNI", Hello::nameless().bytes(), Address),
        tls("ClientHello, no extensions", Hello::default().bytes(), Address),
        tls(
            "ClientHello, two names of one type",
            Hello::default().names(&[(0, NAME.as_bytes()), (0, b"b.example")]).bytes(),
            Either(NAME.to_owned()),
        ),
        tls("ClientHello, a name of another type", Hello::default().names(&[(1, NAME.as_bytes())]).bytes(), Address),
        tls("ClientHello, empty list of names", Hello::default().names(&[]).bytes(), Address),
        tls("ClientHello, empty record first", [record(&[]), hello.clone()].concat(), Either(NAME.to_owned())),
        tls("alert record", vec![21, 3, 3, 0, 2, 2, 40], Address),
        tls("ServerHello", record(&[2, 0, 0, 4, 3, 3, 0, 0]), Address),
        tls("ClientHello in the manner of SSL 2", [&[0x80, 46, 1, 3, 1, 0, 21][..], &[0; 41]].concat(), Address),
        tls("hello whose list of extensions is too long for it", overlong_extensions(), Address),
    ]
}

/// A whole message whose extensions claim more bytes than there are.
fn overlong_extensions() -> Vec<u8> {
    let mut message = Hello::nameless().bytes().split_off(5);
    let n = message.len();
    // the length of the extensions stands before the one extension of 8 bytes
    message[n - 10] = 0x40;
    record(&message)
}

fn http_rows() -> Vec<Row> {
    let get = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nAccept: */*\r\n\r\n");
    let host = || bench("host");
    let absolute = |host: &str| format!("GET http://abs.example/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let abs = || Carries::Name("abs.example".to_owned(), "authority");
    let a = || Carries::Name("a.example".to_owned(), "host");
    let with = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n");
    let body = vec![b'x'; 20_000];
    let post = format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 20000\r\n\r\n");
    let filler = format!("X: {}\r\n", "y".repeat(9000));
    vec![
        http("GET, Host", &get, host()),
        pieces("GET, cut inside Host", 80, get.as_bytes(), &[25], host()),
        pieces("GET, cut inside the method", 80, get.as_bytes(), &[2], host()),
        pieces("GET, cut inside the last line end", 80, get.as_bytes(), &[get.len() - 1], host()),
        http("GET, `Host: a.example:8080`", with("Host: a.example:8080"), a()),
        http("GET, `Host: a.example:22`", with("Host: a.example:22"), a()),
        http("GET, `host:A.Example.`", with("host:A.Example."), a()),
        http("GET, Host behind other fields", with("Accept: */*\r\nHost: a.example"), a()),
        http("GET, `Host: [2001:db8::1]`", with("Host: [2001:db8::1]"), Address),
        http("GET, `Host: a.example/b@c`", with("Host: a.example/b@c"), Address),
        http("GET, two Hosts", with("Host: a.example\r\nHost: b.example"), Address),
        http("GET, two equal Hosts", with("Host: a.example\r\nHost: a.example"), Address),
        http("GET, two Hosts in one line", with("Host: a.example, b.example"), Address),
        http("GET, empty Host", with("Host:"), Address),
        http("GET, folded Host", with("Host: a.example\r\n .b.example"), Address),
        http("GET, no Host", with("Accept: */*"), Address),
        http("GET, HTTP/1.0 without fields", "GET / HTTP/1.0\r\n\r\n", Address),
        http("GET http://abs.example/ with another Host", absolute("b.example"), Address),
        http("GET http://abs.example/ with the same Host", absolute("abs.example"), abs()),
        http("GET http://abs.example/, HTTP/1.0, no Host", "GET http://abs.example/ HTTP/1.0\r\n\r\n", abs()),
        http(
            "GET http://user@abs.example/",
            "GET http://user@abs.example/ HTTP/1.1\r\nHost: abs.example\r\n\r\n",
            Either("abs.example".to_owned()),
        ),
        http("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", a()),
        http("a method that nobody knows", "BREW /pot HTTP/1.1\r\nHost: a.example\r\n\r\n", a()),
        http("a method in lower case", "get / HTTP/1.1\r\nHost: a.example\r\n\r\n", a()),
        http(
            "CONNECT from a client that knows a proxy",
            "CONNECT a.example:22 HTTP/1.1\r\nHost: a.example:22\r\n\r\n",
            Either("a.example".to_owned()),
        ),
        http("GET, LF line ends", "GET / HTTP/1.1\nHost: a.example\n\n", Either("a.example".to_owned())),
        http(
            "GET behind an empty line",
            "\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            Either("a.example".to_owned()),
        ),
        http("POST with a 20 KB body at once", [post.as_bytes(), &body].concat(), host()),
        http("header block over the limit, Host first", with(&format!("Host: {NAME}\r\n{filler}Z: z")), host()),
        http("header block over the limit, Host last", with(&format!("{filler}Host: {NAME}")), Address),
        http("header block cut by the limit inside Host", cut_by_limit(), Address),
        http("HTTP/2 prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", Address),
    ]
}

/// A head whose 8192nd byte stands in the middle of the name: `www.ben` is no name that a client has sent.
fn cut_by_limit() -> String {
    let start = "GET / HTTP/1.1\r\nX: ";
    let host = "\r\nHost: www.ben";
    let filler = "y".repeat(8192 - start.len() - host.len());
    format!("{start}{filler}{host}ch.example\r\n\r\n")
}

fn other_rows() -> Vec<Row> {
    vec![
        tls("SSH banner", b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(), Address),
        http("SSH banner on port 80", b"SSH-2.0-OpenSSH_9.2p1\r\n", Address),
        tls("random bytes", vec![0xde, 0xad, 0xbe, 0xef], Address),
        tls("one zero byte", vec![0], Address),
        tls("GET on port 443", b"GET / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n".to_vec(), bench("host")),
        http("ClientHello on port 80", Hello::to(NAME).bytes(), bench("sni")),
        Row::new(
            "SSH banner, one byte at first",
            443,
            vec![Send(b"S".into()), Pause(50), Send(b"SH-2.0-x\r\n".into())],
            Address,
        ),
    ]
}

fn fin_rows() -> Vec<Row> {
    let get = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let row = |name: &str, port, bytes: &[u8], carries| Row::new(name, port, vec![Send(bytes.to_vec()), Fin], carries);
    let hello = Hello::to(NAME).bytes();
    vec![
        row("GET then client FIN at once", 80, get.as_bytes(), bench("host")),
        row("ClientHello then client FIN at once", 443, &hello, bench("sni")),
        row("2 bytes then client FIN at once", 443, b"xy", Address),
        row("2 bytes of GET then client FIN at once", 80, b"GE", Address),
        row("half a ClientHello then client FIN at once", 443, &hello[..90], Address),
        row("half a name then client FIN at once", 80, &get.as_bytes()[..33], Address),
        row("Host line without the head's end, then FIN", 80, &get.as_bytes()[..get.len() - 2], bench("host")),
    ]
}
