//! DNS messages (RFC 1035, with the EDNS of RFC 6891): reads a question, writes its answer.
//!
//! What is asked is kept as it was written, so that the answer repeats the client's spelling, and a type or class
//! that nobody has heard of is still a question. A question has one name and no compression; more than one question,
//! pointers and records where none belong are no question. simple-dns, which knows the records, refuses unknown types
//! and reads an EDNS version from the wrong byte: it reads the addresses in answers of servers, in `reply`.

mod reply;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::Host;

pub use reply::{addresses, pass_on, rcode, replies_to};

/// An IPv4 address.
pub const A: u16 = 1;
/// A name for an address.
pub const PTR: u16 = 12;
/// An IPv6 address.
pub const AAAA: u16 = 28;
/// How to reach a service (RFC 9460).
pub const SVCB: u16 = 64;
/// The same for HTTP: where HTTP/3 and encrypted hellos are announced.
pub const HTTPS: u16 = 65;
/// Every record there is.
pub const ANY: u16 = 255;

/// The longest answer over UDP, whatever the client offers: what crosses any network in one piece.
const UDP_MOST: u16 = 1232;
/// The longest answer to a client without EDNS.
const UDP_PLAIN: u16 = 512;
const HEADER: usize = 12;
const IN: u16 = 1;
const OPT: u16 = 41;
/// Records behind the question: OPT and a signature are usual.
const MORE: u16 = 4;

const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const CD: u16 = 0x0010;
const RCODE: u16 = 0x000f;

/// What a message turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A question.
    Query(Query),
    /// Something wrong that has an answer: this one.
    Wrong(Vec<u8>),
    /// Nothing to answer: a reply, or no message at all.
    Nothing,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    id: u16,
    /// RD, CD and what else is repeated.
    flags: u16,
    /// Name, type and class as they were written.
    question: Box<[u8]>,
    name: String,
    kind: u16,
    class: u16,
    edns: Option<Edns>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edns {
    /// The longest answer that the client can take over UDP.
    size: u16,
    /// Whether it wants signatures (RFC 3225).
    dnssec: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Rcode {
    /// Not understood.
    FormErr = 1,
    /// Nobody knows.
    ServFail = 2,
    /// No such name.
    NxDomain = 3,
    /// Not done here.
    NotImp = 4,
    /// Not told.
    Refused = 5,
    /// An EDNS of the future (RFC 6891 section 6.1.3): the upper bits of this go into the OPT record.
    BadVers = 16,
}

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The name has this address.
    Addr(IpAddr),
    /// The address has this name.
    Name(&'a Host),
    /// The name exists, and has nothing of this type.
    NoData,
    /// There is no such name.
    NoName,
    /// There is no answer.
    Fails(Rcode),
}

/// Reads a message from a client.
pub fn read(bytes: &[u8]) -> Asked {
    let (Some(id), Some(flags)) = (word(bytes, 0), word(bytes, 2)) else { return Asked::Nothing };
    if bytes.len() < HEADER || flags & QR != 0 {
        return Asked::Nothing;
    }
    let bare = |rcode| Asked::Wrong(head(id, QR | flags & (OPCODE | RD) | rcode as u16, [0; 4]));
    if flags & OPCODE != 0 {
        return bare(Rcode::NotImp);
    }
    match query(bytes, id, flags) {
        Some((query, 0)) => Asked::Query(query),
        Some((query, _)) => Asked::Wrong(query.answer(Answer::Fails(Rcode::BadVers), 0)),
        None => bare(Rcode::FormErr),
    }
}

/// The question, and the version of its EDNS.
fn query(bytes: &[u8], id: u16, flags: u16) -> Option<(Query, u8)> {
    let counts = [word(bytes, 4)?, word(bytes, 6)?, word(bytes, 8)?];
    let more = word(bytes, 10)?;
    if counts != [1, 0, 0] || more > MORE {
        return None;
    }
    let (name, end) = name(bytes)?;
    let (kind, class) = (word(bytes, end)?, word(bytes, end + 2)?);
    let question = Box::from(&bytes[HEADER..end + 4]);
    let (mut edns, mut version, mut at) = (None, 0, end + 4);
    for _ in 0..more {
        let record = record(bytes, at)?;
        at = record.end;
        if record.kind != OPT {
            continue;
        }
        if edns.is_some() || !record.of_root || !are_options(record.data) {
            return None;
        }
        version = (record.ttl >> 16) as u8;
        edns = Some(Edns { size: record.class, dnssec: record.ttl & 0x8000 != 0 });
    }
    Some((Query { id, flags: flags & (RD | CD), question, name, kind, class, edns }, version))
}

/// The name behind the header, in lower case, `?` in place of what no host name has; and where it ends.
fn name(bytes: &[u8]) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((text, at));
        }
        // 255 with the end of the name (RFC 1035 section 2.3.4); a longer label is a pointer
        if length > 63 || at + length > HEADER + 254 {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        for &b in bytes.get(at..at + length)? {
            let plain = b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            text.push(if plain { char::from(b.to_ascii_lowercase()) } else { '?' });
        }
        at += length;
    }
}

/// A record behind the question.
struct Record<'a> {
    of_root: bool,
    kind: u16,
    class: u16,
    ttl: u32,
    data: &'a [u8],
    end: usize,
}

fn record(bytes: &[u8], start: usize) -> Option<Record<'_>> {
    let mut at = start;
    loop {
        match *bytes.get(at)? {
            0 => break at += 1,
            pointer if pointer & 0xc0 == 0xc0 => break at += 2,
            length if length < 64 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    let of_root = at == start + 1;
    let (kind, class) = (word(bytes, at)?, word(bytes, at + 2)?);
    let ttl = u32::from(word(bytes, at + 4)?) << 16 | u32::from(word(bytes, at + 6)?);
    let end = at + 10 + usize::from(word(bytes, at + 8)?);
    Some(Record { of_root, kind, class, ttl, data: bytes.get(at + 10..end)?, end })
}

/// Whether this is a list of options, each with a code and a length.
fn are_options(mut data: &[u8]) -> bool {
    while !data.is_empty() {
        let Some(length) = word(data, 2) else { return false };
        let Some(rest) = data.get(4 + usize::from(length)..) else { return false };
        data = rest;
    }
    true
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

/// A header with its counts.
fn head(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    for word in [id, flags].into_iter().chain(counts) {
        out.extend(word.to_be_bytes());
    }
    out
}

impl Query {
    /// The name in lower case without the last dot, `?` in place of every byte that no host name has; empty for the root.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, if a host can have it.
    pub fn host(&self) -> Option<Host> {
        // what is no host name holds a `?`, which no host name has
        Host::parse(self.name.as_bytes())
    }

    /// The type.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// Whether this is about the Internet, and about records, not about whole zones.
    pub fn is_ordinary(&self) -> bool {
        self.class == IN && !(249..=254).contains(&self.kind)
    }

    /// The address that is asked about by its name in the reverse tree (RFC 1035 section 3.5, RFC 3596 section 2.5).
    pub fn reverse(&self) -> Option<IpAddr> {
        if self.kind != PTR {
            return None;
        }
        if let Some(rest) = self.name.strip_suffix(".in-addr.arpa") {
            let mut octets = [0; 4];
            let mut labels = rest.split('.');
            for octet in octets.iter_mut().rev() {
                *octet = labels.next()?.parse().ok()?;
            }
            return labels.next().is_none().then(|| Ipv4Addr::from(octets).into());
        }
        let nibbles = self.name.strip_suffix(".ip6.arpa")?;
        if nibbles.len() != 63 {
            return None;
        }
        let mut bits = 0;
        for label in nibbles.rsplit('.') {
            let digit = (label.len() == 1).then(|| u128::from_str_radix(label, 16).ok())??;
            bits = bits << 4 | digit;
        }
        Some(Ipv6Addr::from(bits).into())
    }

    /// The longest answer that its sender takes over UDP.
    pub fn most(&self) -> usize {
        usize::from(self.edns.map_or(UDP_PLAIN, |edns| edns.size.clamp(UDP_PLAIN, UDP_MOST)))
    }

    /// Writes an answer, 600 bytes at most; clients may keep it for `ttl` seconds.
    pub fn answer(&self, answer: Answer<'_>, ttl: u32) -> Vec<u8> {
        let rcode = match answer {
            Answer::Addr(_) | Answer::Name(_) | Answer::NoData => 0,
            Answer::NoName => Rcode::NxDomain as u16,
            Answer::Fails(rcode) => rcode as u16,
        };
        let answers = u16::from(matches!(answer, Answer::Addr(_) | Answer::Name(_)));
        let authority = u16::from(matches!(answer, Answer::NoData | Answer::NoName));
        let flags = QR | RA | self.flags | rcode & RCODE;
        let mut out = head(self.id, flags, [1, answers, authority, u16::from(self.edns.is_some())]);
        out.extend(&*self.question);
        match answer {
            Answer::Addr(IpAddr::V4(addr)) => record_of(&mut out, 0xc00c, A, ttl, &addr.octets()),
            Answer::Addr(IpAddr::V6(addr)) => record_of(&mut out, 0xc00c, AAAA, ttl, &addr.octets()),
            Answer::Name(host) => {
                let mut data = Vec::with_capacity(host.as_str().len() + 2);
                labels(&mut data, host.as_str());
                record_of(&mut out, 0xc00c, PTR, ttl, &data);
            }
            Answer::NoData | Answer::NoName => self.authority(&mut out, ttl),
            Answer::Fails(_) => {}
        }
        self.write_edns(&mut out, rcode);
        out
    }

    /// The SOA record by which clients know how long to believe that something is not there (RFC 2308 section 3). Its
    /// zone is the name's parent.
    fn authority(&self, out: &mut Vec<u8>, ttl: u32) {
        const SOA: u16 = 6;
        let first = self.question[0];
        let parent = 0xc00c + if first == 0 { 0 } else { u16::from(first) + 1 };
        let mut data = parent.to_be_bytes().to_vec();
        labels(&mut data, "nobody.invalid");
        // serial, refresh, retry, expire, minimum
        for number in [1, 3600, 1200, 604_800, ttl] {
            data.extend(number.to_be_bytes());
        }
        record_of(out, parent, SOA, ttl, &data);
    }

    /// An OPT record where the client has sent one.
    fn write_edns(&self, out: &mut Vec<u8>, rcode: u16) {
        let Some(edns) = self.edns else { return };
        let dnssec = u16::from(edns.dnssec) << 15;
        out.push(0);
        for word in [OPT, UDP_MOST, rcode >> 4 << 8, dnssec, 0] {
            out.extend(word.to_be_bytes());
        }
    }

    /// Writes the same question to a server, under an `id` of its own.
    pub fn ask(&self, id: u16) -> Vec<u8> {
        let mut out = head(id, self.flags, [1, 0, 0, u16::from(self.edns.is_some())]);
        out.extend(&*self.question);
        self.write_edns(&mut out, 0);
        out
    }

    /// A question of our own.
    pub fn about(host: &Host, kind: u16) -> Query {
        let name = host.as_str().to_owned();
        let mut question = Vec::with_capacity(name.len() + 6);
        labels(&mut question, &name);
        question.extend(kind.to_be_bytes());
        question.extend(IN.to_be_bytes());
        let edns = Some(Edns { size: UDP_MOST, dnssec: false });
        Query { id: 0, flags: RD, question: question.into(), name, kind, class: IN, edns }
    }
}

/// A record whose name stands elsewhere.
fn record_of(out: &mut Vec<u8>, pointer: u16, kind: u16, ttl: u32, data: &[u8]) {
    for word in [pointer, kind, IN] {
        out.extend(word.to_be_bytes());
    }
    out.extend(ttl.to_be_bytes());
    // 600 bytes at most
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
}

fn labels(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.') {
        // a host name's labels have 63 bytes at most
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
