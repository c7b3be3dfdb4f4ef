//! The log of prox.py: a line per read, `TIME CLIENT i|o HEX`, and its way back. `i` comes from the client, `o` goes
//! to it; the client's address stands in both, and names the session.
//!
//! What is read may have been cut, edited, or written by others: blank lines, remarks (`#`), a data column that is
//! missing, CRLF and capital digits are fine; anything else is told with its line, and reading goes on. The trap: two
//! sessions of the same client address, one after the other, look like one.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::{Dir, Entry, Item, Told};

/// The value of each digit; what is no digit has its high bit set.
const VALUES: [u8; 256] = values();
/// A line of more bytes than this is none of ours, and not kept.
const LONGEST: usize = 16 << 20;
/// How a remark about records that are missing ends.
const MISSING: &str = "missing here";
/// What is wrong with lines that are none of a log at all.
const NO_TIME: &str = "does not begin with a time";
const NO_CLIENT: &str = "has no client address behind the time";

/// A record, as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When: nanoseconds since 1970.
    pub at: u64,
    /// Whose session.
    pub client: SocketAddr,
    /// Which way.
    pub dir: Dir,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Line<'_> {
    /// Writes it behind what is there.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (seconds, micros) = (self.at / 1_000_000_000, self.at % 1_000_000_000 / 1000);
        let dir = letter(self.dir);
        out.reserve(2 * self.bytes.len() + 80);
        write!(out, "{seconds}.{micros:06} {} {dir} ", self.client).expect("memory takes all");
        let start = out.len();
        out.resize(start + 2 * self.bytes.len(), 0);
        let (pairs, _) = out[start..].as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.bytes) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        out.push(b'\n');
    }
}

/// The digit of 0 to 15. The compiler does many at once this way, which takes a third of the time of a table.
fn digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

/// How a direction is written.
pub fn letter(dir: Dir) -> char {
    match dir {
        Dir::Up => 'i',
        Dir::Down => 'o',
    }
}

/// Writes a remark: so many records, with so many bytes, could not be written.
pub fn missed(records: u64, bytes: u64, out: &mut Vec<u8>) {
    writeln!(out, "# {records} records, {bytes} bytes are {MISSING}").expect("memory takes all");
}

/// Reads a log in pieces, as they come.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// start <= searched <= buffer.len(); no line ends between these two
    start: usize,
    searched: usize,
    /// Lines that are over.
    lines: u64,
    /// The line is longer than any of ours: its rest is skipped.
    skipping: bool,
}

impl Reader {
    /// At the beginning of a log.
    pub fn new() -> Reader {
        Reader::default()
    }

    /// Takes further bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// What the next whole line tells; `None` if there is none yet.
    pub fn item(&mut self) -> Option<Item> {
        loop {
            let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return self.bound();
            };
            let line = self.start..self.searched + length;
            (self.start, self.searched) = (line.end + 1, line.end + 1);
            self.lines += 1;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            match told(&self.buffer[line]) {
                Ok(None) => {}
                Ok(Some(item)) => return Some(item),
                Err(why) => return Some(wrong(self.lines, why)),
            }
        }
    }

    /// What a last line without an end tells; nothing comes behind it.
    pub fn finish(&mut self) -> Vec<Item> {
        let mut line = std::mem::take(&mut self.buffer).split_off(self.start);
        let (number, skipping) = (self.lines + 1, self.skipping);
        *self = Reader::new();
        if skipping || line.trim_ascii().is_empty() {
            return Vec::new();
        }
        // with less than three columns and a half it is not known what the last of them was to be
        let has_data = line.iter().filter(|byte| **byte == b' ').count() >= 3;
        let is_odd = line.rsplit(|byte| *byte == b' ').next().is_some_and(|last| last.len() % 2 == 1);
        if has_data && is_odd {
            // half a byte is lost
            line.pop();
        }
        match told(&line) {
            Ok(Some(entry @ Item::Entry(_))) if has_data => {
                vec![entry, Item::Torn(format!("line {number}: has no end, so its record may be cut short"))]
            }
            Ok(None) => Vec::new(),
            // what is torn off a log begins as a line of it
            Err(why @ NO_TIME) if number == 1 => vec![wrong(number, why)],
            _ => vec![Item::Torn(format!("line {number}: is cut off"))],
        }
    }

    /// Keeps no line that is too long.
    fn bound(&mut self) -> Option<Item> {
        if self.buffer.len() - self.start <= LONGEST {
            return None;
        }
        self.start = self.buffer.len();
        (!std::mem::replace(&mut self.skipping, true))
            .then(|| Item::Wrong(format!("line {}: is longer than {} MiB", self.lines + 1, LONGEST >> 20)))
    }
}

/// Says of a line that it is no record.
fn wrong(number: u64, why: &str) -> Item {
    let text = format!("line {number}: {why}");
    if [NO_TIME, NO_CLIENT].contains(&why) { Item::Strange(text) } else { Item::Wrong(text) }
}

/// What a line tells, if it tells something.
fn told(line: &[u8]) -> Result<Option<Item>, &'static str> {
    let line = line.trim_ascii();
    if line.first() == Some(&b'#') {
        let missing = line.ends_with(MISSING.as_bytes());
        return Ok(missing.then(|| Item::Missing(String::from_utf8_lossy(line[1..].trim_ascii()).into_owned())));
    }
    let mut columns = line.split(|byte| *byte == b' ').filter(|column| !column.is_empty());
    let Some(time) = columns.next() else { return Ok(None) };
    let at = time_of(time).ok_or(NO_TIME)?;
    let client = columns.next().and_then(|text| str::from_utf8(text).ok()).and_then(address);
    let client = client.ok_or(NO_CLIENT)?;
    let dir = match columns.next() {
        Some(b"i") => Dir::Up,
        Some(b"o") => Dir::Down,
        _ => return Err("has no i or o behind the client"),
    };
    let bytes = bytes(columns.next().unwrap_or_default())?;
    if columns.next().is_some() {
        return Err("has more than four columns");
    }
    Ok(Some(Item::Entry(Entry { at, client, origin: None, what: Told::Bytes(dir, bytes) })))
}

/// Nanoseconds of `SECONDS[.FRACTION]`; what is finer is left out.
fn time_of(text: &[u8]) -> Option<u64> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if whole.is_empty() || !all_digits {
        return None;
    }
    let seconds: u64 = str::from_utf8(whole).ok()?.parse().ok()?;
    let nanos = (0..9).fold(0, |nanos, n| nanos * 10 + u64::from(fraction.get(n).map_or(0, |digit| digit - b'0')));
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// Reads a client's address: IPv6 with brackets or without, where the port stands behind the last colon. An IPv4
/// address that was mapped to IPv6 is one of IPv4.
pub fn address(text: &str) -> Option<SocketAddr> {
    let addr: SocketAddr = text.parse().ok().or_else(|| {
        let (ip, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(IpAddr::V6(ip.parse().ok()?), port.parse().ok()?))
    })?;
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => Some(SocketAddr::new(ip, addr.port())),
        IpAddr::V6(_) => Some(addr),
    }
}

fn bytes(digits: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("has an odd number of digits");
    }
    let mut wrong = 0;
    let bytes = pairs.iter().map(|[high, low]| {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        wrong |= high | low;
        high << 4 | low
    });
    let bytes = bytes.collect();
    if wrong & 0x80 == 0 { Ok(bytes) } else { Err("has data that is not hexadecimal") }
}

const fn values() -> [u8; 256] {
    let mut values = [0x80; 256];
    let mut value = 0;
    while value < 16 {
        let digit = b"0123456789abcdef"[value as usize];
        values[digit as usize] = value;
        values[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    values
}

#[cfg(test)]
#[path = "hexlog_tests.rs"]
mod tests;
