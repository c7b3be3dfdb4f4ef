//! The scribe: what is in its file after each thing that may happen to it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::Chunk;
use super::*;
use crate::config::{Place, TapForm, WhenFull};
use crate::format::{Dir, Facts};

/// A folder of this test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("handyproxy-hexlog-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a scratch folder");
        Folder(path)
    }

    fn scribe(&self, path: &str, append: bool) -> Hexlog {
        // join would take a slash at the end for nothing
        let path = PathBuf::from(format!("{}/{path}", self.0.display()));
        let settings = TapSettings {
            form: TapForm::Hexlog,
            path: Some(path),
            from: Vec::new(),
            to: Vec::new(),
            when_full: WhenFull::Drop,
            queue: 1 << 20,
            append,
            rotate_size: None,
            rotate_time: None,
            keep: 0,
            compress: false,
            colour: None,
            place: Place::new("test"),
        };
        Hexlog::open(&settings).expect("our folder")
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).expect("a file that was written")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn record(port: u16, what: What) -> Record {
    let facts = Facts {
        id: 1,
        client: ([10, 0, 0, 5], port).into(),
        origin: ([192, 0, 2, 7], 443).into(),
        name: None,
        target: "192.0.2.7:443".to_owned(),
        via: None,
        upstream: None,
        from_port: None,
        local_port: 8443,
    };
    Record { at: 1_500_000_000, facts: Arc::new(facts), what }
}

fn read(port: u16, bytes: &[u8]) -> Record {
    record(port, What::Read(Dir::Up, Chunk::copy(bytes)))
}

#[test]
fn a_record_of_bytes_is_a_line_and_nothing_else_is() {
    let folder = Folder::new();
    let mut scribe = folder.scribe("log", false);
    scribe.write(&record(1, What::Opened)).expect("room");
    scribe.write(&read(1, b"JK")).expect("room");
    scribe.write(&record(1, What::Ended(Dir::Up))).expect("room");
    scribe.write(&record(2, What::Read(Dir::Down, Chunk::copy(b"\n")))).expect("room");
    assert_eq!(folder.read("log"), "", "it is gathered");
    scribe.missed(2, 7).expect("room");
    let wanted = "1.500000 10.0.0.5:1 i 4a4b\n1.500000 10.0.0.5:2 o 0a\n# 2 records, 7 bytes are missing here\n";
    assert_eq!(folder.read("log"), wanted);
}

#[test]
fn a_file_is_emptied_or_written_on() {
    let folder = Folder::new();
    for (append, wanted) in [(false, 1), (true, 2), (false, 1)] {
        let mut scribe = folder.scribe("log", append);
        scribe.write(&read(1, b"x")).expect("room");
        scribe.flush().expect("a disk");
        assert_eq!(folder.read("log").lines().count(), wanted, "append {append}");
    }
}

#[test]
fn behind_a_torn_line_a_new_one_begins() {
    let folder = Folder::new();
    fs::write(folder.0.join("log"), "1.0 10.0.0.9:9 i 00").expect("a scratch file");
    let mut scribe = folder.scribe("log", true);
    scribe.write(&read(1, b"x")).expect("room");
    scribe.flush().expect("a disk");
    assert_eq!(folder.read("log"), "1.0 10.0.0.9:9 i 00\n1.500000 10.0.0.5:1 i 78\n");
}

#[test]
fn a_folder_gets_a_file_of_its_own_and_missing_ones_are_made() {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("there")).expect("our folder");
    for (path, wanted) in [("a/b/", "a/b/hexlog.log"), ("there", "there/hexlog.log"), ("c/d", "c/d")] {
        let mut scribe = folder.scribe(path, false);
        scribe.write(&read(1, b"x")).expect("room");
        scribe.flush().expect("a disk");
        assert_eq!(folder.read(wanted), "1.500000 10.0.0.5:1 i 78\n", "{path}");
    }
}

#[test]
fn a_file_that_was_rotated_away_is_left_for_a_new_one() {
    let folder = Folder::new();
    let mut scribe = folder.scribe("log", false);
    scribe.write(&read(1, b"x")).expect("room");
    scribe.flush().expect("a disk");
    fs::rename(folder.0.join("log"), folder.0.join("log.1")).expect("our file");
    scribe.reopen().expect("our folder");
    scribe.write(&read(2, b"y")).expect("room");
    scribe.flush().expect("a disk");
    assert_eq!(folder.read("log.1"), "1.500000 10.0.0.5:1 i 78\n");
    assert_eq!(folder.read("log"), "1.500000 10.0.0.5:2 i 79\n");
}

#[test]
fn a_record_that_cannot_be_written_is_not_kept_to_be_written_twice() {
    let folder = Folder::new();
    std::os::unix::fs::symlink("/dev/full", folder.0.join("log")).expect("our folder");
    let mut scribe = folder.scribe("log", false);
    let large = vec![7; 100 * 1024];
    scribe.write(&read(1, &large)).expect("it is gathered");
    for _ in 0..3 {
        scribe.write(&read(2, &large)).expect_err("the disk is full");
    }
    assert_eq!(scribe.forget(), 1, "the one that was gathered");
}

#[test]
fn a_file_of_somebody_else_is_not_emptied() {
    let folder = Folder::new();
    let opens = |text: &str| {
        fs::write(folder.0.join("log"), text).expect("our folder");
        check(&folder.0.join("log"))
    };
    for ours in ["", "# 3 records, 9 bytes are missing here\n", "1795219918.323821 127.0.0.1:45484 o 48\n"] {
        opens(ours).unwrap_or_else(|error| panic!("{ours:?}: {error}"));
    }
    for other in ["precious", "1795219918", "12 monkeys", "\0"] {
        let error = opens(other).expect_err(other);
        assert_eq!(error.to_string(), "is no hex log, and so it is not emptied");
    }
    check(&folder.0.join("none")).expect("it is made");
}
