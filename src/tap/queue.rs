//! A tap's queue and its thread. The queue has a bound in bytes; what happens at the bound is the tap's policy.
//! The thread alone meets the disk: what cannot be written is told once, and tried again from time to time.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::scribe::{Scribe, scribe};
use super::{Record, What};
use crate::config::{TapForm, TapSettings, WhenFull};
use crate::format::Dir;

/// What a record weighs beside its bytes.
const RECORD: usize = 128;
/// What the facts of a session weigh, which its first record brings.
const FACTS: usize = 512;
/// What is taken beyond the bound at most, of what is not to be left out: a disk that hangs for hours, with new
/// sessions all the while, is not to cost all memory.
const SURPLUS: usize = 64 << 20;
/// What is taken off the queue at once.
const BATCH: usize = 1 << 20;
/// Places for entries that are kept while nothing waits; a burst may have needed many more.
const PLACES: usize = 4096;
/// How long a file that cannot be written is left alone.
const RETRY: Duration = Duration::from_secs(2);
/// How long the last records may take at the end.
const FAREWELL: Duration = Duration::from_secs(10);

/// Threads that have not ended.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

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
        let shared = self.0.clone();
        let name = format!("tap-{}", shared.settings.form.words().0);
        RUNNING.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _running = Running;
            Writer { shared: &shared, scribe: None, written: 0, missed: Missed::default(), retry: None, told: false }
                .run();
        });
        if thread.is_err() {
            RUNNING.fetch_sub(1, Ordering::Relaxed);
        }
        thread.map(drop)
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

/// A thread that runs.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Release);
    }
}

/// Waits until the threads of all taps that were closed have written what they had, which a disk that hangs may keep
/// them from; whether they have.
pub fn wait() -> bool {
    let start = Instant::now();
    while RUNNING.load(Ordering::Acquire) > 0 {
        if start.elapsed() > FAREWELL {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
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

/// The thread.
struct Writer<'a> {
    shared: &'a Shared,
    scribe: Option<Box<dyn Scribe>>,
    /// Records that were written, or are kept by the scribe.
    written: u64,
    /// What could not be written and is not noted in the file yet.
    missed: Missed,
    /// When to try again.
    retry: Option<Instant>,
    /// Somebody was told that it does not work.
    told: bool,
}

impl Writer<'_> {
    fn run(mut self) {
        self.open();
        let mut batch = Vec::new();
        loop {
            let (weight, reopen, last) = self.take(&mut batch);
            if reopen {
                self.reopen();
            }
            if last {
                // there is no later time to try again
                self.retry = None;
            }
            for entry in batch.drain(..) {
                self.entry(&entry);
            }
            self.give_back(weight);
            if last {
                self.flush();
                return;
            }
        }
    }

    /// Waits for something to do; the entries are in `batch` then. Before it waits, everything is flushed.
    fn take(&mut self, batch: &mut Vec<Entry>) -> (usize, bool, bool) {
        let shared = self.shared;
        let mut queue = shared.queue();
        if queue.entries.is_empty() {
            drop(queue);
            self.flush();
            queue = shared.queue();
        } else {
            self.tell();
        }
        while queue.entries.is_empty() && !queue.reopen && !queue.closed {
            if !self.told {
                queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            // what could not be written is tried again, also when nobody has anything to say
            queue = shared.work.wait_timeout(queue, RETRY).unwrap_or_else(PoisonError::into_inner).0;
            if queue.entries.is_empty() && !queue.closed {
                drop(queue);
                self.attempt(|scribe| scribe.flush());
                queue = shared.queue();
            }
        }
        let mut weight = 0;
        while let Some(entry) = queue.entries.pop_front() {
            if let Entry::Record(record) = &entry {
                weight += self::weight(record);
            }
            batch.push(entry);
            if weight >= BATCH {
                break;
            }
        }
        if queue.entries.is_empty() {
            queue.entries.shrink_to(PLACES);
        }
        batch.shrink_to(PLACES);
        let last = queue.closed && queue.entries.is_empty();
        (weight, std::mem::take(&mut queue.reopen), last)
    }

    /// There is room for so much more.
    fn give_back(&self, weight: usize) {
        let mut queue = self.shared.queue();
        queue.bytes -= weight;
        let woken = if queue.bytes <= self.shared.settings.queue / 2 {
            std::mem::take(&mut queue.waiting)
        } else {
            HashMap::new()
        };
        drop(queue);
        woken.into_values().for_each(Waker::wake);
    }

    fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Missed(missed) => self.missed.join(missed),
            Entry::Record(record) => {
                if self.attempt(|scribe| scribe.write(record)) {
                    self.written += 1;
                    return;
                }
                self.missed.add(record);
                self.shared.count_missed(1, bytes(record));
            }
        }
    }

    fn flush(&mut self) {
        if self.scribe.is_some() {
            self.attempt(|scribe| scribe.flush());
        }
        self.tell();
    }

    /// What was told once is not taken back: whoever reads a counter takes one that falls for one that began anew.
    fn tell(&self) {
        self.shared.written.fetch_max(self.written, Ordering::Relaxed);
    }

    fn reopen(&mut self) {
        self.retry = None;
        if self.scribe.is_some() {
            self.attempt(|scribe| scribe.reopen());
        }
    }

    /// Does something that may fail. Where sessions wait, until it is done; else once, and not before its time.
    fn attempt(&mut self, what: impl Fn(&mut dyn Scribe) -> std::io::Result<()>) -> bool {
        loop {
            if self.retry.is_none_or(|retry| retry <= Instant::now()) {
                match self.once(&what) {
                    Ok(()) => {
                        self.works();
                        return true;
                    }
                    Err(error) => self.fails(&error),
                }
            }
            if self.shared.settings.when_full == WhenFull::Drop || !self.pause() {
                return false;
            }
        }
    }

    fn once(&mut self, what: impl Fn(&mut dyn Scribe) -> std::io::Result<()>) -> std::io::Result<()> {
        if self.scribe.is_none() {
            self.scribe = Some(scribe(&self.shared.settings)?);
        }
        let scribe = self.scribe.as_mut().expect("it was opened just now");
        if self.missed.records > 0 {
            scribe.missed(self.missed.records, self.missed.bytes)?;
            for ((session, dir), bytes) in std::mem::take(&mut self.missed).of {
                scribe.skip(session, dir, bytes);
            }
        }
        what(&mut **scribe)
    }

    fn open(&mut self) {
        if let Err(error) = self.once(|_| Ok(())) {
            self.fails(&error);
        }
    }

    fn works(&mut self) {
        self.retry = None;
        if std::mem::take(&mut self.told) {
            self.shared.failing.store(false, Ordering::Relaxed);
            let missed = self.shared.missed.load(Ordering::Relaxed);
            tracing::info!("{}: is written again; records missed so far: {missed}", self.shared.shown());
        }
    }

    fn fails(&mut self, error: &std::io::Error) {
        self.retry = Some(Instant::now() + RETRY);
        let forgotten = match (&mut self.scribe, self.shared.settings.when_full) {
            (Some(scribe), WhenFull::Drop) => scribe.forget(),
            _ => 0,
        };
        if forgotten > 0 {
            self.written = self.written.saturating_sub(forgotten);
            self.missed.records += forgotten;
            self.shared.count_missed(forgotten, 0);
        }
        if !std::mem::replace(&mut self.told, true) {
            self.shared.failing.store(true, Ordering::Relaxed);
            let then = match self.shared.settings.when_full {
                WhenFull::Drop => "what comes is not recorded",
                WhenFull::Wait => "its sessions wait when the queue is full,",
            };
            // under the unit there is one folder in which taps may write
            let hint = match error.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    " (the service may write in /var/log/handyproxy/NAME)"
                }
                _ => "",
            };
            tracing::error!(
                "{}: {error}{hint}; {then} until it can be written, which is tried every 2s",
                self.shared.shown()
            );
        }
    }

    /// Waits for the next try, which is at once where files are to be opened anew; whether there is one.
    fn pause(&mut self) -> bool {
        let start = Instant::now();
        let shared = self.shared;
        let mut queue = shared.queue();
        while !queue.closed && !queue.reopen {
            let left = RETRY.saturating_sub(start.elapsed());
            if left.is_zero() {
                return true;
            }
            queue = shared.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (reopen, closed) = (std::mem::take(&mut queue.reopen), queue.closed);
        drop(queue);
        if reopen {
            self.retry = None;
            if let Some(Err(error)) = self.scribe.as_mut().map(|scribe| scribe.reopen()) {
                self.fails(&error);
            }
        }
        !closed
    }
}

impl Drop for Writer<'_> {
    /// Nobody is to wait for a thread that has ended, not even for one that died of a mistake of ours.
    fn drop(&mut self) {
        let shared = self.shared;
        let mut queue = shared.queue();
        (queue.closed, queue.ended, queue.bytes) = (true, true, 0);
        let (left, waiting) = (std::mem::take(&mut queue.entries), std::mem::take(&mut queue.waiting));
        drop(queue);
        for entry in &left {
            if let Entry::Record(record) = entry {
                shared.count_missed(1, bytes(record));
            }
        }
        waiting.into_values().for_each(Waker::wake);
        if std::thread::panicking() {
            shared.failing.store(true, Ordering::Relaxed);
            tracing::error!("{}: its thread has died; nothing is recorded until a restart", shared.shown());
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
