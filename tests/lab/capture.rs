//! Which connections are sessions: redirected ones, and neither direct ones nor our own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::daemon::Launch;
use crate::support::netns::Netns;
use crate::support::scene::Scene;
use crate::support::topology::{PORT, Topology, UPSTREAM, V4, V6};
use crate::support::upstream::OPEN;
use crate::support::wire::Ending;
use crate::support::{PATIENCE, each_row};

#[test]
fn a_direct_connection_is_reset_and_makes_no_connect() {
    for flags in ["", "-sniff-timeout 5s"] {
        let scene = Scene::new(flags);
        let start = scene.gateway.descriptors();
        let net = &scene.net;
        let rows: [(&str, &Netns, String); 6] = [
            ("from the client", &net.client, format!("10.1.0.1:{PORT}")),
            ("from the client, another address of ours", &net.client, format!("10.2.0.1:{PORT}")),
            ("from the client, IPv6", &net.client, format!("[fd10:1::1]:{PORT}")),
            ("from the client, another address of ours, IPv6", &net.client, format!("[fd10:2::1]:{PORT}")),
            ("from the upstream", &net.upstream, format!("10.2.0.1:{PORT}")),
            ("from the gateway itself", &net.gateway, format!("127.0.0.1:{PORT}")),
        ];
        each_row(
            &rows,
            |row| row.0.to_owned(),
            |(_, from, to)| {
                let to: SocketAddr = to.parse().expect("an address of the lab");
                match from.try_connect(to) {
                    Ok(mut client) => client.expect_end(Ending::Reset),
                    // the reset may come before connect() has returned
                    Err(why) => assert_eq!(why.kind(), std::io::ErrorKind::ConnectionReset),
                }
            },
        );
        scene.upstream.expect_no_connection(Duration::from_millis(200));
        scene.gateway.session_line().expect("end=direct by=client -target -name");
        scene.gateway.settles_at(start);
    }
}

#[test]
fn a_storm_of_direct_connections_is_logged_at_a_bounded_rate() {
    let scene = Scene::new("");
    let to = SocketAddr::new([10, 1, 0, 1].into(), PORT);
    let start = Instant::now();
    for _ in 0..500 {
        if let Ok(mut client) = scene.net.client.try_connect(to) {
            client.expect_end(Ending::Reset);
        }
    }
    let (mut client, mut up) = scene.tunnel();
    client.send("still served");
    up.expect("still served");
    let lines = scene.gateway.log.lines().len();
    // five of them and a sum in ten seconds, and two for the start
    let most = 20 + 6 * usize::try_from(start.elapsed().as_secs() / 10).expect("some seconds");
    assert!((2..most).contains(&lines), "{lines} lines for 500 connections in {:?}", start.elapsed());
    scene.upstream.expect_no_connection(Duration::ZERO);
}

#[test]
fn a_redirected_connection_to_a_port_like_ours_is_a_session() {
    let scene = Scene::new("");
    for origin in [V4, V6] {
        let target = SocketAddr::new(origin, PORT);
        let mut client = scene.net.client.connect(target);
        let mut up = scene.upstream.accept();
        up.expect_connect(&target.to_string());
        up.reply([OPEN, b"hi"].concat());
        client.expect("hi");
    }
}

#[test]
fn an_own_dial_that_comes_back_ends_as_a_loop() {
    let net = Topology::new();
    net.redirect();
    // everything that this machine dials is sent to us, and our own mark is not exempt
    net.rules("local up --mark 0x77 --private");
    let gateway = Launch::new(&format!("-upstream-proxy {UPSTREAM} -dial-timeout 60s")).start(&net.gateway);
    let upstream = net.upstream.listen(UPSTREAM);
    let start = gateway.descriptors();
    for _ in 0..10 {
        // the reset may come before connect() has returned
        if let Ok(mut client) = net.client.try_connect(SocketAddr::new(V4, 443)) {
            assert_ne!(client.ending_within(PATIENCE), Ending::Open, "a loop holds the client");
        }
    }
    upstream.expect_no_connection(Duration::from_millis(200));
    gateway.settles_at(start);
    gateway.log.take_session("a loop", |line| line.get("end") == Some("loop"));
    let sessions = gateway.log.sessions();
    assert!(sessions.len() <= 30, "10 clients became {} sessions", sessions.len());
}

#[test]
fn a_direct_connection_that_comes_back_ends_as_a_loop() {
    let net = Topology::new();
    net.redirect();
    // everything that this machine dials is sent to us, and our own mark is not exempt
    net.rules("local up --mark 0x77");
    net.gateway.run("ip route add default via 10.2.0.2");
    let flags = format!("-upstream-proxy {UPSTREAM} -no-proxy {V4}");
    let gateway = Launch::new(&flags).start(&net.gateway);
    let start = gateway.descriptors();
    for _ in 0..10 {
        if let Ok(mut client) = net.client.try_connect(SocketAddr::new(V4, 443)) {
            assert_ne!(client.ending_within(PATIENCE), Ending::Open, "a loop holds the client");
        }
    }
    gateway.settles_at(start);
    gateway.log.take_session("a loop", |line| line.get("end") == Some("loop"));
    let sessions = gateway.log.sessions();
    assert!(sessions.len() <= 40, "10 clients became {} sessions", sessions.len());
}

#[test]
fn start_up_refuses_an_upstream_that_is_our_own_listener() {
    let net = Topology::new();
    let rows =
        [format!("127.0.0.1:{PORT}"), format!("10.1.0.1:{PORT}"), format!("[::1]:{PORT}"), format!("localhost:{PORT}")];
    each_row(&rows, Clone::clone, |upstream| {
        let mut gateway = Launch::new(&format!("-upstream-proxy {upstream}")).start_unheard(&net.gateway);
        let status = gateway.ends_within(PATIENCE).expect("it serves itself");
        assert_eq!(status.code(), Some(1), "{:?}", gateway.log.lines());
        gateway.log.wait_for(upstream);
    });
}

#[test]
fn this_machines_own_connections_can_be_captured_too() {
    for (rules, flags) in [("", ""), ("--mark 0x1234", "-mark 0x1234"), ("--mark 77", "-mark 77")] {
        let net = Topology::new();
        net.gateway.ip("route add 0.0.0.0/0 via 10.2.0.2\nroute add ::/0 via fd10:2::2\n");
        net.rules(&format!("local up {rules}"));
        let flags = format!("-upstream-proxy {UPSTREAM} -sniff-timeout 5s {flags}");
        let gateway = Launch::new(&flags).start(&net.gateway);
        let upstream = net.upstream.listen(UPSTREAM);
        for origin in [V4, V6] {
            let mut client = net.gateway.connect(SocketAddr::new(origin, 80));
            client.send("GET / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n");
            let mut up = upstream.accept();
            up.expect_connect("www.bench.example:80");
            up.reply([OPEN, b"hi"].concat());
            client.expect("hi");
            client.fin();
            up.fin();
            let line = gateway.session_of(&client);
            line.expect(&format!("end=done origin={}", SocketAddr::new(origin, 80)));
        }
    }
}

#[test]
fn an_upstream_is_reached_over_ipv6_too() {
    let net = Topology::new();
    net.redirect();
    let gateway = Launch::new("-upstream-proxy [fd10:2::2]").start(&net.gateway);
    let upstream = net.upstream.listen("[fd10:2::2]:3128");
    for origin in [V4, V6] {
        let target = SocketAddr::new(origin, 443);
        let mut client = net.client.connect(target);
        let mut up = upstream.accept();
        up.expect_connect(&target.to_string());
        up.reply([OPEN, b"hi"].concat());
        client.expect("hi");
        client.fin();
        up.fin();
        gateway.session_of(&client).expect("end=done upstream=[fd10:2::2]:3128");
    }
}

#[test]
fn many_direct_and_redirected_connections_at_once_do_not_disturb_each_other() {
    let scene = Scene::new("");
    let to = SocketAddr::new([10, 1, 0, 1].into(), PORT);
    let mut tunnels = Vec::new();
    for _ in 0..40 {
        let _ = scene.net.client.try_connect(to);
        tunnels.push(scene.tunnel());
    }
    for (client, up) in &mut tunnels {
        client.send("ping");
        up.expect("ping");
    }
}
