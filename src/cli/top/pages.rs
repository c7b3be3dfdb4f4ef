//! Longer texts: all about one session, and how many ended how.

use std::time::{Duration, UNIX_EPOCH};

use super::desk::Desk;
use super::facts::{Key, Session, Snapshot};
use super::text::{amount, span, wrapped};
use crate::close::End;

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

/// How many ended how, but well, or because somebody wished it.
pub(super) fn failed(snapshot: &Snapshot) -> impl Iterator<Item = (&str, u64)> {
    let ended = snapshot.totals.ended.iter().map(|(label, count)| (label.as_str(), *count));
    ended.filter(|(label, count)| ![End::Done, End::Killed].map(End::label).contains(label) && *count > 0)
}

/// How many were killed.
pub(super) fn killed(snapshot: &Snapshot) -> u64 {
    let mut ended = snapshot.totals.ended.iter();
    ended.find(|(label, _)| label == End::Killed.label()).map_or(0, |(_, count)| *count)
}

/// The same in words: failures, most first, and behind them what was killed.
pub(super) fn counts(snapshot: &Snapshot) -> String {
    let mut all: Vec<(&str, u64)> = failed(snapshot).collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut words: Vec<String> = all.iter().map(|(label, count)| format!("{label}:{count}")).collect();
    if words.is_empty() {
        words.push("no failures".to_owned());
    }
    if let killed @ 1.. = killed(snapshot) {
        words.push(format!("{}:{killed}", End::Killed));
    }
    format!("since the start: {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::{parsed, whole};
    use super::*;

    #[test]
    fn what_was_killed_stands_apart_from_what_has_failed() {
        let ended = |counts: &str| {
            let totals = format!(r#""totals":{{"opened":20,"open":0,"ended":{{{counts}}},"up":0,"down":0}}"#);
            parsed(&whole(100.0, &[], &[], &totals))
        };
        for (of, wanted, count) in [
            (r#""done":8"#, "no failures", 0),
            (r#""done":8,"killed":0"#, "no failures", 0),
            (r#""done":8,"killed":2"#, "no failures killed:2", 0),
            (r#""reset":1,"killed":7,"refused":3"#, "refused:3 reset:1 killed:7", 4),
        ] {
            let snapshot = ended(of);
            assert_eq!(counts(&snapshot), format!("since the start: {wanted}"));
            assert_eq!(failed(&snapshot).map(|(_, count)| count).sum::<u64>(), count, "{of}");
        }
    }
}
