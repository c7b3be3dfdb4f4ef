//! Files that are full, moved, emptied or gone, and streams that nobody reads.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder of the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("handyproxy-output-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a scratch folder");
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read(path: &Path) -> String {
    String::from_utf8(std::fs::read(path).expect("a file")).expect("text")
}

/// Runs it where a folder holds no more than so many KiB: in a thread with mounts of its own.
fn in_tiny_folder(kib: u32, run: impl FnOnce(&Path) + Send) {
    let folder = Folder::new();
    let path = &folder.0;
    let ran = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root may have mounts of its own");
                let mount = |words: &[&str]| {
                    let done = Command::new("mount").args(words).arg(path).status().expect("mount, of util-linux");
                    assert!(done.success(), "mount {words:?}");
                };
                let root = Command::new("mount").args(["--make-rprivate", "/"]).status().expect("mount");
                assert!(root.success());
                mount(&["-t", "tmpfs", "-o", &format!("size={kib}k"), "none"]);
                run(path);
            })
            .join()
    });
    if let Err(panic) = ran {
        std::panic::resume_unwind(panic);
    }
}

/// A line of so many bytes.
fn line(letter: char, length: usize) -> Vec<u8> {
    let mut line = letter.to_string().repeat(length - 1).into_bytes();
    line.push(b'\n');
    line
}

/// Every line is of one letter, and as long as it was.
fn expect_whole(text: &str, length: usize) {
    assert!(text.ends_with('\n'), "a torn line at the end");
    for line in text.lines() {
        let first = line.chars().next().expect("no empty line");
        assert!(line.len() == length - 1 && line.chars().all(|c| c == first), "torn: {}", line.len());
    }
}

#[test]
fn what_is_there_stays_or_goes_as_is_asked_for() {
    let folder = Folder::new();
    let path = folder.file("a/b/log");
    for (append, wanted) in [(true, "1"), (true, "11"), (false, "1")] {
        let mut output = Output::open(Some(&path), append).expect("a file");
        output.record(b"1", b"").expect("room");
        assert_eq!(output.length(), wanted.len() as u64);
        output.flush().expect("room");
        assert_eq!(read(&path), wanted);
    }
    let mode = |path: &Path| std::fs::metadata(path).expect("it was made").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&folder.file("a")), mode(&folder.file("a/b"))), (0o640, 0o750, 0o750));
    assert_eq!(Output::create(&path).expect_err("it is there").kind(), io::ErrorKind::AlreadyExists);
    Output::create(&folder.file("c/log")).expect("it is not there");
}

#[test]
fn records_are_written_in_their_order_however_they_are_brought() {
    let folder = Folder::new();
    let path = folder.file("log");
    let mut output = Output::open(Some(&path), true).expect("a file");
    output.record(b"1", b"2").expect("room");
    output.room().extend_from_slice(b"3");
    output.added().expect("room");
    assert_eq!(read(&path), "", "they are gathered");
    let long = vec![b'4'; GATHER];
    output.record(b"head", &long).expect("room");
    assert_eq!(read(&path), format!("123head{}", "4".repeat(GATHER)));
    for _ in 0..3 {
        output.room().extend_from_slice(&long[..GATHER / 2]);
        output.added().expect("room");
    }
    assert_eq!(std::fs::metadata(&path).expect("a file").len(), (7 + 2 * GATHER) as u64);
    assert_eq!(output.length(), (7 + 2 * GATHER + GATHER / 2) as u64);
    assert_eq!(output.forget(), 1);
    output.flush().expect("nothing");
    assert_eq!(output.length(), (7 + 2 * GATHER) as u64);
}

#[test]
fn a_full_disk_tears_no_record_and_none_is_there_twice_when_there_is_room() {
    // one that is copied, and one that is not
    for length in [1000, 20_000] {
        in_tiny_folder(64, |folder| {
            let (path, filler) = (folder.join("log"), folder.join("filler"));
            let mut output = Output::open(Some(&path), true).expect("a file");
            std::fs::write(&filler, vec![0; 30_000]).expect("room");
            let mut taken = 0;
            let error = loop {
                if let Err(error) = output.record(&line('a', length), b"").and_then(|()| {
                    taken += 1;
                    output.flush()
                }) {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            let text = read(&path);
            assert!(!text.is_empty());
            expect_whole(&text, length);
            assert!(output.flush().is_err() || length > GATHER / 16);
            expect_whole(&read(&path), length);
            std::fs::remove_file(&filler).expect("it is there");
            output.record(&line('b', length), b"").expect("room");
            output.flush().expect("room");
            let text = read(&path);
            expect_whole(&text, length);
            assert_eq!(text.matches("a\n").count(), taken, "those that were taken, once each");
            assert!(text.ends_with("b\n"));
            assert_eq!(output.length(), text.len() as u64);
        });
    }
}

#[test]
fn a_record_that_is_refused_is_not_kept_and_those_before_it_are() {
    in_tiny_folder(128, |folder| {
        let path = folder.join("log");
        let mut output = Output::open(Some(&path), true).expect("a file");
        let record = line('a', 10_000);
        let mut taken = 0;
        while output.record(&record, b"").is_ok() {
            taken += 1;
        }
        assert_eq!(taken, GATHER / 10_000);
        assert!(output.record(&record, b"").is_err(), "it is tried again, and refused again");
        output.room().extend_from_slice(&record);
        assert!(output.added().is_err());
        assert_eq!(output.gathered.len(), taken * 10_000);
        assert_eq!(read(&path), "");
        assert_eq!(output.forget(), taken as u64);
        output.record(&record, b"").expect("it is gathered");
        output.flush().expect("room");
        assert_eq!(read(&path).len(), 10_000);
    });
}

#[test]
fn a_remark_is_written_at_once_or_not_at_all_and_is_no_record() {
    let folder = Folder::new();
    let mut output = Output::open(Some(&folder.file("log")), true).expect("a file");
    output.record(b"1\n", b"").expect("room");
    output.remark(b"# 2\n").expect("room");
    assert_eq!((read(&folder.file("log")).as_str(), output.forget()), ("1\n# 2\n", 0));
    let mut full = Output::open(Some(Path::new("/dev/full")), true).expect("a disk that is always full");
    full.record(b"1\n", b"").expect("it is gathered");
    for _ in 0..2 {
        assert_eq!(full.remark(b"# 2\n").expect_err("no room").kind(), io::ErrorKind::StorageFull);
    }
    assert_eq!(full.gathered, b"1\n");
    assert_eq!(full.forget(), 1);
}

#[test]
fn what_others_have_emptied_is_not_filled_with_zeros() {
    in_tiny_folder(64, |folder| {
        let (path, filler) = (folder.join("log"), folder.join("filler"));
        let mut output = Output::open(Some(&path), true).expect("a file");
        for _ in 0..20 {
            output.record(&line('a', 1000), b"").expect("gathered");
        }
        output.flush().expect("room");
        // as logrotate's copytruncate does
        OpenOptions::new().write(true).open(&path).expect("a file").set_len(0).expect("a file");
        std::fs::write(&filler, vec![0; 50_000]).expect("room");
        for _ in 0..20 {
            output.record(&line('b', 1000), b"").expect("gathered");
        }
        assert!(output.flush().is_err());
        assert_eq!(std::fs::metadata(&path).expect("a file").len(), 0);
        std::fs::remove_file(&filler).expect("it is there");
        output.flush().expect("room");
        expect_whole(&read(&path), 1000);
    });
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let folder = Folder::new();
    let (path, moved) = (folder.file("log"), folder.file("log.1"));
    let mut output = Output::open(Some(&path), false).expect("a file");
    let mut say = |text: &str, late: bool| {
        if late {
            output.look_soon();
        }
        output.record(text.as_bytes(), b"")?;
        output.flush()
    };
    say("1", false).expect("room");
    std::fs::rename(&path, &moved).expect("it is there");
    say("2", false).expect("nobody has looked yet");
    assert_eq!(read(&moved), "12");
    say("3", true).expect("room");
    assert_eq!((read(&path), read(&moved)), ("3".to_owned(), "12".to_owned()));
    std::fs::remove_file(&path).expect("it is there");
    say("4", true).expect("room");
    assert_eq!(read(&path), "4");
    // the folder goes too, and comes back with the file
    std::fs::remove_dir_all(&folder.0).expect("it is there");
    say("5", true).expect("room");
    assert_eq!(read(&path), "5");
    // where no new one can be made nothing goes to the old one: it counts as not written
    std::fs::remove_dir_all(&folder.0).expect("it is there");
    std::fs::write(&folder.0, "no folder").expect("a free name");
    assert!(say("6", true).is_err());
    assert!(say("", false).is_err(), "it is not forgotten");
    std::fs::remove_file(&folder.0).expect("it is there");
    say("7", false).expect("room");
    assert_eq!(read(&path), "67");
}

#[test]
fn a_file_is_opened_anew_when_that_is_asked_for() {
    let folder = Folder::new();
    let (path, moved) = (folder.file("log"), folder.file("log.1"));
    let mut output = Output::open(Some(&path), true).expect("a file");
    output.record(b"1", b"").expect("gathered");
    output.flush().expect("room");
    std::fs::rename(&path, &moved).expect("it is there");
    output.reopen().expect("room");
    output.record(b"2", b"").expect("gathered");
    output.flush().expect("room");
    assert_eq!((read(&path), read(&moved)), ("2".to_owned(), "1".to_owned()));
}

#[test]
fn a_stream_that_is_closed_is_an_error_and_one_that_is_full_is_waited_for() {
    let (reader, writer) = io::pipe().expect("a pipe");
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&writer, flags).expect("a pipe");
    let mut output = Output::stream(writer.into()).expect("a pipe");
    let reading = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        let mut reader = reader;
        let mut seen = vec![0; 3 * GATHER + 2];
        reader.read_exact(&mut seen).expect("all of it");
        seen
    });
    output.record(b"1", b"").expect("gathered");
    output.record(b"", &vec![b'2'; 3 * GATHER]).expect("somebody reads");
    output.record(b"3", b"").expect("gathered");
    output.flush().expect("somebody reads");
    let seen = reading.join().expect("it reads");
    assert_eq!((seen[0], seen[3 * GATHER + 1]), (b'1', b'3'));
    assert!(seen[1..=3 * GATHER].iter().all(|&byte| byte == b'2'));
    // a child that another test has begun holds the pipe too, until it is another program
    let start = Instant::now();
    let error = loop {
        output.record(b"4", b"").expect("gathered");
        match output.flush() {
            Err(error) => break error,
            Ok(()) => assert!(start.elapsed() < Duration::from_secs(30), "somebody reads"),
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(output.record(b"", &vec![b'5'; GATHER]).expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(output.forget(), 1);
}

#[test]
fn a_stream_that_fails_half_way_goes_on_where_it_was() {
    in_tiny_folder(64, |folder| {
        // as stdout is a file of somebody else's
        let (path, filler) = (folder.join("log"), folder.join("filler"));
        let file = OpenOptions::new().create(true).append(true).open(&path).expect("a file");
        let mut output = Output::stream(file.into()).expect("a file");
        for letter in ['a', 'b'] {
            std::fs::write(&filler, vec![0; 20_000]).expect("room");
            while output.record(&line(letter, 3000), b"").and_then(|()| output.flush()).is_ok() {}
            // begun, and not copied
            output.record(&line(letter, 3000), b"").expect("gathered");
            assert!(output.flush().is_err());
            let long = line('c', 20_000);
            let refused = output.record(&long, b"").is_err();
            std::fs::remove_file(&filler).expect("it is there");
            output.flush().expect("room");
            assert!(refused);
            expect_whole(&read(&path), 3000);
            let whole = read(&path).len();
            // a record that is long, and torn
            let torn = output.record(&line('d', 64_000), b"");
            assert!(torn.is_ok(), "its rest is kept: {torn:?}");
            assert!(output.flush().is_err());
            let begun = read(&path).len() - whole;
            File::options().write(true).open(&path).expect("a file").set_len(0).expect("a file");
            output.flush().expect("room");
            assert_eq!(read(&path), format!("{}\n", "d".repeat(64_000 - begun - 1)));
            File::options().write(true).open(&path).expect("a file").set_len(0).expect("a file");
        }
    });
}

#[test]
fn the_record_that_a_stream_tears_goes_on_where_it_was() {
    // as much as is gathered, but not a whole number of records
    in_tiny_folder(u32::try_from(GATHER / 1024).expect("small"), |folder| {
        let path = folder.join("log");
        let file = OpenOptions::new().create(true).append(true).open(&path).expect("a file");
        let mut output = Output::stream(file.into()).expect("a file");
        for _ in 0..=GATHER / 10_000 {
            output.record(&line('a', 10_000), b"").expect("gathered, or begun");
        }
        assert_eq!(read(&path).len(), GATHER);
        assert!(output.flush().is_err());
        File::options().write(true).open(&path).expect("a file").set_len(0).expect("a file");
        output.flush().expect("room");
        let rest = 10_000 - GATHER % 10_000;
        assert_eq!(read(&path).into_bytes(), line('a', rest));
    });
}
