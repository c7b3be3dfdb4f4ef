//! Golden lines, hostile words in them, and places that cannot be written for a while.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::addr::{Host, Name, Source};
use crate::close::{By, End, Stage};
use crate::config::Command;
use crate::flow::Led;

/// 2026-11-21T03:00:00.135Z
const ENDED: Duration = Duration::from_millis(1_795_230_000_135);

fn setup() -> Setup {
    let words = "-local-port 1 -upstream-proxy 10.2.0.2".split(' ').map(str::to_owned);
    match Command::parse(words) {
        Ok(Command::Run(config)) => Setup::new(*config, None).expect("sound"),
        other => panic!("{other:?}"),
    }
}

fn flow(id: u64) -> Flow {
    Flow { id, ..Flow::new("10.1.0.2:40000".parse().expect("an address")) }
}

/// A session of which everything is known.
fn whole() -> Flow {
    let span = |micros| Some(Duration::from_micros(micros).into());
    let host = Host::parse(b"www.example.org").expect("a name");
    Flow {
        origin: Some("192.0.2.7:443".parse().expect("an address")),
        name: Some(Name { host, source: Source::Sni }),
        verified: Some(true),
        led: Some(Box::new(Led { via: Arc::from("corp"), route: Some(Arc::from("/etc/my gate.toml:12")) })),
        upstream: Some("10.2.0.2:3128".parse().expect("an address")),
        stage: Stage::Relay,
        status: Some(200),
        sniff: span(912),
        dial: span(301),
        tls: span(2000),
        connect: span(1544),
        requests: 3,
        retries: 1,
        chunks: [4, 5],
        up: 517,
        down: 2048,
        ..flow(7)
    }
}

fn with<T>(flow: &Flow, close: &Close, look: impl FnOnce(&Line<'_>) -> T) -> T {
    let (ended, lasted) = (SystemTime::UNIX_EPOCH + ENDED, Duration::from_micros(12_168));
    look(&Line { flow, close, setup: &setup(), ended, lasted })
}

#[test]
fn a_line_of_text_has_every_fact_in_its_place() {
    let close = Close::because(End::Reset, By::Upstream, "it said \"no\"");
    let line = with(&whole(), &close, |line| line.timed());
    assert_eq!(
        line,
        "2026-11-21T03:00:00.135Z session id=7 end=reset by=upstream client=10.1.0.2:40000 origin=192.0.2.7:443 \
         name=www.example.org name_source=sni target=www.example.org:443 via=corp route=\"/etc/my gate.toml:12\" \
         upstream=10.2.0.2:3128 stage=relay status=200 error=\"it said \\\"no\\\"\" sniff_ms=0.912 dial_ms=0.301 \
         tls_ms=2.000 connect_ms=1.544 requests=3 retries=1 up=517 down=2048 chunks_up=4 chunks_down=5 \
         duration_ms=12.168"
    );
}

#[test]
fn a_line_of_json_has_every_key_in_its_place() {
    let close = Close::because(End::Reset, By::Upstream, "it said \"no\"");
    let line = with(&whole(), &close, |line| line.json());
    assert_eq!(
        line,
        "{\"id\":7,\"started\":\"2026-11-21T03:00:00.122Z\",\"ended\":\"2026-11-21T03:00:00.135Z\",\"end\":\"reset\",\
         \"by\":\"upstream\",\"client\":\"10.1.0.2:40000\",\"origin\":\"192.0.2.7:443\",\"name\":\"www.example.org\",\
         \"name_source\":\"sni\",\"target\":\"www.example.org:443\",\"via\":\"corp\",\
         \"route\":\"/etc/my gate.toml:12\",\"verified\":true,\"upstream\":\"10.2.0.2:3128\",\"stage\":\"relay\",\
         \"status\":200,\"error\":\"it said \\\"no\\\"\",\"sniff_ms\":0.912,\"dial_ms\":0.301,\"tls_ms\":2.000,\
         \"connect_ms\":1.544,\"requests\":3,\"retries\":1,\"up\":517,\"down\":2048,\"chunks_up\":4,\"chunks_down\":5,\
         \"duration_ms\":12.168}"
    );
}

#[test]
fn what_is_not_known_is_left_out_of_text_and_null_in_json() {
    let close = Close::new(End::Direct, By::Client);
    assert_eq!(
        with(&flow(1), &close, |line| line.to_string()),
        "session id=1 end=direct by=client client=10.1.0.2:40000 stage=origin up=0 down=0 chunks_up=0 chunks_down=0 \
         duration_ms=12.168"
    );
    let json = with(&flow(1), &close, |line| line.json());
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let whole: serde_json::Value =
        serde_json::from_str(&with(&self::whole(), &close, |line| line.json())).expect("JSON");
    let keys = |value: &serde_json::Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&value), keys(&whole), "the same keys in every line");
    assert_eq!(keys(&value).len(), 28);
    for null in ["origin", "name", "verified", "upstream", "status", "error", "tls_ms"] {
        assert!(value[null].is_null(), "{null}: {json}");
    }
    assert_eq!((&value["requests"], &value["retries"]), (&0.into(), &0.into()));
}

#[test]
fn a_name_that_did_not_verify_is_said_in_all_three() {
    let flow = Flow { verified: Some(false), ..whole() };
    let close = Close::new(End::Done, By::Client);
    assert!(with(&flow, &close, |line| line.to_string()).contains(" verified=no "));
    assert!(with(&flow, &close, |line| line.json()).contains(",\"verified\":false,"));
    let entry = with(&flow, &close, |line| line.entry("x").into_bytes());
    assert!(String::from_utf8_lossy(&entry).contains("\nHANDYPROXY_VERIFIED=no\n"));
}

#[test]
fn an_entry_of_the_journal_has_a_field_for_each_fact() {
    let close = Close::because(End::Dial, By::Upstream, "it said \"no\"\nand more");
    let entry = with(&whole(), &close, |line| line.entry("what is said").into_bytes());
    let wanted = "MESSAGE=what is said\nPRIORITY=4\nSYSLOG_IDENTIFIER=handyproxy\nHANDYPROXY_ID=7\n\
         HANDYPROXY_STARTED=2026-11-21T03:00:00.122Z\nHANDYPROXY_ENDED=2026-11-21T03:00:00.135Z\n\
         HANDYPROXY_END=dial\nHANDYPROXY_BY=upstream\nHANDYPROXY_CLIENT=10.1.0.2:40000\n\
         HANDYPROXY_ORIGIN=192.0.2.7:443\nHANDYPROXY_NAME=www.example.org\nHANDYPROXY_NAME_SOURCE=sni\n\
         HANDYPROXY_TARGET=www.example.org:443\nHANDYPROXY_VIA=corp\nHANDYPROXY_ROUTE=/etc/my gate.toml:12\n\
         HANDYPROXY_UPSTREAM=10.2.0.2:3128\nHANDYPROXY_STAGE=relay\nHANDYPROXY_STATUS=200\n\
         HANDYPROXY_ERROR\n\u{15}\0\0\0\0\0\0\0it said \"no\"\nand more\nHANDYPROXY_SNIFF_MS=0.912\n\
         HANDYPROXY_DIAL_MS=0.301\nHANDYPROXY_TLS_MS=2.000\nHANDYPROXY_CONNECT_MS=1.544\nHANDYPROXY_REQUESTS=3\n\
         HANDYPROXY_RETRIES=1\nHANDYPROXY_UP=517\nHANDYPROXY_DOWN=2048\nHANDYPROXY_CHUNKS_UP=4\n\
         HANDYPROXY_CHUNKS_DOWN=5\nHANDYPROXY_DURATION_MS=12.168\n";
    assert_eq!(String::from_utf8(entry).expect("text"), wanted);
}

#[test]
fn a_clock_that_was_set_back_costs_no_line() {
    let close = Close::new(End::Done, By::Client);
    let (flow, setup) = (whole(), setup());
    let (ended, lasted) = (SystemTime::UNIX_EPOCH + Duration::from_secs(5), Duration::from_secs(3600));
    let line = Line { flow: &flow, close: &close, setup: &setup, ended, lasted };
    let started = "\"started\":\"1970-01-01T00:00:00.000Z\",\"ended\":\"1970-01-01T00:00:05.000Z\"";
    assert!(line.json().contains(started), "{}", line.json());
}

#[test]
fn hostile_words_stay_within_their_quotes() {
    // nobody should bring such words here; if somebody did
    let long = "r".repeat(64 * 1024);
    let hostile = [
        "\" end=done by=us error=\"",
        "a\r\n2026-11-21T03:00:00.135Z session id=8 end=done",
        "\x1b[2J\x1b[31mred \x07\x08\0\x7f",
        "\u{9b}31m \u{202e}right to left \u{2028}\u{2029}\u{feff}\u{e0041}",
        "\\\" \\",
        "\",\"end\":\"done",
        "\x1b[31mno-space",
        "\u{202e}ecaps-on",
        &String::from_utf8_lossy(b"\xff\xfe not UTF-8"),
        &long,
    ];
    for words in hostile {
        let close = Close::because(End::Refused, By::Upstream, words);
        let led = Led { via: Arc::from("corp"), route: Some(Arc::from(words)) };
        let flow = Flow { led: Some(Box::new(led)), ..whole() };
        let text = with(&flow, &close, |line| line.timed());
        let odd = text.chars().find(|c| *c != '\u{fffd}' && *c != '\\' && *c != '"' && c.escape_debug().len() > 1);
        assert_eq!(odd, None, "{}", text.escape_debug());
        let quoted = format!(" error={words:?} sniff_ms=");
        assert!(text.contains(&quoted), "{text}");
        let json = with(&flow, &close, |line| line.json());
        assert!(json.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", json.escape_debug());
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&value["error"], &value["route"]), (&words.into(), &words.into()));
        assert_eq!(value["end"], "refused");
        let entry = with(&flow, &close, |line| line.entry(&line.to_string()).into_bytes());
        assert_eq!(fields(&entry).iter().filter(|(name, _)| name == "HANDYPROXY_END").count(), 1);
        assert!(fields(&entry).contains(&("HANDYPROXY_ERROR".to_owned(), words.as_bytes().to_vec())));
    }
}

/// Reads an entry as the journal does.
fn fields(mut entry: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|&b| b == b'\n').expect("a field ends");
        let line = &entry[..end];
        entry = &entry[end + 1..];
        let (name, value) = match line.iter().position(|&b| b == b'=') {
            Some(at) => (&line[..at], line[at + 1..].to_vec()),
            None => {
                let (length, rest) = entry.split_first_chunk::<8>().expect("a length");
                let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).expect("short"));
                entry = rest.strip_prefix(b"\n").expect("a value ends");
                (line, value.to_vec())
            }
        };
        let name = String::from_utf8(name.to_vec()).expect("a name");
        assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        fields.push((name, value));
    }
    fields
}

/// A folder of the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("handyproxy-access-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a scratch folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn soon<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it never comes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn lines_are_written_whole_and_in_their_order_by_many_sessions_at_once() {
    let folder = Folder::new("order");
    let file = folder.0.join("made/on/the/way/access.log");
    let writer = Writer::start(AccessLog::File(file.clone()), ROOM, Arc::default()).expect("a thread");
    std::thread::scope(|scope| {
        for session in 0..4 {
            let writer = &writer;
            scope.spawn(move || (0..5000).for_each(|n| writer.push(format!("{session} {n}\n").into_bytes())));
        }
    });
    writer.close();
    writer.wait(Instant::now() + Duration::from_secs(20));
    let text = read(&file);
    let mut next = [0; 4];
    for line in text.lines() {
        let (session, n) = line.split_once(' ').expect("a whole line");
        let session: usize = session.parse().expect("a number");
        assert_eq!(n, next[session].to_string());
        next[session] += 1;
    }
    assert_eq!(next, [5000; 4]);
    assert!(text.ends_with('\n'));
}

#[test]
fn a_place_that_cannot_be_written_keeps_what_there_is_room_for_and_counts_the_rest() {
    let folder = Folder::new("room");
    let (stone, file) = (folder.0.join("stone"), folder.0.join("stone/access.log"));
    std::fs::write(&stone, "no folder").expect("a scratch file");
    let all = Arc::new(AtomicU64::new(5));
    let writer = Writer::start(AccessLog::File(file.clone()), 1000, all.clone()).expect("a thread");
    (0..30).for_each(|n| writer.push(format!("{n:099}\n").into_bytes()));
    assert_eq!(writer.waiting(), (1000, 20));
    assert_eq!(all.load(Ordering::Relaxed), 25, "with those of other places");
    soon(|| writer.is_failing().then_some(()));
    std::fs::remove_file(&stone).expect("a scratch file");
    writer.reopen();
    let text = soon(|| Some(read(&file)).filter(|text| text.lines().count() == 10));
    assert!(text.lines().enumerate().all(|(n, line)| line == format!("{n:099}")), "{text}");
    soon(|| (writer.waiting() == (0, 20)).then_some(()));
    soon(|| (!writer.is_failing()).then_some(()));
    // there is room again
    writer.push(b"again\n".to_vec());
    soon(|| read(&file).ends_with("\nagain\n").then_some(()));
    writer.close();
    writer.wait(Instant::now() + Duration::from_secs(20));
    assert!(writer.has_ended());
}

#[test]
fn lines_on_a_full_disk_wait_until_they_are_written_or_given_up() {
    let lost = Arc::<AtomicU64>::default();
    // it can be opened, and takes nothing
    let writer = Writer::start(AccessLog::File("/dev/full".into()), ROOM, lost.clone()).expect("a thread");
    soon(|| {
        writer.push(b"a line\n".to_vec());
        writer.is_failing().then_some(())
    });
    assert!(writer.queued() >= 7 && writer.queued().is_multiple_of(7), "{} bytes", writer.queued());
    let lines = writer.queued() as u64 / 7;
    assert_eq!(lost.load(Ordering::Relaxed), 0);
    writer.close();
    writer.wait(Instant::now() + Duration::from_secs(20));
    assert_eq!(lost.load(Ordering::Relaxed), lines);
}

#[test]
fn a_writer_that_hangs_holds_neither_sessions_nor_the_end_up() {
    let folder = Folder::new("hangs");
    let pipe = folder.0.join("pipe");
    // nobody reads it, so that opening it does not come back
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo, of coreutils");
    assert!(made.success());
    let access = Access::default();
    let mut setup = setup();
    setup.config.access_log = AccessLog::File(pipe.clone());
    access.change(&setup.config).expect("a thread");
    let (flow, close) = (whole(), Close::new(End::Done, By::Client));
    // more than there is room for
    (0..40_000).for_each(|_| access.write(&flow, &close, &setup));
    let writer = access.state().writer.clone().expect("a place of its own");
    let (bytes, lost) = writer.waiting();
    assert!(bytes <= ROOM && lost > 0, "{bytes} bytes wait, {lost} lines are lost");
    let counts = AccessCounts { lost, queued: bytes, room: ROOM, failing: false };
    assert_eq!(access.counts(), counts);
    // elsewhere from now on: what waits for the pipe waits still, and what was lost is lost
    let file = folder.0.join("access.log");
    setup.config.access_log = AccessLog::File(file.clone());
    access.change(&setup.config).expect("a thread");
    access.write(&flow, &close, &setup);
    soon(|| (!read(&file).is_empty()).then_some(()));
    soon(|| (access.counts() == counts).then_some(()));
    let start = Instant::now();
    access.close();
    assert!((FAREWELL..FAREWELL * 10).contains(&start.elapsed()), "{:?}", start.elapsed());
    // somebody comes to read after all
    let mut text = String::new();
    std::fs::File::open(&pipe).expect("a pipe").read_to_string(&mut text).expect("text");
    assert_eq!(text.lines().count() as u64, 40_000 - lost);
    assert!(text.lines().all(|line| line.contains(" session id=7 end=done ")));
    soon(|| writer.has_ended().then_some(()));
}
