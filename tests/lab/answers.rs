//! What the upstream answers, and what clients make of it: those that speak HTTP, those that speak TLS, and all others.

use std::time::Duration;

use crate::support::each_row;
use crate::support::kind::{ACCESS_DENIED, INTERNAL_ERROR, Kind, Told, UNRECOGNIZED_NAME};
use crate::support::scene::Scene;
use crate::support::topology::V4;
use crate::support::upstream::OPEN;
use crate::support::wire::Ending;

const SNIFFING: &str = "-sniff-timeout 5s";

// ---- answers that open the tunnel

/// A good answer, in pieces 30 ms apart, and what of it is the origin's.
struct Good {
    name: &'static str,
    pieces: Vec<Vec<u8>>,
    surplus: Vec<u8>,
}

fn good() -> Vec<Good> {
    let whole =
        |name, answer: &[u8], surplus: &[u8]| Good { name, pieces: vec![answer.to_vec()], surplus: surplus.to_vec() };
    let head = |name, answer: &[u8]| whole(name, answer, b"");
    let banner = vec![b'b'; 20 * 1024];
    let bytewise = OPEN.iter().map(|b| vec![*b]).collect();
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Filler: 0123456789\r\n".repeat(300));
    vec![
        head("200", OPEN),
        whole("200 and origin bytes in one segment", b"HTTP/1.1 200 OK\r\n\r\nhi", b"hi"),
        whole("200 and 20 KB of origin bytes at once", &[OPEN, &banner].concat(), &banner),
        Good { name: "200, one byte at a time", pieces: bytewise, surplus: vec![] },
        Good {
            name: "200, cut before the last line end, origin bytes behind it",
            pieces: vec![OPEN[..OPEN.len() - 1].to_vec(), b"\nhi".to_vec()],
            surplus: b"hi".to_vec(),
        },
        head("200 in HTTP/1.0", b"HTTP/1.0 200 Connection established\r\n\r\n"),
        head("200 without a reason", b"HTTP/1.1 200\r\n\r\n"),
        head("200 without a reason, with its space", b"HTTP/1.1 200 \r\n\r\n"),
        whole("200, LF line ends", b"HTTP/1.1 200 OK\nX: y\n\nhi", b"hi"),
        whole("200 with Content-Length: 0", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nhi", b"hi"),
        whole("200 with Content-Length: 5", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", b"hi"),
        head("200 with Content-Length: 5 and nothing yet", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        whole("200 with Transfer-Encoding: chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhi", b"hi"),
        whole("200 with Connection: close", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi", b"hi"),
        whole("204", b"HTTP/1.1 204 No Content\r\n\r\nhi", b"hi"),
        whole("299", b"HTTP/1.1 299 Odd\r\n\r\nhi", b"hi"),
        whole("100, then 200", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhi", b"hi"),
        Good {
            name: "103, then 200",
            pieces: vec![b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec(), OPEN.to_vec(), b"hi".to_vec()],
            surplus: b"hi".to_vec(),
        },
        head("6 KB of headers", many.as_bytes()),
        whole(
            "an origin that sounds like an answer",
            b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 407 No\r\n\r\n",
            b"HTTP/1.1 407 No\r\n\r\n",
        ),
    ]
}

#[test]
fn every_good_answer_opens_the_tunnel_and_loses_no_byte() {
    let scene = Scene::new(SNIFFING);
    each_row(
        &good(),
        |row| row.name.to_owned(),
        |row| {
            for kind in [Kind::Http, Kind::Tls, Kind::Unknown] {
                let (mut client, mut up) = kind.ask(&scene);
                for (i, piece) in row.pieces.iter().enumerate() {
                    if i > 0 && row.pieces.len() < 10 {
                        std::thread::sleep(Duration::from_millis(30));
                    }
                    up.reply(piece);
                }
                client.expect(&row.surplus);
                up.expect(kind.says());
                up.send("pong");
                client.expect("pong");
                client.send("ping");
                up.expect("ping");
                client.fin();
                up.expect_end(Ending::Fin);
                up.fin();
                client.expect_end(Ending::Fin);
                let line = scene.gateway.session_of(&client);
                line.expect("end=done stage=relay upstream=10.2.0.2:3128");
                assert_eq!(line.number("down"), (row.surplus.len() + 4) as f64, "{kind:?}: down");
                assert_eq!(line.number("up"), (kind.says().len() + 4) as f64, "{kind:?}: up");
            }
        },
    );
}

// ---- answers that do not

/// A bad answer: what the upstream does, what clients are told, and what the log says.
struct Bad {
    name: &'static str,
    answer: Vec<u8>,
    /// whether the upstream closes behind its answer
    closes: bool,
    told: Told,
    log: &'static str,
}

fn bad() -> Vec<Bad> {
    let told = |status, alert| Told { status, alert };
    let refused = |name, answer: &[u8], status, alert, log| Bad {
        name,
        answer: answer.to_vec(),
        closes: false,
        told: told(status, alert),
        log,
    };
    let page = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\
                Content-Type: text/html\r\nContent-Length: 18\r\n\r\n<p>who are you</p>";
    let head_of_64k = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 70_000], b"\r\n\r\n"].concat();
    vec![
        refused("407 with a body", page.as_bytes(), 502, ACCESS_DENIED, "end=refused by=upstream status=407"),
        Bad {
            closes: true,
            ..refused("407 with a body, then closed", page.as_bytes(), 502, ACCESS_DENIED, "end=refused status=407")
        },
        refused(
            "403, no body",
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            502,
            ACCESS_DENIED,
            "end=refused status=403",
        ),
        refused(
            "503, upstream keeps the connection",
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nsorry",
            503,
            INTERNAL_ERROR,
            "end=refused status=503",
        ),
        refused(
            "503, squid could not resolve",
            b"HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\nContent-Length: 0\r\n\r\n",
            503,
            UNRECOGNIZED_NAME,
            "end=refused status=503",
        ),
        refused(
            "502, Proxy-Status says that it could not resolve",
            b"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: edge; error=dns_error\r\nContent-Length: 0\r\n\r\n",
            502,
            UNRECOGNIZED_NAME,
            "end=refused status=502",
        ),
        refused(
            "504",
            b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n",
            504,
            INTERNAL_ERROR,
            "end=refused status=504",
        ),
        refused(
            "302",
            b"HTTP/1.1 302 Found\r\nLocation: http://x.example/\r\nContent-Length: 0\r\n\r\n",
            502,
            INTERNAL_ERROR,
            "end=refused status=302",
        ),
        refused(
            "100, then 403",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
            502,
            ACCESS_DENIED,
            "end=refused status=403",
        ),
        Bad {
            closes: true,
            ..refused("closes without an answer", b"", 502, INTERNAL_ERROR, "end=hangup by=upstream -status")
        },
        Bad {
            closes: true,
            ..refused(
                "closes inside its answer",
                b"HTTP/1.1 200 OK\r\nX: ",
                502,
                INTERNAL_ERROR,
                "end=hangup by=upstream",
            )
        },
        Bad {
            closes: true,
            ..refused(
                "closes after 100",
                b"HTTP/1.1 100 Continue\r\n\r\n",
                502,
                INTERNAL_ERROR,
                "end=hangup by=upstream",
            )
        },
        refused("not HTTP", b"220 mail.example ESMTP\r\n", 502, INTERNAL_ERROR, "end=bad-reply by=upstream"),
        refused("binary", b"\x15\x03\x03\x00\x02\x02\x28", 502, INTERNAL_ERROR, "end=bad-reply by=upstream"),
        refused("status 20", b"HTTP/1.1 20 OK\r\n\r\n", 502, INTERNAL_ERROR, "end=bad-reply by=upstream"),
        refused("status 999", b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", 502, INTERNAL_ERROR, "by=upstream"),
        refused("a head of 70 KB", &head_of_64k, 502, INTERNAL_ERROR, "end=bad-reply by=upstream"),
    ]
}

#[test]
fn every_bad_answer_is_told_in_the_language_of_the_client() {
    let scene = Scene::new(SNIFFING);
    let start = scene.gateway.descriptors();
    each_row(
        &bad(),
        |row| row.name.to_owned(),
        |row| {
            for kind in Kind::ALL {
                let (mut client, mut up) = kind.ask(&scene);
                // a long answer may be cut off by a reset
                let _ = up.try_send(&row.answer);
                if row.closes {
                    up.fin();
                    scene.upstream.hangs_up_on(&client);
                }
                let page = row.told.check(kind, &mut client);
                let address = client.address();
                drop(client);
                let line = scene.gateway.session_from(&address);
                line.expect(row.log);
                line.expect("stage=connect upstream=10.2.0.2:3128 up=0 down=0");
                assert_eq!(line.level(), "WARN");
                assert!(line.get("error").is_some() || line.get("status").is_some(), "no reason in {line:?}");
                if let (Kind::Http, Some(status)) = (kind, line.get("status")) {
                    assert!(page.contains(status), "the page does not name {status}: {page}");
                }
            }
        },
    );
    scene.gateway.settles_at(start);
}

#[test]
fn without_sniffing_every_failure_is_a_reset() {
    let scene = Scene::new("");
    let rows = [b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".as_slice(), b"not HTTP\r\n\r\n", b""];
    each_row(
        &rows,
        |answer| answer.escape_ascii().to_string(),
        |answer| {
            for kind in [Kind::Http, Kind::Tls] {
                let (mut client, mut up) = kind.ask(&scene);
                up.reply(answer);
                up.fin();
                scene.upstream.hangs_up_on(&client);
                client.expect_end(Ending::Reset);
            }
        },
    );
}

#[test]
fn http_2_without_a_name_is_told_with_a_reset() {
    let scene = Scene::new(SNIFFING);
    let mut client = scene.connect(V4, 80);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let mut up = scene.upstream.accept();
    up.expect_connect("203.0.113.9:80");
    up.reply("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    client.expect_end(Ending::Reset);
}

#[test]
fn http_clients_see_the_upstreams_own_page_up_to_a_bound() {
    let scene = Scene::new(SNIFFING);
    let told = Told { status: 502, alert: 0 };
    let answer = |kind: &str, page: &str| {
        format!("HTTP/1.1 403 Forbidden\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{page}", page.len())
    };
    let show = |answer: String| {
        let (mut client, mut up) = Kind::Http.ask(&scene);
        // a long page may be cut off by a reset
        let _ = up.try_send(answer);
        told.check(Kind::Http, &mut client)
    };
    let page = show(answer("text/html; charset=utf-8", "<p>not allowed here</p>"));
    assert!(page.contains("<p>not allowed here</p>"), "{page}");
    let page = show(answer("text/plain", "not allowed here"));
    assert!(page.contains("not allowed here"), "{page}");
    let page = show(answer("application/octet-stream", "not for reading"));
    assert!(!page.contains("not for reading"), "{page}");
    let page = show(answer("text/plain", &"x".repeat(100_000)));
    let carried = page.matches('x').count();
    assert!((8_000..=17_000).contains(&carried), "{carried} bytes of the page");
    let page = show(format!(
        "HTTP/1.1 403 No\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "5\r\nhello\r\n0\r\n\r\n"
    ));
    assert!(!page.contains("\r\n0\r\n"), "chunks are no page: {page:?}");
}

#[test]
fn a_page_that_never_ends_does_not_hold_the_client() {
    let scene = Scene::new("-sniff-timeout 5s -dial-timeout 4s");
    for length in ["Content-Length: 9999\r\n", ""] {
        let (mut client, mut up) = Kind::Http.ask(&scene);
        up.reply(format!("HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\n{length}\r\nwe are bu"));
        let head = client.receive_through(b"\r\n\r\n");
        assert!(head.starts_with(b"HTTP/1.1 503 "), "{}", head.escape_ascii());
        let (_, end) = client.receive_all();
        assert_eq!(end, Ending::Fin, "the client is held");
    }
}

#[test]
fn a_client_that_is_still_sending_reads_the_whole_refusal() {
    let scene = Scene::new(SNIFFING);
    let mut client = scene.connect(V4, 80);
    client.send("POST / HTTP/1.1\r\nHost: www.bench.example\r\nContent-Length: 500000\r\n\r\n");
    // more than is read for sniffing: what stays unread must not turn the end into a reset
    client.send(vec![b'x'; 100_000]);
    let mut up = scene.upstream.accept();
    up.connect_target();
    up.reply("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    // and one that sends fast does not outrun its page
    client.send(vec![b'x'; 4_000_000]);
    let told = Told { status: 502, alert: 0 };
    let page = told.check(Kind::Http, &mut client);
    assert!(page.contains("403"), "{page}");
}
