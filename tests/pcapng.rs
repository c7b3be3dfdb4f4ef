//! What tshark and capinfos make of the captures that are written: real readers of a format are the judges of it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use handyproxy::addr::{Host, Name, Source};
use handyproxy::close::{By, End};
use handyproxy::format::pcapng::{Capture, Event, Maker};
use handyproxy::format::{Dir, Ending, Facts};

const MAKER: Maker<'_> = Maker { hardware: "x86_64", os: "Linux 6.1", application: "handyproxy 0.1.0" };
const START: u64 = 1_795_219_918_323_000_000;
const MILLISECOND: u64 = 1_000_000;

/// A capture that grows, a millisecond per event.
struct Film {
    capture: Capture,
    bytes: Vec<u8>,
    at: u64,
}

impl Film {
    fn new() -> Film {
        let mut film = Film { capture: Capture::default(), bytes: Vec::new(), at: START };
        film.capture.begin(&MAKER, &mut film.bytes);
        film
    }

    fn happens(&mut self, facts: &Arc<Facts>, event: Event<'_>) {
        self.at += MILLISECOND;
        self.capture.write(self.at, facts, event, &mut self.bytes);
    }

    fn opens(&mut self, facts: &Arc<Facts>) {
        self.happens(facts, Event::Opened);
    }

    fn up(&mut self, facts: &Arc<Facts>, bytes: impl AsRef<[u8]>) {
        self.happens(facts, Event::Read(Dir::Up, bytes.as_ref()));
    }

    fn down(&mut self, facts: &Arc<Facts>, bytes: impl AsRef<[u8]>) {
        self.happens(facts, Event::Read(Dir::Down, bytes.as_ref()));
    }

    fn ends(&mut self, facts: &Arc<Facts>, end: End, by: By, error: Option<&str>) {
        let ending =
            Ending { end, by, error: error.map(Box::from), up: 7, down: 9, lasted: Duration::from_micros(12_345) };
        self.happens(facts, Event::Closed(&ending));
    }

    /// Both sides end, the client first.
    fn done(&mut self, facts: &Arc<Facts>) {
        self.happens(facts, Event::Ended(Dir::Up));
        self.happens(facts, Event::Ended(Dir::Down));
        self.ends(facts, End::Done, By::Client, None);
    }

    fn save(&self, name: &str) -> File {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.pcapng", std::process::id()));
        fs::write(&path, &self.bytes).expect("a file in the target folder");
        File(path)
    }
}

/// A file that is deleted at the end.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl File {
    /// What tshark says, strict about checksums, with these arguments; its lines.
    fn tshark(&self, args: &[&str]) -> Vec<String> {
        let out = Command::new("tshark")
            .args(["-N", "n", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-r"])
            .arg(&self.0)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("tshark (tests/run installs it)");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text").lines().map(str::to_owned).collect()
    }

    /// These fields of the packets that pass the filter, with `|` between them.
    fn fields(&self, filter: &str, fields: &[&str]) -> Vec<String> {
        let mut args = vec!["-Y", filter, "-T", "fields", "-E", "separator=|", "-E", "aggregator=;"];
        fields.iter().for_each(|field| args.extend(["-e", field]));
        self.tshark(&args)
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn session(id: u64, client: &str, origin: &str, name: Option<&str>) -> Arc<Facts> {
    let host = name.map(|name| Host::parse(name.as_bytes()).expect("a name"));
    let target = host.as_ref().map_or(origin.to_owned(), |host| format!("{host}:{}", address(origin).port()));
    Arc::new(Facts {
        id,
        client: address(client),
        origin: address(origin),
        name: host.map(|host| Name { host, source: Source::Sni }),
        target,
        via: Some("corp".into()),
        upstream: Some(address("10.2.0.2:3128")),
        from_port: Some(50000),
        local_port: 8443,
    })
}

/// What tshark has to say of each packet.
const JUDGED: [&str; 14] = [
    "tcp.stream",
    "tcp.analysis.flags",
    "tcp.analysis.reused_ports",
    "tcp.checksum.status",
    "ip.checksum.status",
    "_ws.malformed",
    "frame.comment",
    "http.request.uri",
    "http.host",
    "http.response.code",
    "tls.handshake.extensions_server_name",
    "ip.dst_host",
    "ipv6.dst_host",
    "tcp.flags.reset",
];

/// The packets of a file under those heads; nothing is wrong with any of them.
fn sound(file: &File) -> Vec<Vec<String>> {
    let rows: Vec<Vec<String>> =
        file.fields("tcp", &JUDGED).iter().map(|row| row.split('|').map(str::to_owned).collect()).collect();
    assert!(!rows.is_empty());
    for row in &rows {
        assert_eq!(row.len(), JUDGED.len(), "{row:?}");
        assert!(row[1].is_empty() || !row[2].is_empty(), "it criticises {row:?}");
        assert_eq!((&*row[3], &*row[5]), ("1", ""), "{row:?}");
        assert!(row[4] == "1" || row[11].is_empty(), "{row:?}");
    }
    rows
}

/// What is not empty in a column.
fn column<'a>(rows: &'a [Vec<String>], head: &str) -> Vec<&'a str> {
    let number = JUDGED.iter().position(|it| *it == head).expect("a head");
    rows.iter().map(|row| &*row[number]).filter(|cell| !cell.is_empty()).collect()
}

/// The bytes of a stream as tshark puts them together: up and down.
fn followed(file: &File, stream: usize) -> [Vec<u8>; 2] {
    let lines = file.tshark(&["-q", "-z", &format!("follow,tcp,raw,{stream}")]);
    let start = lines.iter().position(|line| line.starts_with("Node 1")).expect("both ends") + 1;
    let mut both = [Vec::new(), Vec::new()];
    for line in lines[start..].iter().filter(|line| !line.starts_with('=')) {
        let hex = line.trim_start_matches('\t');
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"));
        both[usize::from(line.starts_with('\t'))].extend(bytes);
    }
    both
}

#[test]
fn sessions_of_every_kind_are_streams_without_a_fault() {
    let mut film = Film::new();
    let web = session(1, "10.1.0.2:40001", "192.0.2.7:80", Some("www.example.org"));
    let tls = session(2, "[fd10:1::2]:40001", "[2001:db8::7]:443", Some("www.bench.example"));
    let refused = session(3, "10.1.0.2:40002", "192.0.2.8:80", None);
    let left = session(4, "10.1.0.2:40003", "192.0.2.8:80", None);
    let big = session(5, "10.1.0.2:40004", "192.0.2.8:8080", None);
    let again = session(6, "10.1.0.2:40001", "192.0.2.7:80", Some("www.example.org"));
    let server_first = session(7, "10.1.0.3:40001", "192.0.2.8:22", None);
    let reset = session(8, "10.1.0.3:40002", "192.0.2.8:22", None);
    let hello = fs::read("tests/fuzz/corpus/client_hello/browser").expect("a real hello");

    film.opens(&web);
    film.opens(&tls);
    film.up(&web, "GET /index.html HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
    film.up(&tls, &hello);
    film.down(&web, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    film.opens(&refused);
    film.ends(&refused, End::Refused, By::Upstream, Some("403 \"no\""));
    film.done(&web);
    film.ends(&tls, End::Reset, By::Upstream, None);
    film.opens(&left);
    film.ends(&left, End::Left, By::Client, None);
    film.opens(&big);
    for _ in 0..60 {
        film.down(&big, vec![7; 61_440]);
    }
    // half-closed: the client goes on
    film.happens(&big, Event::Ended(Dir::Down));
    film.up(&big, "x");
    film.up(&big, "y");
    film.happens(&big, Event::Ended(Dir::Up));
    film.ends(&big, End::Done, By::Client, None);
    film.opens(&again);
    film.up(&again, "GET /again HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
    film.ends(&again, End::Killed, By::Us, None);
    film.opens(&server_first);
    film.down(&server_first, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
    film.up(&server_first, "SSH-2.0-client\r\n");
    film.done(&server_first);
    film.opens(&reset);
    film.down(&reset, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
    film.ends(&reset, End::Reset, By::Client, None);

    let file = film.save("kinds");
    let rows = sound(&file);
    let mut streams = column(&rows, "tcp.stream");
    streams.sort_unstable();
    streams.dedup();
    assert_eq!(streams.len(), 8);
    assert_eq!(column(&rows, "tcp.analysis.reused_ports").len(), 1);
    assert_eq!(column(&rows, "http.request.uri"), ["/index.html", "/again"]);
    assert_eq!(column(&rows, "http.host"), ["www.example.org"; 2]);
    assert_eq!(column(&rows, "http.response.code"), ["200"]);
    assert_eq!(column(&rows, "tls.handshake.extensions_server_name"), ["www.bench.example"]);
    assert!(column(&rows, "ip.dst_host").contains(&"www.example.org"));
    assert!(column(&rows, "ipv6.dst_host").contains(&"www.bench.example"));
    let resets = rows.iter().filter(|row| row[13] == "1").count();
    assert_eq!(resets, 5, "refused, left, killed, and reset by either side");
    let comments = column(&rows, "frame.comment");
    assert_eq!(comments.len(), 16);
    assert_eq!(
        comments[0],
        "session id=1 client=10.1.0.2:40001 origin=192.0.2.7:80 name=www.example.org name_source=sni \
         target=www.example.org:80 via=corp upstream=10.2.0.2:3128 from_port=50000 local_port=8443"
    );
    let refusal = r#"session id=3 end=refused by=upstream error="403 \"no\"" up=7 down=9 duration_ms=12.345"#;
    // tshark puts a backslash before what it takes for special
    assert!(comments.iter().any(|text| text.replace(r"\\", r"\") == refusal), "{comments:?}");

    assert_eq!(followed(&file, 1), [hello, Vec::new()]);
    let [up, down] = followed(&file, 4);
    assert!(up == b"xy" && down == vec![7; 60 * 61_440]);

    let out = Command::new("capinfos").arg(&file.0).output().expect("capinfos (tests/run installs it)");
    let told = String::from_utf8(out.stdout).expect("text");
    for wanted in [
        "Strict time order:   True",
        "File timestamp precision:  nanoseconds (9)",
        "Encapsulation = Raw IP",
        "Capture application: handyproxy 0.1.0",
        "Number of resolved IPv4 addresses in file: 1",
        "Number of resolved IPv6 addresses in file: 1",
        &format!("Number of packets:   {}\n", rows.len()),
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
}

/// The first sequence numbers of a session: up and down.
fn first_numbers(session: &Arc<Facts>, at: u64) -> [u32; 2] {
    let mut film = Film::new();
    film.at = at;
    let start = film.bytes.len();
    film.opens(session);
    film.ends(session, End::Done, By::Client, None);
    // the packets' headers stand 28 bytes behind the block's beginning
    let length = |at: usize| u32::from_le_bytes(film.bytes[at + 4..at + 8].try_into().expect("four bytes")) as usize;
    let number = |at: usize| u32::from_be_bytes(film.bytes[at + 52..at + 56].try_into().expect("four bytes"));
    [number(start), number(start + length(start))]
}

#[test]
fn sequence_numbers_wrap_round_without_a_fault() {
    // a session whose numbers wrap within the first megabyte downwards
    let session = (1..1_000_000).map(|id| session(id, "10.1.0.2:40001", "192.0.2.8:8080", None));
    let mut near = session.filter(|session| first_numbers(session, START)[1] > u32::MAX - (1 << 20));
    let session = near.next().expect("one of a million is near the end");
    let mut film = Film::new();
    film.opens(&session);
    let pieces: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number; 60_000]).collect();
    pieces.iter().for_each(|piece| film.down(&session, piece));
    film.done(&session);
    let file = film.save("wrap");
    let rows = sound(&file);
    assert!(rows.len() > 110, "{} packets", rows.len());
    assert!(followed(&file, 0)[1] == pieces.concat());
}

#[test]
fn a_file_in_which_a_session_only_goes_on_is_sound_too() {
    let mut film = Film::new();
    let [both, half, idle] = [(1, 40001), (2, 40002), (3, 40003)]
        .map(|(id, port)| session(id, &format!("10.1.0.2:{port}"), "192.0.2.7:80", Some("www.example.org")));
    for session in [&both, &half, &idle] {
        film.opens(session);
        film.up(session, "GET /one HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
    }
    film.happens(&half, Event::Ended(Dir::Up));
    film.capture.kept();
    film.bytes.clear();
    film.capture.begin(&MAKER, &mut film.bytes);
    film.down(&both, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    film.up(&both, "GET /two HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
    film.down(&half, "HTTP/1.0 404 Not found\r\n\r\n");
    film.done(&both);
    film.happens(&half, Event::Ended(Dir::Down));
    film.ends(&half, End::Done, By::Upstream, None);
    film.ends(&idle, End::Idle, By::Us, None);
    let file = film.save("goes-on");
    let rows = sound(&file);
    let comments = column(&rows, "frame.comment");
    assert_eq!(comments.len(), 6, "{comments:?}");
    assert_eq!(comments.iter().filter(|text| text.ends_with("goes_on up=44 down=0")).count(), 3, "{comments:?}");
    assert_eq!(column(&rows, "http.request.uri"), ["/two"]);
    assert_eq!(column(&rows, "http.response.code"), ["200", "404"]);
    assert!(column(&rows, "ip.dst_host").contains(&"www.example.org"));
}

#[test]
fn what_was_missed_is_a_gap_that_is_counted() {
    let mut film = Film::new();
    let web = session(1, "10.1.0.2:40001", "192.0.2.8:8080", None);
    film.opens(&web);
    film.down(&web, "one");
    film.capture.missed(4, 1000);
    film.capture.skip(1, Dir::Down, 1000);
    film.down(&web, "two");
    film.up(&web, "three");
    film.done(&web);
    let file = film.save("gap");
    let fields = ["tcp.analysis.lost_segment", "frame.drop_count", "frame.comment", "tcp.payload"];
    let rows = file.fields("tcp.len > 0", &fields);
    assert_eq!(rows, ["|||6f6e65", "1|4|missed records=4 bytes=1000;gap bytes=1000|74776f", "|||7468726565"]);
    let lines = file.tshark(&["-q", "-z", "follow,tcp,ascii,0"]);
    assert!(lines.iter().any(|line| line.contains("[1000 bytes missing in capture file]")), "{lines:?}");
}
