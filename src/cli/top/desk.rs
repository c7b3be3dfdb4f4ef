//! What one looks at and how: screen, order, filter, what is selected, what is asked.
//!
//! The selection stays with its session or group while rows move; the question whether to kill names the session that
//! was selected when it was asked.

use super::facts::{Key, Session, Snapshot};
use super::table::{Group, Order, Rows, Screen};

/// What is on top of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mode {
    Table,
    /// The filter is being typed; what it was before.
    Filter(String),
    /// All of one session.
    Details(Key),
    Help,
    /// Whether to kill this session; from its details or not.
    Confirm(Key, bool),
}

/// What a row is of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Session(Key),
    Group(String),
}

/// Where the cursor is.
#[derive(Clone, Debug, Default)]
struct Cursor {
    row: usize,
    /// What it stays with, once it was moved.
    item: Option<Item>,
    /// The first row that is seen.
    first: usize,
}

/// The state of all screens.
#[derive(Debug)]
pub(super) struct Desk {
    /// Whom we ask, for people.
    pub(super) from: String,
    pub(super) screen: Screen,
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) paused: bool,
    pub(super) snapshot: Option<Snapshot>,
    /// Why there is no answer, since the last one.
    pub(super) lost: Option<String>,
    /// What became of the last wish.
    pub(super) note: Option<String>,
    /// How far details or help are scrolled.
    pub(super) scrolled: usize,
    pub(super) rows: Rows,
    orders: [Order; 5],
    cursors: [Cursor; 5],
    /// How many rows were seen at once.
    page: usize,
}

impl Desk {
    pub(super) fn new(from: String) -> Desk {
        Desk {
            from,
            screen: Screen::Sessions,
            mode: Mode::Table,
            filter: String::new(),
            paused: false,
            snapshot: None,
            lost: None,
            note: None,
            scrolled: 0,
            rows: Rows::Open(Vec::new()),
            orders: Screen::ALL.map(Screen::usual),
            cursors: Default::default(),
            page: 1,
        }
    }

    /// An answer has come.
    pub(super) fn take(&mut self, answer: Result<Snapshot, String>) {
        match answer {
            Ok(mut snapshot) => {
                if let Some(before) = &self.snapshot {
                    snapshot.compare(before);
                }
                self.snapshot = Some(snapshot);
                self.lost = None;
                self.arrange();
            }
            Err(why) => self.lost = Some(why),
        }
    }

    /// Which rows there are, and in which order; the cursor stays where it belongs.
    pub(super) fn arrange(&mut self) {
        let Some(snapshot) = &self.snapshot else { return };
        self.rows = self.screen.rows(snapshot, self.order(), &self.filter);
        let cursor = &self.cursors[self.screen as usize];
        let row = cursor.item.as_ref().and_then(|item| self.row_of(item));
        let row = row.unwrap_or(cursor.row).min(self.rows.len().saturating_sub(1));
        let pinned = self.cursors[self.screen as usize].item.is_some();
        let item = if pinned { self.item(row) } else { None };
        let cursor = &mut self.cursors[self.screen as usize];
        (cursor.row, cursor.item) = (row, item);
    }

    pub(super) fn order(&self) -> Order {
        self.orders[self.screen as usize]
    }

    /// The row of the cursor.
    pub(super) fn row(&self) -> usize {
        self.cursors[self.screen as usize].row
    }

    /// The first row that is seen, if there is room for this many.
    pub(super) fn fit(&mut self, page: usize) -> usize {
        self.page = page.max(1);
        let (len, page) = (self.rows.len(), self.page);
        let cursor = &mut self.cursors[self.screen as usize];
        let last_first = len.saturating_sub(page);
        let lowest = (cursor.row + 1).saturating_sub(page);
        cursor.first = cursor.first.clamp(lowest, cursor.row.max(lowest)).min(last_first);
        cursor.first
    }

    pub(super) fn page(&self) -> usize {
        self.page
    }

    /// The session of a row.
    pub(super) fn session_at(&self, row: usize) -> Option<&Session> {
        let snapshot = self.snapshot.as_ref()?;
        match &self.rows {
            Rows::Open(places) => snapshot.open.get(*places.get(row)?),
            Rows::Ended(places) => snapshot.ended.get(*places.get(row)?),
            Rows::Groups(_) => None,
        }
    }

    /// The sum of a row.
    pub(super) fn group_at(&self, row: usize) -> Option<&Group> {
        match &self.rows {
            Rows::Groups(groups) => groups.get(row),
            _ => None,
        }
    }

    /// The session that is looked at, or selected.
    pub(super) fn selected(&self) -> Option<&Session> {
        match self.mode {
            Mode::Details(key) | Mode::Confirm(key, _) => self.snapshot.as_ref()?.session(key),
            _ => self.session_at(self.row()),
        }
    }

    /// Goes to a row, and stays with what is there; in the first row it stays with the row.
    pub(super) fn go_to(&mut self, row: usize) {
        let row = row.min(self.rows.len().saturating_sub(1));
        let item = if row == 0 { None } else { self.item(row) };
        let cursor = &mut self.cursors[self.screen as usize];
        (cursor.row, cursor.item) = (row, item);
    }

    pub(super) fn show(&mut self, screen: Screen) {
        self.screen = screen;
        self.mode = Mode::Table;
        self.arrange();
    }

    /// By the column that is so many further.
    pub(super) fn sort_by_next(&mut self, step: isize) {
        let columns = self.screen.columns().len();
        let column = self.order().column.saturating_add_signed(step);
        // one before the first is the last
        let column = if step < 0 && self.order().column == 0 { columns - 1 } else { column % columns };
        self.orders[self.screen as usize] = Order::by(self.screen, column);
        self.arrange();
    }

    pub(super) fn turn(&mut self) {
        let order = &mut self.orders[self.screen as usize];
        order.falling = !order.falling;
        self.arrange();
    }

    pub(super) fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.arrange();
    }

    fn item(&self, row: usize) -> Option<Item> {
        let session = self.session_at(row).map(|session| Item::Session(session.key()));
        session.or_else(|| self.group_at(row).map(|group| Item::Group(group.who.clone())))
    }

    fn row_of(&self, item: &Item) -> Option<usize> {
        match item {
            Item::Session(key) => {
                (0..self.rows.len()).find(|&row| self.session_at(row).is_some_and(|session| session.key().is(*key)))
            }
            Item::Group(who) => {
                (0..self.rows.len()).find(|&row| self.group_at(row).is_some_and(|group| group.who == *who))
            }
        }
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
pub(super) mod tests;
