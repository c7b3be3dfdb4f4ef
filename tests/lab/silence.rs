//! Upstreams that cannot be reached, never answer, or never come to an end.

use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::hello::Hello;
use crate::support::kind::{INTERNAL_ERROR, Kind, Told};
use crate::support::scene::Scene;
use crate::support::topology::V4;
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, Wire};

const SNIFFING: &str = "-sniff-timeout 5s";

/// Checks every kind of client against an upstream that cannot be reached.
fn unreachable(flags: &str, told: Told, log: &str) {
    let scene = Scene::new(&format!("{SNIFFING} {flags}"));
    let start = scene.gateway.descriptors();
    for kind in Kind::ALL {
        let mut client = kind.speak(&scene);
        let page = told.check(kind, &mut client);
        assert!(kind != Kind::Http || !page.is_empty(), "the page says nothing");
        let address = client.address();
        drop(client);
        let line = scene.gateway.session_from(&address);
        line.expect(log);
        assert!(line.get("error").is_some(), "no reason in {line:?}");
        assert_eq!(line.level(), "WARN");
    }
    scene.gateway.settles_at(start);
}

#[test]
fn an_upstream_that_refuses_is_told_at_once() {
    let told = Told { status: 502, alert: INTERNAL_ERROR };
    unreachable("-upstream-proxy 10.2.0.2:3199", told, "end=dial stage=dial");
}

#[test]
fn an_upstream_without_a_route_is_told_at_once() {
    let told = Told { status: 502, alert: INTERNAL_ERROR };
    unreachable("-upstream-proxy 192.0.2.1:3128", told, "end=dial stage=dial");
}

#[test]
fn an_upstream_whose_name_does_not_resolve_is_told_at_once() {
    let told = Told { status: 503, alert: INTERNAL_ERROR };
    unreachable("-upstream-proxy proxy.invalid:3128", told, "end=resolve stage=dial");
}

/// Checks that a silent upstream is given up on when its time is over, and not before.
fn gives_up_after_two_seconds(scene: &Scene, kind: Kind, mut client: Wire, start: Instant) {
    let told = Told { status: 504, alert: INTERNAL_ERROR };
    assert!(client.has_news(PATIENCE), "{kind:?}: still held");
    assert!(start.elapsed() > Duration::from_millis(1700), "{kind:?}: too early");
    told.check(kind, &mut client);
    let address = client.address();
    drop(client);
    scene.gateway.session_from(&address).expect("end=timeout by=upstream");
}

#[test]
fn an_upstream_that_drops_syns_is_given_up_on_after_the_dial_timeout() {
    let scene = Scene::new("-sniff-timeout 5s -dial-timeout 2s");
    scene.net.upstream.run("iptables -w -A INPUT -p tcp --dport 3128 -j DROP");
    let start = scene.gateway.descriptors();
    for kind in [Kind::Http, Kind::Tls, Kind::Unknown] {
        let spoke = Instant::now();
        let client = kind.speak(&scene);
        gives_up_after_two_seconds(&scene, kind, client, spoke);
    }
    scene.gateway.settles_at(start);
}

#[test]
fn an_upstream_that_never_answers_is_given_up_on_after_the_dial_timeout() {
    let scene = Scene::new("-sniff-timeout 5s -dial-timeout 2s");
    let start = scene.gateway.descriptors();
    for kind in [Kind::Http, Kind::Tls, Kind::Unknown] {
        let before = Instant::now();
        let (client, mut up) = kind.ask(&scene);
        gives_up_after_two_seconds(&scene, kind, client, before);
        assert_ne!(up.ending_within(PATIENCE), Ending::Open, "its own leg stays open");
    }
    scene.gateway.settles_at(start);
}

#[test]
fn sniffing_does_not_count_towards_the_dial_timeout() {
    let scene = Scene::new("-sniff-timeout 10s -dial-timeout 3s");
    let mut client = scene.connect(V4, 443);
    std::thread::sleep(Duration::from_millis(3500));
    client.send(Hello::to("www.bench.example").bytes());
    let mut up = scene.upstream.accept();
    up.expect_connect("www.bench.example:443");
    up.reply([OPEN, b"hi"].concat());
    client.expect("hi");
}

/// Sends again and again until the other side has had enough; returns how much it took.
fn flood(up: &mut Wire, bytes: &[u8], pause: Duration) -> usize {
    let start = Instant::now();
    let mut sent = 0;
    while up.try_send(bytes).is_ok() {
        sent += bytes.len();
        assert!(start.elapsed() < PATIENCE, "took {sent} bytes and wants more");
        std::thread::sleep(pause);
    }
    sent
}

#[test]
fn endless_headers_are_bounded_in_memory() {
    let scene = Scene::new(SNIFFING);
    let (mut client, mut up) = Kind::Http.ask(&scene);
    let rss = scene.gateway.rss_kib();
    up.reply("HTTP/1.1 200 OK\r\n");
    let line = [b"X: ".as_slice(), &[b'x'; 1000], b"\r\n"].concat();
    flood(&mut up, &line.repeat(64), Duration::ZERO);
    Told { status: 502, alert: 0 }.check(Kind::Http, &mut client);
    scene.gateway.session_of(&client).expect("end=bad-reply by=upstream");
    let grown = scene.gateway.rss_kib().saturating_sub(rss);
    assert!(grown < 2048, "RSS +{grown} KiB");
}

/// Answers with one interim answer after another and checks that it comes to an end in time.
fn endless_interim_answers(flags: &str, pause: Duration, within: Duration) {
    let scene = Scene::new(&format!("{SNIFFING} {flags}"));
    let rss = scene.gateway.rss_kib();
    let start = Instant::now();
    let (mut client, mut up) = Kind::Http.ask(&scene);
    flood(&mut up, b"HTTP/1.1 100 Continue\r\n\r\n", pause);
    let (bytes, end) = client.receive_all();
    let took = start.elapsed();
    assert!(bytes.starts_with(b"HTTP/1.1 50"), "{}", bytes.escape_ascii());
    assert_eq!(end, Ending::Fin);
    assert!(took < within, "interim answers held it for {took:?}");
    let grown = scene.gateway.rss_kib().saturating_sub(rss);
    assert!(grown < 2048, "RSS +{grown} KiB");
}

#[test]
fn endless_interim_answers_are_bounded_by_bytes() {
    endless_interim_answers("-dial-timeout 60s", Duration::ZERO, Duration::from_secs(20));
}

#[test]
fn endless_interim_answers_are_bounded_by_time() {
    endless_interim_answers("-dial-timeout 2s", Duration::from_millis(100), Duration::from_secs(8));
}

#[test]
fn a_drip_of_headers_is_bounded_by_the_dial_timeout() {
    let scene = Scene::new("-sniff-timeout 5s -dial-timeout 2s");
    let start = Instant::now();
    let (mut client, mut up) = Kind::Tls.ask(&scene);
    up.reply("HTTP/1.1 200 OK\r\n");
    flood(&mut up, b"X: y\r\n", Duration::from_millis(50));
    client.expect([21, 3, 3, 0, 2, 2, INTERNAL_ERROR]);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1700) && took < Duration::from_secs(8), "given up after {took:?}");
    scene.gateway.session_of(&client).expect("end=timeout by=upstream");
}
