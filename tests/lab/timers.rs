//! What time does to a tunnel: half-closed, idle, with a peer that has vanished, or with small messages in a hurry.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::scene::Scene;
use crate::support::wire::{Ending, Wire};
use crate::support::{PATIENCE, each_row, eventually};

#[test]
fn a_half_closed_tunnel_in_which_nothing_moves_is_ended() {
    let scene = Scene::new("-half-closed-timeout 1s");
    let start = scene.gateway.descriptors();
    for by_client in [true, false] {
        let (client, up) = scene.tunnel();
        let address = client.address();
        let (gone, mut stays) = if by_client { (client, up) } else { (up, client) };
        let since = Instant::now();
        drop(gone);
        stays.expect_end(Ending::Fin);
        let line = scene.gateway.session_from(&address);
        line.expect("end=half-closed by=us stage=relay");
        assert_eq!(line.level(), "INFO");
        let took = since.elapsed();
        assert!(took > Duration::from_millis(900), "ended after {took:?}");
        scene.gateway.settles_at(start);
    }
}

#[test]
fn a_half_closed_tunnel_in_which_something_moves_is_kept() {
    let scene = Scene::new("-half-closed-timeout 2s");
    let (mut client, mut up) = scene.tunnel();
    client.fin();
    up.expect_end(Ending::Fin);
    for _ in 0..12 {
        up.send("drop");
        client.expect("drop");
        thread::sleep(Duration::from_millis(250));
    }
    up.fin();
    client.expect_end(Ending::Fin);
    scene.gateway.session_of(&client).expect("end=done");

    // one in which both sides are open is none of its business
    let (mut client, mut up) = scene.tunnel();
    client.expect_silence(Duration::from_millis(2500));
    up.send("still here");
    client.expect("still here");
}

#[test]
fn without_the_timeout_a_half_closed_tunnel_is_kept() {
    let scene = Scene::new("-half-closed-timeout 0");
    let (mut client, mut up) = scene.tunnel();
    client.fin();
    up.expect_end(Ending::Fin);
    thread::sleep(Duration::from_millis(1500));
    up.send("at last");
    client.expect("at last");
}

#[test]
fn an_idle_tunnel_is_ended_and_a_busy_one_is_kept() {
    let scene = Scene::new("-idle-timeout 2s");
    let start = scene.gateway.descriptors();
    let (mut busy, mut busy_up) = scene.tunnel();
    let (mut idle, mut idle_up) = scene.tunnel();
    let since = Instant::now();
    let mut ended = None;
    for i in 0.. {
        // long enough for the busy one to show that it is kept
        if ended.is_some() && since.elapsed() > Duration::from_millis(3500) {
            break;
        }
        assert!(since.elapsed() < 2 * PATIENCE, "the idle tunnel is still open");
        // one byte in one direction is enough
        if i % 2 == 0 {
            busy.send("x");
            busy_up.expect("x");
        } else {
            busy_up.send("y");
            busy.expect("y");
        }
        if ended.is_none() && idle.has_news(Duration::from_millis(1)) {
            ended = Some(since.elapsed());
        }
        thread::sleep(Duration::from_millis(250));
    }
    let ended = ended.unwrap_or_default();
    assert!(ended > Duration::from_millis(1900), "ended after {ended:?}");
    assert_ne!(idle.ending_within(PATIENCE), Ending::Open);
    assert_ne!(idle_up.ending_within(PATIENCE), Ending::Open);
    let line = scene.gateway.session_of(&idle);
    line.expect("end=idle by=us stage=relay");
    assert_eq!(line.level(), "INFO");
    busy.send("still here");
    busy_up.expect("still here");
    drop((busy, busy_up));
    scene.gateway.settles_at(start);
}

/// What `ss` shows of the gateway's established connections, one line each.
fn sockets(scene: &Scene) -> Vec<String> {
    let text = scene.net.gateway.run("ss -Htnoi state established");
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match lines.last_mut() {
            Some(last) if line.starts_with(char::is_whitespace) => last.push_str(line),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

#[test]
fn keepalive_runs_on_both_legs() {
    for (flags, wanted) in [("", "timer:(keepalive,1"), ("-keepalive 50s", "timer:(keepalive,4"), ("-keepalive 0", "")]
    {
        let scene = Scene::new(flags);
        let (_client, _up) = scene.tunnel();
        // the timer of what was sent last comes first, until it has arrived
        let sockets = eventually(|| {
            let sockets = sockets(&scene);
            let quiet = sockets.iter().all(|socket| !socket.contains("timer:(on,") && !socket.contains("unacked:"));
            if quiet { Ok(sockets) } else { Err(format!("{sockets:?}")) }
        });
        assert_eq!(sockets.len(), 2, "{sockets:?}");
        each_row(&sockets, Clone::clone, |socket| {
            if wanted.is_empty() {
                assert!(!socket.contains("timer:(keepalive"), "{socket}");
            } else {
                assert!(socket.contains(wanted) && socket.contains("sec"), "{socket}");
            }
        });
    }
}

/// Cuts the cable of one side of a tunnel and waits until the gateway has noticed.
fn vanish(from_client: bool, bytes_under_way: bool) {
    let scene = Scene::new("-keepalive 1s");
    let start = scene.gateway.descriptors();
    let (client, up) = scene.tunnel();
    let (ns, mut other) = if from_client { (&scene.net.client, up) } else { (&scene.net.upstream, client) };
    ns.run("ip link set eth0 down");
    if bytes_under_way {
        // some seconds and not a quarter of an hour, see man 7 tcp
        scene.net.gateway.sysctl("ipv4/tcp_retries2", "4");
        other.send("is anybody there?");
    }
    let since = Instant::now();
    while scene.gateway.descriptors() != start {
        assert!(since.elapsed() < Duration::from_secs(40), "its peer is gone, the tunnel is still there");
        thread::sleep(Duration::from_millis(50));
    }
    eprintln!("noticed after {:?}", since.elapsed());
    scene.gateway.session_line().expect("end=reset stage=relay");
}

#[test]
fn a_client_that_vanishes_is_noticed() {
    vanish(true, false);
}

#[test]
fn an_upstream_that_vanishes_is_noticed() {
    vanish(false, false);
}

// keepalive does not probe while bytes wait for their ACK
#[test]
fn a_client_that_vanishes_with_bytes_under_way_is_noticed() {
    vanish(true, true);
}

#[test]
fn an_upstream_that_vanishes_with_bytes_under_way_is_noticed() {
    vanish(false, true);
}

#[test]
fn a_reader_that_pauses_for_long_is_not_given_up() {
    let scene = Scene::new("-keepalive 1s");
    let (mut client, mut up) = scene.tunnel();
    let count = up.fill(Duration::from_millis(500));
    // longer than all keepalive probes together
    thread::sleep(Duration::from_secs(13));
    client.expect_filling(count);
    client.send("still here");
    up.expect("still here");
}

#[test]
fn small_writes_do_not_wait_for_acknowledgements() {
    let scene = Scene::new("");
    for way in ["up", "down"] {
        // a busy machine may need that long as well, but not each time
        let mut took = Vec::new();
        while took.iter().all(|took| *took >= Duration::from_millis(150)) {
            assert!(took.len() < 10, "{way}: a byte took {took:?}");
            let (client, up) = scene.tunnel();
            took.push(if way == "up" { hurried(&scene, client, up) } else { hurried(&scene, up, client) });
        }
    }
}

/// How long the slowest of three bytes takes while no ACK comes back: with Nagle's algorithm the second one waits for the
/// first one's until that is sent once more, 200 ms later.
fn hurried(scene: &Scene, mut from: Wire, mut to: Wire) -> Duration {
    let both = [&scene.net.client, &scene.net.upstream];
    for ns in both {
        ns.run("iptables -w -A OUTPUT -p tcp --tcp-flags ALL ACK -j DROP");
    }
    let mut slowest = Duration::ZERO;
    for byte in [b"a", b"b", b"c"] {
        let start = Instant::now();
        from.send(byte);
        to.expect(byte);
        slowest = slowest.max(start.elapsed());
    }
    for ns in both {
        ns.run("iptables -w -F OUTPUT");
    }
    slowest
}
