use super::super::desk::tests::desk;
use super::super::facts::tests::{parsed, whole};
use super::super::table::Order;
use super::*;

fn press(desk: &mut Desk, keys: &[KeyCode]) -> Wish {
    let mut wish = Wish::Nothing;
    for key in keys {
        wish = desk.press(KeyEvent::new(*key, KeyModifiers::NONE));
    }
    wish
}

fn typed(desk: &mut Desk, text: &str) -> Wish {
    press(desk, &text.chars().map(KeyCode::Char).collect::<Vec<_>>())
}

#[test]
fn a_session_is_killed_after_a_question() {
    let mut desk = desk();
    desk.go_to(1);
    let key = desk.selected().expect("session 1").key();
    assert_eq!((typed(&mut desk, "k"), desk.mode.clone()), (Wish::Nothing, Mode::Confirm(key, false)));
    // another one moves there before the answer
    desk.turn();
    assert_eq!(typed(&mut desk, "x"), Wish::Nothing, "neither yes nor no");
    assert_eq!(typed(&mut desk, "y"), Wish::Kill(key));
    assert_eq!((key.id, desk.mode.clone()), (1, Mode::Table));
}

#[test]
fn no_leaves_a_session_alone() {
    for no in [KeyCode::Char('n'), KeyCode::Esc, KeyCode::Char('q')] {
        let mut desk = desk();
        assert_eq!(press(&mut desk, &[KeyCode::Char('k'), no]), Wish::Nothing);
        assert_eq!((desk.mode.clone(), desk.note.as_deref()), (Mode::Table, Some("session 3 was left alone")));
    }
}

#[test]
fn what_has_ended_while_the_question_stood_is_not_killed() {
    let mut desk = desk();
    typed(&mut desk, "k");
    // the same number, after a restart
    let other = super::super::facts::tests::session(3, "\"started\":103.0");
    desk.take(Ok(parsed(&whole(104.0, &[other], &[], ""))));
    assert_eq!(typed(&mut desk, "y"), Wish::Nothing);
    assert_eq!(desk.note.as_deref(), Some("session 3 has ended already"));
}

#[test]
fn there_is_nothing_to_kill_among_sums_and_failures() {
    for (screen, wanted) in [("2", "select a session"), ("5", "has ended already")] {
        let mut desk = desk();
        typed(&mut desk, screen);
        assert_eq!(typed(&mut desk, "k"), Wish::Nothing);
        assert_eq!(desk.mode, Mode::Table);
        assert!(desk.note.as_deref().is_some_and(|note| note.contains(wanted)), "{:?}", desk.note);
    }
}

#[test]
fn details_are_killed_from_and_come_back() {
    let mut desk = desk();
    press(&mut desk, &[KeyCode::Down, KeyCode::Enter]);
    let key = desk.selected().expect("session 1").key();
    assert_eq!(desk.mode, Mode::Details(key));
    assert_eq!(typed(&mut desk, "ky"), Wish::Kill(key));
    assert_eq!(desk.mode, Mode::Details(key));
    assert_eq!((typed(&mut desk, "q"), desk.mode.clone()), (Wish::Nothing, Mode::Table));
    assert_eq!(typed(&mut desk, "q"), Wish::Quit);
}

#[test]
fn a_filter_is_typed_kept_and_left() {
    let mut desk = desk();
    typed(&mut desk, "/corp.q");
    assert_eq!((desk.filter.as_str(), desk.rows.len()), ("corp.q", 0), "letters are no commands");
    press(&mut desk, &[KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!((desk.filter.as_str(), desk.rows.len(), desk.mode.clone()), ("corp.", 1, Mode::Table));
    typed(&mut desk, "/x");
    press(&mut desk, &[KeyCode::Esc]);
    assert_eq!(desk.filter, "corp.", "as it was before");
    press(&mut desk, &[KeyCode::Esc]);
    assert_eq!((desk.filter.as_str(), desk.rows.len()), ("", 5));
    typed(&mut desk, "/");
    desk.paste("a\n\x1b[2Jb");
    assert_eq!(desk.filter, "a[2Jb");
    desk.paste(&"x".repeat(5000));
    assert_eq!(desk.filter.len(), MOST);
}

#[test]
fn enter_on_a_sum_shows_its_sessions() {
    let mut desk = desk();
    press(&mut desk, &[KeyCode::Char('4'), KeyCode::Enter]);
    assert_eq!((desk.screen, desk.filter.as_str()), (Screen::Sessions, "via=corp upstream=10.2.0.2:3128"));
    assert_eq!(desk.rows.len(), 3);
}

#[test]
fn screens_orders_and_pauses_have_their_keys() {
    let mut desk = desk();
    for (key, screen) in
        [('2', Screen::Clients), ('3', Screen::Names), ('4', Screen::Upstreams), ('5', Screen::Failures)]
    {
        typed(&mut desk, &key.to_string());
        assert_eq!(desk.screen, screen);
    }
    press(&mut desk, &[KeyCode::Tab]);
    assert_eq!(desk.screen, Screen::Sessions);
    press(&mut desk, &[KeyCode::BackTab]);
    assert_eq!(desk.screen, Screen::Failures);
    typed(&mut desk, "1<");
    assert_eq!(desk.order(), Order { column: 7, falling: true });
    typed(&mut desk, "r>>");
    assert_eq!(desk.order(), Order { column: 0, falling: false });
    assert_eq!(typed(&mut desk, " "), Wish::Pause(true));
    assert_eq!(typed(&mut desk, " "), Wish::Pause(false));
    typed(&mut desk, "?");
    assert_eq!(desk.mode, Mode::Help);
    let ctrl = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    for keys in ["", "k", "/", "?"] {
        typed(&mut desk, keys);
        assert_eq!(desk.press(ctrl('c')), Wish::Quit);
        assert_eq!(desk.press(ctrl('l')), Wish::Redraw);
    }
}
