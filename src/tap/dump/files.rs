//! The files of sessions: any number of them, of which few are open. A small write is kept until there is more, or
//! nothing else to do; a large one goes to the kernel from where it is.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::super::output;

/// Files that are open at once.
pub(super) const OPEN: usize = crate::config::DUMP_FILES;
/// What is kept for one file before it is written.
const GATHER: usize = 16 * 1024;

/// Which file: a session's number, and which of its files.
pub(super) type Key = (u64, usize);

/// The files that are open.
#[derive(Debug, Default)]
pub(super) struct Files {
    open: HashMap<Key, Open>,
    /// How often files were used, all together.
    uses: u64,
    /// How often the kernel has taken something.
    writes: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// The length of the file up to which it is whole.
    good: Option<u64>,
    gathered: Vec<u8>,
    /// Records in what is gathered.
    records: u64,
    used: u64,
}

impl Files {
    /// Closes the files that were not used for longest, until there is room for so many.
    ///
    /// # Errors
    /// Those of write(2); the file stays open.
    pub(super) fn make_room(&mut self, count: usize) -> io::Result<()> {
        while self.open.len() + count > OPEN {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
            let Some((key, _)) = oldest.map(|(key, open)| (*key, open.used)) else { break };
            self.close(key, &[])?;
        }
        Ok(())
    }

    /// Takes a file for which there is room.
    ///
    /// # Errors
    /// Those of stat(2).
    pub(super) fn add(&mut self, key: Key, file: File) -> io::Result<()> {
        self.uses += 1;
        let good = Some(file.metadata()?.len());
        self.open.insert(key, Open { file, good, gathered: Vec::new(), records: 0, used: self.uses });
        Ok(())
    }

    /// Opens a file again, unless it is open; whether it is still there.
    ///
    /// # Errors
    /// Those of open(2), and of closing another one.
    pub(super) fn find(&mut self, key: Key, path: &Path) -> io::Result<bool> {
        if self.open.contains_key(&key) {
            return Ok(true);
        }
        self.make_room(1)?;
        match OpenOptions::new().append(true).open(path) {
            Ok(file) => self.add(key, file).map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a record, in two pieces, to a file that is open.
    ///
    /// # Errors
    /// Those of write(2); nothing of it was written then.
    pub(super) fn write(&mut self, key: Key, head: &[u8], body: &[u8]) -> io::Result<()> {
        let open = self.used(key)?;
        if open.gathered.len() + head.len() + body.len() >= GATHER {
            self.writes += open.flush(head, body)?;
            return Ok(());
        }
        open.gathered.extend_from_slice(head);
        open.gathered.extend_from_slice(body);
        open.records += 1;
        Ok(())
    }

    /// Writes a record, in two pieces, to a file that is open, and keeps nothing back.
    ///
    /// # Errors
    /// Those of write(2); nothing of it was written then.
    pub(super) fn write_out(&mut self, key: Key, head: &[u8], body: &[u8]) -> io::Result<()> {
        self.writes += self.used(key)?.flush(head, body)?;
        Ok(())
    }

    fn used(&mut self, key: Key) -> io::Result<&mut Open> {
        self.uses += 1;
        let open = self.open.get_mut(&key).ok_or(ErrorKind::NotFound)?;
        open.used = self.uses;
        Ok(open)
    }

    /// Writes the last record of a file, and closes it. One that is closed already has nothing more to say.
    ///
    /// # Errors
    /// Those of write(2); it stays open, and nothing of the record was written.
    pub(super) fn close(&mut self, key: Key, record: &[u8]) -> io::Result<()> {
        if let Some(open) = self.open.get_mut(&key) {
            self.writes += open.flush(record, &[])?;
            self.open.remove(&key);
        }
        Ok(())
    }

    /// Closes a file, whatever is kept for it.
    pub(super) fn give_up(&mut self, key: Key) {
        self.open.remove(&key);
    }

    /// Hands what is kept to the kernel, for all that can be written.
    ///
    /// # Errors
    /// Those of write(2), the first of them; what could not be written is kept.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut first = Ok(());
        for open in self.open.values_mut() {
            first = first.and(open.flush(&[], &[]).map(|writes| self.writes += writes));
        }
        first
    }

    /// Forgets what is kept; how many records that was.
    pub(super) fn forget(&mut self) -> u64 {
        let forget = |open: &mut Open| {
            open.gathered.clear();
            std::mem::take(&mut open.records)
        };
        self.open.values_mut().map(forget).sum()
    }

    /// How often the kernel has taken something.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// The length of a file, with what is kept for it.
    ///
    /// # Errors
    /// Those of stat(2).
    pub(super) fn length(&self, key: Key, path: &Path) -> io::Result<u64> {
        match self.open.get(&key) {
            Some(open) => Ok(open.file.metadata()?.len() + open.gathered.len() as u64),
            None => Ok(fs::metadata(path)?.len()),
        }
    }
}

impl Open {
    /// Hands everything to the kernel; 1 if that was anything.
    fn flush(&mut self, head: &[u8], body: &[u8]) -> io::Result<u64> {
        output::write(&mut self.file, &[&self.gathered, head, body], &mut self.good)?;
        let is_empty = self.gathered.is_empty() && head.is_empty() && body.is_empty();
        self.gathered.clear();
        self.records = 0;
        Ok(u64::from(!is_empty))
    }
}
