//! Keeps house among the closed files of a row, in a thread of its own, so that writing goes on: compresses them, and
//! deletes the oldest beyond those that are kept.
//!
//! A file that is being written is locked by whoever writes it, this process or another: it is left alone, as is every
//! name that is none of the row's to the letter. What was left half-done is done again, so a process may end at any time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::is_at;
use super::place::{Series, State};
use crate::sys::lock::Lock;

/// zstd's own choice: some hundred MB/s.
const LEVEL: i32 = 3;
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
        let mut found = self.found()?;
        found.sort();
        let mut closed: Vec<String> = found.into_iter().filter(|time| !self.is_written(time)).collect();
        if self.keep > 0 && closed.len() > self.keep {
            for time in closed.drain(..closed.len() - self.keep) {
                for state in [State::Plain, State::Compressed] {
                    removed(&self.series.path(&time, state))?;
                }
            }
        }
        for time in closed.iter().filter(|_| self.compress) {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.compress(time)?;
        }
        Ok(())
    }

    /// The times of all files of the row. Halves are deleted, unless somebody is at work on them.
    fn found(&self) -> io::Result<Vec<String>> {
        let mut times = Vec::new();
        let mut halves = Vec::new();
        for entry in fs::read_dir(&self.series.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            match self.series.read(&name) {
                Some((time, State::Half)) => halves.push(time.to_owned()),
                Some((time, _)) if entry.file_type()?.is_file() => times.push(time.to_owned()),
                _ => {}
            }
        }
        for time in halves.iter().filter(|time| !self.is_written(time)) {
            removed(&self.series.path(time, State::Half))?;
        }
        times.dedup();
        Ok(times)
    }

    /// Whether somebody holds the file of that time.
    fn is_written(&self, time: &str) -> bool {
        match File::open(self.series.path(time, State::Plain)) {
            Ok(file) => !matches!(Lock::take(&file), Ok(Some(_))),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn compress(&self, time: &str) -> io::Result<()> {
        let [plain, half, whole] =
            [State::Plain, State::Half, State::Compressed].map(|state| self.series.path(time, state));
        let mut from = match File::open(&plain) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let Some(_lock) = Lock::take(&from)? else { return Ok(()) };
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

/// Deletes a file, if it is there.
fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
