//! The admin: pages, health, the table of sessions and who may cut one, from inside and from where nobody should be.

mod desk;
mod guard;
mod metrics;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::daemon::Launch;
use crate::support::folder::Folder;
use crate::support::kind::Kind;
use crate::support::pace::Pace;
use crate::support::scene::Scene;
use crate::support::topology::{Topology, UPSTREAM, V4, V6};
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, carry};
use crate::support::{PATIENCE, each_row, eventually};
use desk::{AT, Stage, over_tcp, over_unix};

#[test]
fn every_page_is_there_and_nobody_keeps_it() {
    let stage = Stage::new("-sniff-timeout 1s");
    let metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let rows = [
        ("/", "text/plain; charset=utf-8", "/sessions"),
        ("/metrics", metrics, "# EOF\n"),
        ("/healthz", "text/plain; charset=utf-8", "ok\n"),
        ("/readyz", "text/plain; charset=utf-8", "ready\n"),
        ("/sessions", "application/json", "\"upstreams\""),
        ("/config", "text/plain; charset=utf-8", "sniff-timeout"),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(path, kind, holds)| {
            let page = stage.get(path);
            assert_eq!(page.status, 200, "{page:?}");
            for field in
                [&format!("content-type: {kind}"), "cache-control: no-store", "x-content-type-options: nosniff"]
            {
                assert!(page.head.contains(&format!("\r\n{field}\r\n")), "{field} in {}", page.head);
            }
            assert!(!page.head.contains("access-control"), "{}", page.head);
            assert!(page.body.contains(holds), "{}", page.body);
            let head = over_unix(&stage.socket(), &format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n"));
            assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
            assert!(head.head.contains(&format!("\r\ncontent-type: {kind}\r\n")), "{}", head.head);
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"] {
                let refused = over_unix(&stage.socket(), &format!("{method} {path} HTTP/1.1\r\nHost: x\r\n"));
                assert_eq!(refused.status, 405, "{method}: {refused:?}");
                assert!(refused.head.contains("\r\nallow: get, head\r\n"), "{method}: {}", refused.head);
            }
        },
    );
    let missing = stage.get("/metric");
    assert_eq!(missing.status, 404);
    assert!(rows.iter().all(|(path, ..)| missing.body.contains(path)), "{}", missing.body);
    assert_eq!(stage.get("/metrics?name%5B%5D=x").status, 200, "a query is no other page");
}

#[test]
fn an_open_session_is_shown_with_all_that_is_known_of_it() {
    let stage = Stage::configured(
        Topology::new(),
        "sniff-timeout = \"5s\"\nupstream-proxy = \"corp\"\n[upstream.corp]\nproxy = \"10.2.0.2:3128\"\n\
         [[route]]\nto = [\"*:443\"]\nvia = \"corp\"\n",
    );
    let before = stage.sessions();
    assert_eq!(before["open"].as_array().map(Vec::len), Some(0));
    assert_eq!(before["instance"], "gateway");
    assert_eq!(before["version"], env!("CARGO_PKG_VERSION"));
    let (mut client, mut up) = Kind::Tls.ask(&stage.scene);
    let asking = &stage.sessions()["open"][0];
    assert_eq!((&asking["stage"], &asking["status"]), (&"connect".into(), &().into()));
    up.reply(OPEN);
    let hello = Kind::Tls.says();
    up.expect(&hello);
    carry(&mut up, &mut client, 100_000);
    let all = eventually(|| {
        let all = stage.sessions();
        let session = &all["open"][0];
        let seen = (session["up"].as_u64(), session["down"].as_u64());
        if seen == (Some(hello.len() as u64), Some(100_000)) { Ok(all) } else { Err(format!("{session}")) }
    });
    let session = &all["open"][0];
    for (key, wanted) in [
        ("client", client.address().as_str()),
        ("origin", "203.0.113.9:443"),
        ("name", "www.bench.example"),
        ("name_source", "sni"),
        ("target", "www.bench.example:443"),
        ("via", "corp"),
        ("route", &stage.folder.line(6)),
        ("upstream", "10.2.0.2:3128"),
        ("stage", "relay"),
    ] {
        assert_eq!(session[key], wanted, "{key} in {session}");
    }
    assert_eq!((&session["status"], &session["requests"]), (&200.into(), &0.into()));
    let (now, began) = (all["now"].as_f64(), session["started"].as_f64());
    assert!(now > began && began >= all["started"].as_f64(), "{all}");
    assert_eq!((&all["totals"]["opened"], &all["totals"]["open"]), (&1.into(), &1.into()));
    assert_eq!((&all["totals"]["up"], &all["totals"]["down"]), (&hello.len().into(), &100_000.into()));
    let upstream = &all["upstreams"][0];
    assert_eq!((&upstream["name"], &upstream["up"], &upstream["why"]), (&"corp".into(), &true.into(), &().into()));
    assert!(all["limits"]["sessions"].as_u64() > Some(100) && all["limits"]["descriptors"].as_u64() > Some(200));
    client.fin();
    up.fin();
    stage.scene.gateway.session_of(&client).expect("end=done");
    let all = stage.sessions();
    assert_eq!(all["open"].as_array().map(Vec::len), Some(0), "{all}");
    assert_eq!(all["ended"].as_array().map(Vec::len), Some(0), "it ended well: {all}");
    assert_eq!(all["totals"]["ended"]["done"], 1);
    assert_eq!(all["totals"]["down"], 100_000, "bytes of one that has ended still count");
}

#[test]
fn what_an_upstream_says_cannot_forge_what_is_told() {
    let stage = Stage::new("-sniff-timeout 5s");
    let reasons: [&[u8]; 5] = [
        b"\"},{\"id\":99,\"client\":\"x",
        b"\\\" \\",
        b"\x1b[2J\x1b[31mred\x07",
        b"\xc2\x9b31m \xe2\x80\xae </script><script>",
        b"\xff\xfe not UTF-8",
    ];
    for (number, reason) in reasons.iter().enumerate() {
        let (mut client, mut up) = Kind::Http.ask(&stage.scene);
        up.reply([b"HTTP/1.1 403 ", *reason, b"\r\nContent-Length: 0\r\n\r\n"].concat());
        client.receive_all();
        let address = client.address();
        drop(client);
        stage.scene.gateway.session_from(&address);
        let page = stage.get("/sessions");
        let all = page.json();
        let ended = all["ended"].as_array().expect("a list");
        assert_eq!(ended.len(), number + 1, "{all}");
        assert_eq!((&ended[0]["end"], &ended[0]["by"]), (&"refused".into(), &"upstream".into()), "newest first: {all}");
        assert!(ended[0]["error"].as_str().is_some_and(|error| error.len() < 1000), "{all}");
        let lines = page.body.trim_end();
        assert!(!lines.contains(|c: char| c.is_control()), "{lines:?}");
    }
    let metrics = stage.metrics();
    assert_eq!(metrics.sum("handyproxy_failures_total", &["status=\"403\"", "stage=\"connect\""]), 5.0);
}

#[test]
fn a_session_is_cut_from_both_sides_over_the_unix_socket() {
    let stage = Stage::new("");
    let (mut client, mut up) = stage.scene.tunnel();
    let (mut other, mut other_up) = stage.scene.tunnel();
    let all = stage.sessions();
    let number = |address: String| {
        let open = all["open"].as_array().expect("a list");
        let session = open.iter().find(|session| session["client"] == address.as_str());
        session.and_then(|session| session["id"].as_u64()).unwrap_or_else(|| panic!("no {address} in {all}"))
    };
    let id = number(client.address());
    assert_eq!(stage.cut(id).status, 200);
    client.expect_end(Ending::Reset);
    up.expect_end(Ending::Reset);
    stage.scene.gateway.session_of(&client).expect("end=killed by=us stage=relay");
    assert_eq!(stage.cut(id).status, 404, "it is over");
    for id in ["0", "x", "-1", "1/2", "", "18446744073709551616"] {
        let answer = over_unix(&stage.socket(), &format!("DELETE /sessions/{id} HTTP/1.1\r\nHost: x\r\n"));
        assert_eq!(answer.status, 404, "{id}");
    }
    let answer = stage.get(&format!("/sessions/{}", number(other.address())));
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("\r\nallow: delete\r\n"), "{}", answer.head);
    carry(&mut other, &mut other_up, 1000);
    let all = stage.sessions();
    assert_eq!((&all["ended"][0]["id"], &all["ended"][0]["end"]), (&id.into(), &"killed".into()));
    // one that waits for its upstream is cut as well
    let (mut client, mut up) = Kind::Tls.ask(&stage.scene);
    let id = stage.sessions()["open"][1]["id"].as_u64().expect("it is open");
    assert_eq!(stage.cut(id).status, 200);
    assert_ne!(up.ending_within(PATIENCE), Ending::Open);
    assert_ne!(client.ending_within(PATIENCE), Ending::Open);
    stage.scene.gateway.session_of(&client).expect("end=killed by=us stage=connect");
}

#[test]
fn five_hundred_sessions_are_listed_at_once_and_go_on() {
    let stage = Stage::new("");
    let mut tunnels: Vec<_> = (0..500).map(|_| stage.scene.tunnel()).collect();
    let all = stage.sessions();
    assert_eq!(all["open"].as_array().map(Vec::len), Some(500));
    assert_eq!((&all["totals"]["opened"], &all["totals"]["open"]), (&500.into(), &500.into()));
    let ids: Vec<_> = all["open"].as_array().expect("a list").iter().map(|session| session["id"].as_u64()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    let metrics = stage.metrics();
    assert_eq!(metrics.value("handyproxy_sessions_open"), 500.0);
    assert!(metrics.value("handyproxy_descriptors_open") >= 1000.0, "{}", metrics.text);
    for (client, up) in tunnels.iter_mut().step_by(50) {
        carry(client, up, 10_000);
    }
}

#[test]
fn a_slow_client_of_the_admin_holds_nobody_up() {
    let scene = Scene::new(&format!("-admin {AT}"));
    let ask = |path: &str| over_tcp(&scene.net.gateway, AT, &format!("GET {path} HTTP/1.1\r\nHost: {AT}\r\n"));
    let at = AT.parse().expect("an address");
    let mut slow: Vec<_> = (0..60).map(|_| scene.net.gateway.connect(at)).collect();
    for wire in &mut slow {
        wire.send("GET /metrics HTTP/1.1\r\nHost: local");
    }
    let start = Pace::start();
    assert_eq!(ask("/healthz").body, "ok\n");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // and they do not hold their places for ever
    for wire in &mut slow {
        assert_ne!(wire.ending_within(Duration::from_secs(30)), Ending::Open);
    }
    let (mut client, mut up) = scene.tunnel();
    carry(&mut client, &mut up, 1000);
}

#[test]
fn whoever_takes_all_places_of_the_admin_keeps_nobody_out() {
    let scene = Scene::new(&format!("-admin {AT}"));
    let at = AT.parse().expect("an address");
    let start = Pace::start();
    let greedy: Vec<_> = (0..80)
        .map(|number| {
            let mut wire = scene.net.gateway.connect(at);
            // half a request, or one and then nothing more
            let rest = if number % 2 == 0 { "loc" } else { "localhost\r\n\r\n" };
            wire.send(format!("GET /healthz HTTP/1.1\r\nHost: {rest}"));
            wire
        })
        .collect();
    let answer = over_tcp(&scene.net.gateway, AT, &format!("GET /healthz HTTP/1.1\r\nHost: {AT}\r\n"));
    let took = start.elapsed();
    assert_eq!(answer.body, "ok\n");
    assert!(took < Duration::from_secs(8), "not before the ten seconds of a head were over: {took:?}");
    drop(greedy);
}

#[test]
fn health_and_readiness_say_why_not() {
    let net = Topology::new();
    net.address(4);
    let stage = Stage::configured(
        net,
        "upstream-proxy = \"corp\"\nmax-sessions = 2\n[upstream.corp]\nproxy = [\"10.2.0.2:3128\", \"10.2.0.4:3128\"]\n",
    );
    assert_eq!((stage.get("/readyz").status, stage.get("/healthz").status), (200, 200));
    let (mut client, up) = stage.scene.tunnel();
    let (second, second_up) = stage.scene.tunnel();
    let full = stage.get("/readyz");
    assert_eq!((full.status, full.body.as_str()), (503, "not ready: all 2 seats are taken\n"));
    assert_eq!(stage.get("/healthz").status, 200, "to be full is no illness");
    second.reset();
    drop(second_up);
    eventually(|| match stage.get("/readyz").status {
        200 => Ok(()),
        status => Err(status.to_string()),
    });
    // neither proxy takes connections from now on; the first hold is short
    stage.scene.net.upstream.run("iptables -w -A INPUT -p tcp --dport 3128 --syn -j REJECT --reject-with tcp-reset");
    let (held, metrics) = eventually(|| {
        // it may be reset before it is told that it is connected
        if let Ok(mut client) = stage.scene.net.client.try_connect((V4, 443).into()) {
            client.receive_all();
        }
        let held = stage.get("/readyz");
        let metrics = stage.metrics();
        // it lasts a second at first
        let lasts = metrics.sum("handyproxy_upstream_held_seconds", &["upstream=\"corp\""]) > 0.0;
        if held.status == 503 && lasts { Ok((held, metrics)) } else { Err(format!("{held:?}")) }
    });
    assert!(held.body.starts_with("not ready: upstream corp: dial 10.2.0.2:3128: "), "{held:?}");
    assert!(held.body.contains("; dial 10.2.0.4:3128: "), "{held:?}");
    let config = stage.get("/config").body;
    assert!(config.contains("\"http://10.2.0.2:3128\", # down"), "{config}");
    let proxies = &stage.sessions()["upstreams"];
    assert_eq!((&proxies[0]["up"], &proxies[1]["up"]), (&false.into(), &false.into()));
    assert!(proxies[0]["why"].as_str().is_some_and(|why| why.contains("refused")), "{proxies}");
    assert_eq!(metrics.sum("handyproxy_upstream_up", &["upstream=\"corp\""]), 0.0);
    client.fin();
    drop(up);
}

#[test]
fn a_daemon_that_drains_still_answers_and_says_so() {
    let mut stage = Stage::new("-drain-timeout 30s");
    let (mut client, mut up) = stage.scene.tunnel();
    stage.scene.gateway.signal(Signal::SIGTERM);
    stage.scene.gateway.log.wait_for("stopping: no more clients");
    let healthy = stage.get("/healthz");
    assert_eq!(healthy.status, 200, "{healthy:?}");
    assert!(healthy.body.starts_with("draining"), "{healthy:?}");
    let ready = stage.get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, "not ready: draining\n"));
    assert_eq!(stage.sessions()["totals"]["open"], 1);
    carry(&mut client, &mut up, 1000);
    client.fin();
    up.fin();
    assert!(stage.scene.gateway.ends_within(Duration::from_secs(20)).is_some_and(|status| status.success()));
    assert!(!fs::exists(stage.socket()).expect("a folder of ours"), "the socket is left behind");
}

#[test]
fn the_socket_is_for_owner_and_group_and_only_ours_is_replaced() {
    let folder = Folder::new();
    let path = format!("{}/admin.sock", folder.path());
    let net = Topology::new();
    let launch = || Launch::new(&format!("-upstream-proxy {UPSTREAM} -admin {path}"));
    let mut first = launch().start(&net.gateway);
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    // one that is in use, though the second daemon could have the port: it is elsewhere
    let refuses = |net: &Topology, why: &str| {
        let mut second = launch().start_unheard(&net.gateway);
        let status = second.ends_within(Duration::from_secs(20)).expect("it refuses to run");
        assert_eq!(status.code(), Some(1));
        second.log.wait_for_end();
        let lines = second.log.lines();
        assert!(lines.iter().any(|line| line.contains(&path) && line.contains(why)), "{lines:?}");
    };
    let elsewhere = Topology::new();
    refuses(&elsewhere, "another program listens there already");
    assert_eq!(over_unix(&path, "GET /healthz HTTP/1.1\r\nHost: x\r\n").body, "ok\n");
    // one that was left behind
    first.signal(Signal::SIGKILL);
    first.ends_within(Duration::from_secs(20));
    assert!(fs::metadata(&path).expect("it was left").file_type().is_socket());
    let mut third = launch().start(&net.gateway);
    assert_eq!(over_unix(&path, "GET /healthz HTTP/1.1\r\nHost: x\r\n").body, "ok\n");
    third.signal(Signal::SIGTERM);
    assert!(third.ends_within(Duration::from_secs(20)).is_some());
    // somebody's file
    fs::write(&path, "precious").expect("a folder of ours");
    refuses(&net, "is there and is no socket");
    assert_eq!(fs::read_to_string(&path).expect("it is still there"), "precious");
}

#[test]
fn an_address_that_cannot_be_had_is_told_at_the_start() {
    let net = Topology::new();
    let _taken = net.gateway.listen(AT);
    for (admin, code, why) in [
        (AT, 1, "-admin 127.0.0.1:9843: another program listens there already"),
        ("10.9.9.9:9843 -admin-remote", 1, "-admin 10.9.9.9:9843: this machine has no such address"),
        ("/nowhere/at/all/admin.sock", 1, "-admin /nowhere/at/all/admin.sock: its folder does not exist"),
        ("10.1.0.1:9843", 2, "-admin: 10.1.0.1:9843 is not loopback, and there is no password"),
        ("0.0.0.0:9843", 2, "-admin: 0.0.0.0:9843 is not loopback, and there is no password"),
        ("127.0.0.1:8043", 2, "-admin: 127.0.0.1:8043 is local-port"),
    ] {
        let mut gateway =
            Launch::new(&format!("-upstream-proxy {UPSTREAM} -admin {admin}")).start_unheard(&net.gateway);
        let status = gateway.ends_within(Duration::from_secs(20)).unwrap_or_else(|| panic!("{admin}: it runs"));
        gateway.log.wait_for_end();
        let lines = gateway.log.lines().join("\n");
        assert_eq!(status.code(), Some(code), "{admin}: {lines}");
        assert!(lines.contains(why), "{admin}: {lines}");
    }
}

#[test]
fn the_place_stays_over_a_reload_and_the_names_do_not() {
    let folder = Folder::new();
    let text = |port: u16, names: &str| {
        format!("upstream-proxy = \"{UPSTREAM}\"\nadmin = \"127.0.0.1:{port}\"\nadmin-hosts = [{names}]\n")
    };
    let scene = Scene::with(folder.launch(&text(9843, "")));
    let ask = || over_tcp(&scene.net.gateway, AT, "GET /healthz HTTP/1.1\r\nHost: gateway.example\r\n").status;
    assert_eq!(ask(), 421);
    folder.config(&text(9999, "\"gateway.example\""));
    scene.gateway.reload();
    scene.gateway.log.wait_for("reload: -admin needs a restart, it stays as it was");
    assert_eq!(ask(), 200);
}

#[test]
fn an_ipv6_session_and_an_ipv6_admin_are_told_in_brackets() {
    let scene = Scene::new("-admin [::1]:9843");
    let (client, _up) = scene.tunnel_to(V6);
    let head = "GET /sessions HTTP/1.1\r\nHost: [::1]:9843\r\n";
    let all = over_tcp(&scene.net.gateway, "[::1]:9843", head).json();
    assert_eq!(all["open"][0]["origin"], "[2001:db8::9]:22");
    assert_eq!(all["open"][0]["client"], client.address().as_str());
}
