//! Questions from every prefix and from noise, and answers as another reader, simple-dns, sees them.

use super::*;
use proptest::prelude::*;
use simple_dns::rdata::RData;
use simple_dns::{Packet, PacketFlag, RCODE};

/// A question as a stub resolver sends it; `edns` is the size and whether signatures are wanted.
fn asked(name: &str, kind: u16, edns: Option<(u16, bool)>) -> Vec<u8> {
    let mut bytes = head(0x1234, RD, [1, 0, 0, u16::from(edns.is_some())]);
    if name != "." {
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(IN.to_be_bytes());
    if let Some((size, dnssec)) = edns {
        bytes.extend([0, 0, 41]);
        bytes.extend(size.to_be_bytes());
        bytes.extend([0, 0, if dnssec { 0x80 } else { 0 }, 0, 0, 0]);
    }
    bytes
}

fn query(bytes: &[u8]) -> Query {
    match read(bytes) {
        Asked::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

fn host(text: &str) -> Host {
    Host::parse(text.as_bytes()).expect("a valid name")
}

/// The code of an answer to something wrong.
fn wrong(bytes: &[u8]) -> u16 {
    match read(bytes) {
        Asked::Wrong(answer) => {
            assert_eq!(answer[..2], bytes[..2], "the id");
            assert_eq!(answer[2] & 0x80, 0x80, "no reply");
            word(&answer, 2).expect("a header") & RCODE
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_is_answered_in_the_clients_spelling() {
    let bytes = asked("WwW.Bench.Example", A, None);
    let query = query(&bytes);
    assert_eq!((query.name(), query.kind(), query.most()), ("www.bench.example", A, 512));
    assert_eq!(query.host(), Some(host("www.bench.example")));
    let answer = query.answer(Answer::Addr(Ipv4Addr::new(198, 18, 0, 7).into()), 60);
    assert_eq!(answer[12..12 + 23], bytes[12..12 + 23]);
    let packet = Packet::parse(&answer).expect("a message");
    assert_eq!((packet.id(), packet.rcode(), packet.answers.len()), (0x1234, RCODE::NoError, 1));
    assert!(packet.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE));
    assert!(packet.opt().is_none());
    let record = &packet.answers[0];
    assert_eq!((record.name.to_string().as_str(), record.ttl), ("WwW.Bench.Example", 60));
    assert_eq!(record.rdata, RData::A(Ipv4Addr::new(198, 18, 0, 7).into()));
    assert_eq!(addresses(&answer), [IpAddr::from([198, 18, 0, 7])]);
}

#[test]
fn nothing_is_answered_with_how_long_that_holds() {
    for (name, zone) in [("www.bench.example", "bench.example"), ("local", ""), (".", "")] {
        for (answer, code) in [(Answer::NoData, RCODE::NoError), (Answer::NoName, RCODE::NameError)] {
            let answer = query(&asked(name, HTTPS, Some((4096, true)))).answer(answer, 30);
            let packet = Packet::parse(&answer).expect("a message");
            assert_eq!((packet.rcode(), packet.answers.len(), packet.name_servers.len()), (code, 0, 1), "{name}");
            let soa = &packet.name_servers[0];
            assert_eq!((soa.name.to_string().as_str(), soa.ttl), (zone, 30), "{name}");
            let RData::SOA(data) = &soa.rdata else { panic!("{soa:?}") };
            assert_eq!((data.minimum, data.rname.to_string().as_str()), (30, "nobody.invalid"));
        }
    }
}

#[test]
fn edns_is_answered_where_it_was_asked() {
    let question = query(&asked("a.example", AAAA, Some((4096, true))));
    assert_eq!(question.most(), 1232);
    let answer = question.answer(Answer::Addr(Ipv6Addr::LOCALHOST.into()), 1);
    let packet = Packet::parse(&answer).expect("a message");
    assert_eq!(packet.opt().expect("an OPT record").udp_packet_size, 1232);
    // no upper bits of a code, version 0, and the DO bit comes back (RFC 3225 section 3)
    assert_eq!(answer[answer.len() - 6..], [0, 0, 0x80, 0, 0, 0]);
    assert_eq!(query(&asked("a.example", A, Some((100, false)))).most(), 512);
    // a version of the future
    let mut future = asked("a.example", A, Some((1232, false)));
    let at = future.len() - 5;
    future[at] = 1;
    let Asked::Wrong(answer) = read(&future) else { panic!("it was taken") };
    // 16 is BADVERS: nothing in the header, 1 in the OPT record
    assert_eq!((rcode(&answer), &answer[answer.len() - 6..]), ((false, 0), &[1, 0, 0, 0, 0, 0][..]));
}

#[test]
fn addresses_are_read_from_the_reverse_tree() {
    let reverse = |name: &str| query(&asked(name, PTR, None)).reverse();
    assert_eq!(reverse("7.0.18.198.in-addr.arpa"), Some([198, 18, 0, 7].into()));
    let v6 = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.7.4.6.e.6.1.6.8.6.d.f.IP6.ARPA";
    assert_eq!(reverse(v6), "fd68:616e:6479::7".parse().ok());
    for name in ["0.18.198.in-addr.arpa", "1.7.0.18.198.in-addr.arpa", "256.0.18.198.in-addr.arpa", &v6[2..], "a"] {
        assert_eq!(reverse(name), None, "{name}");
    }
    let answer = query(&asked("7.0.18.198.in-addr.arpa", PTR, None)).answer(Answer::Name(&host("a.b.example")), 9);
    let packet = Packet::parse(&answer).expect("a message");
    let RData::PTR(name) = &packet.answers[0].rdata else { panic!("{packet:?}") };
    assert_eq!(name.0.to_string(), "a.b.example");
}

#[test]
fn what_is_no_question_is_told_so_or_not_at_all() {
    let good = asked("a.example", A, None);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // a reply gets no reply, or two of us would talk for ever
    assert_eq!(read(&with(2, 0x81)), Asked::Nothing);
    assert_eq!(read(b""), Asked::Nothing);
    assert_eq!(wrong(&with(2, 0x28)), 4, "an update");
    assert_eq!(wrong(&with(5, 0)), 1, "no question");
    assert_eq!(wrong(&with(5, 2)), 1, "two questions");
    assert_eq!(wrong(&with(7, 1)), 1, "an answer");
    assert_eq!(wrong(&with(11, 1)), 1, "a record that is not there");
    assert_eq!(wrong(&with(12, 0xc0)), 1, "a pointer");
    assert_eq!(wrong(&with(12, 64)), 1, "a label too long");
    let mut twice = asked("a.example", A, Some((1232, false)));
    twice.extend_from_within(twice.len() - 11..);
    twice[11] = 2;
    assert_eq!(wrong(&twice), 1, "two OPT records");
}

#[test]
fn unknown_types_and_classes_are_questions() {
    let question = query(&asked("a.example", 65_399, None));
    assert!(question.is_ordinary());
    let mut chaos = asked("version.bind", 16, None);
    let end = chaos.len();
    chaos[end - 1] = 3;
    assert!(!query(&chaos).is_ordinary());
    assert!(!query(&asked("a.example", 252, None)).is_ordinary(), "a zone transfer");
}

#[test]
fn names_that_no_host_has_are_shown_harmlessly_and_are_none() {
    let mut bytes = asked("aXb.example", A, None);
    for odd in [b'.', 0, b'\n', b' ', 0xff, b'*'] {
        bytes[14] = odd;
        let question = query(&bytes);
        assert_eq!((question.name(), question.host()), ("a?b.example", None), "{odd}");
    }
    let longest = format!("{}{}", "abcdefg.".repeat(31), "a".repeat(5));
    assert_eq!(query(&asked(&longest, A, None)).host(), Some(host(&longest)));
    assert_eq!(wrong(&asked(&format!("{longest}a"), A, None)), 1);
}

#[test]
fn only_the_reply_to_a_question_is_one() {
    let question = query(&asked("a.example", A, Some((1232, true))));
    let sent = question.ask(77);
    assert_eq!(self::query(&sent).question, question.question);
    let mut reply = self::query(&sent).answer(Answer::Addr([192, 0, 2, 1].into()), 5);
    assert!(replies_to(&question, 77, &reply));
    assert!(!replies_to(&question, 78, &reply));
    assert!(!replies_to(&question, 77, &sent), "a question is no reply");
    for other in [asked("b.example", A, None), asked("a.example", AAAA, None), asked("a.exampl", A, None)] {
        let reply = self::query(&self::query(&other).ask(77)).answer(Answer::NoData, 5);
        assert!(!replies_to(&question, 77, &reply));
    }
    // another spelling of the name is the same name, and the client gets its own
    reply[13] = b'A';
    assert!(replies_to(&question, 77, &reply));
    let passed = pass_on(&question, &reply, 1232);
    assert_eq!((passed.len(), &passed[..2], passed[13]), (reply.len(), &[0x12, 0x34][..], b'a'));
    assert_eq!(rcode(&passed), (false, 0));
    let cut = pass_on(&question, &reply, reply.len() - 1);
    assert_eq!(rcode(&cut), (true, 0));
    assert!(Packet::parse(&cut).is_ok_and(|packet| packet.answers.is_empty() && packet.opt().is_some()));
}

#[test]
fn messages_that_claim_to_hold_much_hold_no_addresses() {
    let mut bytes = query(&asked("a.example", A, None)).answer(Answer::Addr([192, 0, 2, 1].into()), 5);
    bytes[6..12].fill(0xff);
    assert_eq!(addresses(&bytes), Vec::<IpAddr>::new());
}

#[test]
fn every_prefix_of_a_question_is_wrong_or_nothing() {
    let whole = asked("www.bench.example", A, Some((1232, false)));
    for end in 0..whole.len() {
        assert!(!matches!(read(&whole[..end]), Asked::Query(_)), "{end} bytes");
    }
    assert!(matches!(read(&whole), Asked::Query(_)));
}

proptest! {
    #[test]
    fn any_message_is_read_and_any_answer_can_be(bytes in proptest::collection::vec(any::<u8>(), 0..300), clean: bool) {
        let mut bytes = bytes;
        if clean && bytes.len() > 12 {
            bytes[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
        let _ = addresses(&bytes);
        if let Asked::Query(query) = read(&bytes) {
            for answer in [Answer::NoData, Answer::NoName, Answer::Addr([192, 0, 2, 1].into()), Answer::Fails(Rcode::ServFail)] {
                let answer = query.answer(answer, 1);
                prop_assert!(answer.len() <= 600);
                prop_assert!(replies_to(&query, query.id, &answer));
            }
        }
    }

    #[test]
    fn any_host_can_be_asked_about(labels in proptest::collection::vec("[a-z][a-z0-9_-]{0,20}", 1..6)) {
        let host = host(&labels.join("."));
        let sent = Query::about(&host, A).ask(9);
        prop_assert_eq!(query(&sent).host(), Some(host));
    }
}
