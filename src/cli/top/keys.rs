//! What each key does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::desk::{Desk, Mode};
use super::facts::Key;
use super::table::Screen;

/// What a key asks of others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    /// Draw all of it anew: something else has written to the terminal.
    Redraw,
    /// Ask again, or no more.
    Pause(bool),
    Kill(Key),
}

/// Every key with what it does, for the help.
pub(super) const KEYS: [(&str, &str); 17] = [
    ("1 2 3 4 5", "sessions, clients, names, upstreams, failures"),
    ("Tab Shift-Tab", "the next screen, the one before"),
    ("Up Down, j", "move; PgUp PgDn, Home End (g G): further"),
    ("Enter", "all about a session; the sessions of a group"),
    ("< > Left Right", "sort by the column before, by the next"),
    ("r", "sort the other way round"),
    ("/", "filter by client, name, origin, upstream, via;"),
    ("", "of several words all must be there, and a word"),
    ("", "such as client=10.0.0.5 (name= upstream= via=)"),
    ("", "must be all of it"),
    ("Esc", "back; without a filter"),
    ("k", "kill the session, after a question"),
    ("Space", "pause and go on"),
    ("Ctrl-L", "draw anew"),
    ("?", "this help"),
    ("q", "back, or quit"),
    ("Ctrl-C", "quit"),
];

/// More than this is no filter.
const MOST: usize = 200;

impl Desk {
    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if ctrl => return Wish::Quit,
            KeyCode::Char('l') if ctrl => return Wish::Redraw,
            _ => {}
        }
        match self.mode.clone() {
            Mode::Filter(before) => {
                self.edit(key.code, ctrl, before);
                Wish::Nothing
            }
            _ if ctrl || key.modifiers.contains(KeyModifiers::ALT) => Wish::Nothing,
            Mode::Confirm(session, in_details) => self.answer(key.code, session, in_details),
            Mode::Help | Mode::Details(_) => self.read(key.code),
            Mode::Table => {
                self.note = None;
                self.walk(key.code)
            }
        }
    }

    /// Text was pasted: only a filter takes it.
    pub(super) fn paste(&mut self, text: &str) {
        if matches!(self.mode, Mode::Filter(_)) {
            text.chars().for_each(|c| self.add(c));
        }
    }

    fn walk(&mut self, code: KeyCode) -> Wish {
        let (row, page, last) = (self.row(), self.page(), self.rows.len().saturating_sub(1));
        match code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char(' ') => {
                self.paused = !self.paused;
                return Wish::Pause(self.paused);
            }
            KeyCode::Char('k') => self.ask_to_kill(false),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.open(Mode::Help),
            KeyCode::Char('/') => self.mode = Mode::Filter(self.filter.clone()),
            KeyCode::Esc => self.set_filter(String::new()),
            KeyCode::Enter => self.look(),
            KeyCode::Up => self.go_to(row.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.go_to(row + 1),
            KeyCode::PageUp => self.go_to(row.saturating_sub(page)),
            KeyCode::PageDown => self.go_to(row + page),
            KeyCode::Home | KeyCode::Char('g') => self.go_to(0),
            KeyCode::End | KeyCode::Char('G') => self.go_to(last),
            KeyCode::Left | KeyCode::Char('<') => self.sort_by_next(-1),
            KeyCode::Right | KeyCode::Char('>') => self.sort_by_next(1),
            KeyCode::Char('r') => self.turn(),
            KeyCode::Tab => self.show(Screen::ALL[(self.screen as usize + 1) % Screen::ALL.len()]),
            KeyCode::BackTab => self.show(Screen::ALL[(self.screen as usize + 4) % Screen::ALL.len()]),
            KeyCode::Char(digit @ '1'..='5') => self.show(Screen::ALL[digit as usize - '1' as usize]),
            _ => {}
        }
        Wish::Nothing
    }

    fn read(&mut self, code: KeyCode) -> Wish {
        let in_details = matches!(self.mode, Mode::Details(_));
        match code {
            KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scrolled += 1,
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(self.page()),
            KeyCode::PageDown => self.scrolled += self.page(),
            KeyCode::Home => self.scrolled = 0,
            KeyCode::Char('k') if in_details => self.ask_to_kill(true),
            KeyCode::Char(' ') if in_details => {
                self.paused = !self.paused;
                return Wish::Pause(self.paused);
            }
            KeyCode::Char('q' | '?') | KeyCode::Esc | KeyCode::Enter => self.mode = Mode::Table,
            _ => {}
        }
        Wish::Nothing
    }

    fn answer(&mut self, code: KeyCode, session: Key, in_details: bool) -> Wish {
        let is_open = |desk: &Desk| {
            let snapshot = desk.snapshot.as_ref();
            snapshot.is_some_and(|snapshot| snapshot.open.iter().any(|open| open.key().is(session)))
        };
        let wish = match code {
            KeyCode::Char('y' | 'Y') if is_open(self) => {
                self.note = Some(format!("killing session {}", session.id));
                Wish::Kill(session)
            }
            KeyCode::Char('y' | 'Y') => {
                self.note = Some(format!("session {} has ended already", session.id));
                Wish::Nothing
            }
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                self.note = Some(format!("session {} was left alone", session.id));
                Wish::Nothing
            }
            // anything else may have been meant for the table
            _ => return Wish::Nothing,
        };
        self.mode = if in_details { Mode::Details(session) } else { Mode::Table };
        wish
    }

    fn edit(&mut self, code: KeyCode, ctrl: bool, before: String) {
        let mut filter = self.filter.clone();
        match code {
            KeyCode::Char('u') if ctrl => filter.clear(),
            KeyCode::Char(c) if !ctrl => return self.add(c),
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.mode = Mode::Table;
                filter = before;
            }
            _ => return,
        }
        self.set_filter(filter);
    }

    fn add(&mut self, c: char) {
        if !c.is_control() && self.filter.chars().count() < MOST {
            self.set_filter(format!("{}{c}", self.filter));
        }
    }

    fn look(&mut self) {
        if let Some(session) = self.session_at(self.row()) {
            self.open(Mode::Details(session.key()));
        } else if let Some(group) = self.group_at(self.row()) {
            let filter = self.screen.filter(group);
            self.screen = Screen::Sessions;
            self.set_filter(filter);
            self.go_to(0);
        }
    }

    fn open(&mut self, mode: Mode) {
        self.mode = mode;
        self.scrolled = 0;
        self.note = None;
    }

    fn ask_to_kill(&mut self, in_details: bool) {
        match self.selected() {
            Some(session) if session.ending.is_none() => {
                self.mode = Mode::Confirm(session.key(), in_details);
                self.note = None;
            }
            Some(session) => self.note = Some(format!("session {} has ended already", session.id)),
            None if matches!(self.mode, Mode::Details(_)) => self.note = Some("it has ended already".to_owned()),
            None => self.note = Some("select a session to kill it: 1, then Up and Down".to_owned()),
        }
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
