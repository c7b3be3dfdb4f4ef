use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::desk::tests::desk;
use super::super::facts::tests::{parsed, session, whole};
use super::*;

/// What is seen, without blanks at the ends of lines.
fn picture(desk: &mut Desk, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, desk, false)).expect("drawn");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect::<Vec<_>>().join("\n") + "\n"
}

fn press(desk: &mut Desk, keys: &str) {
    for c in keys.chars() {
        let code = if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) };
        desk.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

/// The picture of a name, in `screens/`.
fn same(name: &str, picture: &str) {
    let path = format!("{}/src/cli/top/screens/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    // drawn anew on purpose, to be looked at before it counts
    if std::env::var_os("DRAW_SCREENS").is_some() {
        std::fs::write(&path, picture).expect("a folder for screens");
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(picture == wanted, "not as in {path}, but:\n{picture}");
}

#[test]
fn screens_are_as_they_were_drawn() {
    for (width, height) in [(80, 24), (40, 10), (120, 40)] {
        for (name, keys) in [("sessions", ""), ("clients", "2"), ("failures", "5"), ("details", "\n"), ("help", "?")] {
            let mut desk = desk();
            press(&mut desk, keys);
            same(&format!("{name}-{width}x{height}"), &picture(&mut desk, width, height));
        }
    }
}

#[test]
fn an_empty_table_says_why() {
    let mut desk = Desk::new("/run/x.sock".to_owned());
    assert!(picture(&mut desk, 80, 24).starts_with("handyproxy: asking /run/x.sock\n"));
    desk.take(Ok(parsed(&whole(100.0, &[], &[], ""))));
    same("empty-80x24", &picture(&mut desk, 80, 24));
    press(&mut desk, "5");
    assert!(picture(&mut desk, 40, 10).contains("nothing has failed"));
    let mut desk = self::desk();
    press(&mut desk, "/nobody");
    assert!(picture(&mut desk, 80, 24).contains("no session fits the filter"));
    assert!(picture(&mut desk, 80, 24).contains("0 of 5 by RATE/s v"));
}

#[test]
fn a_question_names_its_session_and_how_to_answer() {
    for width in [20, 40, 80] {
        let mut desk = desk();
        press(&mut desk, "k");
        let picture = picture(&mut desk, width, 10);
        let last = picture.lines().last().expect("ten lines");
        assert!(last.starts_with("kill session 3? y/n"), "{picture}");
        assert!(width < 80 || last.ends_with("10.0.0.4:40003 to cdn.downloads.example.com"), "{picture}");
    }
}

#[test]
fn a_daemon_that_is_gone_and_upstreams_that_are_down_are_told_in_words() {
    let mut desk = desk();
    let upstreams = r#""upstreams":[{"name":"corp","proxy":"10.2.0.2:3128","up":true,"held_s":0,"why":null},
        {"name":"spare","proxy":"10.2.0.3:3128","up":false,"held_s":24.3,"why":"connection refused\u0007"},
        {"name":"far","proxy":"10.2.0.4:3128","up":true,"held_s":0,"why":null},
        {"name":"away","proxy":"10.2.0.5:3128","up":true,"held_s":0,"why":null}]"#;
    desk.take(Ok(parsed(&whole(104.0, &[session(1, "")], &[], upstreams))));
    let seen = picture(&mut desk, 80, 24);
    let wanted = "spare 10.2.0.3:3128 DOWN 25s: connection refused\\u{7}  and 3 more";
    assert_eq!(seen.lines().nth(1), Some(wanted), "{seen}");
    let seen = picture(&mut desk, 120, 24);
    assert!(seen.contains("refused\\u{7}  corp 10.2.0.2:3128 up  far 10.2.0.4:3128 up"), "{seen}");
    desk.take(Err("/run/x.sock: connect: refused".to_owned()));
    let seen = picture(&mut desk, 80, 24);
    assert!(seen.contains("\nno answer, trying again: /run/x.sock: connect: refused\n"), "{seen}");
    assert!(seen.contains("www.example.org"), "what was seen stays: {seen}");
    press(&mut desk, " ");
    assert!(picture(&mut desk, 40, 10).starts_with("PAUSED  "));
}

#[test]
fn a_session_that_was_killed_is_counted_apart() {
    let totals = r#""totals":{"opened":20,"open":0,"ended":{"done":8,"refused":3,"killed":2},"up":0,"down":0}"#;
    let mut desk = Desk::new("x".to_owned());
    desk.take(Ok(parsed(&whole(100.0, &[], &[], totals))));
    let seen = picture(&mut desk, 120, 10);
    assert!(seen.contains("  opened 20 failed 3 killed 2  "), "{seen}");
}

#[test]
fn no_size_is_too_small_and_nothing_raw_is_drawn() {
    let mut looked_at = 0;
    for (width, height) in [(1, 1), (2, 2), (5, 3), (10, 4), (20, 5), (39, 6), (80, 7), (300, 90)] {
        for keys in ["", "2", "5", "\n", "5\n", "?", "/x", "k", "\nk"] {
            let mut desk = desk();
            press(&mut desk, keys);
            let picture = picture(&mut desk, width, height);
            assert!(picture.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{picture}");
            looked_at += 1;
        }
    }
    assert_eq!(looked_at, 72);
}

#[test]
fn wide_letters_and_marks_fit_too() {
    let ended = "\"ended\":99.0,\"end\":\"error\",\"by\":\"us\",\"error\":\"\u{65e5}\u{672c}\u{8a9e} e\u{301} \u{1f469}\u{200d}\u{1f469} x\"";
    let name = "\"name\":\"\u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e}.example\"";
    let mut desk = Desk::new("x".to_owned());
    desk.take(Ok(parsed(&whole(100.0, &[session(1, name)], &[session(2, ended)], ""))));
    for width in 1..130 {
        for keys in ["1", "3", "5", "\n", "q"] {
            press(&mut desk, keys);
            picture(&mut desk, width, 12);
        }
    }
    press(&mut desk, "5");
    let seen = picture(&mut desk, 200, 12);
    assert!(seen.contains("e\\u{301}") && seen.contains("\\u{200d}"), "{seen}");
}

#[test]
fn colours_say_nothing_that_no_word_says() {
    let mut desk = desk();
    press(&mut desk, "5");
    let colours = |desk: &mut Desk, on| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
        terminal.draw(|frame| draw(frame, desk, on)).expect("drawn");
        let cells = terminal.backend().buffer().content().iter();
        cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert_eq!(colours(&mut desk, false), 0);
    assert!(colours(&mut desk, true) > 0);
}

/// The processor time of this thread, which other programs do not lengthen, in ticks of 10 ms.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("proc(5)");
    // the name in parentheses may hold spaces: count behind it
    let (_, fields) = stat.rsplit_once(") ").expect("proc(5): stat");
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("proc(5): a number")).sum()
}

#[test]
fn ten_times_as_many_sessions_take_not_much_more_than_ten_times_as_long() {
    let time = |count: u64| {
        let open: Vec<String> =
            (1..=count).map(|id| session(id, &format!("\"name\":\"host-{}.example\"", id % 4000))).collect();
        let (first, second) = (whole(100.0, &open, &[], ""), whole(102.0, &open, &[], ""));
        let mut desk = Desk::new("x".to_owned());
        let start = cpu_ticks();
        desk.take(Ok(parsed(&first)));
        desk.take(Ok(parsed(&second)));
        for keys in ["2", "3", "4", "1", "/host", "\n", "k", "n", "\n", "q", ">", ">"] {
            press(&mut desk, keys);
            picture(&mut desk, 80, 24);
        }
        assert!(desk.rows.len() as u64 == count);
        cpu_ticks() - start
    };
    // those that a busy machine has lengthened least
    let [few, many] = [950, 9500].map(|count| (0..3).map(|_| time(count)).min().expect("three were taken"));
    // squares would be a hundred times
    assert!(many < few.max(1) * 40, "ticks of 10 ms for 950 sessions: {few}, for 9500: {many}");
}
