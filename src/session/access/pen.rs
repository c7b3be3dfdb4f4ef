//! What lines are written with: one way for each place that they go to.

use std::io;

use crate::config::AccessLog;
use crate::sys::journal::Journal;
use crate::sys::process;
use crate::tap::Output;

/// What lines are written with.
#[derive(Debug)]
pub(super) enum Pen {
    /// A file: many lines at a time.
    File(Output),
    /// A stream that others write to as well: a line at a time.
    Stream(Output),
    /// An entry at a time.
    Journal(Journal),
}

impl Pen {
    /// Opens the way to a place that has one.
    ///
    /// # Errors
    /// It cannot be written now.
    pub(super) fn open(place: &AccessLog) -> io::Result<Pen> {
        Ok(match place {
            AccessLog::File(path) => Pen::File(Output::open(Some(path), true)?),
            AccessLog::Journal => Pen::Journal(Journal::open()?),
            AccessLog::Stderr => Pen::Stream(Output::stream(process::stderr()?)?),
            AccessLog::Log | AccessLog::Off => unreachable!("nobody writes there"),
        })
    }

    /// Writes a line, or keeps it until the next [`flush`](Pen::flush); whether it can be written at all.
    ///
    /// # Errors
    /// It was not written.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<bool> {
        match self {
            Pen::File(file) => file.record(line, &[])?,
            Pen::Stream(stream) => {
                // the line before this one
                stream.flush()?;
                stream.record(line, &[])?;
            }
            Pen::Journal(journal) => return journal.send(line),
        }
        Ok(true)
    }

    /// Hands everything that was kept to the kernel.
    ///
    /// # Errors
    /// It is still kept.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Pen::File(output) | Pen::Stream(output) => output.flush(),
            Pen::Journal(_) => Ok(()),
        }
    }

    /// Opens a file anew, which was rotated away.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        match self {
            Pen::File(file) => file.reopen(),
            Pen::Stream(_) | Pen::Journal(_) => Ok(()),
        }
    }

    /// Bytes of lines that are kept.
    pub(super) fn kept(&self) -> usize {
        match self {
            Pen::File(output) | Pen::Stream(output) => output.kept(),
            Pen::Journal(_) => 0,
        }
    }

    /// Gives up what was kept, and tells how many lines it was.
    pub(super) fn forget(&mut self) -> u64 {
        match self {
            Pen::File(output) | Pen::Stream(output) => output.forget(),
            Pen::Journal(_) => 0,
        }
    }
}
