use super::*;
use crate::addr::{Host, Name, Source};
use crate::close::{By, End as How};

/// 12:45:18 on 21 November 2026, UTC.
const THEN: u64 = 1_795_265_118;

fn facts(id: u64, client: &str, origin: &str, target: &str) -> Facts {
    let host = Host::parse(target.split(':').next().unwrap_or_default().as_bytes());
    Facts {
        id,
        client: client.parse().expect("an address"),
        origin: origin.parse().expect("an address"),
        name: host.map(|host| Name { host, source: Source::Sni }),
        target: target.to_owned(),
        via: None,
        upstream: None,
        from_port: Some(34408),
        local_port: 8443,
    }
}

fn ending(end: How, by: By, moved: [u64; 2], ms: u64) -> Ending {
    Ending { end, by, error: None, up: moved[0], down: moved[1], lasted: Duration::from_millis(ms) }
}

/// A client and what was said, without the time.
fn said(chunks: &[(Dir, &[u8])]) -> Vec<String> {
    let facts = facts(1, "10.0.0.5:41234", "192.0.2.7:80", "192.0.2.7:80");
    let mut seen = Seen::default();
    let lines = chunks.iter().map(|(dir, bytes)| {
        let mut out = Vec::new();
        let moment = Moment { at: 0, facts: &facts, event: Event::Read(*dir, bytes) };
        Readable { colour: false }.write(&moment, &mut seen, &mut out);
        let line = String::from_utf8(out).expect("text");
        line.strip_prefix("00:00:00.000Z #1    ").expect("a time and a number").trim_end().to_owned()
    });
    lines.collect()
}

fn hint(bytes: &[u8]) -> String {
    let line = said(&[(Dir::Up, bytes)]).remove(0);
    let (_, hint) = line.split_once("B").expect("a size");
    hint.trim_start().to_owned()
}

#[test]
fn sessions_read_as_in_the_golden_file() {
    let one = Facts { via: Some("corp".into()), ..facts(1, "10.0.0.5:41234", "192.0.2.7:443", "www.example.org:443") };
    let two =
        Facts { upstream: "10.2.0.2:3128".parse().ok(), ..facts(2, "10.0.0.5:41236", "192.0.2.8:80", "192.0.2.8:80") };
    let three = facts(1234, "[2001:db8::1]:50000", "[2001:db8::9]:443", "gone.example:8443");
    let hello = [&[0x16, 3, 1, 2, 0, 1][..], &[0; 511]].concat();
    let server_hello = [&[0x16, 3, 3, 0, 90, 2][..], &[0; 4100]].concat();
    let get = format!("GET /search?q=secret HTTP/1.1\r\nHost: a\r\n{:47}\r\n", "");
    let not_found = format!("HTTP/1.1 404 Not Found\r\n{:1476}", "");
    let failed =
        Ending { error: Some("dial: timed out after 5s".into()), ..ending(How::Timeout, By::Us, [0, 0], 5000) };
    let done = ending(How::Done, By::Upstream, [89, 1500], 22);
    let reset = ending(How::Reset, By::Client, [517, 4106], 1077);
    let moments = [
        (323, &one, Event::Opened),
        (330, &one, Event::Read(Dir::Up, &hello)),
        (351, &two, Event::Opened),
        (352, &two, Event::Read(Dir::Up, get.as_bytes())),
        (360, &one, Event::Read(Dir::Down, &server_hello)),
        (371, &two, Event::Read(Dir::Down, not_found.as_bytes())),
        (372, &two, Event::Ended(Dir::Down)),
        (373, &two, Event::Closed(&done)),
        (1400, &one, Event::Closed(&reset)),
        (2000, &three, Event::Opened),
        (7000, &three, Event::Closed(&failed)),
    ];
    let mut seen = [Seen::default(), Seen::default(), Seen::default()];
    let mut out = Vec::new();
    for (ms, facts, event) in moments {
        let seen = &mut seen[usize::try_from(facts.id.min(3)).expect("small") - 1];
        let at = (THEN * 1000 + ms) * 1_000_000;
        Readable { colour: false }.write(&Moment { at, facts, event }, seen, &mut out);
    }
    let text = String::from_utf8(out).expect("text");
    assert_eq!(text, include_str!("../../tests/golden/readable.log"));
    assert!(text.lines().all(|line| line.len() <= 80));
}

#[test]
fn the_first_bytes_say_what_they_are() {
    let rows: [(&[u8], &str); 17] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /"),
        (b"POST /a/b HTTP/1.0\n", "POST /a/b"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI *"),
        (b"GET http://a.example/x HTTP/1.1\r\n", "GET http://a.example/x"),
        (b"CONNECT a.example:443 HTTP/1.1\r\n", "CONNECT a.example:443"),
        (b"GET /a-line-that-is-not-whole-y", "GET /a-line-that-is-not-whole-y"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK"),
        (b"HTTP/1.1 204\r\n", "HTTP/1.1 204"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "TLS ClientHello"),
        (b"\x16\x03\x03\x00\x5a\x02\x00", "TLS ServerHello"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "TLS alert 40, handshake failure"),
        (b"\x15\x03\x03\x00\x02\x02\xc8", "TLS alert 200"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ""),
        (b"USER alice PASS secret\r\n", ""),
        (b"AUTH secret\r\n", ""),
        (b"HTTP/1.1 secret\r\n", ""),
        (b"\r\n", ""),
    ];
    for (bytes, wanted) in rows {
        assert_eq!(hint(bytes), wanted, "{}", bytes.escape_ascii());
    }
}

#[test]
fn no_secret_is_shown() {
    let requests = [
        "GET /?token=secret HTTP/1.1\r\n",
        "GET /a;session=secret HTTP/1.1\r\n",
        "GET /#secret HTTP/1.1\r\n",
        "GET http://alice:secret@a.example/ HTTP/1.1\r\n",
        "GET http://alice:se?secret@a.example/ HTTP/1.1\r\n",
        "GET http://a@secret@a.example/ HTTP/1.1\r\n",
        "CONNECT alice:secret@a.example:443 HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nAuthorization: Basic secret\r\nCookie: secret\r\nProxy-Authorization: secret\r\n\r\n",
        "GET / HTTP/1.1\nX: secret\r\n\r\n",
        "GET /?a=secret",
        "GET /a secret",
        "GET http://alice:secret@a.example",
        "HTTP/1.1 200 OK\r\nSet-Cookie: secret\r\n\r\n",
    ];
    for request in requests {
        let hint = hint(request.as_bytes());
        assert!(!hint.is_empty() && !hint.contains("secret"), "{request:?}: {hint}");
    }
}

#[test]
fn what_follows_the_first_bytes_is_never_looked_into() {
    let lines =
        said(&[(Dir::Up, b"PUT /f HTTP/1.1\r\n\r\n"), (Dir::Up, b"GET /secret HTTP/1.1\r\n"), (Dir::Down, b"x")]);
    assert_eq!(lines, ["->     19 B  PUT /f", "->     22 B", "<-      1 B"]);
}

#[test]
fn an_alert_ends_tls_and_nothing_else() {
    let alert: &[u8] = b"\x15\x03\x03\x00\x02\x02\x30";
    let encrypted = [&[0x15, 3, 3, 0, 19][..], &[7; 19]].concat();
    let hello: &[u8] = b"\x16\x03\x01\x02\x00\x01";
    let lines = said(&[(Dir::Up, hello), (Dir::Down, hello), (Dir::Up, alert), (Dir::Up, &encrypted)]);
    assert_eq!(lines[2..], ["->      7 B  TLS alert 48, unknown CA", "->     24 B  TLS alert, encrypted"]);
    let lines = said(&[(Dir::Up, b"x"), (Dir::Up, alert)]);
    assert_eq!(lines[1], "->      7 B");
}

#[test]
fn hostile_bytes_are_escaped_and_bounded() {
    assert_eq!(hint(b"GET /\x1b[31m\xff HTTP/1.1\r\n"), "GET /\\x1b[31m\\xff");
    assert_eq!(hint(b"HTTP/1.1 200 \x1b]0;x\x07\r\n"), "HTTP/1.1 200 \\x1b]0;x\\x07");
    for long in ["GET /".to_owned() + &"\u{1b}".repeat(60_000), "HTTP/1.1 200 ".to_owned() + &"\u{1b}".repeat(60_000)] {
        let hint = hint((long + " HTTP/1.1\r\n").as_bytes());
        assert!(hint.len() < 120 && hint.ends_with("...") && hint.is_ascii(), "{hint}");
    }
    let mut out = Vec::new();
    let facts = facts(1, "10.0.0.5:1", "192.0.2.7:80", "a\x1b[2J\n12:00 forged");
    let moment = Moment { at: 0, facts: &facts, event: Event::Opened };
    Readable { colour: false }.write(&moment, &mut Seen::default(), &mut out);
    assert!(out.is_ascii() && !out.contains(&0x1b) && out.iter().filter(|&&b| b == b'\n').count() == 1);
}

#[test]
fn the_way_is_as_short_as_it_can_be() {
    let plain = facts(1, "10.0.0.5:1", "192.0.2.7:80", "192.0.2.7:80");
    let upstream = "10.2.0.2:3128".parse().ok();
    let rows = [
        (plain.clone(), "10.0.0.5:1 -> 192.0.2.7:80"),
        (Facts { target: String::new(), ..plain.clone() }, "10.0.0.5:1 -> 192.0.2.7:80"),
        (Facts { target: "a.example:80".into(), ..plain.clone() }, "10.0.0.5:1 -> a.example:80 (192.0.2.7)"),
        (Facts { target: "a.example:81".into(), ..plain.clone() }, "10.0.0.5:1 -> a.example:81 (192.0.2.7:80)"),
        (Facts { via: Some("direct".into()), ..plain.clone() }, "10.0.0.5:1 -> 192.0.2.7:80 direct"),
        (Facts { via: Some("corp".into()), upstream, ..plain.clone() }, "10.0.0.5:1 -> 192.0.2.7:80 via corp"),
        (Facts { upstream, ..plain }, "10.0.0.5:1 -> 192.0.2.7:80 via 10.2.0.2:3128"),
    ];
    for (facts, wanted) in rows {
        assert_eq!(Way(&facts).to_string(), wanted);
    }
}

#[test]
fn sizes_and_spans_are_for_people() {
    let rows = [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (61_440, "61.4 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_500_000_000, "1.5 GB"),
        (u64::MAX, "18446.7 PB"),
    ];
    for (bytes, wanted) in rows {
        assert_eq!(Size(bytes).to_string(), wanted);
    }
    for (ms, wanted) in [(0, "0 ms"), (999, "999 ms"), (1999, "1.9 s"), (60_000, "1m00s"), (7_500_000, "2h05m")] {
        assert_eq!(Span(Duration::from_millis(ms)).to_string(), wanted);
    }
}

#[test]
fn colours_are_there_if_they_are_wanted_and_end_in_their_line() {
    let facts = facts(1, "10.0.0.5:1", "192.0.2.7:80", "192.0.2.7:80");
    let error = ending(How::Error, By::Us, [0, 0], 1);
    let events = [Event::Opened, Event::Read(Dir::Up, b"x"), Event::Ended(Dir::Down), Event::Closed(&error)];
    for event in events {
        let moment = Moment { at: 0, facts: &facts, event };
        let [mut plain, mut coloured] = [Vec::new(), Vec::new()];
        Readable { colour: false }.write(&moment, &mut Seen::default(), &mut plain);
        Readable { colour: true }.write(&moment, &mut Seen::default(), &mut coloured);
        assert!(!plain.contains(&0x1b));
        let mut text = String::from_utf8(coloured).expect("text");
        let begun = text.matches("\x1b[").count();
        assert_eq!(begun, 2 * text.matches(PLAIN).count());
        for code in [DIM, BOLD, CYAN, GREEN, YELLOW, RED, PLAIN] {
            text = text.replace(code, "");
        }
        assert_eq!(text.as_bytes(), plain);
    }
}
