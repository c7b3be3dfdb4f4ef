use std::fs;

use super::super::stage::{Folder, Session, banner, closed, read, settings};
use super::*;
use crate::close::{By, End};
use crate::format::Dir;

fn flow(form: TapForm, folder: &Folder, name: &str) -> Flow {
    Flow::open(&settings(form, &folder.path(name))).expect("a file")
}

fn text(folder: &Folder, name: &str) -> String {
    String::from_utf8(folder.read(name)).expect("text")
}

fn all(flow: &mut Flow, session: &Session) {
    banner().into_iter().for_each(|what| session.tell(flow, what));
    flow.flush().expect("a file that can be written");
}

#[test]
fn the_reproduced_session_is_informed_of_line_by_line() {
    let folder = Folder::new();
    all(&mut flow(TapForm::Informer, &folder, "a/status"), &Session::new(1, 47770));
    assert_eq!(text(&folder, "a/status"), include_str!("../../tests/golden/informer.log"));
}

#[test]
fn people_read_the_day_once_and_a_line_per_event() {
    let folder = Folder::new();
    let mut flow = flow(TapForm::Flow, &folder, "");
    let session = Session::new(1, 47770);
    all(&mut flow, &session);
    let tomorrow = Record { at: session.record(What::Opened).at + DAY, ..session.record(What::Opened) };
    flow.write(&tomorrow).expect("a file that can be written");
    flow.flush().expect("a file that can be written");
    let lines = [
        "# Sat, 21 Nov 2026, times are UTC",
        "12:45:18.323Z #1    127.0.0.1:47770 -> 127.0.0.1:19090",
        "12:45:18.323Z #1    <-     14 B",
        "12:45:18.323Z #1    ->      6 B",
        "12:45:18.323Z #1    ->      end",
        "12:45:18.323Z #1    done by client after 22 ms, up 6 B, down 14 B",
        "# Sun, 22 Nov 2026, times are UTC",
        "12:45:18.323Z #1    127.0.0.1:47770 -> 127.0.0.1:19090",
        "",
    ];
    assert_eq!(text(&folder, "flow.log"), lines.join("\n"));
}

#[test]
fn sessions_that_go_on_at_once_keep_their_own_state() {
    let folder = Folder::new();
    let mut flow = flow(TapForm::Informer, &folder, "status");
    let sessions: Vec<_> = (1..=50).map(|id| Session::new(id, 47770)).collect();
    for what in banner() {
        sessions.iter().for_each(|session| session.tell(&mut flow, what.clone()));
    }
    flow.flush().expect("a file that can be written");
    let text = text(&folder, "status");
    for id in 1..=50 {
        let [client, forward] = [format!("-{}-", 2 * id), format!("-{}-", 2 * id + 1)];
        let own = |line: &&str| {
            line.contains(&client)
                || line.contains(&format!("-{}>>", 2 * id))
                || line.contains(&format!("-{}->", 2 * id))
        };
        let lines: Vec<_> = text.lines().filter(own).collect();
        assert_eq!(lines.len(), 9, "session {id}");
        let as_first = lines.join("\n").replace(&client, "-2-").replace(&forward, "-3-");
        let as_first = as_first.replace(&format!("-{}>", 2 * id), "-2>").replace(&format!("-{}>", 2 * id + 1), "-3>");
        assert_eq!(as_first + "\n", include_str!("../../tests/golden/informer.log"));
    }
    let Lines::Informer(kept) = flow.lines else { panic!("it is an informer") };
    assert!(kept.is_empty(), "they have ended");
}

#[test]
fn what_is_missing_is_a_line_of_its_own() {
    for form in [TapForm::Flow, TapForm::Informer] {
        let folder = Folder::new();
        let mut flow = flow(form, &folder, "file");
        let session = Session::new(1, 47770);
        session.tell(&mut flow, What::Opened);
        flow.missed(3, 4096).expect("a note");
        session.tell(&mut flow, read(Dir::Up, b"x"));
        flow.flush().expect("a file that can be written");
        let text = text(&folder, "file");
        let at = text.lines().position(|line| line == "# 3 records, 4096 bytes are missing here");
        assert_eq!(at, text.lines().count().checked_sub(2), "{text}");
        assert!(!text.contains("WTF"), "{text}");
        drop(session);
        flow.missed(1, 0).expect("a note");
        match flow.lines {
            Lines::Informer(kept) => assert!(kept.is_empty()),
            Lines::Readable { sessions, .. } => assert!(sessions.is_empty()),
        }
    }
}

#[test]
fn a_file_is_written_on_or_emptied() {
    let folder = Folder::new();
    for (append, wanted) in [(true, "old\n"), (false, "")] {
        fs::write(folder.path("file"), "old\n").expect("our folder");
        let settings = TapSettings { append, ..settings(TapForm::Informer, &folder.path("file")) };
        all(&mut Flow::open(&settings).expect("a file"), &Session::new(1, 47770));
        assert_eq!(text(&folder, "file"), wanted.to_owned() + include_str!("../../tests/golden/informer.log"));
    }
}

#[test]
fn a_file_that_was_rotated_is_opened_anew_and_says_its_day() {
    for form in [TapForm::Informer, TapForm::Flow] {
        let folder = Folder::new();
        let mut flow = flow(form, &folder, "file");
        all(&mut flow, &Session::new(1, 47770));
        fs::rename(folder.path("file"), folder.path("file.1")).expect("a file");
        flow.reopen().expect("a file");
        all(&mut flow, &Session::new(1, 47770));
        assert!(!folder.read("file").is_empty());
        assert_eq!(folder.read("file"), folder.read("file.1"));
    }
}

#[test]
fn a_file_that_was_moved_or_emptied_says_its_day_again() {
    let folder = Folder::new();
    let mut flow = flow(TapForm::Flow, &folder, "file");
    let session = Session::new(1, 47770);
    all(&mut flow, &session);
    let whole = folder.read("file");
    fs::rename(folder.path("file"), folder.path("file.1")).expect("a file");
    flow.output.look_soon();
    all(&mut flow, &session);
    assert_eq!(folder.read("file"), whole);
    fs::write(folder.path("file"), "").expect("a file");
    flow.output.look_soon();
    all(&mut flow, &session);
    assert_eq!(folder.read("file"), whole);
}

#[test]
fn lines_that_waited_while_their_file_was_moved_have_their_day_before_them() {
    let folder = Folder::new();
    let mut flow = flow(TapForm::Flow, &folder, "file");
    let session = Session::new(1, 47770);
    let yesterday = Record { at: session.record(What::Opened).at - DAY, ..session.record(What::Opened) };
    let moves: [fn(&mut Flow); 3] = [
        |flow| flow.output.look_soon(),
        |flow| flow.reopen().expect("a file"),
        |flow| {
            flow.output.look_soon();
            flow.flush().expect("a file that can be written");
        },
    ];
    for (number, moved) in moves.into_iter().enumerate() {
        flow.write(&yesterday).expect("a file that can be written");
        flow.flush().expect("a file that can be written");
        flow.write(&yesterday).expect("it is gathered");
        fs::rename(folder.path("file"), folder.path("file.1")).expect("a file");
        moved(&mut flow);
        session.tell(&mut flow, read(Dir::Up, b"new"));
        flow.flush().expect("a file that can be written");
        let text = text(&folder, "file");
        let days: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
        assert!(text.starts_with('#') && text.lines().count() == 4, "{number}: {text}");
        assert_eq!(days, ["# Fri, 20 Nov 2026, times are UTC", "# Sat, 21 Nov 2026, times are UTC"], "{number}");
    }
}

#[test]
fn the_day_is_not_lost_with_lines_that_could_not_be_written() {
    let folder = Folder::new();
    let mut flow = flow(TapForm::Flow, &folder, "file");
    let session = Session::new(1, 47770);
    session.tell(&mut flow, What::Opened);
    assert_eq!(flow.forget(), 1);
    session.tell(&mut flow, read(Dir::Up, b"x"));
    session.tell(&mut flow, closed(End::Done, By::Us));
    flow.flush().expect("a file that can be written");
    let text = text(&folder, "file");
    assert!(text.starts_with("# Sat, 21 Nov 2026") && text.matches("times are UTC").count() == 1, "{text}");
}

#[test]
fn colours_are_for_those_who_ask() {
    let folder = Folder::new();
    for (colour, coloured) in [(None, false), (Some(false), false), (Some(true), true)] {
        let settings = TapSettings { colour, append: false, ..settings(TapForm::Flow, &folder.path("file")) };
        all(&mut Flow::open(&settings).expect("a file"), &Session::new(1, 47770));
        assert_eq!(text(&folder, "file").contains("\x1b["), coloured);
    }
}

#[test]
fn a_line_that_cannot_be_written_is_taken_back() {
    let mut flow = Flow::open(&settings(TapForm::Informer, "/dev/full".as_ref())).expect("a device");
    let session = Session::new(1, 47770);
    session.tell(&mut flow, What::Opened);
    let mut kept = 1;
    let failed = session.record(read(Dir::Up, b"x"));
    while flow.write(&failed).is_ok() {
        kept += 1;
        assert!(kept < 1_000_000, "a full disk took everything");
    }
    assert!(kept > 100, "lines are gathered");
    // tried again, it fails again and is not there twice
    assert!(flow.write(&failed).is_err());
    assert!(flow.write(&session.record(closed(End::Done, By::Us))).is_err());
    assert_eq!(flow.forget(), kept);
    assert_eq!(flow.forget(), 0);
    session.tell(&mut flow, read(Dir::Up, b"x"));
}
