//! Records as they are shown: bytes as they are, a hexdump, JSON, or a list of sessions. The plain forms are those of
//! proxcat, to the byte.
//!
//! What was caught may be hostile: on a terminal, bytes that would steer it are shown as dots.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::clock::Clock;
use super::words::{Colour, Wishes};
use crate::addr::Host;
use crate::format::Dir;
use crate::format::hexlog::letter;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[m";
/// Bytes in a line of a hexdump.
const WIDTH: usize = 16;
/// What is gathered before it is written.
const GATHER: usize = 64 * 1024;

/// A session as it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    /// 1 is the first.
    pub(super) number: u64,
    pub(super) client: SocketAddr,
    pub(super) origin: Option<SocketAddr>,
}

/// Writes what is wished.
#[derive(Debug)]
pub(super) struct Show<W: Write> {
    out: W,
    gathered: Vec<u8>,
    form: Form,
    clock: Clock,
    /// Bytes of each session and direction so far.
    offsets: HashMap<(u64, Dir), u64>,
}

/// How.
#[derive(Clone, Copy, Debug)]
struct Form {
    times: bool,
    hex: bool,
    json: bool,
    colour: Colour,
    /// Bytes that steer a terminal are not for this output.
    tame: bool,
}

impl<W: Write> Show<W> {
    /// As wished, to a terminal or elsewhere.
    pub(super) fn new(out: W, wishes: &Wishes, is_terminal: bool) -> Show<W> {
        let plain = !is_terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = match wishes.colour {
            Colour::Auto if plain => Colour::Never,
            Colour::Auto => Colour::Lines,
            given => given,
        };
        let form = Form { times: wishes.times, hex: wishes.hex, json: wishes.json, colour, tame: is_terminal };
        Show { out, gathered: Vec::new(), form, clock: Clock::local(), offsets: HashMap::new() }
    }

    /// A file begins: offsets begin anew.
    pub(super) fn begin(&mut self) {
        self.offsets.clear();
    }

    /// Shows that a session began.
    pub(super) fn session(&mut self, at: u64, session: Session, name: Option<&Host>) -> io::Result<()> {
        let mut line = String::new();
        if self.form.json {
            line += "{";
            head(&mut line, at, session);
            if let Some(name) = name {
                let _ = write!(line, r#","name":"{name}""#);
            }
            line += "}\n";
        } else {
            let _ = write!(line, "{} {}", self.clock.text(at), session.client);
            if let Some(origin) = session.origin {
                let _ = write!(line, " {origin}");
            }
            if let Some(name) = name {
                let _ = write!(line, " {name}");
            }
            line += "\n";
        }
        self.gathered.extend_from_slice(line.as_bytes());
        self.gather()
    }

    /// Shows a record.
    pub(super) fn record(&mut self, at: u64, session: Session, dir: Dir, bytes: &[u8]) -> io::Result<()> {
        if self.form.json {
            self.json(at, session, dir, bytes);
            return self.gather();
        }
        if self.form.times {
            let time = self.clock.text(at);
            write!(self.gathered, "\n{time} {} {}: ", session.client, letter(dir))?;
            if self.form.hex {
                self.gathered.push(b'\n');
            }
        }
        let start = self.gathered.len();
        if self.form.hex {
            let offset = self.offsets.entry((session.number, dir)).or_default();
            dump(*offset, bytes, &mut self.gathered);
            *offset += bytes.len() as u64;
        } else if self.form.tame {
            tame(bytes, &mut self.gathered);
        } else {
            self.gathered.extend_from_slice(bytes);
        }
        let colour = if dir == Dir::Up { RED } else { GREEN };
        match self.form.colour {
            Colour::Records => {
                self.gathered.splice(start..start, colour.bytes());
                self.gathered.extend_from_slice(RESET.as_bytes());
            }
            Colour::Lines => {
                let body = self.gathered.split_off(start);
                paint(colour, &body, &mut self.gathered);
            }
            Colour::Auto | Colour::Never => {}
        }
        self.gather()
    }

    /// Hands everything to the kernel.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let wrote = self.out.write_all(&self.gathered);
        self.gathered.clear();
        wrote.and_then(|()| self.out.flush())
    }

    fn gather(&mut self) -> io::Result<()> {
        if self.gathered.len() >= GATHER { self.flush() } else { Ok(()) }
    }

    fn json(&mut self, at: u64, session: Session, dir: Dir, bytes: &[u8]) {
        let mut line = "{".to_owned();
        head(&mut line, at, session);
        let _ = write!(line, r#","dir":"{}","#, letter(dir));
        let text = str::from_utf8(bytes).ok();
        match text.filter(|text| !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\r' | '\n'))) {
            Some(text) => {
                let _ = writeln!(line, r#""text":{}}}"#, serde_json::Value::from(text));
            }
            None => {
                let _ = writeln!(line, r#""base64":"{}"}}"#, BASE64_STANDARD.encode(bytes));
            }
        }
        self.gathered.extend_from_slice(line.as_bytes());
    }
}

/// What all objects begin with.
fn head(line: &mut String, at: u64, Session { number, client, origin }: Session) {
    let (seconds, micros) = (at / 1_000_000_000, at % 1_000_000_000 / 1000);
    let _ = write!(line, r#""time":{seconds}.{micros:06},"session":{number},"client":"{client}""#);
    if let Some(origin) = origin {
        let _ = write!(line, r#","origin":"{origin}""#);
    }
}

/// Colours each line, its end not.
fn paint(colour: &str, body: &[u8], out: &mut Vec<u8>) {
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let (text, end) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |text| (text, &b"\n"[..]));
        if !text.is_empty() {
            out.extend_from_slice(colour.as_bytes());
            out.extend_from_slice(text);
            out.extend_from_slice(RESET.as_bytes());
        }
        out.extend_from_slice(end);
    }
}

/// Text as it is; dots for control characters, C1 among them, and for what is no UTF-8.
fn tame(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\r' => {}
                '\n' | '\t' => out.push(c as u8),
                c if c.is_control() => out.push(b'.'),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.extend(chunk.invalid().iter().map(|_| b'.'));
    }
}

/// A hexdump whose lines begin at multiples of 16: what is before `offset` in its line is left blank.
fn dump(offset: u64, bytes: &[u8], out: &mut Vec<u8>) {
    let skipped = usize::try_from(offset % WIDTH as u64).expect("less than 16");
    let mut place = offset - skipped as u64;
    let (first, rest) = bytes.split_at(bytes.len().min(WIDTH - skipped));
    if first.is_empty() {
        return;
    }
    let mut columns = [None; WIDTH];
    for (column, byte) in columns[skipped..].iter_mut().zip(first) {
        *column = Some(*byte);
    }
    dump_line(place, &columns, out);
    for line in rest.chunks(WIDTH) {
        place += WIDTH as u64;
        let mut columns = [None; WIDTH];
        for (column, byte) in columns.iter_mut().zip(line) {
            *column = Some(*byte);
        }
        dump_line(place, &columns, out);
    }
}

fn dump_line(place: u64, columns: &[Option<u8>; WIDTH], out: &mut Vec<u8>) {
    let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
    write!(out, "{place:08x}: ").expect("memory takes all");
    for (n, column) in columns.iter().enumerate() {
        match n {
            0 => {}
            8 => out.extend_from_slice(b" : "),
            _ => out.push(b' '),
        }
        out.extend(column.map_or([b' '; 2], |byte| [digit(byte >> 4), digit(byte & 15)]));
    }
    out.extend_from_slice(b" | ");
    out.extend(columns.iter().map(|column| match column {
        Some(byte @ b' '..=b'~') => *byte,
        Some(_) => b'.',
        None => b' ',
    }));
    out.push(b'\n');
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
