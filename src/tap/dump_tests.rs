use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::super::stage::{Folder, Session, banner, closed, read, settings};
use super::*;
use crate::close::{By, End};

const FORMS: [TapForm; 3] = [TapForm::Dumper, TapForm::Raw, TapForm::Writefile];

fn dump(form: TapForm, folder: &Folder) -> Dump {
    Dump::open(&settings(form, &folder.path(""))).expect("a folder")
}

fn end() -> What {
    closed(End::Done, By::Client)
}

/// A session from its beginning to its end.
fn whole(dump: &mut Dump, session: &Session) {
    for what in banner() {
        session.tell(dump, what);
    }
}

fn text(folder: &Folder, name: &str) -> String {
    String::from_utf8(folder.read(name)).expect("text")
}

/// Takes a file of DumperProxy to pieces, and gives the bytes of each direction.
fn taken_apart(file: &[u8]) -> [Vec<u8>; 2] {
    let mut bytes = [Vec::new(), Vec::new()];
    let mut rest = file;
    loop {
        let line = rest.strip_prefix(b"\n").unwrap_or_else(|| panic!("no line feed at {}", rest.escape_ascii()));
        let length = line.iter().position(|&b| b == b'\n').expect("a whole line");
        let (line, behind) = (std::str::from_utf8(&line[..length]).expect("text"), &line[length + 1..]);
        rest = behind;
        if line.ends_with(" are missing here]") {
            continue;
        }
        let (client, forward) = line.split_once("[18000 PROXY 34408]").expect("the ports");
        let column = forward.rsplit(' ').next().expect("a column");
        let dir = match (client.trim_end().ends_with(">>"), forward.trim_start().starts_with("<<*")) {
            (true, false) => 0,
            (false, true) => 1,
            _ if line.contains(" lose ") => {
                assert_eq!(rest, b"END.");
                return bytes;
            }
            _ => continue,
        };
        let (read, behind) = rest.split_at(column.strip_suffix('b').expect("a count").parse().expect("a number"));
        bytes[dir].extend_from_slice(read);
        rest = behind;
    }
}

#[test]
fn the_reproduced_session_is_written_byte_for_byte() {
    let folder = Folder::new();
    let mut dump = dump(TapForm::Dumper, &folder);
    whole(&mut dump, &Session::new(1, 47770));
    assert_eq!(folder.names(), ["port_18000_000000001.dmp"]);
    let file = folder.read("port_18000_000000001.dmp");
    assert_eq!(
        file.escape_ascii().to_string(),
        include_bytes!("../../tests/golden/dumper.dmp").escape_ascii().to_string()
    );
    assert_eq!(taken_apart(&file), [b"abc\0\xff\n".to_vec(), b"hello banner\r\n".to_vec()]);
}

#[test]
fn raw_files_hold_one_direction_each() {
    let folder = Folder::new();
    let mut dump = dump(TapForm::Raw, &folder);
    whole(&mut dump, &Session::new(7, 47770));
    whole(&mut dump, &Session::between(8, "[::1]:5", "[2001:db8::9]:443"));
    let names = [
        "0.0.0.0.0.0.0.1_5-2001.db8.0.0.0.0.0.9_443-8.down",
        "0.0.0.0.0.0.0.1_5-2001.db8.0.0.0.0.0.9_443-8.up",
        "127.0.0.1_47770-127.0.0.1_19090-7.down",
        "127.0.0.1_47770-127.0.0.1_19090-7.up",
    ];
    assert_eq!(folder.names(), names);
    for [down, up] in [[names[0], names[1]], [names[2], names[3]]] {
        assert_eq!((folder.read(down), folder.read(up)), (b"hello banner\r\n".to_vec(), b"abc\0\xff\n".to_vec()));
    }
}

#[test]
fn a_writefile_holds_both_directions_in_the_order_of_arrival() {
    let folder = Folder::new();
    let mut dump = dump(TapForm::Writefile, &folder);
    whole(&mut dump, &Session::new(1, 47770));
    whole(&mut dump, &Session::new(2, 47771));
    whole(&mut dump, &Session::new(3, 47772));
    let pid = std::process::id();
    let names = [format!("handyproxy.{pid}-2.log"), format!("handyproxy.{pid}-3.log"), format!("handyproxy.{pid}.log")];
    assert_eq!(folder.names(), names);
    for name in names {
        assert_eq!(folder.read(&name), b"hello banner\r\nabc\0\xff\n");
    }
}

#[test]
fn a_writefile_may_have_a_name_of_its_own_and_never_takes_one_that_is_there() {
    let folder = Folder::new();
    let pid = std::process::id();
    for name in [format!("talk.{pid}.log"), format!("talk.{pid}-5.log"), format!("talk.{pid}-x.log")] {
        fs::write(folder.path(&name), "older").expect("our folder");
    }
    let mut dump = Dump::open(&settings(TapForm::Writefile, &folder.path("talk"))).expect("a folder");
    whole(&mut dump, &Session::new(1, 47770));
    assert_eq!(folder.read(&format!("talk.{pid}.log")), b"older");
    assert_eq!(folder.read(&format!("talk.{pid}-6.log")), b"hello banner\r\nabc\0\xff\n");
    assert_eq!(folder.names().len(), 4);
}

#[test]
fn a_deleted_dump_leaves_a_gap_and_no_other_is_written_on() {
    let folder = Folder::new();
    let mut dump = dump(TapForm::Dumper, &folder);
    (1..=3).for_each(|id| whole(&mut dump, &Session::new(id, 47770)));
    fs::remove_file(folder.path("port_18000_000000002.dmp")).expect("a file");
    let third = folder.read("port_18000_000000003.dmp");
    whole(&mut dump, &Session::new(4, 47770));
    drop(dump);
    // and after a restart
    whole(&mut self::dump(TapForm::Dumper, &folder), &Session::new(1, 47770));
    let numbers = [1, 3, 4, 5].map(|number| format!("port_18000_{number:09}.dmp"));
    assert_eq!(folder.names(), numbers);
    assert_eq!(folder.read("port_18000_000000003.dmp"), third);
}

#[test]
fn numbers_go_on_behind_the_highest_of_their_port_and_of_no_other_name() {
    let folder = Folder::new();
    let strange = ["port_18000_41.dmp", "port_18000_000000099.dmp.old", "port_1800_000000077.dmp", "port_18000_x.dmp"];
    for name in strange.into_iter().chain(["port_18000_000000012.dmp", "port_18000_99999999999999999999.dmp"]) {
        fs::write(folder.path(name), "").expect("our folder");
    }
    whole(&mut dump(TapForm::Dumper, &folder), &Session::new(1, 47770));
    assert!(!folder.read("port_18000_000000013.dmp").is_empty());
}

#[test]
fn two_processes_share_a_folder_and_no_file() {
    let folder = Folder::new();
    for form in FORMS {
        let mut dumps = [dump(form, &folder), dump(form, &folder)];
        let before = folder.names().len();
        // the ids of both are the same, and one makes many while the other makes one
        for id in 1..=100 {
            whole(&mut dumps[0], &Session::new(id, 47770));
            if id % 50 == 1 {
                whole(&mut dumps[1], &Session::new(id, 47770));
            }
        }
        let files = if form == TapForm::Raw { 2 * 102 } else { 102 };
        assert_eq!(folder.names().len() - before, files, "{form:?}");
    }
    for name in folder.names() {
        let file = folder.read(&name);
        let whole = match name.rsplit('.').next() {
            Some("dmp") => file.ends_with(b"END.") && file.windows(4).filter(|it| it == b"END.").count() == 1,
            Some("up") => file == b"abc\0\xff\n",
            Some("down") => file == b"hello banner\r\n",
            _ => file == b"hello banner\r\nabc\0\xff\n",
        };
        assert!(whole, "{name}: {}", file.escape_ascii());
    }
}

#[test]
fn many_sessions_at_once_are_never_mixed_and_few_files_are_open() {
    for form in FORMS {
        let folder = Folder::new();
        let mut dump = dump(form, &folder);
        let sessions: Vec<_> = (1..=300_u16).map(|id| Session::new(id.into(), 20_000 + id)).collect();
        let says = |id: usize, round: usize| {
            let length = if round == 3 { 20_000 } else { 100 };
            format!("{id}.{round};").bytes().cycle().take(length).collect::<Vec<u8>>()
        };
        sessions.iter().for_each(|session| session.tell(&mut dump, What::Opened));
        for round in 0..6 {
            for (id, session) in sessions.iter().enumerate() {
                let dir = if round % 2 == 0 { Dir::Up } else { Dir::Down };
                session.tell(&mut dump, read(dir, &says(id, round)));
            }
            assert!((1..=files::OPEN).contains(&folder.open()), "{form:?}: {}", folder.open());
        }
        sessions.iter().for_each(|session| session.tell(&mut dump, end()));
        assert_eq!(folder.open(), 0, "{form:?}");
        let mut found = BTreeMap::new();
        for name in folder.names() {
            let file = folder.read(&name);
            let bytes = if form == TapForm::Dumper { taken_apart(&file).concat() } else { file };
            found.insert(name, bytes);
        }
        for id in 0..sessions.len() {
            let [up, down] =
                [0, 1].map(|from| (from..6).step_by(2).flat_map(|round| says(id, round)).collect::<Vec<_>>());
            let all = (0..6).flat_map(|round| says(id, round)).collect::<Vec<_>>();
            let wanted: &[_] = match form {
                TapForm::Raw => &[up, down],
                TapForm::Writefile => &[all],
                _ => &[[up, down].concat()],
            };
            for bytes in wanted {
                let at = found.iter().find(|(_, found)| *found == bytes).map(|(name, _)| name.clone());
                found.remove(&at.unwrap_or_else(|| panic!("{form:?}: session {id} is not whole")));
            }
        }
        assert!(found.is_empty(), "{form:?}: {:?}", found.keys());
    }
}

#[test]
fn files_are_for_their_owner_and_group_and_folders_are_made() {
    let folder = Folder::new();
    let inner = folder.path("a/b/");
    let mut dump = Dump::open(&settings(TapForm::Raw, &inner)).expect("a folder that can be made");
    whole(&mut dump, &Session::new(1, 47770));
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o750);
    let files: Vec<_> = fs::read_dir(&inner).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| mode(file) == 0o640));
    // and made again when they are gone
    fs::remove_dir_all(folder.path("a")).expect("our folder");
    whole(&mut dump, &Session::new(2, 47770));
    assert_eq!(fs::read_dir(&inner).expect("a folder").count(), 2);
}

#[test]
fn a_file_is_not_found_through_a_link_that_somebody_put_there() {
    let folder = Folder::new();
    fs::write(folder.path("precious"), "precious").expect("our folder");
    std::os::unix::fs::symlink(folder.path("precious"), folder.path("port_18000_000000001.dmp")).expect("a link");
    std::os::unix::fs::symlink(folder.path("nothing"), folder.path("port_18000_000000002.dmp")).expect("a link");
    whole(&mut dump(TapForm::Dumper, &folder), &Session::new(1, 47770));
    assert_eq!(folder.read("precious"), b"precious");
    assert!(folder.names().contains(&"port_18000_000000003.dmp".to_owned()), "{:?}", folder.names());
    let nowhere = folder.path("nowhere");
    std::os::unix::fs::symlink(folder.path("missing/too"), &nowhere).expect("a link");
    for form in [TapForm::Dumper, TapForm::Raw] {
        let names = Names::in_folder(&nowhere);
        let mut dump = Dump { names, ..self::dump(form, &folder) };
        assert!(dump.write(&Session::new(1, 47770).record(What::Opened)).is_err(), "{form:?}");
    }
}

#[test]
fn a_path_that_is_a_file_is_no_folder() {
    let folder = Folder::new();
    fs::write(folder.path("file"), "").expect("our folder");
    for form in [TapForm::Dumper, TapForm::Raw] {
        assert!(Dump::open(&settings(form, &folder.path("file"))).is_err());
    }
}

#[test]
fn what_was_moved_away_goes_on_in_a_new_file() {
    for (form, count) in [(TapForm::Dumper, 1), (TapForm::Raw, 2), (TapForm::Writefile, 1)] {
        let folder = Folder::new();
        let mut dump = dump(form, &folder);
        let session = Session::new(1, 47770);
        session.tell(&mut dump, What::Opened);
        session.tell(&mut dump, read(Dir::Up, b"first"));
        // many others come, and it is closed for them
        let others: Vec<_> = (2..200).map(|id| Session::new(id, 47770)).collect();
        others.iter().for_each(|other| other.tell(&mut dump, What::Opened));
        let first = dump.sessions[&1].paths.clone();
        fs::create_dir(folder.path("away")).expect("our folder");
        for path in &first {
            fs::rename(path, folder.path("away").join(path.file_name().expect("a name"))).expect("a file");
        }
        session.tell(&mut dump, read(Dir::Up, b"second"));
        session.tell(&mut dump, end());
        let moved: Vec<u8> = fs::read_dir(folder.path("away"))
            .expect("our folder")
            .flat_map(|entry| fs::read(entry.expect("a file").path()).expect("a file"))
            .collect();
        let has = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|it| it == wanted);
        assert!(has(&moved, b"first") && !has(&moved, b"second"), "{form:?}");
        let holding =
            folder.names().iter().filter(|name| *name != "away" && has(&folder.read(name), b"second")).count();
        assert_eq!((holding, first.len()), (1, count), "{form:?}");
    }
}

#[test]
fn what_is_missing_is_noted_where_it_would_have_been() {
    let folder = Folder::new();
    let mut dump = dump(TapForm::Dumper, &folder);
    let session = Session::new(1, 47770);
    session.tell(&mut dump, What::Opened);
    session.tell(&mut dump, read(Dir::Up, b"before"));
    dump.missed(3, 4096).expect("a note");
    session.tell(&mut dump, read(Dir::Up, b"behind"));
    let other = Session::new(2, 47771);
    other.tell(&mut dump, What::Opened);
    dump.missed(2, 10).expect("a note");
    dump.missed(1, 5).expect("a note");
    session.tell(&mut dump, end());
    other.tell(&mut dump, end());
    let one = text(&folder, "port_18000_000000001.dmp");
    assert!(one.contains("6b\nbefore\n[3 records, 4096 bytes are missing here]\n\n127.0.0.1:47770"), "{one}");
    assert!(one.contains("6b\nbehind\n[up to 3 records, 15 bytes are missing here]\n\n127.0.0.1:47770"), "{one}");
    assert!(one.ends_with("lose 0b \nEND."), "what was handed on is not known: {one}");
    let two = text(&folder, "port_18000_000000002.dmp");
    assert!(two.contains("19090 \n\n[up to 3 records, 15 bytes are missing here]\n\n127.0.0.1:47771"), "{two}");
    assert_eq!(one.matches("missing").count() + two.matches("missing").count(), 3);
}

#[test]
fn between_bytes_is_no_place_for_a_note() {
    let folder = Folder::new();
    let mut raw = dump(TapForm::Raw, &folder);
    let mut writefile = dump(TapForm::Writefile, &folder);
    let session = Session::new(1, 47770);
    for dump in [&mut raw, &mut writefile] {
        session.tell(dump, What::Opened);
        session.tell(dump, read(Dir::Up, b"before"));
        dump.missed(3, 4096).expect("a note");
        session.tell(dump, read(Dir::Down, b"behind"));
        session.tell(dump, end());
    }
    let stem = "127.0.0.1_47770-127.0.0.1_19090-1";
    let log = format!("handyproxy.{}.log", std::process::id());
    assert_eq!(
        (folder.read(&format!("{stem}.up")), folder.read(&format!("{stem}.down"))),
        (b"before".to_vec(), b"behind".to_vec())
    );
    assert_eq!(folder.read(&log), b"beforebehind");
    let wanted = format!("behind byte 6 of {stem}.up and byte 0 of {stem}.down: 3 records, 4096 bytes are missing\n");
    assert_eq!(text(&folder, &format!("{stem}.missing")), wanted);
    let wanted = format!("behind byte 6 of {log}: 3 records, 4096 bytes are missing\n");
    assert_eq!(text(&folder, &format!("{log}.missing")), wanted);
}

#[test]
fn a_note_is_not_kept_where_it_could_be_lost() {
    let folder = Folder::new();
    let mut dump = dump(TapForm::Dumper, &folder);
    let session = Session::new(1, 40000);
    session.tell(&mut dump, What::Opened);
    dump.missed(3, 4096).expect("a note");
    session.tell(&mut dump, read(Dir::Up, b"abc"));
    assert_eq!(dump.forget(), 0);
    assert!(text(&folder, "port_18000_000000001.dmp").contains("\n[3 records, 4096 bytes are missing here]\n"));
}

#[test]
fn a_session_whose_beginning_or_end_was_missed_holds_nothing_up() {
    for form in FORMS {
        let folder = Folder::new();
        let mut dump = dump(form, &folder);
        Session::new(1, 47770).tell(&mut dump, What::Opened);
        dump.missed(2, 5).expect("a note");
        assert!(dump.sessions.is_empty(), "its end was among them");
        assert_eq!(folder.open(), 0);
        let late = Session::new(2, 47771);
        late.tell(&mut dump, read(Dir::Up, b"late"));
        late.tell(&mut dump, end());
        let holds = |name: &String| folder.read(name).windows(4).any(|it| it == b"late");
        assert_eq!(folder.names().iter().filter(|name| holds(name)).count(), 1, "{form:?}");
        let told: Vec<u8> = folder.names().iter().flat_map(|name| folder.read(name)).collect();
        assert!(String::from_utf8_lossy(&told).contains("up to 2 records, 5 bytes"), "{form:?}");
    }
}

#[test]
fn two_dumps_that_missed_the_same_end_do_not_wait_for_each_other() {
    let folders = [Folder::new(), Folder::new()];
    let mut dumps = folders.each_ref().map(|folder| dump(TapForm::Dumper, folder));
    let session = Session::new(1, 47770);
    dumps.iter_mut().for_each(|dump| session.tell(dump, What::Opened));
    drop(session);
    for (dump, folder) in dumps.iter_mut().zip(&folders) {
        dump.missed(1, 0).expect("a note");
        assert_eq!((dump.sessions.len(), folder.open()), (0, 0));
        assert!(text(folder, "port_18000_000000001.dmp").ends_with("END."));
    }
}

fn full() -> File {
    OpenOptions::new().append(true).open("/dev/full").expect("a device")
}

#[test]
fn a_dump_whose_end_was_missed_is_ended_when_there_is_room() {
    let folder = Folder::new();
    let mut dump = dump(TapForm::Dumper, &folder);
    let session = Session::new(1, 47770);
    session.tell(&mut dump, What::Opened);
    session.tell(&mut dump, read(Dir::Up, b"abc"));
    dump.flush().expect("room");
    dump.files.add((1, 0), full()).expect("a device");
    drop(session);
    for (records, bytes) in [(1, 0), (2, 10)] {
        dump.missed(records, bytes).expect("it is told when there is room");
        dump.flush().expect_err("there is none");
        assert_eq!(dump.sessions.len(), 1);
    }
    // its file is opened by its name
    dump.files.give_up((1, 0));
    dump.flush().expect("room");
    assert_eq!((dump.sessions.len(), folder.open()), (0, 0));
    let told = text(&folder, "port_18000_000000001.dmp");
    let wanted = "abc\n[up to 3 records, 10 bytes are missing here]\n\n\
                  127.0.0.1:47770  ----2-- [18000 PROXY 34408] ----3-- 127.0.0.1:19090 lose 0b \nEND.";
    assert!(told.ends_with(wanted), "{told}");
    dump.flush().expect("nothing is left to be done");
    assert_eq!(text(&folder, "port_18000_000000001.dmp"), told);
}

#[test]
fn files_that_wait_for_their_end_are_not_too_many_and_one_that_cannot_have_it_is_given_up() {
    let folder = Folder::new();
    let mut dump = dump(TapForm::Dumper, &folder);
    let count = LATE as u64 + 5;
    for id in 1..=count {
        Session::new(id, 47770).tell(&mut dump, What::Opened);
    }
    dump.flush().expect("room");
    dump.files.make_room(1).expect("room");
    dump.files.add((1, 0), full()).expect("a device");
    dump.missed(1, 0).expect("it is told when there is room");
    assert_eq!(dump.sessions.len(), LATE);
    // those that are left have room, and one of them cannot be opened
    let path = folder.path("port_18000_000000006.dmp");
    dump.files.give_up((6, 0));
    fs::remove_file(&path).and_then(|()| fs::create_dir(&path)).expect("our folder");
    dump.flush().expect("it is not waited for");
    assert_eq!((dump.sessions.len(), folder.open()), (0, 0));
    let ended = |id: &u64| text(&folder, &format!("port_18000_{id:09}.dmp")).ends_with("END.");
    assert!((7..=count).all(|id| ended(&id)));
    assert!(!(1..=5).any(|id| ended(&id)), "these were too many");
}

#[test]
fn bytes_that_were_missed_at_the_end_are_noted_too() {
    let folder = Folder::new();
    let mut dump = dump(TapForm::Writefile, &folder);
    let session = Session::new(1, 47770);
    session.tell(&mut dump, What::Opened);
    session.tell(&mut dump, read(Dir::Up, b"before"));
    drop(session);
    dump.missed(3, 4096).expect("a note");
    let log = format!("handyproxy.{}.log", std::process::id());
    let wanted = format!("behind byte 6 of {log}: 3 records, 4096 bytes are missing\n");
    assert_eq!(text(&folder, &format!("{log}.missing")), wanted);
}

#[test]
fn what_cannot_be_written_is_not_written_at_all() {
    let mut files = Files::default();
    files.add((1, 0), full()).expect("room");
    files.write((1, 0), b"short", b"").expect("it is kept");
    assert!(files.write((1, 0), b"", &[b'x'; 60_000]).is_err());
    assert!(files.flush().is_err());
    assert!(files.close((1, 0), b"last").is_err());
    assert_eq!(files.forget(), 1, "the long one and the last were told to be missing already");
    assert_eq!(files.forget(), 0);
    files.close((1, 0), b"").expect("nothing to write");
    for number in 0..files::OPEN {
        files.add((2, number), full()).expect("room");
        files.write((2, number), b"short", b"").expect("it is kept");
    }
    assert!(files.make_room(1).is_err(), "the oldest has something to say still");
    assert_eq!(files.forget(), 128);
    files.make_room(1).expect("now it has not");
}

#[test]
fn a_session_that_could_not_begin_is_whole_when_it_is_tried_again() {
    let folder = Folder::new();
    let path = folder.path("dumps/");
    let mut dump = Dump::open(&settings(TapForm::Dumper, &path)).expect("a folder");
    fs::remove_dir(&path).expect("an empty folder");
    fs::write(folder.path("dumps"), "in the way").expect("our folder");
    let session = Session::new(1, 47770);
    assert!(dump.write(&session.record(What::Opened)).is_err());
    fs::remove_file(folder.path("dumps")).expect("a file");
    whole(&mut dump, &session);
    let file = folder.read("dumps/port_18000_000000001.dmp");
    assert_eq!(file, include_bytes!("../../tests/golden/dumper.dmp"));
}

#[test]
fn nothing_waits_once_it_is_flushed() {
    for form in FORMS {
        let folder = Folder::new();
        let mut dump = dump(form, &folder);
        let session = Session::new(1, 47770);
        session.tell(&mut dump, What::Opened);
        session.tell(&mut dump, read(Dir::Up, b"abc"));
        dump.flush().expect("a file that can be written");
        let all: Vec<u8> = folder.names().iter().flat_map(|name| folder.read(name)).collect();
        assert!(all.ends_with(b"abc") || form == TapForm::Raw && all == b"abc", "{form:?}");
        dump.reopen().expect("nothing to do");
        session.tell(&mut dump, end());
    }
}

/// What may happen in one of the sessions.
#[derive(Clone, Debug)]
enum Step {
    Read(Dir, Vec<u8>),
    Sent(Dir, usize),
    Ended(Dir),
    Closed(By),
}

/// A session that goes on.
struct Talk {
    session: Session,
    /// What was read: up, down, and both in their order.
    bytes: [Vec<u8>; 3],
    ended: [bool; 2],
}

fn steps() -> impl Strategy<Value = Vec<(u8, Step)>> {
    let dir = prop_oneof![Just(Dir::Up), Just(Dir::Down)];
    // bytes that look like what stands between them
    let bytes = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 1..40),
        1 => Just(b"\nEND.".to_vec()),
        1 => Just(b"\n127.0.0.1:1  --*-2>> [18000 PROXY 34408] --*-3-- 127.0.0.1:19090 6b\n".to_vec()),
        1 => (15_000..40_000_usize).prop_map(|length| vec![b'z'; length]),
    ];
    let step = prop_oneof![
        6 => (dir.clone(), bytes).prop_map(|(dir, bytes)| Step::Read(dir, bytes)),
        4 => (dir.clone(), 0..50_000_usize).prop_map(|(dir, length)| Step::Sent(dir, length)),
        1 => dir.prop_map(Step::Ended),
        1 => prop_oneof![Just(By::Client), Just(By::Upstream), Just(By::Us)].prop_map(Step::Closed),
    ];
    proptest::collection::vec((0..5_u8, step), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_all_that_was_read_is_there_and_nothing_else(steps in steps()) {
        for form in FORMS {
            let folder = Folder::new();
            let mut dump = dump(form, &folder);
            let mut open: BTreeMap<u8, Talk> = BTreeMap::new();
            let mut wanted: Vec<[Vec<u8>; 3]> = Vec::new();
            let mut next = 0;
            let closing = (0..5).map(|slot| (slot, Step::Closed(By::Us)));
            for (slot, step) in steps.iter().cloned().chain(closing) {
                let Talk { session, bytes, ended } = open.entry(slot).or_insert_with(|| {
                    next += 1;
                    let session = Session::new(next, 40_000 + u16::from(slot));
                    session.tell(&mut dump, What::Opened);
                    Talk { session, bytes: Default::default(), ended: [false; 2] }
                });
                match step {
                    Step::Read(dir, chunk) if !ended[dir as usize] => {
                        session.tell(&mut dump, read(dir, &chunk));
                        bytes[dir as usize].extend_from_slice(&chunk);
                        bytes[2].extend_from_slice(&chunk);
                    }
                    Step::Sent(dir, length) => session.tell(&mut dump, What::Sent(dir, length)),
                    Step::Ended(dir) if !ended[dir as usize] => {
                        session.tell(&mut dump, What::Ended(dir));
                        ended[dir as usize] = true;
                    }
                    Step::Closed(by) => {
                        session.tell(&mut dump, closed(End::Done, by));
                        wanted.extend(open.remove(&slot).map(|talk| talk.bytes));
                    }
                    _ => {}
                }
            }
            let found = folder.names().into_iter().map(|name| folder.read(&name));
            let (mut found, mut wanted): (Vec<_>, Vec<_>) = match form {
                TapForm::Raw => (found.collect(), wanted.into_iter().flat_map(|[up, down, _]| [up, down]).collect()),
                TapForm::Writefile => (found.collect(), wanted.into_iter().map(|[.., all]| all).collect()),
                _ => (
                    found.map(|file| taken_apart(&file).concat()).collect(),
                    wanted.into_iter().map(|[up, down, _]| [up, down].concat()).collect(),
                ),
            };
            found.sort();
            wanted.sort();
            prop_assert!(!wanted.is_empty());
            prop_assert_eq!(found, wanted);
        }
    }
}

#[test]
fn a_folder_with_many_files_is_read_once() {
    let folder = Folder::new();
    for number in 1..=500 {
        File::create(folder.path(&format!("port_18000_{number:09}.dmp"))).expect("our folder");
    }
    let mut dump = dump(TapForm::Dumper, &folder);
    whole(&mut dump, &Session::new(1, 47770));
    // one that stands behind the highest is not looked for: it is met
    File::create(folder.path("port_18000_000000900.dmp")).expect("our folder");
    whole(&mut dump, &Session::new(2, 47770));
    let names = folder.names();
    assert_eq!(names[500..], ["port_18000_000000501.dmp", "port_18000_000000502.dmp", "port_18000_000000900.dmp"]);
}
