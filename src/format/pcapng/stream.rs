//! A TCP connection that never was: packets with the numbers, flags and checksums that a reader expects of one, around
//! bytes that are given. Knows nothing of sessions, so that whatever is a pair of byte streams can be shown so.
//!
//! The trap: readers judge. A pure ACK that says nothing new is a duplicate to them, an answer before its question an
//! unseen segment; so acknowledgements are sent only where something new is to be acknowledged.

use std::net::{IpAddr, SocketAddr};

use etherparse::{PacketBuilder, TcpHeader, TcpOptionElement};

use super::block::{self, Notes};
use crate::format::Dir;

/// Bytes in a packet: an IPv4 packet has 65535 at most, with its headers.
const PIECE: usize = 60 * 1024;
/// The largest segment that is said to be taken: an IPv4 packet less two headers.
const SEGMENT: u16 = 65_495;
/// The window's unit is 2^14, so that it can be said once to be 1 GiB and need never open.
const SCALE: u8 = 14;
const WINDOW: u16 = u16::MAX;
/// What is sent at most before the other side acknowledges; less than the window.
const UNACKNOWLEDGED: u32 = 512 * 1024;
const TTL: u8 = 64;

/// Where packets are written.
#[derive(Debug)]
pub(super) struct Pen<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// In nanoseconds since 1970.
    pub(super) at: u64,
    /// For the next packet.
    pub(super) notes: &'a mut Notes,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Teardown {
    /// Both sides end.
    Both,
    /// The source of this direction resets it.
    Reset(Dir),
}

/// One connection. What is kept per direction stands under `Dir as usize`.
#[derive(Debug)]
pub(super) struct Stream {
    /// The sources: the client and the origin.
    ends: [SocketAddr; 2],
    /// The sequence number of the next byte, or of FIN.
    next: [u32; 2],
    /// That of the first byte in this file.
    first: [u32; 2],
    /// What the receiver has acknowledged: `next - acked <= UNACKNOWLEDGED` after each event.
    acked: [u32; 2],
    ended: [bool; 2],
    phase: Phase,
}

/// How far a connection has come in this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Called,
    Open,
}

impl Dir {
    fn back(self) -> Dir {
        match self {
            Dir::Up => Dir::Down,
            Dir::Down => Dir::Up,
        }
    }
}

impl Stream {
    /// Between these; the first sequence numbers are made of `seed`, so that a later connection between the same ends
    /// has others.
    pub(super) fn new(client: SocketAddr, origin: SocketAddr, seed: u64) -> Stream {
        let mixed = mix(seed);
        let next = [(mixed >> 32) as u32, mixed as u32];
        Stream { ends: [client, origin], next, first: next, acked: next, ended: [false; 2], phase: Phase::New }
    }

    /// Whether nothing of it is in the file.
    pub(super) fn is_new(&self) -> bool {
        self.phase == Phase::New
    }

    /// Whether its first packets, three of them, are in the file.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Begins anew, in another file, where it is.
    pub(super) fn rewind(&mut self) {
        if self.phase == Phase::Open {
            for dir in [Dir::Up, Dir::Down] {
                self.next[dir as usize] = self.next[dir as usize].wrapping_sub(u32::from(self.ended[dir as usize]));
            }
        }
        self.phase = Phase::New;
    }

    /// The client calls: SYN.
    pub(super) fn call(&mut self, pen: &mut Pen<'_>) {
        if self.phase == Phase::New {
            self.phase = Phase::Called;
            self.first = self.next;
            let mut syn = self.syn(Dir::Up);
            syn.ack = false;
            syn.acknowledgment_number = 0;
            self.send(Dir::Up, syn, &[], pen);
        }
    }

    /// The connection is open, and ended where it was: whatever lacks for that is sent.
    pub(super) fn ready(&mut self, pen: &mut Pen<'_>) {
        self.call(pen);
        if self.phase == Phase::Called {
            self.phase = Phase::Open;
            // bytes that were missed since the call leave their gap behind the answer
            let next = std::mem::replace(&mut self.next, self.first);
            let syn = self.syn(Dir::Down);
            self.send(Dir::Down, syn, &[], pen);
            self.acknowledge(Dir::Down, pen);
            self.next = next;
            for dir in [Dir::Up, Dir::Down] {
                if self.ended[dir as usize] {
                    self.fin(dir, pen);
                }
            }
        }
    }

    /// Bytes of this direction.
    pub(super) fn data(&mut self, dir: Dir, bytes: &[u8], pen: &mut Pen<'_>) {
        self.ready(pen);
        let pieces = bytes.chunks(PIECE);
        let last = pieces.len().saturating_sub(1);
        for (number, piece) in pieces.enumerate() {
            let mut header = self.header(dir);
            header.psh = number == last;
            self.send(dir, header, piece, pen);
            self.next[dir as usize] = self.next[dir as usize].wrapping_add(piece.len() as u32);
            if self.next[dir as usize].wrapping_sub(self.acked[dir as usize]) > UNACKNOWLEDGED - PIECE as u32 {
                self.acknowledge(dir, pen);
            }
        }
    }

    /// So many bytes of this direction are not known: a gap in its numbers.
    pub(super) fn skip(&mut self, dir: Dir, bytes: u64) {
        self.next[dir as usize] = self.next[dir as usize].wrapping_add(bytes as u32);
    }

    /// The source of this direction has ended: FIN.
    pub(super) fn end(&mut self, dir: Dir, pen: &mut Pen<'_>) {
        self.ready(pen);
        if !std::mem::replace(&mut self.ended[dir as usize], true) {
            self.fin(dir, pen);
        }
    }

    /// It is over; `comment` is for its last packet.
    pub(super) fn close(&mut self, how: Teardown, comment: String, pen: &mut Pen<'_>) {
        match how {
            Teardown::Both => {
                self.end(Dir::Up, pen);
                self.end(Dir::Down, pen);
                let late =
                    if self.acked[Dir::Up as usize] == self.next[Dir::Up as usize] { Dir::Down } else { Dir::Up };
                pen.notes.say(comment);
                self.acknowledge(late, pen);
            }
            Teardown::Reset(by) => {
                self.call(pen);
                let mut header = self.header(by);
                header.rst = true;
                if self.phase == Phase::Called {
                    // RFC 9293 section 3.5.2: the answer to a SYN has no number of its own, the caller nothing to acknowledge
                    match by {
                        Dir::Up => (header.ack, header.acknowledgment_number) = (false, 0),
                        Dir::Down => header.sequence_number = 0,
                    }
                }
                pen.notes.say(comment);
                self.send(by, header, &[], pen);
            }
        }
    }

    fn fin(&mut self, dir: Dir, pen: &mut Pen<'_>) {
        let mut header = self.header(dir);
        header.fin = true;
        self.send(dir, header, &[], pen);
        self.next[dir as usize] = self.next[dir as usize].wrapping_add(1);
        // the second one is acknowledged by the last packet
        if self.ended != [true; 2] {
            self.acknowledge(dir, pen);
        }
    }

    /// The receiver of this direction acknowledges all of it.
    fn acknowledge(&mut self, dir: Dir, pen: &mut Pen<'_>) {
        self.send(dir.back(), self.header(dir.back()), &[], pen);
    }

    /// Of a packet that begins or answers a connection.
    fn syn(&self, from: Dir) -> TcpHeader {
        let mut header = self.header(from);
        header.syn = true;
        header.sequence_number = header.sequence_number.wrapping_sub(1);
        let options = [TcpOptionElement::MaximumSegmentSize(SEGMENT), TcpOptionElement::WindowScale(SCALE)];
        header.set_options(&options).expect("two options fit into 40 bytes");
        header
    }

    /// Of a packet that says how far both directions are.
    fn header(&self, from: Dir) -> TcpHeader {
        let [source, destination] = [from, from.back()].map(|dir| self.ends[dir as usize].port());
        let mut header = TcpHeader::new(source, destination, self.next[from as usize], WINDOW);
        header.ack = true;
        header.acknowledgment_number = self.next[from.back() as usize];
        header
    }

    fn send(&mut self, from: Dir, header: TcpHeader, bytes: &[u8], pen: &mut Pen<'_>) {
        if header.ack {
            self.acked[from.back() as usize] = header.acknowledgment_number;
        }
        let [source, destination] = [from, from.back()].map(|dir| self.ends[dir as usize].ip());
        let ip = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                PacketBuilder::ipv4(source.octets(), destination.octets(), TTL)
            }
            (source, destination) => PacketBuilder::ipv6(octets(source), octets(destination), TTL),
        };
        block::packet(pen.at, from, pen.notes, pen.out, |out| {
            ip.tcp_header(header).write(out, bytes).expect("a piece fits into a packet, and a Vec takes everything");
        });
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The finaliser of SplitMix64: numbers that differ little come out far apart.
fn mix(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
