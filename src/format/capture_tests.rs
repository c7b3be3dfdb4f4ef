//! Captures, made packet by packet with other means than ours: sessions, their ends, their units of time, cuts and
//! damage.

use super::*;
use etherparse::PacketBuilder;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
use std::borrow::Cow;
use std::time::Duration;

const CLIENT: &str = "10.0.0.5:41234";
const ORIGIN: &str = "192.0.2.7:443";

/// A segment: who sends it, its flags (of `SAFR`), its bytes, and a comment.
type Segment<'a> = (&'a str, &'a str, &'a str, &'a [u8], &'a str);

fn packet((from, to, flags, bytes, _): &Segment<'_>) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().expect("an address"), to.parse().expect("an address"));
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (from, to) => {
            let octets = |ip| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            PacketBuilder::ipv6(octets(from), octets(to), 64)
        }
    };
    let mut tcp = ip.tcp(from.port(), to.port(), 1, 1024);
    for flag in flags.chars() {
        tcp = match flag {
            'S' => tcp.syn(),
            'A' => tcp.ack(1),
            'F' => tcp.fin(),
            _ => tcp.rst(),
        };
    }
    let mut packet = Vec::new();
    tcp.write(&mut packet, bytes).expect("memory takes all");
    packet
}

/// A capture of these segments, a unit of time apart.
fn capture(link: DataLink, unit: Option<u8>, segments: &[Segment<'_>]) -> Vec<u8> {
    let header = SectionHeaderBlock { endianness: Endianness::native(), ..SectionHeaderBlock::default() };
    let mut writer = PcapNgWriter::with_section_header(Vec::new(), header).expect("memory takes all");
    let options = unit.map(InterfaceDescriptionOption::IfTsResol).into_iter().collect();
    let interface = InterfaceDescriptionBlock { linktype: link, snaplen: 0, options };
    writer.write_pcapng_block(interface).expect("memory takes all");
    for (at, segment) in segments.iter().enumerate() {
        let mut data = packet(segment);
        if link == DataLink::ETHERNET {
            data.splice(0..0, [[2; 12].as_slice(), &[8, 0]].concat());
        }
        let comment = EnhancedPacketOption::Comment(Cow::Borrowed(segment.4));
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(at as u64),
            original_len: data.len() as u32,
            data: Cow::Owned(data),
            options: Vec::from_iter((!segment.4.is_empty()).then_some(comment)),
        };
        writer.write_pcapng_block(block).expect("memory takes all");
    }
    writer.into_inner()
}

/// A request and its answer.
fn session() -> Vec<Segment<'static>> {
    vec![
        (CLIENT, ORIGIN, "S", b"", "session id=1 client=x origin=y name=www.example.org name_source=sni"),
        (ORIGIN, CLIENT, "SA", b"", ""),
        (CLIENT, ORIGIN, "A", b"", ""),
        (CLIENT, ORIGIN, "A", b"ask", ""),
        (ORIGIN, CLIENT, "A", b"answer", ""),
        (ORIGIN, CLIENT, "FA", b"", ""),
        (CLIENT, ORIGIN, "FA", b"", ""),
    ]
}

fn entry(at: u64, what: Told) -> Item {
    let (client, origin) = (CLIENT.parse().expect("an address"), ORIGIN.parse().expect("an address"));
    Item::Entry(Entry { at, client, origin: Some(origin), what })
}

/// What is to be read of [`session`], a unit of time apart.
fn told(unit: u64) -> Vec<Item> {
    vec![
        entry(0, Told::Opened { name: Host::parse(b"www.example.org"), goes_on: false }),
        entry(3 * unit, Told::Bytes(Dir::Up, b"ask".to_vec())),
        entry(4 * unit, Told::Bytes(Dir::Down, b"answer".to_vec())),
        entry(5 * unit, Told::Ended(Dir::Down)),
        entry(6 * unit, Told::Ended(Dir::Up)),
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

#[test]
fn a_session_is_its_bytes_and_its_ends_whatever_the_link_and_the_unit() {
    for (link, unit, nanos) in [
        (DataLink::RAW, Some(9), 1),
        (DataLink::RAW, None, 1000),
        (DataLink::ETHERNET, Some(3), 1_000_000),
        (DataLink::IPV4, Some(0x80 | 9), 1_000_000_000 / 512),
    ] {
        let items = read(&[&capture(link, unit, &session())]);
        let exact = nanos != 1_000_000_000 / 512;
        let wanted = told(nanos);
        if exact {
            assert_eq!(items, wanted, "{link:?} {unit:?}");
        } else {
            assert_eq!(items[0], wanted[0]);
            assert!(matches!(&items[4], Item::Entry(last) if last.at == 6 * 1_000_000_000 / 512), "{items:?}");
        }
    }
}

#[test]
fn every_cut_reads_the_same() {
    let capture = capture(DataLink::RAW, Some(9), &session());
    for first in 0..=capture.len() {
        let (head, tail) = capture.split_at(first);
        assert_eq!(read(&[head, tail]), told(1), "{first}");
    }
    assert_eq!(read(&Vec::from_iter(capture.chunks(1))), told(1));
}

#[test]
fn every_prefix_gives_its_whole_packets() {
    let capture = capture(DataLink::RAW, Some(9), &session());
    for length in 0..capture.len() {
        let items = read(&[&capture[..length]]);
        let entries = items.iter().filter(|item| matches!(item, Item::Entry(_))).count();
        assert_eq!(items[..entries], told(1)[..entries], "{length}");
        match &items[entries..] {
            // at the end of a block
            [] => {}
            [Item::Torn(why)] => assert!(why.contains("is cut off"), "{why}"),
            other => panic!("{length}: {other:?}"),
        }
    }
}

#[test]
fn who_is_the_client_is_guessed_where_the_beginning_is_missing() {
    for (first, is_up) in [((CLIENT, ORIGIN), true), ((ORIGIN, CLIENT), false)] {
        let segments: [Segment<'_>; 1] = [(first.0, first.1, "A", b"x", "")];
        let dir = if is_up { Dir::Up } else { Dir::Down };
        let wanted = entry(0, Told::Bytes(dir, b"x".to_vec()));
        assert_eq!(read(&[&capture(DataLink::RAW, Some(9), &segments)]), [wanted]);
    }
}

#[test]
fn a_port_that_is_used_again_is_another_session_and_one_that_goes_on_is_not() {
    let mut segments = session();
    segments.extend([
        (CLIENT, ORIGIN, "S", &b""[..], ""),
        (CLIENT, ORIGIN, "RA", b"", ""),
        (CLIENT, ORIGIN, "S", b"", "session id=3 client=x origin=y target=z goes_on up=3 down=6"),
    ]);
    let items = read(&[&capture(DataLink::RAW, Some(9), &segments)]);
    let wanted = [
        entry(7, Told::Opened { name: None, goes_on: false }),
        entry(8, Told::Ended(Dir::Up)),
        entry(8, Told::Ended(Dir::Down)),
        entry(9, Told::Opened { name: None, goes_on: true }),
    ];
    assert_eq!(items[5..], wanted);
}

#[test]
fn addresses_of_two_kinds_come_back_as_they_were() {
    let segments: [Segment<'_>; 2] =
        [("[2001:db8::5]:1", "192.0.2.7:443", "S", b"", ""), ("192.0.2.7:443", "[2001:db8::5]:1", "A", b"x", "")];
    let items = read(&[&capture(DataLink::RAW, Some(9), &segments)]);
    let Some(Item::Entry(entry)) = items.last() else { panic!("{items:?}") };
    let shown = (entry.client.to_string(), entry.origin.map(|origin| origin.to_string()));
    assert_eq!(shown, ("[2001:db8::5]:1".to_owned(), Some("192.0.2.7:443".to_owned())));
}

#[test]
fn what_is_missing_is_told() {
    let segments: [Segment<'_>; 1] = [(CLIENT, ORIGIN, "A", b"x", "missed records=2 bytes=99")];
    let items = read(&[&capture(DataLink::RAW, Some(9), &segments)]);
    assert_eq!(items[0], Item::Missing("2 records, 99 bytes are missing here".to_owned()));
    assert_eq!(items.len(), 2);
}

#[test]
fn a_damaged_block_is_skipped_and_a_damaged_file_is_given_up() {
    let good = capture(DataLink::RAW, Some(9), &session());
    let mut broken = good.clone();
    // the length of the last packet's data, in its block of 12 + 20 + 40 bytes
    let place = good.len() - 4 - 40 - 8;
    broken[place..place + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
    let items = read(&[&broken, &good]);
    assert_eq!(items[..4], told(1)[..4]);
    assert!(matches!(&items[4], Item::Wrong(why) if why.starts_with("byte ")), "{items:?}");
    assert_eq!(items[5..], told(1));
    let items = read(&[&good, &[0xff; 100]]);
    assert!(matches!(&items[5..], [Item::Wrong(why)] if why.ends_with("cannot be read")), "{items:?}");
}

#[test]
fn sections_of_either_order_of_bytes_follow_each_other() {
    let native = capture(DataLink::RAW, Some(9), &session());
    let header = SectionHeaderBlock { endianness: Endianness::Big, ..SectionHeaderBlock::default() };
    let mut other = PcapNgWriter::with_section_header(Vec::new(), header).expect("memory takes all");
    let options = vec![InterfaceDescriptionOption::IfTsResol(9)];
    let interface = InterfaceDescriptionBlock { linktype: DataLink::RAW, snaplen: 0, options };
    other.write_pcapng_block(interface).expect("memory takes all");
    let items = read(&[&native, &other.into_inner(), &native]);
    assert_eq!(items, [told(1), told(1)].concat());
}
