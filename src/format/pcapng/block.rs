//! The blocks of a file, appended to it whole: little-endian, each with its length on both ends, which is counted when
//! its body is there. Written by hand, since a packet's bytes are then copied once.

use std::net::IpAddr;

use crate::format::Dir;

/// Packets begin with the IP header.
const LINKTYPE_RAW: u16 = 101;
/// Times are in units of 10^-9 seconds.
const NANOSECONDS: u8 = 9;

/// Who writes a file.
#[derive(Clone, Copy, Debug)]
pub struct Maker<'a> {
    /// The kind of machine.
    pub hardware: &'a str,
    /// The operating system.
    pub os: &'a str,
    /// The program, with its version.
    pub application: &'a str,
}

/// What a packet carries beside itself.
#[derive(Debug, Default)]
pub(super) struct Notes {
    comments: Vec<String>,
    /// Records that are missing before it.
    pub(super) dropped: u64,
}

impl Notes {
    /// Adds a comment.
    pub(super) fn say(&mut self, comment: String) {
        self.comments.push(comment);
    }
}

/// Section header block: a file, or a part of one that was written on later, begins with it.
pub(super) fn section(maker: &Maker<'_>, out: &mut Vec<u8>) {
    block(0x0A0D_0D0A, out, |out| {
        out.extend(0x1A2B_3C4D_u32.to_le_bytes());
        // version 1.0, and a length that is not known
        out.extend([1, 0, 0, 0]);
        out.extend((-1_i64).to_le_bytes());
        option(2, maker.hardware.as_bytes(), out);
        option(3, maker.os.as_bytes(), out);
        option(4, maker.application.as_bytes(), out);
        option(0, &[], out);
    });
}

/// Interface description block: the only interface, number 0.
pub(super) fn interface(out: &mut Vec<u8>) {
    block(1, out, |out| {
        out.extend(LINKTYPE_RAW.to_le_bytes());
        // reserved; packets of any length
        out.extend([0; 6]);
        option(2, b"handyproxy", out);
        option(3, b"sessions as clients saw them", out);
        option(9, &[NANOSECONDS], out);
        option(0, &[], out);
    });
}

/// Name resolution block: one name.
pub(super) fn name(address: IpAddr, name: &str, out: &mut Vec<u8>) {
    block(4, out, |out| {
        let (kind, address) = match &address {
            IpAddr::V4(v4) => (1, &v4.octets()[..]),
            IpAddr::V6(v6) => (2, &v6.octets()[..]),
        };
        option(kind, &[address, name.as_bytes(), &[0]].concat(), out);
        option(0, &[], out);
    });
}

/// Enhanced packet block; `write` appends the packet. The notes are used up.
pub(super) fn packet(at: u64, from: Dir, notes: &mut Notes, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    block(6, out, |out| {
        out.extend([0; 4]);
        out.extend(((at >> 32) as u32).to_le_bytes());
        out.extend((at as u32).to_le_bytes());
        let lengths = out.len();
        out.extend([0; 8]);
        write(out);
        let length = ((out.len() - lengths - 8) as u32).to_le_bytes();
        out[lengths..lengths + 4].copy_from_slice(&length);
        out[lengths + 4..lengths + 8].copy_from_slice(&length);
        pad(out, lengths);
        for comment in notes.comments.drain(..) {
            option(1, comment.as_bytes(), out);
        }
        // inbound or outbound, as the gateway sees the client
        let flags: u32 = match from {
            Dir::Up => 1,
            Dir::Down => 2,
        };
        option(2, &flags.to_le_bytes(), out);
        let dropped = std::mem::take(&mut notes.dropped);
        if dropped > 0 {
            option(4, &dropped.to_le_bytes(), out);
        }
        option(0, &[], out);
    });
}

fn block(kind: u32, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let length = ((out.len() - start + 4) as u32).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&length);
    out.extend(length);
}

/// An option, or a record of names, which has the same form. What is too long for one is cut.
fn option(code: u16, value: &[u8], out: &mut Vec<u8>) {
    let mut value = &value[..value.len().min(usize::from(u16::MAX))];
    // not in the middle of a character
    while value.len() == usize::from(u16::MAX) && std::str::from_utf8(value).is_err() {
        value = &value[..value.len() - 1];
    }
    let start = out.len();
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, start);
}

/// Fills up to a multiple of four bytes, counted from `start`.
fn pad(out: &mut Vec<u8>, start: usize) {
    let missing = (out.len() - start).wrapping_neg() % 4;
    out.extend(&[0; 3][..missing]);
}
