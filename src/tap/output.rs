//! One file that is written record by record, or a stream. Records are gathered and handed to the kernel together; a
//! write that fails half-way is taken back, so that the file ends with a whole record. A stream takes nothing back: the
//! rest goes first the next time.
//!
//! A file that was rotated away is noticed and opened anew under its name.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::TapForm;
use crate::sys::process;

/// What is gathered before it is written.
const GATHER: usize = 256 * 1024;
/// How often to see whether the file is still the one of that name.
const LOOK: Duration = Duration::from_secs(5);

/// A file, or a stream.
#[derive(Debug)]
pub struct Output {
    path: Option<PathBuf>,
    file: File,
    gathered: Vec<u8>,
    /// Records in `gathered`.
    records: u64,
    /// Where the last of them ends; what is behind it is being made. 0 <= whole <= gathered.len()
    whole: usize,
    /// The length of the file; `None` where it has none.
    good: Option<u64>,
    looked: Instant,
    /// It is another file than before, or an empty one.
    anew: bool,
    /// How often the kernel has taken something.
    writes: u64,
}

impl Output {
    /// Opens it, for its owner and group alone, and makes its folder; `None` is stdout. What is in it stays if `append`
    /// is set.
    ///
    /// # Errors
    /// Those of open(2) and mkdir(2).
    pub fn open(path: Option<&Path>, append: bool) -> io::Result<Output> {
        let Some(path) = path else { return Output::stream(process::stdout()?) };
        path.parent().map_or(Ok(()), folder)?;
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
        if !append && file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        Output::of(Some(path), file)
    }

    /// Makes the file, which must not be there, and its folder.
    ///
    /// # Errors
    /// Those of open(2) and mkdir(2).
    pub fn create(path: &Path) -> io::Result<Output> {
        path.parent().map_or(Ok(()), folder)?;
        let file = OpenOptions::new().create_new(true).append(true).mode(0o640).open(path)?;
        Output::of(Some(path), file)
    }

    /// Something that is open already, and has no name.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn stream(descriptor: OwnedFd) -> io::Result<Output> {
        Output::of(None, File::from(descriptor))
    }

    /// Of a file that is open, and stays the one that is written whatever becomes of its name.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub(super) fn held(file: File) -> io::Result<Output> {
        let status = file.metadata()?;
        Ok(Output { good: status.is_file().then_some(status.len()), ..Output::of(None, file)? })
    }

    fn of(path: Option<&Path>, file: File) -> io::Result<Output> {
        let status = file.metadata()?;
        let good = (path.is_some() && status.is_file()).then_some(status.len());
        let path = path.map(Path::to_path_buf);
        let looked = Instant::now();
        Ok(Output { path, file, gathered: Vec::new(), records: 0, whole: 0, good, looked, anew: false, writes: 0 })
    }

    /// The length of the file, with what is gathered.
    pub fn length(&self) -> u64 {
        self.good.unwrap_or_default() + self.gathered.len() as u64
    }

    /// Bytes that are gathered, and were not handed to the kernel yet.
    pub fn kept(&self) -> usize {
        self.gathered.len()
    }

    /// How often the kernel has taken something.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// Whether it is a file, of which nothing is there in part.
    pub(super) fn is_file(&self) -> bool {
        self.good.is_some()
    }

    /// What is gathered, and was not handed to the kernel yet.
    pub(super) fn gathered(&self) -> &[u8] {
        &self.gathered
    }

    /// Room for a record that is made in place, behind those that are gathered; [`added`](Output::added) ends it.
    pub fn room(&mut self) -> &mut Vec<u8> {
        self.gathered.truncate(self.whole);
        &mut self.gathered
    }

    /// Whether so much is gathered that it should be handed on before there is more.
    pub(super) fn is_full(&self) -> bool {
        self.gathered.len() >= GATHER
    }

    /// A record was written into [`room`](Output::room), and nothing may fail any more: for those who look at
    /// [`is_full`](Output::is_full) before.
    pub(super) fn noted(&mut self) {
        self.whole = self.gathered.len();
        self.records += 1;
    }

    /// A record was written into [`room`](Output::room).
    ///
    /// # Errors
    /// Those of write(2): the record is gone then, and those before it are kept.
    pub fn added(&mut self) -> io::Result<()> {
        let before = std::mem::replace(&mut self.whole, self.gathered.len());
        self.records += 1;
        if self.gathered.len() < GATHER {
            return Ok(());
        }
        match self.put([&[], &[]]) {
            Ok(()) => self.cleared(),
            // it has begun: its rest goes first the next time
            Err(torn) if torn.taken > before => self.taken(torn.taken),
            Err(torn) => {
                // whoever is told of an error brings the record again
                self.gathered.truncate(before);
                self.records -= 1;
                self.taken(torn.taken);
                return Err(torn.error);
            }
        }
        Ok(())
    }

    /// A record in pieces, the last of which may be long and is not copied then.
    ///
    /// # Errors
    /// Those of write(2): the record was not written at all then, and those before it are kept.
    pub fn record(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        if head.len() + body.len() < GATHER / 16 {
            self.gathered.extend_from_slice(head);
            self.gathered.extend_from_slice(body);
            return self.added();
        }
        self.hand_on([head, body], 1)
    }

    /// A remark, which is no record, and is not kept as one may be: it is in the file when this returns.
    ///
    /// # Errors
    /// Those of write(2): the remark was not written at all then, and the records before it are kept.
    pub(super) fn remark(&mut self, text: &[u8]) -> io::Result<()> {
        self.hand_on([text, &[]], 0)
    }

    /// Hands what was gathered to the kernel, and behind it these pieces, which are so many records.
    fn hand_on(&mut self, [head, body]: [&[u8]; 2], records: u64) -> io::Result<()> {
        match self.put([head, body]) {
            Ok(()) => self.cleared(),
            Err(torn) if torn.taken > self.gathered.len() => {
                let begun = torn.taken - self.gathered.len();
                self.gathered = [head, body].concat().split_off(begun);
                (self.records, self.whole) = (records, self.gathered.len());
            }
            Err(torn) => {
                self.taken(torn.taken);
                return Err(torn.error);
            }
        }
        Ok(())
    }

    /// Hands what was gathered to the kernel.
    ///
    /// # Errors
    /// Those of write(2); it is kept.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        match self.put([&[], &[]]) {
            Ok(()) => self.cleared(),
            Err(torn) => {
                self.taken(torn.taken);
                return Err(torn.error);
            }
        }
        Ok(())
    }

    /// Forgets what was gathered, and tells how many records it was; of a stream, one of them may have begun.
    pub fn forget(&mut self) -> u64 {
        self.gathered.clear();
        self.whole = 0;
        std::mem::take(&mut self.records)
    }

    /// Opens the file of this name anew, and goes on at its end.
    ///
    /// # Errors
    /// Those of open(2); it stays as it was.
    pub fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let new = Output::open(Some(path), true)?;
        (self.file, self.good, self.looked) = (new.file, new.good, new.looked);
        self.anew = true;
        Ok(())
    }

    /// Puts a line before what is gathered.
    pub(super) fn precede(&mut self, line: &[u8]) {
        self.gathered.splice(..0, line.iter().copied());
        self.whole += line.len();
    }

    /// Whether what is written next goes to another file than before, or to one that was emptied; tells it once.
    pub(super) fn is_anew(&mut self) -> bool {
        std::mem::take(&mut self.anew)
    }

    /// Sees whether the file was rotated away; it is opened anew then, or else nothing is written.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) fn look(&mut self) -> io::Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| self.good.is_some() && self.looked.elapsed() >= LOOK) else {
            return Ok(());
        };
        let ours = self.file.metadata()?;
        let same = std::fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (ours.dev(), ours.ino()));
        if same {
            // somebody may have emptied it
            self.anew |= self.good.is_some_and(|good| ours.len() < good);
            (self.good, self.looked) = (Some(ours.len()), Instant::now());
            return Ok(());
        }
        let shown = path.display().to_string();
        self.reopen()?;
        tracing::info!("{shown}: was moved or deleted; goes on in a new file");
        Ok(())
    }

    /// Writes what was gathered and these pieces: all of it, or nothing.
    fn put(&mut self, [head, body]: [&[u8]; 2]) -> Result<(), Torn> {
        self.look().map_err(|error| Torn { taken: 0, error })?;
        write(&mut self.file, &[&self.gathered, head, body], &mut self.good)?;
        self.writes += 1;
        Ok(())
    }

    /// Has the next write look whether the file is still there.
    #[cfg(test)]
    pub(super) fn look_soon(&mut self) {
        self.looked = Instant::now().checked_sub(LOOK).expect("the machine has run for a while");
    }

    fn cleared(&mut self) {
        self.gathered.clear();
        (self.records, self.whole) = (0, 0);
    }

    /// So many bytes of what was gathered cannot be taken back.
    fn taken(&mut self, taken: usize) {
        self.gathered.drain(..taken);
        self.whole = self.gathered.len();
    }
}

/// A write that failed.
#[derive(Debug)]
pub(super) struct Torn {
    /// What was written before it did and could not be taken back.
    taken: usize,
    error: io::Error,
}

impl From<Torn> for io::Error {
    fn from(torn: Torn) -> io::Error {
        torn.error
    }
}

/// Where a tap's only file is: at `path`, or under its name if that is a folder. Folders that are missing are made.
///
/// # Errors
/// Those of mkdir(2).
pub(super) fn place(path: &Path, form: TapForm) -> io::Result<PathBuf> {
    let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir();
    let name = form.file_name().filter(|_| is_folder);
    let file = name.map_or(path.to_owned(), |name| path.join(name));
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

/// All pieces, or none of them where they can be taken back.
///
/// # Errors
/// Those of write(2).
pub(super) fn write(file: &mut File, pieces: &[&[u8]], good: &mut Option<u64>) -> Result<(), Torn> {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = &mut slices[..];
    let mut left = total;
    while left > 0 {
        let error = match file.write_vectored(rest) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(wrote) => {
                left -= wrote;
                IoSlice::advance_slices(&mut rest, wrote);
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // somebody else has made it so: a terminal and its programs share that
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match process::wait_for_room(&*file) {
                Ok(()) => continue,
                Err(error) => error,
            },
            Err(error) => error,
        };
        let mut taken = total - left;
        if taken > 0 && good.is_some() {
            // a torn record would spoil the ones behind it
            if let Ok(length) = take_back(file, taken) {
                (*good, taken) = (Some(length), 0);
            }
        }
        return Err(Torn { taken, error });
    }
    if let Some(good) = good {
        *good += total as u64;
    }
    Ok(())
}

/// Takes the last bytes off a file, and tells its length. It may have been emptied by others meanwhile.
fn take_back(file: &File, taken: usize) -> io::Result<u64> {
    let length = file.metadata()?.len().saturating_sub(taken as u64);
    file.set_len(length).map(|()| length)
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
