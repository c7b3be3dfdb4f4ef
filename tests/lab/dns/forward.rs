//! Names that others know.

use std::sync::atomic::Ordering;

use super::stub::{Manner, Server, Stub, question};
use super::{AT, ip};
use crate::support::daemon::Launch;
use crate::support::eventually;
use crate::support::scene::Scene;
use crate::support::topology::{Topology, UPSTREAM};

/// A stage with these zones; name servers stand at 10.2.0.53 and 10.2.0.54.
fn scene(zones: &str) -> (Scene, Stub) {
    let net = Topology::new();
    net.address(53);
    net.address(54);
    let scene = Scene::on(net, Launch::new(&format!("-upstream-proxy {UPSTREAM} -dns {AT} -dns-forward {zones}")));
    let stub = Stub::new(&scene.net.client, AT);
    (scene, stub)
}

#[test]
fn a_zones_names_are_asked_for_where_they_are_known() {
    let (scene, stub) = scene("corp.example=10.2.0.53,deep.corp.example=10.2.0.54");
    let server = Server::start(&scene.net.upstream, "10.2.0.53:53", Manner::Good, "192.0.2.53");
    let deep = Server::start(&scene.net.upstream, "10.2.0.54:53", Manner::Good, "192.0.2.54");
    let told = stub.ask("has.Corp.example", "A");
    assert_eq!((told.addr(), told.ttl), (ip("192.0.2.53"), Some(77)));
    assert_eq!(stub.ask("has.a.deep.corp.example", "A").addr(), ip("192.0.2.54"), "the longest match");
    assert_eq!(stub.ask("no.corp.example", "A").code, 3);
    assert_eq!(stub.ask("corp.example", "A").code, 3, "the zone itself is one of its names");
    assert_eq!(stub.ask("has.notcorp.example", "A").addr(), ip("198.18.0.1"), "a name that only ends like it");
    let before = server.datagrams.load(Ordering::Relaxed);
    for kind in ["HTTPS", "SVCB", "ANY"] {
        assert_eq!((stub.ask("has.corp.example", kind).code, server.datagrams.load(Ordering::Relaxed)), (0, before));
    }
    let mut stream = stub.stream(&scene.net.client);
    assert_eq!(Stub::ask_by_stream(&mut stream, "has.corp.example", "A").addr(), ip("192.0.2.53"));
    // ports that nobody can guess: they do not follow one another
    for n in 0..20 {
        stub.ask(&format!("has{n}.corp.example"), "A");
    }
    let mut ports = server.ports.lock().expect("no panic").clone();
    assert!(ports.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]) <= 2).count() < 5, "{ports:?}");
    ports.sort_unstable();
    ports.dedup();
    assert!(ports.len() > 15, "{ports:?}");
    assert_eq!(deep.datagrams.load(Ordering::Relaxed), 1);
}

#[test]
fn questions_to_others_carry_the_mark() {
    let (scene, stub) = scene("corp.example=10.2.0.53");
    let _server = Server::start(&scene.net.upstream, "10.2.0.53:53", Manner::Cut, "192.0.2.53");
    scene.net.gateway.run("iptables -w -A OUTPUT -d 10.2.0.53 -m mark ! --mark 0x68 -j DROP");
    assert_eq!(stub.ask("has.corp.example", "A").addr(), ip("192.0.2.53"));
}

#[test]
fn what_is_cut_is_asked_for_over_tcp() {
    let (scene, stub) = scene("corp.example=10.2.0.53");
    let server = Server::start(&scene.net.upstream, "10.2.0.53:53", Manner::Cut, "192.0.2.53");
    let told = stub.ask("has.corp.example", "A");
    assert_eq!((told.addr(), told.cut), (ip("192.0.2.53"), false));
    assert_eq!((server.datagrams.load(Ordering::Relaxed), server.streams.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn a_server_that_does_not_know_or_is_not_there_is_followed_by_the_next() {
    for manner in [Manner::Silent, Manner::Fails] {
        let (scene, stub) = scene("corp.example=10.2.0.53,corp.example=10.2.0.54");
        let first = Server::start(&scene.net.upstream, "10.2.0.53:53", manner, "192.0.2.53");
        let _second = Server::start(&scene.net.upstream, "10.2.0.54:53", Manner::Good, "192.0.2.54");
        assert_eq!(stub.ask("has.corp.example", "A").addr(), ip("192.0.2.54"), "{manner:?}");
        assert_eq!(first.datagrams.load(Ordering::Relaxed), 1);
    }
    let (scene, stub) = scene("corp.example=10.2.0.53,corp.example=10.2.0.54");
    // nobody is there: the kernel says so at once
    assert_eq!(stub.ask("has.corp.example", "A").code, 2);
    scene.gateway.log.wait_for("dns: no answer about has.corp.example: 10.2.0.54:53: ");
}

#[test]
fn forged_answers_do_not_count() {
    let (scene, stub) = scene("corp.example=10.2.0.53");
    let _server = Server::start(&scene.net.upstream, "10.2.0.53:53", Manner::Forged, "192.0.2.53");
    assert_eq!(stub.ask("has.corp.example", "A").addr(), ip("192.0.2.53"));
}

#[test]
fn servers_that_say_nothing_hold_only_so_many_questions() {
    let (scene, stub) = scene("corp.example=10.2.0.53");
    let server = Server::start(&scene.net.upstream, "10.2.0.53:53", Manner::Silent, "192.0.2.53");
    // a busy machine may lose some of them, and forget others before it has heard of all
    let mut sent = 0;
    eventually(|| {
        for _ in 0..100 {
            stub.send(&question(&format!("has{sent}.corp.example"), 1));
            sent += 1;
        }
        let count = scene.gateway.log.count("too many questions wait for other servers");
        if count > 0 { Ok(()) } else { Err(format!("{sent} questions are not too many")) }
    });
    assert!(scene.gateway.descriptors().sockets < 300);
    // names of ours are answered meanwhile
    let other = Stub::new(&scene.net.client, AT);
    assert_eq!(other.ask_again("a.example", "A").addr(), ip("198.18.0.1"));
    assert!(server.datagrams.load(Ordering::Relaxed) <= sent);
}
