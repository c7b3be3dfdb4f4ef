//! One look, as plain text: a line for each session, fields in columns, nothing cut; `#` begins what is no session.

use super::facts::{Session, Snapshot};
use super::pages;
use super::text::span;

const TITLES: [&str; 12] =
    ["ID", "CLIENT", "ORIGIN", "NAME", "VIA", "UPSTREAM", "STAGE", "AGE", "UP", "DOWN", "UP/s", "DOWN/s"];
/// From here on numbers, which stand to the right.
const NUMBERS: usize = 7;

/// The text.
pub(super) fn text(snapshot: &Snapshot) -> String {
    let totals = &snapshot.totals;
    let limit = snapshot.limit.map_or("-".to_owned(), |limit| limit.to_string());
    let name = snapshot.instance.as_deref().unwrap_or("-");
    let mut lines = vec![
        format!("# handyproxy {} {name} at {}", or_none(&snapshot.version), pages::clock(snapshot.now)),
        format!(
            "# open {} limit {limit} opened {} up {} down {} running {}s",
            totals.open,
            totals.opened,
            totals.up,
            totals.down,
            snapshot.runs_for().max(0.0) as u64
        ),
        format!("# {}", pages::counts(snapshot)),
    ];
    for upstream in &snapshot.upstreams {
        let state = match (&upstream.why, upstream.is_up) {
            (_, true) => "up".to_owned(),
            (Some(why), _) => format!("down for {}: {why}", span(upstream.held.ceil())),
            (None, _) => format!("down for {}", span(upstream.held.ceil())),
        };
        lines.push(format!("# upstream {} {} {state}", or_none(&upstream.name), or_none(&upstream.proxy)));
    }
    let mut sessions: Vec<&Session> = snapshot.open.iter().collect();
    sessions.sort_by_key(|session| session.id);
    let mut rows = vec![TITLES.map(str::to_owned)];
    rows.extend(sessions.into_iter().map(|session| row(session, snapshot)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..TITLES.len()).map(width).collect();
    for row in &rows {
        let fields = row.iter().zip(&widths).enumerate().map(|(number, (text, &width))| {
            if number == 0 || number >= NUMBERS { format!("{text:>width$}") } else { format!("{text:width$}") }
        });
        lines.push(fields.collect::<Vec<_>>().join(" "));
    }
    lines.join("\n") + "\n"
}

fn row(session: &Session, snapshot: &Snapshot) -> [String; 12] {
    let word = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), or_none);
    let rate = |of: fn(&super::facts::Rate) -> f64| {
        session.rate.as_ref().map_or("-".to_owned(), |rate| (of(rate) as u64).to_string())
    };
    [
        session.id.to_string(),
        or_none(&session.client),
        or_none(&session.origin),
        word(&session.name),
        word(&session.via),
        word(&session.upstream),
        or_none(&session.stage),
        ((snapshot.now - session.started).max(0.0) as u64).to_string(),
        session.up.to_string(),
        session.down.to_string(),
        rate(|rate| rate.up),
        rate(|rate| rate.down),
    ]
}

/// A field, which is one word whatever is in it.
fn or_none(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.replace(' ', "\\x20") }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::{answer, session};
    use super::*;

    #[test]
    fn every_session_is_a_line_of_as_many_words_as_there_are_titles() {
        let sessions = [session(12, "\"via\":\"my own\""), session(3, "\"name\":null,\"upstream\":null")];
        let snapshot = Snapshot::parse(answer(100.0, &sessions).as_bytes()).expect("an answer");
        let text = text(&snapshot);
        let rows: Vec<Vec<&str>> =
            text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), 3, "{text}");
        assert!(rows.iter().all(|row| row.len() == TITLES.len()), "{text}");
        assert_eq!((rows[1][0], rows[1][3], rows[1][5]), ("3", "-", "-"), "{text}");
        assert_eq!((rows[2][0], rows[2][4], rows[2][10]), ("12", "my\\x20own", "-"), "{text}");
        assert!(text.starts_with("# handyproxy 0.1.0 gateway at 1970-01-01T00:01:40Z\n# open 2 limit 9744 "), "{text}");
    }
}
