//! What servers answer: whether it is for a question, what to pass on, and the addresses in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Packet};

use super::{HEADER, OPCODE, QR, Query, RA, RCODE, TC, head, word};

/// Whether the bytes are the reply to `query`, which was sent under this `id`.
pub fn replies_to(query: &Query, id: u16, bytes: &[u8]) -> bool {
    let question = bytes.get(HEADER..HEADER + query.question.len());
    let flags = word(bytes, 2).unwrap_or_default();
    word(bytes, 0) == Some(id)
        && flags & QR != 0
        && flags & OPCODE == 0
        && word(bytes, 4) == Some(1)
        && question.is_some_and(|question| is_same(question, &query.question))
}

/// Whether two questions are the same, apart from the case of their names.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let end = other.len() - 4;
    one.len() == other.len() && one[..end].eq_ignore_ascii_case(&other[..end]) && one[end..] == other[end..]
}

/// Whether a reply was cut, and its code.
pub fn rcode(reply: &[u8]) -> (bool, u16) {
    let flags = word(reply, 2).unwrap_or_default();
    (flags & TC != 0, flags & RCODE)
}

/// The reply for the client who asked: the same bytes under its id and in its spelling. Where they are more than
/// `most`, only that there is more, so that it asks again over TCP.
pub fn pass_on(query: &Query, reply: &[u8], most: usize) -> Vec<u8> {
    let end = HEADER + query.question.len();
    if reply.len() > most {
        let flags = word(reply, 2).unwrap_or_default() | TC;
        let mut out = head(query.id, flags | RA, [1, 0, 0, u16::from(query.edns.is_some())]);
        out.extend(&*query.question);
        query.write_edns(&mut out, 0);
        return out;
    }
    let mut out = reply.to_vec();
    if let Some(start) = out.get_mut(..end) {
        start[..2].copy_from_slice(&query.id.to_be_bytes());
        start[HEADER..].copy_from_slice(&query.question);
    }
    out
}

/// The addresses in a reply, whatever aliases lead to them; none in what is no reply.
pub fn addresses(reply: &[u8]) -> Vec<IpAddr> {
    // room is made for as many records as a message claims to have: it must be long enough for them
    let counts: Option<Vec<usize>> = (2..6).map(|at| word(reply, at * 2).map(usize::from)).collect();
    let Some(counts) = counts else { return Vec::new() };
    let least = HEADER + counts[0] * 5 + (counts[1] + counts[2] + counts[3]) * 11;
    if least > reply.len() {
        return Vec::new();
    }
    let Ok(packet) = Packet::parse(reply) else { return Vec::new() };
    let addrs = packet.answers.iter().filter(|record| record.class == CLASS::IN);
    let addrs = addrs.filter_map(|record| match &record.rdata {
        RData::A(a) => Some(IpAddr::from(Ipv4Addr::from(a.address))),
        RData::AAAA(aaaa) => Some(IpAddr::from(Ipv6Addr::from(aaaa.address))),
        _ => None,
    });
    addrs.collect()
}
