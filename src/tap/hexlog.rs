//! Writes the log of prox.py: a line per read, all sessions in one file, or on stdout.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::output::{self, Output};
use super::scribe::Scribe;
use super::{Record, What};
use crate::config::TapSettings;
use crate::format::hexlog::{self, Line};

/// The file in a folder.
const NAME: &str = "hexlog.log";

pub(super) struct Hexlog {
    path: Option<PathBuf>,
    output: Output,
}

impl Hexlog {
    pub(super) fn open(settings: &TapSettings) -> io::Result<Hexlog> {
        let path = settings.path.as_deref().map(|path| output::place(path, NAME)).transpose()?;
        let output = Output::open(path.as_deref(), settings.append)?;
        let mut hexlog = Hexlog { path, output };
        hexlog.end_line()?;
        Ok(hexlog)
    }

    /// Ends what somebody who was killed left unfinished, so that no record of ours is lost with it.
    fn end_line(&mut self) -> io::Result<()> {
        if self.path.as_deref().is_some_and(|path| is_torn(path).unwrap_or(false)) {
            self.output.room().push(b'\n');
            self.output.flush()?;
        }
        Ok(())
    }
}

fn is_torn(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != [b'\n'])
}

impl Scribe for Hexlog {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        let What::Read(dir, chunk) = &record.what else { return Ok(()) };
        let line = Line { at: record.at, client: record.facts.client, dir: *dir, bytes: chunk };
        line.write(self.output.room());
        self.output.added()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn forget(&mut self) -> u64 {
        self.output.forget()
    }

    fn missed(&mut self, records: u64, bytes: u64) -> io::Result<()> {
        hexlog::missed(records, bytes, self.output.room());
        self.output.added()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.output.reopen()?;
        self.end_line()
    }
}

#[cfg(test)]
#[path = "hexlog_tests.rs"]
mod tests;
