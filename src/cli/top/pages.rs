//! Longer texts: all about one session, and how many ended how.

use std::time::{Duration, UNIX_EPOCH};

use super::desk::Desk;
use super::facts::{Key, Session, Snapshot};
use super::text::{amount, span, wrapped};

/// From here on years have five digits.
const YEAR_10000: f64 = 253_402_300_800.0;

/// All about a session.
pub(super) fn details(desk: &Desk, key: Key, width: usize) -> Vec<String> {
    let session = desk.snapshot.as_ref().and_then(|snapshot| Some((snapshot, snapshot.session(key)?)));
    let Some((snapshot, session)) = session else {
        return vec![format!("session {}", key.id), "has ended, and is not among those that failed last".to_owned()];
    };
    let mut lines = vec![format!("session {}", session.id)];
    for (label, text) in facts(session, snapshot) {
        for (number, line) in wrapped(&text, width.saturating_sub(10).max(10)).iter().enumerate() {
            lines.push(format!("{:9} {line}", if number == 0 { label } else { "" }));
        }
    }
    lines
}

fn facts(session: &Session, snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let source = session.name_source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default();
    let speed = |of: fn(&super::facts::Rate) -> f64| {
        session.rate.as_ref().map(|rate| format!(", {}/s", amount(of(rate) as u64))).unwrap_or_default()
    };
    let ago = |then: f64| format!("{}, {} ago", clock(then), span(snapshot.now - then));
    let mut facts = vec![
        ("client", session.client.clone()),
        ("origin", session.origin.clone()),
        ("name", or_none(&session.name) + &source),
        ("target", or_none(&session.target)),
        ("route", or_none(&session.route)),
        ("via", or_none(&session.via)),
        ("upstream", or_none(&session.upstream)),
        ("started", ago(session.started)),
        ("stage", session.stage.clone()),
        ("status", session.status.map_or("-".to_owned(), |status| status.to_string())),
        ("requests", session.requests.to_string()),
        ("up", format!("{} bytes{}", session.up, speed(|rate| rate.up))),
        ("down", format!("{} bytes{}", session.down, speed(|rate| rate.down))),
    ];
    if let Some(ending) = &session.ending {
        facts.push(("ended", ago(ending.at)));
        facts.push(("end", format!("{}, by {}", ending.end, ending.by)));
        facts.push(("error", or_none(&ending.error)));
    }
    facts
}

/// A time of day, with its day.
pub(super) fn clock(seconds: f64) -> String {
    if !(0.0..YEAR_10000).contains(&seconds) {
        return "-".to_owned();
    }
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs_f64(seconds)).to_string()
}

/// How many ended how, but well.
pub(super) fn failed(snapshot: &Snapshot) -> impl Iterator<Item = (&str, u64)> {
    let ended = snapshot.totals.ended.iter();
    ended.filter(|(label, count)| label != "done" && *count > 0).map(|(label, count)| (label.as_str(), *count))
}

/// The same in words, most first.
pub(super) fn counts(snapshot: &Snapshot) -> String {
    let mut all: Vec<(&str, u64)> = failed(snapshot).collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words: Vec<String> = all.iter().map(|(label, count)| format!("{label}:{count}")).collect();
    if words.is_empty() {
        "since the start: no failures".to_owned()
    } else {
        format!("since the start: {}", words.join(" "))
    }
}
