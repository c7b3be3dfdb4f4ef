//! One file per session, or two: as DumperProxy wrote it, as bytes of each direction, or as tcpproxy(1) wrote it. A
//! file is made for its session and for no other; one that was deleted or moved, and is not open, goes on in a new one.
//!
//! DumperProxy showed the first of two closes on its console only, so it is not in the file; a tap has no console.

mod files;
mod names;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use files::Files;
use names::{Made, Names};

use super::scribe::Scribe;
use super::{Record, What};
use crate::close::By;
use crate::config::{TapForm, TapSettings};
use crate::format::informer::{Event, Pair};
use crate::format::{Dir, Facts};

/// Sessions that have ended and whose files wait for their end; more than these get none.
const LATE: usize = 1024;

/// Writes a file per session, and for [`TapForm::Raw`] two.
#[derive(Debug)]
pub(super) struct Dump {
    form: TapForm,
    names: Names,
    files: Files,
    sessions: HashMap<u64, Session>,
    /// All that was missed so far.
    missed: Missed,
    /// Records that were missed up to the last time when they could have been of several sessions.
    shared: u64,
    /// Files could not be ended for want of room.
    late: bool,
    /// A record that is being written.
    text: Vec<u8>,
}

#[derive(Debug)]
struct Session {
    /// What is needed of it at its end, of our own: other taps wait for its end too.
    facts: Facts,
    /// Gone when the session is, whether or not we were told how it ended.
    life: Weak<Facts>,
    /// One file, or one for each direction.
    paths: Vec<PathBuf>,
    pair: Pair,
    /// What was missed and is noted in its file, or was before its time.
    noted: Missed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Missed {
    records: u64,
    bytes: u64,
}

impl Dump {
    /// Makes the folder, if it is missing.
    pub(super) fn open(settings: &TapSettings) -> io::Result<Dump> {
        let path = settings.path.as_deref().ok_or(io::ErrorKind::InvalidInput)?;
        let names = match settings.form {
            TapForm::Writefile => Names::with_stem(path),
            _ => Names::in_folder(path),
        };
        names.prepare()?;
        Ok(Dump {
            form: settings.form,
            names,
            files: Files::default(),
            sessions: HashMap::new(),
            missed: Missed::default(),
            shared: 0,
            late: false,
            text: Vec::new(),
        })
    }

    /// Makes the files of a session that is not known yet.
    fn begin(&mut self, record: &Record) -> io::Result<()> {
        let id = record.facts.id;
        if self.sessions.contains_key(&id) {
            return Ok(());
        }
        let paths = self.make(&record.facts)?;
        // what was missed before its beginning was not its own, but where the beginning itself was missed
        let noted = if matches!(record.what, What::Opened) { self.missed } else { Missed::default() };
        let (facts, life) = (Facts::clone(&record.facts), Arc::downgrade(&record.facts));
        self.sessions.insert(id, Session { facts, life, paths, pair: Pair::default(), noted });
        Ok(())
    }

    fn make(&mut self, facts: &Facts) -> io::Result<Vec<PathBuf>> {
        self.files.make_room(2)?;
        let made: Vec<Made> = match self.form {
            TapForm::Raw => self.names.raw(facts)?.into(),
            TapForm::Writefile => vec![self.names.writefile()?],
            _ => vec![self.names.dumper(facts)?],
        };
        let mut paths = Vec::with_capacity(made.len());
        for (number, (path, file)) in made.into_iter().enumerate() {
            self.files.add((facts.id, number), file)?;
            paths.push(path);
        }
        Ok(paths)
    }

    /// Opens a session's file again if it was closed for others; makes new ones if it is gone.
    fn find(&mut self, facts: &Facts, number: usize) -> io::Result<()> {
        let Some(session) = self.sessions.get(&facts.id) else { return Ok(()) };
        if self.files.find((facts.id, number), &session.paths[number])? {
            return Ok(());
        }
        for number in 0..session.paths.len() {
            self.files.close((facts.id, number), &[])?;
        }
        let paths = self.make(facts)?;
        let Some(session) = self.sessions.get_mut(&facts.id) else { return Ok(()) };
        let [gone, new] = [&session.paths[number], &paths[number]].map(|path| path.display());
        tracing::warn!("{gone}: was moved or deleted; its session goes on in {new}");
        session.paths = paths;
        Ok(())
    }

    /// An event as DumperProxy wrote it.
    fn dumper(&mut self, record: &Record) -> io::Result<()> {
        let (id, facts) = (record.facts.id, &record.facts);
        self.find(facts, 0)?;
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let (event, body): (_, &[u8]) = match &record.what {
            What::Opened => (Event::Opened, &[]),
            What::Read(dir, chunk) => (Event::Read(*dir, chunk.len()), chunk),
            What::Sent(dir, length) => (Event::Sent(*dir, *length), &[]),
            What::Ended(dir) => (Event::Ended(*dir), &[]),
            What::Closed(ending) => (Event::Closed(ending.by), &[]),
        };
        self.text.clear();
        let mut pair = session.pair.clone();
        let notes = session.noted != self.missed;
        if notes {
            let missing = missing(self.missed, session.noted, self.shared);
            write!(self.text, "\n[{missing} are missing here]\n")?;
            pair.missed();
        }
        for status in pair.step(event) {
            status.dump(facts, &mut self.text);
        }
        match event {
            Event::Closed(_) => self.files.close((id, 0), &self.text)?,
            // what is kept may be lost, and the note with it
            _ if notes => self.files.write_out((id, 0), &self.text, body)?,
            _ => self.files.write((id, 0), &self.text, body)?,
        }
        (session.pair, session.noted) = (pair, self.missed);
        Ok(())
    }

    /// Bytes as they came, in the file of their direction or in the only one.
    fn bytes(&mut self, record: &Record) -> io::Result<()> {
        let id = record.facts.id;
        self.note(id)?;
        match &record.what {
            What::Read(dir, chunk) => {
                let number = usize::from(self.form == TapForm::Raw && *dir == Dir::Down);
                self.find(&record.facts, number)?;
                self.files.write((id, number), &[], chunk)
            }
            What::Closed(_) => self.close(id),
            _ => Ok(()),
        }
    }

    fn close(&mut self, id: u64) -> io::Result<()> {
        let count = self.sessions.get(&id).map_or(0, |session| session.paths.len());
        (0..count).try_for_each(|number| self.files.close((id, number), &[]))
    }

    /// Says in a file beside it what is missing, for there is no place between bytes: one line in `NAME.missing`, or
    /// where there are two files, in what both are called and `.missing`.
    fn note(&mut self, id: u64) -> io::Result<()> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        if session.noted == self.missed {
            return Ok(());
        }
        let mut places = Vec::new();
        for (number, path) in session.paths.iter().enumerate() {
            let length = self.files.length((id, number), path).unwrap_or(0);
            let name = path.file_name().unwrap_or_default();
            places.push(format!("byte {length} of {}", name.to_string_lossy()));
        }
        let missing = missing(self.missed, session.noted, self.shared);
        let line = format!("behind {}: {missing} are missing\n", places.join(" and "));
        beside(&session.paths[0], self.form == TapForm::Raw, line.as_bytes())?;
        session.noted = self.missed;
        Ok(())
    }
}

impl Dump {
    /// Ends the files of sessions that are gone, whose end was among what was missed.
    ///
    /// # Errors
    /// The disk is full; they are kept for the next time then. What cannot be ended for another reason is given up.
    fn end_gone(&mut self) -> io::Result<()> {
        let gone = self.sessions.iter().filter(|(_, session)| session.life.strong_count() == 0);
        let mut gone: Vec<u64> = gone.map(|(id, _)| *id).collect();
        gone.sort_unstable();
        let mut full = None;
        for (at, id) in gone.iter().enumerate() {
            if full.is_none() {
                full = self.end(*id).err().filter(is_full);
            }
            // where there are too many, the oldest go
            if full.is_none() || at + LATE < gone.len() {
                self.give_up(*id);
            }
        }
        self.late = full.is_some();
        full.map_or(Ok(()), Err)
    }

    /// Ends the files of a session whose end was missed.
    fn end(&mut self, id: u64) -> io::Result<()> {
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        if self.form != TapForm::Dumper {
            if session.noted.bytes != self.missed.bytes {
                self.note(id)?;
            }
            return self.close(id);
        }
        // what was moved or deleted needs no end
        if !self.files.find((id, 0), &session.paths[0])? {
            return Ok(());
        }
        self.text.clear();
        write!(self.text, "\n[{} are missing here]\n", missing(self.missed, session.noted, self.shared))?;
        let mut pair = session.pair.clone();
        pair.missed();
        for status in pair.step(Event::Closed(By::Us)) {
            status.dump(&session.facts, &mut self.text);
        }
        self.files.close((id, 0), &self.text)
    }

    fn give_up(&mut self, id: u64) {
        let count = self.sessions.remove(&id).map_or(0, |session| session.paths.len());
        (0..count).for_each(|number| self.files.give_up((id, number)));
    }
}

impl Scribe for Dump {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        self.begin(record)?;
        match self.form {
            TapForm::Raw | TapForm::Writefile => self.bytes(record)?,
            _ => self.dumper(record)?,
        }
        if matches!(record.what, What::Closed(_)) {
            self.sessions.remove(&record.facts.id);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.files.flush()?;
        if self.late { self.end_gone() } else { Ok(()) }
    }

    fn forget(&mut self) -> u64 {
        self.files.forget()
    }

    /// Which session the records were of is not known: each that is open is told when it goes on, with `up to` if
    /// there are several; and one that is gone, at once or when there is room.
    fn missed(&mut self, records: u64, bytes: u64) -> io::Result<()> {
        let only_one = !self.late && self.sessions.len() == 1;
        self.missed.records += records;
        self.missed.bytes += bytes;
        if !only_one {
            self.shared = self.missed.records;
        }
        // flush() tells that there is no room yet
        let _ = self.end_gone();
        if self.sessions.len() != 1 {
            self.shared = self.missed.records;
        }
        Ok(())
    }

    /// Does nothing: a file belongs to its session until it ends, wherever it was moved.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn writes(&self) -> u64 {
        self.files.writes()
    }
}

/// What is missing since the last note.
fn missing(all: Missed, noted: Missed, shared: u64) -> String {
    let [records, bytes] = [all.records - noted.records, all.bytes - noted.bytes];
    let most = if noted.records < shared { "up to " } else { "" };
    format!("{most}{records} records, {bytes} bytes")
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn beside(path: &Path, is_half: bool, line: &[u8]) -> io::Result<()> {
    let mut name = if is_half { path.with_extension("") } else { path.to_owned() }.into_os_string();
    name.push(".missing");
    let file = OpenOptions::new().create(true).append(true).mode(0o640).open(name);
    file?.write_all(line)
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
