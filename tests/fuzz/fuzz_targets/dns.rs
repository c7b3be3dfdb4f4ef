//! A question and the answer of a server: nothing panics, answers are small, belong to their question, and are read
//! by others.
#![no_main]

use handyproxy::wire::dns::{Answer, Asked, Query, Rcode, addresses, pass_on, rcode, read, replies_to};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = (addresses(bytes), rcode(bytes));
    let query: Query = match read(bytes) {
        Asked::Query(query) => query,
        Asked::Wrong(answer) => {
            assert!(answer.len() <= 600 && answer[..2] == bytes[..2] && answer[2] & 0x80 != 0);
            return assert_eq!(read(&answer), Asked::Nothing);
        }
        Asked::Nothing => return,
    };
    assert!(query.name().bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'?')));
    assert!(query.host().is_none_or(|host| host.as_str() == query.name()));
    let _ = query.reverse();
    let v6 = std::net::Ipv6Addr::LOCALHOST.into();
    for answer in [Answer::NoData, Answer::NoName, Answer::Addr(v6), Answer::Fails(Rcode::ServFail)] {
        let bytes = query.answer(answer, 60);
        assert!(bytes.len() <= 600 && bytes.len() <= query.most() + 100);
        // simple-dns reads no unknown types and classes
        if query.is_ordinary() && matches!(query.kind(), 1 | 28) {
            assert_eq!(addresses(&bytes).len(), usize::from(matches!(answer, Answer::Addr(_))));
        }
        assert_eq!(read(&bytes), Asked::Nothing, "it would be answered");
    }
    let Asked::Query(asked) = read(&query.ask(7)) else { panic!("a server would not understand") };
    assert_eq!((asked.name(), asked.kind()), (query.name(), query.kind()));
    let reply = asked.answer(Answer::Addr(v6), 60);
    assert!(replies_to(&query, 7, &reply) && !replies_to(&query, 8, &reply));
    assert_eq!(pass_on(&query, &reply, 0xffff).len(), reply.len());
    assert!(rcode(&pass_on(&query, &reply, reply.len() - 1)).0);
});
