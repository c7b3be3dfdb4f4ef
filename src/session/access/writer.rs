//! Lines on their way to their place, and the thread that writes them. What cannot be written waits, and is tried
//! again; beyond the room for it lines are lost, counted, and told of when it works again.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pen::Pen;
use crate::config::AccessLog;

/// How long a place that cannot be written is left alone.
const RETRY: Duration = Duration::from_secs(2);

/// A place that lines go to.
#[derive(Debug)]
pub(super) struct Writer {
    place: AccessLog,
    /// Most bytes that wait.
    room: usize,
    queue: Mutex<Queue>,
    /// Told of everything that changes in the queue.
    news: Condvar,
    /// It cannot be written now.
    failing: AtomicBool,
    /// Lines that were lost in all places so far.
    lost_anywhere: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    /// Of the lines that are not written yet, those included that the thread, or its pen, has taken.
    bytes: usize,
    /// Lines that nobody will ever read, from the beginning.
    lost: u64,
    reopen: bool,
    closed: bool,
    ended: bool,
}

impl Writer {
    /// Begins to write there, with so much room for what waits, and counts in `lost` what is lost.
    ///
    /// # Errors
    /// There can be no further thread.
    pub(super) fn start(place: AccessLog, room: usize, lost: Arc<AtomicU64>) -> io::Result<Arc<Writer>> {
        let writer = Arc::new(Writer {
            place,
            room,
            queue: Mutex::default(),
            news: Condvar::new(),
            failing: AtomicBool::new(false),
            lost_anywhere: lost,
        });
        let ours = writer.clone();
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            Hand { writer: &ours, taken: VecDeque::new(), pen: None, reopen: false, retry: None, told: 0 }.run();
        })?;
        Ok(writer)
    }

    /// Takes a line, its end included, or an entry of the journal; or loses it.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut queue = self.queue();
        if queue.closed || queue.ended || queue.bytes + line.len() > self.room {
            self.lose(&mut queue, 1);
            return;
        }
        queue.bytes += line.len();
        let is_first = queue.lines.is_empty();
        queue.lines.push_back(line);
        drop(queue);
        if is_first {
            self.news.notify_all();
        }
    }

    fn lose(&self, queue: &mut Queue, lines: u64) {
        queue.lost += lines;
        self.lost_anywhere.fetch_add(lines, Ordering::Relaxed);
    }

    /// The file was rotated away.
    pub(super) fn reopen(&self) {
        self.queue().reopen = true;
        self.news.notify_all();
    }

    /// No further line comes: the thread writes what waits, if it can, and ends.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.news.notify_all();
    }

    /// Whether the thread has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.queue().ended
    }

    /// Bytes that wait.
    pub(super) fn queued(&self) -> usize {
        self.queue().bytes
    }

    /// Whether it cannot be written now.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Bytes that wait, and lines that were lost.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> (usize, u64) {
        let queue = self.queue();
        (queue.bytes, queue.lost)
    }

    /// Waits until the thread has ended, which a disk that hangs may keep from doing.
    pub(super) fn wait(&self, until: Instant) {
        let limit = until.saturating_duration_since(Instant::now());
        let waited = self.news.wait_timeout_while(self.queue(), limit, |queue| !queue.ended);
        let ended = waited.map_or(true, |(queue, _)| queue.ended);
        if !ended {
            tracing::error!("{}: its last lines are lost, it does not take them", self.shown());
        }
    }

    /// What it is, for people.
    fn shown(&self) -> String {
        match &self.place {
            AccessLog::File(path) => format!("access log {}", path.display()),
            AccessLog::Journal => "access log to the journal".to_owned(),
            _ => "access log to stderr".to_owned(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread.
struct Hand<'a> {
    writer: &'a Writer,
    /// Lines that are not written yet.
    taken: VecDeque<Vec<u8>>,
    pen: Option<Pen>,
    /// The file is to be opened anew.
    reopen: bool,
    /// When to try again, where it did not work, which was told then.
    retry: Option<Instant>,
    /// Lost lines that were told of.
    told: u64,
}

impl Hand<'_> {
    fn run(mut self) {
        let mut last = false;
        loop {
            let outcome = self.write();
            match outcome {
                Ok(()) => self.works(),
                Err(error) if last => return self.gives_up(&error),
                Err(error) => self.fails(&error),
            }
            if last {
                return;
            }
            last = self.wait();
        }
    }

    /// Writes everything that was taken.
    fn write(&mut self) -> io::Result<()> {
        let before = self.bytes();
        let written = self.write_all();
        self.writer.queue().bytes -= before - self.bytes();
        written
    }

    fn write_all(&mut self) -> io::Result<()> {
        let pen = match &mut self.pen {
            Some(pen) => pen,
            None => self.pen.insert(Pen::open(&self.writer.place)?),
        };
        if self.reopen {
            pen.reopen()?;
            self.reopen = false;
        }
        while let Some(line) = self.taken.front() {
            if !pen.write(line)? {
                self.writer.lose(&mut self.writer.queue(), 1);
            }
            self.taken.pop_front();
        }
        pen.flush()
    }

    fn bytes(&self) -> usize {
        self.taken.iter().map(Vec::len).sum::<usize>() + self.pen.as_ref().map_or(0, Pen::kept)
    }

    /// Waits for something to do, and takes what has come; whether that is the last of it.
    fn wait(&mut self) -> bool {
        let mut queue = self.writer.queue();
        loop {
            let left = self.retry.map(|at| at.saturating_duration_since(Instant::now()));
            let is_due = left.map_or(!queue.lines.is_empty(), |left| left.is_zero());
            if is_due || queue.reopen || queue.closed {
                break;
            }
            queue = match left {
                Some(left) => self.writer.news.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.writer.news.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
        self.taken.append(&mut queue.lines);
        self.reopen |= std::mem::take(&mut queue.reopen);
        queue.closed
    }

    fn works(&mut self) {
        self.writer.failing.store(false, Ordering::Relaxed);
        let lost = self.untold();
        let shown = self.writer.shown();
        if self.retry.take().is_some() {
            tracing::info!("{shown}: is written again; lines lost: {lost}");
        } else if lost > 0 {
            tracing::warn!("{shown}: did not keep up; lines lost: {lost}");
        }
    }

    fn fails(&mut self, error: &io::Error) {
        self.writer.failing.store(true, Ordering::Relaxed);
        if self.retry.replace(Instant::now() + RETRY).is_none() {
            let (shown, room) = (self.writer.shown(), self.writer.room >> 10);
            tracing::error!(
                "{shown}: {error}; lines wait, and beyond {room} KiB are lost, until it can be written, which is \
                 tried every {}s",
                RETRY.as_secs()
            );
        }
    }

    /// How many lines were lost since that was told last.
    fn untold(&mut self) -> u64 {
        let lost = self.writer.queue().lost;
        lost - std::mem::replace(&mut self.told, lost)
    }

    fn gives_up(mut self, error: &io::Error) {
        let kept = self.pen.as_mut().map_or(0, Pen::forget);
        self.writer.lose(&mut self.writer.queue(), kept + self.taken.len() as u64);
        let lost = self.untold();
        if lost > 0 {
            tracing::error!("{}: {error}; lines lost: {lost}", self.writer.shown());
        }
    }
}

impl Drop for Hand<'_> {
    /// Nobody is to wait for a thread that has ended, not even for one that died of a mistake of ours.
    fn drop(&mut self) {
        let writer = self.writer;
        writer.queue().ended = true;
        writer.news.notify_all();
        if std::thread::panicking() {
            writer.failing.store(true, Ordering::Relaxed);
            tracing::error!("{}: its thread has died; no line is written until a restart", writer.shown());
        }
    }
}
