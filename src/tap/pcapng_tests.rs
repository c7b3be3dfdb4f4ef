//! Files on a disk: their names, how they follow each other, and what becomes of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pcap_file::pcapng::{Block, PcapNgReader};

use super::super::Chunk;
use super::*;
use crate::close::{By, End};
use crate::config::{TapForm, WhenFull};
use crate::format::{Ending, Facts};

/// A folder that is deleted at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("handyproxy-pcapng-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        // a run that was interrupted may have left it
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a folder of our own");
        Folder(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names in it, in order.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("our folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    fn names_with(&self, end: &str) -> Vec<String> {
        self.names().into_iter().filter(|name| name.ends_with(end)).collect()
    }

    /// Waits until the names are as wanted.
    fn settles(&self, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let start = Instant::now();
        loop {
            let names = self.names();
            if wanted(&names) {
                return names;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{names:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What is in a file, decompressed if need be: sections, and the payload of the client.
    fn read(&self, name: &str) -> (usize, Vec<u8>) {
        let bytes = fs::read(self.at(name)).expect("a file");
        let bytes = if name.ends_with(".zst") { zstd::decode_all(&bytes[..]).expect("a whole file") } else { bytes };
        let mut reader = PcapNgReader::new(&bytes[..]).expect("a section");
        let (mut sections, mut payload) = (1, Vec::new());
        while let Some(block) = reader.next_block() {
            match block.expect("a whole block") {
                Block::SectionHeader(_) => sections += 1,
                // the packets of these tests have headers of 40 bytes, but for SYN, which has no payload
                Block::EnhancedPacket(packet) if packet.data[33] & 2 == 0 => payload.extend(&packet.data[40..]),
                _ => {}
            }
        }
        (sections, payload)
    }
}

fn settings(path: &Path) -> TapSettings {
    TapSettings {
        form: TapForm::Pcapng,
        path: Some(path.to_path_buf()),
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
        place: crate::config::Place::new("here"),
    }
}

fn facts() -> Arc<Facts> {
    let address = |text: &str| text.parse().expect("an address");
    Arc::new(Facts {
        id: 1,
        client: address("10.1.0.2:40001"),
        origin: address("192.0.2.7:80"),
        name: None,
        target: "192.0.2.7:80".to_owned(),
        via: None,
        upstream: None,
        from_port: None,
        local_port: 8443,
    })
}

fn read(facts: &Arc<Facts>, bytes: &[u8]) -> Record {
    Record { at: 1_795_219_918_000_000_000, facts: facts.clone(), what: What::Read(Dir::Up, Chunk::copy(bytes)) }
}

fn closed(facts: &Arc<Facts>) -> Record {
    let ending = Ending { end: End::Done, by: By::Client, error: None, up: 0, down: 0, lasted: Duration::ZERO };
    Record { at: 1_795_219_919_000_000_000, facts: facts.clone(), what: What::Closed(Box::new(ending)) }
}

/// Writes so many pieces of 10000 bytes, each of another letter, and hands them on; returns them.
fn write(scribe: &mut Pcapng, facts: &Arc<Facts>, pieces: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in 0..pieces {
        let bytes = [b'a' + (piece % 26) as u8; 10_000];
        scribe.write(&read(facts, &bytes)).expect("room on the disk");
        scribe.flush().expect("room on the disk");
        all.extend(bytes);
    }
    all
}

#[test]
fn a_plain_path_is_the_file_and_is_written_on_as_a_new_section() {
    let folder = Folder::new();
    let path = folder.at("new/deep/cap.pcapng");
    for (append, sections, pieces) in [(true, 1, 3), (true, 2, 6), (false, 1, 3)] {
        let mut scribe = Pcapng::open(&TapSettings { append, ..settings(&path) }).expect("a file");
        write(&mut scribe, &facts(), 3);
        let (found, payload) = folder.read("new/deep/cap.pcapng");
        assert_eq!((found, payload.len()), (sections, pieces * 10_000));
    }
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::metadata(folder.at("new")).expect("a folder").permissions().mode() & 0o777, 0o750);
}

#[test]
fn a_file_is_readable_as_soon_as_it_is_open() {
    let folder = Folder::new();
    let path = folder.at("cap.pcapng");
    let _scribe = Pcapng::open(&settings(&path)).expect("a file");
    assert_eq!(folder.read("cap.pcapng"), (1, Vec::new()));
}

#[test]
fn what_a_death_in_the_middle_of_a_write_left_is_cut_off_when_the_file_is_written_on() {
    let folder = Folder::new();
    let path = folder.at("cap.pcapng");
    let mut scribe = Pcapng::open(&settings(&path)).expect("a file");
    write(&mut scribe, &facts(), 4);
    // the payload of one packet is a capture itself
    let whole = fs::read(&path).expect("a file");
    scribe.write(&read(&facts(), &whole)).expect("room");
    scribe.flush().expect("room");
    let all = fs::read(&path).expect("a file");
    drop(scribe);
    let cuts = (whole.len() + 1..all.len()).step_by(997).chain([all.len() - 1, all.len() - 4, all.len() - 48]);
    for cut in cuts {
        fs::write(&path, &all[..cut]).expect("a file");
        assert!(whole::length(&path).expect("a capture") < cut as u64, "{cut}");
        let mut scribe = Pcapng::open(&settings(&path)).expect("a file");
        write(&mut scribe, &facts(), 1);
        let (sections, payload) = folder.read("cap.pcapng");
        assert_eq!(sections, 2, "{cut}");
        // the pieces and, where it was whole, the inner capture's beginning
        assert!(payload.len() >= 50_000 && payload.ends_with(&[b'a'; 10_000]), "{cut}");
    }
    fs::write(&path, &all).expect("a file");
    assert_eq!(whole::length(&path).expect("a capture"), all.len() as u64);
}

#[test]
fn what_is_no_capture_is_not_written_on() {
    let folder = Folder::new();
    let path = folder.at("notes.txt");
    for text in ["hello", "somewhat longer than a block would be"] {
        fs::write(&path, text).expect("a file");
        let error = Pcapng::open(&settings(&path)).err().expect("it is refused").to_string();
        assert!(error.contains("notes.txt: is there and is no pcapng file"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("a file"), text);
    }
}

#[test]
fn a_full_disk_is_an_error_at_once() {
    let error = Pcapng::open(&settings(Path::new("/dev/full"))).err().expect("nothing fits");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn files_follow_each_other_by_size_and_each_is_readable_on_its_own() {
    let folder = Folder::new();
    let rotating = TapSettings { rotate_size: Some(64 << 10), ..settings(&folder.at("cap.pcapng")) };
    let mut scribe = Pcapng::open(&rotating).expect("a file");
    let facts = facts();
    let written = write(&mut scribe, &facts, 40);
    scribe.write(&closed(&facts)).expect("room");
    scribe.flush().expect("room");
    let names = folder.names();
    assert_eq!(names.len(), 6, "{names:?}");
    let mut found = Vec::new();
    for name in &names {
        let (sections, payload) = folder.read(name);
        assert_eq!(sections, 1);
        found.extend(payload);
        let size = fs::metadata(folder.at(name)).expect("a file").len();
        assert!(size < (64 << 10) + 11_000, "{name}: {size}");
    }
    assert!(found == written);
}

#[test]
fn files_follow_each_other_by_time() {
    let folder = Folder::new();
    let path = PathBuf::from(format!("{}/", folder.0.display()));
    let rotating = TapSettings { rotate_time: Some(Duration::from_millis(1500)), ..settings(&path) };
    let mut scribe = Pcapng::open(&rotating).expect("a file");
    write(&mut scribe, &facts(), 1);
    std::thread::sleep(Duration::from_millis(1600));
    assert_eq!(folder.names().len(), 1, "nothing is written");
    write(&mut scribe, &facts(), 1);
    let names = folder.names();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("handyproxy-20")), "{names:?}");
}

#[test]
fn closed_files_are_compressed_and_the_oldest_deleted_but_nothing_else_is_touched() {
    let folder = Folder::new();
    let strangers = [
        "cap.pcapng",
        "cap-20200101-000000.000.pcapng.bak",
        "cap-20200101-000000.00.pcapng",
        "other-20200101-000000.000.pcapng",
        "cap-x-20200101-000000.000.pcapng",
        "cap-20200101-000000.000.zst.tmp",
    ];
    for stranger in strangers {
        fs::write(folder.at(stranger), "mine").expect("a file");
    }
    // a folder of such a name is none of ours
    fs::create_dir(folder.at("cap-20200101-000000.000.pcapng")).expect("a folder");
    let rotating =
        TapSettings { rotate_size: Some(64 << 10), compress: true, keep: 3, ..settings(&folder.at("cap.pcapng")) };
    let mut scribe = Pcapng::open(&rotating).expect("a file");
    let written = write(&mut scribe, &facts(), 50);
    let compressed = |names: &[String]| names.iter().filter(|name| name.ends_with("pcapng.zst")).count();
    let names = folder.settles(|names| compressed(names) == 3 && names.len() == strangers.len() + 1 + 3 + 1);
    let others = [&strangers[..], &["cap-20200101-000000.000.pcapng"]].concat();
    let ours: Vec<_> = names.iter().filter(|name| !others.contains(&name.as_str())).collect();
    let mut found = Vec::new();
    for name in &ours {
        found.extend(folder.read(name).1);
    }
    assert!(written.ends_with(&found) && found.len() > 200_000, "the newest are kept: {}", found.len());
    assert!(ours[3].ends_with(".pcapng") && ours[..3].iter().all(|name| name.ends_with(".zst")), "{ours:?}");
    assert_eq!(fs::metadata(folder.at(ours[0])).expect("a file").permissions().mode() & 0o777, 0o640);
    for stranger in strangers {
        assert_eq!(fs::read_to_string(folder.at(stranger)).expect("a file"), "mine");
    }
}

#[test]
fn what_an_earlier_process_left_is_put_in_order() {
    let folder = Folder::new();
    let rotating = TapSettings { rotate_size: Some(64 << 10), compress: true, ..settings(&folder.at("cap.pcapng")) };
    let without = TapSettings { compress: false, ..rotating.clone() };
    let mut scribe = Pcapng::open(&without).expect("a file");
    let written = write(&mut scribe, &facts(), 15);
    drop(scribe);
    let left = folder.names();
    assert_eq!(left.len(), 3);
    // one was being compressed, one had been, and of one only the half is there
    fs::write(folder.at(&format!("{}.zst.tmp", left[0])), "half").expect("a file");
    fs::write(folder.at(&format!("{}.zst", left[1])), "whole").expect("a file");
    fs::write(folder.at("cap-20200101-000000.000.pcapng.zst.tmp"), "half").expect("a file");
    let _scribe = Pcapng::open(&rotating).expect("a file");
    let names =
        folder.settles(|names| names.iter().filter(|name| name.ends_with(".zst")).count() == 3 && names.len() == 4);
    let found: Vec<u8> = names.iter().flat_map(|name| folder.read(name).1).collect();
    assert!(found == written);
    assert_eq!(folder.names_with(".tmp"), [""; 0]);
}

#[test]
fn two_of_the_same_name_leave_each_others_files_alone() {
    let folder = Folder::new();
    let rotating =
        TapSettings { rotate_size: Some(64 << 10), compress: true, keep: 1, ..settings(&folder.at("cap.pcapng")) };
    let mut scribes = [0, 1].map(|_| Pcapng::open(&rotating).expect("a file"));
    let live = |scribes: &[Pcapng; 2]| scribes.each_ref().map(|it| it.live.path.clone().expect("a path"));
    for _ in 0..12 {
        for scribe in &mut scribes {
            write(scribe, &facts(), 2);
        }
        let paths = live(&scribes);
        assert!(paths[0] != paths[1] && paths.iter().all(|path| path.exists()), "{paths:?}");
    }
    folder.settles(|names| names.len() == 3 && names.iter().filter(|name| name.ends_with(".zst")).count() == 1);
    assert!(live(&scribes).iter().all(|path| path.exists()));
}

#[test]
fn a_file_that_was_moved_away_is_followed_by_a_new_one_that_begins_like_one() {
    let folder = Folder::new();
    let facts = facts();
    for (name, rotate_size) in [("cap.pcapng", None), ("row.pcapng", Some(1 << 30))] {
        let path = folder.at(name);
        let mut scribe = Pcapng::open(&TapSettings { rotate_size, ..settings(&path) }).expect("a file");
        scribe.reopen().expect("nothing to do");
        write(&mut scribe, &facts, 2);
        let live = scribe.live.path.clone().expect("a path");
        fs::rename(&live, folder.at("moved")).expect("our folder");
        // names of a row differ by the millisecond
        std::thread::sleep(Duration::from_millis(2));
        scribe.write(&read(&facts, b"late")).expect("room");
        scribe.reopen().expect("room");
        write(&mut scribe, &facts, 1);
        let (_, old) = folder.read("moved");
        assert!(old.len() == 20_004 && old.ends_with(b"late"), "what was gathered goes where it belongs");
        let new = scribe.live.path.clone().expect("a path");
        assert_eq!(new == live, rotate_size.is_none());
        assert_eq!(folder.read(new.file_name().expect("a name").to_str().expect("text")).1.len(), 10_000);
    }
}

#[test]
fn a_file_that_was_moved_away_is_not_written_on_where_no_new_one_can_be_made() {
    let folder = Folder::new();
    let facts = facts();
    let mut scribe = Pcapng::open(&settings(&folder.at("cap.pcapng"))).expect("a file");
    fs::rename(folder.at("cap.pcapng"), folder.at("moved")).expect("our file");
    fs::create_dir(folder.at("cap.pcapng")).expect("our folder");
    scribe.live.looked -= LOOK;
    for _ in 0..2 {
        assert!(scribe.write(&read(&facts, b"lost")).is_err(), "nobody reads it there");
    }
    fs::remove_dir(folder.at("cap.pcapng")).expect("our folder");
    write(&mut scribe, &facts, 1);
    scribe.flush().expect("room");
    assert_eq!(folder.read("cap.pcapng").1.len(), 10_000);
}

#[test]
fn what_another_one_writes_meanwhile_is_not_cut_off() {
    const BLOCKS: usize = 100_000;
    // of a type that is nobody's
    let block = [0xBAD_u32, 16, 0, 16].map(u32::to_le_bytes).concat();
    let folder = Folder::new();
    let path = folder.at("cap.pcapng");
    drop(Pcapng::open(&settings(&path)).expect("a file"));
    let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
    let written = block.clone();
    let other = std::thread::spawn(move || (0..BLOCKS).for_each(|_| file.write_all(&written).expect("room")));
    while !other.is_finished() {
        drop(Pcapng::open(&settings(&path)).expect("a file that is written on"));
    }
    other.join().expect("no panic");
    let bytes = fs::read(&path).expect("a file");
    assert_eq!(bytes.windows(block.len()).filter(|it| **it == block[..]).count(), BLOCKS);
}

#[test]
fn records_that_could_not_be_written_are_told_and_leave_a_gap() {
    let folder = Folder::new();
    let facts = facts();
    let mut scribe = Pcapng::open(&settings(&folder.at("cap.pcapng"))).expect("a file");
    write(&mut scribe, &facts, 1);
    scribe.write(&read(&facts, b"lost")).expect("it is gathered");
    assert_eq!(scribe.forget(), 1);
    scribe.missed(1, 4).expect("it is noted");
    scribe.write(&read(&facts, b"after")).expect("room");
    scribe.flush().expect("room");
    let bytes = fs::read(folder.at("cap.pcapng")).expect("a file");
    let mut reader = PcapNgReader::new(&bytes[..]).expect("a section");
    let mut at = BTreeMap::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.expect("a whole block") {
            let number = u32::from_be_bytes(packet.data[24..28].try_into().expect("four bytes"));
            at.insert(packet.data[40..].to_vec(), number);
        }
    }
    let first = at[&vec![b'a'; 10_000]];
    assert_eq!(at[&b"after"[..]], first.wrapping_add(10_004));
    assert!(bytes.windows(24).any(|part| part == b"missed records=1 bytes=4"));
}

#[test]
fn where_nothing_is_to_be_written_a_full_disk_does_not_look_like_one_with_room() {
    let folder = Folder::new();
    let facts = facts();
    let mut scribe = Pcapng::open(&settings(&folder.at("cap.pcapng"))).expect("a file");
    let full = OpenOptions::new().append(true).open("/dev/full").expect("a device");
    scribe.live.output = Output::held(full).expect("a device");
    let before = scribe.writes();
    scribe.write(&read(&facts, b"lost")).expect("it is gathered");
    scribe.flush().expect_err("there is no room");
    assert_eq!(scribe.forget(), 1);
    scribe.missed(1, 4).expect("it is noted");
    scribe.flush().expect("nothing is to be written");
    assert_eq!(scribe.writes(), before);
    // the next file has room
    scribe.next().expect("a file");
    assert_eq!(scribe.writes(), before + 1);
}
