//! Sessions that begin as HTTP and go on as something else, such as WebSocket.

use std::time::Duration;

use super::{GET, GET_LINE, answer, ask, exchange, relay};
use crate::support::wire::{Ending, carry};

const WISH: &str = "GET /chat HTTP/1.1\r\nHost: www.bench.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const WISH_LINE: &str = "GET http://www.bench.example/chat HTTP/1.1";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn a_session_that_switches_is_a_tunnel_and_loses_no_byte() {
    let scene = relay();
    // what follows the wish at once is of the new protocol already
    let (mut client, mut up) = ask(&scene, [WISH, "client first"].concat());
    let head = up.expect_head(WISH_LINE);
    head.expect("upgrade", Some("websocket"));
    head.expect("connection", Some("Upgrade"));
    head.expect("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ=="));
    up.expect_silence(Duration::from_millis(20));
    up.reply([SWITCH, "origin first"].concat());
    let head = client.expect_status(101);
    head.expect("upgrade", Some("websocket"));
    head.expect("connection", Some("Upgrade"));
    head.expect("sec-websocket-accept", Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.expect("origin first");
    up.expect("client first");
    carry(&mut client, &mut up, 300_000);
    carry(&mut up, &mut client, 300_000);
    client.fin();
    up.expect_end(Ending::Fin);
    up.send("still");
    client.expect("still");
    up.fin();
    client.expect_end(Ending::Fin);
    scene.gateway.session_of(&client).expect("end=done by=client status=101 requests=1");
}

#[test]
fn a_tunnel_that_was_switched_to_is_reset_on_both_sides() {
    let scene = relay();
    let (client, mut up) = ask(&scene, WISH);
    up.expect_head(WISH_LINE);
    up.reply(SWITCH);
    let mut client = client;
    client.expect_status(101);
    let address = client.address();
    client.reset();
    up.expect_end(Ending::Reset);
    scene.gateway.session_from(&address).expect("end=reset by=client");
}

#[test]
fn an_origin_that_does_not_switch_is_heard_too() {
    let scene = relay();
    let (mut client, mut up) = ask(&scene, GET);
    up.expect_head(GET_LINE);
    answer(&mut client, &mut up);
    client.send(WISH);
    up.expect_head(WISH_LINE);
    up.reply("HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno");
    client.expect_status(426).expect("upgrade", Some("other"));
    client.expect("no");
    exchange(&mut client, &mut up);
}
