//! Clients that leave before the tunnel is open: whatever they have begun is let go of at once.

use std::time::Duration;

use crate::support::hello::Hello;
use crate::support::kind::Kind;
use crate::support::random::Random;
use crate::support::scene::Scene;
use crate::support::topology::V4;
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, Wire};
use crate::support::{PATIENCE, each_row, eventually};

/// Long enough for whoever waits no longer than for a step of a test.
const SLOW: &str = "-sniff-timeout 60s -dial-timeout 60s";

/// Checks that a session that was left is over at once and has let go of everything.
fn expect_left(scene: &Scene, address: &str, up: Option<Wire>) {
    if let Some(mut up) = up {
        assert_ne!(up.ending_within(PATIENCE), Ending::Open, "the upstream's leg stays open");
    }
    scene.gateway.session_from(address).expect("end=left by=client up=0 down=0");
}

#[test]
fn a_reset_while_sniffing_dialling_or_waiting_frees_everything_at_once() {
    let scene = Scene::new(SLOW);
    let start = scene.gateway.descriptors();

    let client = scene.connect(V4, 443);
    let up = scene.upstream.accept();
    let address = client.address();
    client.reset();
    expect_left(&scene, &address, Some(up));

    let mut client = scene.connect(V4, 443);
    let up = scene.upstream.accept();
    client.send(&Hello::to("www.bench.example").bytes()[..50]);
    let address = client.address();
    client.reset();
    expect_left(&scene, &address, Some(up));

    for kind in Kind::ALL {
        let (client, up) = kind.ask(&scene);
        let address = client.address();
        client.reset();
        expect_left(&scene, &address, Some(up));
    }

    let (client, mut up) = Kind::Tls.ask(&scene);
    up.reply("HTTP/1.1 200 O");
    let address = client.address();
    client.reset();
    expect_left(&scene, &address, Some(up));

    scene.net.upstream.run("iptables -w -A INPUT -p tcp --dport 3128 -j DROP");
    for kind in Kind::ALL {
        let client = kind.speak(&scene);
        let address = client.address();
        std::thread::sleep(Duration::from_millis(100));
        client.reset();
        expect_left(&scene, &address, None);
    }
    scene.gateway.settles_at(start);
}

#[test]
fn a_fin_long_after_the_last_byte_means_that_the_client_gave_up() {
    let scene = Scene::new(SLOW);
    let start = scene.gateway.descriptors();
    for kind in Kind::ALL {
        let (mut client, up) = kind.ask(&scene);
        std::thread::sleep(Duration::from_millis(1500));
        client.fin();
        expect_left(&scene, &client.address(), Some(up));
    }
    scene.gateway.settles_at(start);
}

#[test]
fn a_fin_long_after_the_last_byte_ends_the_sniffing_too() {
    let scene = Scene::new(SLOW);
    let mut client = scene.connect(V4, 443);
    let up = scene.upstream.accept();
    client.send(&Hello::to("www.bench.example").bytes()[..50]);
    // a second counts from where they are read, which nobody sees
    std::thread::sleep(Duration::from_millis(3000));
    client.fin();
    expect_left(&scene, &client.address(), Some(up));
}

#[test]
fn a_fin_behind_more_bytes_than_are_read_is_seen() {
    let scene = Scene::new(SLOW);
    let start = scene.gateway.descriptors();
    let mut client = scene.connect(V4, 80);
    client.send("POST / HTTP/1.1\r\nHost: www.bench.example\r\nContent-Length: 50000\r\n\r\n");
    client.send([b'x'; 50_000]);
    let mut up = scene.upstream.accept();
    up.expect_connect("www.bench.example:80");
    std::thread::sleep(Duration::from_millis(3000));
    let address = client.address();
    drop(client);
    expect_left(&scene, &address, Some(up));
    scene.gateway.settles_at(start);
}

#[test]
fn a_fin_without_a_byte_means_that_the_client_gave_up() {
    let scene = Scene::new(SLOW);
    for port in [443, 22] {
        let mut client = scene.connect(V4, port);
        let mut up = scene.upstream.accept();
        if port == 22 {
            up.expect_connect("203.0.113.9:22");
        }
        up.expect_silence(Duration::from_millis(100));
        client.fin();
        expect_left(&scene, &client.address(), Some(up));
    }
}

#[test]
fn a_fin_right_behind_the_last_byte_is_a_half_close() {
    let scene = Scene::new(SLOW);
    for kind in Kind::ALL {
        let (mut client, mut up) = kind.ask(&scene);
        std::thread::sleep(Duration::from_millis(50));
        client.fin();
        // long after the FIN, the upstream takes its time
        up.expect_silence(Duration::from_millis(1500));
        up.reply([OPEN, b"here"].concat());
        client.expect("here");
        up.fin();
        assert_eq!(up.receive_all(), (kind.says(), Ending::Fin));
        client.expect_end(Ending::Fin);
        scene.gateway.session_of(&client).expect("end=done");
    }
}

#[test]
fn impatient_clients_that_leave_at_any_stage_leave_nothing_behind() {
    let scene = Scene::new("-sniff-timeout 300ms -dial-timeout 2s");
    let (mut first, mut origin) = scene.tunnel();
    let start = scene.gateway.descriptors();
    let seed = 7;
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let rounds = 120;
    let mut held = Vec::new();
    for _ in 0..rounds {
        let kind = Kind::ALL[random.below(4)];
        let mut client = scene.connect(V4, 443);
        let words = kind.says();
        let stage = random.below(5);
        if stage > 0 {
            let cut = if stage == 1 { random.below(words.len()) } else { words.len() };
            client.send(&words[..cut]);
        }
        if stage > 2 {
            let mut up = scene.upstream.accept();
            if stage > 3 {
                let _ = up.try_send(&OPEN[..random.below(OPEN.len() + 1)]);
            }
            held.push(up);
        }
        match random.below(3) {
            0 => client.reset(),
            1 => drop(client),
            _ => {
                client.fin();
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    drop(held);
    scene.upstream.forget();
    let lines = eventually(|| {
        // a dial may still be on its way
        scene.upstream.forget();
        let lines = scene.gateway.log.sessions();
        if lines.len() >= rounds { Ok(lines) } else { Err(format!("{} lines for {rounds} sessions", lines.len())) }
    });
    scene.gateway.settles_at(start);
    each_row(
        &lines,
        |line| format!("{line:?}"),
        |line| {
            let end = line.get("end").expect("a line has an end");
            assert!(["left", "done", "reset", "hangup", "timeout", "half-closed"].contains(&end), "{end}");
        },
    );
    assert_eq!(scene.gateway.log.sessions().len(), rounds, "a session reports once");
    // the one that stayed was not disturbed
    first.send("still");
    origin.expect("still");
}
