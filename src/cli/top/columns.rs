//! Which columns fit, how wide they are, and what is in them. Widths depend on the terminal alone, and so stay.

use super::facts::{Rate, Session, Snapshot};
use super::table::{Column, Fact, Group, host};
use super::text::{amount, middle, span};
use super::view::weight;
use crate::close::Weight;

/// `255.255.255.255:65535`.
const WITH_PORT: u16 = 21;

/// Where a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its number among all of the screen.
    pub(super) column: usize,
    pub(super) at: u16,
    pub(super) width: u16,
    right: bool,
}

/// What is in a field, and how loud it is.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) weight: Weight,
}

impl Place {
    /// Text that fills the column.
    pub(super) fn aligned(&self, text: String) -> String {
        let width = usize::from(self.width);
        let text = middle(&text, width);
        if self.right { format!("{text:>width$}") } else { format!("{text:width$}") }
    }
}

/// As many columns as fit, those that can be spared left out first; what is left over is shared.
pub(super) fn places(columns: &[Column], width: u16, id_width: u16) -> Vec<Place> {
    let least = |column: &Column| if column.fact == Fact::Id { id_width } else { column.least };
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let mut used;
    loop {
        let gaps = kept.len().saturating_sub(1) as u16;
        used = kept.iter().map(|&at| least(&columns[at])).sum::<u16>() + gaps;
        let spare = kept.iter().copied().filter(|&at| columns[at].spare > 0).max_by_key(|&at| columns[at].spare);
        match spare {
            Some(spare) if used > width => kept.retain(|&at| at != spare),
            _ => break,
        }
    }
    let mut left = width.saturating_sub(used);
    let mut shares: u16 = kept.iter().map(|&at| columns[at].share).sum();
    let mut places = Vec::with_capacity(kept.len());
    let mut at = 0;
    for column in kept {
        let Column { fact, share, .. } = columns[column];
        let more = if shares > 0 { (u32::from(left) * u32::from(share) / u32::from(shares)) as u16 } else { 0 };
        (left, shares) = (left - more, shares - share);
        let width = (least(&columns[column]) + more).min(width.saturating_sub(at));
        let right =
            matches!(fact, Fact::Id | Fact::Age | Fact::Up | Fact::Down | Fact::Rate | Fact::Sessions | Fact::Ended);
        places.push(Place { column, at, width, right });
        at += width + 1;
    }
    places
}

/// How wide numbers of sessions are.
pub(super) fn id_width(snapshot: &Snapshot) -> u16 {
    let ids = snapshot.open.iter().chain(&snapshot.ended).map(|session| session.id);
    (ids.max().unwrap_or(0).to_string().len() as u16).clamp(4, 10)
}

/// A field of a session.
pub(super) fn of_session(fact: Fact, session: &Session, snapshot: &Snapshot, width: u16) -> Cell {
    let ending = session.ending.as_ref();
    let text = match fact {
        Fact::Id => session.id.to_string(),
        // all with their ports, or none, but for long addresses
        Fact::Client if width < WITH_PORT || session.client.len() > usize::from(width) => session.client_host(),
        Fact::Client => session.client.clone(),
        Fact::Name => session.place().to_owned(),
        Fact::Via if session.way().len() > usize::from(width) => host(session.way()).to_owned(),
        Fact::Via => session.way().to_owned(),
        Fact::Stage => session.stage.clone(),
        Fact::Age => span(snapshot.now - session.started),
        Fact::Up => amount(session.up),
        Fact::Down => amount(session.down),
        Fact::Rate => rate(session.rate),
        Fact::Ended => ending.map_or(String::new(), |ending| span(snapshot.now - ending.at)),
        Fact::End => ending.map_or(String::new(), |ending| ending.end.clone()),
        Fact::By => ending.map_or(String::new(), |ending| ending.by.clone()),
        Fact::Error => return Cell { text: cut(ending.and_then(|e| e.error.as_deref()), width), weight: Weight::Info },
        Fact::Who | Fact::Sessions => String::new(),
    };
    let loud = if fact == Fact::End { weight(&text) } else { Weight::Info };
    Cell { text, weight: loud }
}

/// A field of a sum.
pub(super) fn of_group(fact: Fact, group: &Group) -> Cell {
    let text = match fact {
        Fact::Who => group.who.clone(),
        Fact::Sessions => group.sessions.to_string(),
        Fact::Up => amount(group.up),
        Fact::Down => amount(group.down),
        Fact::Rate => rate(group.rate),
        _ => String::new(),
    };
    Cell { text, weight: Weight::Info }
}

fn rate(rate: Option<Rate>) -> String {
    rate.map_or("-".to_owned(), |rate| amount((rate.up + rate.down) as u64))
}

/// A sentence says most at its beginning.
fn cut(text: Option<&str>, width: u16) -> String {
    text.unwrap_or_default().chars().take(usize::from(width)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::table::Screen;
    use super::*;

    #[test]
    fn columns_never_overlap_and_never_leave_the_screen() {
        for screen in Screen::ALL {
            for width in 1..200 {
                let places = places(screen.columns(), width, 6);
                assert!(!places.is_empty());
                let mut end = 0;
                for place in &places {
                    assert!(place.at >= end, "{screen:?} {width}: {places:?}");
                    end = place.at + place.width;
                    assert!(end <= width.max(place.at), "{screen:?} {width}: {places:?}");
                }
            }
        }
    }

    #[test]
    fn all_columns_are_there_at_eighty_and_the_important_ones_at_forty() {
        let titles = |screen: Screen, width| {
            let places = places(screen.columns(), width, 6);
            places.iter().map(|place| screen.columns()[place.column].title).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(titles(Screen::Sessions, 80), "ID CLIENT NAME VIA STAGE AGE UP DOWN RATE/s");
        assert_eq!(titles(Screen::Sessions, 40), "CLIENT NAME DOWN RATE/s");
        assert_eq!(titles(Screen::Clients, 40), "CLIENT SESSIONS UP DOWN RATE/s");
        assert_eq!(titles(Screen::Failures, 80), "AGO ID CLIENT NAME END BY ERROR");
        assert_eq!(titles(Screen::Failures, 40), "CLIENT NAME END");
    }
}
