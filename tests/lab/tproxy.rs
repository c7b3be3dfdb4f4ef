//! `-capture tproxy`: the kernel hands connections over with their destination as they are, nothing is rewritten.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::daemon::Launch;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{PORT, Topology, UPSTREAM, V4, V6};
use crate::support::upstream::{OPEN, Upstream};
use crate::support::wire::Ending;
use crate::support::{PATIENCE, each_row};

const UNIT: &str = include_str!("../../deploy/systemd/handyproxy@.service");
/// What both families mark for local delivery.
const MARK: &str = "0x6869/0xffff";

/// The network, with TPROXY for all that comes in from the client and does not go to the gateway itself.
fn net() -> Topology {
    let net = Topology::new();
    net.gateway.ip(&format!("rule add fwmark {MARK} lookup 26729\nroute add local 0.0.0.0/0 dev lo table 26729\n"));
    net.gateway.run(&format!("ip -6 rule add fwmark {MARK} lookup 26729"));
    net.gateway.run("ip -6 route add local ::/0 dev lo table 26729");
    for tool in ["iptables", "ip6tables"] {
        net.gateway.run(&format!(
            "{tool} -w -t mangle -A PREROUTING -i lan -p tcp -m addrtype ! --dst-type LOCAL \
             -j TPROXY --on-port {PORT} --tproxy-mark {MARK}"
        ));
    }
    net
}

fn launch(flags: &str) -> Launch {
    Launch::new(&format!("-capture tproxy -upstream-proxy {UPSTREAM} {flags}"))
}

/// The network, handyproxy and its upstream.
fn scene(launch: Launch) -> Scene {
    let net = net();
    Scene { gateway: launch.start(&net.gateway), upstream: net.upstream.listen(UPSTREAM), net }
}

/// A session from the client to this origin, and its line.
fn carries(scene: &Scene, upstream: &Upstream, origin: SocketAddr) {
    let mut client = scene.net.client.connect(origin);
    let mut up = upstream.accept();
    up.expect_connect(&origin.to_string());
    up.reply([OPEN, b"hi"].concat());
    client.expect("hi");
    client.send("up");
    up.expect("up");
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
    scene.gateway.session_of(&client).expect(&format!("end=done origin={origin}"));
}

#[test]
fn the_origin_is_where_the_client_went_in_both_families() {
    let scene = scene(launch(""));
    let start = scene.gateway.descriptors();
    for ip in [V4, V6] {
        // a port of the server's, and one like ours
        for port in [SERVER_FIRST, PORT] {
            carries(&scene, &scene.upstream, SocketAddr::new(ip, port));
        }
    }
    scene.gateway.settles_at(start);
}

#[test]
fn a_name_is_heard_and_goes_upstream() {
    let scene = scene(launch("-sniff-timeout 5s"));
    for ip in [V4, V6] {
        let mut client = scene.connect(ip, 80);
        client.send("GET / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n");
        let mut up = scene.upstream.accept();
        up.expect_connect("www.bench.example:80");
        up.reply([OPEN, b"hi"].concat());
        client.expect("hi");
    }
}

#[test]
fn a_direct_connection_is_reset_and_makes_no_connect() {
    let scene = scene(launch(""));
    let net = &scene.net;
    let rows = [
        (&net.client, format!("10.1.0.1:{PORT}")),
        (&net.client, format!("10.2.0.1:{PORT}")),
        (&net.client, format!("[fd10:1::1]:{PORT}")),
        (&net.upstream, format!("10.2.0.1:{PORT}")),
        (&net.gateway, format!("127.0.0.1:{PORT}")),
        (&net.gateway, format!("[::1]:{PORT}")),
    ];
    each_row(
        &rows,
        |(_, to)| to.clone(),
        |(from, to)| {
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
}

#[test]
fn an_own_dial_that_comes_back_ends_as_a_loop() {
    let scene = scene(launch("-dial-timeout 60s"));
    // what this machine sends to the upstream turns back and comes in
    let to = "-p tcp -d 10.2.0.2 --dport 3128";
    scene.net.gateway.run(&format!("iptables -w -t mangle -A OUTPUT {to} -j MARK --set-xmark {MARK}"));
    scene.net.gateway.run(&format!(
        "iptables -w -t mangle -A PREROUTING -i lo {to} -j TPROXY --on-port {PORT} --tproxy-mark {MARK}"
    ));
    if let Ok(mut client) = scene.net.client.try_connect(SocketAddr::new(V4, 443)) {
        assert_ne!(client.ending_within(PATIENCE), Ending::Open, "a loop holds the client");
    }
    scene.upstream.expect_no_connection(Duration::from_millis(200));
    scene.gateway.log.take_session("a loop", |line| line.get("end") == Some("loop"));
}

#[test]
fn without_the_capability_it_does_not_start_and_says_why() {
    let net = Topology::new();
    let wrapper = "setpriv --bounding-set=-net_admin,-net_raw";
    let mut gateway = launch("").wrapped(wrapper).start_unheard(&net.gateway);
    let status = gateway.ends_within(PATIENCE).expect("it is not allowed");
    assert_eq!(status.code(), Some(1));
    let line = gateway.log.wait_for("capture = \"tproxy\" is not allowed");
    assert!(line.contains(&format!("listen on port {PORT}: ")) && line.contains("CAP_NET_ADMIN"), "{line}");
    // REDIRECT needs none
    let scene = Scene::with(Launch::new(&format!("-upstream-proxy {UPSTREAM} -mark 0")).wrapped(wrapper));
    scene.tunnel();
}

#[test]
fn the_capabilities_of_the_unit_are_enough() {
    let value = |key: &str| {
        let line = UNIT.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key} in the unit"))
    };
    let allowed = value("CapabilityBoundingSet");
    assert_eq!(allowed, value("AmbientCapabilities"));
    let names: Vec<String> = allowed.split(' ').map(|name| name.replace("CAP_", "+").to_lowercase()).collect();
    let set = names.join(",");
    let user = format!(
        "setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs \
         --inh-caps=-all,{set} --ambient-caps=-all,{set} --bounding-set=-all,{set}"
    );
    let scene = scene(launch("").wrapped(&user));
    for ip in [V4, V6] {
        carries(&scene, &scene.upstream, SocketAddr::new(ip, SERVER_FIRST));
    }
    assert_eq!(scene.gateway.log.count("-mark"), 0, "{:?}", scene.gateway.log.lines());
    // a port that is not for everybody
    let net = net();
    let low = Launch::words(&format!("-capture tproxy -upstream-proxy {UPSTREAM} -local-port 53"));
    low.wrapped(&user).start(&net.gateway);
}
