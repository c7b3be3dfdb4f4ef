//! A session's facts as a line of text, as JSON, or as fields of the journal: the same keys in the same order.
//!
//! Pure: who makes it says when it ended. Whatever a peer has put into a fact, a line is one line of printable
//! characters.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_millis;

use crate::addr::Target;
use crate::close::{Close, Stage, Weight};
use crate::flow::{Flow, Span};
use crate::session::Setup;
use crate::sys::journal::{Entry, Priority};

/// A session's facts.
pub(in crate::session) struct Line<'a> {
    pub(super) flow: &'a Flow,
    pub(super) close: &'a Close,
    pub(super) setup: &'a Setup,
    pub(super) ended: SystemTime,
    pub(super) lasted: Duration,
}

/// What is known of one thing.
enum Fact<'a> {
    /// Nothing.
    Unknown,
    /// A word without spaces or quotes.
    Word(&'a dyn fmt::Display),
    /// The name of a file, which may hold anything.
    Place(&'a str),
    /// Somebody's words.
    Words(&'a str),
    /// How many.
    Number(u64),
    /// How many, which goes without saying where there are none.
    Some(u64),
    /// How long, in milliseconds.
    Millis(f64),
    /// Yes, which goes without saying, or no.
    Agrees(bool),
}

impl Line<'_> {
    /// The line of a session that ends now.
    pub(super) fn new<'a>(flow: &'a Flow, close: &'a Close, setup: &'a Setup) -> Line<'a> {
        Line { flow, close, setup, ended: SystemTime::now(), lasted: flow.started.elapsed() }
    }

    /// What was, or was to be, asked for; nothing where that was never a question.
    pub(super) fn target(&self) -> Option<Target<'_>> {
        self.flow.target().filter(|_| self.flow.stage != Stage::Origin)
    }

    /// The address that was reached, or else what was to be reached; nothing where no upstream is concerned.
    pub(super) fn upstream(&self) -> Option<Either<SocketAddr, &str>> {
        let Line { flow, setup, .. } = self;
        let led = flow.led.as_ref().map(|led| &*led.via);
        let name = led.unwrap_or_else(|| setup.upstreams[setup.config.default_upstream].name());
        let concerned = flow.stage != Stage::Origin && !matches!(name, "direct" | "reject");
        concerned.then_some(Either(flow.upstream, name))
    }

    /// In milliseconds.
    pub(super) fn duration(&self) -> f64 {
        self.lasted.as_secs_f64() * 1e3
    }

    /// With the time when it ended, as a line of a file.
    pub(super) fn timed(&self) -> String {
        format!("{} {self}", format_rfc3339_millis(self.ended))
    }

    /// One object of JSON: every key is in it, and null where nothing is known. ASCII.
    pub(super) fn json(&self) -> String {
        let mut json = String::with_capacity(1024);
        let mut separator = '{';
        let mut member = |key: &str, fact: Fact<'_>| {
            json.push(separator);
            separator = ',';
            let _ = write!(json, "\"{key}\":");
            let _ = match fact {
                Fact::Unknown => write!(json, "null"),
                Fact::Word(word) => write!(json, "{}", quoted(&word.to_string())),
                Fact::Place(text) | Fact::Words(text) => write!(json, "{}", quoted(text)),
                Fact::Number(number) | Fact::Some(number) => write!(json, "{number}"),
                Fact::Millis(millis) => write!(json, "{millis:.3}"),
                Fact::Agrees(agrees) => write!(json, "{agrees}"),
            };
        };
        member("id", Fact::Number(self.flow.id));
        member("started", Fact::Word(&format_rfc3339_millis(self.started())));
        member("ended", Fact::Word(&format_rfc3339_millis(self.ended)));
        self.facts(&mut member);
        json.push('}');
        json
    }

    /// Fields for the journal, beside what it says there.
    pub(super) fn entry(&self, message: &str) -> Entry {
        let mut entry = Entry::new(self.close.end.weight().into(), message);
        let mut field = |key: &str, value: &str| {
            entry.field(&format!("HANDYPROXY_{}", key.to_ascii_uppercase()), value);
        };
        field("id", &self.flow.id.to_string());
        field("started", &format_rfc3339_millis(self.started()).to_string());
        field("ended", &format_rfc3339_millis(self.ended).to_string());
        self.facts(&mut |key, fact| match fact {
            Fact::Place(text) | Fact::Words(text) => field(key, text),
            fact => {
                if let Some(value) = fact.value() {
                    field(key, &value.to_string());
                }
            }
        });
        entry
    }

    /// In 1970 at the earliest, where somebody has set the clock back since.
    fn started(&self) -> SystemTime {
        self.ended.max(UNIX_EPOCH + self.lasted) - self.lasted
    }

    /// Everything but when it was, in the order of the interface.
    fn facts(&self, tell: &mut dyn FnMut(&'static str, Fact<'_>)) {
        let Line { flow, close, .. } = self;
        let led = flow.led.as_ref();
        let time = |span: Option<Span>| span.map_or(Fact::Unknown, |span| Fact::Millis(span.millis()));
        tell("end", Fact::Word(&close.end));
        tell("by", Fact::Word(&close.by));
        tell("client", Fact::Word(&flow.client));
        tell("origin", Fact::word(flow.origin.as_ref()));
        tell("name", Fact::word(flow.name.as_ref().map(|name| &name.host)));
        tell("name_source", Fact::word(flow.name.as_ref().map(|name| &name.source)));
        tell("target", Fact::word(self.target().as_ref()));
        tell("via", Fact::word(led.map(|led| &led.via)));
        tell("route", led.and_then(|led| led.route.as_deref()).map_or(Fact::Unknown, Fact::Place));
        tell("verified", flow.verified.map_or(Fact::Unknown, Fact::Agrees));
        tell("upstream", Fact::word(self.upstream().as_ref()));
        tell("stage", Fact::Word(&flow.stage));
        tell("status", flow.status.map_or(Fact::Unknown, |status| Fact::Number(status.into())));
        tell("error", close.error.as_deref().map_or(Fact::Unknown, Fact::Words));
        tell("sniff_ms", time(flow.sniff));
        tell("dial_ms", time(flow.dial));
        tell("tls_ms", time(flow.tls));
        tell("connect_ms", time(flow.connect));
        tell("requests", Fact::Some(flow.requests.into()));
        tell("retries", Fact::Some(flow.retries.into()));
        tell("up", Fact::Number(flow.up));
        tell("down", Fact::Number(flow.down));
        tell("chunks_up", Fact::Number(flow.chunks[0].into()));
        tell("chunks_down", Fact::Number(flow.chunks[1].into()));
        tell("duration_ms", Fact::Millis(self.duration()));
    }
}

/// `session key=value ...`, what is not known left out.
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session id={}", self.flow.id)?;
        let mut outcome = Ok(());
        self.facts(&mut |key, fact| {
            if let (Ok(()), Some(value)) = (outcome, fact.value()) {
                outcome = write!(f, " {key}={value}");
            }
        });
        outcome
    }
}

impl<'a> Fact<'a> {
    fn word<T: fmt::Display>(word: Option<&'a T>) -> Fact<'a> {
        word.map_or(Fact::Unknown, |word| Fact::Word(word))
    }

    /// Where it need not be left out.
    fn value(&self) -> Option<Value<'_>> {
        let is_said = !matches!(self, Fact::Unknown | Fact::Some(0) | Fact::Agrees(true));
        is_said.then_some(Value(self))
    }
}

/// A fact in a line of text.
struct Value<'a>(&'a Fact<'a>);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Fact::Unknown => Ok(()),
            Fact::Word(word) => word.fmt(f),
            Fact::Place(text) if is_word(text) => f.write_str(text),
            Fact::Place(text) | Fact::Words(text) => write!(f, "{text:?}"),
            Fact::Number(number) | Fact::Some(number) => number.fmt(f),
            Fact::Millis(millis) => write!(f, "{millis:.3}"),
            Fact::Agrees(agrees) => f.write_str(if *agrees { "yes" } else { "no" }),
        }
    }
}

/// Whether a text needs no quotes and no escapes.
fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"' || c.escape_debug().len() > 1)
}

/// A string of JSON, in ASCII: what a terminal may take for more than text is escaped too.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    if json.bytes().all(|byte| byte.is_ascii() && byte != 0x7f) {
        return json;
    }
    let mut ascii = String::with_capacity(json.len() * 2);
    for c in json.chars() {
        if c.is_ascii() && c != '\x7f' {
            ascii.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(ascii, "\\u{unit:04x}");
        }
    }
    ascii
}

/// The one if it is there, else the other.
pub(super) struct Either<A, B>(Option<A>, B);

impl<A: fmt::Display, B: fmt::Display> fmt::Display for Either<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(one) => one.fmt(f),
            None => self.1.fmt(f),
        }
    }
}

impl From<Weight> for Priority {
    fn from(weight: Weight) -> Priority {
        match weight {
            Weight::Info => Priority::Info,
            Weight::Warn => Priority::Warning,
            Weight::Error => Priority::Error,
        }
    }
}
