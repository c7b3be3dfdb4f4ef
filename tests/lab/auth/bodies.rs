//! The body behind a 407: read and thrown away, however it is framed, and never for longer than it is worth.

use std::time::Duration;

use super::{TARGET, ask, next_try, opens, scene, scene_with};
use crate::support::challenge::{demand_with, digest, ntlm_challenge, ntlm_message};
use crate::support::each_row;
use crate::support::wire::Wire;

/// A 407 by its framing, and whether the connection is good for the next leg.
struct Row {
    name: &'static str,
    fields: &'static str,
    pieces: Vec<Vec<u8>>,
    stays: bool,
}

fn whole(name: &'static str, fields: &'static str, body: impl AsRef<[u8]>) -> Row {
    let pieces = if body.as_ref().is_empty() { vec![] } else { vec![body.as_ref().to_vec()] };
    Row { name, fields, pieces, stays: true }
}

fn chunks(count: usize) -> Vec<u8> {
    let mut body = [b"3E8\r\n", &[b'c'; 1000][..], b"\r\n"].concat().repeat(count);
    body.extend(b"0\r\n\r\n");
    body
}

fn rows() -> Vec<Row> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let gone = |row: Row| Row { stays: false, ..row };
    vec![
        whole("no body", "Content-Length: 0\r\n", ""),
        whole("a page", "Content-Length: 5\r\n", "<p>No"),
        whole("60000 bytes", "Content-Length: 60000\r\n", [b'x'; 60_000]),
        whole("what looks like an answer", "Content-Length: 21\r\n", "HTTP/1.1 200 OK\r\n\r\nhi"),
        whole("kept by name", "Connection: keep-alive\r\nContent-Length: 2\r\n", "no"),
        whole("chunks", chunked, "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"),
        whole("chunks and trailers", chunked, "5\r\nhello\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n"),
        whole("60 chunks", chunked, chunks(60)),
        Row {
            name: "in pieces",
            fields: "Content-Length: 9\r\n",
            pieces: ["one", "two", "end"].map(|p| p.as_bytes().to_vec()).to_vec(),
            stays: true,
        },
        Row {
            name: "chunks in pieces",
            fields: chunked,
            pieces: ["1", "\r", "\na\r", "\n0\r\n", "\r", "\n"].map(|p| p.as_bytes().to_vec()).to_vec(),
            stays: true,
        },
        gone(whole("to be closed", "Connection: close\r\nContent-Length: 2\r\n", "no")),
        gone(whole("to be closed, by the other name", "Proxy-Connection: close\r\nContent-Length: 2\r\n", "no")),
        gone(whole("to the end", "", "no length")),
        gone(whole("a length that lies", "Content-Length: 100\r\n", "less")),
        gone(whole("chunks that are none", chunked, "zz\r\nhello\r\n")),
    ]
}

/// A challenge that no row before has made, and that blames nobody for the last one.
fn fresh(number: usize) -> (String, String) {
    let nonce = format!("n{number}");
    (format!("{}, stale=true", digest(&nonce)), format!(r#"nonce="{nonce}""#))
}

#[test]
fn the_body_of_a_407_is_drained_and_the_next_leg_goes_over_the_same_connection() {
    let scene = scene("digest");
    let rows: Vec<_> = rows().into_iter().enumerate().collect();
    each_row(
        &rows,
        |(_, row)| row.name.to_owned(),
        |(number, row)| {
            scene.upstream.forget();
            let (challenge, nonce) = fresh(*number);
            let (client, mut up) = ask(&scene);
            up.authorized_connect();
            up.reply(demand_with(&[&challenge], row.fields, b""));
            for piece in &row.pieces {
                if row.stays {
                    up.expect_silence(Duration::from_millis(2));
                }
                // it may have been given up already
                let _ = up.try_send(piece);
            }
            if !row.stays {
                up.fin();
                let _ = up.receive_all();
                up = scene.upstream.accept();
            }
            let credentials = up.expect_credentials(TARGET);
            assert!(credentials.contains(&nonce), "{credentials}");
            opens(&scene, client, up);
        },
    );
    assert_eq!(scene.gateway.log.count("credentials refused"), 0);
}

#[test]
fn http_1_0_closes_unless_it_says_otherwise() {
    let scene = scene("digest");
    for (number, stays) in [(0, false), (1, true)] {
        let (challenge, nonce) = fresh(number);
        let (client, mut up) = ask(&scene);
        up.authorized_connect();
        let field = if stays { "Proxy-Connection: keep-alive\r\n" } else { "" };
        up.reply(format!("HTTP/1.0 407 No\r\nProxy-Authenticate: {challenge}\r\n{field}Content-Length: 2\r\n\r\nno"));
        if !stays {
            assert_eq!(up.receive_all().0, b"", "a second request over HTTP/1.0");
            up = scene.upstream.accept();
        }
        assert!(up.expect_credentials(TARGET).contains(&nonce));
        opens(&scene, client, up);
    }
}

/// Sends a body that does not end, until nobody takes it any more; returns how much was taken.
fn pour(up: &mut Wire, piece: &[u8]) -> usize {
    let mut taken = 0;
    while up.try_send(piece).is_ok() {
        taken += piece.len();
        assert!(taken < 64 << 20, "64 MB of a refusal were taken");
    }
    taken
}

#[test]
fn a_huge_or_endless_body_is_not_read_to_its_end() {
    let chunk = [b"2710\r\n", &[b'c'; 10_000][..], b"\r\n"].concat();
    let rows = [
        ("huge", "Content-Length: 10000000000\r\n", vec![b'x'; 10_000]),
        ("endless chunks", "Transfer-Encoding: chunked\r\n", chunk.clone()),
        ("an endless chunk", "Transfer-Encoding: chunked\r\n", [b"FFFFFFFF\r\n", &[b'c'; 10_000][..]].concat()),
        ("to an end that never comes", "Connection: close\r\n", vec![b'x'; 10_000]),
        ("endless trailers", "Transfer-Encoding: chunked\r\n", [b"0\r\n", &b"X-A: b\r\n".repeat(1000)[..]].concat()),
    ];
    let scene = scene("digest");
    let rows: Vec<_> = rows.into_iter().enumerate().collect();
    each_row(
        &rows,
        |(_, row)| row.0.to_owned(),
        |(number, (_, fields, piece))| {
            scene.upstream.forget();
            let (challenge, nonce) = fresh(*number);
            let (client, mut up) = ask(&scene);
            up.authorized_connect();
            up.reply(demand_with(&[&challenge], fields, b""));
            pour(&mut up, piece);
            let mut up = scene.upstream.accept();
            assert!(up.expect_credentials(TARGET).contains(&nonce));
            opens(&scene, client, up);
        },
    );
}

#[test]
fn a_body_that_stalls_is_over_with_the_dial_timeout() {
    let scene = scene_with("digest", "me", "-dial-timeout 2s");
    let (mut client, mut up) = ask(&scene);
    up.expect_bare_connect(TARGET);
    up.reply(demand_with(&[&digest("abc")], "Content-Length: 100\r\n", b"a beginning"));
    scene.gateway.refusal_of(&mut client).expect("by=upstream");
    assert_eq!(up.receive_all().0, b"", "said in the middle of a body");
}

#[test]
fn a_body_that_is_not_ended_by_a_bound_handshake_ends_the_session() {
    let scene = scene("ntlm");
    let (mut client, mut up) = ask(&scene);
    assert_eq!(ntlm_message(&up.expect_credentials(TARGET)), Some(1));
    up.reply(demand_with(&[&ntlm_challenge()], "Content-Length: 10000000000\r\n", b""));
    pour(&mut up, &[b'x'; 10_000]);
    // a second try is fine, a third message on a second connection is not
    while let Some(mut up) = next_try(&scene, &client) {
        assert_eq!(ntlm_message(&up.expect_credentials(TARGET)), Some(1));
        up.reply("HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n");
    }
    scene.gateway.refusal_of(&mut client).expect("end=auth by=upstream");
}
