//! The daemon's own life: descriptor limits, session limits, signals, and what is left after many sessions.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::{Daemon, Launch};
use crate::support::journal::printable;
use crate::support::kind::Kind;
use crate::support::random::Random;
use crate::support::scene::Scene;
use crate::support::topology::{PORT, UPSTREAM, V4, V6};
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, Wire};
use crate::support::{PATIENCE, each_row, eventually};

/// What the log says when no more clients are let in, and when they are again.
const PAUSES: &str = "further clients wait";
const RESUMES: &str = "accepting again";

/// Opens the tunnels of clients that are waiting, of whom there is one at least, until no more come through for so long.
fn open_waiting(scene: &Scene, quiet: Duration) -> Vec<Wire> {
    let mut open = Vec::new();
    let mut patience = PATIENCE;
    while let Some(mut up) = scene.upstream.accept_within(patience) {
        up.expect_connect("203.0.113.9:443");
        up.reply([OPEN, b"hi"].concat());
        open.push(up);
        patience = quiet;
    }
    open
}

/// Lets 300 clients at a gateway that has no room for them, and checks that it waits quietly and then serves them all.
/// Returns how many sessions it had room for.
fn serves_three_hundred_clients(scene: &Scene) -> usize {
    let start = scene.gateway.descriptors();
    let mut clients: Vec<Wire> = (0..300).map(|_| scene.connect(V4, 443)).collect();
    scene.gateway.log.wait_for(PAUSES);
    // all that there is room for: those that come later would not be counted
    let mut open = open_waiting(scene, Duration::from_millis(2500));
    let room = open.len();
    assert!(room < 300, "there was room for all");

    let lines = scene.gateway.log.lines();
    let said = lines.iter().filter(|line| line.contains(PAUSES)).count();
    assert_eq!(said, 1, "lines with {PAUSES:?} in:\n{}", lines.join("\n"));
    let cpu = scene.gateway.cpu_ticks();
    thread::sleep(Duration::from_secs(1));
    let spent = scene.gateway.cpu_ticks() - cpu;
    assert!(spent <= 5, "{spent} ticks of CPU in a second of waiting");
    assert_eq!(scene.gateway.log.lines().len(), lines.len(), "it logs while it waits");
    // those that are in go on
    open[0].send("still");
    let mut served = 0;
    let mut rounds = 0;
    loop {
        served += open.len();
        rounds += 1;
        open.into_iter().for_each(Wire::reset);
        if served >= 300 {
            break;
        }
        open = open_waiting(scene, Duration::from_millis(500));
        assert!(!open.is_empty(), "served {served} of 300");
    }
    assert_eq!(served, 300);
    for client in &mut clients {
        client.expect("hi");
    }
    drop(clients);
    scene.gateway.settles_at(start);
    let paused = scene.gateway.log.lines().iter().filter(|line| line.contains(PAUSES)).count();
    assert!(paused <= 2 * rounds, "{paused} lines with {PAUSES:?} for {rounds} pauses");
    scene.gateway.log.wait_for(RESUMES);
    room
}

#[test]
fn out_of_descriptors_accepting_pauses_quietly_and_comes_back() {
    let launch = Launch::new(&format!("-upstream-proxy {UPSTREAM}")).descriptors(200);
    let scene = Scene::with(launch);
    let room = serves_three_hundred_clients(&scene);
    assert!((60..=100).contains(&room), "room for {room} sessions of 2 descriptors in 200");
}

#[test]
fn no_more_than_max_sessions_are_held() {
    let scene = Scene::new("-max-sessions 50");
    let room = serves_three_hundred_clients(&scene);
    assert_eq!(room, 50);
}

#[test]
fn the_soft_descriptor_limit_is_raised_to_the_hard_one() {
    let launch = Launch::new(&format!("-upstream-proxy {UPSTREAM}")).descriptor_limits(64, 400);
    let scene = Scene::with(launch);
    let tunnels: Vec<_> = (0..120).map(|_| scene.tunnel()).collect();
    assert_eq!(tunnels.len(), 120);
}

#[test]
fn out_of_ports_is_told_and_service_comes_back() {
    let scene = Scene::new("-sniff-timeout 5s");
    scene.net.gateway.sysctl("ipv4/ip_local_port_range", "40000 40019");
    let mut open = Vec::new();
    let (told, line) = loop {
        assert!(open.len() <= 20, "{} connections from 20 ports", open.len());
        let mut client = Kind::Http.speak(&scene);
        // an answer without a CONNECT is ours
        let up = eventually(|| match scene.upstream.accept_within(Duration::from_millis(5)) {
            Some(up) => Ok(Some(up)),
            None if client.has_news(Duration::ZERO) => Ok(None),
            None => Err("neither a connection nor an answer".to_owned()),
        });
        match up {
            Some(mut up) => {
                up.expect_connect("www.bench.example:80");
                up.reply(OPEN);
                open.push((client, up));
            }
            None => {
                let told = client.receive_through(b"\r\n\r\n");
                let address = client.address();
                drop(client);
                break (told, scene.gateway.session_from(&address));
            }
        }
    };
    assert!(told.starts_with(b"HTTP/1.1 503 "), "{}", told.escape_ascii());
    line.expect("end=error by=us stage=dial");
    assert_eq!(line.level(), "ERROR");
    for (client, up) in open {
        client.reset();
        drop(up);
    }
    eventually(|| {
        let client = Kind::Http.speak(&scene);
        let up = scene.upstream.accept_within(Duration::from_millis(200));
        drop(client);
        up.map(drop).ok_or("no connection yet".to_owned())
    });
}

#[test]
fn wild_bytes_from_either_side_disturb_nobody_else() {
    let scene = Scene::new("-sniff-timeout 2s");
    let (mut client, mut up) = scene.tunnel();
    let seed = 11;
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let rounds = 200;
    let mut seen = Vec::new();
    for _ in 0..rounds {
        // half of them begin like something that is known
        let mut bytes = match random.below(6) {
            0 => Kind::Http.says(),
            1 => Kind::Tls.says(),
            2 => vec![22, 3, 1],
            3 => b"GET ".to_vec(),
            _ => vec![],
        };
        let mess = random.size(9);
        let at = random.below(bytes.len() + 1);
        bytes.splice(at..at, random.bytes(mess));
        let mut wild = scene.connect(V4, 443);
        let _ = wild.try_send(&bytes);
        wild.fin();
        let mut leg = scene.upstream.accept();
        leg.connect_target();
        let mut answer = match random.below(4) {
            0 => OPEN.to_vec(),
            1 => b"HTTP/1.1 ".to_vec(),
            2 => b"HTTP/1.1 407 No\r\nContent-Type: text/html\r\n".to_vec(),
            _ => vec![],
        };
        let mess = random.size(9);
        let at = random.below(answer.len() + 1);
        answer.splice(at..at, random.bytes(mess));
        let _ = leg.try_send(&answer);
        leg.fin();
        scene.upstream.hangs_up_on(&wild);
        let (_, end) = wild.receive_all();
        assert_ne!(end, Ending::Open);
        seen.push(wild.address());
    }
    each_row(&seen, Clone::clone, |address| {
        let line = scene.gateway.session_from(address);
        assert!(!["panic", "error"].contains(&line.get("end").unwrap_or("?")), "{line:?}");
    });
    client.send("undisturbed");
    up.expect("undisturbed");
    printable(&scene.gateway.log.bytes());
}

#[test]
fn two_hundred_mixed_sessions_give_everything_back() {
    let scene = Scene::new("-sniff-timeout 5s -half-closed-timeout 2s");
    // the first session may start what stays
    drop(scene.tunnel());
    scene.gateway.session_line();
    let start = scene.gateway.descriptors();
    let seed = 13;
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let mut clients = Vec::new();
    let mut one = |how: usize| {
        let kind = Kind::ALL[random.below(4)];
        let (mut client, mut up) = kind.ask(&scene);
        clients.push(client.address());
        match how {
            0 => up.reply("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
            1 => client.reset(),
            2 => {
                up.reset();
                scene.upstream.hangs_up_on(&client);
            }
            _ => {
                up.reply(OPEN);
                up.expect(kind.says());
                let size = random.size(17);
                let bytes = random.bytes(size);
                up.send(&bytes);
                client.expect(&bytes);
                match how {
                    3 => client.reset(),
                    4 => up.reset(),
                    5 => {
                        client.fin();
                        up.expect_end(Ending::Fin);
                        up.send("bye");
                        client.expect("bye");
                    }
                    6 => {
                        up.fin();
                        client.expect_end(Ending::Fin);
                    }
                    _ => {}
                }
            }
        }
    };
    for i in 0..200 {
        one(i % 8);
    }
    each_row(&clients, Clone::clone, |address| {
        scene.gateway.session_from(address);
    });
    scene.gateway.settles_at(start);
    assert_eq!(scene.gateway.log.sessions().len(), 201, "a session reports once");
}

#[test]
fn every_session_reports_exactly_once() {
    let scene = Scene::new("-sniff-timeout 200ms");
    let count = 60;
    let mut clients: Vec<Wire> = (0..count).map(|i| scene.connect(if i % 2 == 0 { V4 } else { V6 }, 443)).collect();
    let mut ups: Vec<Wire> = (0..count).map(|_| scene.upstream.accept()).collect();
    for up in &mut ups {
        up.connect_target();
        up.reply(OPEN);
    }
    for client in &mut clients {
        client.fin();
    }
    drop(ups);
    let addresses: Vec<String> = clients.iter().map(Wire::address).collect();
    each_row(&addresses, Clone::clone, |address| {
        scene.gateway.session_from(address);
    });
    thread::sleep(Duration::from_millis(300));
    assert_eq!(scene.gateway.log.sessions().len(), count);
}

// ---- signals

fn expect_exit(gateway: &mut Daemon, within: Duration) {
    let status = gateway.ends_within(within).expect("it still runs");
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_signal_lets_open_transfers_finish_and_cuts_idle_ones() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut scene = Scene::new("-drain-timeout 6s");
        let (mut busy, mut busy_up) = scene.tunnel();
        let (mut idle, mut idle_up) = scene.tunnel();
        scene.gateway.signal(signal);
        let since = Instant::now();
        scene.gateway.log.wait_for("stopping");
        assert!(scene.net.client.try_connect(SocketAddr::new(V4, 443)).is_err(), "it still accepts");
        for _ in 0..10 {
            busy_up.send("a part of it");
            busy.expect("a part of it");
            thread::sleep(Duration::from_millis(100));
        }
        busy_up.fin();
        busy.expect_end(Ending::Fin);
        busy.fin();
        busy_up.expect_end(Ending::Fin);
        scene.gateway.session_of(&busy).expect("end=done");
        idle.expect_silence(Duration::from_millis(500));
        expect_exit(&mut scene.gateway, Duration::from_secs(20));
        let took = since.elapsed();
        assert!(took > Duration::from_millis(5500), "{signal}: it did not wait: {took:?}");
        assert_ne!(idle.ending_within(PATIENCE), Ending::Open);
        assert_ne!(idle_up.ending_within(PATIENCE), Ending::Open);
        let line = scene.gateway.session_of(&idle);
        line.expect("end=drained by=us stage=relay");
        assert_eq!(line.level(), "INFO");
    }
}

#[test]
fn the_drain_ends_with_the_last_session() {
    let mut scene = Scene::new("-drain-timeout 60s");
    let (client, up) = scene.tunnel();
    scene.gateway.signal(Signal::SIGTERM);
    scene.gateway.log.wait_for("stopping");
    drop((client, up));
    expect_exit(&mut scene.gateway, Duration::from_secs(20));
}

#[test]
fn without_sessions_a_signal_ends_it_at_once() {
    let mut scene = Scene::new("-drain-timeout 60s");
    scene.gateway.signal(Signal::SIGTERM);
    expect_exit(&mut scene.gateway, Duration::from_secs(20));
}

#[test]
fn sessions_that_are_not_open_yet_are_drained_too() {
    let mut scene = Scene::new("-sniff-timeout 60s -drain-timeout 1s");
    let sniffing = scene.connect(V4, 443);
    let _leg = scene.upstream.accept();
    let (waiting, _up) = Kind::Tls.ask(&scene);
    scene.gateway.signal(Signal::SIGTERM);
    expect_exit(&mut scene.gateway, Duration::from_secs(20));
    for client in [sniffing, waiting] {
        scene.gateway.session_of(&client).expect("end=drained by=us");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in
        [(Signal::SIGTERM, Signal::SIGTERM), (Signal::SIGINT, Signal::SIGINT), (Signal::SIGTERM, Signal::SIGINT)]
    {
        let mut scene = Scene::new("-drain-timeout 60s");
        let (mut client, _up) = scene.tunnel();
        scene.gateway.signal(first);
        scene.gateway.log.wait_for("stopping");
        client.expect_silence(Duration::from_millis(1));
        scene.gateway.signal(second);
        let ended = scene.gateway.ends_within(Duration::from_secs(20));
        assert!(ended.is_some(), "{first}, {second}: it still drains");
    }
}

#[test]
fn a_port_in_use_is_named_and_ends_it() {
    let scene = Scene::new("");
    let mut second = Launch::new(&format!("-upstream-proxy {UPSTREAM}")).start_unheard(&scene.net.gateway);
    let status = second.ends_within(PATIENCE).expect("two on one port");
    assert_eq!(status.code(), Some(1));
    second.log.wait_for(&PORT.to_string());
    let (mut client, mut up) = scene.tunnel();
    client.send("the first one lives");
    up.expect("the first one lives");
}
