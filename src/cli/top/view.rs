//! What the screens look like: two lines of state, the screens' names, a table, a line for notes and questions.
//!
//! Nothing but ASCII and the text of others, cleaned; no frames: a picture is few bytes, and the same on every
//! terminal. Colours only say again what a word says.

use ratatui::Frame;
use ratatui::layout::Position;
use ratatui::style::{Color, Modifier, Style};

use super::columns::{self, Cell};
use super::desk::{Desk, Mode};
use super::facts::{Snapshot, Upstream};
use super::keys::KEYS;
use super::pages;
use super::table::Screen;
use super::text::{amount, middle, span, wrapped};
use crate::close::{End, Weight};

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, desk: &mut Desk, colours: bool) {
    let (width, height) = (frame.area().width, frame.area().height);
    let mut canvas = Canvas { frame, colours, width, next: 0, end: height.saturating_sub(1) };
    canvas.line(&head(desk, usize::from(width)), Modifier::BOLD.into());
    // of a window that is hardly one, the table is what counts
    if height > 5 {
        state(&mut canvas, desk);
        canvas.line(&tabs(desk, usize::from(width)), Style::new());
    }
    match &desk.mode {
        Mode::Help => help(&mut canvas, desk),
        Mode::Details(key) | Mode::Confirm(key, true) => {
            let lines = pages::details(desk, *key, usize::from(width));
            canvas.page(&lines, &mut desk.scrolled);
        }
        _ => table(&mut canvas, desk),
    }
    canvas.end = height;
    canvas.next = height.saturating_sub(1);
    bottom(&mut canvas, desk);
}

/// The part of the screen that is still to be drawn.
struct Canvas<'a, 'b> {
    frame: &'a mut Frame<'b>,
    colours: bool,
    width: u16,
    /// The line that is drawn next.
    next: u16,
    /// The one behind the last.
    end: u16,
}

impl Canvas<'_, '_> {
    fn line(&mut self, text: &str, style: Style) {
        if self.next < self.end {
            self.frame.buffer_mut().set_stringn(0, self.next, text, usize::from(self.width), style);
            self.next += 1;
        }
    }

    fn put(&mut self, at: u16, text: &str, style: Style) {
        if self.next < self.end && at < self.width {
            let room = usize::from(self.width - at);
            self.frame.buffer_mut().set_stringn(at, self.next, text, room, style);
        }
    }

    fn room(&self) -> usize {
        usize::from(self.end.saturating_sub(self.next))
    }

    /// As many of these lines as fit, from the one that it is scrolled to.
    fn page(&mut self, lines: &[String], scrolled: &mut usize) {
        *scrolled = (*scrolled).min(lines.len().saturating_sub(self.room()));
        for line in lines.iter().skip(*scrolled) {
            self.line(line, Style::new());
        }
    }

    fn coloured(&self, style: Style, colour: Color) -> Style {
        if self.colours { style.fg(colour) } else { style }
    }
}

/// Who is looked at, and how much goes on there; what counts least is left out first.
fn head(desk: &Desk, width: usize) -> String {
    let Some(snapshot) = &desk.snapshot else { return format!("handyproxy: asking {}", desk.from) };
    let limit = snapshot.limit.map(|limit| format!("/{limit}")).unwrap_or_default();
    let rate = snapshot.rate.map_or("up - down -".to_owned(), |rate| {
        format!("up {}/s down {}/s", amount(rate.up as u64), amount(rate.down as u64))
    });
    let totals = &snapshot.totals;
    let failed: u64 = pages::failed(snapshot).map(|(_, count)| count).fold(0, u64::saturating_add);
    let killed = match pages::killed(snapshot) {
        0 => String::new(),
        count => format!(" killed {}", amount(count)),
    };
    let name = snapshot.instance.as_deref().unwrap_or("handyproxy");
    let mut parts = vec![
        (0, if desk.paused { "PAUSED".to_owned() } else { String::new() }),
        (1, name.to_owned()),
        (3, format!("{} running {}", snapshot.version, span(snapshot.runs_for()))),
        (0, format!("open {}{limit}", totals.open)),
        (2, format!("opened {} failed {}{killed}", amount(totals.opened), amount(failed))),
        (0, rate),
    ];
    parts.retain(|(_, text)| !text.is_empty());
    loop {
        let text = parts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("  ");
        let least = parts.iter().map(|(spare, _)| *spare).max().unwrap_or(0);
        if text.len() <= width || least == 0 {
            return text;
        }
        parts.retain(|(spare, _)| *spare != least);
    }
}

/// That there is no answer, or else how the upstreams are, those that are down first.
fn state(canvas: &mut Canvas<'_, '_>, desk: &Desk) {
    let bad = canvas.coloured(Modifier::BOLD.into(), Color::Red);
    if let Some(why) = &desk.lost {
        return canvas.line(&format!("no answer, trying again: {why}"), bad);
    }
    let Some(snapshot) = &desk.snapshot else { return canvas.line("", Style::new()) };
    let mut upstreams: Vec<&Upstream> = snapshot.upstreams.iter().collect();
    upstreams.sort_by_key(|upstream| upstream.is_up);
    let mut at = 0;
    for (number, upstream) in upstreams.iter().enumerate() {
        let text = upstream_state(upstream, upstreams.len() == 1);
        let rest = upstreams.len() - number;
        let room = usize::from(canvas.width - at);
        // the last one may be cut, the others must leave room for how many are left
        if number > 0 && text.len() + 9 > room {
            canvas.put(at, &format!("and {rest} more"), Style::new());
            break;
        }
        canvas.put(at, &text, if upstream.is_up { Style::new() } else { bad });
        at = at.saturating_add(text.chars().count() as u16 + 2).min(canvas.width);
    }
    canvas.next += 1;
}

fn upstream_state(upstream: &Upstream, alone: bool) -> String {
    // one without a name goes by its address
    let mut text = if upstream.proxy.ends_with(&upstream.name) {
        upstream.proxy.clone()
    } else {
        format!("{} {}", upstream.name, upstream.proxy)
    };
    if upstream.is_up {
        return text + " up";
    }
    text += " DOWN";
    if upstream.held > 0.0 {
        text += &format!(" {}", span(upstream.held.ceil()));
    }
    match &upstream.why {
        Some(why) if alone => text + ": " + why,
        Some(why) => text + ": " + &middle(why, 40),
        None => text,
    }
}

/// The screens, the one that is looked at in brackets; how many rows, by which column.
fn tabs(desk: &Desk, width: usize) -> String {
    let tabs = |all: bool| {
        let tab = |(number, screen): (usize, Screen)| match (screen == desk.screen, all) {
            (true, _) => format!("[{number} {}]", screen.title()),
            (_, true) => format!("{number} {}", screen.title()),
            _ => number.to_string(),
        };
        (1..).zip(Screen::ALL).map(tab).collect::<Vec<_>>().join(" ")
    };
    let order = desk.order();
    let by = desk.screen.columns()[order.column].title;
    let count = match (&desk.snapshot, desk.screen, desk.filter.is_empty()) {
        (Some(snapshot), Screen::Sessions, false) => format!("{} of {}", desk.rows.len(), snapshot.open.len()),
        (Some(snapshot), Screen::Failures, false) => format!("{} of {}", desk.rows.len(), snapshot.ended.len()),
        _ => desk.rows.len().to_string(),
    };
    let right = format!("{count} by {by} {}", if order.falling { 'v' } else { '^' });
    let long = tabs(true);
    let left = if long.len() + right.len() + 2 <= width { long } else { tabs(false) };
    let gap = width.saturating_sub(left.len() + right.len()).max(1);
    format!("{left}{}{right}", " ".repeat(gap))
}

fn table(canvas: &mut Canvas<'_, '_>, desk: &mut Desk) {
    if let (Screen::Failures, Some(snapshot)) = (desk.screen, &desk.snapshot) {
        let counts = pages::counts(snapshot);
        let most = canvas.room() / 4;
        for line in wrapped(&counts, usize::from(canvas.width)).iter().take(most) {
            canvas.line(line, Style::new());
        }
    }
    let Some(snapshot) = &desk.snapshot else { return };
    let places = columns::places(desk.screen.columns(), canvas.width, columns::id_width(snapshot));
    let sorted = desk.order().column;
    for place in &places {
        let column = &desk.screen.columns()[place.column];
        let style = if place.column == sorted { Modifier::BOLD | Modifier::UNDERLINED } else { Modifier::UNDERLINED };
        canvas.put(place.at, &place.aligned(column.title.to_owned()), style.into());
    }
    canvas.next += 1;
    let first = desk.fit(canvas.room());
    let Some(snapshot) = &desk.snapshot else { return };
    for row in first..desk.rows.len().min(first + canvas.room()) {
        let selected = row == desk.row();
        let style: Style = if selected { Modifier::REVERSED.into() } else { Style::new() };
        if selected {
            canvas.put(0, &" ".repeat(usize::from(canvas.width)), style);
        }
        for place in &places {
            let fact = desk.screen.columns()[place.column].fact;
            let Cell { text, weight } = match (desk.session_at(row), desk.group_at(row)) {
                (Some(session), _) => columns::of_session(fact, session, snapshot, place.width),
                (_, Some(group)) => columns::of_group(fact, group),
                _ => continue,
            };
            let style = match weight {
                Weight::Error => canvas.coloured(style, Color::Red),
                Weight::Warn => canvas.coloured(style, Color::Yellow),
                Weight::Info => style,
            };
            canvas.put(place.at, &place.aligned(text), style);
        }
        canvas.next += 1;
    }
    if desk.rows.len() == 0 {
        canvas.line(nothing(desk, snapshot), Style::new());
    }
}

fn nothing(desk: &Desk, snapshot: &Snapshot) -> &'static str {
    match desk.screen {
        Screen::Failures if snapshot.ended.is_empty() => "nothing has failed",
        Screen::Failures => "nothing that has failed fits the filter",
        _ if snapshot.open.is_empty() => "no session is open",
        _ => "no session fits the filter",
    }
}

fn help(canvas: &mut Canvas<'_, '_>, desk: &mut Desk) {
    let room = usize::from(canvas.width);
    let mut lines = Vec::new();
    for (keys, what) in KEYS {
        let about = wrapped(what, room.saturating_sub(16).max(12));
        for (number, line) in about.iter().enumerate() {
            let keys = if number == 0 { keys } else { "" };
            lines.push(format!("{keys:15} {line}"));
        }
    }
    canvas.page(&lines, &mut desk.scrolled);
}

/// A question, what is being typed, a note, or else the most important keys.
fn bottom(canvas: &mut Canvas<'_, '_>, desk: &Desk) {
    let width = usize::from(canvas.width);
    let strong: Style = Modifier::BOLD.into();
    match (&desk.mode, &desk.note) {
        (Mode::Confirm(key, _), _) => {
            let about = desk.selected().map(|s| format!("  {} to {}", s.client, s.place())).unwrap_or_default();
            let question = format!("kill session {}? y/n", key.id);
            let room = width.saturating_sub(question.len());
            canvas.line(&(question + &middle(&about, room)), strong);
        }
        (Mode::Filter(_), _) => {
            let typed = format!("filter: {}", desk.filter);
            // its end is what is being typed
            let skipped = typed.chars().count().saturating_sub(width.saturating_sub(1));
            let seen: String = typed.chars().skip(skipped).collect();
            let at = Position::new(seen.chars().count() as u16, canvas.next);
            canvas.line(&seen, strong);
            canvas.frame.set_cursor_position(at);
        }
        (_, Some(note)) => canvas.line(note, strong),
        (Mode::Help, _) => canvas.line("q back  Up Down scroll", Style::new()),
        (Mode::Details(_), _) => canvas.line("q back  k kill  Up Down scroll", Style::new()),
        _ if !desk.filter.is_empty() => canvas.line(&format!("filter: {}  (Esc: none)", desk.filter), strong),
        _ if width < 72 => canvas.line("? help  / filter  k kill  q quit", Style::new()),
        _ => canvas.line("? help  / filter  < > sort  Enter details  k kill  Space pause  q quit", Style::new()),
    }
}

/// How loud a label is.
pub(super) fn weight(label: &str) -> Weight {
    End::ALL.into_iter().find(|end| end.label() == label).map_or(Weight::Info, End::weight)
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
