//! `handyproxy top` in a terminal, beside an admin that says what it is told to.

#[path = "top/admin.rs"]
mod admin;
#[path = "top/tmux.rs"]
mod tmux;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use admin::Admin;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tmux::Tmux;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handyproxy");

/// What is seen at first.
const FIRST: &str = "\
gateway  0.1.0 running 1m  open 3/100  opened 9 failed 1  up - down -
corp 10.2.0.2:3128 up
[1 Sessions] 2 Clients 3 Names 4 Upstreams 5 Failures              3 by RATE/s v
  ID CLIENT           NAME               VIA       STAGE    AGE   UP DOWN RATE/s
   1 10.0.0.5         www.example.org    corp      relay     1m  300 5.0K      -
   2 10.0.0.6         mail.example.org   corp      relay     1m  200 9.0K      -
   3 10.0.0.7         cdn.example.net    corp      relay     1m  100 7.0K      -
";

/// A top in a terminal of this size.
fn top(admin: &Admin, width: u16, height: u16) -> Tmux {
    top_every("200ms", admin, width, height)
}

/// One that asks so often.
fn top_every(interval: &str, admin: &Admin, width: u16, height: u16) -> Tmux {
    let tmux = Tmux::new(width, height);
    tmux.line(&format!("{PROGRAM} top -admin {} -interval {interval}; echo ended $?", admin.addr));
    tmux.sees("q quit");
    tmux.wait("sessions", |screen| screen.contains("10.0.0.5"));
    tmux
}

/// The first column of a table.
fn ids(screen: &str) -> Vec<u64> {
    screen.lines().skip(4).map_while(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

fn run(words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROGRAM).arg("top").args(words).stdin(Stdio::null()).output().expect("the binary runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), said(&output.stdout), said(&output.stderr))
}

#[test]
fn sessions_are_moved_through_sorted_filtered_and_killed() {
    let admin = Admin::unix("walk");
    // so that only a kill asks again
    let tmux = top_every("1h", &admin, 80, 24);
    let screen = tmux.screen();
    assert!(screen.starts_with(FIRST), "{screen}");
    assert_eq!(screen.lines().nth(23), Some("? help  / filter  < > sort  Enter details  k kill  Space pause  q quit"));

    tmux.keys(&["<"]);
    assert_eq!(ids(&tmux.sees("by DOWN v")), [2, 3, 1]);
    tmux.keys(&["r"]);
    assert_eq!(ids(&tmux.sees("by DOWN ^")), [1, 3, 2]);

    tmux.keys(&["Down", "Enter"]);
    let screen = tmux.sees("session 3\n");
    assert!(screen.contains("name      cdn.example.net (sni)") && screen.contains("started   1970-01-01T00:00:40Z"));
    tmux.keys(&["q"]);
    tmux.sees("by DOWN ^");

    tmux.keys(&["/"]);
    tmux.run(&["send-keys", "-l", "example.org"]);
    assert_eq!(ids(&tmux.sees("2 of 3 by")), [1, 2]);
    tmux.keys(&["Enter"]);
    tmux.sees("filter: example.org  (Esc: none)");
    tmux.keys(&["Escape"]);
    assert_eq!(ids(&tmux.sees("  3 by DOWN")), [1, 3, 2]);

    tmux.keys(&["Home", "k"]);
    tmux.sees("kill session 1? y/n  10.0.0.5:41001 to www.example.org");
    tmux.keys(&["n"]);
    tmux.sees("session 1 was left alone");
    assert!(admin.tell(|state| state.killed.is_empty()));
    tmux.keys(&["k", "y"]);
    tmux.sees("session 1 is killed");
    assert_eq!(admin.tell(|state| state.killed.clone()), [1]);
    assert_eq!(ids(&tmux.sees("2 by DOWN")), [3, 2]);

    tmux.keys(&["q"]);
    tmux.sees("ended 0");
    tmux.is_restored();
}

#[test]
fn talkers_and_failures_have_screens_and_hostile_text_stays_text() {
    let admin = Admin::unix("screens");
    let tmux = top(&admin, 80, 24);
    tmux.keys(&["2"]);
    assert!(tmux.sees("[2 Clients]").contains("10.0.0.6 "));
    tmux.keys(&["Tab"]);
    tmux.sees("[3 Names]");
    tmux.keys(&["4"]);
    assert!(tmux.sees("[4 Upstreams]").contains("corp 10.2.0.2:3128 "));
    tmux.keys(&["Enter"]);
    tmux.sees("filter: via=corp upstream=10.2.0.2:3128");
    tmux.keys(&["5"]);
    let screen = tmux.sees("since the start: refused:1");
    assert!(screen.contains("1 of 1 by AGO") && screen.contains(" refused "), "{screen}");
    tmux.keys(&["/"]);
    tmux.run(&["send-keys", "-l", " nobody"]);
    tmux.sees("nothing that has failed fits the filter");
    tmux.keys(&["Enter", "Escape"]);
    tmux.sees("  1 by AGO");
    tmux.keys(&["Enter"]);
    let screen = tmux.sees("session 9\n");
    assert!(screen.contains("end       refused, by upstream"), "{screen}");
    assert!(screen.contains("error     403 \\u{1b}]0;owned\\u{7}\\u{1b}[2Jno"), "{screen}");
    assert_ne!(tmux.tells("#{pane_title}"), "owned");
    tmux.keys(&["q", "?"]);
    assert!(tmux.sees("Ctrl-L").contains("kill the session, after a question"));
    tmux.keys(&["C-c"]);
    tmux.sees("ended 0");
    tmux.is_restored();
}

#[test]
fn rates_come_with_the_second_answer_and_stand_still_in_a_pause() {
    let admin = Admin::unix("rates");
    admin.change(|state| (state.speed, state.ticks) = (2_000_000, true));
    let tmux = top(&admin, 120, 40);
    tmux.wait("rates", |screen| screen.lines().skip(4).take(3).all(|line| line.ends_with("M")));
    tmux.keys(&["Space"]);
    tmux.sees("PAUSED");
    let asked = admin.tell(|state| state.asked);
    let stands = || {
        let before = tmux.screen();
        tmux.keys(&["Down", "Enter"]);
        tmux.sees("q back");
        tmux.keys(&["q", "Home"]);
        let after = tmux.sees("? help");
        before.lines().nth(4) == after.lines().nth(4)
    };
    // one more may have been under way
    assert!(stands() || stands() || stands(), "{}", tmux.screen());
    assert!(admin.tell(|state| state.asked) <= asked + 1);
    admin.change(|state| state.ticks = false);
    tmux.keys(&["Space"]);
    tmux.wait("an end of the pause", |screen| !screen.contains("PAUSED"));
    tmux.wait("an answer", |_| admin.tell(|state| state.asked) > asked + 1);
}

#[test]
fn over_tcp_the_reason_why_nothing_is_killed_is_shown() {
    let admin = Admin::tcp();
    let tmux = top(&admin, 80, 24);
    tmux.keys(&["k", "y"]);
    tmux.sees("session 1 was not killed: sessions are cut over a unix socket only");
    assert_eq!(ids(&tmux.screen()), [1, 2, 3]);
}

#[test]
fn an_admin_that_goes_away_is_told_of_and_tried_again() {
    let admin = Admin::unix("away");
    let tmux = top(&admin, 80, 24);
    admin.change(|state| state.away = true);
    let screen = tmux.sees("no answer, trying again: /");
    assert_eq!(ids(&screen), [1, 2, 3], "what was seen stays: {screen}");
    admin.change(|state| state.away = false);
    tmux.wait("an answer", |screen| !screen.contains("no answer") && screen.contains("corp 10.2.0.2:3128 up"));
}

#[test]
fn a_terminal_that_becomes_smaller_shows_less() {
    let admin = Admin::unix("small");
    let tmux = top(&admin, 80, 24);
    tmux.run(&["resize-window", "-x", "40", "-y", "10"]);
    let screen = tmux.wait("less", |screen| screen.lines().nth(9) == Some("? help  / filter  k kill  q quit"));
    let wanted = "\
gateway  open 3/100  up - down -
corp 10.2.0.2:3128 up
[1 Sessions] 2 3 4 5       3 by RATE/s v
CLIENT          NAME         DOWN RATE/s
10.0.0.5        www.e..e.org 5.0K      -
10.0.0.6        mail...e.org 9.0K      -
10.0.0.7        cdn.e..e.net 7.0K      -
";
    assert!(screen.starts_with(wanted), "{screen}");
}

/// A top in a terminal, and its process.
fn with_pid(name: &str) -> (Admin, Tmux, Pid) {
    let admin = Admin::unix(name);
    let file = std::env::temp_dir().join(format!("hp-top-{name}-{}.pid", std::process::id()));
    let tmux = Tmux::new(80, 24);
    let line = format!("sh -c 'echo $$ >{}; exec {PROGRAM} top -admin {}'; echo ended $?", file.display(), admin.addr);
    tmux.line(&line);
    tmux.sees("q quit");
    let pid = fs::read_to_string(&file).expect("it was written").trim().parse().expect("a number");
    fs::remove_file(&file).expect("our file");
    (admin, tmux, Pid::from_raw(pid))
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let (_admin, tmux, pid) = with_pid("signal");
    kill(pid, Signal::SIGTERM).expect("it runs");
    let screen = tmux.sees("ended 1");
    assert!(screen.contains("handyproxy: top: stopped by SIGTERM"), "{screen}");
    tmux.is_restored();
}

#[test]
fn a_terminal_that_is_closed_ends_it() {
    let (_admin, tmux, pid) = with_pid("closed");
    kill(pid, None).expect("it runs");
    drop(tmux);
    let deadline = Instant::now() + Duration::from_secs(60);
    while kill(pid, None).is_ok() {
        assert!(Instant::now() < deadline, "process {pid} goes on without a terminal");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_colours_none_are_written_and_nothing_new_is_nearly_no_bytes() {
    let admin = Admin::unix("bytes");
    let file = std::env::temp_dir().join(format!("hp-top-bytes-{}", std::process::id()));
    let tmux = Tmux::new(80, 24);
    tmux.run(&["pipe-pane", &format!("cat >{}", file.display())]);
    tmux.line(&format!("NO_COLOR=1 {PROGRAM} top -admin {} -interval 100ms", admin.addr));
    tmux.sees("q quit");
    tmux.wait("answers", |_| admin.tell(|state| state.asked) > 2);
    // the pane's bytes go through a program of their own, which may come later than the screen
    let written = || fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    tmux.wait("the bytes of the first picture", |_| written().contains("quit"));
    let (before, asked) = (written().len(), admin.tell(|state| state.asked));
    tmux.wait("ten answers", |_| admin.tell(|state| state.asked) >= asked + 10);
    let grown = written().len() - before;
    assert!(grown < 10 * 100, "{grown} bytes for ten answers that are all the same");
    tmux.keys(&["5"]);
    tmux.sees("[5 Failures]");
    tmux.wait("the bytes of a failure", |_| written().contains("refused"));
    let text = written();
    for colour in ["\x1b[31m", "\x1b[33m", "\x1b[38;"] {
        assert!(!text.contains(colour), "{text:?}");
    }
    fs::remove_file(&file).expect("our file");
}

#[test]
fn once_is_a_table_for_scripts() {
    let admin = Admin::unix("once");
    let (code, out, err) = run(&["-admin", &admin.addr, "-once"]);
    let wanted = "\
# handyproxy 0.1.0 gateway at 1970-01-01T00:01:40Z
# open 3 limit 100 opened 9 up 600 down 21000 running 90s
# since the start: refused:1
# upstream corp 10.2.0.2:3128 up
ID CLIENT         ORIGIN        NAME             VIA  UPSTREAM      STAGE AGE  UP DOWN UP/s DOWN/s
 1 10.0.0.5:41001 192.0.2.7:443 www.example.org  corp 10.2.0.2:3128 relay  60 300 5000    -      -
 2 10.0.0.6:41002 192.0.2.7:443 mail.example.org corp 10.2.0.2:3128 relay  60 200 9000    -      -
 3 10.0.0.7:41003 192.0.2.7:443 cdn.example.net  corp 10.2.0.2:3128 relay  60 100 7000    -      -
";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), wanted, ""));
    admin.change(|state| state.ticks = true);
    let (_, out, _) = run(&["-admin", &admin.addr, "-once", "-interval", "100ms"]);
    assert!(out.lines().nth(5).is_some_and(|line| line.ends_with(" 0      0")), "{out}");
}

#[test]
fn what_is_wrong_is_told_with_its_reason() {
    let (code, _, err) = run(&["-admin", "/nowhere/at.sock", "-once"]);
    assert_eq!(code, Some(1));
    assert!(err.starts_with("handyproxy: top: /nowhere/at.sock: connect: No such file"), "{err}");
    let file = std::env::temp_dir().join(format!("hp-top-{}.toml", std::process::id()));
    fs::write(&file, "local-port = 8043\n").expect("a temporary file");
    let path = file.to_str().expect("plain");
    let (code, _, err) = run(&["-config", path]);
    assert_eq!(code, Some(1));
    assert!(err.contains("has no admin; it is switched on by a line such as admin = "), "{err}");
    fs::write(&file, "admin = 'x'\n").expect("our file");
    let (code, _, err) = run(&["-config", path]);
    assert_eq!(code, Some(2));
    assert!(err.starts_with(&format!("handyproxy: top: {path}:1: admin: ")), "{err}");
    fs::remove_file(&file).expect("our file");
    let (code, _, err) = run(&["-interval", "1ms", "-nope", "word"]);
    assert_eq!(code, Some(2));
    for wanted in ["-interval: ", "-nope: unknown flag", "usage: "] {
        assert!(err.contains(wanted), "{err}");
    }
    let admin = Admin::unix("pipe");
    let (code, _, err) = run(&["-admin", &admin.addr]);
    assert_eq!((code, err.contains("stdout is no terminal; handyproxy top -once")), (Some(1), true), "{err}");
}
