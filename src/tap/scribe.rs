//! Who writes records down: one kind of file each. A scribe lives in its tap's own thread and may block.

use std::io;

use super::{Record, dump, flow, hexlog, pcapng};
use crate::config::{TapForm, TapSettings};
use crate::format::Dir;

/// Writes records of one tap. What an error is returned for was not written at all, and leaves files readable.
pub(super) trait Scribe: Send {
    /// Writes a record, or keeps it until the next [`flush`](Scribe::flush).
    fn write(&mut self, record: &Record) -> io::Result<()>;

    /// Hands everything to the kernel; called when nothing more waits, and at the end.
    fn flush(&mut self) -> io::Result<()>;

    /// Forgets what was kept and could not be written; returns how many records that were.
    fn forget(&mut self) -> u64;

    /// Notes in the file that so many records, with so many bytes, are missing from here on. The note is none of the
    /// records that [`forget`](Scribe::forget) counts, and is not lost with them.
    fn missed(&mut self, records: u64, bytes: u64) -> io::Result<()>;

    /// So many bytes of a session are among those that are missing; told after [`missed`](Scribe::missed).
    fn skip(&mut self, _session: u64, _dir: Dir, _bytes: u64) {}

    /// Opens its files anew, under the same names: they were rotated away.
    fn reopen(&mut self) -> io::Result<()>;

    /// How often the kernel has taken something of it. That nothing failed does not tell that it can be written: there
    /// may have been nothing to be written, or it is kept.
    fn writes(&self) -> u64;
}

/// The scribe for these settings; opens its file, if it is one for all sessions.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn scribe(settings: &TapSettings) -> io::Result<Box<dyn Scribe>> {
    Ok(match settings.form {
        TapForm::Flow | TapForm::Informer => Box::new(flow::Flow::open(settings)?),
        TapForm::Dumper | TapForm::Raw | TapForm::Writefile => Box::new(dump::Dump::open(settings)?),
        TapForm::Hexlog => Box::new(hexlog::Hexlog::open(settings)?),
        TapForm::Pcapng => Box::new(pcapng::Pcapng::open(settings)?),
    })
}
