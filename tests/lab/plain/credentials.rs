//! Credentials where requests are relayed: the client never sees that there are any.

use super::{GET, GET_LINE, OK, answer};
use crate::support::challenge::{demand, demand_with, digest, ntlm_challenge, ntlm_message};
use crate::support::daemon::Launch;
use crate::support::folder::Folder;
use crate::support::scene::Scene;
use crate::support::topology::{UPSTREAM, V4};
use crate::support::wire::{Ending, Wire};

const BASIC: &str = "Basic bWU6Z2VoZWltLTc=";
const POST: &str = "POST / HTTP/1.1\r\nHost: www.bench.example\r\nContent-Length: 5\r\n\r\nhello";
const POST_LINE: &str = "POST http://www.bench.example/ HTTP/1.1";

fn scene(schemes: &str) -> Scene {
    let folder = Folder::new();
    let password = folder.write("password", "geheim-7\n");
    Scene::with(Launch::new(&format!(
        "-upstream-proxy {UPSTREAM} -sniff-timeout 5s -plain-http relay -auth {schemes} -user me -password-file {password}"
    )))
}

fn ask(scene: &Scene, request: &str) -> (Wire, Wire) {
    scene.upstream.forget();
    let mut client = scene.connect(V4, 80);
    client.send(request);
    (client, scene.upstream.accept_asked())
}

/// Receives this request, and what it shows.
fn shown(up: &mut Wire, line: &str) -> Option<String> {
    up.expect_head(line).get("proxy-authorization").map(str::to_owned)
}

#[test]
fn basic_stands_in_every_request_and_what_the_client_shows_in_none() {
    let scene = scene("basic");
    let theirs = "GET / HTTP/1.1\r\nHost: www.bench.example\r\nProxy-Authorization: Basic Y2xpZW50OnB3\r\n\r\n";
    let (mut client, mut up) = ask(&scene, theirs);
    for _ in 0..3 {
        assert_eq!(shown(&mut up, GET_LINE).as_deref(), Some(BASIC));
        answer(&mut client, &mut up);
        client.send(theirs);
    }
}

#[test]
fn digest_asks_once_and_then_counts() {
    let scene = scene("digest");
    let (mut client, mut up) = ask(&scene, GET);
    assert_eq!(shown(&mut up, GET_LINE), None);
    up.reply(demand(&[&digest("abc")]));
    for count in 1..4 {
        let credentials = shown(&mut up, GET_LINE).expect("credentials");
        assert!(credentials.contains(&format!("nc={count:08x}")), "{credentials}");
        assert!(credentials.contains(r#"uri="http://www.bench.example/""#), "{credentials}");
        answer(&mut client, &mut up);
        client.send(GET);
    }
}

#[test]
fn ntlm_is_two_legs_for_a_connection_and_none_after_that() {
    let scene = scene("ntlm");
    let (mut client, mut up) = ask(&scene, GET);
    assert_eq!(shown(&mut up, GET_LINE).as_deref().and_then(ntlm_message), Some(1));
    up.reply(demand(&[&ntlm_challenge()]));
    assert_eq!(shown(&mut up, GET_LINE).as_deref().and_then(ntlm_message), Some(3));
    answer(&mut client, &mut up);
    for _ in 0..2 {
        client.send(GET);
        assert_eq!(shown(&mut up, GET_LINE), None, "the connection is authenticated");
        answer(&mut client, &mut up);
    }
}

#[test]
fn a_body_arrives_once_however_many_legs_there_are() {
    for schemes in ["digest", "ntlm", "ntlm,basic"] {
        let scene = scene(schemes);
        let (mut client, mut up) = ask(&scene, POST);
        let mut legs = 0;
        // the legs that are not the last one may bring the body or not, but must say which
        loop {
            legs += 1;
            assert!(legs < 5, "{schemes}: {legs} legs");
            let head = up.expect_head(POST_LINE);
            let length: usize = head.get("content-length").and_then(|l| l.parse().ok()).expect("a length");
            assert_eq!(up.receive(length), b"hello"[..length]);
            let credentials = head.get("proxy-authorization").unwrap_or_default();
            if credentials.starts_with("Digest ") || ntlm_message(credentials) == Some(3) {
                assert_eq!(length, 5, "the last leg has the body");
                break;
            }
            let challenge = if ntlm_message(credentials) == Some(1) { ntlm_challenge() } else { "NTLM".to_owned() };
            up.reply(demand(&[&challenge, &digest("abc")]));
        }
        answer(&mut client, &mut up);
        client.send(POST);
        let head = up.expect_head(POST_LINE);
        head.expect("content-length", Some("5"));
        up.expect("hello");
        answer(&mut client, &mut up);
    }
}

#[test]
fn a_407_is_never_the_clients() {
    let refusing = demand(&[r#"Basic realm="lab""#]);
    // without credentials, and with wrong ones
    for (scene, label) in [(Scene::new("-sniff-timeout 5s -plain-http relay"), "refused"), (scene("basic"), "auth")] {
        let (mut client, mut up) = ask(&scene, GET);
        up.expect_head(GET_LINE);
        up.reply(&refusing);
        let head = client.expect_status(502);
        assert!(!head.names().iter().any(|name| name.starts_with("proxy-")), "{head:?}");
        let (page, end) = client.receive_all();
        assert_eq!(end, Ending::Fin);
        assert!(!String::from_utf8_lossy(&page).contains("geheim"));
        assert_eq!(up.receive_all().0, b"");
        client.fin();
        scene.gateway.session_of(&client).expect(&format!("end={label} by=upstream"));
    }
    let scene = scene("basic");
    for _ in 0..5 {
        let mut client = scene.connect(V4, 80);
        client.send(GET);
        if scene.gateway.log.sessions().is_empty() {
            let mut up = scene.upstream.accept_asked();
            assert_eq!(shown(&mut up, GET_LINE).as_deref(), Some(BASIC));
            up.reply(&refusing);
        }
        client.expect_status(502);
        client.fin();
        scene.gateway.session_of(&client).expect("end=auth");
    }
    scene.upstream.expect_no_byte();
    assert_eq!(scene.gateway.log.count("credentials refused by "), 1);
}

#[test]
fn a_407_that_closes_is_followed_by_another_connection() {
    let scene = scene("digest");
    let (mut client, mut up) = ask(&scene, POST);
    up.expect_head(POST_LINE);
    up.reply(demand_with(&[&digest("abc")], "Connection: close\r\nContent-Length: 2\r\n", b"no"));
    drop(up);
    let mut up = scene.upstream.accept_asked();
    let credentials = shown(&mut up, POST_LINE).expect("credentials");
    assert!(credentials.contains(r#"nonce="abc""#), "{credentials}");
    up.expect("hello");
    up.reply(OK);
    client.expect_status(200);
    client.expect("ok");
}
