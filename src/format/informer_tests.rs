use super::Event::{Closed, Ended, Opened, Read, Sent};
use super::*;

fn facts(id: u64, client: &str, origin: &str) -> Facts {
    Facts {
        id,
        client: client.parse().expect("an address"),
        origin: origin.parse().expect("an address"),
        name: None,
        target: origin.to_owned(),
        via: None,
        upstream: None,
        from_port: Some(34408),
        local_port: 18000,
    }
}

fn v4() -> Facts {
    facts(1, "127.0.0.1:47770", "127.0.0.1:19090")
}

/// The session of the golden files: a banner, an answer, and the client's end, which ends all.
const BANNER: [Event; 8] = [
    Opened,
    Read(Dir::Down, 14),
    Sent(Dir::Down, 14),
    Read(Dir::Up, 6),
    Sent(Dir::Up, 6),
    Ended(Dir::Up),
    Sent(Dir::Up, 0),
    Closed(By::Client),
];

fn informed(facts: &Facts, events: &[Event]) -> String {
    let mut pair = Pair::default();
    let mut out = Vec::new();
    for status in events.iter().flat_map(|event| pair.step(*event)) {
        status.inform(facts, &mut out);
    }
    String::from_utf8(out).expect("text")
}

fn dumped(events: &[Event]) -> String {
    let mut pair = Pair::default();
    let mut out = Vec::new();
    for status in events.iter().flat_map(|event| pair.step(*event)) {
        status.dump(&v4(), &mut out);
    }
    String::from_utf8(out).expect("text")
}

/// The halves of each line, as `<-*-2-> <-*-3->`.
fn halves(events: &[Event]) -> Vec<String> {
    let lines = informed(&v4(), events);
    let halves = lines.lines().map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        format!("{} {}", words[words.len() - 6], words[words.len() - 2])
    });
    halves.collect()
}

#[test]
fn the_reproduced_session_is_told_line_by_line() {
    assert_eq!(informed(&v4(), &BANNER), include_str!("../../tests/golden/informer.log"));
}

#[test]
fn a_tunnel_whose_client_has_ended_shows_what_still_comes_down_and_ipv6_has_brackets() {
    let events = [
        Opened,
        Read(Dir::Up, 3),
        Sent(Dir::Up, 3),
        Ended(Dir::Up),
        Sent(Dir::Up, 0),
        Read(Dir::Down, 9),
        Sent(Dir::Down, 9),
        Ended(Dir::Down),
        Sent(Dir::Down, 0),
        Closed(By::Client),
    ];
    let facts = facts(18, "[2001:db8::1]:47770", "[2001:db8::9]:443");
    assert_eq!(informed(&facts, &events), include_str!("../../tests/golden/informer-half-closed.log"));
}

/// QP-20 to QP-25: what happens, and the halves of its last line.
#[test]
fn each_event_shows_the_half_that_takes_part() {
    let rows: [(&str, &[Event], &str); 8] = [
        ("QP-20", &[Opened], "<-*-2-> <-*-3->"),
        ("QP-21", &[Opened, Read(Dir::Up, 1)], "--*-2>> --*-3--"),
        ("QP-22", &[Opened, Read(Dir::Up, 1), Sent(Dir::Up, 1)], "--*-2-- --*-3>>"),
        ("QP-23", &[Opened, Read(Dir::Down, 1)], "--*-2-- <<*-3--"),
        ("QP-24", &[Opened, Read(Dir::Down, 1), Sent(Dir::Down, 1)], "<<*-2-- --*-3--"),
        ("QP-25, the client", &[Opened, Ended(Dir::Up)], "----2-- --*-3--"),
        ("QP-25, the server", &[Opened, Ended(Dir::Down)], "--*-2-- ----3--"),
        ("QP-25, both", &[Opened, Closed(By::Us)], "----2-- ----3--"),
    ];
    for (item, events, wanted) in rows {
        assert_eq!(halves(events).last().map(String::as_str), Some(wanted), "{item}");
    }
}

#[test]
fn an_end_is_a_read_and_a_close_and_a_send_on_the_other_side() {
    let lines = halves(&[Opened, Ended(Dir::Down), Sent(Dir::Down, 0)]);
    assert_eq!(lines[1..], ["--*-2-- <<*-3--", "--*-2-- ----3--", "<<*-2-- ----3--"]);
}

#[test]
fn a_reset_closes_the_half_of_who_reset_first() {
    assert_eq!(halves(&[Opened, Closed(By::Upstream)])[1..], ["--*-2-- ----3--", "----2-- ----3--"]);
    for by in [By::Client, By::Us] {
        assert_eq!(halves(&[Opened, Closed(by)])[1..], ["----2-- --*-3--", "----2-- ----3--"]);
    }
}

#[test]
fn only_the_last_line_shows_both_halves_closed() {
    for first in [Dir::Up, Dir::Down] {
        let second = if first == Dir::Up { Dir::Down } else { Dir::Up };
        let ends = [Ended(first), Sent(first, 0), Read(second, 5), Sent(second, 5), Ended(second), Sent(second, 0)];
        let lines = halves(&[&[Opened], &ends[..], &[Closed(By::Client)]].concat());
        let both = lines.iter().filter(|line| *line == "----2-- ----3--").count();
        assert_eq!((both, lines.last().map(String::as_str)), (1, Some("----2-- ----3--")), "{lines:?}");
    }
}

#[test]
fn what_is_not_known_is_marked() {
    for (event, marker) in [
        (Read(Dir::Up, 1), "WTF recv? "),
        (Ended(Dir::Down), "WTF recv? "),
        (Sent(Dir::Up, 1), "WTF send? "),
        (Closed(By::Us), "WTF close? "),
    ] {
        let lines = informed(&v4(), &[event]);
        assert!(!lines.is_empty() && lines.lines().all(|line| line.starts_with(marker)), "{lines}");
    }
    assert!(!informed(&v4(), &BANNER).contains("WTF"));
}

#[test]
fn a_file_leaves_out_the_first_close_and_ends_with_the_last() {
    let text = dumped(&BANNER);
    assert_eq!(text.lines().filter(|line| line.contains("----2--")).count(), 2, "a send and the last close: {text}");
    assert!(text.ends_with(" ----2-- [18000 PROXY 34408] ----3-- 127.0.0.1:19090 lose 0b \nEND."), "{text:?}");
    assert!(text.starts_with("\n127.0.0.1:47770  <-*-2-> [18000 PROXY 34408] <-*-3-> 127.0.0.1:19090 \n\n"));
}

#[test]
fn what_was_not_handed_on_is_counted_at_the_end() {
    let rows: [(&[Event], &str); 5] = [
        (&[Read(Dir::Up, 10), Sent(Dir::Up, 10)], "lose 0b "),
        (&[Read(Dir::Up, 10), Sent(Dir::Up, 4)], "lose 6b "),
        (&[Read(Dir::Up, 10)], "lose 0b queue data [10b]"),
        (&[Read(Dir::Up, 10), Sent(Dir::Up, 4), Read(Dir::Up, 3), Read(Dir::Up, 2)], "lose 6b queue data [3b, 2b]"),
        (&[Read(Dir::Up, 10), Read(Dir::Up, 3), Sent(Dir::Up, 12)], "lose 1b "),
    ];
    for (events, wanted) in rows {
        let text = dumped(&[&[Opened], events, &[Closed(By::Client)]].concat());
        let wanted = format!(" 127.0.0.1:19090 {wanted}\nEND.");
        assert!(text.ends_with(&wanted), "{text:?} does not end with {wanted:?}");
    }
    let lost_to_the_client = dumped(&[Opened, Read(Dir::Down, 7), Closed(By::Upstream)]);
    assert!(lost_to_the_client.ends_with("lose 0b queue data [7b]\nEND."), "{lost_to_the_client:?}");
}

#[test]
fn a_session_without_a_way_has_port_0() {
    let facts = Facts { from_port: None, ..v4() };
    assert!(informed(&facts, &[Opened]).contains(" [18000 PROXY 0] "));
}

#[test]
fn socket_numbers_stay_in_their_places_up_to_the_last_id() {
    let lines = informed(&Facts { id: u64::MAX / 2, ..v4() }, &[Opened]);
    assert!(lines.contains(&format!("<-*-{}->", u64::MAX - 1)) && lines.contains(&format!("<-*-{}->", u64::MAX)));
    // never reached: it must not end the tap
    assert!(informed(&Facts { id: u64::MAX, ..v4() }, &BANNER).lines().count() == 9);
}
