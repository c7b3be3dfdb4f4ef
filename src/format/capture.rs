//! Reads a capture (pcapng) back: whose bytes went where, and when. Made for those that a tap has written: packets
//! stand in the order of their bytes, the client is who sends the SYN, and comments tell what packets cannot. Captures
//! of others are read as far as that holds for them.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::{Block, PcapNgParser};
use pcap_file::{DataLink, Endianness, PcapError};

use super::{Dir, Entry, Item, Told};
use crate::addr::Host;

/// With what every capture begins.
pub const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// A block of more bytes than this is damage.
const LONGEST: usize = 64 << 20;
const INTERFACE: u32 = 1;

/// Reads a capture in pieces, as they come.
#[derive(Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// start <= buffer.len()
    start: usize,
    /// What was read before the buffer.
    before: u64,
    /// There once the header of the file was.
    parser: Option<PcapNgParser>,
    /// Client and origin of what is open.
    open: HashMap<(SocketAddr, SocketAddr), Open>,
    found: VecDeque<Item>,
    /// Nothing behind this can be understood.
    broken: bool,
}

/// Which ends of a session have been seen.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    up: bool,
    down: bool,
}

impl Reader {
    /// At the beginning of a capture.
    pub fn new() -> Reader {
        Reader::default()
    }

    /// Takes further bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        self.buffer.drain(..self.start);
        self.before += self.start as u64;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// What the next block tells; `None` if there is none yet.
    pub fn item(&mut self) -> Option<Item> {
        while self.found.is_empty() && self.block() {}
        self.found.pop_front()
    }

    /// What is to be said of a last block that is not whole; nothing comes behind it.
    pub fn finish(&mut self) -> Vec<Item> {
        let rest = self.buffer.len() - self.start;
        let torn = Item::Torn(format!("byte {}: the last block is cut off", self.before + self.start as u64));
        let is_torn = rest > 0 && !self.broken;
        *self = Reader::new();
        Vec::from_iter(is_torn.then_some(torn))
    }

    /// Reads a block; whether there was one.
    fn block(&mut self) -> bool {
        let rest = &self.buffer[self.start..];
        if self.broken || rest.is_empty() {
            return false;
        }
        let Some(parser) = &mut self.parser else {
            match PcapNgParser::new(rest) {
                Ok((behind, parser)) => {
                    self.start = self.buffer.len() - behind.len();
                    self.parser = Some(parser);
                    return true;
                }
                Err(PcapError::IncompleteBuffer) if rest.len() < LONGEST => return false,
                Err(error) => return self.give_up(&error),
            }
        };
        match parser.next_block(rest) {
            Ok((behind, block)) => {
                self.start += rest.len() - behind.len();
                if let Block::EnhancedPacket(packet) = block {
                    let told = parser.packet_interface(&packet).and_then(|interface| read(interface, &packet));
                    let notes = Notes::read(&packet);
                    self.found.extend(notes.missing.clone().map(Item::Missing));
                    if let Some((at, segment)) = told {
                        segment.tell(at, notes, &mut self.open, &mut self.found);
                    }
                }
                true
            }
            Err(PcapError::IncompleteBuffer) if rest.len() < LONGEST => false,
            Err(error) => match skippable(rest, parser.section().endianness) {
                Some(length) => {
                    let place = self.before + self.start as u64;
                    self.found.push_back(Item::Wrong(format!("byte {place}: {error}")));
                    self.start += length;
                    true
                }
                None => self.give_up(&error),
            },
        }
    }

    fn give_up(&mut self, error: &PcapError) -> bool {
        let place = self.before + self.start as u64;
        self.found.push_back(Item::Wrong(format!("byte {place}: {error}; what is behind it cannot be read")));
        self.broken = true;
        false
    }
}

/// The length of a block that is damaged inside, if what is behind it can be understood without it.
fn skippable(rest: &[u8], endianness: Endianness) -> Option<usize> {
    let word = |at: usize| -> Option<u32> {
        let bytes = rest.get(at..at + 4)?.try_into().ok()?;
        Some(if endianness == Endianness::Big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let length = usize::try_from(word(4)?).ok()?;
    let is_whole = length >= 12 && length % 4 == 0 && word(length - 4)? == word(4)?;
    let is_needed = rest.starts_with(&MAGIC) || word(0)? == INTERFACE;
    (is_whole && !is_needed).then_some(length)
}

/// What is said beside a packet.
#[derive(Debug, Default)]
struct Notes {
    /// Something had to be left out before it.
    missing: Option<String>,
    name: Option<Host>,
    goes_on: bool,
}

impl Notes {
    fn read(packet: &EnhancedPacketBlock<'_>) -> Notes {
        let mut notes = Notes::default();
        for option in &packet.options {
            match option {
                EnhancedPacketOption::DropCount(records @ 1..) => {
                    notes.missing.get_or_insert(format!("{records} records are missing here"));
                }
                EnhancedPacketOption::Comment(comment) => notes.comment(comment),
                _ => {}
            }
        }
        notes
    }

    /// `session id=1 client=... origin=... name=... goes_on up=1 down=2`, or `missed records=1 bytes=2`.
    fn comment(&mut self, comment: &str) {
        let value = |key: &str| comment.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        if comment.starts_with("session ") {
            self.name = value("name").and_then(|name| Host::parse(name.as_bytes()));
            self.goes_on = comment.split(' ').any(|word| word == "goes_on");
        } else if let (true, Some(records), Some(bytes)) =
            (comment.starts_with("missed "), value("records"), value("bytes"))
        {
            let numbers: Option<(u64, u64)> = records.parse().ok().zip(bytes.parse().ok());
            self.missing = numbers.map(|(records, bytes)| format!("{records} records, {bytes} bytes are missing here"));
        }
    }
}

/// A TCP segment.
struct Segment<'a> {
    from: SocketAddr,
    to: SocketAddr,
    tcp: TcpSlice<'a>,
}

/// When, and what, if it is TCP.
fn read<'a>(
    interface: &InterfaceDescriptionBlock<'_>,
    packet: &'a EnhancedPacketBlock<'_>,
) -> Option<(u64, Segment<'a>)> {
    let sliced = match interface.linktype {
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => SlicedPacket::from_ip(&packet.data),
        DataLink::ETHERNET => SlicedPacket::from_ethernet(&packet.data),
        DataLink::LINUX_SLL => SlicedPacket::from_linux_sll(&packet.data),
        _ => return None,
    };
    let sliced = sliced.ok()?;
    let (from, to): (IpAddr, IpAddr) = match sliced.net? {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => return None,
    };
    let TransportSlice::Tcp(tcp) = sliced.transport? else { return None };
    // of two kinds of addresses both are written as IPv6
    let from = SocketAddr::new(from.to_canonical(), tcp.source_port());
    let to = SocketAddr::new(to.to_canonical(), tcp.destination_port());
    Some((time(interface, packet), Segment { from, to, tcp }))
}

/// Nanoseconds since 1970: the crate hands out the number as it stands in the file, whatever its unit.
fn time(interface: &InterfaceDescriptionBlock<'_>, packet: &EnhancedPacketBlock<'_>) -> u64 {
    let (mut unit, mut offset) = (6, 0);
    for option in &interface.options {
        match option {
            InterfaceDescriptionOption::IfTsResol(given) => unit = *given,
            InterfaceDescriptionOption::IfTsOffset(seconds) => offset = *seconds,
            _ => {}
        }
    }
    let exponent = u32::from(unit & 0x7f);
    let per_second = if unit & 0x80 == 0 { 10_u128.checked_pow(exponent) } else { 1_u128.checked_shl(exponent) };
    let nanos = packet.timestamp.as_nanos() * 1_000_000_000 / per_second.unwrap_or(u128::MAX).max(1);
    u64::try_from(nanos).unwrap_or(u64::MAX).saturating_add(offset.saturating_mul(1_000_000_000))
}

impl Segment<'_> {
    fn tell(
        &self,
        at: u64,
        notes: Notes,
        open: &mut HashMap<(SocketAddr, SocketAddr), Open>,
        found: &mut VecDeque<Item>,
    ) {
        let is_first = self.tcp.syn() && !self.tcp.ack();
        let dir = match (open.contains_key(&(self.from, self.to)), open.contains_key(&(self.to, self.from))) {
            _ if is_first => Dir::Up,
            (true, _) => Dir::Up,
            (_, true) => Dir::Down,
            // the beginning was not recorded: servers have the lower port
            _ if self.tcp.syn() || self.from.port() < self.to.port() => Dir::Down,
            _ => Dir::Up,
        };
        let (client, origin) = if dir == Dir::Up { (self.from, self.to) } else { (self.to, self.from) };
        let mut tell = |what| found.push_back(Item::Entry(Entry { at, client, origin: Some(origin), what }));
        if is_first {
            open.insert((client, origin), Open::default());
            tell(Told::Opened { name: notes.name, goes_on: notes.goes_on });
        }
        if !self.tcp.payload().is_empty() {
            open.entry((client, origin)).or_default();
            tell(Told::Bytes(dir, self.tcp.payload().to_vec()));
        }
        let Some(session) = open.get_mut(&(client, origin)) else { return };
        for (dir, seen) in [(dir, self.tcp.fin()), (Dir::Up, self.tcp.rst()), (Dir::Down, self.tcp.rst())] {
            let ended = if dir == Dir::Up { &mut session.up } else { &mut session.down };
            if seen && !std::mem::replace(ended, true) {
                tell(Told::Ended(dir));
            }
        }
        if self.tcp.rst() {
            open.remove(&(client, origin));
        }
    }
}

#[cfg(test)]
#[path = "capture_tests.rs"]
mod tests;
