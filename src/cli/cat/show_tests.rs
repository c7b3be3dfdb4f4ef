//! What is printed, to the byte: proxcat's forms, and ours.

use super::*;
use jiff::tz::TimeZone;

const AT: u64 = 1_795_219_918_325_283_000;

fn session() -> Session {
    Session { number: 1, client: ([127, 0, 0, 1], 45484).into(), origin: None }
}

fn show(wishes: &Wishes, is_terminal: bool) -> Show<Vec<u8>> {
    let mut show = Show::new(Vec::new(), wishes, is_terminal);
    show.clock = Clock::of(TimeZone::UTC);
    show
}

fn text(mut show: Show<Vec<u8>>) -> String {
    show.flush().expect("memory takes all");
    String::from_utf8_lossy(&show.out).into_owned()
}

/// One record that went to the client.
fn shown(wishes: &Wishes, is_terminal: bool, bytes: &[u8]) -> String {
    let mut show = show(wishes, is_terminal);
    show.record(AT, session(), Dir::Down, bytes).expect("memory takes all");
    text(show)
}

#[test]
fn a_hexdump_goes_on_where_the_last_record_of_its_direction_ended() {
    let mut show = show(&Wishes { hex: true, ..Wishes::default() }, false);
    show.record(AT, session(), Dir::Down, b"HELLO BANNER\r\n").expect("memory takes all");
    show.record(AT, session(), Dir::Up, b"a").expect("memory takes all");
    show.record(AT, session(), Dir::Down, b"").expect("memory takes all");
    show.record(AT, session(), Dir::Down, b"YOU SAID ABC\0\xff\n").expect("memory takes all");
    show.record(AT, Session { number: 2, ..session() }, Dir::Down, b"b").expect("memory takes all");
    show.begin();
    show.record(AT, session(), Dir::Down, b"c").expect("memory takes all");
    let wanted = "\
00000000: 48 45 4c 4c 4f 20 42 41 : 4e 4e 45 52 0d 0a       | HELLO BANNER..  \n\
00000000: 61                      :                         | a               \n\
00000000:                         :                   59 4f |               YO\n\
00000010: 55 20 53 41 49 44 20 41 : 42 43 00 ff 0a          | U SAID ABC...   \n\
00000000: 62                      :                         | b               \n\
00000000: 63                      :                         | c               \n";
    assert_eq!(text(show), wanted);
}

#[test]
fn a_record_is_headed_as_by_proxcat() {
    let times = Wishes { times: true, ..Wishes::default() };
    assert_eq!(shown(&times, false, b"x"), "\n2026-11-21_00:11:58 127.0.0.1:45484 o: x");
    let both = shown(&Wishes { hex: true, ..times }, false, b"x");
    assert!(both.starts_with("\n2026-11-21_00:11:58 127.0.0.1:45484 o: \n00000000: 78 "), "{both:?}");
}

#[test]
fn forced_colours_are_those_of_proxcat_and_others_end_with_their_line() {
    let forced = Wishes { colour: Colour::Records, ..Wishes::default() };
    assert_eq!(shown(&forced, false, b"a\nb\x1b"), "\x1b[32ma\nb\x1b\x1b[m");
    assert_eq!(shown(&forced, true, b"a\nb"), "\x1b[32ma\nb\x1b[m");
    let lines = Wishes { colour: Colour::Lines, ..Wishes::default() };
    assert_eq!(shown(&lines, false, b"a\n\nb"), "\x1b[32ma\x1b[m\n\n\x1b[32mb\x1b[m");
    assert_eq!(shown(&Wishes::default(), false, b"a\nb"), "a\nb");
    let mut up = show(&lines, false);
    up.record(AT, session(), Dir::Up, b"x\n").expect("memory takes all");
    assert_eq!(text(up), "\x1b[31mx\x1b[m\n");
}

#[test]
fn what_would_steer_a_terminal_is_a_dot_there_and_itself_elsewhere() {
    let hostile = b"ok\r\n\t\x1b]0;x\x07 \xc2\x9b31m \xff \xc3\xa4\x7f";
    let never = Wishes { colour: Colour::Never, ..Wishes::default() };
    let tamed = "ok\n\t.]0;x. .31m . \u{e4}.";
    assert_eq!(shown(&never, true, hostile), tamed);
    // whoever asks for colours has not asked for those of others
    let forced = Wishes { colour: Colour::Records, ..Wishes::default() };
    assert_eq!(shown(&forced, true, hostile), format!("\x1b[32m{tamed}\x1b[m"));
    let mut elsewhere = show(&never, false);
    elsewhere.record(AT, session(), Dir::Up, hostile).expect("memory takes all");
    elsewhere.flush().expect("memory takes all");
    assert_eq!(elsewhere.out, hostile);
}

#[test]
fn an_object_has_text_where_it_is_text_and_base64_elsewhere() {
    let json = Wishes { json: true, ..Wishes::default() };
    let head = r#"{"time":1795219918.325283,"session":1,"client":"127.0.0.1:45484","dir":"o""#;
    assert_eq!(shown(&json, true, b"a\"\\\r\n\xc3\xa4"), format!("{head},\"text\":\"a\\\"\\\\\\r\\n\u{e4}\"}}\n"));
    for bytes in [&b"\xff"[..], b"\x1b", b"\xc2\x9b"] {
        let line = shown(&json, false, bytes);
        assert_eq!(line, format!("{head},\"base64\":\"{}\"}}\n", BASE64_STANDARD.encode(bytes)));
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
    }
    let mut listed = show(&json, false);
    let session = Session { origin: Some(([192, 0, 2, 7], 443).into()), ..session() };
    listed.session(AT, session, Host::parse(b"www.example.org").as_ref()).expect("memory takes all");
    let wanted = r#"{"time":1795219918.325283,"session":1,"client":"127.0.0.1:45484","origin":"192.0.2.7:443","name":"www.example.org"}"#;
    assert_eq!(text(listed), format!("{wanted}\n"));
}

#[test]
fn a_list_has_what_is_known_of_a_session() {
    let mut show = show(&Wishes::default(), false);
    show.session(AT, session(), None).expect("memory takes all");
    let known = Session { origin: Some(([192, 0, 2, 7], 443).into()), ..session() };
    show.session(AT, known, Host::parse(b"www.example.org").as_ref()).expect("memory takes all");
    let wanted = "2026-11-21_00:11:58 127.0.0.1:45484\n\
                  2026-11-21_00:11:58 127.0.0.1:45484 192.0.2.7:443 www.example.org\n";
    assert_eq!(text(show), wanted);
}
