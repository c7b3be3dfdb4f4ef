//! Writes packets to a file, to a row of files of which each is closed when it is large or old enough, or to stdout.
//!
//! A plain path without rotation is the file itself; it is written on as a new section. Otherwise a file is named
//! `NAME-YYYYmmdd-HHMMSS.mmm.pcapng` for the time at which it was begun (UTC), and never used again once it is closed.
//! Age is looked at when something is written. A file ends with a whole block: only a machine or a process that dies
//! in the middle of a write leaves less, which is cut off when the file is written on.

mod keeper;
mod place;
mod whole;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::output::{Output, folder};
use super::scribe::Scribe;
use super::{Record, What};
use crate::config::TapSettings;
use crate::format::Dir;
use crate::format::pcapng::{Capture, Event, Maker};
use crate::sys::lock::Lock;
use keeper::Keeper;
use place::{Place, Series};

/// How often to see whether the file is still the one of its name.
const LOOK: Duration = Duration::from_secs(5);
/// How often to try to cut a file that others write.
const CUTS: usize = 3;

/// The scribe.
pub(super) struct Pcapng {
    place: Place,
    rotate_size: Option<u64>,
    rotate_time: Option<Duration>,
    capture: Capture,
    live: Live,
    /// How often the kernel has taken something for files before this one.
    writes: u64,
    keeper: Option<Keeper>,
}

/// The file that is written.
struct Live {
    /// `None` is stdout.
    path: Option<PathBuf>,
    output: Output,
    file: File,
    /// Tells others that the file is not closed.
    _lock: Option<Lock>,
    begun: Instant,
    looked: Instant,
}

impl Pcapng {
    pub(super) fn open(settings: &TapSettings) -> io::Result<Pcapng> {
        let rotates = settings.rotate_size.is_some() || settings.rotate_time.is_some();
        let place = Place::new(settings.path.as_deref(), rotates);
        let keeper = match &place {
            Place::Series(series) if settings.compress || settings.keep > 0 => {
                Some(Keeper::start(series.clone(), settings.compress, settings.keep)?)
            }
            _ => None,
        };
        let mut capture = Capture::default();
        let live = Live::open(&place, settings.append, &mut capture)?;
        let (rotate_size, rotate_time) = (settings.rotate_size, settings.rotate_time);
        Ok(Pcapng { place, rotate_size, rotate_time, capture, live, writes: 0, keeper })
    }

    /// Goes on in another file where it is time for that.
    fn turn(&mut self) -> io::Result<()> {
        let large = self.rotate_size.is_some_and(|size| self.live.output.length() >= size);
        let old = self.rotate_time.is_some_and(|time| self.live.begun.elapsed() >= time);
        if large || old {
            return self.next();
        }
        if self.live.looked.elapsed() >= LOOK { self.look() } else { Ok(()) }
    }

    /// Goes on in another file if this one was moved or deleted.
    fn look(&mut self) -> io::Result<()> {
        let Some(path) = self.live.path.as_ref().filter(|path| !is_at(&self.live.file, path)) else {
            self.live.looked = Instant::now();
            return Ok(());
        };
        let shown = path.display().to_string();
        self.next()?;
        tracing::info!("{shown}: was moved or deleted; goes on in a new file");
        Ok(())
    }

    fn next(&mut self) -> io::Result<()> {
        self.flush()?;
        let next = Live::open(&self.place, true, &mut self.capture)?;
        self.writes += std::mem::replace(&mut self.live, next).output.writes();
        if let Some(keeper) = &self.keeper {
            keeper.wake();
        }
        Ok(())
    }
}

impl Scribe for Pcapng {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        let event = match &record.what {
            What::Opened => Event::Opened,
            What::Read(dir, chunk) => Event::Read(*dir, chunk),
            What::Ended(dir) => Event::Ended(*dir),
            What::Closed(ending) => Event::Closed(ending),
            What::Sent(..) => return Ok(()),
        };
        // all that may fail comes first: afterwards the record counts as written
        self.turn()?;
        if self.live.output.is_full() {
            self.flush()?;
        }
        self.capture.write(record.at, &record.facts, event, self.live.output.room());
        self.live.output.noted();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.live.output.flush()?;
        self.capture.kept();
        Ok(())
    }

    fn forget(&mut self) -> u64 {
        self.capture.lost();
        self.live.output.forget()
    }

    fn missed(&mut self, records: u64, bytes: u64) -> io::Result<()> {
        self.capture.missed(records, bytes);
        Ok(())
    }

    fn skip(&mut self, session: u64, dir: Dir, bytes: u64) {
        self.capture.skip(session, dir, bytes);
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.look()
    }

    fn writes(&self) -> u64 {
        self.writes + self.live.output.writes()
    }
}

impl Live {
    /// Opens the next file, and begins it.
    fn open(place: &Place, append: bool, capture: &mut Capture) -> io::Result<Live> {
        match place {
            Place::Stdout => {
                if io::stdout().is_terminal() {
                    return Err(io::Error::other("packets are not for a terminal: give a path, or a pipe to tshark"));
                }
                Live::begin(None, File::from(crate::sys::process::stdout()?), None, capture)
            }
            Place::File(path) => {
                path.parent().map_or(Ok(()), folder)?;
                let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
                match file.metadata()?.is_file() {
                    true if append => cut(&file, path)?,
                    true => file.set_len(0)?,
                    false => {}
                }
                Live::begin(Some(path.clone()), file, None, capture)
            }
            Place::Series(series) => {
                folder(&series.folder)?;
                let (path, file, lock) = create(series)?;
                Live::begin(Some(path.clone()), file, lock, capture).inspect_err(|_| {
                    // without its first block it is no capture
                    let _ = std::fs::remove_file(&path);
                })
            }
        }
    }

    fn begin(path: Option<PathBuf>, file: File, lock: Option<Lock>, capture: &mut Capture) -> io::Result<Live> {
        let mut output = match path {
            Some(_) => Output::held(file.try_clone()?)?,
            None => Output::open(None, true)?,
        };
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let maker = Maker {
            hardware: std::env::consts::ARCH,
            os: &format!("Linux {}", kernel.trim()),
            application: concat!("handyproxy ", env!("CARGO_PKG_VERSION")),
        };
        capture.begin(&maker, output.room());
        output.noted();
        output.flush()?;
        let now = Instant::now();
        Ok(Live { path, output, file, _lock: lock, begun: now, looked: now })
    }
}

/// Cuts off what is no whole block. What grows meanwhile is not cut: somebody writes it, such as this tap as it was
/// before a reload.
fn cut(file: &File, path: &Path) -> io::Result<()> {
    for _ in 0..CUTS {
        let length = file.metadata()?.len();
        let whole = whole::length(path)?;
        if whole >= length {
            break;
        }
        if file.metadata()?.len() == length {
            return file.set_len(whole);
        }
    }
    Ok(())
}

/// Makes the file for this moment, which nobody else has, and locks it.
fn create(series: &Series) -> io::Result<(PathBuf, File, Option<Lock>)> {
    let mut now = SystemTime::now();
    loop {
        let path = series.at(now);
        match OpenOptions::new().create_new(true).append(true).mode(0o640).open(&path) {
            Ok(file) => {
                let lock = Lock::wait(&file).ok();
                // somebody who keeps house may have been faster than the lock
                if is_at(&file, &path) {
                    return Ok((path, file, lock));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        now += Duration::from_millis(1);
    }
}

/// Whether the file of this name is this one. What is no regular file is left alone.
fn is_at(file: &File, path: &Path) -> bool {
    let Ok(ours) = file.metadata() else { return true };
    let at = std::fs::metadata(path);
    !ours.is_file() || at.is_ok_and(|it| (it.dev(), it.ino()) == (ours.dev(), ours.ino()))
}

#[cfg(test)]
#[path = "pcapng_tests.rs"]
mod tests;
