//! Bodies of every framing, in both directions, and answers that have none or come too early.

use std::time::Duration;

use super::{GET, GET_LINE, OK, answer, ask, exchange, relay};
use crate::support::random::Random;
use crate::support::wire::Ending;
use crate::support::{PATIENCE, each_row};

const POST_LINE: &str = "POST http://www.bench.example/ HTTP/1.1";

fn post(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: www.bench.example\r\n{fields}\r\n")
}

#[test]
fn chunks_and_trailers_go_both_ways() {
    let scene = relay();
    let body = "5\r\nhello\r\n1;a=\"b\"\r\n \r\n00005\r\nworld\r\n0\r\nX-Sum: 11\r\nX-More: yes\r\n\r\n";
    let request = format!("{}{body}", post("Transfer-Encoding: chunked\r\nTE: trailers\r\n"));
    let (mut client, mut up) = ask(&scene, request);
    let head = up.expect_head(POST_LINE);
    head.expect("transfer-encoding", Some("chunked"));
    head.expect("content-length", None);
    let (got, trailers) = up.chunked();
    assert_eq!(got, b"hello world");
    assert_eq!(trailers, "X-Sum: 11\r\nX-More: yes\r\n");
    up.reply(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{body}"));
    client.expect_status(200).expect("transfer-encoding", Some("chunked"));
    let (got, trailers) = client.chunked();
    assert_eq!(got, b"hello world");
    assert_eq!(trailers, "X-Sum: 11\r\nX-More: yes\r\n");
    exchange(&mut client, &mut up);
}

#[test]
fn a_chunk_goes_on_before_the_next_one_is_there() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, post("Transfer-Encoding: chunked\r\n"));
    up.expect_head(POST_LINE);
    for byte in ["a", "b", "c"] {
        client.send(format!("1\r\n{byte}\r\n"));
        assert_eq!(up.chunk(), byte.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(up.chunk(), b"");
    up.expect("\r\n");
    up.reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.expect_status(200);
    for byte in ["a", "b", "c"] {
        up.send(format!("1\r\n{byte}\r\n"));
        assert_eq!(client.chunk(), byte.as_bytes());
    }
    up.send("0\r\n\r\n");
    assert_eq!(client.chunk(), b"");
    client.expect("\r\n");
    exchange(&mut client, &mut up);
}

#[test]
fn long_bodies_arrive_whole_and_take_no_memory() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, GET);
    up.expect_head(GET_LINE);
    answer(&mut client, &mut up);
    let before = scene.gateway.rss_kib();
    let size = 32 << 20;
    let bytes = Random::new(7).bytes(size);
    client.send(post(&format!("Content-Length: {size}\r\n")));
    up.expect_head(POST_LINE).expect("content-length", Some(&size.to_string()));
    std::thread::scope(|scope| {
        scope.spawn(|| client.another().send(&bytes));
        up.expect(&bytes);
    });
    up.reply(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
    client.expect_status(200);
    std::thread::scope(|scope| {
        scope.spawn(|| up.another().send(&bytes));
        client.expect(&bytes);
    });
    let more = scene.gateway.rss_kib().saturating_sub(before);
    assert!(more < 4096, "{more} KiB for one body");
    exchange(&mut client, &mut up);
}

#[test]
fn a_client_is_told_to_continue_by_the_origin_alone() {
    let scene = relay();
    let expecting = post("Content-Length: 5\r\nExpect: 100-continue\r\n");
    let (mut client, mut up) = ask(&scene, &expecting);
    up.expect_head(POST_LINE).expect("expect", Some("100-continue"));
    client.expect_silence(Duration::from_millis(50));
    up.reply("HTTP/1.1 100 Continue\r\n\r\n");
    client.expect_status(100);
    client.send("hello");
    up.expect("hello");
    answer(&mut client, &mut up);
    // a client need not wait
    client.send(format!("{expecting}hello"));
    up.expect_head(POST_LINE);
    up.expect("hello");
    answer(&mut client, &mut up);
    // it is not wanted at all
    client.send(&expecting);
    up.expect_head(POST_LINE);
    up.reply("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    client.expect_status(417);
}

#[test]
fn interim_answers_go_through_and_the_last_one_counts() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, GET);
    up.expect_head(GET_LINE);
    up.reply("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
    client.expect_status(103).expect("link", Some("</a.css>; rel=preload"));
    up.reply(["HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n", OK].concat());
    client.expect_status(102);
    client.expect_status(103);
    client.expect_status(200);
    client.expect("ok");
    exchange(&mut client, &mut up);
}

#[test]
fn answers_without_a_body_are_not_waited_on() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, GET);
    up.expect_head(GET_LINE);
    answer(&mut client, &mut up);
    let rows = [
        ("HEAD", "200 OK", "Content-Length: 1000\r\n"),
        ("HEAD", "200 OK", "Transfer-Encoding: chunked\r\n"),
        ("HEAD", "200 OK", ""),
        ("GET", "304 Not Modified", "Content-Length: 1000\r\n"),
        ("GET", "304 Not Modified", "ETag: \"x\"\r\n"),
        ("GET", "204 No Content", ""),
        ("DELETE", "204 No Content", "X-Y: z\r\n"),
        ("GET", "200 OK", "Content-Length: 0\r\n"),
        ("GET", "302 Found", "Location: http://a.example/\r\nContent-Length: 0\r\n"),
    ];
    each_row(
        &rows,
        |(method, status, fields)| format!("{method} {status} {fields}"),
        |(method, status, fields)| {
            client.send(format!("{method} / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n"));
            up.expect_head(&format!("{method} http://www.bench.example/ HTTP/1.1"));
            up.reply(format!("HTTP/1.1 {status}\r\n{fields}\r\n"));
            let head = client.head();
            assert_eq!(head.line, format!("HTTP/1.1 {status}"));
            if let Some(length) = fields.strip_prefix("Content-Length: ") {
                head.expect("content-length", Some(length.trim_end()));
            }
            client.expect_silence(Duration::from_millis(2));
        },
    );
    exchange(&mut client, &mut up);
}

#[test]
fn an_answer_without_a_length_ends_with_the_connection() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, GET);
    up.expect_head(GET_LINE);
    up.reply("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    client.expect_status(200);
    client.expect("until the end");
    client.expect_silence(Duration::from_millis(20));
    up.fin();
    client.expect_end(Ending::Fin);
    scene.gateway.session_of(&client).expect("end=done status=200");
}

#[test]
fn a_torn_answer_does_not_look_whole() {
    let scene = relay();
    let rows = [
        ("a length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ("bad chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n"),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(_, torn)| {
            let (mut client, mut up) = ask(&scene, GET);
            up.expect_head(GET_LINE);
            up.reply(torn);
            up.fin();
            let (got, end) = client.receive_all();
            assert_ne!(end, Ending::Open);
            assert!(got.is_empty() || got.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", got.escape_ascii());
            assert!(!got.windows(5).any(|w| w == b"0\r\n\r\n"), "it looks whole: {}", got.escape_ascii());
            scene.gateway.session_of(&client).expect("by=upstream");
        },
    );
}

#[test]
fn an_answer_may_come_before_its_request_is_whole() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, [post("Content-Length: 1000000\r\n").as_bytes(), &[b'x'; 1000]].concat());
    up.expect_head(POST_LINE);
    up.expect([b'x'; 1000]);
    up.reply("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    client.expect_status(413).expect("connection", Some("close"));
    client.expect("big");
    drop(up);
    assert_ne!(client.ending_within(PATIENCE), Ending::Open);
    scene.gateway.session_of(&client).expect("status=413");
    // the rest goes on if the proxy wants it
    let (mut client, mut up) = ask(&scene, [post("Content-Length: 2000\r\n").as_bytes(), &[b'x'; 1000]].concat());
    up.expect_head(POST_LINE);
    up.expect([b'x'; 1000]);
    up.reply("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    client.expect_status(200);
    client.send([b'y'; 1000]);
    up.expect([b'y'; 1000]);
    up.send("hello");
    client.expect("hello");
}

#[test]
fn an_old_client_gets_an_answer_that_it_understands() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, "GET / HTTP/1.0\r\nHost: www.bench.example\r\n\r\n");
    up.expect_head(GET_LINE);
    up.reply("HTTP/1.1 103 Early Hints\r\n\r\n");
    up.reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let head = client.expect_status(200);
    head.expect("transfer-encoding", None);
    assert_eq!(client.receive_all(), (b"hello".to_vec(), Ending::Fin));
    let (mut client, mut up) =
        ask(&scene, "GET / HTTP/1.0\r\nHost: www.bench.example\r\nConnection: keep-alive\r\n\r\n");
    up.expect_head(GET_LINE);
    up.reply(OK);
    client.expect_status(200).expect("connection", Some("keep-alive"));
    client.expect("ok");
    exchange(&mut client, &mut up);
}
