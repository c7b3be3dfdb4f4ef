//! What the CONNECT carries, and when: every cut and every kind of first bytes, over IPv4 and IPv6.
//!
//! In every row the tunnel must then carry exactly what the client sent, and the origin's answer back.

mod rows;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::support::AT_ONCE;
use crate::support::each_row;
use crate::support::hello::Hello;
use crate::support::pace::Pace;
use crate::support::scene::Scene;
use crate::support::topology::{V4, V6};
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, Wire};

/// A time-out of the sniffing is no shorter than this.
const SNIFFED: Duration = Duration::from_millis(990);
const NAME: &str = "www.bench.example";

/// What a client does, and what must come of it.
pub(crate) struct Row {
    name: String,
    port: u16,
    steps: Vec<Step>,
    carries: Carries,
    when: When,
}

/// One thing that a client does.
#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    Pause(u64),
    Fin,
}
use Step::{Fin, Pause, Send};

/// The CONNECT's target.
#[derive(Clone)]
pub(crate) enum Carries {
    /// This name, found in this place.
    Name(String, &'static str),
    /// The origin's address.
    Address,
    /// The contract leaves it open, as long as it is one of the two.
    Either(String),
}
use Carries::{Address, Either};

#[derive(Clone, Copy, PartialEq)]
enum When {
    /// As soon as the last step is done.
    AtOnce,
    /// When the sniff time-out has passed.
    TimedOut,
}

impl Row {
    fn new(name: &str, port: u16, steps: Vec<Step>, carries: Carries) -> Self {
        Self { name: name.to_owned(), port, steps, carries, when: When::AtOnce }
    }

    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    fn timed_out(mut self) -> Self {
        self.when = When::TimedOut;
        self
    }
}

fn bench(source: &'static str) -> Carries {
    Carries::Name(NAME.to_owned(), source)
}

pub(crate) fn tls(name: &str, bytes: Vec<u8>, carries: Carries) -> Row {
    Row::new(name, 443, vec![Send(bytes)], carries)
}

pub(crate) fn http(name: &str, head: impl AsRef<[u8]>, carries: Carries) -> Row {
    Row::new(name, 80, vec![Send(head.as_ref().to_vec())], carries)
}

/// The same bytes in pieces with pauses between them.
fn pieces(name: &str, port: u16, bytes: &[u8], cuts: &[usize], carries: Carries) -> Row {
    let mut steps = Vec::new();
    let mut start = 0;
    for &cut in cuts {
        steps.push(Send(bytes[start..cut].to_vec()));
        steps.push(Pause(50));
        start = cut;
    }
    steps.push(Send(bytes[start..].to_vec()));
    Row::new(name, port, steps, carries)
}

/// Plays a row: the TCP connection to the upstream must be there before the client has said a word.
pub(crate) fn play(scene: &Scene, origin: IpAddr, row: &Row) {
    scene.upstream.forget();
    let began = Instant::now();
    let mut client = scene.connect(origin, row.port);
    let mut up = scene.upstream.accept();
    let mut sent = Vec::new();
    let mut ended = false;
    let last = row.steps.iter().rposition(|s| matches!(s, Send(_)));
    for (i, step) in row.steps.iter().enumerate() {
        match step {
            Send(bytes) => {
                if Some(i) == last {
                    up.expect_silence(Duration::from_millis(1));
                }
                client.send(bytes);
                sent.extend_from_slice(bytes);
            }
            Pause(ms) => std::thread::sleep(Duration::from_millis(*ms)),
            Fin => {
                client.fin();
                ended = true;
            }
        }
    }
    let done = Pace::start();
    let target = up.connect_target();
    let took = done.elapsed();

    let by_address = SocketAddr::new(origin, row.port).to_string();
    let named = |name: &str| format!("{name}:{}", row.port);
    match &row.carries {
        Carries::Name(name, _) => assert_eq!(target, named(name)),
        Address => assert_eq!(target, by_address),
        Either(name) => assert!(target == by_address || target == named(name), "the CONNECT carries {target}"),
    }
    match row.when {
        When::AtOnce => assert!(took < AT_ONCE, "the CONNECT took {took:?}"),
        When::TimedOut => assert!(began.elapsed() > SNIFFED, "the CONNECT came after {:?}", began.elapsed()),
    }
    carry(&mut client, &mut up, &sent, ended);
    let line = scene.gateway.session_of(&client);
    line.expect(&format!("end=done origin={by_address} target={target} stage=relay status=200"));
    match &row.carries {
        Carries::Name(name, source) => line.expect(&format!("name={name} name_source={source}")),
        Address => line.expect("-name -name_source"),
        Either(_) => {}
    }
}

/// The tunnel is open: every byte gets across, and the client's FIN if it has sent one.
fn carry(client: &mut Wire, up: &mut Wire, sent: &[u8], ended: bool) {
    up.reply([OPEN, b"hi"].concat());
    client.expect("hi");
    up.expect(sent);
    if ended {
        up.expect_end(Ending::Fin);
        up.send("bye");
        client.expect("bye");
    } else {
        client.send("more");
        up.expect("more");
        client.fin();
        up.expect_end(Ending::Fin);
    }
    up.fin();
    client.expect_end(Ending::Fin);
}

#[test]
fn connect_carries_the_name_or_the_address_over_ipv4() {
    let scene = Scene::new("-sniff-timeout 5s");
    each_row(&rows::table(), Row::name, |row| play(&scene, V4, row));
}

#[test]
fn connect_carries_the_name_or_the_address_over_ipv6() {
    let scene = Scene::new("-sniff-timeout 5s");
    each_row(&rows::table(), Row::name, |row| play(&scene, V6, row));
}

#[test]
fn whoever_does_not_say_enough_goes_on_by_address_after_the_sniff_timeout() {
    let scene = Scene::new("-sniff-timeout 1s");
    let hello = Hello::to(NAME).bytes();
    let send = |bytes: &[u8]| vec![Send(bytes.to_vec())];
    let rows = [
        Row::new("client silent (server speaks first)", 443, vec![], Address),
        Row::new("half a ClientHello", 443, send(&hello[..hello.len() - 60]), Address),
        Row::new("a record header", 443, send(&hello[..5]), Address),
        Row::new("half a method", 80, send(b"GE"), Address),
        Row::new("half a name", 80, send(b"GET / HTTP/1.1\r\nHost: www.bench.exa"), Address),
        Row::new("a Host line, but no end", 80, send(b"GET / HTTP/1.1\r\nHost: www.bench.example\r\n"), bench("host")),
    ]
    .map(Row::timed_out);
    each_row(&rows, Row::name, |row| play(&scene, V4, row));
}

#[test]
fn a_drip_of_bytes_does_not_stretch_the_sniff_timeout() {
    let scene = Scene::new("-sniff-timeout 1s");
    let mut client = scene.connect(V4, 80);
    let mut up = scene.upstream.accept();
    let start = Pace::start();
    while start.elapsed() < Duration::from_secs(3) {
        client.send("G");
        if up.has_news(Duration::from_millis(100)) {
            break;
        }
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "the drip held it for {took:?}");
    up.expect_connect("203.0.113.9:80");
}

#[test]
fn zero_means_one_second_of_sniffing() {
    let scene = Scene::new("-sniff-timeout 0");
    let row = Row::new("client silent", 443, vec![], Address).timed_out();
    play(&scene, V4, &row);
    play(&scene, V4, &tls("ClientHello", Hello::to(NAME).bytes(), bench("sni")));
}

#[test]
fn without_sniffing_everything_goes_by_address_at_once() {
    let scene = Scene::new("");
    let rows = [
        Row::new("client silent", 443, vec![], Address),
        http("GET, Host", "GET / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n", Address),
        tls("ClientHello", Hello::to(NAME).bytes(), Address),
        Row::new("2 bytes then client FIN at once", 443, vec![Send(b"xy".into()), Fin], Address),
    ];
    // the CONNECT does not wait for the client, so there is no silence before its last piece
    each_row(&rows, Row::name, |row| {
        let mut client = scene.connect(V4, row.port);
        let mut up = scene.upstream.accept();
        up.expect_connect(&SocketAddr::new(V4, row.port).to_string());
        let mut sent = Vec::new();
        for step in &row.steps {
            match step {
                Send(bytes) => {
                    client.send(bytes);
                    sent.extend_from_slice(bytes);
                }
                Fin => client.fin(),
                Pause(_) => {}
            }
        }
        let ended = row.steps.iter().any(|s| matches!(s, Fin));
        carry(&mut client, &mut up, &sent, ended);
        scene.gateway.session_of(&client).expect("end=done -name");
    });
}

#[test]
fn server_first_ports_wait_for_nothing() {
    let scene = Scene::new("-sniff-timeout 5s");
    let rows = [21, 22, 25, 110, 143, 587, 3306];
    let silent = |port: &u16| Row::new("", *port, vec![], Address);
    each_row(&rows, |port| format!("port {port}"), |port| play(&scene, V4, &silent(port)));

    let scene = Scene::new("-sniff-timeout 5s -server-first-ports 443,9000-9010");
    let rows = [443, 9000, 9005, 9010];
    each_row(&rows, |port| format!("port {port}, by flag"), |port| play(&scene, V4, &silent(port)));
    let ssh = Row::new(
        "",
        22,
        vec![Pause(100), Send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".into())],
        Carries::Name("a.example".to_owned(), "host"),
    );
    play(&scene, V4, &ssh);
}

#[test]
fn scanners_keep_to_their_ports() {
    let scene = Scene::new("-sniff-timeout 5s -sniff-http-ports 80,8000-8999 -sniff-tls-ports 443");
    let get = "GET / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n".as_bytes().to_vec();
    let hello = Hello::to(NAME).bytes();
    let row = |name, port, bytes: &[u8], carries| Row::new(name, port, vec![Send(bytes.to_vec())], carries);
    let rows = [
        row("GET on an http port", 80, &get, bench("host")),
        row("GET in a range of http ports", 8080, &get, bench("host")),
        row("ClientHello on a tls port", 443, &hello, bench("sni")),
        row("GET on a tls port", 443, &get, Address),
        row("ClientHello on an http port", 80, &hello, Address),
        Row::new("silence on a port without a scanner", 9999, vec![], Address),
    ];
    each_row(&rows, Row::name, |row| play(&scene, V4, row));
}

#[test]
fn the_byte_limit_is_a_flag() {
    let scene = Scene::new("-sniff-timeout 5s -sniff-max-bytes 64");
    let long = format!("GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "x".repeat(64));
    let rows = [
        http("a head over the limit", long, Address),
        http("a head within the limit", "GET / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n", bench("host")),
        tls("a hello over the limit", Hello::to(NAME).bytes(), Address),
    ];
    each_row(&rows, Row::name, |row| play(&scene, V4, row));

    let scene = Scene::new("-sniff-timeout 5s -sniff-max-bytes 16384");
    let late = Hello::nameless().padding(9000).name(NAME).bytes();
    play(&scene, V4, &tls("a name behind 9 KB", late, bench("sni")));
}

#[test]
fn a_hello_or_a_head_cut_at_any_byte_carries_its_name() {
    let scene = Scene::new("-sniff-timeout 5s");
    let get = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into_bytes();
    let hello = Hello::default().grease().name(NAME).records(70);
    for (port, bytes) in [(80, get), (443, hello)] {
        let cuts: Vec<usize> = (1..bytes.len()).collect();
        each_row(
            &cuts,
            |cut| format!("port {port}, cut at {cut}"),
            |&cut| {
                scene.upstream.forget();
                let mut client = scene.connect(V4, port);
                let mut up = scene.upstream.accept();
                client.send(&bytes[..cut]);
                // long enough to be read on its own, nearly always
                std::thread::sleep(Duration::from_millis(1));
                client.send(&bytes[cut..]);
                up.expect_connect(&format!("{NAME}:{port}"));
                up.reply(OPEN);
                up.expect(&bytes);
            },
        );
    }
}

#[test]
fn the_dial_overlaps_the_sniffing_and_carries_no_byte_of_it() {
    let scene = Scene::new("-sniff-timeout 5s");
    let mut client = scene.connect(V4, 443);
    let start = Pace::start();
    let mut up = scene.upstream.accept();
    let took = start.elapsed();
    assert!(took < AT_ONCE, "the dial waited {took:?} for the client");
    up.expect_silence(Duration::from_millis(300));
    client.send(Hello::to(NAME).bytes());
    up.expect_connect("www.bench.example:443");
    // the hello stays at home until the answer is there
    up.expect_silence(Duration::from_millis(300));
    up.reply(OPEN);
    up.expect(Hello::to(NAME).bytes());
}

#[test]
fn a_client_that_says_nothing_and_ends_makes_no_connect() {
    let scene = Scene::new("-sniff-timeout 5s");
    let start = scene.gateway.descriptors();
    let mut client = scene.connect(V4, 80);
    let mut up = scene.upstream.accept();
    client.fin();
    scene.gateway.session_of(&client).expect("end=left by=client up=0 down=0");
    let (bytes, end) = up.receive_all();
    assert_eq!(bytes, b"", "a CONNECT for nobody");
    assert_ne!(end, Ending::Open);
    scene.gateway.settles_at(start);
}
