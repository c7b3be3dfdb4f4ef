//! What is in which screen: columns, order, filter, sums.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::facts::{Rate, Session, Snapshot};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// Every open session.
    Sessions,
    /// Their sums by client.
    Clients,
    /// By name, or else by the origin's address.
    Names,
    /// By the way they go.
    Upstreams,
    /// Sessions that did not end well.
    Failures,
}

/// What a column is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Id,
    Client,
    Name,
    Via,
    Stage,
    Age,
    Up,
    Down,
    Rate,
    /// What a sum is of.
    Who,
    Sessions,
    /// How long ago.
    Ended,
    End,
    By,
    Error,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) fact: Fact,
    pub(super) title: &'static str,
    /// It is no narrower than this, or not there.
    pub(super) least: u16,
    /// What is left over is shared by these weights; 0: it never grows.
    pub(super) share: u16,
    /// Which columns go first where there is too little room; 0 stays.
    pub(super) spare: u16,
}

/// Sessions that have something in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) who: String,
    pub(super) sessions: u64,
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) rate: Option<Rate>,
}

/// By which column rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) column: usize,
    /// The greatest first.
    pub(super) falling: bool,
}

/// What a screen shows, in order.
#[derive(Clone, Debug)]
pub(super) enum Rows {
    /// Places in `open` of the snapshot.
    Open(Vec<usize>),
    /// Places in `ended`.
    Ended(Vec<usize>),
    Groups(Vec<Group>),
}

const fn column(fact: Fact, title: &'static str, least: u16, share: u16, spare: u16) -> Column {
    Column { fact, title, least, share, spare }
}

const SESSIONS: [Column; 9] = [
    column(Fact::Id, "ID", 6, 0, 4),
    column(Fact::Client, "CLIENT", 15, 1, 1),
    column(Fact::Name, "NAME", 12, 6, 0),
    column(Fact::Via, "VIA", 7, 1, 7),
    column(Fact::Stage, "STAGE", 7, 0, 5),
    column(Fact::Age, "AGE", 4, 0, 3),
    column(Fact::Up, "UP", 4, 0, 6),
    column(Fact::Down, "DOWN", 4, 0, 2),
    column(Fact::Rate, "RATE/s", 6, 0, 0),
];

const fn sums(who: &'static str) -> [Column; 5] {
    [
        column(Fact::Who, who, 12, 1, 0),
        column(Fact::Sessions, "SESSIONS", 8, 0, 1),
        column(Fact::Up, "UP", 4, 0, 3),
        column(Fact::Down, "DOWN", 4, 0, 2),
        column(Fact::Rate, "RATE/s", 6, 0, 0),
    ]
}

const CLIENTS: [Column; 5] = sums("CLIENT");
const NAMES: [Column; 5] = sums("NAME");
const UPSTREAMS: [Column; 5] = sums("UPSTREAM");

const FAILURES: [Column; 7] = [
    column(Fact::Ended, "AGO", 4, 0, 3),
    column(Fact::Id, "ID", 6, 0, 5),
    column(Fact::Client, "CLIENT", 15, 1, 2),
    column(Fact::Name, "NAME", 12, 3, 0),
    column(Fact::End, "END", 11, 0, 0),
    column(Fact::By, "BY", 8, 0, 4),
    column(Fact::Error, "ERROR", 12, 5, 6),
];

impl Screen {
    pub(super) const ALL: [Screen; 5] =
        [Screen::Sessions, Screen::Clients, Screen::Names, Screen::Upstreams, Screen::Failures];

    pub(super) fn title(self) -> &'static str {
        match self {
            Screen::Sessions => "Sessions",
            Screen::Clients => "Clients",
            Screen::Names => "Names",
            Screen::Upstreams => "Upstreams",
            Screen::Failures => "Failures",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Screen::Sessions => &SESSIONS,
            Screen::Clients => &CLIENTS,
            Screen::Names => &NAMES,
            Screen::Upstreams => &UPSTREAMS,
            Screen::Failures => &FAILURES,
        }
    }

    /// What counts most in it: who is fast, or what failed last.
    pub(super) fn usual(self) -> Order {
        match self {
            Screen::Failures => Order { column: 0, falling: false },
            _ => Order { column: self.columns().len() - 1, falling: true },
        }
    }

    /// The rows that pass the filter, in order.
    pub(super) fn rows(self, snapshot: &Snapshot, order: Order, filter: &str) -> Rows {
        let filter = filter.to_lowercase();
        let words: Vec<&str> = filter.split_whitespace().collect();
        let passes = |session: &Session| words.iter().all(|word| session.matches(word));
        let fact = self.columns()[order.column.min(self.columns().len() - 1)].fact;
        if matches!(self, Screen::Sessions | Screen::Failures) {
            let is_open = self == Screen::Sessions;
            let all = if is_open { &snapshot.open } else { &snapshot.ended };
            let mut rows: Vec<usize> = (0..all.len()).filter(|&at| passes(&all[at])).collect();
            rows.sort_by(|&a, &b| {
                let (a, b) = (&all[a], &all[b]);
                turned(compare(fact, a, b), order).then(b.ended_at().total_cmp(&a.ended_at())).then(a.id.cmp(&b.id))
            });
            return if is_open { Rows::Open(rows) } else { Rows::Ended(rows) };
        }
        let mut groups = self.groups(snapshot.open.iter().filter(|session| passes(session)));
        groups.sort_by(|a, b| turned(compare_groups(fact, a, b), order).then_with(|| a.who.cmp(&b.who)));
        Rows::Groups(groups)
    }

    fn groups<'a>(self, sessions: impl Iterator<Item = &'a Session>) -> Vec<Group> {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for session in sessions {
            let who = self.who(session);
            let at = *places.entry(who).or_insert_with_key(|who| {
                groups.push(Group { who: who.clone(), ..Group::default() });
                groups.len() - 1
            });
            let group = &mut groups[at];
            group.sessions += 1;
            group.up = group.up.saturating_add(session.up);
            group.down = group.down.saturating_add(session.down);
            if let Some(rate) = session.rate {
                let sum = group.rate.get_or_insert_default();
                sum.up += rate.up;
                sum.down += rate.down;
            }
        }
        groups
    }

    /// The filter that leaves the sessions of a group.
    pub(super) fn filter(self, group: &Group) -> String {
        match (self, group.who.split_once(' ')) {
            (Screen::Clients, _) => format!("client={}", group.who),
            (Screen::Upstreams, Some((via, upstream))) => format!("via={via} upstream={upstream}"),
            (Screen::Upstreams, None) => format!("via={}", group.who),
            _ => format!("name={}", group.who),
        }
    }

    fn who(self, session: &Session) -> String {
        match (self, &session.name, &session.via, &session.upstream) {
            (Screen::Clients, ..) => session.client_host(),
            (Screen::Upstreams, _, Some(via), Some(upstream)) if via != upstream => format!("{via} {upstream}"),
            (Screen::Upstreams, ..) => session.way().to_owned(),
            (_, Some(name), ..) => name.clone(),
            (_, None, ..) => host(&session.origin).to_owned(),
        }
    }
}

impl Order {
    /// The order by a column that makes most sense: numbers from the greatest, words from A.
    pub(super) fn by(screen: Screen, column: usize) -> Order {
        let falling =
            matches!(screen.columns()[column].fact, Fact::Up | Fact::Down | Fact::Rate | Fact::Sessions | Fact::Age);
        Order { column, falling }
    }
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        match self {
            Rows::Open(places) | Rows::Ended(places) => places.len(),
            Rows::Groups(groups) => groups.len(),
        }
    }
}

impl Session {
    /// Whether a word of a filter, in small letters, is somewhere in it; behind `client=` and the like it is all of it.
    fn matches(&self, word: &str) -> bool {
        let is = |text: &str, wanted: &str| text.to_lowercase() == wanted;
        match word.split_once('=') {
            Some(("client", wanted)) => is(&self.client_host(), wanted) || is(&self.client, wanted),
            Some(("name", wanted)) => is(&Screen::Names.who(self), wanted),
            Some(("via", wanted)) => is(self.way(), wanted),
            Some(("upstream", wanted)) => is(self.upstream.as_deref().unwrap_or_default(), wanted),
            _ => self.sought.contains(word),
        }
    }

    fn ended_at(&self) -> f64 {
        self.ending.as_ref().map_or(0.0, |ending| ending.at)
    }

    fn ended_how(&self) -> Option<&str> {
        self.ending.as_ref().map(|ending| ending.end.as_str())
    }

    fn ended_by(&self) -> Option<&str> {
        self.ending.as_ref().map(|ending| ending.by.as_str())
    }

    fn ended_why(&self) -> Option<&str> {
        self.ending.as_ref().and_then(|ending| ending.error.as_deref())
    }
}

/// An address without its port.
pub(super) fn host(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn turned(ordering: Ordering, order: Order) -> Ordering {
    if order.falling { ordering.reverse() } else { ordering }
}

fn compare(fact: Fact, a: &Session, b: &Session) -> Ordering {
    match fact {
        Fact::Id | Fact::Who | Fact::Sessions => a.id.cmp(&b.id),
        // addresses by their numbers, not by their digits
        Fact::Client => a.client_addr.cmp(&b.client_addr).then_with(|| a.client.cmp(&b.client)),
        Fact::Name => a.place().cmp(b.place()),
        Fact::Via => a.way().cmp(b.way()),
        Fact::Stage => a.stage.cmp(&b.stage),
        Fact::Age => b.started.total_cmp(&a.started),
        Fact::Up => a.up.cmp(&b.up),
        Fact::Down => a.down.cmp(&b.down),
        Fact::Rate => speed(a.speed()).total_cmp(&speed(b.speed())),
        Fact::Ended => b.ended_at().total_cmp(&a.ended_at()),
        Fact::End => a.ended_how().cmp(&b.ended_how()),
        Fact::By => a.ended_by().cmp(&b.ended_by()),
        Fact::Error => a.ended_why().cmp(&b.ended_why()),
    }
}

fn compare_groups(fact: Fact, a: &Group, b: &Group) -> Ordering {
    match fact {
        Fact::Sessions => a.sessions.cmp(&b.sessions),
        Fact::Up => a.up.cmp(&b.up),
        Fact::Down => a.down.cmp(&b.down),
        Fact::Rate => speed(a.rate.map(|rate| rate.up + rate.down)).total_cmp(&speed(b.rate.map(|r| r.up + r.down))),
        _ => a.who.cmp(&b.who),
    }
}

/// What is not known is less than nothing.
fn speed(rate: Option<f64>) -> f64 {
    rate.unwrap_or(-1.0)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
