//! Credentials for the proxy: how many legs each scheme takes, what becomes of the 407 and its body, and what a proxy
//! that refuses them gets to see.

mod bodies;
mod refused;

use std::time::Duration;

use crate::support::challenge::{demand, demand_with, digest, ntlm_challenge, ntlm_message, ntlm_user};
use crate::support::daemon::Launch;
use crate::support::folder::Folder;
use crate::support::kind::Kind;
use crate::support::scene::Scene;
use crate::support::topology::UPSTREAM;
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, Wire};
use crate::support::{each_row, eventually};

const TARGET: &str = "www.bench.example:443";
/// me:geheim-7
const BASIC: &str = "Basic bWU6Z2VoZWltLTc=";

/// A gateway that is `me` with this password, and may use these schemes.
fn scene(schemes: &str) -> Scene {
    scene_with(schemes, "me", "")
}

fn scene_with(schemes: &str, user: &str, flags: &str) -> Scene {
    let folder = Folder::new();
    let password = folder.write("password", "geheim-7\n");
    Scene::with(Launch::new(&format!(
        "-upstream-proxy {UPSTREAM} -sniff-timeout 5s -auth {schemes} -user {user} -password-file {password} {flags}"
    )))
}

/// A client that has said its first words, and the connection that was made for it.
fn ask(scene: &Scene) -> (Wire, Wire) {
    let client = Kind::Tls.speak(scene);
    (client, scene.upstream.accept())
}

/// The proxy opens the tunnel at last: the origin's first bytes, right behind the answer, and the client's all arrive.
fn opens(scene: &Scene, mut client: Wire, mut up: Wire) {
    up.reply([OPEN, b"hi"].concat());
    client.expect("hi");
    up.expect(Kind::Tls.says());
    client.send("more");
    up.expect("more");
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
    scene.gateway.session_of(&client).expect("end=done stage=relay status=200");
}

/// The next connection that is made for a client, unless it is told before that there is none.
fn next_try(scene: &Scene, client: &Wire) -> Option<Wire> {
    eventually(|| match scene.upstream.accept_within(Duration::from_millis(5)) {
        Some(up) => Ok(Some(up)),
        None if client.has_news(Duration::ZERO) => Ok(None),
        None => Err("neither a connection nor an answer".to_owned()),
    })
}

/// Answers every request until the gateway gives up; returns how many there were, and how many had credentials.
fn legs(up: &mut Wire, mut answer: impl FnMut(usize) -> Vec<u8>) -> (usize, usize) {
    let (mut requests, mut logins) = (0, 0);
    while up.has_news(crate::support::PATIENCE) && up.has_bytes() {
        let head = up.head();
        requests += 1;
        logins += head.all("proxy-authorization").len();
        assert!(requests < 20, "it goes on and on");
        up.reply(answer(requests));
    }
    (requests, logins)
}

// ---- legs

#[test]
fn basic_takes_one_leg() {
    let scene = scene("basic");
    for _ in 0..2 {
        let (client, mut up) = ask(&scene);
        assert_eq!(up.expect_credentials(TARGET), BASIC);
        opens(&scene, client, up);
    }
}

#[test]
fn digest_takes_two_legs_and_then_one() {
    let scene = scene("digest");
    let (client, mut up) = ask(&scene);
    up.expect_bare_connect(TARGET);
    up.reply(demand(&[&digest("abc")]));
    expect_digest(&up.expect_credentials(TARGET), "abc", 1);
    opens(&scene, client, up);
    let (client, mut up) = ask(&scene);
    expect_digest(&up.expect_credentials(TARGET), "abc", 2);
    opens(&scene, client, up);
    // a nonce that has grown old is no wrong password
    let (client, mut up) = ask(&scene);
    expect_digest(&up.expect_credentials(TARGET), "abc", 3);
    up.reply(demand(&[&format!("{}, stale=true", digest("def"))]));
    expect_digest(&up.expect_credentials(TARGET), "def", 1);
    opens(&scene, client, up);
    assert_eq!(scene.gateway.log.count("credentials refused"), 0);
}

fn expect_digest(credentials: &str, nonce: &str, count: u32) {
    let nonce = format!(r#"nonce="{nonce}""#);
    let count = format!("nc={count:08x}");
    let parts = ["Digest ", r#"username="me""#, r#"realm="lab""#, &nonce, r#"uri="www.bench.example:443""#, &count];
    for part in parts.into_iter().chain(["response=", "cnonce="]) {
        assert!(credentials.contains(part), "no {part} in {credentials}");
    }
}

#[test]
fn ntlm_takes_two_legs_for_each_tunnel() {
    for user in ["LAB\\me", "me@lab.example"] {
        let scene = scene_with("ntlm", user, "");
        for _ in 0..2 {
            let (client, mut up) = ask(&scene);
            assert_eq!(ntlm_message(&up.expect_credentials(TARGET)), Some(1));
            up.reply(demand(&[&ntlm_challenge()]));
            let proof = up.expect_credentials(TARGET);
            assert_eq!(ntlm_message(&proof), Some(3));
            assert_eq!(ntlm_user(&proof).split('@').next(), Some("me"));
            opens(&scene, client, up);
        }
    }
}

#[test]
fn with_several_schemes_the_first_request_is_bare_and_the_choice_is_remembered() {
    let scene = scene("ntlm,digest,basic");
    let (client, mut up) = ask(&scene);
    up.expect_bare_connect(TARGET);
    up.reply(demand(&["Negotiate", "NTLM", r#"Basic realm="lab""#]));
    assert_eq!(ntlm_message(&up.expect_credentials(TARGET)), Some(1));
    up.reply(demand(&[&ntlm_challenge()]));
    assert_eq!(ntlm_message(&up.expect_credentials(TARGET)), Some(3));
    opens(&scene, client, up);
    let (client, mut up) = ask(&scene);
    assert_eq!(ntlm_message(&up.expect_credentials(TARGET)), Some(1), "remembered");
    up.reply(demand(&[&ntlm_challenge()]));
    assert_eq!(ntlm_message(&up.expect_credentials(TARGET)), Some(3));
    opens(&scene, client, up);
}

#[test]
fn of_several_schemes_the_first_that_is_offered_is_used() {
    let rows: [(&str, &[&str], &str); 5] = [
        ("digest,basic", &[r#"Basic realm="lab""#], "Basic "),
        ("digest,basic", &[r#"Basic realm="lab""#, r#"Digest realm="lab", nonce="abc", qop="auth""#], "Digest "),
        ("basic,digest", &[r#"Digest realm="lab", nonce="abc", qop="auth", Basic realm="lab""#], "Basic "),
        ("ntlm,basic", &[r#"basic REALM="lab""#, "Kerberos"], "Basic "),
        ("basic,ntlm", &["ntlm"], "NTLM "),
    ];
    each_row(
        &rows,
        |(schemes, offered, _)| format!("{schemes} of {offered:?}"),
        |(schemes, offered, used)| {
            let scene = scene(schemes);
            let (_client, mut up) = ask(&scene);
            up.expect_bare_connect(TARGET);
            up.reply(demand(offered));
            let credentials = up.expect_credentials(TARGET);
            assert!(credentials.starts_with(used), "{credentials}");
        },
    );
}

#[test]
fn a_proxy_that_closes_behind_a_407_is_dialled_again_where_the_scheme_permits() {
    let close = "Connection: close\r\nContent-Length: 2\r\n";
    let rows = [("digest", digest("abc")), ("basic,digest", digest("abc")), ("digest,basic", "Basic x=y".to_owned())];
    each_row(
        &rows,
        |(schemes, offered)| format!("{schemes} of {offered}"),
        |(schemes, offered)| {
            let scene = scene(schemes);
            let (client, mut up) = ask(&scene);
            up.expect_bare_connect(TARGET);
            up.reply(demand_with(&[offered], close, b"no"));
            drop(up);
            let mut up = scene.upstream.accept();
            up.expect_credentials(TARGET);
            opens(&scene, client, up);
        },
    );
    // the 407 before the first message of NTLM binds nothing yet
    let scene = scene("ntlm,basic");
    let (client, mut up) = ask(&scene);
    up.expect_bare_connect(TARGET);
    up.reply(demand_with(&["NTLM"], close, b"no"));
    drop(up);
    let mut up = scene.upstream.accept();
    assert_eq!(ntlm_message(&up.expect_credentials(TARGET)), Some(1));
    up.reply(demand(&[&ntlm_challenge()]));
    assert_eq!(ntlm_message(&up.expect_credentials(TARGET)), Some(3));
    opens(&scene, client, up);
}

#[test]
fn ntlm_does_not_go_on_over_another_connection() {
    let scene = scene("ntlm");
    let (mut client, mut up) = ask(&scene);
    assert_eq!(ntlm_message(&up.expect_credentials(TARGET)), Some(1));
    up.reply(demand_with(&[&ntlm_challenge()], "Connection: close\r\nContent-Length: 0\r\n", b""));
    assert_eq!(up.receive_all().0, b"", "said on a connection that is to close");
    drop(up);
    // it may try from the beginning, but not for ever
    let mut more = 0;
    while let Some(mut up) = next_try(&scene, &client) {
        more += 1;
        assert!(more < 4, "it goes on and on");
        let credentials = up.expect_credentials(TARGET);
        assert_eq!(ntlm_message(&credentials), Some(1), "the last message for a challenge from elsewhere");
        up.reply(demand_with(&[&ntlm_challenge()], "Connection: close\r\nContent-Length: 0\r\n", b""));
    }
    scene.gateway.refusal_of(&mut client).expect("end=auth by=upstream");
}

#[test]
fn where_none_are_configured_a_407_is_a_refusal() {
    let scene = Scene::new("-sniff-timeout 5s");
    let (mut client, mut up) = Kind::Tls.ask(&scene);
    up.reply(demand(&[r#"Basic realm="lab""#, "NTLM"]));
    let line = scene.gateway.refusal_of(&mut client);
    // nobody else tells of it
    line.expect("end=refused by=upstream status=407");
    assert_eq!(line.level(), "WARN");
    assert_eq!(up.receive_all().0, b"", "said without a tunnel");
}
