//! A tap's queue. It has a bound in bytes; what happens at the bound is the tap's policy. What takes from it is the
//! tap's thread, which alone meets the disk.

mod writer;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Record, What};
use crate::config::{TapForm, TapSettings, WhenFull};
use crate::format::Dir;

pub use writer::wait;

/// What a record weighs beside its bytes.
const RECORD: usize = 128;
/// What the facts of a session weigh, which its first record brings.
const FACTS: usize = 512;
/// What is taken beyond the bound at most, of what is not to be left out: a disk that hangs for hours, with new
/// sessions all the while, is not to cost all memory.
const SURPLUS: usize = 64 << 20;
/// A tap that writes. When it is dropped its thread writes what waits, and ends.
#[derive(Debug)]
pub struct Sink(Arc<Shared>);

/// What a tap shares with its thread.
#[derive(Debug)]
struct Shared {
    settings: TapSettings,
    queue: Mutex<Queue>,
    /// Told when there is something to do.
    work: Condvar,
    started: AtomicBool,
    written: AtomicU64,
    missed: AtomicU64,
    missed_bytes: AtomicU64,
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// What waits, or is being written.
    bytes: usize,
    /// What was not taken since the last entry.
    missed: Missed,
    /// Sessions that wait for room, by their number.
    waiting: HashMap<u64, Waker>,
    reopen: bool,
    closed: bool,
    /// Nobody writes any more.
    ended: bool,
}

#[derive(Debug, Default)]
struct Missed {
    records: u64,
    bytes: u64,
    /// Where the bytes are missing.
    of: HashMap<(u64, Dir), u64>,
}

impl Missed {
    fn add(&mut self, record: &Record) {
        let bytes = bytes(record);
        self.records += 1;
        self.bytes += bytes;
        match record.what {
            What::Read(dir, _) => *self.of.entry((record.facts.id, dir)).or_default() += bytes,
            // there is nothing behind its gaps
            What::Closed(_) => [Dir::Up, Dir::Down].iter().for_each(|dir| {
                self.of.remove(&(record.facts.id, *dir));
            }),
            _ => {}
        }
    }

    fn join(&mut self, other: &Missed) {
        self.records += other.records;
        self.bytes += other.bytes;
        for (of, bytes) in &other.of {
            *self.of.entry(*of).or_default() += bytes;
        }
    }
}

#[derive(Debug)]
enum Entry {
    Record(Record),
    Missed(Missed),
}

/// How a tap is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Records that were written.
    pub written: u64,
    /// Records that were not.
    pub missed: u64,
    /// Their bytes.
    pub missed_bytes: u64,
    /// Bytes that wait.
    pub queued: usize,
    /// Its file cannot be written now.
    pub failing: bool,
}

impl Sink {
    /// With these settings; opens nothing yet.
    pub fn new(settings: TapSettings) -> Sink {
        Sink(Arc::new(Shared {
            settings,
            queue: Mutex::default(),
            work: Condvar::new(),
            started: AtomicBool::new(false),
            written: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            missed_bytes: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }))
    }

    /// Its settings.
    pub fn settings(&self) -> &TapSettings {
        &self.0.settings
    }

    /// How it is doing.
    pub fn counts(&self) -> Counts {
        let shared = &self.0;
        Counts {
            written: shared.written.load(Ordering::Relaxed),
            missed: shared.missed.load(Ordering::Relaxed),
            missed_bytes: shared.missed_bytes.load(Ordering::Relaxed),
            queued: shared.queue().bytes,
            failing: shared.failing.load(Ordering::Relaxed),
        }
    }

    /// What it is, for people.
    pub fn shown(&self) -> String {
        self.0.shown()
    }

    /// Starts its thread, if it has none.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(&self) -> std::io::Result<()> {
        if self.0.started.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        writer::start(self.0.clone())
    }

    /// Its files were rotated away: opens them anew.
    pub fn reopen(&self) {
        self.0.queue().reopen = true;
        self.0.work.notify_one();
    }

    /// No further record comes: its thread writes what waits, and ends.
    pub fn close(&self) {
        self.0.queue().closed = true;
        self.0.work.notify_one();
    }

    /// Whether such a record is of use here.
    pub(super) fn wants(&self, what: &What) -> bool {
        match what {
            What::Sent(..) => matches!(self.0.settings.form, TapForm::Informer | TapForm::Dumper),
            _ => true,
        }
    }

    /// Takes a record, or counts it where there is no room for it. How a session begins and ends is not left out for
    /// that, nor is anything where sessions wait, as far as memory allows.
    pub(super) fn push(&self, record: Record) {
        let shared = &self.0;
        let weight = weight(&record);
        let mut queue = shared.queue();
        if let What::Closed(_) = record.what {
            // its task may be gone: a waker would keep the memory of it
            queue.waiting.remove(&record.facts.id);
        }
        let must = matches!(record.what, What::Opened | What::Closed(_)) || shared.settings.when_full == WhenFull::Wait;
        let most = shared.settings.queue + if must { SURPLUS } else { 0 };
        if queue.ended || queue.bytes + weight > most {
            queue.missed.add(&record);
            shared.count_missed(1, bytes(&record));
            return;
        }
        let idle = queue.entries.is_empty();
        if queue.missed.records > 0 {
            let missed = std::mem::take(&mut queue.missed);
            queue.entries.push_back(Entry::Missed(missed));
        }
        queue.bytes += weight;
        queue.entries.push_back(Entry::Record(record));
        drop(queue);
        if idle {
            shared.work.notify_one();
        }
    }

    /// Ready when there is room, or nobody waits for it here.
    pub(super) fn poll_room(&self, session: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.settings.when_full == WhenFull::Drop {
            return Poll::Ready(());
        }
        let mut queue = self.0.queue();
        if queue.bytes < self.0.settings.queue || queue.closed {
            return Poll::Ready(());
        }
        queue.waiting.insert(session, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_missed(&self, records: u64, bytes: u64) {
        self.missed.fetch_add(records, Ordering::Relaxed);
        self.missed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What it is, for people.
    fn shown(&self) -> String {
        let (kind, _) = self.settings.form.words();
        match &self.settings.path {
            Some(path) => format!("tap {kind} {}", path.display()),
            None => format!("tap {kind} to stdout"),
        }
    }
}

fn bytes(record: &Record) -> u64 {
    match &record.what {
        What::Read(_, chunk) => chunk.len() as u64,
        _ => 0,
    }
}

fn weight(record: &Record) -> usize {
    match &record.what {
        What::Read(_, chunk) => RECORD + chunk.size(),
        What::Opened => RECORD + FACTS,
        _ => RECORD,
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
