//! The log's lines: the sample from the original to the byte, every prefix and cut of it, and what others have made
//! of such a file.

use super::*;
use proptest::prelude::*;

const SAMPLE: &[u8] = include_bytes!("../../tests/golden/hexlog/sample.log");

fn entry(at: u64, client: &str, dir: Dir, bytes: &[u8]) -> Entry {
    let client = client.parse().expect("an address");
    Entry { at, client, origin: None, what: Told::Bytes(dir, bytes.to_vec()) }
}

fn sample() -> Vec<Entry> {
    let client = "127.0.0.1:45484";
    vec![
        entry(1_795_219_918_323_821_000, client, Dir::Down, b"HELLO BANNER\r\n"),
        entry(1_795_219_918_325_139_000, client, Dir::Up, b"abc\0\xff\n"),
        entry(1_795_219_918_325_283_000, client, Dir::Down, b"YOU SAID ABC\0\xff\n"),
    ]
}

fn read(pieces: &[&[u8]]) -> Vec<Item> {
    let mut reader = Reader::new();
    let mut items = Vec::new();
    for piece in pieces {
        reader.push(piece);
        items.extend(std::iter::from_fn(|| reader.item()));
    }
    items.extend(reader.finish());
    items
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut log = Vec::new();
    for Entry { at, client, what, .. } in entries {
        let Told::Bytes(dir, bytes) = what else { panic!("a log has bytes only") };
        Line { at: *at, client: *client, dir: *dir, bytes }.write(&mut log);
    }
    log
}

/// One line that is read.
fn one(line: &str) -> Result<Entry, String> {
    match read(&[line.as_bytes(), b"\n"]).as_slice() {
        [Item::Entry(entry)] => Ok(entry.clone()),
        [Item::Wrong(why) | Item::Strange(why)] => Err(why.clone()),
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn the_sample_is_written_and_read_to_the_byte() {
    assert_eq!(String::from_utf8_lossy(&written(&sample())), String::from_utf8_lossy(SAMPLE));
    assert_eq!(read(&[SAMPLE]), Vec::from_iter(sample().into_iter().map(Item::Entry)));
}

#[test]
fn times_have_six_decimals_and_ipv6_has_brackets() {
    let lines = written(&[
        entry(0, "10.0.0.5:1", Dir::Up, &[0x0f]),
        entry(1_000_000_999, "[2001:db8::5]:65535", Dir::Down, &[]),
        entry(u64::MAX, "10.0.0.5:1", Dir::Up, &[0xa0, 0x00]),
    ]);
    let wanted = "0.000000 10.0.0.5:1 i 0f\n1.000000 [2001:db8::5]:65535 o \n18446744073.709551 10.0.0.5:1 i a000\n";
    assert_eq!(String::from_utf8_lossy(&lines), wanted);
}

#[test]
fn every_cut_reads_the_same() {
    let whole = read(&[SAMPLE]);
    for first in 0..=SAMPLE.len() {
        let (head, tail) = SAMPLE.split_at(first);
        assert_eq!(read(&[head, tail]), whole, "{first}");
    }
    assert_eq!(read(&Vec::from_iter(SAMPLE.chunks(1))), whole);
}

#[test]
fn every_prefix_gives_its_whole_lines_and_tells_of_a_torn_one() {
    for length in 0..SAMPLE.len() {
        let prefix = &SAMPLE[..length];
        let lines = prefix.iter().filter(|byte| **byte == b'\n').count();
        let items = read(&[prefix]);
        let whole: Vec<Item> = sample()[..lines].iter().cloned().map(Item::Entry).collect();
        assert_eq!(items[..lines], whole, "{length}");
        let rest = prefix.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let columns: Vec<&[u8]> = rest.split(|byte| *byte == b' ').collect();
        match (&items[lines..], columns.as_slice()) {
            ([], _) => assert!(rest.is_empty(), "{length}"),
            ([Item::Entry(entry), Item::Torn(_)], [_, _, _, digits]) => {
                let Told::Bytes(_, bytes) = &entry.what else { panic!("{entry:?}") };
                assert_eq!(bytes.len(), digits.len() / 2, "{length}");
            }
            ([Item::Torn(why)], columns) => {
                assert!(columns.len() < 4 && why.contains(&format!("line {}", lines + 1)), "{length}: {why}");
            }
            other => panic!("{length}: {other:?}"),
        }
    }
}

#[test]
fn what_others_make_of_a_log_is_read() {
    let text = "\u{20}1.5 1.2.3.4:5 i 4A4b\r\n\r\n# a remark\n2 1.2.3.4:5 o\n3.1234567899 ::1:80 i  ff \n\
                4.0 [::ffff:1.2.3.4]:5 o 00\n5.0 ::ffff:1.2.3.4:5 o 01\n";
    let wanted = [
        entry(1_500_000_000, "1.2.3.4:5", Dir::Up, b"JK"),
        entry(2_000_000_000, "1.2.3.4:5", Dir::Down, b""),
        entry(3_123_456_789, "[::1]:80", Dir::Up, &[0xff]),
        entry(4_000_000_000, "1.2.3.4:5", Dir::Down, &[0]),
        entry(5_000_000_000, "1.2.3.4:5", Dir::Down, &[1]),
    ];
    assert_eq!(read(&[text.as_bytes()]), wanted.map(Item::Entry));
}

#[test]
fn what_is_no_record_is_named_and_what_is_behind_it_is_read() {
    for (line, why) in [
        ("hello", "line 1: does not begin with a time"),
        (".5 1.2.3.4:5 i 00", "line 1: does not begin with a time"),
        ("1e5 1.2.3.4:5 i 00", "line 1: does not begin with a time"),
        ("99999999999.0 1.2.3.4:5 i 00", "line 1: does not begin with a time"),
        ("1.0", "line 1: has no client address behind the time"),
        ("1.0 nobody i 00", "line 1: has no client address behind the time"),
        ("1.0 1.2.3.4:5 x 00", "line 1: has no i or o behind the client"),
        ("1.0 1.2.3.4:5 i 0g", "line 1: has data that is not hexadecimal"),
        ("1.0 1.2.3.4:5 i 000", "line 1: has an odd number of digits"),
        ("1.0 1.2.3.4:5 i 00 00", "line 1: has more than four columns"),
        ("1.0 1.2.3.4:5 i 001.0 1.2.3.4:5 i 00", "line 1: has an odd number of digits"),
    ] {
        assert_eq!(one(line), Err(why.to_owned()));
        let items = read(&[line.as_bytes(), b"\n", SAMPLE]);
        assert_eq!(items[1..], Vec::from_iter(sample().into_iter().map(Item::Entry)), "{line}");
    }
    let items = read(&[SAMPLE, b"x\n"]);
    assert_eq!(items.last(), Some(&Item::Strange("line 4: does not begin with a time".to_owned())));
}

#[test]
fn what_is_missing_is_noted_and_told() {
    let mut log = Vec::new();
    missed(3, 99, &mut log);
    assert_eq!(log, b"# 3 records, 99 bytes are missing here\n");
    assert_eq!(read(&[&log]), [Item::Missing("3 records, 99 bytes are missing here".to_owned())]);
}

#[test]
fn a_line_without_an_end_is_not_kept() {
    let mut reader = Reader::new();
    let mut items = Vec::new();
    for _ in 0..80 {
        reader.push(&[b'0'; 1 << 20]);
        items.extend(reader.item());
        assert!(reader.buffer.len() <= LONGEST + (2 << 20), "{}", reader.buffer.len());
    }
    reader.push(b"\n");
    reader.push(SAMPLE);
    items.extend(std::iter::from_fn(|| reader.item()));
    assert_eq!(items[0], Item::Wrong("line 1: is longer than 16 MiB".to_owned()));
    assert_eq!(items[1..], Vec::from_iter(sample().into_iter().map(Item::Entry)));
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    (any::<u64>(), ip, any::<u16>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300)).prop_map(
        |(at, ip, port, is_up, bytes)| {
            let dir = if is_up { Dir::Up } else { Dir::Down };
            let client = SocketAddr::new(ip.to_canonical(), port);
            Entry { at: at / 1000 * 1000, client, origin: None, what: Told::Bytes(dir, bytes) }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in proptest::collection::vec(any_entry(), 1..20), size in 1..500_usize) {
        let log = written(&entries);
        let wanted: Vec<Item> = entries.into_iter().map(Item::Entry).collect();
        prop_assert_eq!(read(&Vec::from_iter(log.chunks(size))), wanted);
    }

    #[test]
    fn nothing_that_is_read_upsets_it(log in "[0-9a-fio.: \\[\\]#\r\n]{0,300}", cut in 0..300_usize) {
        let (head, tail) = log.as_bytes().split_at(cut.min(log.len()));
        prop_assert_eq!(read(&[head, tail]), read(&[log.as_bytes()]));
    }
}
