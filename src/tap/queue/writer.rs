//! The thread of a tap. What cannot be written is told once, and tried again from time to time.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::super::scribe::{Scribe, scribe};
use super::{Entry, Missed, Shared, bytes, weight};
use crate::config::WhenFull;

/// What is taken off the queue at once.
const BATCH: usize = 1 << 20;
/// Places for entries that are kept while nothing waits; a burst may have needed many more.
pub(super) const PLACES: usize = 4096;
/// How long a file that cannot be written is left alone.
pub(super) const RETRY: Duration = Duration::from_secs(2);
/// How long the last records may take at the end.
const FAREWELL: Duration = Duration::from_secs(10);

/// Threads that have not ended.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Starts the thread of a tap.
///
/// # Errors
/// It cannot be started.
pub(super) fn start(shared: Arc<Shared>) -> io::Result<()> {
    let name = format!("tap-{}", shared.settings.form.words().0);
    RUNNING.fetch_add(1, Ordering::Relaxed);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let _running = Running;
        Writer::new(&shared, None).run();
    });
    if thread.is_err() {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
    thread.map(drop)
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

/// The thread.
pub(super) struct Writer<'a> {
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
    /// What the scribe's [`writes`](Scribe::writes) was when it did not, if there was one.
    stuck: Option<u64>,
}

impl<'a> Writer<'a> {
    /// Of this tap; what writes its file is opened when it is needed.
    pub(super) fn new(shared: &'a Shared, scribe: Option<Box<dyn Scribe>>) -> Writer<'a> {
        Writer { shared, scribe, written: 0, missed: Missed::default(), retry: None, told: false, stuck: None }
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
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
                self.join_missed();
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
            self.join_missed();
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

    /// Takes what did not fit behind the last entry, for there may be no further one that tells of it.
    fn join_missed(&mut self) {
        let mut queue = self.shared.queue();
        // what has come meanwhile tells of it in its place
        if queue.entries.is_empty() {
            let missed = std::mem::take(&mut queue.missed);
            drop(queue);
            self.missed.join(&missed);
        }
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
    fn attempt(&mut self, what: impl Fn(&mut dyn Scribe) -> io::Result<()>) -> bool {
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

    fn once(&mut self, what: impl Fn(&mut dyn Scribe) -> io::Result<()>) -> io::Result<()> {
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
        // what is kept may fail yet, and where nothing was to be written nothing could fail
        if self.told && self.writes() != self.stuck {
            self.told = false;
            self.shared.failing.store(false, Ordering::Relaxed);
            let missed = self.shared.missed.load(Ordering::Relaxed);
            tracing::info!("{}: is written again; records missed so far: {missed}", self.shared.shown());
        }
    }

    fn writes(&self) -> Option<u64> {
        self.scribe.as_ref().map(|scribe| scribe.writes())
    }

    fn fails(&mut self, error: &io::Error) {
        self.retry = Some(Instant::now() + RETRY);
        self.stuck = self.writes();
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
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
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
#[path = "writer_tests.rs"]
mod tests;
