//! A line per event, for people or as InformerProxy wrote it: to stdout, or to one file for all sessions.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use super::output::{self, Output};
use super::scribe::Scribe;
use super::{Record, What};
use crate::config::{TapForm, TapSettings};
use crate::format::Facts;
use crate::format::informer::{Event, Pair};
use crate::format::readable::{self, Moment, Readable, Seen};

const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Writes lines.
#[derive(Debug)]
pub(super) struct Flow {
    output: Output,
    lines: Lines,
}

#[derive(Debug)]
enum Lines {
    Informer(Sessions<Pair>),
    Readable {
        lines: Readable,
        sessions: Sessions<Seen>,
        /// The day, in days since 1970, that was written last: lines have but the time.
        day: Option<u64>,
        /// That of the first line that is gathered, where one is.
        first: u64,
    },
}

/// What is kept of sessions, each with its facts, which are gone when the session is.
type Sessions<T> = HashMap<u64, (Weak<Facts>, T)>;

impl Flow {
    /// Opens the file.
    pub(super) fn open(settings: &TapSettings) -> io::Result<Flow> {
        let path = settings.path.as_deref().map(|path| output::place(path, settings.form)).transpose()?;
        let output = Output::open(path.as_deref(), settings.append)?;
        let lines = match settings.form {
            TapForm::Informer => Lines::Informer(HashMap::new()),
            _ => {
                let colour = settings.colour.unwrap_or_else(|| path.is_none() && io::stdout().is_terminal());
                Lines::Readable { lines: Readable { colour }, sessions: HashMap::new(), day: None, first: 0 }
            }
        };
        Ok(Flow { output, lines })
    }

    /// Sees whether the file is another one than before: one of its own says of which day it is, also where lines go
    /// to it that were gathered before.
    ///
    /// # Errors
    /// Those of open(2).
    fn look(&mut self) -> io::Result<()> {
        let Lines::Readable { day, first, .. } = &mut self.lines else { return Ok(()) };
        self.output.look()?;
        if !self.output.is_anew() {
            return Ok(());
        }
        match self.output.gathered() {
            [] => *day = None,
            // of a line of a stream half may be there
            _ if !self.output.is_file() => *day = None,
            // it begins with its day
            [b'#', ..] => {}
            _ => {
                let mut line = Vec::new();
                heading(&mut line, *first * DAY)?;
                self.output.precede(&line);
            }
        }
        Ok(())
    }
}

impl Scribe for Flow {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        self.look()?;
        match &mut self.lines {
            Lines::Informer(sessions) => {
                let out = self.output.room();
                let mut pair = kept(sessions, record);
                for status in pair.step(status(&record.what)) {
                    status.inform(&record.facts, out);
                }
                self.output.added()?;
                keep(sessions, record, pair);
            }
            Lines::Readable { lines, sessions, day, first } => {
                let Some(event) = event(&record.what) else { return Ok(()) };
                let out = self.output.room();
                let today = record.at / DAY;
                if out.is_empty() {
                    *first = today;
                }
                if day.is_none_or(|day| day != today) {
                    heading(out, record.at)?;
                }
                let mut seen = kept(sessions, record);
                lines.write(&Moment { at: record.at, facts: &record.facts, event }, &mut seen, out);
                self.output.added()?;
                *day = Some(today);
                keep(sessions, record, seen);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.output.kept() > 0 {
            self.look()?;
        }
        self.output.flush()
    }

    fn forget(&mut self) -> u64 {
        let forgotten = self.output.forget();
        // the day may have been among it
        if let (Lines::Readable { day, .. }, 1..) = (&mut self.lines, forgotten) {
            *day = None;
        }
        forgotten
    }

    fn missed(&mut self, records: u64, bytes: u64) -> io::Result<()> {
        self.look()?;
        match &mut self.lines {
            Lines::Informer(sessions) => {
                sessions.retain(|_, (facts, _)| facts.strong_count() > 0);
                sessions.values_mut().for_each(|(_, pair)| pair.missed());
            }
            Lines::Readable { sessions, .. } => sessions.retain(|_, (facts, _)| facts.strong_count() > 0),
        }
        self.output.remark(format!("# {records} records, {bytes} bytes are missing here\n").as_bytes())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.output.reopen()
    }

    fn writes(&self) -> u64 {
        self.output.writes()
    }
}

fn kept<T: Clone + Default>(sessions: &Sessions<T>, record: &Record) -> T {
    sessions.get(&record.facts.id).map(|(_, it)| it.clone()).unwrap_or_default()
}

fn keep<T>(sessions: &mut Sessions<T>, record: &Record, it: T) {
    match record.what {
        What::Closed(_) => sessions.remove(&record.facts.id),
        _ => sessions.insert(record.facts.id, (Arc::downgrade(&record.facts), it)),
    };
}

fn status(what: &What) -> Event {
    match what {
        What::Opened => Event::Opened,
        What::Read(dir, chunk) => Event::Read(*dir, chunk.len()),
        What::Sent(dir, length) => Event::Sent(*dir, *length),
        What::Ended(dir) => Event::Ended(*dir),
        What::Closed(ending) => Event::Closed(ending.by),
    }
}

fn event(what: &What) -> Option<readable::Event<'_>> {
    Some(match what {
        What::Opened => readable::Event::Opened,
        What::Read(dir, chunk) => readable::Event::Read(*dir, chunk),
        What::Sent(..) => return None,
        What::Ended(dir) => readable::Event::Ended(*dir),
        What::Closed(ending) => readable::Event::Closed(ending),
    })
}

/// Says which day it is.
fn heading(out: &mut Vec<u8>, at: u64) -> io::Result<()> {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_nanos(at));
    // Sat, 21 Nov 2026 12:45:35 GMT
    writeln!(out, "# {}, times are UTC", date.get(..16).unwrap_or(&date))
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
