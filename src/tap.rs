//! Taps: who sees what passes, without holding it up. Each has a queue with a bound and a thread that writes, so
//! that a slow disk is nobody's problem but the tap's; whether it then loses records or sessions wait is its policy.
//!
//! A session that no tap wants knows nothing of all this. The trap: records of both directions go through one queue,
//! so their order is that of the reads.

mod chunk;
mod dump;
mod flow;
mod hexlog;
mod output;
mod pcapng;
mod queue;
mod scribe;
#[cfg(test)]
mod stage;

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::format::{Dir, Ending, Facts};

pub use chunk::{Chunk, SIZE};
pub use output::Output;
pub use queue::{Counts, Sink, wait};

/// Something that happened in a session.
#[derive(Clone, Debug)]
pub struct Record {
    /// When: nanoseconds since 1970.
    pub at: u64,
    /// In which session.
    pub facts: Arc<Facts>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// Its way is open, or was to be: first of all.
    Opened,
    /// Bytes came.
    Read(Dir, Chunk),
    /// So many were handed on; 0 is the end.
    Sent(Dir, usize),
    /// The source has ended.
    Ended(Dir),
    /// The session has ended: last of all.
    Closed(Box<Ending>),
}

/// A session's side of the taps that want it.
#[derive(Clone, Debug)]
pub struct Tapped(Arc<Session>);

#[derive(Debug)]
struct Session {
    facts: Arc<Facts>,
    /// Not empty.
    sinks: Vec<Arc<Sink>>,
}

impl Tapped {
    /// A session that begins, and those who want it, one at least.
    pub fn open(facts: Facts, sinks: Vec<Arc<Sink>>) -> Tapped {
        let tapped = Tapped(Arc::new(Session { facts: Arc::new(facts), sinks }));
        tapped.push(&What::Opened);
        tapped
    }

    /// Bytes were read: the first `length` of `buffer`, which may be another one afterwards.
    pub fn read(&self, dir: Dir, buffer: &mut Box<[u8]>, length: usize) {
        if length > 0 {
            self.push(&What::Read(dir, Chunk::take(buffer, length)));
        }
    }

    /// Bytes were read, and are copied.
    pub fn copied(&self, dir: Dir, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.push(&What::Read(dir, Chunk::copy(bytes)));
        }
    }

    /// So many bytes were handed on; 0 tells the end.
    pub fn sent(&self, dir: Dir, length: usize) {
        self.push(&What::Sent(dir, length));
    }

    /// The source has ended.
    pub fn ended(&self, dir: Dir) {
        self.push(&What::Ended(dir));
    }

    /// The session has ended.
    pub fn close(&self, ending: Ending) {
        self.push(&What::Closed(Box::new(ending)));
    }

    /// Ready when every tap for which the session waits has room.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        for sink in &self.0.sinks {
            ready!(sink.poll_room(self.0.facts.id, cx));
        }
        Poll::Ready(())
    }

    fn push(&self, what: &What) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        for sink in self.0.sinks.iter().filter(|sink| sink.wants(what)) {
            sink.push(Record { at, facts: self.0.facts.clone(), what: what.clone() });
        }
    }
}
