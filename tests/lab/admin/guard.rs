//! Who does not get in: pages of other names, sessions that come through handyproxy itself, and cuts without a socket.

use crate::support::daemon::Launch;
use crate::support::each_row;
use crate::support::folder::Folder;
use crate::support::kind::Kind;
use crate::support::scene::Scene;
use crate::support::topology::{PORT, Topology, UPSTREAM, V4};
use crate::support::wire::Ending;

use super::desk::{AT, over_tcp};

#[test]
fn a_name_that_is_not_ours_is_told_nothing() {
    let scene = Scene::new(&format!("-admin {AT} -admin-hosts gateway.example"));
    let ask = |head: String| over_tcp(&scene.net.gateway, AT, &head);
    let rows = [
        ("127.0.0.1:9843", 200),
        ("localhost:9843", 200),
        ("[::1]", 200),
        ("gateway.example", 200),
        ("GATEWAY.EXAMPLE:9843", 200),
        ("rebound.example:9843", 421),
        ("gateway.example.rebound.example", 421),
        ("127.0.0.1.rebound.example", 421),
        ("", 421),
    ];
    each_row(
        &rows,
        |row| format!("Host: {}", row.0),
        |(host, wanted)| {
            for path in ["/metrics", "/sessions", "/config", "/", "/nope"] {
                let answer = ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n"));
                let wanted = if *wanted == 200 && path == "/nope" { 404 } else { *wanted };
                assert_eq!(answer.status, wanted, "{path}: {answer:?}");
                if wanted == 421 {
                    assert!(!answer.body.contains("handyproxy") && answer.body.len() < 200, "{answer:?}");
                }
            }
        },
    );
    assert_eq!(ask("GET /metrics HTTP/1.1\r\n".to_owned()).status, 421);
    assert_eq!(ask("GET /metrics HTTP/1.0\r\n".to_owned()).status, 421);
    let two = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n";
    assert!(ask(two.to_owned()).status >= 400);
    let target = "GET http://rebound.example/metrics HTTP/1.1\r\nHost: localhost\r\n";
    assert_eq!(ask(target.to_owned()).status, 421);
}

#[test]
fn over_tcp_sessions_are_seen_and_not_cut() {
    let scene = Scene::new(&format!("-admin {AT}"));
    let (mut client, mut up) = scene.tunnel();
    let ask = |line: &str| over_tcp(&scene.net.gateway, AT, &format!("{line} HTTP/1.1\r\nHost: {AT}\r\n"));
    let all = ask("GET /sessions").json();
    let id = all["open"][0]["id"].as_u64().expect("it is open");
    let refused = ask(&format!("DELETE /sessions/{id}"));
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("unix socket"), "{refused:?}");
    assert_eq!(ask(&format!("POST /sessions/{id}")).status, 405);
    client.send("still");
    up.expect("still");
}

#[test]
fn nobody_reaches_it_through_handyproxy_itself() {
    let scene = Scene::new("-sniff-timeout 5s -admin 0.0.0.0:9843 -admin-remote");
    // rules may be as wrong as they like
    let rule = format!("-i lan -p tcp --dport 9843 -j REDIRECT --to-ports {PORT}");
    scene.net.gateway.run(&format!("iptables -w -t nat -I PREROUTING {rule}"));
    for at in ["10.1.0.1:9843", "10.2.0.1:9843"] {
        // it may be reset before it is told that it is connected
        if let Ok(mut client) = scene.net.client.try_connect(at.parse().expect("an address")) {
            let _ = client.try_send("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            assert_eq!(client.receive_all(), (Vec::new(), Ending::Reset), "{at}");
        }
        let line = scene.gateway.session_line();
        line.expect(&format!("end=rejected by=us origin={at} stage=origin"));
        assert!(line.get("error").is_some_and(|why| why.contains("the admin of this daemon")), "{line:?}");
    }
    scene.upstream.expect_no_byte();
    // the same port elsewhere is somebody else's
    let mut client = scene.net.client.connect("203.0.113.9:9843".parse().expect("an address"));
    client.send(Kind::Http.says());
    scene.upstream.accept_asked().expect_connect("www.bench.example:9843");
}

#[test]
fn an_upstream_on_this_machine_is_not_asked_for_it() {
    let net = Topology::new();
    net.redirect();
    let upstream = net.gateway.listen("127.0.0.1:3128");
    let flags = format!("-upstream-proxy 127.0.0.1:3128 -sniff-timeout 5s -admin {AT}");
    let gateway = Launch::new(&flags).start(&net.gateway);
    for says in [Kind::Http.says(), Kind::Unknown.says()] {
        let mut client = net.client.connect("203.0.113.9:9843".parse().expect("an address"));
        client.send(says);
        client.receive_all();
        client.fin();
        let line = gateway.session_of(&client);
        line.expect("end=rejected by=us");
        assert!(line.get("error").is_some_and(|why| why.contains("the upstream is on this machine")), "{line:?}");
        upstream.expect_no_byte();
    }
}

#[test]
fn nor_is_one_that_could_take_over() {
    let net = Topology::new();
    net.redirect();
    let (far, here) = (net.upstream.listen(UPSTREAM), net.gateway.listen("127.0.0.1:3128"));
    let flags = format!("-upstream-proxy {UPSTREAM},127.0.0.1:3128 -sniff-timeout 5s -admin {AT}");
    let gateway = Launch::new(&flags).start(&net.gateway);
    let mut client = net.client.connect("203.0.113.9:9843".parse().expect("an address"));
    client.send(Kind::Http.says());
    client.receive_all();
    client.fin();
    let line = gateway.session_of(&client);
    line.expect("end=rejected by=us");
    assert!(line.get("error").is_some_and(|why| why.contains("the upstream is on this machine")), "{line:?}");
    // the first one would have been asked, and with no sound answer the one here
    far.expect_no_byte();
    here.expect_no_byte();
    // other ports are nobody's
    let mut client = net.client.connect("203.0.113.9:80".parse().expect("an address"));
    client.send(Kind::Http.says());
    far.accept_asked().expect_connect("www.bench.example:80");
}

#[test]
fn no_secret_is_on_any_page() {
    let folder = Folder::new();
    folder.write("corp.password", "open sesame\n");
    let text = format!(
        "admin = \"{AT}\"\nupstream-proxy = \"corp\"\n[upstream.corp]\nproxy = \"{UPSTREAM}\"\nauth = \"basic\"\n\
         user = \"gateway\"\npassword-file = \"corp.password\"\n"
    );
    let scene = Scene::with(folder.launch(&text));
    let mut client = scene.connect(V4, 443);
    let mut up = scene.upstream.accept();
    let credentials = up.expect_credentials("203.0.113.9:443");
    up.reply("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    scene.gateway.refusal_of(&mut client);
    for path in ["/", "/metrics", "/sessions", "/config", "/healthz", "/readyz"] {
        let page = over_tcp(&scene.net.gateway, AT, &format!("GET {path} HTTP/1.1\r\nHost: {AT}\r\n"));
        assert_eq!(page.status, 200, "{path}");
        for secret in ["sesame", credentials.rsplit(' ').next().expect("a word")] {
            assert!(!page.body.contains(secret), "{path}: {}", page.body);
        }
        assert!(path != "/config" || page.body.contains("password = \"***\""), "{}", page.body);
    }
}
