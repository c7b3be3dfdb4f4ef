//! Local addresses and ports: how far they go, and whose fault it is when they are used up.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::Launch;
use crate::support::journal::SessionLine;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{Topology, UPSTREAM, V4};
use crate::support::upstream::OPEN;
use crate::support::wire::Wire;
use crate::support::{each_row, eventually};

const PORTS: usize = 10;

/// A gateway with ten ports for each of its addresses 10.2.0.1, 10.2.0.11 and 10.2.0.12.
fn scene(flags: &str) -> Scene {
    let net = Topology::new();
    net.gateway.ip("addr add 10.2.0.11/24 dev wan\naddr add 10.2.0.12/24 dev wan\n");
    net.gateway.sysctl("ipv4/ip_local_port_range", "40000 40009");
    Scene::on(net, Launch::new(&format!("-upstream-proxy {UPSTREAM} {flags}")))
}

/// Opens tunnels until no more of them can be had; returns them and how the one too many ended.
fn fill(scene: &Scene) -> (Vec<(Wire, Wire)>, SessionLine) {
    let mut open = Vec::new();
    loop {
        assert!(open.len() <= 4 * PORTS, "no end of ports");
        // the reset may come before connect() has returned
        let client = scene.net.client.try_connect(SocketAddr::new(V4, SERVER_FIRST));
        let up = eventually(|| match scene.upstream.accept_within(Duration::from_millis(5)) {
            Some(up) => Ok(Some(up)),
            None if client.as_ref().map_or(true, |client| client.has_news(Duration::ZERO)) => Ok(None),
            None => Err("neither a connection nor an end".to_owned()),
        });
        let (Some(mut up), Ok(client)) = (up, client) else {
            return (open, scene.gateway.session_line());
        };
        up.expect_connect("203.0.113.9:22");
        up.reply(OPEN);
        open.push((client, up));
    }
}

#[test]
fn a_shortage_of_ports_is_ours_and_never_charged_to_the_proxy() {
    let start = Instant::now();
    let scene = scene("");
    let (open, line) = fill(&scene);
    assert_eq!(open.len(), PORTS);
    line.expect("end=error by=us stage=dial");
    assert_eq!(line.level(), "ERROR");
    let told = scene.gateway.log.wait_for("out of local ports towards 10.2.0.2:3128; add");
    let help = r#"; add addresses to "source" or widen net.ipv4.ip_local_port_range (now 40000-40009)"#;
    assert!(told.contains(help) && told.contains(" ERROR "), "{told}");
    for _ in 0..20 {
        let client = scene.net.client.try_connect(SocketAddr::new(V4, SERVER_FIRST));
        scene.gateway.session_line().expect("end=error by=us");
        drop(client);
    }
    let times = scene.gateway.log.count("out of local ports towards");
    let most = 5 * (1 + usize::try_from(start.elapsed().as_secs() / 10).expect("some seconds"));
    assert!((2..=most).contains(&times), "told {times} times in {:?}", start.elapsed());
    scene.gateway.signal(Signal::SIGUSR1);
    scene.gateway.log.wait_for("http://10.2.0.2:3128 up");
    let state = scene.gateway.log.wait_for("state: ");
    let portless = state.rsplit(' ').next().and_then(|number| number.parse::<usize>().ok());
    assert!(portless.is_some_and(|count| count >= times) && state.contains("proxies down: 0"), "{state}");
    for (client, up) in open {
        client.reset();
        drop(up);
    }
    eventually(|| {
        let client = scene.net.client.try_connect(SocketAddr::new(V4, SERVER_FIRST));
        let up = scene.upstream.accept_within(Duration::from_millis(200));
        drop(client);
        up.map(drop).ok_or("no connection yet".to_owned())
    });
    assert_eq!(scene.gateway.log.count(" is down: "), 0);
}

#[test]
fn each_source_brings_as_many_tunnels_as_there_are_ports() {
    let rows =
        [("-source 10.2.0.11", 1), ("-source 10.2.0.11,10.2.0.12", 2), ("-source 10.2.0.1,10.2.0.11,10.2.0.12", 3)];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(flags, count)| {
            let scene = scene(flags);
            let (open, _) = fill(&scene);
            let mut seen: BTreeMap<IpAddr, usize> = BTreeMap::new();
            for (_, up) in &open {
                let from = up.socket().peer_addr().expect("a connected socket").ip();
                assert!(flags.contains(&from.to_string()), "from {from}");
                *seen.entry(from).or_default() += 1;
            }
            assert_eq!(seen.len(), *count, "{seen:?}");
            assert!(seen.values().all(|&n| n == PORTS), "{seen:?}");
        },
    );
}

#[test]
fn sources_take_turns() {
    let scene = scene("-source 10.2.0.11,10.2.0.12");
    let tunnels: Vec<_> = (0..4).map(|_| scene.tunnel()).collect();
    let mut from: Vec<_> = tunnels.iter().map(|(_, up)| up.socket().peer_addr().expect("connected").ip()).collect();
    from.sort();
    assert_eq!(from, [[10, 2, 0, 11], [10, 2, 0, 11], [10, 2, 0, 12], [10, 2, 0, 12]].map(IpAddr::from));
}
