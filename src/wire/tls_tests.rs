//! The TLS scanner against built hellos: every prefix, every cut into records, odd names.

use super::*;
use proptest::prelude::*;

/// One extension.
fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
}

fn sni(name: &[u8]) -> Vec<u8> {
    let entry = [&[0][..], &(name.len() as u16).to_be_bytes(), name].concat();
    extension(0, &[&(entry.len() as u16).to_be_bytes()[..], &entry].concat())
}

/// A ClientHello message with these extensions, in the shape of a browser's.
fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = extensions.concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(32);
    body.extend([9; 32]);
    body.extend([0, 6, 0x3a, 0x3a, 0x13, 0x01, 0xc0, 0x2b, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

/// A handshake message cut into records of `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|c| [&[0x16, 3, 1][..], &(c.len() as u16).to_be_bytes(), c].concat()).collect()
}

fn named(host: &str, source: Source) -> Verdict {
    Verdict::Named(Name { host: Host::parse(host.as_bytes()).expect("a valid name"), source })
}

/// GREASE, a post-quantum key share of 1.2 KB and padding before the name.
fn browser(name: &[u8]) -> Vec<u8> {
    hello(&[
        extension(0x1a1a, &[]),
        extension(21, &[0; 200]),
        extension(51, &[&[0x04, 0xc2, 0x11, 0xec, 0x04, 0xbe][..], &[5; 1214]].concat()),
        extension(43, &[4, 3, 4, 3, 3]),
        sni(name),
        extension(0x0a0a, &[0]),
    ])
}

#[test]
fn a_whole_hello_gives_its_name() {
    let bytes = records(&browser(b"www.bench.example"), MAX_RECORD);
    assert_eq!(scan(&bytes), named("www.bench.example", Source::Sni));
    assert_eq!(scan(&[&bytes[..], b"early data"].concat()), named("www.bench.example", Source::Sni));
}

#[test]
fn every_prefix_asks_for_more_whatever_the_records() {
    for size in [1, 2, 3, 16, 100, 1000, MAX_RECORD] {
        let bytes = records(&browser(b"www.bench.example"), size);
        for end in 0..bytes.len() {
            // the message may end before the record does, never the other way round here
            assert_eq!(scan(&bytes[..end]), Verdict::More, "records of {size}, prefix of {end}");
        }
        assert_eq!(scan(&bytes), named("www.bench.example", Source::Sni), "records of {size}");
    }
}

#[test]
fn a_hello_with_an_encrypted_one_marks_the_outer_name() {
    let bytes = records(&hello(&[sni(b"cover.example"), extension(0xfe0d, &[0, 1, 2])]), MAX_RECORD);
    assert_eq!(scan(&bytes), named("cover.example", Source::SniOuter));
}

#[test]
fn a_hello_without_a_usable_name_is_final_at_once() {
    for extensions in [
        vec![],
        vec![extension(43, &[2, 3, 4])],
        vec![sni(b"a b")],
        vec![sni(b"a\r\nb")],
        vec![sni(b"a\0")],
        vec![sni(b"a.example:22")],
        vec![sni(b"user@a.example")],
        vec![sni(b"127.0.0.1")],
        vec![sni(b"")],
        vec![sni(b"a.example"), sni(b"b.example")],
        vec![extension(0, &[])],
        vec![extension(0, &[0, 4, 7, 0, 1, b'a'])],
        vec![extension(0, &[0, 12, 0, 0, 3, b'a', b'.', b'b', 0, 0, 3, b'c', b'.', b'd'])],
    ] {
        let bytes = records(&hello(&extensions), MAX_RECORD);
        assert_eq!(scan(&bytes), Verdict::Nameless, "{extensions:?}");
    }
    let mut bare = hello(&[]);
    bare.truncate(bare.len() - 2);
    bare[3] -= 2;
    assert_eq!(scan(&records(&bare, MAX_RECORD)), Verdict::Nameless);
}

#[test]
fn the_first_impossible_byte_ends_it() {
    for bytes in [
        &b"G"[..],
        b"\x80",
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x16\x03\x01\x41",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x20\x02",
        b"\x16\x03\x01\x00\x20\x01\x00\x00\x25",
        b"\x16\x03\x01\x00\x20\x01\x00\x00\x40\x02",
        b"\x16\x03\x01\x00\x01\x01\x17",
    ] {
        assert_eq!(scan(bytes), Verdict::Not, "{bytes:x?}");
        assert_eq!(settle(bytes), Verdict::Not, "{bytes:x?}");
        assert_eq!(scan(&bytes[..bytes.len() - 1]), Verdict::More, "{bytes:x?}");
    }
}

#[test]
fn a_limit_settles_by_the_whole_extensions_seen() {
    let message = hello(&[sni(b"www.bench.example"), extension(21, &[0; 9000])]);
    for size in [100, MAX_RECORD] {
        let bytes = records(&message, size);
        assert_eq!(settle(&bytes[..2000]), named("www.bench.example", Source::Sni));
        assert_eq!(settle(&bytes[..90]), Verdict::Nameless);
        assert_eq!(settle(&bytes[..7]), Verdict::Not);
    }
    let late = records(&hello(&[extension(21, &[0; 9000]), sni(b"www.bench.example")]), MAX_RECORD);
    assert_eq!(settle(&late[..8192]), Verdict::Nameless);
}

proptest! {
    #[test]
    fn random_bytes_behind_a_record_header_never_panic_and_never_change(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 1u16..300, cut in 0usize..200,
    ) {
        let mut prefix = vec![0x16, 3, 1];
        prefix.extend(length.to_be_bytes());
        prefix.extend([1, 0, 0]);
        prefix.extend(bytes);
        let cut = cut.min(prefix.len());
        let early = scan(&prefix[..cut]);
        let _ = settle(&prefix[..cut]);
        if early != Verdict::More {
            prop_assert_eq!(early, scan(&prefix));
        }
    }

    #[test]
    fn any_damage_to_a_hello_never_panics(at in 0usize..1600, value in any::<u8>(), size in 1usize..2000, cut in 0usize..1700) {
        let mut bytes = records(&browser(b"www.bench.example"), size);
        let length = bytes.len();
        bytes[at % length] = value;
        let _ = (scan(&bytes), settle(&bytes[..cut.min(length)]));
    }
}
