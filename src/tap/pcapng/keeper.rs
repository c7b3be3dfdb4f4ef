//! Keeps house among the closed files of a row, in a thread of its own, so that writing goes on: compresses them, and
//! deletes the oldest beyond those that are kept.
//!
//! A file that is being written is locked by whoever writes it, this process or another: it is left alone, as is every
//! name that is none of the row's to the letter. What was left half-done is done again, so a process may end at any time.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::is_at;
use super::place::{Series, State};
use crate::sys::lock::Lock;

/// zstd's own choice: some hundred MB/s.
const LEVEL: i32 = 3;
/// How long a file may be empty before whoever made it has died.
const NEW: Duration = Duration::from_secs(60);
/// What is compressed between two looks at whether to stop.
const PIECE: usize = 1 << 20;

/// The thread; stops when dropped, in the middle of a file if need be.
pub(super) struct Keeper {
    wake: Option<SyncSender<()>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct House {
    series: Series,
    compress: bool,
    keep: usize,
    stop: Arc<AtomicBool>,
    /// Somebody was told that it does not work.
    told: bool,
}

impl Keeper {
    /// Starts it; it begins with what earlier processes left.
    pub(super) fn start(series: Series, compress: bool, keep: usize) -> io::Result<Keeper> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut house = House { series, compress, keep, stop: stop.clone(), told: false };
        // one call that waits is as good as many
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new().name("tap-keeper".to_owned()).spawn(move || house.run(&woken))?;
        Ok(Keeper { wake: Some(wake), stop, thread: Some(thread) })
    }

    /// A file was closed.
    pub(super) fn wake(&self) {
        if let Some(wake) = &self.wake {
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl House {
    fn run(&mut self, woken: &Receiver<()>) {
        loop {
            match self.tidy() {
                Ok(()) => self.told = false,
                Err(error) if !std::mem::replace(&mut self.told, true) => {
                    tracing::error!("closed captures in {}: {error}; tried again later", self.series.folder.display());
                }
                Err(_) => {}
            }
            if woken.recv().is_err() {
                return;
            }
        }
    }

    fn tidy(&self) -> io::Result<()> {
        loop {
            let mut closed = self.closed()?;
            while self.keep > 0 && closed.len() > self.keep {
                if let Some((time, _)) = closed.pop_first() {
                    self.delete(&time)?;
                }
            }
            let plain = closed.iter().find(|(_, plain)| self.compress && **plain);
            // while one is compressed others are closed: what is kept is counted again
            match plain {
                Some((time, _)) if !self.stop.load(Ordering::Relaxed) => self.compress(time)?,
                _ => return Ok(()),
            }
        }
    }

    /// The times of all closed files of the row, in their order, and whether there is a plain file. Halves are deleted.
    fn closed(&self) -> io::Result<BTreeMap<String, bool>> {
        let mut closed = BTreeMap::new();
        // a bare file name is in the folder without a name
        let folder = if self.series.folder.as_os_str().is_empty() { Path::new(".") } else { &self.series.folder };
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((time, state)) = self.series.read(&name).filter(|_| is_file(&entry)) else { continue };
            // it was made just now, and is locked before anything is in it: looked at first, for it may be by then
            let is_new = state == State::Plain && is_new(&entry);
            if is_new || self.is_written(time)? {
                continue;
            }
            if state == State::Half {
                let _lock = self.hold(time)?;
                removed(&entry.path())?;
            } else {
                *closed.entry(time.to_owned()).or_default() |= state == State::Plain;
            }
        }
        Ok(closed)
    }

    /// Whether somebody holds the file of that time.
    fn is_written(&self, time: &str) -> io::Result<bool> {
        match File::open(self.series.path(time, State::Plain)) {
            Ok(file) => Lock::is_held(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps others who keep house away from a closed file, when they are done with it.
    fn hold(&self, time: &str) -> io::Result<Option<Lock>> {
        match File::open(self.series.path(time, State::Plain)) {
            Ok(file) => Lock::wait(&file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn delete(&self, time: &str) -> io::Result<()> {
        let _lock = self.hold(time)?;
        removed(&self.series.path(time, State::Plain))?;
        removed(&self.series.path(time, State::Compressed))
    }

    fn compress(&self, time: &str) -> io::Result<()> {
        let [plain, half, whole] =
            [State::Plain, State::Half, State::Compressed].map(|state| self.series.path(time, state));
        let mut from = match File::open(&plain) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        // another one who keeps house may be at it
        let _lock = Lock::wait(&from)?;
        if !is_at(&from, &plain) {
            return Ok(());
        }
        let done = self.encode(&mut from, &half).and_then(|done| {
            if done {
                fs::rename(&half, &whole)?;
            }
            Ok(done)
        });
        match done {
            Ok(true) => removed(&plain),
            done => {
                removed(&half)?;
                done.map(|_| ())
            }
        }
    }

    /// Whether it came to the end before it was told to stop.
    fn encode(&self, from: &mut File, to: &Path) -> io::Result<bool> {
        let to = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(to)?;
        let mut encoder = zstd::Encoder::new(to, LEVEL)?;
        encoder.include_checksum(true)?;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if io::copy(&mut from.by_ref().take(PIECE as u64), &mut encoder)? == 0 {
                break;
            }
        }
        // the plain file is deleted next: this one has to be on the disk
        encoder.finish()?.sync_all()?;
        Ok(true)
    }
}

fn is_file(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// Whether it is empty, and was made just now.
fn is_new(entry: &fs::DirEntry) -> bool {
    // one of the future is so too: the clock was set
    let is_young = |it: &fs::Metadata| it.modified().is_ok_and(|at| at.elapsed().map_or(true, |age| age < NEW));
    entry.metadata().is_ok_and(|it| it.len() == 0 && is_young(&it))
}

/// Deletes a file, if it is there.
fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::super::stage::Folder;
    use super::super::place::Place;
    use super::*;

    #[test]
    fn a_file_that_was_made_just_now_is_not_closed() {
        let folder = Folder::new();
        let Place::Series(series) = Place::new(Some(&folder.path("cap")), true) else {
            panic!("it is one of rotated files");
        };
        let [closed, new] = ["20261121-001158.023", "20261121-001158.024"];
        fs::write(series.path(closed, State::Plain), "blocks").expect("our folder");
        fs::write(series.path(new, State::Plain), "").expect("our folder");
        let house = House { series, compress: true, keep: 1, stop: Arc::default(), told: false };
        house.tidy().expect("our folder");
        assert_eq!(folder.names(), [format!("cap-{closed}.pcapng.zst"), format!("cap-{new}.pcapng")]);
    }

    #[test]
    fn an_empty_file_that_somebody_who_died_has_left_goes_like_others() {
        let folder = Folder::new();
        let Place::Series(series) = Place::new(Some(&folder.path("cap")), true) else {
            panic!("it is one of rotated files");
        };
        for (time, age) in [("20261121-001158.023", NEW * 2), ("20261121-001158.024", NEW / 2)] {
            let file = File::create(series.path(time, State::Plain)).expect("our folder");
            file.set_modified(SystemTime::now() - age).expect("our file");
        }
        fs::write(series.path("20261121-001158.025", State::Plain), "blocks").expect("our folder");
        let house = House { series, compress: false, keep: 1, stop: Arc::default(), told: false };
        house.tidy().expect("our folder");
        assert_eq!(folder.names(), ["cap-20261121-001158.024.pcapng", "cap-20261121-001158.025.pcapng"]);
    }

    #[test]
    fn a_row_without_a_folder_is_in_the_one_where_we_are() {
        let Place::Series(series) = Place::new(Some(Path::new("no-such-row.pcapng")), true) else {
            panic!("it is one of rotated files");
        };
        let house = House { series, compress: true, keep: 1, stop: Arc::default(), told: false };
        assert!(house.closed().expect("a folder that can be read").is_empty());
    }
}
