//! Several proxies of one upstream: which of them is asked, what passes one over, and what is remembered of it.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::Launch;
use crate::support::folder::Folder;
use crate::support::kind::Kind;
use crate::support::scene::Scene;
use crate::support::topology::{Topology, V4};
use crate::support::upstream::{OPEN, Upstream};
use crate::support::wire::{Ending, Wire};
use crate::support::{each_row, eventually};

/// 10.2.0.4 is preferred; 10.2.0.2, the scene's own, stands in for it.
const TWO: &str = r#"
upstream-proxy = "corp"
sniff-timeout = "5s"
dial-timeout = "10s"
[upstream.corp]
proxy = ["http://10.2.0.4:3128", "10.2.0.2"]
"#;
const FIRST: &str = "upstream corp: http://10.2.0.4:3128";
const SECOND: &str = "upstream corp: http://10.2.0.2:3128";
const TARGET: &str = "www.bench.example:443";

fn two() -> (Scene, Upstream) {
    let net = Topology::new();
    let first = net.proxy(4);
    (Scene::on(net, Folder::new().launch(TWO)), first)
}

/// Ends a connection of the gateway's in this way, and waits until the gateway's kernel knows: a child of another test may
/// hold the socket for a moment.
fn dies(scene: &Scene, up: Wire, how: Fails) {
    let gateway = up.socket().peer_addr().expect("a connected socket").to_string();
    how(up);
    eventually(|| match scene.net.gateway.run("ss -Htn state established").contains(&format!("{gateway} ")) {
        true => Err(format!("{gateway} is open")),
        false => Ok(()),
    });
}

/// The scene's own upstream is asked and opens the tunnel, which then carries what the client said, and all of it.
fn serves(upstream: &Upstream, mut client: Wire) -> Wire {
    let mut up = upstream.accept_asked();
    up.expect_connect(TARGET);
    up.reply([OPEN, b"hi"].concat());
    client.expect("hi");
    up.expect(Kind::Tls.says());
    client.fin();
    up.expect_end(Ending::Fin);
    client
}

/// A gateway whose preferred proxy resets every connection, and counts them.
struct Refusing {
    scene: Scene,
    first: Upstream,
}

impl Refusing {
    fn new() -> Self {
        let (scene, first) = two();
        let refusing = Self { scene, first };
        refusing.refuse("10.2.0.4");
        refusing
    }

    fn refuse(&self, address: &str) {
        let rule = format!("-d {address} -p tcp --dport 3128 --syn -j REJECT --reject-with tcp-reset");
        self.scene.net.upstream.run(&format!("iptables -w -A INPUT {rule}"));
    }

    /// Lets the preferred proxy serve again, or whichever was refused.
    fn relent(&self) {
        self.scene.net.upstream.run("iptables -w -F INPUT");
    }

    /// How often the preferred proxy has been tried.
    fn tries(&self) -> usize {
        let listed = self.scene.net.upstream.run("iptables -w -nvxL INPUT");
        let rule = listed.lines().find(|line| line.contains("10.2.0.4")).expect("the rule");
        rule.split_whitespace().next().and_then(|count| count.parse().ok()).expect("packets")
    }

    /// A session that the other proxy serves; returns how often the preferred one has been tried by then.
    fn tries_after_a_session(&self) -> usize {
        serves(&self.scene.upstream, Kind::Tls.speak(&self.scene));
        self.tries()
    }
}

/// How a proxy ends a connection.
type Fails = fn(Wire);

/// How the preferred proxy fails, once it has been asked.
struct Row {
    name: &'static str,
    fails: Fails,
}

#[test]
fn a_proxy_that_fails_when_asked_is_passed_over_within_the_session() {
    let rows = [
        Row { name: "closes", fails: drop },
        Row { name: "resets", fails: Wire::reset },
        Row { name: "speaks SSH", fails: |up| babbles(up, b"SSH-2.0-OpenSSH_9.2p1\r\n") },
        Row { name: "speaks TLS", fails: |up| babbles(up, &[21, 3, 1, 0, 2, 2, 70]) },
        Row { name: "has no status", fails: |up| babbles(up, b"HTTP/1.1 OK\r\n\r\n") },
    ];
    each_row(
        &rows,
        |row| row.name.to_owned(),
        |row| {
            // what was dialled half a second before it is asked may have died of old age, and is dialled once more
            let in_time = (0..9).find_map(|_| {
                let (scene, first) = two();
                let start = Instant::now();
                let client = Kind::Tls.speak(&scene);
                let mut up = first.accept();
                up.expect_connect(TARGET);
                (start.elapsed() < Duration::from_millis(500)).then_some((scene, first, client, up))
            });
            let (scene, _first, client, up) = in_time.expect("one of these in time");
            (row.fails)(up);
            let client = serves(&scene.upstream, client);
            scene.gateway.session_of(&client).expect("end=done via=corp upstream=10.2.0.2:3128 status=200 retries=1");
        },
    );
}

/// Says something that is no answer, and gets no byte of the client's for it.
fn babbles(mut up: Wire, words: &[u8]) {
    up.reply(words);
    up.fin();
    let (bytes, _) = up.receive_all();
    assert_eq!(bytes, b"", "said to a proxy that does not speak HTTP");
}

#[test]
fn a_proxy_that_cannot_be_connected_to_is_passed_over_within_the_session() {
    for drops in [false, true] {
        let net = Topology::new();
        net.address(4);
        if drops {
            net.upstream.run("iptables -w -A INPUT -d 10.2.0.4 -j DROP");
        }
        let scene = Scene::on(net, Folder::new().launch(TWO));
        let client = Kind::Tls.speak(&scene);
        let client = serves(&scene.upstream, client);
        scene.gateway.session_of(&client).expect("end=done upstream=10.2.0.2:3128");
        scene.gateway.log.wait_for(&format!("{FIRST} is down: "));
    }
}

#[test]
fn a_proxy_that_hangs_up_again_and_again_is_passed_over_by_all() {
    let (scene, first) = two();
    for session in 1.. {
        assert!(session < 10, "it is asked for ever");
        let client = Kind::Tls.speak(&scene);
        let served = std::thread::scope(|scope| {
            let other = scope.spawn(|| serves(&scene.upstream, client));
            while !other.is_finished() {
                drop(first.accept_within(Duration::from_millis(1)));
            }
            other.join().is_ok()
        });
        assert!(served, "session {session}");
        if scene.gateway.log.count(&format!("{FIRST} is down: ")) > 0 {
            break;
        }
    }
    serves(&scene.upstream, Kind::Tls.speak(&scene));
    first.expect_no_connection(Duration::ZERO);
}

#[test]
fn what_failed_is_held_for_longer_each_time_and_told_once() {
    // what is to happen within a second may not, on a busy machine: that proves nothing, and is tried again
    let refusing = (0..9).find_map(|_| held_twice()).expect("one of these in time");
    let gateway = &refusing.scene.gateway;
    gateway.signal(Signal::SIGUSR1);
    gateway.log.wait_for(&format!("{FIRST} held for "));
    gateway.log.wait_for(&format!("{SECOND} up"));
    let state = gateway.log.wait_for("state: ");
    assert!(state.contains(" sessions open, proxies down: 1, sessions without a local port: 0"), "{state}");
    refusing.relent();
    thread::sleep(Duration::from_millis(2100));
    serves(&refusing.first, Kind::Tls.speak(&refusing.scene));
    let line = gateway.log.wait_for(" is up again after ");
    assert!(line.contains(FIRST), "{line}");
    assert_eq!(gateway.log.count(" is down: "), 1, "one line for each change");
    gateway.signal(Signal::SIGUSR1);
    gateway.log.wait_for(&format!("{FIRST} up"));
    serves(&refusing.first, Kind::Tls.speak(&refusing.scene));
    assert_eq!(gateway.log.count(" is up again after "), 1, "one line for each change");
}

/// A proxy that was held for one second, and is for two now; nothing if more time than that has passed.
fn held_twice() -> Option<Refusing> {
    let refusing = Refusing::new();
    let log = &refusing.scene.gateway.log;
    let failed = Instant::now();
    assert_eq!(refusing.tries_after_a_session(), 1);
    let line = log.wait_for(" is down: ");
    assert!(line.contains(&format!("{FIRST} is down: ")) && line.contains("; next try in 1s"), "{line}");
    let tries = refusing.tries_after_a_session();
    if failed.elapsed() > Duration::from_secs(1) {
        return None;
    }
    assert_eq!(tries, 1, "it is held");
    thread::sleep(Duration::from_millis(1050));
    let failed = Instant::now();
    assert_eq!(refusing.tries_after_a_session(), 2);
    // for two seconds now
    thread::sleep(Duration::from_millis(1100));
    let tries = refusing.tries_after_a_session();
    if failed.elapsed() > Duration::from_secs(2) {
        return None;
    }
    assert_eq!(tries, 2, "it is held for longer");
    Some(refusing)
}

#[test]
fn when_all_are_held_all_are_tried() {
    let refusing = Refusing::new();
    refusing.refuse("10.2.0.2");
    let scene = &refusing.scene;
    let mut client = Kind::Tls.speak(scene);
    scene.gateway.refusal_of(&mut client).expect("end=dial by=upstream");
    assert_eq!(scene.gateway.log.count(" is down: "), 2);
    let before = refusing.tries();
    let mut client = Kind::Tls.speak(scene);
    scene.gateway.refusal_of(&mut client).expect("end=dial by=upstream");
    assert!(refusing.tries() > before, "nobody was asked");
    refusing.relent();
    let client = Kind::Tls.speak(scene);
    let mut up = loop {
        let first = refusing.first.accept_within(Duration::from_millis(5));
        if let Some(up) = first.or_else(|| scene.upstream.accept_within(Duration::from_millis(5))) {
            break up;
        }
    };
    up.expect_connect(TARGET);
    drop(client);
    scene.gateway.log.wait_for(" is down: ");
}

#[test]
fn a_probe_finds_out_before_a_session_does() {
    let net = Topology::new();
    net.address(4);
    let scene =
        Scene::on(net, Folder::new().launch(&TWO.replace("[upstream.corp]", "[upstream.corp]\nprobe = '100ms'")));
    let log = &scene.gateway.log;
    log.wait_for(&format!("{FIRST} is down: "));
    let first = scene.net.upstream.listen("10.2.0.4:3128");
    log.wait_for(&format!("{FIRST} is up again after "));
    // a probe asks for nothing
    assert!(!first.accept().has_bytes());
    assert_eq!(log.count("session id="), 0);
}

#[test]
fn the_only_proxy_is_tried_by_every_session() {
    let net = Topology::new();
    net.address(4);
    let scene = Scene::on(net, Launch::new("-upstream-proxy 10.2.0.4 -sniff-timeout 5s"));
    for _ in 0..3 {
        let mut client = Kind::Tls.speak(&scene);
        scene.gateway.refusal_of(&mut client).expect("end=dial by=upstream");
    }
    assert_eq!(scene.gateway.log.count(" is down: "), 1);
    let proxy = scene.net.upstream.listen("10.2.0.4:3128");
    serves(&proxy, Kind::Tls.speak(&scene));
    scene.gateway.log.wait_for(" is up again after ");
}

#[test]
fn a_status_is_an_answer_and_the_next_proxy_is_not_asked() {
    let (scene, first) = two();
    let statuses = [400, 403, 404, 407, 429, 500, 502, 503, 504];
    each_row(
        &statuses,
        |status| format!("{status}"),
        |status| {
            let mut client = Kind::Tls.speak(&scene);
            let mut up = first.accept();
            up.expect_connect(TARGET);
            up.reply(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"));
            let end = "end=refused";
            scene.gateway.refusal_of(&mut client).expect(&format!("{end} by=upstream status={status}"));
            assert_eq!(up.receive_all().0, b"", "said to a proxy that has refused");
        },
    );
    scene.upstream.expect_no_connection(Duration::ZERO);
    assert_eq!(scene.gateway.log.count(" is down: "), 0);
}

#[test]
fn a_connection_that_died_while_sniffing_is_dialled_again_and_nobody_is_blamed() {
    let (scene, first) = two();
    // a reset under the dial itself would be the proxy's fault
    let [soon, late] = [50, 600].map(Duration::from_millis);
    let ways: [(&str, Fails, Duration); 4] = [
        ("closed soon", drop, soon),
        ("reset soon", Wire::reset, soon),
        ("closed late", drop, late),
        ("reset late", Wire::reset, late),
    ];
    each_row(
        &ways,
        |(name, ..)| (*name).to_owned(),
        |(_, how, after)| {
            first.forget();
            scene.upstream.forget();
            let mut client = scene.connect(V4, 443);
            let up = first.accept();
            thread::sleep(*after);
            dies(&scene, up, *how);
            client.send(Kind::Tls.says());
            let client = serves(&first, client);
            scene.gateway.session_of(&client).expect("end=done upstream=10.2.0.4:3128");
        },
    );
    scene.upstream.expect_no_connection(Duration::ZERO);
    assert_eq!(scene.gateway.log.count(" is down: "), 0);
}

#[test]
fn the_only_proxy_is_dialled_again_when_the_connection_died_while_sniffing() {
    let scene = Scene::new("-sniff-timeout 5s");
    for after in [50, 600] {
        let mut client = scene.connect(V4, 443);
        let up = scene.upstream.accept();
        thread::sleep(Duration::from_millis(after));
        dies(&scene, up, drop);
        client.send(Kind::Tls.says());
        let client = serves(&scene.upstream, client);
        scene.gateway.session_of(&client).expect("end=done");
    }
}

#[test]
fn no_proxy_sees_a_byte_of_the_client_before_it_has_opened_the_tunnel() {
    let net = Topology::new();
    let proxies: Vec<Upstream> = (3..7).map(|n| net.proxy(n)).collect();
    let list = "10.2.0.3,10.2.0.4,10.2.0.5,10.2.0.6";
    let scene = Scene::on(net, Launch::new(&format!("-upstream-proxy {list} -sniff-timeout 5s")));
    let mut client = Kind::Tls.speak(&scene);
    client.send([b'x'; 20_000]);
    for proxy in &proxies[..3] {
        let mut up = proxy.accept_asked();
        up.expect_connect(TARGET);
        up.expect_silence(Duration::from_millis(50));
        up.fin();
        assert_eq!(up.receive_all().0, b"", "said to a proxy that hung up");
    }
    let mut up = proxies[3].accept_asked();
    up.expect_connect(TARGET);
    up.expect_silence(Duration::from_millis(50));
    up.reply(OPEN);
    up.expect(Kind::Tls.says());
    up.expect([b'x'; 20_000]);
}

#[test]
fn a_request_that_is_relayed_finds_the_next_proxy_too() {
    let net = Topology::new();
    net.address(4);
    let relaying = TWO.replace("[upstream.corp]", "[upstream.corp]\nplain-http = 'relay'");
    let scene = Scene::on(net, Folder::new().launch(&relaying));
    for _ in 0..2 {
        let mut client = Kind::Http.speak(&scene);
        let mut up = scene.upstream.accept_asked();
        up.expect_head("GET http://www.bench.example/ HTTP/1.1");
        up.reply("HTTP/1.1 204 No Content\r\n\r\n");
        client.expect_status(204);
    }
    scene.gateway.log.wait_for(&format!("{FIRST} is down: "));
}
