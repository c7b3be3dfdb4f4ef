//! Sessions as packets, for Wireshark: a pcapng file (draft-ietf-opsawg-pcapng) of raw IP packets, in which every
//! session is a TCP connection between the client and its original destination. The packets are made up, the bytes,
//! their order and their times are true.
//!
//! Comments say what packets cannot. On the first of a session: `session id=1 client=... origin=...` with what is
//! known, and `goes_on up=N down=N` where so many bytes of it are not in this file; on the last: `session id=1 end=...`.
//! Before bytes that were missed: `missed records=N bytes=N` (of any session), and on the packet behind the gap of its
//! own direction `gap bytes=N`, which its sequence numbers leave too. The keys are those of the access log.
//!
//! A file can be read on its own: a session that began in an earlier one begins anew, as a connection that is open.

mod block;
mod stream;
mod words;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use super::{Dir, Ending, Facts};
use crate::addr::Host;
use crate::close::{By, End};

pub use block::Maker;
use block::Notes;
use stream::{Pen, Stream, Teardown};

/// Names that are remembered as said, so that they are not said again.
const SAID: usize = 4096;
/// A clock that was set back by less is waited for, so that packets stand in the order of their times.
const BACK: u64 = 1_000_000_000;

/// What happened in a session.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Its way is open, or was to be.
    Opened,
    /// Bytes came.
    Read(Dir, &'a [u8]),
    /// The source has ended.
    Ended(Dir),
    /// It has ended.
    Closed(&'a Ending),
}

/// What has to be known of a file, and of the sessions that are open, to write on.
#[derive(Debug, Default)]
pub struct Capture {
    sessions: HashMap<u64, Session>,
    /// Sessions of whose first packets one may still be lost.
    fresh: Vec<u64>,
    /// Names that are in the file.
    said: HashSet<(IpAddr, Host)>,
    /// What the next packet has to say.
    notes: Notes,
    /// Missed records that were told in packets that may still be lost.
    told: (u64, u64),
    /// Missed records that are to be told.
    missed: (u64, u64),
    /// When the last packet was.
    last: u64,
}

/// A session that is open.
#[derive(Debug)]
struct Session {
    /// Gone when nobody else knows of the session.
    facts: Weak<Facts>,
    stream: Stream,
    /// Bytes of each direction that came so far, or were missed.
    bytes: [u64; 2],
    /// Bytes of each direction that were missed since its last packet.
    gap: [u64; 2],
}

impl Capture {
    /// Begins a file, or goes on behind the end of another one.
    pub fn begin(&mut self, maker: &Maker<'_>, out: &mut Vec<u8>) {
        block::section(maker, out);
        block::interface(out);
        self.kept();
        self.said.clear();
        self.sessions.retain(|_, session| session.facts.strong_count() > 0);
        self.sessions.values_mut().for_each(|session| session.stream.rewind());
    }

    /// Writes down what happened at this time, in nanoseconds since 1970.
    pub fn write(&mut self, at: u64, facts: &Arc<Facts>, event: Event<'_>, out: &mut Vec<u8>) {
        let at = if at < self.last && self.last - at < BACK { self.last } else { at };
        self.last = at;
        if self.missed.0 > 0 {
            let (records, bytes) = std::mem::take(&mut self.missed);
            self.notes.say(words::missed(records, bytes));
            self.notes.dropped += records;
            self.told = (self.told.0 + records, self.told.1 + bytes);
        }
        let known = self.sessions.contains_key(&facts.id);
        let session = self.sessions.entry(facts.id).or_insert_with(|| Session::new(at, facts));
        if !session.stream.is_open() {
            self.fresh.push(facts.id);
        }
        if session.stream.is_new() {
            say(&mut self.said, facts, out);
            let goes_on = (known || !matches!(event, Event::Opened)).then_some(session.bytes);
            self.notes.say(words::opening(facts, goes_on));
            // the numbers begin behind it
            session.gap = [0; 2];
        }
        let mut pen = Pen { out, at, notes: &mut self.notes };
        match event {
            Event::Opened => session.stream.call(&mut pen),
            Event::Read(dir, bytes) => session.read(dir, bytes, &mut pen),
            Event::Ended(dir) => session.stream.end(dir, &mut pen),
            Event::Closed(ending) => {
                session.stream.close(teardown(ending), words::ending(facts.id, ending), &mut pen);
                self.sessions.remove(&facts.id);
            }
        }
    }

    /// So many records, with so many bytes, are missing from here on, those of [`skip`](Capture::skip) among them.
    pub fn missed(&mut self, records: u64, bytes: u64) {
        self.missed = (self.missed.0 + records, self.missed.1 + bytes);
        // the end of some may be among them
        self.sessions.retain(|_, session| session.facts.strong_count() > 0);
    }

    /// So many bytes of a session are missing here.
    pub fn skip(&mut self, session: u64, dir: Dir, bytes: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.stream.skip(dir, bytes);
            session.bytes[dir as usize] += bytes;
            session.gap[dir as usize] += bytes;
        }
    }

    /// What was written so far is in the file.
    pub fn kept(&mut self) {
        self.fresh.clear();
        self.told = (0, 0);
    }

    /// What was written since [`kept`](Capture::kept) is lost.
    pub fn lost(&mut self) {
        for id in self.fresh.drain(..) {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.stream.rewind();
            }
        }
        self.said.clear();
        let told = std::mem::take(&mut self.told);
        self.missed = (self.missed.0 + told.0, self.missed.1 + told.1);
    }
}

impl Session {
    fn new(at: u64, facts: &Arc<Facts>) -> Session {
        let stream = Stream::new(facts.client, facts.origin, facts.id ^ at.rotate_left(32));
        Session { facts: Arc::downgrade(facts), stream, bytes: [0; 2], gap: [0; 2] }
    }

    fn read(&mut self, dir: Dir, bytes: &[u8], pen: &mut Pen<'_>) {
        self.stream.ready(pen);
        let gap = std::mem::take(&mut self.gap[dir as usize]);
        if gap > 0 {
            pen.notes.say(words::gap(gap));
        }
        self.stream.data(dir, bytes, pen);
        self.bytes[dir as usize] += bytes.len() as u64;
    }
}

/// Says which name was seen for the origin's address, once in a file.
fn say(said: &mut HashSet<(IpAddr, Host)>, facts: &Facts, out: &mut Vec<u8>) {
    let Some(name) = &facts.name else { return };
    let pair = (facts.origin.ip(), name.host.clone());
    if said.contains(&pair) {
        return;
    }
    if said.len() >= SAID {
        said.clear();
    }
    block::name(pair.0, name.host.as_str(), out);
    said.insert(pair);
}

/// What the client saw of the end.
fn teardown(ending: &Ending) -> Teardown {
    match (ending.end, ending.by) {
        (End::Done, _) => Teardown::Both,
        (_, By::Client) => Teardown::Reset(Dir::Up),
        (_, By::Upstream | By::Us) => Teardown::Reset(Dir::Down),
    }
}

#[cfg(test)]
#[path = "pcapng_tests.rs"]
mod tests;
