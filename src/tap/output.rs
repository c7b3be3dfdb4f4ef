//! One file that is written record by record, or stdout. Records are gathered and handed to the kernel together; a
//! write that fails half-way is taken back, so that the file ends with a whole record.
//!
//! A file that was rotated away is noticed and opened anew under its name.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is gathered before it is written.
const GATHER: usize = 256 * 1024;
/// How often to see whether the file is still the one of that name.
const LOOK: Duration = Duration::from_secs(5);

/// A file, or stdout.
#[derive(Debug)]
pub(super) struct Output {
    path: Option<PathBuf>,
    file: File,
    gathered: Vec<u8>,
    /// How far it is whole records.
    whole: usize,
    records: u64,
    /// The length of the file up to which it is whole; `None` where it has none.
    good: Option<u64>,
    looked: Instant,
}

impl Output {
    /// Opens it, for its owner and group alone; `None` is stdout. What is in it stays if `append` is set.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) fn open(path: Option<&Path>, append: bool) -> io::Result<Output> {
        let file = match path {
            Some(path) => OpenOptions::new().create(true).append(true).mode(0o640).open(path)?,
            None => File::from(crate::sys::process::stdout()?),
        };
        if path.is_some() && !append && file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        Output::of(path, file)
    }

    /// Makes the file, which must not be there.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) fn create(path: &Path) -> io::Result<Output> {
        let file = OpenOptions::new().create_new(true).append(true).mode(0o640).open(path)?;
        Output::of(Some(path), file)
    }

    fn of(path: Option<&Path>, file: File) -> io::Result<Output> {
        let status = file.metadata()?;
        let good = (path.is_some() && status.is_file()).then(|| status.len());
        let path = path.map(Path::to_path_buf);
        Ok(Output { path, file, gathered: Vec::new(), whole: 0, records: 0, good, looked: Instant::now() })
    }

    /// The length of the file, with what is gathered.
    pub(super) fn length(&self) -> u64 {
        self.good.unwrap_or_default() + self.gathered.len() as u64
    }

    /// Room for a record that is made in place, behind those that are gathered; [`added`](Output::added) ends it.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        self.gathered.truncate(self.whole);
        &mut self.gathered
    }

    /// A record was written into [`room`](Output::room).
    ///
    /// # Errors
    /// Those of write(2); this record is taken back, and those before it are kept.
    pub(super) fn added(&mut self) -> io::Result<()> {
        let before = std::mem::replace(&mut self.whole, self.gathered.len());
        self.records += 1;
        if self.gathered.len() < GATHER {
            return Ok(());
        }
        self.flush().inspect_err(|_| {
            self.gathered.truncate(before);
            self.whole = before;
            self.records -= 1;
        })
    }

    /// A record in pieces, the last of which may be long and is not copied then.
    ///
    /// # Errors
    /// Those of write(2); the record was not written at all then.
    pub(super) fn record(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        if head.len() + body.len() < GATHER / 16 {
            let room = self.room();
            room.extend_from_slice(head);
            room.extend_from_slice(body);
            return self.added();
        }
        self.look()?;
        let pieces = [&self.gathered[..self.whole], head, body];
        write(&mut self.file, &pieces, &mut self.good)?;
        self.forget();
        Ok(())
    }

    /// Hands what was gathered to the kernel.
    ///
    /// # Errors
    /// Those of write(2); it is kept.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.whole == 0 {
            return Ok(());
        }
        self.look()?;
        write(&mut self.file, &[&self.gathered[..self.whole]], &mut self.good)?;
        self.forget();
        Ok(())
    }

    /// Forgets what was gathered, and tells how many records it was.
    pub(super) fn forget(&mut self) -> u64 {
        self.gathered.clear();
        self.whole = 0;
        std::mem::take(&mut self.records)
    }

    /// Opens the file of this name anew, and goes on at its end.
    ///
    /// # Errors
    /// Those of open(2); it stays as it was.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let new = Output::open(Some(path), true)?;
        (self.file, self.good, self.looked) = (new.file, new.good, new.looked);
        Ok(())
    }

    /// Whether the file was rotated away; it is opened anew then.
    fn look(&mut self) -> io::Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| self.good.is_some() && self.looked.elapsed() >= LOOK) else {
            return Ok(());
        };
        self.looked = Instant::now();
        let ours = self.file.metadata()?;
        let same = std::fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (ours.dev(), ours.ino()));
        if same {
            // somebody may have emptied it
            self.good = Some(ours.len());
            return Ok(());
        }
        tracing::info!("{}: was moved or deleted; goes on in a new file", path.display());
        self.reopen()
    }
}

/// Where a tap's only file is: at `path`, or under this name if that is a folder. Folders that are missing are made.
///
/// # Errors
/// Those of mkdir(2).
pub(super) fn place(path: &Path, name: &str) -> io::Result<PathBuf> {
    let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir();
    let file = if is_folder { path.join(name) } else { path.to_owned() };
    file.parent().map_or(Ok(()), folder)?;
    Ok(file)
}

/// Makes a folder, and those above it, where it is missing.
///
/// # Errors
/// Those of mkdir(2).
pub(super) fn folder(path: &Path) -> io::Result<()> {
    // a bare file name is in the folder without a name
    if path.as_os_str().is_empty() { Ok(()) } else { DirBuilder::new().recursive(true).mode(0o750).create(path) }
}

/// All pieces, or none of them. A file whose length is known is cut to it when a write is torn.
///
/// # Errors
/// Those of write(2).
pub(super) fn write(file: &mut File, pieces: &[&[u8]], good: &mut Option<u64>) -> io::Result<()> {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = &mut slices[..];
    let mut left = total;
    while left > 0 {
        let wrote = match file.write_vectored(rest) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            wrote => wrote,
        };
        match wrote {
            Ok(wrote) => {
                left -= wrote;
                IoSlice::advance_slices(&mut rest, wrote);
            }
            Err(error) => {
                if let (Some(good), true) = (*good, left < total) {
                    // a torn record would spoil the ones behind it
                    let _ = file.set_len(good);
                }
                return Err(error);
            }
        }
    }
    if let Some(good) = good {
        *good += total as u64;
    }
    Ok(())
}
