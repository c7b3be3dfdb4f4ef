//! What the program writes: collected as it comes, waited for by line, and the end-of-session lines taken apart.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use super::PATIENCE;

/// Everything that came out of one descriptor of a child.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<(Mutex<Pages>, Condvar)>,
}

#[derive(Default)]
struct Pages {
    bytes: Vec<u8>,
    /// sessions that a test has already taken
    taken: Vec<bool>,
    ended: bool,
}

impl Journal {
    /// Collects what a pipe gives until it ends.
    pub fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let journal = Self { shared: Arc::default() };
        let writer = journal.clone();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let n = pipe.read(&mut chunk).unwrap_or(0);
                let (pages, changed) = &*writer.shared;
                let mut pages = pages.lock().expect("no test panics while it reads");
                pages.bytes.extend_from_slice(&chunk[..n]);
                pages.ended = n == 0;
                changed.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        journal
    }

    /// The bytes so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// The whole lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines()
    }

    /// Waits for a line that contains this.
    pub fn wait_for(&self, words: &str) -> String {
        self.wait(words, |pages| pages.lines().into_iter().find(|line| line.contains(words)))
    }

    /// Waits until so many lines contain this; returns the last of them.
    pub fn wait_for_times(&self, words: &str, times: usize) -> String {
        let what = format!("{words} (line {times} of them)");
        self.wait(&what, |pages| pages.lines().into_iter().filter(|line| line.contains(words)).nth(times - 1))
    }

    /// How many lines contain this so far.
    pub fn count(&self, words: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(words)).count()
    }

    /// Waits until nothing more can come.
    pub fn wait_for_end(&self) {
        self.wait("end of the log", |pages| pages.ended.then_some(()));
    }

    /// Every end-of-session line so far.
    pub fn sessions(&self) -> Vec<SessionLine> {
        self.lock().sessions()
    }

    /// Waits for the next end-of-session line that no test has taken yet and that `wanted` holds for.
    pub fn take_session(&self, what: &str, wanted: impl Fn(&SessionLine) -> bool) -> SessionLine {
        self.wait(what, |pages| {
            let sessions = pages.sessions();
            pages.taken.resize(sessions.len(), false);
            let next = (0..sessions.len()).find(|&i| !pages.taken[i] && wanted(&sessions[i]))?;
            pages.taken[next] = true;
            sessions.into_iter().nth(next)
        })
    }

    fn wait<T>(&self, what: &str, mut found: impl FnMut(&mut Pages) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut pages = self.lock();
        loop {
            if let Some(it) = found(&mut pages) {
                return it;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || pages.ended {
                let text = pages.lines().join("\n");
                drop(pages);
                panic!("no {what:?} in the log:\n{text}");
            }
            let (_, changed) = &*self.shared;
            pages = changed.wait_timeout(pages, left).expect("no test panics while it reads").0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.shared.0.lock().expect("no test panics while it reads")
    }
}

impl Pages {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.split('\n').map(str::to_owned).collect()
    }

    fn sessions(&self) -> Vec<SessionLine> {
        let lines = self.lines();
        lines.iter().filter_map(|l| SessionLine::parse(l)).collect()
    }
}

/// One end-of-session line.
#[derive(Debug, Clone)]
pub struct SessionLine {
    level: String,
    fields: Vec<(String, String)>,
    text: String,
}

impl SessionLine {
    /// Takes a line apart: time, level, the word "session", then key=value, where a value may be quoted.
    fn parse(text: &str) -> Option<Self> {
        let (before, mut rest) = text.split_once(" session id=")?;
        let level = before.split_whitespace().nth(1)?.to_owned();
        let start = text.len() - rest.len() - "id=".len();
        rest = &text[start..];
        let mut fields = Vec::new();
        while let Some((key, after)) = rest.trim_start().split_once('=') {
            let (value, left) = value(after);
            fields.push((key.to_owned(), value));
            rest = left;
        }
        Some(Self { level, fields, text: text.to_owned() })
    }

    /// The level that it was written with.
    pub fn level(&self) -> &str {
        &self.level
    }

    /// The keys in their order.
    pub fn keys(&self) -> Vec<&str> {
        self.fields.iter().map(|(key, _)| key.as_str()).collect()
    }

    /// A field's value, if the line has it.
    pub fn get(&self, key: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(k, _)| k == key);
        field.map(|(_, value)| value.as_str())
    }

    /// A field's number; the line must have it.
    pub fn number(&self, key: &str) -> f64 {
        self.get(key)
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no number {key} in: {}", self.text))
    }

    /// Checks fields, written as in the line: `end=done by=client`; `-key` must be absent.
    pub fn expect(&self, fields: &str) {
        for field in fields.split_whitespace() {
            let (key, want) = match (field.strip_prefix('-'), field.split_once('=')) {
                (Some(key), _) => (key, None),
                (_, Some((key, value))) => (key, Some(value)),
                _ => panic!("not a field: {field}"),
            };
            assert_eq!(self.get(key), want, "{key} in: {}", self.text);
        }
    }
}

/// A value up to the next space, or a quoted one with its escapes as they stand; and what is behind it.
fn value(text: &str) -> (String, &str) {
    if !text.starts_with('"') {
        let end = text.find(' ').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    }
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return (text[1..i].to_owned(), &text[i + 1..]),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    panic!("a quote that never ends: {text}");
}

/// Checks that a log holds nothing that a terminal or a reader of lines could take for more than text.
pub fn printable(log: &[u8]) {
    let text = std::str::from_utf8(log).expect("a log is UTF-8");
    for line in text.split('\n') {
        let odd = line.chars().find(|c| c.is_control());
        assert_eq!(odd, None, "raw in the log: {}", line.escape_debug());
    }
}
