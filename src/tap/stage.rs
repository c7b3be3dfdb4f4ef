//! What tests of scribes are written with: a folder that goes again, settings, and sessions.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::scribe::Scribe;
use super::{Chunk, Record, What};
use crate::close::{By, End};
use crate::config::{Place, TapForm, TapSettings, WhenFull};
use crate::format::{Dir, Ending, Facts};

/// A folder, which goes with all that is in it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("handyproxy-tap-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("our folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// How many of its files this process has open.
    pub(super) fn open(&self) -> usize {
        let links = fs::read_dir("/proc/self/fd").expect("our descriptors");
        links.filter(|link| link.as_ref().is_ok_and(|link| is_below(&link.path(), &self.0))).count()
    }
}

/// Others open and close files meanwhile.
fn is_below(link: &Path, folder: &Path) -> bool {
    fs::read_link(link).is_ok_and(|file| file.starts_with(folder))
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn settings(form: TapForm, path: &Path) -> TapSettings {
    TapSettings {
        form,
        path: Some(path.to_owned()),
        from: Vec::new(),
        to: Vec::new(),
        when_full: WhenFull::Drop,
        queue: 1 << 20,
        append: true,
        rotate_size: None,
        rotate_time: None,
        keep: 0,
        compress: false,
        colour: None,
        place: Place::new("-tap"),
    }
}

/// A session that tells a scribe what happens.
#[derive(Clone)]
pub(super) struct Session(Arc<Facts>);

impl Session {
    /// From this port of this machine, to port 19090 of it.
    pub(super) fn new(id: u64, port: u16) -> Session {
        Session::between(id, &format!("127.0.0.1:{port}"), "127.0.0.1:19090")
    }

    pub(super) fn between(id: u64, client: &str, origin: &str) -> Session {
        Session(Arc::new(Facts {
            id,
            client: client.parse().expect("an address"),
            origin: origin.parse().expect("an address"),
            name: None,
            target: origin.to_owned(),
            via: None,
            upstream: None,
            from_port: Some(34408),
            local_port: 18000,
        }))
    }

    pub(super) fn record(&self, what: What) -> Record {
        // 12:45:18.323 on 21 November 2026, UTC
        Record { at: 1_795_265_118_323_000_000, facts: self.0.clone(), what }
    }

    pub(super) fn tell(&self, scribe: &mut impl Scribe, what: What) {
        scribe.write(&self.record(what)).expect("a file that can be written");
    }
}

pub(super) fn read(dir: Dir, bytes: &[u8]) -> What {
    What::Read(dir, Chunk::copy(bytes))
}

pub(super) fn closed(end: End, by: By) -> What {
    let lasted = Duration::from_millis(22);
    What::Closed(Box::new(Ending { end, by, error: None, up: 6, down: 14, lasted }))
}

/// The session of the golden files.
pub(super) fn banner() -> Vec<What> {
    vec![
        What::Opened,
        read(Dir::Down, b"hello banner\r\n"),
        What::Sent(Dir::Down, 14),
        read(Dir::Up, b"abc\0\xff\n"),
        What::Sent(Dir::Up, 6),
        What::Ended(Dir::Up),
        What::Sent(Dir::Up, 0),
        closed(End::Done, By::Client),
    ]
}
