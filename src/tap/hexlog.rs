//! Writes the log of prox.py: a line per read, all sessions in one file, or on stdout.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::output::{self, Output};
use super::scribe::Scribe;
use super::{Record, What};
use crate::config::TapSettings;
use crate::format::hexlog::{self, Line};

pub(super) struct Hexlog {
    path: Option<PathBuf>,
    output: Output,
}

impl Hexlog {
    pub(super) fn open(settings: &TapSettings) -> io::Result<Hexlog> {
        let path = settings.path.as_deref().map(|path| output::place(path, settings.form)).transpose()?;
        if let Some(path) = &path {
            if settings.append { end_line(path) } else { check(path) }?;
        }
        let output = Output::open(path.as_deref(), settings.append)?;
        Ok(Hexlog { path, output })
    }
}

/// A file that is no hex log is not ours to empty.
fn check(path: &Path) -> io::Result<()> {
    // what is no file has nothing to lose, and may not be read at all
    if !std::fs::metadata(path).is_ok_and(|it| it.is_file()) {
        return Ok(());
    }
    let mut first = Vec::new();
    std::fs::File::open(path)?.take(24).read_to_end(&mut first)?;
    // a remark, or a time with its point
    let digits = first.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_ours = first.is_empty() || first[0] == b'#' || (digits > 0 && first[digits..].starts_with(b"."));
    if is_ours { Ok(()) } else { Err(io::Error::other("is no hex log, and so it is not emptied")) }
}

/// Ends the line that somebody who was killed has left unfinished: ours would be lost with it.
fn end_line(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
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
        let mut remark = Vec::new();
        hexlog::missed(records, bytes, &mut remark);
        self.output.remark(&remark)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.path.as_deref().map_or(Ok(()), end_line)?;
        self.output.reopen()
    }

    fn writes(&self) -> u64 {
        self.output.writes()
    }
}

#[cfg(test)]
#[path = "hexlog_tests.rs"]
mod tests;
