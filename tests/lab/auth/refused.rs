//! Credentials that are refused: one line, one login, and nobody else disturbed.

use std::thread;
use std::time::Duration;

use super::{TARGET, ask, legs, opens, scene, scene_with};
use crate::support::challenge::{demand, demand_with, digest, ntlm_challenge, ntlm_half_a_challenge, ntlm_message};
use crate::support::daemon::Launch;
use crate::support::folder::Folder;
use crate::support::head::Head;
use crate::support::journal::printable;
use crate::support::kind::Kind;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{Topology, UPSTREAM, V4};
use crate::support::upstream::{OPEN, Upstream};
use crate::support::wire::Wire;
use crate::support::{each_row, eventually};

const CROWD: usize = 50;
const OFFERS: [&str; 2] = [r#"Basic realm="lab""#, r#"Digest realm="lab", nonce="abc", qop="auth", algorithm=MD5"#];

/// A proxy that accepts no credentials: it asks for them, or plays NTLM as far as it goes.
#[derive(Default)]
struct Refusing {
    wires: Vec<Wire>,
    /// How many complete credentials it was shown.
    logins: usize,
}

impl Refusing {
    /// Takes what has come and answers it.
    fn work(&mut self, upstream: &Upstream) {
        while let Some(wire) = upstream.accept_within(Duration::ZERO) {
            self.wires.push(wire);
        }
        for wire in &mut self.wires {
            if wire.has_bytes() {
                let head = wire.head();
                let answer = Self::answer(&head, &mut self.logins);
                let _ = wire.try_send(answer);
            }
        }
    }

    fn answer(head: &Head, logins: &mut usize) -> Vec<u8> {
        match head.get("proxy-authorization") {
            None => demand(&[OFFERS[0], OFFERS[1], "NTLM"]),
            Some(shown) if ntlm_message(shown) == Some(1) => demand(&[&ntlm_challenge()]),
            Some(_) => {
                *logins += 1;
                // time for others to make the same mistake
                thread::sleep(Duration::from_millis(200));
                demand(&[OFFERS[0], OFFERS[1], "NTLM"])
            }
        }
    }
}

#[test]
fn fifty_sessions_with_a_wrong_password_are_one_login_and_one_line() {
    each_row(
        &["basic", "digest", "ntlm", "digest,basic"],
        |schemes| (*schemes).to_owned(),
        |schemes| {
            let scene = scene_with(schemes, "me", "-dial-timeout 8s");
            let mut proxy = Refusing::default();
            let mut crowd = |count: usize| {
                let done = scene.gateway.log.sessions().len() + count;
                // port 22: the CONNECT waits for nothing
                let clients: Vec<_> =
                    (0..count).map(|_| scene.net.client.try_connect((V4, SERVER_FIRST).into())).collect();
                eventually(|| {
                    proxy.work(&scene.upstream);
                    let seen = scene.gateway.log.sessions().len();
                    if seen >= done { Ok(()) } else { Err(format!("{seen} sessions have ended")) }
                });
                drop(clients);
                proxy.logins
            };
            assert_eq!(crowd(CROWD), 1, "logins");
            assert_eq!(crowd(5), 1, "logins while it is held");
            let log = &scene.gateway.log;
            let line = log.wait_for("credentials refused by http://10.2.0.2:3128: ");
            assert!(line.contains("; no more tries for 1m"), "{line}");
            assert_eq!(log.count("credentials refused by "), 1);
            for session in log.sessions() {
                session.expect("end=auth by=upstream");
            }
            let last = log.sessions().pop().expect("there are some");
            assert!(last.get("error").is_some_and(|error| error.contains("held for")), "{last:?}");
        },
    );
}

#[test]
fn other_upstreams_and_identities_go_on_while_one_is_held() {
    let folder = Folder::new();
    let launch = folder.launch(
        r#"
        upstream-proxy = "good"
        [upstream.good]
        proxy = "10.2.0.2"
        auth = "basic"
        user = "good"
        password = "a"
        [upstream.bad]
        proxy = "10.2.0.2"
        auth = "basic"
        user = "bad"
        password = "b"
        [[route]]
        to = "*:25"
        via = "bad"
        "#,
    );
    let scene = Scene::with(launch);
    let mut client = scene.connect(V4, 25);
    let mut up = scene.upstream.accept();
    assert_eq!(up.expect_credentials("203.0.113.9:25"), "Basic YmFkOmI=");
    up.reply(demand(&[OFFERS[0]]));
    scene.gateway.refusal_of(&mut client).expect("end=auth via=bad");
    scene.upstream.forget();
    let mut client = scene.connect(V4, SERVER_FIRST);
    let mut up = scene.upstream.accept();
    assert_eq!(up.expect_credentials("203.0.113.9:22"), "Basic Z29vZDph");
    up.reply([OPEN, b"hi"].concat());
    client.expect("hi");
    let held = scene.net.client.try_connect((V4, 25).into());
    let line = scene.gateway.session_line();
    line.expect("end=auth via=bad");
    drop(held);
}

#[test]
fn refused_credentials_are_not_shown_to_the_next_proxy() {
    let net = Topology::new();
    let second = net.proxy(3);
    let folder = Folder::new();
    let password = folder.write("password", "geheim-7\n");
    let launch = Launch::new(&format!(
        "-upstream-proxy {UPSTREAM},10.2.0.3 -sniff-timeout 5s -auth basic -user me -password-file {password}"
    ));
    let scene = Scene::on(net, launch);
    let (mut client, mut up) = ask(&scene);
    up.expect_credentials(TARGET);
    up.reply(demand(&[OFFERS[0]]));
    scene.gateway.refusal_of(&mut client).expect("end=auth by=upstream");
    second.expect_no_byte();
    assert_eq!(scene.gateway.log.count(" is down: "), 0);
}

/// What a proxy asks for, again and again, of a gateway with these schemes.
struct Row {
    name: &'static str,
    schemes: &'static str,
    answer: fn(usize) -> Vec<u8>,
    logins: usize,
}

#[test]
fn whatever_a_407_asks_for_it_ends_soon_and_clearly() {
    let row = |name, schemes, logins, answer| Row { name, schemes, answer, logins };
    let rows = [
        row("always another nonce", "digest", 3, |n| demand(&[&format!("{}, stale=true", digest(&format!("n{n}")))])),
        row("an unknown scheme", "digest", 0, |_| demand(&["Magic lantern=\"x\""])),
        row("a scheme that was not allowed", "digest", 0, |_| demand(&[OFFERS[0]])),
        row("no scheme", "digest", 0, |_| demand(&[])),
        row("an empty challenge", "digest", 0, |_| demand(&[""])),
        row("a broken challenge", "digest", 0, |_| demand(&["Digest realm=\"lab, nonce"])),
        row("no nonce", "digest", 0, |_| demand(&["Digest realm=\"lab\", qop=\"auth\""])),
        row("an unknown algorithm", "digest", 0, |_| demand(&["Digest realm=\"l\", nonce=\"n\", algorithm=ROT13"])),
        row("binary", "digest", 0, |_| demand_with(&["Digest \u{80}\u{ff}"], "Content-Length: 0\r\n", b"")),
        row("half a type 2", "ntlm", 1, |_| demand(&[&ntlm_half_a_challenge()])),
        row("no base64", "ntlm", 1, |_| demand(&["NTLM =?=?"])),
        row("another type", "ntlm", 1, |_| demand(&["NTLM TlRMTVNTUAADAAAA"])),
        row("NTLM, but nothing of it", "ntlm", 4, |_| demand(&["NTLM"])),
        row("type 2 for ever", "ntlm", 4, |_| demand(&[&ntlm_challenge()])),
    ];
    each_row(
        &rows,
        |row| row.name.to_owned(),
        |row| {
            let scene = scene(row.schemes);
            let (mut client, mut up) = ask(&scene);
            let (requests, logins) = legs(&mut up, row.answer);
            assert!((1..=4).contains(&requests), "{requests} legs");
            assert!(logins <= row.logins, "{logins} of them with credentials");
            drop(up);
            scene.upstream.expect_no_byte();
            let line = scene.gateway.refusal_of(&mut client);
            line.expect("end=auth by=upstream");
            assert!(line.get("error").is_some_and(|error| error.len() > 10), "{line:?}");
            printable(&scene.gateway.log.bytes());
        },
    );
}

#[test]
fn a_challenge_that_cannot_be_answered_is_no_wrong_password() {
    let scene = scene("digest");
    let (mut client, mut up) = ask(&scene);
    up.expect_bare_connect(TARGET);
    up.reply(demand(&["Magic"]));
    scene.gateway.refusal_of(&mut client).expect("end=auth by=upstream");
    drop(up);
    let (client, mut up) = ask(&scene);
    up.expect_bare_connect(TARGET);
    up.reply(demand(&[&digest("abc")]));
    up.expect_credentials(TARGET);
    opens(&scene, client, up);
}

#[test]
fn the_secret_never_stands_in_the_log() {
    for schemes in ["basic", "digest", "ntlm"] {
        let scene = scene_with(schemes, "me", "-log-level trace");
        let client = Kind::Tls.speak(&scene);
        let mut proxy = Refusing::default();
        eventually(|| {
            proxy.work(&scene.upstream);
            let ended = !scene.gateway.log.sessions().is_empty();
            if ended { Ok(()) } else { Err("the session goes on".to_owned()) }
        });
        drop(client);
        let log = String::from_utf8_lossy(&scene.gateway.log.bytes()).into_owned();
        assert!(log.contains("session id=1 end=auth"), "{log}");
        for secret in ["geheim", "bWU6Z2VoZWltLTc", "Z2VoZWlt", "TlRMTVNTUAAD"] {
            assert!(!log.contains(secret), "{secret} in {log}");
        }
    }
}
