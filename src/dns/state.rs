//! The journal: names and their numbers, in a file that outlives us.
//!
//! One line for each new name, `NUMBER NAME`, and `NUMBER NAME *` once a session has gone by it; what comes later
//! counts. A last line that is cut is none. It is written anew, without what is outdated, at each start and when it
//! has grown; by a thread of its own, and slowly: a flood of names costs neither the disk nor those who wait for
//! answers. A file that is not ours is left alone.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::nets::Nets;
use super::pool::{Pool, Record};
use crate::addr::Host;

/// How a file of ours begins.
const MAGIC: &str = "handyproxy dns names 1";
/// Names that are written at once; with the pause behind them, what a flood can cost.
const BATCH: usize = 512;
/// A journal of this many more lines than names, and twice as many, is written anew.
const GROWN: usize = 4096;
/// The longest line: a number, a name, a mark.
const LINE: u64 = 300;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    nets: Nets,
    file: File,
    lines: usize,
    /// The last write failed, and that was said.
    failing: bool,
}

/// What a file turned out to be.
enum Found {
    /// These are its lines; so many made no sense.
    Ours { lines: usize, odd: usize },
    /// Names for other networks.
    OtherNets,
    /// None, or an empty one, or nothing but zeros: what a crash of the machine leaves of a new file.
    Nothing,
    /// Somebody else's.
    Foreign,
}

/// Reads what is remembered into the pool, and goes on from there; `None`: nothing is remembered from now on.
pub(super) fn open(path: &Path, nets: Nets, pool: &mut Pool) -> Option<Journal> {
    let shown = path.display();
    match load(path, nets, pool) {
        Ok(Found::Ours { lines, odd }) => {
            if odd > 0 {
                tracing::warn!("dns-state {shown}: {odd} of {lines} lines make no sense and are left out");
            }
        }
        Ok(Found::OtherNets) => {
            tracing::warn!("dns-state {shown}: its names have addresses of other pools; they get new ones");
        }
        Ok(Found::Nothing) => {}
        Ok(Found::Foreign) => {
            tracing::warn!(
                "dns-state {shown}: no file of ours, it is left alone; names get new addresses after a restart"
            );
            return None;
        }
        Err(error) => {
            tracing::warn!("dns-state {shown}: {error}; names get new addresses after a restart");
            return None;
        }
    }
    let records = pool.all();
    match rewrite(path, nets, &records) {
        Ok(file) => {
            let (path, lines) = (path.to_owned(), records.len());
            Some(Journal { path, nets, file, lines, failing: false })
        }
        Err(error) => {
            tracing::warn!("dns-state {shown}: {error}; names get new addresses after a restart");
            None
        }
    }
}

/// The name that a file knows for an address; changes nothing.
pub(super) fn look_up(path: &Path, nets: Nets, number: u32) -> Option<Arc<Host>> {
    let mut pool = Pool::new(nets.last());
    load(path, nets, &mut pool).ok()?;
    pool.name(number).cloned()
}

fn load(path: &Path, nets: Nets, pool: &mut Pool) -> io::Result<Found> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    if !meta.is_file() {
        return Ok(Found::Foreign);
    }
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        reader.by_ref().take(LINE).read_until(b'\n', line)
    };
    next(&mut line)?;
    if line.iter().all(|&b| b == 0) {
        return Ok(Found::Nothing);
    }
    if !line.starts_with(MAGIC.as_bytes()) {
        return Ok(Found::Foreign);
    }
    if line != head(nets).as_bytes() {
        return Ok(Found::OtherNets);
    }
    let (mut lines, mut odd) = (0, 0);
    while next(&mut line)? > 0 {
        // the last line, which a crash has cut
        let Some(whole) = line.strip_suffix(b"\n") else {
            odd += usize::from(line.len() as u64 == LINE);
            continue;
        };
        lines += 1;
        let known = record(whole).is_some_and(|record| pool.restore(record));
        odd += usize::from(!known);
    }
    Ok(Found::Ours { lines, odd })
}

fn head(nets: Nets) -> String {
    format!("{MAGIC} {} {}\n", nets.v4_net(), nets.v6_net())
}

fn record(line: &[u8]) -> Option<Record> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let number = words.next()?.parse().ok()?;
    let name = Arc::new(Host::parse(words.next()?.as_bytes())?);
    let was_used = match words.next() {
        None => false,
        Some("*") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Record { number, name, was_used })
}

fn text(records: &[Record]) -> String {
    let mut text = String::with_capacity(records.len() * 32);
    for Record { number, name, was_used } in records {
        let mark = if *was_used { " *" } else { "" };
        let _ = writeln!(text, "{number} {name}{mark}");
    }
    text
}

/// Writes the file anew, as a whole or not at all.
fn rewrite(path: &Path, nets: Nets, records: &[Record]) -> io::Result<File> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // never through a link that somebody has laid there
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&beside)?;
    file.write_all(head(nets).as_bytes())?;
    file.write_all(text(records).as_bytes())?;
    file.sync_data()?;
    fs::rename(&beside, path)?;
    Ok(file)
}

impl Journal {
    /// Writes a few names that are new; whether there may be more.
    pub(super) fn save(&mut self, pool: &Mutex<Pool>) -> bool {
        let (records, names) = {
            let mut pool = super::lock(pool);
            (pool.unsaved(BATCH), pool.count().0 as usize)
        };
        if records.is_empty() {
            return false;
        }
        self.lines += records.len();
        let written = if self.failing || self.lines > GROWN + 2 * names {
            // what could not be written before is in the pool still
            let all = super::lock(pool).all();
            rewrite(&self.path, self.nets, &all).map(|file| (self.file, self.lines) = (file, all.len()))
        } else {
            self.file.write_all(text(&records).as_bytes())
        };
        let path = self.path.display();
        match written {
            Ok(()) if std::mem::take(&mut self.failing) => tracing::info!("dns-state {path}: written again"),
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                tracing::warn!("dns-state {path}: {error}; it is tried again with each new name");
            }
            _ => {}
        }
        records.len() == BATCH
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
