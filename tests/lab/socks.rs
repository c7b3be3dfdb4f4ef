//! SOCKS5 to the proxy (RFC 1928, RFC 1929), byte by byte.

use std::time::Duration;

use crate::support::daemon::Launch;
use crate::support::each_row;
use crate::support::folder::Folder;
use crate::support::kind::Kind;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{Topology, V4, V6};
use crate::support::upstream::Upstream;
use crate::support::wire::{Ending, Wire};

const GREETING: &[u8] = &[5, 1, 0];
const CHOSEN: &[u8] = &[5, 0];
/// The request for www.bench.example:443.
const BY_NAME: &[u8] = b"\x05\x01\x00\x03\x11www.bench.example\x01\xbb";
const GRANTED: &[u8] = &[5, 0, 0, 1, 10, 2, 0, 2, 0x9c, 0x40];
const HANDSHAKE_TIME: Duration = Duration::from_millis(20);

fn scene(flags: &str) -> (Scene, Upstream) {
    let scene = Scene::on(
        Topology::new(),
        Launch::new(&format!("-upstream-proxy socks5://10.2.0.2 -sniff-timeout 5s {flags}")),
    );
    let proxy = scene.net.upstream.listen("10.2.0.2:1080");
    (scene, proxy)
}

/// The tunnel carries both ways, and what came right behind the reply is the origin's.
fn carries(client: &mut Wire, up: &mut Wire, said: &[u8]) {
    client.expect("hi");
    up.expect(said);
    client.send("more");
    up.expect("more");
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
}

#[test]
fn a_name_goes_as_a_name_and_an_address_as_an_address() {
    let (scene, proxy) = scene("");
    let hello = Kind::Tls.says();
    let v4 = [5, 1, 0, 1, 203, 0, 113, 9, 0, 22];
    let mut v6 = vec![5, 1, 0, 4, 0x20, 0x01, 0x0d, 0xb8];
    v6.extend([0; 11]);
    v6.extend([9, 0, 22]);
    let rows: [(_, _, _, &[u8], &[u8]); 3] = [
        ("name", V4, 443, &hello, BY_NAME),
        ("IPv4", V4, SERVER_FIRST, b"", &v4),
        ("IPv6", V6, SERVER_FIRST, b"", &v6),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(_, origin, port, says, request)| {
            let mut client = scene.connect(*origin, *port);
            client.send(says);
            let mut up = proxy.accept();
            up.expect(GREETING);
            up.expect_silence(HANDSHAKE_TIME);
            up.reply(CHOSEN);
            up.expect(request);
            up.expect_silence(HANDSHAKE_TIME);
            up.reply([GRANTED, b"hi"].concat());
            carries(&mut client, &mut up, says);
            scene.gateway.session_of(&client).expect("end=done upstream=10.2.0.2:1080 stage=relay -status");
        },
    );
}

#[test]
fn user_and_password_are_said_where_the_proxy_wants_them() {
    let folder = Folder::new();
    let password = folder.write("password", "geheim 7\n");
    let (scene, proxy) = scene(&format!("-auth basic -user me -password-file {password} -log-level trace"));
    let login = b"\x01\x02me\x08geheim 7";
    each_row(
        &[true, false],
        |wanted| format!("wanted: {wanted}"),
        |wanted| {
            let mut client = Kind::Tls.speak(&scene);
            let mut up = proxy.accept();
            up.expect([5, 2, 0, 2]);
            if *wanted {
                up.reply([5, 2]);
                up.expect(login);
                up.expect_silence(HANDSHAKE_TIME);
                up.reply([1, 0]);
            } else {
                up.reply([5, 0]);
            }
            up.expect(BY_NAME);
            up.reply([GRANTED, b"hi"].concat());
            carries(&mut client, &mut up, &Kind::Tls.says());
        },
    );
    let log = String::from_utf8_lossy(&scene.gateway.log.bytes()).into_owned();
    assert!(!log.contains("geheim"), "{log}");
}

#[test]
fn a_login_that_is_refused_ends_the_session_as_that() {
    let folder = Folder::new();
    let password = folder.write("password", "wrong\n");
    let (scene, proxy) = scene(&format!("-auth basic -user me -password-file {password}"));
    let mut client = Kind::Tls.speak(&scene);
    let mut up = proxy.accept();
    up.expect([5, 2, 0, 2]);
    up.reply([5, 2]);
    up.expect(b"\x01\x02me\x05wrong");
    up.reply([1, 1]);
    scene.gateway.refusal_of(&mut client).expect("end=auth by=upstream");
    assert_eq!(up.receive_all().0, b"", "said behind a refused login");
}

#[test]
fn each_refusal_is_told_and_says_its_code() {
    let (scene, proxy) = scene("");
    let codes = [1_u8, 2, 3, 4, 5, 6, 7, 8, 9, 91, 255];
    each_row(
        &codes,
        |code| format!("code {code}"),
        |code| {
            let mut client = Kind::Tls.speak(&scene);
            let mut up = proxy.accept();
            up.expect(GREETING);
            up.reply(CHOSEN);
            up.expect(BY_NAME);
            up.reply([5, *code, 0, 1, 0, 0, 0, 0, 0, 0]);
            let line = scene.gateway.session_of(&client);
            line.expect("end=refused by=upstream");
            let error = line.get("error").expect("a reason");
            assert!(error.contains(&format!("answered {code}")), "{error}");
            let (told, end) = client.receive_all();
            assert_eq!((told.len(), end), (7, Ending::Fin), "an alert");
            assert_eq!(up.receive_all().0, b"", "said behind a refusal");
        },
    );
}

#[test]
fn answers_that_are_no_socks5_are_told_from_it() {
    let rows: [(&str, &[u8], &[u8]); 6] = [
        ("HTTP to the greeting", b"HTTP/1.1 400 Bad Request\r\n\r\n", b""),
        ("version 4", &[4, 0], b""),
        ("a method that was not offered", &[5, 2], b""),
        ("no method", &[5, 255], b""),
        ("version 4 to the request", CHOSEN, &[4, 90, 0, 0, 0, 0, 0, 0]),
        ("an unknown kind of address", CHOSEN, &[5, 0, 0, 9, 0, 0]),
    ];
    let (scene, proxy) = scene("");
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(_, to_greeting, to_request)| {
            let mut client = Kind::Tls.speak(&scene);
            let mut up = proxy.accept();
            up.expect(GREETING);
            up.reply(to_greeting);
            if !to_request.is_empty() {
                up.expect(BY_NAME);
                up.reply(to_request);
            }
            let line = scene.gateway.refusal_of(&mut client);
            line.expect("by=upstream");
            let end = line.get("end").expect("it has an end");
            assert!(["bad-reply", "auth", "dial"].contains(&end), "{end}");
            assert_eq!(up.receive_all().0, b"", "said to what is no proxy");
        },
    );
}

#[test]
fn answers_may_be_cut_anywhere_and_what_is_behind_them_is_kept() {
    let (scene, proxy) = scene("");
    let named = b"\x05\x00\x00\x03\x05proxy\x04\x38".to_vec();
    let v6 = [&[5, 0, 0, 4][..], &[0; 18]].concat();
    let replies = [GRANTED.to_vec(), named, v6];
    let cuts: Vec<_> = replies.iter().flat_map(|reply| (1..reply.len()).map(move |cut| (reply, cut))).collect();
    each_row(
        &cuts,
        |(reply, cut)| format!("{} bytes cut at {cut}", reply.len()),
        |(reply, cut)| {
            let mut client = Kind::Tls.speak(&scene);
            let mut up = proxy.accept();
            up.expect(GREETING);
            up.reply(&CHOSEN[..1]);
            up.expect_silence(Duration::from_millis(2));
            up.reply(&CHOSEN[1..]);
            up.expect(BY_NAME);
            up.reply(&reply[..*cut]);
            up.expect_silence(Duration::from_millis(2));
            up.reply([&reply[*cut..], b"hi"].concat());
            carries(&mut client, &mut up, &Kind::Tls.says());
        },
    );
}

#[test]
fn a_proxy_that_ends_within_its_answer_opens_nothing() {
    let (scene, proxy) = scene("");
    let rows: Vec<usize> = (0..GRANTED.len()).collect();
    each_row(
        &rows,
        |cut| format!("after {cut} bytes"),
        |&cut| {
            let mut client = Kind::Tls.speak(&scene);
            let mut up = proxy.accept();
            up.expect(GREETING);
            up.reply(CHOSEN);
            up.expect(BY_NAME);
            up.reply(&GRANTED[..cut]);
            up.fin();
            proxy.hangs_up_on(&client);
            let line = scene.gateway.refusal_of(&mut client);
            line.expect("by=upstream");
            assert_eq!(up.receive_all().0, b"", "said without a tunnel");
            assert!(["hangup", "dial", "bad-reply"].contains(&line.get("end").unwrap_or("?")), "{line:?}");
        },
    );
}
