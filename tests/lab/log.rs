//! What is written: the version, the start, and one line for each session that cannot be forged from outside.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::daemon::Launch;
use crate::support::hello::Hello;
use crate::support::journal::printable;
use crate::support::kind::Kind;
use crate::support::scene::Scene;
use crate::support::topology::{PORT, Topology, UPSTREAM, V4};
use crate::support::upstream::OPEN;
use crate::support::wire::Ending;
use crate::support::{each_row, eventually};

#[test]
fn it_says_its_version_and_where_it_listens() {
    let scene = Scene::new("");
    let line = scene.gateway.log.wait_for("listening on");
    assert!(line.contains(&format!("[::]:{PORT}")), "{line}");
    assert!(line.contains("10.2.0.2:3128"), "{line}");
    assert!(line.contains("room for"), "{line}");
    let version = format!("HandyProxy {}", env!("CARGO_PKG_VERSION"));
    scene.gateway.out.wait_for(&version);
    assert_eq!(scene.gateway.out.lines(), [version]);
}

#[test]
fn a_finished_session_tells_all_that_is_known_of_it() {
    let scene = Scene::new("-sniff-timeout 5s");
    let (mut client, mut up) = Kind::Tls.ask(&scene);
    up.reply([OPEN, b"0123456789"].concat());
    client.expect("0123456789");
    up.expect(Kind::Tls.says());
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    let line = scene.gateway.session_of(&client);
    assert_eq!(line.level(), "INFO");
    let keys = [
        "id",
        "end",
        "by",
        "client",
        "origin",
        "name",
        "name_source",
        "target",
        "upstream",
        "stage",
        "status",
        "sniff_ms",
        "dial_ms",
        "connect_ms",
        "up",
        "down",
        "chunks_up",
        "chunks_down",
        "duration_ms",
    ];
    assert_eq!(line.keys(), keys);
    let client = client.address();
    line.expect(&format!(
        "id=1 end=done client={client} origin=203.0.113.9:443 name=www.bench.example name_source=sni \
         target=www.bench.example:443 upstream=10.2.0.2:3128 stage=relay status=200 down=10"
    ));
    assert_eq!(line.number("up"), Kind::Tls.says().len() as f64);
    each_row(
        &["sniff_ms", "dial_ms", "connect_ms", "duration_ms"],
        |k| (*k).to_owned(),
        |key| {
            let ms = line.number(key);
            assert!((0.0..5000.0).contains(&ms), "{key}={ms}");
        },
    );
    assert!(line.number("duration_ms") >= line.number("sniff_ms"));
}

#[test]
fn a_session_says_who_ended_it() {
    let scene = Scene::new("");
    let (mut client, mut up) = scene.tunnel();
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
    scene.gateway.session_of(&client).expect("end=done by=client");
    let (mut client, mut up) = scene.tunnel();
    up.fin();
    client.expect_end(Ending::Fin);
    client.fin();
    up.expect_end(Ending::Fin);
    scene.gateway.session_of(&client).expect("end=done by=upstream");
}

#[test]
fn an_upstream_cannot_write_into_the_log() {
    let scene = Scene::new("-sniff-timeout 5s");
    let long = "r".repeat(20_000);
    let reasons: [&[u8]; 8] = [
        b"\x1b[2J\x1b[31mred",
        b"tab\tand bell\x07 and back\x08space",
        b"\xc2\x9b31m \xe2\x80\xae right to left",
        b"\xff\xfe not UTF-8",
        b"\" end=done by=us error=\"",
        b"x\rsession end=done client=1.2.3.4:5",
        b"\\\" \\",
        long.as_bytes(),
    ];
    each_row(
        &reasons,
        |reason| reason[..reason.len().min(40)].escape_ascii().to_string(),
        |reason| {
            for answer in [
                [b"HTTP/1.1 403 ", *reason, b"\r\nContent-Length: 0\r\n\r\n"].concat(),
                [b"HTTP/1.1 503 No\r\nX-Squid-Error: ", *reason, b"\r\nContent-Length: 0\r\n\r\n"].concat(),
                [b"HTTP/1.1 502 No\r\nProxy-Status: x; error=", *reason, b"\r\nContent-Length: 0\r\n\r\n"].concat(),
                [*reason, b"\r\n\r\n"].concat(),
            ] {
                let (mut client, mut up) = Kind::Http.ask(&scene);
                up.reply(&answer);
                up.fin();
                let (told, _) = client.receive_all();
                assert!(told.windows(4).any(|w| w == b"\r\n\r\n"), "no whole head: {}", told.escape_ascii());
                assert!(told.iter().all(|b| matches!(b, b' '..=b'~' | b'\r' | b'\n')), "{}", told.escape_ascii());
                let address = client.address();
                drop(client);
                let line = scene.gateway.session_from(&address);
                assert!(["refused", "bad-reply", "hangup"].contains(&line.get("end").unwrap_or("?")), "{line:?}");
                assert!(line.get("error").map_or(0, str::len) < 1000, "{line:?}");
            }
        },
    );
    printable(&scene.gateway.log.bytes());
    let lines = scene.gateway.log.lines();
    let lengths: Vec<usize> = lines.iter().map(String::len).collect();
    assert!(lengths.iter().all(|&n| n < 2000), "{lengths:?}");
}

#[test]
fn a_client_cannot_write_into_the_log() {
    let scene = Scene::new("-sniff-timeout 5s -log-level trace");
    let names: [&[u8]; 4] = [b"\x1b[31mred.example", b"a\r\nsession end=done", b"\xff\xfe", b"\" end=done by=\"us"];
    each_row(
        &names,
        |name| name.escape_ascii().to_string(),
        |name| {
            let mut client = scene.connect(V4, 443);
            client.send(Hello::to(name).bytes());
            let mut up = scene.upstream.accept();
            up.expect_connect("203.0.113.9:443");
            drop(up);
            scene.upstream.hangs_up_on(&client);
            scene.gateway.session_of(&client).expect("end=hangup -name");
        },
    );
    printable(&scene.gateway.log.bytes());
}

#[test]
fn the_level_decides_what_is_written() {
    let rows = [
        ("off", false, false),
        ("error", false, false),
        ("warn", false, true),
        ("info", true, true),
        ("debug", true, true),
        ("trace", true, true),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(level, finished, refused)| {
            let net = Topology::new();
            net.redirect();
            let upstream = net.upstream.listen(UPSTREAM);
            let flags = format!("-upstream-proxy {UPSTREAM} -log-level {level}");
            let mut gateway = Launch::new(&flags).start_unheard(&net.gateway);
            let origin = SocketAddr::new(V4, 443);
            let mut client = eventually(|| net.client.try_connect(origin).map_err(|why| why.to_string()));
            let mut up = upstream.accept();
            up.connect_target();
            up.reply([OPEN, b"hi"].concat());
            client.expect("hi");
            client.fin();
            up.fin();
            let first = client.address();
            client.expect_end(Ending::Fin);
            let mut client = net.client.connect(origin);
            let mut up = upstream.accept();
            up.connect_target();
            up.reply("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
            client.expect_end(Ending::Reset);
            let second = client.address();
            gateway.signal(Signal::SIGTERM);
            assert!(gateway.ends_within(Duration::from_secs(20)).is_some(), "it still runs");
            gateway.log.wait_for_end();
            let has = |address: &str| gateway.log.sessions().iter().any(|l| l.get("client") == Some(address));
            assert_eq!(has(&first), *finished, "the finished session's line");
            assert_eq!(has(&second), *refused, "the refused session's line");
        },
    );
}
