//! Which name has which address, as numbers: number 1 is the first address of a pool, whatever the pool.
//!
//! A name keeps its number until all numbers are taken. Then the one goes that was least recently asked for and that no
//! session went by: whoever floods us with names pushes out their own. Only where hardly any of those are left, the
//! one goes that sessions went by least recently. A number that a session holds is never given to another name.
//! Everything takes the same time, however many names there are.
//!
//! Memory: some 150 bytes for a usual name and 400 for the longest, 131,071 names at most.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::addr::Host;

/// Numbers are at most this, however large the networks are: memory is what bounds them.
pub(super) const MOST: u32 = 0x1_ffff;
/// One part in so many is for names that no session went by yet, so that new ones do not push each other out at once.
const NEW: u32 = 16;
/// The place before the first and after the last.
const NONE: u32 = 0;

/// Names and their numbers.
#[derive(Debug)]
pub(super) struct Pool {
    /// By number; 0 is nobody's.
    entries: Vec<Entry>,
    numbers: HashMap<Arc<Host>, u32>,
    last: u32,
    /// Those that were asked for only, least recently first.
    asked: Ends,
    /// Those that sessions went by and that none holds now, least recently first.
    used: Ends,
    /// Numbers of which not all is in the journal.
    unsaved: VecDeque<u32>,
}

#[derive(Debug, Default)]
struct Entry {
    name: Option<Arc<Host>>,
    before: u32,
    after: u32,
    sessions: u32,
    was_used: bool,
    unsaved: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    first: u32,
    last: u32,
    count: u32,
}

/// What the journal is to hold of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) number: u32,
    pub(super) name: Arc<Host>,
    /// A session went by it.
    pub(super) was_used: bool,
}

impl Pool {
    /// An empty pool of so many numbers, [`MOST`] at most.
    pub(super) fn new(last: u32) -> Pool {
        Pool {
            entries: vec![Entry::default()],
            numbers: HashMap::new(),
            last: last.min(MOST),
            asked: Ends::default(),
            used: Ends::default(),
            unsaved: VecDeque::new(),
        }
    }

    /// The number of a name that is asked for; a new one has one from now on. `None`: sessions hold them all.
    pub(super) fn ask(&mut self, name: &Host) -> Option<u32> {
        if let Some(&number) = self.numbers.get(name) {
            self.refresh(number);
            return Some(number);
        }
        let number = self.vacate()?;
        self.take_in(number, Arc::new(name.clone()), false);
        self.mark(number);
        Some(number)
    }

    /// The name that a number stands for.
    pub(super) fn name(&self, number: u32) -> Option<&Arc<Host>> {
        self.entries.get(number as usize)?.name.as_ref()
    }

    /// The name that a number stands for, which a session holds from now on until it lets it go.
    pub(super) fn hold(&mut self, number: u32) -> Option<Arc<Host>> {
        let name = self.name(number)?.clone();
        if self.entries[number as usize].sessions == 0 {
            self.unlink(number);
        }
        let entry = &mut self.entries[number as usize];
        entry.sessions += 1;
        if !std::mem::replace(&mut entry.was_used, true) {
            self.mark(number);
        }
        Some(name)
    }

    /// A session that held a number has ended.
    pub(super) fn let_go(&mut self, number: u32) {
        let Some(entry) = self.entries.get_mut(number as usize) else { return };
        entry.sessions = entry.sessions.saturating_sub(1);
        if entry.sessions == 0 {
            self.link(number);
        }
    }

    /// What was remembered from before; what comes later counts more. Refuses a number that does not exist.
    pub(super) fn restore(&mut self, record: Record) -> bool {
        let Record { number, name, was_used } = record;
        if number == NONE || number > self.last {
            return false;
        }
        if let Some(&elsewhere) = self.numbers.get(&name) {
            self.unlink(elsewhere);
            self.forget(elsewhere);
            // it is among the first to be given again
            self.link(elsewhere);
        }
        while self.entries.len() <= number as usize {
            self.entries.push(Entry::default());
            let free = self.entries.len() as u32 - 1;
            self.link(free);
        }
        self.unlink(number);
        self.forget(number);
        self.take_in(number, name, was_used);
        true
    }

    /// A few names that the journal does not have yet.
    pub(super) fn unsaved(&mut self, most: usize) -> Vec<Record> {
        let count = most.min(self.unsaved.len());
        let numbers: Vec<u32> = self.unsaved.drain(..count).collect();
        let mut records = Vec::with_capacity(count);
        for number in numbers {
            self.entries[number as usize].unsaved = false;
            records.extend(self.record(number));
        }
        records
    }

    /// All names, those first that are to go first.
    pub(super) fn all(&self) -> Vec<Record> {
        let mut numbers = Vec::with_capacity(self.entries.len());
        for ends in [self.asked, self.used] {
            let mut number = ends.first;
            while number != NONE {
                numbers.push(number);
                number = self.entries[number as usize].after;
            }
        }
        numbers.extend((1..self.entries.len() as u32).filter(|&number| self.entries[number as usize].sessions > 0));
        numbers.into_iter().filter_map(|number| self.record(number)).collect()
    }

    /// How many names there are, and how many there can be.
    pub(super) fn count(&self) -> (u32, u32) {
        (self.numbers.len() as u32, self.last)
    }

    fn record(&self, number: u32) -> Option<Record> {
        let entry = self.entries.get(number as usize)?;
        let name = entry.name.clone()?;
        Some(Record { number, name, was_used: entry.was_used })
    }

    /// A number that stands for nothing now, and is in no list.
    fn vacate(&mut self) -> Option<u32> {
        let next = self.entries.len() as u32;
        if next <= self.last && !self.has_free() {
            self.entries.push(Entry::default());
            return Some(next);
        }
        let few = !self.has_free() && self.asked.count <= (self.last / NEW).max(1);
        let ends = if few && self.used.count > 0 || self.asked.count == 0 { self.used } else { self.asked };
        if ends.first == NONE {
            return None;
        }
        self.unlink(ends.first);
        self.forget(ends.first);
        Some(ends.first)
    }

    /// Whether the next to go has no name: a gap in what was remembered.
    fn has_free(&self) -> bool {
        self.asked.first != NONE && self.entries[self.asked.first as usize].name.is_none()
    }

    fn take_in(&mut self, number: u32, name: Arc<Host>, was_used: bool) {
        self.numbers.insert(name.clone(), number);
        let entry = &mut self.entries[number as usize];
        (entry.name, entry.was_used) = (Some(name), was_used);
        self.link(number);
    }

    fn forget(&mut self, number: u32) {
        let entry = &mut self.entries[number as usize];
        entry.was_used = false;
        if let Some(name) = entry.name.take() {
            self.numbers.remove(&name);
        }
    }

    fn refresh(&mut self, number: u32) {
        if self.entries[number as usize].sessions == 0 {
            self.unlink(number);
            self.link(number);
        }
    }

    fn mark(&mut self, number: u32) {
        if !std::mem::replace(&mut self.entries[number as usize].unsaved, true) {
            self.unsaved.push_back(number);
        }
    }

    /// Puts a number behind all others of its kind; one without a name before them.
    fn link(&mut self, number: u32) {
        let entry = &self.entries[number as usize];
        let (was_used, is_free) = (entry.was_used, entry.name.is_none());
        let ends = *self.ends(was_used);
        let (before, after) = if is_free { (NONE, ends.first) } else { (ends.last, NONE) };
        let entry = &mut self.entries[number as usize];
        (entry.before, entry.after) = (before, after);
        self.join(before, number, was_used);
        self.join(number, after, was_used);
        self.ends(was_used).count += 1;
    }

    /// Takes a number out of the list that it is in.
    fn unlink(&mut self, number: u32) {
        let Entry { before, after, was_used, .. } = self.entries[number as usize];
        self.join(before, after, was_used);
        self.ends(was_used).count -= 1;
    }

    /// Makes two numbers neighbours.
    fn join(&mut self, one: u32, other: u32, was_used: bool) {
        match one {
            NONE => self.ends(was_used).first = other,
            one => self.entries[one as usize].after = other,
        }
        match other {
            NONE => self.ends(was_used).last = one,
            other => self.entries[other as usize].before = one,
        }
    }

    fn ends(&mut self, was_used: bool) -> &mut Ends {
        if was_used { &mut self.used } else { &mut self.asked }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
