//! The flow tap on real tunnels: the lines of InformerProxy, and those for people.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::eventually;
use crate::support::folder::Folder;
use crate::support::kind::Kind;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{PORT, UPSTREAM, V4, V6};
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, Wire};

/// The lines of a file, once there are so many.
fn lines(folder: &Folder, name: &str, count: usize) -> Vec<String> {
    eventually(|| {
        let bytes = fs::read(format!("{}/{name}", folder.path())).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        // the end of the last one may be on its way
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let lines: Vec<String> = whole.map(str::to_owned).collect();
        if lines.len() >= count { Ok(lines) } else { Err(lines.join("\n")) }
    })
}

/// What status lines show of a tunnel, beside its sockets.
struct Ends {
    client: String,
    from: u16,
    origin: SocketAddr,
}

impl Ends {
    /// Those of an open tunnel.
    fn of(client: &Wire, up: &Wire, origin: IpAddr) -> Self {
        let from = up.socket().peer_addr().expect("a connected socket").port();
        Self { client: client.address(), from, origin: SocketAddr::new(origin, SERVER_FIRST) }
    }

    fn line(&self, client_half: &str, forward_half: &str) -> String {
        let Self { client, from, origin } = self;
        format!("{client}  {client_half} [{PORT} PROXY {from}] {forward_half} {origin}")
    }
}

#[test]
fn a_tunnel_is_told_as_informer_proxy_would_have_told_it() {
    let folder = Folder::new();
    let scene = Scene::new(&format!("-tap flow/informer:{}/status", folder.path()));
    let mut before = 0;
    for (origin, [c, f]) in [(V4, [2, 3]), (V6, [4, 5])] {
        let (mut client, mut up) = scene.tunnel_to(origin);
        let ends = Ends::of(&client, &up, origin);
        client.fin();
        up.expect_end(Ending::Fin);
        up.send("late");
        client.expect("late");
        up.fin();
        client.expect_end(Ending::Fin);
        let wanted = [
            ends.line(&format!("<-*-{c}->"), &format!("<-*-{f}->")),
            ends.line(&format!("--*-{c}>>"), &format!("--*-{f}--")),
            ends.line(&format!("--*-{c}--"), &format!("--*-{f}>>")),
            ends.line(&format!("--*-{c}--"), &format!("<<*-{f}--")),
            ends.line(&format!("<<*-{c}--"), &format!("--*-{f}--")),
            // the client's end: read, closed, handed on
            ends.line(&format!("--*-{c}>>"), &format!("--*-{f}--")),
            ends.line(&format!("----{c}--"), &format!("--*-{f}--")),
            ends.line(&format!("----{c}--"), &format!("--*-{f}>>")),
            // what comes late
            ends.line(&format!("----{c}--"), &format!("<<*-{f}--")),
            ends.line(&format!("----{c}--"), &format!("--*-{f}--")),
            // the origin's end: read, handed on, and both closed
            ends.line(&format!("----{c}--"), &format!("<<*-{f}--")),
            ends.line(&format!("----{c}--"), &format!("--*-{f}--")),
            ends.line(&format!("----{c}--"), &format!("----{f}--")),
        ];
        let seen = lines(&folder, "status", before + wanted.len());
        assert_eq!(seen[before..], wanted);
        before += wanted.len();
    }
}

#[test]
fn what_comes_early_before_a_switch_is_told_once() {
    let folder = Folder::new();
    let flags = format!("-sniff-timeout 5s -plain-http relay -tap flow/informer:{}/status", folder.path());
    let scene = Scene::new(&flags);
    let wish = "GET /chat HTTP/1.1\r\nHost: www.bench.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst";
    for (is_over, [c, f]) in [(false, [2, 3]), (true, [4, 5])] {
        let mut client = scene.connect(V4, 80);
        client.send([wish, "early"].concat());
        if is_over {
            client.fin();
        }
        let mut up = scene.upstream.accept_asked();
        up.expect_head("GET http://www.bench.example/chat HTTP/1.1");
        up.reply(switch);
        client.expect(switch);
        up.expect("early");
        if !is_over {
            client.fin();
        }
        up.expect_end(Ending::Fin);
        up.fin();
        client.expect_end(Ending::Fin);
        let seen = eventually(|| {
            let all = String::from_utf8_lossy(&folder.read("status")).into_owned();
            let of_it: Vec<String> =
                all.lines().filter(|line| line.contains(&format!("-{c}"))).map(str::to_owned).collect();
            let has_ended = of_it.last().is_some_and(|line| line.contains(&format!("----{f}--")));
            if has_ended { Ok(of_it) } else { Err(all) }
        });
        let count = |part: String| seen.iter().filter(|line| line.contains(&part)).count();
        // the wish with what came behind it, and the end: each was read once, and handed on once
        assert_eq!([count(format!("-{c}>>")), count(format!("-{f}>>"))], [2, 2], "{seen:#?}");
        // opened; four lines up, four down; two closes
        assert_eq!(seen.len(), 11, "{seen:#?}");
        scene.gateway.session_of(&client).expect("end=done status=101 chunks_up=1 chunks_down=1");
    }
}

#[test]
fn a_reset_closes_both_halves() {
    let folder = Folder::new();
    let scene = Scene::new(&format!("-tap flow/informer:{}/status", folder.path()));
    let (client, mut up) = scene.tunnel();
    let ends = Ends::of(&client, &up, V4);
    client.reset();
    up.expect_end(Ending::Reset);
    let wanted = [ends.line("----2--", "--*-3--"), ends.line("----2--", "----3--")];
    assert_eq!(lines(&folder, "status", 7)[5..], wanted);
}

#[test]
fn people_read_on_stdout_what_happens_and_no_secret() {
    let scene = Scene::new("-sniff-timeout 5s -tap flow");
    let request = "GET /search?q=hidden HTTP/1.1\r\nHost: www.bench.example\r\nAuthorization: Basic hidden\r\n\r\n";
    let mut client = scene.connect(V4, 80);
    client.send(request);
    let mut up = scene.upstream.accept();
    up.expect_connect("www.bench.example:80");
    up.reply(OPEN);
    up.expect(request);
    up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: hidden\r\n\r\nhi");
    client.receive_through(b"hi");
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    // what the next one does comes behind that
    scene.gateway.out.wait_for("done by client");
    let (mut tls, mut refusing) = Kind::Tls.ask(&scene);
    refusing.reply("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    scene.gateway.refusal_of(&mut tls);
    scene.gateway.out.wait_for("refused by upstream");
    let out = scene.gateway.out.lines();
    assert!(out[0].starts_with("# ") && out[0].ends_with(", times are UTC"), "{out:?}");
    // a time, `#` and a number
    let events: Vec<_> = out[1..].iter().map(|line| line.get(20..).unwrap_or(line)).collect();
    let end = events[5].split(" after ").next();
    let wanted = [
        &format!("{} -> www.bench.example:80 (203.0.113.9) via {UPSTREAM}", client.address()),
        "->     87 B  GET /search?...",
        "<-     60 B  HTTP/1.1 200 OK",
        "->      end",
        "<-      end",
    ];
    assert_eq!((&events[..5], end), (&wanted[..], Some("done by client")));
    assert!(events[5].ends_with(", up 87 B, down 60 B"), "{events:?}");
    let [asked, refused] = &events[6..] else { panic!("two lines for what was refused: {events:?}") };
    assert!(asked.starts_with(&format!("{} -> www.bench.example:443 (203.0.113.9)", tls.address())), "{asked}");
    assert!(refused.starts_with("refused by upstream after ") && refused.contains(": "), "{refused}");
    assert!(!out.concat().contains("hidden"));
}

#[test]
fn a_rotated_file_is_written_anew_after_a_hangup() {
    let folder = Folder::new();
    let scene = Scene::new(&format!("-tap flow/informer:{}/status", folder.path()));
    let (client, up) = scene.tunnel();
    lines(&folder, "status", 5);
    fs::rename(format!("{}/status", folder.path()), format!("{}/status.1", folder.path())).expect("our own folder");
    scene.gateway.reload();
    drop((client, up));
    let new = lines(&folder, "status", 1);
    assert!(new.iter().all(|line| line.contains("-2") && line.contains("-3")), "{new:?}");
    assert_eq!(lines(&folder, "status.1", 5).len(), 5);
}

#[test]
fn a_killed_daemon_leaves_whole_lines() {
    let folder = Folder::new();
    let flags = format!("-tap flow/informer:{0}/status -tap flow:{0}/people", folder.path());
    let mut scene = Scene::new(&flags);
    let (_client, _up) = scene.tunnel();
    lines(&folder, "status", 5);
    lines(&folder, "people", 4);
    scene.gateway.signal(Signal::SIGKILL);
    assert!(scene.gateway.ends_within(Duration::from_secs(20)).is_some());
    for (name, count) in [("status", 5), ("people", 4)] {
        let text = folder.read(name);
        assert!(text.ends_with(b"\n"), "{name}");
        assert_eq!(lines(&folder, name, count).len(), count);
    }
}
