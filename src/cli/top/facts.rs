//! What the admin says in one answer: its JSON made facts.
//!
//! All text is cleaned here, once, so that nothing raw can reach a terminal by any way. What a later daemon adds is
//! passed over; what is missing is unknown.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_json::Value;

use super::text::clean;

/// One answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) version: String,
    pub(super) instance: Option<String>,
    /// The daemon's clock, in seconds since 1970.
    pub(super) now: f64,
    /// When it started.
    pub(super) started: f64,
    pub(super) open: Vec<Session>,
    /// Those that did not end well, newest first.
    pub(super) ended: Vec<Session>,
    pub(super) totals: Totals,
    /// Bytes per second of all sessions; known from the second answer on.
    pub(super) rate: Option<Rate>,
    pub(super) upstreams: Vec<Upstream>,
    /// Most sessions at once.
    pub(super) limit: Option<u64>,
}

/// A session, open or ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) started: f64,
    pub(super) client: String,
    /// The same, if it is one.
    pub(super) client_addr: Option<SocketAddr>,
    pub(super) origin: String,
    pub(super) name: Option<String>,
    pub(super) name_source: Option<String>,
    pub(super) target: Option<String>,
    pub(super) via: Option<String>,
    pub(super) route: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) stage: String,
    pub(super) status: Option<u64>,
    pub(super) requests: u64,
    pub(super) up: u64,
    pub(super) down: u64,
    /// Known from the second answer on.
    pub(super) rate: Option<Rate>,
    pub(super) ending: Option<Ending>,
    /// What a filter looks at, in small letters.
    pub(super) sought: String,
}

/// How a session ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    pub(super) at: f64,
    pub(super) end: String,
    pub(super) by: String,
    pub(super) error: Option<String>,
}

/// Sums since the daemon started.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) opened: u64,
    pub(super) open: u64,
    /// How many ended how, in the daemon's order.
    pub(super) ended: Vec<(String, u64)>,
    pub(super) up: u64,
    pub(super) down: u64,
}

/// Bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) up: f64,
    pub(super) down: f64,
}

/// One proxy of an upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) proxy: String,
    pub(super) is_up: bool,
    /// For how many seconds it is still left alone.
    pub(super) held: f64,
    pub(super) why: Option<String>,
}

/// Which session: numbers begin anew with the daemon, times do not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) id: u64,
    started: f64,
}

impl Snapshot {
    /// Reads an answer.
    pub(super) fn parse(body: &[u8]) -> Result<Snapshot, String> {
        let value: Value = serde_json::from_slice(body).map_err(|error| format!("its answer is no JSON: {error}"))?;
        let Some(open) = value["open"].as_array() else {
            return Err("its answer is not that of a handyproxy: it has no list of open sessions".to_owned());
        };
        let now = value["now"].as_f64().ok_or("its answer is not that of a handyproxy: it says no time")?;
        let (totals, limits) = (&value["totals"], &value["limits"]);
        let ends = totals["ended"].as_object().into_iter().flatten();
        Ok(Snapshot {
            version: text(&value["version"]),
            instance: maybe(&value["instance"]),
            now,
            started: value["started"].as_f64().unwrap_or(now),
            open: open.iter().map(Session::read).collect(),
            ended: list(&value["ended"]).map(Session::read).collect(),
            totals: Totals {
                opened: number(&totals["opened"]),
                open: totals["open"].as_u64().unwrap_or(open.len() as u64),
                ended: ends.map(|(label, count)| (clean(label), number(count))).collect(),
                up: number(&totals["up"]),
                down: number(&totals["down"]),
            },
            rate: None,
            upstreams: list(&value["upstreams"]).map(Upstream::read).collect(),
            limit: limits["sessions"].as_u64().filter(|limit| *limit > 0),
        })
    }

    /// Finds out rates by the answer before this one. A session that is new moved all its bytes since then; after a
    /// restart, or where a counter runs backwards, nothing is known.
    pub(super) fn compare(&mut self, before: &Snapshot) {
        // by how long it runs: the clock on the wall may be set
        let time = self.runs_for() - before.runs_for();
        if time <= 0.0 {
            return;
        }
        let rate = |now: (u64, u64), before: (u64, u64)| {
            let up = now.0.checked_sub(before.0)?;
            let down = now.1.checked_sub(before.1)?;
            Some(Rate { up: up as f64 / time, down: down as f64 / time })
        };
        self.rate = rate((self.totals.up, self.totals.down), (before.totals.up, before.totals.down));
        let known: HashMap<u64, &Session> = before.open.iter().map(|session| (session.id, session)).collect();
        for session in &mut self.open {
            let then = match known.get(&session.id) {
                Some(then) if then.key().is(session.key()) => (then.up, then.down),
                _ if session.started >= before.now => (0, 0),
                _ => continue,
            };
            session.rate = rate((session.up, session.down), then);
        }
    }

    /// How long the daemon runs, in seconds.
    pub(super) fn runs_for(&self) -> f64 {
        self.now - self.started
    }

    /// Finds a session, be it open or ended.
    pub(super) fn session(&self, key: Key) -> Option<&Session> {
        self.open.iter().chain(&self.ended).find(|session| session.key().is(key))
    }
}

impl Key {
    /// Whether both are of one session; the daemon reckons the time anew for each answer, and its clock may be set a bit.
    pub(super) fn is(self, other: Key) -> bool {
        self.id == other.id && (self.started - other.started).abs() < 1.0
    }
}

impl Session {
    fn read(value: &Value) -> Session {
        let ending = value["end"].as_str().map(|end| Ending {
            at: value["ended"].as_f64().unwrap_or_default(),
            end: clean(end),
            by: text(&value["by"]),
            error: maybe(&value["error"]),
        });
        let client = text(&value["client"]);
        let mut session = Session {
            id: number(&value["id"]),
            started: value["started"].as_f64().unwrap_or_default(),
            client_addr: client.parse().ok(),
            client,
            origin: text(&value["origin"]),
            name: maybe(&value["name"]),
            name_source: maybe(&value["name_source"]),
            target: maybe(&value["target"]),
            via: maybe(&value["via"]),
            route: maybe(&value["route"]),
            upstream: maybe(&value["upstream"]),
            stage: text(&value["stage"]),
            status: value["status"].as_u64(),
            requests: number(&value["requests"]),
            up: number(&value["up"]),
            down: number(&value["down"]),
            rate: None,
            ending,
            sought: String::new(),
        };
        session.sought = session.words().to_lowercase();
        session
    }

    /// Which one it is.
    pub(super) fn key(&self) -> Key {
        Key { id: self.id, started: self.started }
    }

    /// The client without its port.
    pub(super) fn client_host(&self) -> String {
        self.client_addr.map_or_else(|| self.client.clone(), |addr| addr.ip().to_string())
    }

    /// The name, or else the origin.
    pub(super) fn place(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.origin)
    }

    /// The upstream's name, or else its address; one of them says where it goes.
    pub(super) fn way(&self) -> &str {
        self.via.as_deref().or(self.upstream.as_deref()).unwrap_or("-")
    }

    /// Up and down together.
    pub(super) fn speed(&self) -> Option<f64> {
        self.rate.map(|rate| rate.up + rate.down)
    }

    fn words(&self) -> String {
        let ending = self.ending.as_ref();
        let words = [
            Some(self.client.as_str()),
            self.name.as_deref(),
            Some(self.origin.as_str()),
            self.upstream.as_deref(),
            self.via.as_deref(),
            ending.map(|ending| ending.end.as_str()),
            ending.and_then(|ending| ending.error.as_deref()),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

impl Upstream {
    fn read(value: &Value) -> Upstream {
        Upstream {
            name: text(&value["name"]),
            proxy: text(&value["proxy"]),
            is_up: value["up"].as_bool().unwrap_or(true),
            held: value["held_s"].as_f64().unwrap_or_default(),
            why: maybe(&value["why"]),
        }
    }
}

fn text(value: &Value) -> String {
    maybe(value).unwrap_or_default()
}

fn maybe(value: &Value) -> Option<String> {
    value.as_str().map(clean)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
#[path = "facts_tests.rs"]
pub(super) mod tests;
