//! `handyproxy cat`: what taps have recorded, shown or sent again.
//!
//! proxcat's options mean what they meant. What cannot be read is told on stderr with its place, and the rest is shown
//! all the same; a reader of ours that has gone away is no failure.

mod clock;
mod replay;
mod show;
mod source;
mod words;

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use crate::format::{Entry, Item, Told};
use crate::sys::process;
use crate::wire::text::shown;
use show::{Session, Show};
use source::Source;
pub(super) use words::FLAGS;
use words::{Asked, Wishes};

/// How often a file that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Mistakes of one file that are told one by one; a file that begins with so many strange lines is none of ours.
const TOLD: u64 = 10;

/// Does what the words behind `cat` ask for. 0 fine, 1 something could not be read or replayed, 2 bad usage.
pub(super) fn run(words: Vec<String>) -> ExitCode {
    let wishes = match words::read(words) {
        Ok(Asked::Help) => {
            super::say(&words::help());
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Cat(wishes)) => wishes,
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("handyproxy: cat: {mistake}");
            }
            eprintln!("usage: handyproxy cat [-ciotxlf] [-a ADDR] FILE...; handyproxy cat -h tells all flags");
            return ExitCode::from(2);
        }
    };
    let is_terminal = io::stdout().is_terminal();
    let out = match process::stdout() {
        Ok(out) => std::fs::File::from(out),
        Err(error) => {
            eprintln!("handyproxy: cat: stdout: {error}");
            return ExitCode::FAILURE;
        }
    };
    let show = Show::new(out, &wishes, is_terminal);
    let outcome = match &wishes.replay {
        Some(replay) => replay::run(&wishes, replay, show),
        None => Cat { wishes: &wishes, show, sessions: Sessions::default() }.run(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handyproxy: cat: write to stdout: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Shows files.
struct Cat<'a, W: Write> {
    wishes: &'a Wishes,
    show: Show<W>,
    sessions: Sessions,
}

impl<W: Write> Cat<'_, W> {
    /// Whether all could be read.
    fn run(mut self) -> io::Result<bool> {
        let mut well = true;
        for (at, name) in self.wishes.files.iter().enumerate() {
            let follow = self.wishes.follow && at + 1 == self.wishes.files.len();
            let mut complaints = Complaints::default();
            self.show.begin();
            match Source::open(name) {
                Ok(source) => self.read(source, follow, &mut complaints)?,
                Err(error) => complaints.unreadable(source::called(name), &error),
            }
            self.show.flush()?;
            well &= complaints.end(source::called(name));
        }
        Ok(well)
    }

    fn read(&mut self, mut source: Source, follow: bool, complaints: &mut Complaints) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            while let Some(item) = source.next() {
                self.item(source.name(), item, complaints)?;
                if complaints.is_foreign {
                    return Ok(());
                }
            }
            if source.is_stream() {
                self.show.flush()?;
            }
            match source.fill(&mut buffer) {
                Ok(true) => continue,
                Ok(false) if follow => {}
                Ok(false) => break,
                Err(error) => {
                    complaints.unreadable(source.name(), &error);
                    break;
                }
            }
            self.show.flush()?;
            if process::stdout_is_gone(LOOK) {
                return Ok(());
            }
            match source.look() {
                Ok(Some(items)) => {
                    // it may grow into a log
                    complaints.settle(source.name());
                    for item in items {
                        self.item(source.name(), item, complaints)?;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    complaints.unreadable(source.name(), &error);
                    break;
                }
            }
        }
        for item in source.finish() {
            self.item(source.name(), item, complaints)?;
        }
        Ok(())
    }

    fn item(&mut self, name: &str, item: Item, complaints: &mut Complaints) -> io::Result<()> {
        let Some(entry) = complaints.sift(name, item) else { return Ok(()) };
        if !self.wishes.names(entry.client) {
            return Ok(());
        }
        let (session, is_new) = self.sessions.of(&entry);
        if self.wishes.list {
            let name = if let Told::Opened { name, .. } = &entry.what { name.as_ref() } else { None };
            return if is_new { self.show.session(entry.at, session, name) } else { Ok(()) };
        }
        match entry.what {
            Told::Bytes(dir, bytes) if self.wishes.wants(dir) => self.show.record(entry.at, session, dir, &bytes),
            _ => Ok(()),
        }
    }
}

/// Which session an entry belongs to, over all files. A log has none but the clients' addresses.
#[derive(Debug, Default)]
struct Sessions {
    last: u64,
    open: HashMap<(SocketAddr, Option<SocketAddr>), u64>,
}

impl Sessions {
    /// The session, and whether it was not seen before.
    fn of(&mut self, entry: &Entry) -> (Session, bool) {
        let Entry { client, origin, .. } = *entry;
        let begins = matches!(entry.what, Told::Opened { goes_on: false, .. });
        let known = self.open.get(&(client, origin)).filter(|_| !begins).copied();
        let number = known.unwrap_or(self.last + 1);
        if known.is_none() {
            self.last = number;
            self.open.insert((client, origin), number);
        }
        (Session { number, client, origin }, known.is_none())
    }
}

/// What is wrong with a file, told on stderr.
#[derive(Debug, Default)]
struct Complaints {
    /// They were told, or will be, by others.
    silent: bool,
    /// Strange lines at the beginning, until something else is seen.
    doubts: Vec<String>,
    is_known: bool,
    /// The file is none of ours: there is nothing to read in it.
    is_foreign: bool,
    wrong: u64,
    unreadable: bool,
}

impl Complaints {
    fn silent() -> Complaints {
        Complaints { silent: true, ..Complaints::default() }
    }

    /// An entry; the rest is for stderr.
    fn sift(&mut self, name: &str, item: Item) -> Option<Entry> {
        match item {
            Item::Strange(why) if !self.is_known => {
                self.doubts.push(why);
                if self.doubts.len() as u64 == TOLD {
                    self.foreign(name);
                }
                return None;
            }
            // the end of a line that is none of ours says nothing
            Item::Torn(_) if !self.doubts.is_empty() => return None,
            _ => self.settle(name),
        }
        match item {
            Item::Entry(entry) => return Some(entry),
            // the file's own words
            Item::Missing(note) => self.tell(name, &shown(note.as_bytes())),
            Item::Torn(note) => self.tell(name, &note),
            Item::Wrong(why) | Item::Strange(why) => self.wrong(name, &why),
        }
        None
    }

    /// It is taken for a file of ours from now on: what was strange in it is told as what is wrong.
    fn settle(&mut self, name: &str) {
        self.is_known = true;
        for why in std::mem::take(&mut self.doubts) {
            self.wrong(name, &why);
        }
    }

    fn wrong(&mut self, name: &str, why: &str) {
        self.wrong += 1;
        if self.wrong <= TOLD {
            self.tell(name, why);
        }
    }

    fn foreign(&mut self, name: &str) {
        self.doubts.clear();
        self.is_foreign = true;
        self.tell(name, "is neither a hex log nor a pcapng capture");
    }

    fn unreadable(&mut self, name: &str, error: &io::Error) {
        self.unreadable = true;
        self.tell(name, &error.to_string());
    }

    fn tell(&self, name: &str, what: &str) {
        if !self.silent {
            eprintln!("handyproxy: cat: {name}: {what}");
        }
    }

    /// Whether nothing was wrong.
    fn end(mut self, name: &str) -> bool {
        if !self.doubts.is_empty() {
            self.foreign(name);
        }
        if let more @ 1.. = self.wrong.saturating_sub(TOLD) {
            eprintln!("handyproxy: cat: {name}: and {more} more");
        }
        self.wrong == 0 && !self.unreadable && !self.is_foreign
    }
}
