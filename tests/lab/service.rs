//! handyproxy as a service of systemd: what it tells, which sockets it takes, and restarts that refuse nobody.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use crate::support::daemon::{Daemon, Launch};
use crate::support::folder::Folder;
use crate::support::manager::{Manager, Told};
use crate::support::netns::Netns;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{PORT, Topology, UPSTREAM, V4, V6};
use crate::support::upstream::{OPEN, Upstream};
use crate::support::wire::{Ending, Wire};
use crate::support::{each_row, eventually};

fn launch(flags: &str) -> Launch {
    Launch::new(&format!("-upstream-proxy {UPSTREAM} {flags}"))
}

/// Opens the tunnels of clients that wait, which may come in any order, and carries a byte through each.
fn serve<const N: usize>(upstream: &Upstream, mut clients: [Wire; N]) {
    let mut ups: Vec<Wire> = clients.iter().map(|_| upstream.accept()).collect();
    for up in &mut ups {
        up.connect_target();
        up.reply([OPEN, b"!"].concat());
    }
    for client in &mut clients {
        client.expect("!");
    }
}

fn expect_exit(daemon: &mut Daemon) {
    let status = daemon.ends_within(Duration::from_secs(20)).expect("it still runs");
    assert_eq!(status.code(), Some(0), "{status}");
}

/// A socket as a socket unit makes it.
fn listener(ns: &Netns, port: u16) -> Socket {
    let socket = ns.enter(|| Socket::new(Domain::IPV6, Type::STREAM, None)).expect("a socket");
    socket.set_only_v6(false).expect("a new socket");
    let any: SocketAddr = format!("[::]:{port}").parse().expect("an address");
    socket.bind(&any.into()).and_then(|()| socket.listen(128)).expect("nobody listens there");
    socket
}

// ---- what is told

#[test]
fn ready_is_told_once_clients_are_served_and_never_when_they_cannot_be() {
    let manager = Manager::new();
    let scene = Scene::with(manager.hears(launch("")));
    let stored = manager.next();
    assert_eq!(stored.lines, ["FDSTORE=1", "FDNAME=listener"]);
    assert_eq!(stored.descriptors.len(), 1);
    assert_eq!(manager.next().lines, ["READY=1", "STATUS=listening on port 8043, 0 sessions open"]);
    scene.tunnel();

    let mut second = manager.hears(launch("")).start_unheard(&scene.net.gateway);
    assert_eq!(second.ends_within(Duration::from_secs(20)).and_then(|status| status.code()), Some(1));
    let told = manager.all_for(Duration::from_millis(100));
    assert!(!told.iter().any(|told| told.says("READY") || told.says("FDSTORE")), "{told:?}");
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end_also_when_it_is_refused() {
    let manager = Manager::new();
    let folder = Folder::new();
    let good = format!("upstream-proxy = '{UPSTREAM}'\n");
    let scene = Scene::with(manager.hears(folder.launch(&good)));
    manager.wait_for("READY=1");
    let (client, _up) = scene.tunnel();
    let files = [
        (good.clone(), "listening on port 8043, 1 session open".to_owned()),
        (
            "nonsense = 1\n".to_owned(),
            format!("listening on port 8043, 1 session open; reload refused: {}", folder.line(1)),
        ),
        (good, "listening on port 8043, 1 session open".to_owned()),
    ];
    each_row(
        &files,
        |(text, _)| text.clone(),
        |(text, status)| {
            folder.config(text);
            let now = || -> f64 {
                let uptime = fs::read_to_string("/proc/uptime").expect("proc(5)");
                uptime.split(' ').next().expect("two numbers").parse().expect("a number")
            };
            let before = now();
            scene.gateway.signal(Signal::SIGHUP);
            let told = manager.next();
            assert_eq!(told.lines[0], "RELOADING=1");
            // uptime also counts the time that the machine slept, and has 10 ms
            let at = told.value("MONOTONIC_USEC").parse::<f64>().expect("a number") / 1e6;
            assert!((before - 0.1..now() + 0.1).contains(&at), "{at} and not after {before}");
            let told = manager.next();
            assert_eq!(told.lines[0], "READY=1");
            let shown = told.value("STATUS");
            assert!(shown == status || status.contains("refused") && shown.starts_with(&status[..]), "{shown}");
        },
    );
    drop(client);
}

#[test]
fn a_stop_is_told_and_patience_asked_for_while_sessions_end() {
    let manager = Manager::new();
    let mut scene = Scene::with(manager.hears(launch("-drain-timeout 12s")));
    let (_client, _up) = scene.tunnel();
    manager.wait_for("READY=1");
    scene.gateway.signal(Signal::SIGTERM);
    assert_eq!(manager.next().lines, ["STOPPING=1", "STATUS=stopping, 1 session open"]);
    for _ in 0..2 {
        let told = manager.next();
        let patience: u64 = told.value("EXTEND_TIMEOUT_USEC").parse().expect("a number");
        // until the next time, with the time to report what is cut
        assert!(patience >= 15_000_000, "{patience}");
    }
    scene.gateway.ends_within(Duration::from_secs(40)).expect("its time is up");
}

#[test]
fn the_watchdog_hears_from_a_daemon_that_serves_or_waits_for_a_seat() {
    let manager = Manager::new();
    let launch = launch("-max-sessions 1").variable("WATCHDOG_USEC", "1000000");
    let start = Instant::now();
    let scene = Scene::with(manager.hears(launch));
    let told = |time: f64| manager.all_for(Duration::from_secs_f64(time));
    let beats = |told: &[Told]| told.iter().filter(|told| told.says("WATCHDOG=1")).count();
    // two a second; on a busy machine some may be late, and come with others
    let most = || 2 + 2 * usize::try_from(start.elapsed().as_secs() + 1).expect("some seconds");
    manager.wait_for("WATCHDOG=1");
    let idle = beats(&told(2.75));
    assert!((2..=most()).contains(&idle), "{idle} beats in 2.75 s");
    let (client, _up) = scene.tunnel();
    let _waiting = scene.connect(V4, SERVER_FIRST);
    manager.wait_for("STATUS=listening on port 8043, 1 session open");
    let full = beats(&told(1.75));
    assert!((1..=most()).contains(&full), "{full} beats in 1.75 s");
    // a process that does not run proves nothing
    scene.gateway.signal(Signal::SIGSTOP);
    told(0.1);
    assert_eq!(beats(&told(1.5)), 0);
    scene.gateway.signal(Signal::SIGCONT);
    manager.wait_for("WATCHDOG=1");
    drop(client);
}

#[test]
fn a_watchdog_for_another_process_is_not_fed() {
    let manager = Manager::new();
    let launch = launch("").variable("WATCHDOG_USEC", "200000").variable("WATCHDOG_PID", "1");
    let _scene = Scene::with(manager.hears(launch));
    manager.wait_for("READY=1");
    let told = manager.all_for(Duration::from_millis(500));
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_service_manager_that_is_gone_harms_nobody() {
    let folder = Folder::new();
    let variable = format!("{}/nobody", folder.path());
    let scene = Scene::with(launch("").variable("NOTIFY_SOCKET", &variable).variable("WATCHDOG_USEC", "100000"));
    scene.gateway.log.wait_for("notify systemd: ");
    scene.tunnel();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(scene.gateway.log.count("notify systemd: "), 1);
}

// ---- sockets

#[test]
fn clients_that_came_before_the_daemon_are_served_from_the_passed_socket() {
    let manager = Manager::new();
    let net = Topology::new();
    net.redirect();
    let upstream = net.upstream.listen(UPSTREAM);
    let socket = listener(&net.gateway, PORT);
    let clients = [V4, V6, V4].map(|origin| net.client.connect(SocketAddr::new(origin, SERVER_FIRST)));
    let launch = manager.hears(launch("")).passed(socket, &["handyproxy@lab.socket"]);
    let gateway = launch.start(&net.gateway);
    serve(&upstream, clients);
    serve(&upstream, [net.client.connect(SocketAddr::new(V6, SERVER_FIRST))]);
    // systemd has it already
    assert!(manager.next().says("READY=1"));
    for _ in 0..4 {
        gateway.session_line();
    }
}

#[test]
fn a_passed_socket_that_cannot_be_served_is_refused_with_the_reason() {
    let net = Topology::new();
    let stream = |listens: bool| {
        let socket = net.gateway.enter(|| Socket::new(Domain::IPV4, Type::STREAM, None)).expect("a socket");
        if listens {
            socket.listen(1).expect("any port");
        }
        socket
    };
    let datagram = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    let other = stream(true);
    let port = other.local_addr().expect("a socket").as_socket().expect("IPv4").port();
    let ports = format!("listens on port {port}, and local-port is {PORT}");
    let rows = [
        ("another port", other, vec!["lab.socket"], &ports[..]),
        ("UDP", datagram, vec!["lab.socket"], "lab.socket that systemd passed: it is no TCP socket"),
        ("no listener", stream(false), vec!["lab.socket"], "lab.socket that systemd passed: it does not listen"),
        ("stored, and no listener", stream(false), vec!["listener"], "it does not listen"),
        ("two", listener(&net.gateway, PORT), vec!["a", "b"], "systemd passed two sockets"),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(_, socket, names, why)| {
            let socket = socket.try_clone().expect("a descriptor");
            let mut gateway = launch("").passed(socket, names).start_unheard(&net.gateway);
            let status = gateway.ends_within(Duration::from_secs(20)).expect("it serves it");
            assert_eq!(status.code(), Some(1));
            gateway.log.wait_for(why);
        },
    );
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let net = Topology::new();
    net.redirect();
    let upstream = net.upstream.listen(UPSTREAM);
    let launch = launch("").variable("LISTEN_PID", "1").variable("LISTEN_FDS", "1");
    let _gateway = launch.start(&net.gateway);
    serve(&upstream, [net.client.connect(SocketAddr::new(V4, SERVER_FIRST))]);
}

#[test]
fn a_restart_with_the_stored_listener_refuses_nobody() {
    let manager = Manager::new();
    let net = Topology::new();
    net.redirect();
    let upstream = net.upstream.listen(UPSTREAM);
    let mut gateway = manager.hears(launch("")).start(&net.gateway);
    let stored: OwnedFd = manager.wait_for("FDSTORE=1").descriptors.pop().expect("the listener");
    serve(&upstream, [net.client.connect(SocketAddr::new(V4, SERVER_FIRST))]);
    for round in 0..3 {
        gateway.signal(Signal::SIGTERM);
        gateway.log.wait_for("stopping");
        // one while it ends, one while there is nobody
        let early = net.client.connect(SocketAddr::new(V4, SERVER_FIRST));
        expect_exit(&mut gateway);
        manager.all_for(Duration::from_millis(50));
        let late = net.client.connect(SocketAddr::new(V6, SERVER_FIRST));
        let socket = Socket::from(stored.try_clone().expect("a descriptor"));
        gateway = manager.hears(launch("")).passed(socket, &["listener"]).start(&net.gateway);
        let told = manager.next();
        assert!(told.says("READY=1"), "round {round}: stored again: {told:?}");
        serve(&upstream, [early, late]);
        serve(&upstream, [net.client.connect(SocketAddr::new(V4, SERVER_FIRST))]);
    }
}

#[test]
fn a_stored_listener_of_another_port_is_dropped() {
    let manager = Manager::new();
    let net = Topology::new();
    net.redirect();
    let upstream = net.upstream.listen(UPSTREAM);
    let old = listener(&net.gateway, PORT + 1);
    let _gateway = manager.hears(launch("")).passed(old, &["listener"]).start(&net.gateway);
    assert_eq!(manager.next().lines, ["FDSTOREREMOVE=1", "FDNAME=listener"]);
    let stored = manager.next();
    assert_eq!(stored.lines, ["FDSTORE=1", "FDNAME=listener"]);
    let socket = Socket::from(stored.descriptors.into_iter().next().expect("the listener"));
    let at = socket.local_addr().expect("a socket").as_socket().expect("an address");
    assert_eq!(at.port(), PORT);
    serve(&upstream, [net.client.connect(SocketAddr::new(V4, SERVER_FIRST))]);
    // nobody holds the old one any more
    eventually(|| match net.client.try_connect(format!("10.1.0.1:{}", PORT + 1).parse().expect("an address")) {
        Err(why) if why.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{:?}", other.map(|mut wire| wire.ending_within(Duration::ZERO) == Ending::Open))),
    });
}
