//! HTTP handed to the proxy request by request: what the proxy is asked, and what the client gets of its answers.

mod auto;
mod bodies;
mod credentials;
mod smuggling;
mod upgrade;

use std::net::IpAddr;
use std::time::Duration;

use crate::support::each_row;
use crate::support::head::Head;
use crate::support::hello::Hello;
use crate::support::kind::Kind;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{V4, V6};
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, Wire};

const GET: &str = "GET / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n";
const GET_LINE: &str = "GET http://www.bench.example/ HTTP/1.1";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn relay() -> Scene {
    Scene::new("-plain-http relay -sniff-timeout 5s")
}

/// How a client ends a connection.
type Ends = fn(Wire);

/// A client that has said this on port 80, and the connection over which the proxy is asked.
fn ask(scene: &Scene, request: impl AsRef<[u8]>) -> (Wire, Wire) {
    scene.upstream.forget();
    let mut client = scene.connect(V4, 80);
    client.send(request);
    let up = scene.upstream.accept_asked();
    (client, up)
}

/// One more request on connections that are open.
fn exchange(client: &mut Wire, up: &mut Wire) {
    client.send(GET);
    up.expect_head(GET_LINE);
    answer(client, up);
}

/// The proxy answers, and the client gets it.
fn answer(client: &mut Wire, up: &mut Wire) -> Head {
    up.reply(OK);
    let head = client.expect_status(200);
    head.expect("content-length", Some("2"));
    client.expect("ok");
    head
}

#[test]
fn the_target_is_the_host_and_the_origins_port() {
    let scene = relay();
    let host = |host: &str| format!("Host: {host}\r\n");
    let rows: [(IpAddr, u16, &str, String, &str); 12] = [
        (V4, 80, "GET /a?b=c HTTP/1.1", host("www.bench.example"), "GET http://www.bench.example/a?b=c"),
        (V4, 8080, "GET /a HTTP/1.1", host("www.bench.example"), "GET http://www.bench.example:8080/a"),
        (V4, 80, "GET / HTTP/1.1", host("WWW.Bench.Example:81"), "GET http://www.bench.example/"),
        (V4, 81, "GET / HTTP/1.1", host("www.bench.example:80"), "GET http://www.bench.example:81/"),
        (
            V4,
            80,
            "GET http://www.bench.example/x HTTP/1.1",
            host("www.bench.example"),
            "GET http://www.bench.example/x",
        ),
        (
            V4,
            80,
            "GET http://www.bench.example:99?x HTTP/1.1",
            host("www.bench.example"),
            "GET http://www.bench.example/?x",
        ),
        (V4, 80, "OPTIONS * HTTP/1.1", host("www.bench.example"), "OPTIONS http://www.bench.example"),
        (V4, 80, "PROPFIND /dav HTTP/1.1", host("www.bench.example"), "PROPFIND http://www.bench.example/dav"),
        (V4, 80, "GET / HTTP/1.0", String::new(), "GET http://203.0.113.9/"),
        (V4, 8080, "GET / HTTP/1.1", host("192.0.2.7"), "GET http://203.0.113.9:8080/"),
        (V6, 80, "GET / HTTP/1.1", host("[2001:db8::7]"), "GET http://[2001:db8::9]/"),
        (V6, 8080, "GET / HTTP/1.0", String::new(), "GET http://[2001:db8::9]:8080/"),
    ];
    each_row(
        &rows,
        |(_, port, line, host, _)| format!("{line} {host} on port {port}"),
        |(origin, port, line, host, wanted)| {
            scene.upstream.forget();
            let mut client = scene.connect(*origin, *port);
            client.send(format!("{line}\r\n{host}\r\n"));
            let mut up = scene.upstream.accept();
            let head = up.expect_head(&format!("{wanted} HTTP/1.1"));
            let authority = wanted.split_once("http://").and_then(|(_, rest)| rest.split(['/', '?']).next());
            head.expect("host", authority);
            up.reply(OK);
            client.expect_status(200);
            client.expect("ok");
            client.fin();
            let line = scene.gateway.session_of(&client);
            line.expect("end=done stage=relay status=200 requests=1 upstream=10.2.0.2:3128");
        },
    );
}

#[test]
fn what_is_for_one_hop_only_does_not_go_further() {
    let scene = relay();
    let (mut client, mut up) = ask(
        &scene,
        "GET / HTTP/1.1\r\nHost: www.bench.example\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic Y2xpZW50\r\nProxy-Anything: x\r\nTE: gzip\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: x\r\nCookie: a=b\r\nX-Stays: yes\r\nX-Stays: twice\r\nVia: 1.0 before\r\n\r\n",
    );
    let head = up.expect_head(GET_LINE);
    for gone in ["x-hop", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-anything", "te", "upgrade"] {
        assert_eq!(head.all(gone), [""; 0], "{head:?}");
    }
    head.expect("cookie", Some("a=b"));
    assert_eq!(head.all("x-stays"), ["yes", "twice"]);
    let via = head.all("via").join(", ");
    assert!(via.starts_with("1.0 before, 1.1 "), "{via}");

    up.reply(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authentication-Info: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         X-Stays: yes\r\n\r\nok",
    );
    let head = client.expect_status(200);
    for gone in ["x-hop", "keep-alive", "proxy-connection", "proxy-authentication-info"] {
        assert_eq!(head.all(gone), [""; 0], "{head:?}");
    }
    assert_eq!(head.all("set-cookie"), ["a=1", "b=2"]);
    head.expect("x-stays", Some("yes"));
    assert!(head.get("via").is_some_and(|via| via.starts_with("1.1 ")), "{head:?}");
    client.expect("ok");
    exchange(&mut client, &mut up);
}

#[test]
fn one_connection_carries_many_requests_to_many_hosts() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, GET);
    up.expect_head(GET_LINE);
    answer(&mut client, &mut up);
    for host in ["other.example", "www.bench.example", "third.example"] {
        client.send(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        up.expect_head(&format!("GET http://{host}/x HTTP/1.1")).expect("host", Some(host));
        answer(&mut client, &mut up);
    }
    client.fin();
    client.expect_end(Ending::Fin);
    assert_ne!(up.receive_all().1, Ending::Open);
    scene.gateway.session_of(&client).expect("end=done by=client requests=4");
    scene.upstream.expect_no_connection(Duration::ZERO);
}

#[test]
fn each_side_may_close_without_the_other() {
    let scene = relay();
    // the proxy closes behind each answer: the client's connection goes on
    let (mut client, mut up) = ask(&scene, GET);
    for round in 0..3 {
        up.expect_head(GET_LINE);
        up.reply("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        client.expect_status(200).expect("connection", None);
        client.expect("ok");
        drop(up);
        if round == 2 {
            break;
        }
        client.send(GET);
        up = scene.upstream.accept_asked();
    }
    // and an HTTP/1.0 proxy does so unsaid
    client.send(GET);
    let mut up = scene.upstream.accept_asked();
    up.expect_head(GET_LINE);
    up.reply("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.expect_status(200);
    client.expect("ok");
    // it need not have closed yet
    let _closing = up;
    // a client that wants no more is left
    client.send("GET / HTTP/1.1\r\nHost: www.bench.example\r\nConnection: close\r\n\r\n");
    let mut up = scene.upstream.accept_asked();
    up.expect_head(GET_LINE);
    up.reply(OK);
    client.expect_status(200).expect("connection", Some("close"));
    client.expect("ok");
    client.expect_end(Ending::Fin);
    scene.gateway.session_of(&client).expect("end=done requests=5");
}

#[test]
fn a_kept_connection_that_the_proxy_has_closed_costs_no_request() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, GET);
    up.expect_head(GET_LINE);
    answer(&mut client, &mut up);
    // closed between two requests, told or not
    for method in ["GET", "POST"] {
        up.fin();
        assert_ne!(up.receive_all().1, Ending::Open);
        client.send(format!("{method} / HTTP/1.1\r\nHost: www.bench.example\r\nContent-Length: 2\r\n\r\nhi"));
        up = scene.upstream.accept_asked();
        up.expect_head(&format!("{method} http://www.bench.example/ HTTP/1.1"));
        up.expect("hi");
        answer(&mut client, &mut up);
    }
    // closed under the request: it is asked again where that does no harm
    client.send(GET);
    up.expect_head(GET_LINE);
    drop(up);
    let mut up = scene.upstream.accept_asked();
    up.expect_head(GET_LINE);
    answer(&mut client, &mut up);
    // and is not where it might
    client.send("POST / HTTP/1.1\r\nHost: www.bench.example\r\nContent-Length: 0\r\n\r\n");
    up.expect_head("POST http://www.bench.example/ HTTP/1.1");
    drop(up);
    scene.gateway.session_of(&client).expect("end=hangup by=upstream");
    scene.upstream.expect_no_byte();
}

#[test]
fn a_proxy_that_does_not_answer_in_http_is_told_to_the_client() {
    let scene = relay();
    let answers: [(&str, &[u8]); 7] = [
        ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le"),
        ("garbage", b"\x15\x03\x01\0\x02\x02\x46 and so on\r\n\r\n"),
        ("no status", b"HTTP/1.1 OK\r\n\r\n"),
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk"),
        ("a length and chunks", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a space in a name", b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
        ("it switches unasked", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
    ];
    each_row(
        &answers,
        |(name, _)| (*name).to_owned(),
        |(_, answer)| {
            let (mut client, mut up) = ask(&scene, GET);
            up.expect_head(GET_LINE);
            up.reply(answer);
            up.fin();
            let head = client.expect_status(502);
            head.expect("connection", Some("close"));
            let (_, end) = client.receive_all();
            assert_eq!(end, Ending::Fin);
            client.fin();
            let line = scene.gateway.session_of(&client);
            line.expect("by=upstream");
            assert!(["hangup", "bad-reply"].contains(&line.get("end").unwrap_or("?")), "{line:?}");
        },
    );
}

#[test]
fn a_proxy_that_hangs_up_on_every_request_is_told_to_the_client() {
    let scene = relay();
    let (mut client, up) = ask(&scene, GET);
    drop(up);
    let mut dials = 1;
    while !client.has_news(Duration::from_millis(5)) {
        while let Some(up) = scene.upstream.accept_within(Duration::ZERO) {
            drop(up);
            dials += 1;
        }
    }
    assert!(dials <= 3, "{dials} connections for one request");
    client.expect_status(502);
    assert_eq!(client.receive_all().1, Ending::Fin);
    client.fin();
    scene.gateway.session_of(&client).expect("end=hangup by=upstream");
}

#[test]
fn what_is_no_http_goes_through_a_tunnel() {
    let scene = relay();
    let hello = Hello::to("www.bench.example").bytes();
    let rows: [(&str, u16, &[u8], &str); 3] = [
        ("TLS", 443, &hello, "www.bench.example:443"),
        ("TLS on port 80", 80, &hello, "www.bench.example:80"),
        ("SSH", SERVER_FIRST, b"SSH-2.0-x\r\n", "203.0.113.9:22"),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(_, port, says, target)| {
            let mut client = scene.connect(V4, *port);
            client.send(says);
            let mut up = scene.upstream.accept();
            up.expect_connect(target);
            up.reply(OPEN);
            up.expect(says);
            scene.upstream.forget();
        },
    );
}

#[test]
fn a_client_that_ends_or_resets_frees_everything() {
    let scene = relay();
    let start = scene.gateway.descriptors();
    let ends: [(&str, Ends); 2] = [("resets", Wire::reset), ("closes", drop)];
    each_row(
        &ends,
        |(name, _)| (*name).to_owned(),
        |(_, ends)| {
            // while it waits for an answer, and between two requests
            let (client, mut up) = ask(&scene, GET);
            up.expect_head(GET_LINE);
            let address = client.address();
            client.reset();
            assert_ne!(up.receive_all().1, Ending::Open);
            scene.gateway.session_from(&address).expect("by=client");
            let (mut client, mut up) = ask(&scene, GET);
            up.expect_head(GET_LINE);
            answer(&mut client, &mut up);
            ends(client);
            assert_ne!(up.receive_all().1, Ending::Open);
            scene.gateway.session_line().expect("by=client");
        },
    );
    // a half-close is none: the answer is still wanted
    let (mut client, mut up) = ask(&scene, GET);
    up.expect_head(GET_LINE);
    client.fin();
    up.expect_silence(Duration::from_millis(50));
    answer(&mut client, &mut up);
    client.expect_end(Ending::Fin);
    drop((client, up));
    scene.gateway.session_line().expect("end=done");
    scene.gateway.settles_at(start);
}

#[test]
fn requests_in_one_segment_are_answered_in_their_order() {
    let scene = relay();
    let all: String = (0..5).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: www.bench.example\r\n\r\n")).collect();
    let (mut client, mut up) = ask(&scene, all);
    for n in 0..5 {
        up.expect_head(&format!("GET http://www.bench.example/{n} HTTP/1.1"));
        up.reply(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}"));
    }
    for n in 0..5 {
        client.expect_status(200);
        client.expect(n.to_string());
    }
    // cut anywhere, a request is the same
    let request = b"GET /cut HTTP/1.1\r\nHost: www.bench.example\r\nX-Y: z\r\n\r\n";
    let cuts: Vec<usize> = (1..request.len()).collect();
    each_row(
        &cuts,
        |cut| format!("cut at {cut}"),
        |&cut| {
            client.send(&request[..cut]);
            std::thread::sleep(Duration::from_millis(1));
            client.send(&request[cut..]);
            up.expect_head("GET http://www.bench.example/cut HTTP/1.1").expect("x-y", Some("z"));
            answer(&mut client, &mut up);
        },
    );
}

#[test]
fn a_page_of_ours_to_head_has_no_body() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, Kind::Head.says());
    up.reply("no HTTP\r\n\r\n");
    client.expect_status(502);
    assert_eq!(client.receive_all(), (vec![], Ending::Fin));
}
