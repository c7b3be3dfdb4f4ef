use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::{Block, PcapNgReader};
use proptest::prelude::*;

use super::*;
use crate::addr::{Name, Source};

const MAKER: Maker<'_> = Maker { hardware: "x86_64", os: "Linux 6.1", application: "handyproxy 0.1.0" };
const AT: u64 = 0x18e9_e7f8_0000_0000;

fn facts(id: u64, client: &str, origin: &str, name: Option<&str>) -> Arc<Facts> {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let host = name.map(|name| Host::parse(name.as_bytes()).expect("a name"));
    Arc::new(Facts {
        id,
        client: address(client),
        origin: address(origin),
        name: host.map(|host| Name { host, source: Source::Sni }),
        target: origin.to_owned(),
        via: None,
        upstream: None,
        from_port: None,
        local_port: 8443,
    })
}

fn ending(end: End, by: By) -> Ending {
    Ending { end, by, error: None, up: 1, down: 2, lasted: Duration::from_micros(1500) }
}

fn begun() -> (Capture, Vec<u8>) {
    let (mut capture, mut out) = (Capture::default(), Vec::new());
    capture.begin(&MAKER, &mut out);
    (capture, out)
}

/// Hands out each packet of a file.
fn packets(file: &[u8], mut packet: impl FnMut(&EnhancedPacketBlock<'_>)) {
    let mut reader = PcapNgReader::new(file).expect("a section");
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(block) = block.expect("a whole block") {
            packet(&block);
        }
    }
}

fn comments<'a>(packet: &'a EnhancedPacketBlock<'_>) -> Vec<&'a str> {
    let comments = packet.options.iter().filter_map(|option| match option {
        EnhancedPacketOption::Comment(text) => Some(&**text),
        _ => None,
    });
    comments.collect()
}

/// A packet, whose checksums are right.
fn parse(packet: &[u8]) -> (SocketAddr, SocketAddr, TcpSlice<'_>) {
    let sliced = SlicedPacket::from_ip(packet).expect("headers");
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
    let (from, to) = match sliced.net.expect("an IP header") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            assert_eq!(usize::from(header.total_len()), packet.len());
            assert_eq!(tcp.calc_checksum_ipv4(header.source(), header.destination()), Ok(tcp.checksum()));
            (header.source_addr().into(), header.destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            assert_eq!(usize::from(header.payload_length()) + 40, packet.len());
            assert_eq!(tcp.calc_checksum_ipv6(header.source(), header.destination()), Ok(tcp.checksum()));
            (header.source_addr().into(), header.destination_addr().into())
        }
        NetSlice::Arp(_) => panic!("no IP"),
    };
    (SocketAddr::new(from, tcp.source_port()), SocketAddr::new(to, tcp.destination_port()), tcp)
}

#[test]
fn a_tiny_capture_byte_for_byte() {
    let (mut capture, mut out) = begun();
    let facts = facts(1, "10.1.0.2:40001", "192.0.2.7:80", Some("a.example"));
    capture.write(AT, &facts, Event::Opened, &mut out);
    capture.write(AT + 1, &facts, Event::Read(Dir::Up, b"hello"), &mut out);
    capture.write(AT + 2, &facts, Event::Closed(&ending(End::Reset, By::Upstream)), &mut out);
    let golden = include_str!("pcapng_golden.hex");
    let hex: Vec<String> = out.chunks(16).map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    assert_eq!(hex.join("\n"), golden.trim_end());
}

#[test]
fn a_name_is_said_once_in_a_file_and_memory_of_it_has_a_bound() {
    let names = |file: &[u8]| {
        let mut reader = PcapNgReader::new(file).expect("a section");
        let mut names = 0;
        while let Some(block) = reader.next_block() {
            names += usize::from(matches!(block, Ok(Block::NameResolution(_))));
        }
        names
    };
    let (mut capture, mut out) = begun();
    let mut id = 0;
    let mut visit = |name: &str, capture: &mut Capture, out: &mut Vec<u8>| {
        id += 1;
        let facts = facts(id, "10.1.0.2:40001", "192.0.2.7:80", Some(name));
        capture.write(AT, &facts, Event::Opened, out);
        capture.write(AT, &facts, Event::Closed(&ending(End::Done, By::Client)), out);
        capture.kept();
    };
    for name in ["a.example", "a.example", "b.example", "a.example"] {
        visit(name, &mut capture, &mut out);
    }
    assert_eq!(names(&out), 2);
    out.clear();
    capture.begin(&MAKER, &mut out);
    visit("a.example", &mut capture, &mut out);
    assert_eq!(names(&out), 1, "a file is read on its own");
    for number in 0..2 * SAID {
        visit(&format!("n{number}.example"), &mut capture, &mut out);
        assert!(capture.said.len() <= SAID);
    }
    assert!(capture.sessions.is_empty() && capture.fresh.is_empty());
}

#[test]
fn a_long_comment_is_cut_between_characters() {
    let (mut capture, mut out) = begun();
    let mut facts = facts(1, "10.1.0.2:40001", "192.0.2.7:80", None);
    Arc::make_mut(&mut facts).target = "\u{20ac}".repeat(30_000);
    capture.write(AT, &facts, Event::Opened, &mut out);
    let mut seen = 0;
    packets(&out, |packet| {
        let comments = comments(packet);
        assert!(comments[0].len() > 65_530 && comments[0].ends_with('\u{20ac}'), "{}", comments[0].len());
        seen += 1;
    });
    assert_eq!(seen, 1);
}

#[test]
fn times_never_go_back_a_little_but_may_go_back_far() {
    let (mut capture, mut out) = begun();
    let facts = facts(1, "10.1.0.2:40001", "192.0.2.7:80", None);
    for at in [AT, AT - 5, AT + 7, AT - 3 * BACK] {
        capture.write(at, &facts, Event::Read(Dir::Up, b"x"), &mut out);
    }
    let mut times = Vec::new();
    packets(&out, |packet| times.push(packet.timestamp.as_nanos() as u64));
    times.dedup();
    assert_eq!(times, [AT, AT + 7, AT - 3 * BACK]);
}

#[test]
fn a_one_way_download_is_acknowledged_in_time() {
    let (mut capture, mut out) = begun();
    let facts = facts(1, "10.1.0.2:40001", "192.0.2.7:80", None);
    let piece = vec![0; 61_440];
    for _ in 0..200 {
        capture.write(AT, &facts, Event::Read(Dir::Down, &piece), &mut out);
    }
    let (mut sent, mut acknowledged, mut most, mut pure) = (0_u32, None, 0, 0);
    packets(&out, |packet| {
        let (from, _, tcp) = parse(&packet.data);
        if from.port() == 80 {
            sent = tcp.sequence_number().wrapping_add(tcp.payload().len() as u32 + u32::from(tcp.syn()));
        } else if tcp.ack() {
            assert_ne!(acknowledged.replace(tcp.acknowledgment_number()), Some(sent), "it says nothing new");
            assert_eq!(acknowledged, Some(sent));
            pure += 1;
        }
        most = most.max(acknowledged.map_or(0, |acknowledged| sent.wrapping_sub(acknowledged)));
    });
    assert!(most <= 512 * 1024 && pure > 20, "{most} open, {pure} acknowledgements");
}

#[test]
fn what_is_missing_is_told_once_and_counted_in_the_next_packet() {
    let (mut capture, mut out) = begun();
    let facts = facts(1, "10.1.0.2:40001", "192.0.2.7:80", None);
    capture.write(AT, &facts, Event::Read(Dir::Down, b"one"), &mut out);
    capture.missed(3, 100);
    capture.missed(1, 20);
    capture.skip(1, Dir::Down, 90);
    capture.kept();
    let kept = out.len();
    // the first try does not reach the disk
    capture.write(AT, &facts, Event::Read(Dir::Down, b"two"), &mut out);
    capture.lost();
    capture.missed(1, 0);
    out.truncate(kept);
    capture.write(AT, &facts, Event::Read(Dir::Up, b"three"), &mut out);
    capture.write(AT, &facts, Event::Read(Dir::Down, b"four"), &mut out);
    let mut seen = Vec::new();
    packets(&out, |packet| {
        let (from, _, tcp) = parse(&packet.data);
        let dropped = packet.options.iter().find_map(|option| match option {
            EnhancedPacketOption::DropCount(count) => Some(*count),
            _ => None,
        });
        if !tcp.payload().is_empty() {
            let comments = comments(packet).join(", ");
            seen.push((from.port(), tcp.payload().to_vec(), tcp.sequence_number(), dropped, comments));
        }
    });
    let first = seen[0].2;
    assert_eq!(seen[0], (80, b"one".to_vec(), first, None, String::new()));
    let up = seen[1].2;
    assert_eq!(seen[1], (40001, b"three".to_vec(), up, Some(5), "missed records=5 bytes=120".to_owned()));
    // "one", the gap, and "two", which is lost
    assert_eq!(seen[2], (80, b"four".to_vec(), first.wrapping_add(3 + 90 + 3), None, String::new()));
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_session_whose_end_was_missed_is_forgotten() {
    let (mut capture, mut out) = begun();
    let gone = facts(1, "10.1.0.2:40001", "192.0.2.7:80", None);
    let open = facts(2, "10.1.0.2:40002", "192.0.2.7:80", None);
    for facts in [&gone, &open] {
        capture.write(AT, facts, Event::Opened, &mut out);
    }
    drop(gone);
    assert_eq!(capture.sessions.len(), 2);
    capture.missed(1, 0);
    assert_eq!(capture.sessions.keys().collect::<Vec<_>>(), [&2]);
}

/// Something that happens to one of a few sessions, or to the file.
#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    Read(usize, Dir, usize),
    End(usize, Dir),
    Close(usize, End, By),
    Skip(usize, Dir, u64),
    Keep,
    Lose,
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    let dir = || prop_oneof![Just(Dir::Up), Just(Dir::Down)];
    let end = prop_oneof![Just(End::Done), Just(End::Reset), Just(End::Killed), Just(End::Refused)];
    let by = prop_oneof![Just(By::Client), Just(By::Upstream), Just(By::Us)];
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Open),
        12 => (0..3_usize, dir(), prop_oneof![5 => 1..50_usize, 1 => 60_000..130_000_usize]).prop_map(|(s, d, n)| Step::Read(s, d, n)),
        3 => (0..3_usize, dir()).prop_map(|(s, d)| Step::End(s, d)),
        2 => (0..3_usize, end, by).prop_map(|(s, end, by)| Step::Close(s, end, by)),
        1 => (0..3_usize, dir(), 1..3_000_000_u64).prop_map(|(s, d, n)| Step::Skip(s, d, n)),
        3 => Just(Step::Keep),
        1 => Just(Step::Lose),
        1 => Just(Step::Turn),
    ]
}

/// A session as it truly was.
struct Truth {
    facts: Arc<Facts>,
    opened: bool,
    ended: [bool; 2],
    length: [u64; 2],
}

/// Where bytes are: in which session, which way, from where to where.
type Range = (u64, usize, u64, u64);

fn truth(id: u64, slot: usize) -> Truth {
    let (client, origin) = [
        ("10.1.0.2:40001", "192.0.2.7:80"),
        ("10.1.0.2:40002", "192.0.2.7:80"),
        ("[fd10:1::2]:40001", "[2001:db8::7]:443"),
    ][slot];
    Truth { facts: facts(id, client, origin, Some("a.example")), opened: false, ended: [false; 2], length: [0; 2] }
}

/// The byte of a stream that is there.
fn byte(id: u64, dir: usize, at: u64) -> u8 {
    (at.wrapping_mul(2_654_435_761).wrapping_add(id * 7 + dir as u64) >> 11) as u8
}

/// Reads a file: which bytes of which sessions are in it, each checked.
fn read(file: &[u8]) -> Vec<Range> {
    // by ends: the session, and the sequence number at its start, for each direction
    let mut open: BTreeMap<(SocketAddr, SocketAddr), (u64, [u32; 2])> = BTreeMap::new();
    let mut found: Vec<Range> = Vec::new();
    packets(file, |packet| {
        let (from, to, tcp) = parse(&packet.data);
        let number = |text: &str, key: &str| {
            let value = text.split(' ').find_map(|word| word.strip_prefix(key));
            value.map(|digits| digits.parse::<u64>().expect("a number"))
        };
        if tcp.syn() {
            // a call names its session, an answer follows it
            if !tcp.ack() {
                let comments = comments(packet);
                let text = comments.iter().find(|text| text.starts_with("session ")).expect("facts on a SYN");
                let offset = ["up=", "down="].map(|key| number(text, key).unwrap_or(0));
                let base = tcp.sequence_number().wrapping_add(1).wrapping_sub(offset[0] as u32);
                open.insert((from, to), (number(text, "id=").expect("an id"), [base, offset[1] as u32]));
            } else {
                let session = open.get_mut(&(to, from)).expect("a call before the answer");
                session.1[1] = tcp.sequence_number().wrapping_add(1).wrapping_sub(session.1[1]);
            }
            return;
        }
        let dir = usize::from(!open.contains_key(&(from, to)));
        let (id, base) = open[&if dir == 0 { (from, to) } else { (to, from) }];
        let start = u64::from(tcp.sequence_number().wrapping_sub(base[dir]));
        for (at, got) in tcp.payload().iter().enumerate() {
            assert_eq!(*got, byte(id, dir, start + at as u64), "session {id}, byte {}", start + at as u64);
        }
        let end = start + tcp.payload().len() as u64;
        match found.iter_mut().rev().find(|range| (range.0, range.1) == (id, dir)) {
            Some(range) if range.3 == start => range.3 = end,
            _ if start == end => {}
            _ => found.push((id, dir, start, end)),
        }
    });
    found.sort();
    found
}

fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort();
    let mut joined: Vec<Range> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if (last.0, last.1, last.3) == (range.0, range.1, range.2) => last.3 = range.3,
            _ => joined.push(range),
        }
    }
    joined
}

proptest! {
    #[test]
    fn every_file_holds_the_bytes_that_were_written_to_it_at_their_places(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let (mut capture, mut out) = begun();
        capture.kept();
        let mut kept = out.len();
        let mut ids = 3;
        let mut sessions: Vec<Truth> = (0..3).map(|slot| truth(slot as u64 + 1, slot)).collect();
        // what is in this file, of which the first so many are kept
        let (mut inside, mut safe) = (Vec::new(), 0);
        let mut at = AT;
        for step in steps {
            at += 1000;
            match step {
                Step::Open(slot) if !sessions[slot].opened => {
                    sessions[slot].opened = true;
                    capture.write(at, &sessions[slot].facts, Event::Opened, &mut out);
                }
                Step::Read(slot, dir, length) if !sessions[slot].ended[dir as usize] => {
                    let session = &mut sessions[slot];
                    session.opened = true;
                    let (id, start) = (session.facts.id, session.length[dir as usize]);
                    let end = start + length as u64;
                    let bytes: Vec<u8> = (start..end).map(|at| byte(id, dir as usize, at)).collect();
                    capture.write(at, &session.facts, Event::Read(dir, &bytes), &mut out);
                    session.length[dir as usize] = end;
                    inside.push((id, dir as usize, start, end));
                }
                Step::End(slot, dir) if !sessions[slot].ended[dir as usize] => {
                    sessions[slot].opened = true;
                    sessions[slot].ended[dir as usize] = true;
                    capture.write(at, &sessions[slot].facts, Event::Ended(dir), &mut out);
                }
                Step::Close(slot, end, by) => {
                    capture.write(at, &sessions[slot].facts, Event::Closed(&ending(end, by)), &mut out);
                    ids += 1;
                    sessions[slot] = truth(ids, slot);
                }
                Step::Skip(slot, dir, bytes) if !sessions[slot].ended[dir as usize] => {
                    capture.missed(1, bytes);
                    capture.skip(sessions[slot].facts.id, dir, bytes);
                    if capture.sessions.contains_key(&sessions[slot].facts.id) {
                        sessions[slot].length[dir as usize] += bytes;
                    }
                }
                Step::Keep => {
                    capture.kept();
                    (kept, safe) = (out.len(), inside.len());
                }
                Step::Lose => {
                    capture.lost();
                    out.truncate(kept);
                    inside.truncate(safe);
                    // a session that is not in the file at all is as unknown as it was before
                    for session in &mut sessions {
                        if !capture.sessions.contains_key(&session.facts.id) {
                            session.opened = false;
                        }
                    }
                }
                Step::Turn => {
                    prop_assert_eq!(read(&out), joined(std::mem::take(&mut inside)));
                    out.clear();
                    capture.begin(&MAKER, &mut out);
                    (kept, safe) = (out.len(), 0);
                }
                _ => {}
            }
        }
        prop_assert_eq!(read(&out), joined(inside));
    }
}
