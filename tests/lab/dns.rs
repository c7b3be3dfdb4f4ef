//! Clients without DNS: our resolver gives names addresses of its own, and a session to such an address is one to the
//! name.

mod forward;
mod hostile;
mod sessions;
mod stub;

use std::net::IpAddr;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::daemon::Launch;
use crate::support::each_row;
use crate::support::eventually;
use crate::support::folder::Folder;
use crate::support::scene::Scene;
use crate::support::topology::{Topology, UPSTREAM};
use stub::{Stub, question};

/// Where the resolver answers in these tests.
const AT: &str = "10.1.0.1:53";

/// A stage with a resolver, and a client of it. No name is looked for in first bytes unless `flags` say so.
fn scene(flags: &str) -> (Scene, Stub) {
    let scene = Scene::new(&format!("-dns {AT} {flags}"));
    let stub = Stub::new(&scene.net.client, AT);
    (scene, stub)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn names_have_addresses_of_the_pool_and_nothing_else() {
    let (_scene, stub) = scene("");
    let first = stub.ask("www.bench.example", "A");
    assert_eq!((first.addr(), first.ttl), (ip("198.18.0.1"), Some(60)));
    assert_eq!(stub.ask("WWW.Bench.Example", "A").addr(), first.addr());
    assert_eq!(stub.ask("other.example", "A").addr(), ip("198.18.0.2"));
    let rows = [
        // nothing that would lead around us, and nothing that we cannot know
        ("www.bench.example", "AAAA", 0),
        ("www.bench.example", "HTTPS", 0),
        ("_8443._https.www.bench.example", "SVCB", 0),
        ("www.bench.example", "MX", 0),
        ("www.bench.example", "TXT", 0),
        ("_sip._tcp.bench.example", "SRV", 0),
        ("www.bench.example", "ANY", 0),
        ("", "NS", 0),
        ("use-application-dns.net", "A", 3),
        ("printer.local", "A", 3),
        ("intranet", "A", 3),
        ("wpad", "A", 3),
        ("nowhere.invalid", "A", 3),
        ("hidden.onion", "A", 3),
        ("1.2.0.192.in-addr.arpa", "PTR", 3),
        ("9.9.18.198.in-addr.arpa", "PTR", 3),
        ("_dns.resolver.arpa", "SVCB", 3),
        ("a b.example", "A", 3),
        ("127.0.0.1", "A", 3),
        ("www.bench.example", "AXFR", 5),
    ];
    each_row(
        &rows,
        |(name, kind, _)| format!("{name} {kind}"),
        |(name, kind, code)| {
            let told = stub.ask(name, kind);
            assert_eq!((told.code, told.addrs.len(), told.names.len()), (*code, 0, 0), "{told:?}");
            assert_eq!(told.ttl, (*code != 5).then_some(60), "that there is nothing may be kept for a while");
        },
    );
    // a type that nobody has heard of: no error, no record, one that says for how long
    stub.send(&question("www.bench.example", 999));
    assert_eq!(stub.receive().expect("an answer")[2..12], [0x81, 0x80, 0, 1, 0, 0, 0, 1, 0, 0]);
    assert_eq!(stub.ask("localhost", "A").addr(), ip("127.0.0.1"));
    assert_eq!(stub.ask("a.localhost", "AAAA").addr(), ip("::1"));
    assert_eq!(stub.ask("1.0.18.198.in-addr.arpa", "PTR").names, ["www.bench.example"]);
    // none of these took an address
    assert_eq!(stub.ask("third.example", "A").addr(), ip("198.18.0.3"));
}

#[test]
fn names_can_have_ipv6_addresses_too() {
    let net = Topology::new();
    let launch = Launch::new(&format!("-upstream-proxy {UPSTREAM} -dns [fd10:1::1]:5353,{AT} -dns-aaaa -dns-ttl 5s"));
    let scene = Scene::on(net, launch);
    let stub = Stub::new(&scene.net.client, "[fd10:1::1]:5353");
    let told = stub.ask("www.bench.example", "AAAA");
    assert_eq!((told.addr(), told.ttl), (ip("fd68:616e:6479::1"), Some(5)));
    assert_eq!(Stub::new(&scene.net.client, AT).ask("www.bench.example", "A").addr(), ip("198.18.0.1"));
    let mut client = scene.connect(told.addr(), 443);
    let mut up = scene.upstream.accept();
    up.expect_connect("www.bench.example:443");
    up.fin();
    client.fin();
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let net = Topology::new();
    net.gateway.ip("addr add 10.1.0.77/24 dev lan\naddr add fd10:1::77/64 dev lan nodad\n");
    let launch = Launch::new(&format!("-upstream-proxy {UPSTREAM} -dns 0.0.0.0:53,[::]:53"));
    let scene = Scene::on(net, launch);
    for at in ["10.1.0.1:53", "10.1.0.77:53", "[fd10:1::77]:53", "[fd10:1::1]:53"] {
        let stub = Stub::new(&scene.net.client, at);
        assert_eq!(stub.ask("www.bench.example", "A").addr(), ip("198.18.0.1"), "{at}");
        let mut stream = stub.stream(&scene.net.client);
        assert_eq!(Stub::ask_by_stream(&mut stream, "www.bench.example", "A").addr(), ip("198.18.0.1"), "{at}");
        assert_eq!(Stub::ask_by_stream(&mut stream, "b.example", "A").addr(), ip("198.18.0.2"), "{at}: a second one");
    }
}

#[test]
fn names_keep_their_addresses_over_a_restart() {
    let folder = Folder::new();
    let net = Topology::new();
    let file = format!("{}/names", folder.path());
    let flags = format!("-upstream-proxy {UPSTREAM} -dns {AT} -dns-state {file}");
    let mut scene = Scene::on(net, Launch::new(&flags));
    let stub = Stub::new(&scene.net.client, AT);
    let old: Vec<IpAddr> = ["a.example", "b.example"].map(|name| stub.ask(name, "A").addr()).to_vec();
    scene.gateway.signal(Signal::SIGTERM);
    assert!(scene.gateway.ends_within(Duration::from_secs(20)).is_some(), "it stops");
    scene.gateway = Launch::new(&flags).start(&scene.net.gateway);
    // an address that a client remembers is good before anybody asks
    let mut client = scene.connect(old[1], 443);
    let mut up = scene.upstream.accept();
    up.expect_connect("b.example:443");
    up.fin();
    client.fin();
    assert_eq!(stub.ask("c.example", "A").addr(), ip("198.18.0.3"));
    assert_eq!(stub.ask("a.example", "A").addr(), old[0]);
    // killed, with a last line that is cut, and words that are none
    eventually(|| {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.contains("\n3 c.example\n") { Ok(()) } else { Err(text) }
    });
    scene.gateway.signal(Signal::SIGKILL);
    assert!(scene.gateway.ends_within(Duration::from_secs(20)).is_some(), "it is dead");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, format!("{text}x y z\n4 cut.exam")).expect("our own file");
    scene.gateway = Launch::new(&flags).start(&scene.net.gateway);
    scene.gateway.log.wait_for("1 of ");
    assert_eq!(stub.ask("c.example", "A").addr(), ip("198.18.0.3"));
    assert_eq!(stub.ask("d.example", "A").addr(), ip("198.18.0.4"));
}

#[test]
fn settings_that_can_change_are_taken_over() {
    let folder = Folder::new();
    let file = |more: &str| format!("upstream-proxy = '{UPSTREAM}'\n{more}\n");
    let scene = Scene::with(folder.launch(&file(&format!("dns = '{AT}'"))));
    let stub = Stub::new(&scene.net.client, AT);
    assert_eq!(stub.ask("a.example", "A").ttl, Some(60));
    folder.config(&file("dns = '10.1.0.1:5300'\ndns-ttl = '7s'\ndns-aaaa = true\ndns-pool = '198.19.0.0/16'"));
    scene.gateway.reload();
    scene.gateway.log.wait_for("reload: -dns, -dns-pool, -dns-pool6 and -dns-state need a restart");
    let told = stub.ask("a.example", "A");
    assert_eq!((told.addr(), told.ttl), (ip("198.18.0.1"), Some(7)));
    assert_eq!(stub.ask("a.example", "AAAA").addr(), ip("fd68:616e:6479::1"));
    folder.config(&file(""));
    scene.gateway.reload();
    scene.gateway.log.wait_for("reload: -dns needs a restart");
    assert_eq!(stub.ask("a.example", "A").ttl, Some(7));
    folder.config(&file(&format!("dns = '{AT}'\ndns-forward = 'a.example=10.1.0.1'")));
    scene.gateway.signal(Signal::SIGHUP);
    scene.gateway.log.wait_for("reload refused: dns-forward a.example=10.1.0.1:53: this is our own resolver");
    scene.gateway.signal(Signal::SIGUSR1);
    scene.gateway.log.wait_for("dns: names with an address of 198.18.0.0/15: 1, room for 65535");
}

#[test]
fn what_cannot_be_is_refused_at_start() {
    let net = Topology::new();
    let taken = net.gateway.enter(|| std::net::UdpSocket::bind("10.1.0.1:5301")).expect("a free port");
    let rows = [
        ("-dns 10.1.0.1:5301", "dns 10.1.0.1:5301: another program answers there already"),
        ("-dns 203.0.113.7", "dns 203.0.113.7:53: this machine has no such address"),
        ("-dns 0.0.0.0 -dns-forward corp=10.1.0.1", "dns-forward corp=10.1.0.1:53: this is our own resolver"),
        ("-dns 10.1.0.1 -dns-forward corp=198.18.0.9", "an address of dns-pool stands for a name"),
    ];
    each_row(
        &rows,
        |(flags, _)| (*flags).to_owned(),
        |(flags, why)| {
            let mut daemon = Launch::new(&format!("-upstream-proxy {UPSTREAM} {flags}")).start_unheard(&net.gateway);
            daemon.log.wait_for(why);
            let status = daemon.ends_within(Duration::from_secs(20)).expect("it ends");
            assert_eq!(status.code(), Some(1));
        },
    );
    drop(taken);
}

#[test]
fn a_full_pool_gives_the_address_that_was_longest_of_no_use() {
    let (scene, stub) = scene("-dns-pool 198.18.0.0/29");
    let addrs: Vec<IpAddr> = (0..6).map(|n| stub.ask(&format!("n{n}.example"), "A").addr()).collect();
    // one is in use
    let mut client = scene.connect(addrs[0], 443);
    let mut up = scene.upstream.accept();
    up.expect_connect("n0.example:443");
    up.reply(crate::support::upstream::OPEN);
    up.send("!");
    client.expect("!");
    for n in 0..50 {
        assert_ne!(stub.ask(&format!("new{n}.example"), "A").addr(), addrs[0]);
    }
    assert_eq!(stub.ask("n0.example", "A").addr(), addrs[0]);
    let kept = stub.ask("new49.example", "A").addr();
    for n in 0..4 {
        stub.ask(&format!("more{n}.example"), "A");
    }
    assert_eq!(stub.ask("new49.example", "A").addr(), kept, "asked for a moment ago");
    client.fin();
    up.fin();
    scene.gateway.session_of(&client).expect("end=done name=n0.example name_source=dns");
}
