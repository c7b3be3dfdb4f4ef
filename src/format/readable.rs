//! What happens, for people: one line per event, within 80 columns where names and addresses let it. Pure: facts and
//! the clock's reading in, lines out.
//!
//! Of what is carried it shows the first line of HTTP and the kind of a TLS record, never more: no field, no query, no
//! user of a URL. What it shows is escaped and bounded, for it was written by strangers.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use super::{Dir, Ending, Facts};
use crate::close::Weight;

mod hint;

use hint::Hint;

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";
/// The most of a foreign text that is shown, in columns.
const SHOWN: usize = 100;

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub struct Readable {
    /// With the colours of a terminal.
    pub colour: bool,
}

/// What happens, when, and in which session.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// In nanoseconds since 1970.
    pub at: u64,
    /// The session.
    pub facts: &'a Facts,
    /// What.
    pub event: Event<'a>,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The way is open.
    Opened,
    /// Bytes came.
    Read(Dir, &'a [u8]),
    /// A source has ended.
    Ended(Dir),
    /// The session has ended.
    Closed(&'a Ending),
}

/// What was seen of a session so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    up: bool,
    down: bool,
    tls: bool,
}

impl Readable {
    /// Writes a line.
    pub fn write(self, moment: &Moment<'_>, seen: &mut Seen, out: &mut Vec<u8>) {
        let Moment { at, facts, event } = *moment;
        let id = format!("#{}", facts.id);
        put(out, format_args!("{} {} ", self.in_colour(DIM, Clock(at)), self.in_colour(BOLD, format_args!("{id:<5}"))));
        match event {
            Event::Opened => put(out, format_args!("{}", self.in_colour(BOLD, Way(facts)))),
            Event::Read(dir, bytes) => {
                put(out, format_args!("{} {:>8}", self.arrow(dir), Size(bytes.len() as u64).to_string()));
                if let Some(hint) = seen.look(dir, bytes) {
                    put(out, format_args!("  {hint}"));
                }
            }
            Event::Ended(dir) => put(out, format_args!("{}      end", self.arrow(dir))),
            Event::Closed(ending) => {
                let colour = match ending.end.weight() {
                    Weight::Info => DIM,
                    Weight::Warn => YELLOW,
                    Weight::Error => RED,
                };
                put(out, format_args!("{}", self.in_colour(colour, End(ending))));
            }
        }
        out.push(b'\n');
    }

    fn arrow(self, dir: Dir) -> InColour<&'static str> {
        match dir {
            Dir::Up => self.in_colour(CYAN, "->"),
            Dir::Down => self.in_colour(GREEN, "<-"),
        }
    }

    fn in_colour<T>(self, colour: &'static str, what: T) -> InColour<T> {
        InColour { colour: self.colour.then_some(colour), what }
    }
}

impl Seen {
    /// What this is, if it is the first of its direction, or says that TLS fails.
    fn look(&mut self, dir: Dir, bytes: &[u8]) -> Option<Hint> {
        let seen = match dir {
            Dir::Up => &mut self.up,
            Dir::Down => &mut self.down,
        };
        let first = !std::mem::replace(seen, true);
        // bytes in the middle may look like anything
        let hint = if first { Hint::first(bytes) } else { self.tls.then(|| Hint::alert(bytes)).flatten() };
        self.tls |= matches!(hint, Some(Hint::Handshake(_)));
        hint
    }
}

struct InColour<T> {
    colour: Option<&'static str>,
    what: T,
}

impl<T: fmt::Display> fmt::Display for InColour<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.colour {
            Some(colour) => write!(f, "{colour}{}{PLAIN}", self.what),
            None => self.what.fmt(f),
        }
    }
}

/// The time of day, UTC.
struct Clock(u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0 / 1_000_000;
        let (s, ms) = (ms / 1000, ms % 1000);
        write!(f, "{:02}:{:02}:{:02}.{ms:03}Z", s / 3600 % 24, s / 60 % 60, s % 60)
    }
}

/// Who goes where, and how.
struct Way<'a>(&'a Facts);

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { client, origin, target, via, upstream, .. } = self.0;
        write!(f, "{client} -> ")?;
        // a session that ended early asked for nothing
        if target.is_empty() || *target == origin.to_string() {
            write!(f, "{origin}")?;
        } else if target.ends_with(&format!(":{}", origin.port())) {
            write!(f, "{} ({})", Foreign(target.as_bytes()), origin.ip())?;
        } else {
            write!(f, "{} ({origin})", Foreign(target.as_bytes()))?;
        }
        match (via, upstream) {
            (Some(via), _) if **via == *"direct" => f.write_str(" direct"),
            (Some(via), _) => write!(f, " via {}", Foreign(via.as_bytes())),
            (None, Some(upstream)) => write!(f, " via {upstream}"),
            (None, None) => Ok(()),
        }
    }
}

/// How it ended.
struct End<'a>(&'a Ending);

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ending { end, by, error, up, down, lasted } = self.0;
        write!(f, "{end} by {by} after {}", Span(*lasted))?;
        // nothing moves where a way was not found, which the reason says
        if *up > 0 || *down > 0 || error.is_none() {
            write!(f, ", up {}, down {}", Size(*up), Size(*down))?;
        }
        match error {
            // it is escaped already, and once is enough
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

/// So many bytes.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tenths = u128::from(self.0) * 10;
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        let mut units = ["kB", "MB", "GB", "TB", "PB"].into_iter();
        let mut unit = "EB";
        for next in units.by_ref() {
            tenths = (tenths + 500) / 1000;
            unit = next;
            if tenths < 10_000 {
                break;
            }
        }
        write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// So long.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, ms) = (self.0.as_secs(), self.0.subsec_millis());
        match s {
            0 => write!(f, "{ms} ms"),
            1..60 => write!(f, "{s}.{} s", ms / 100),
            60..3600 => write!(f, "{}m{:02}s", s / 60, s % 60),
            _ => write!(f, "{}h{:02}m", s / 3600, s / 60 % 60),
        }
    }
}

/// A text that may be hostile.
struct Foreign<'a>(&'a [u8]);

impl fmt::Display for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut columns = 0;
        for byte in self.0 {
            let escaped = byte.escape_ascii();
            columns += escaped.len();
            if columns > SHOWN {
                return f.write_str("...");
            }
            escaped.fmt(f)?;
        }
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes everything");
}

#[cfg(test)]
#[path = "readable_tests.rs"]
mod tests;
