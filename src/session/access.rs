//! Where the line of each session goes: beside all other lines, nowhere, or to a place of its own with a thread that
//! writes, so that no session waits for a disk or for the journal.
//!
//! It outlives the settings: a reload says where lines go from then on.

mod line;
mod pen;
mod writer;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::Setup;
use crate::close::{Close, Weight};
use crate::config::{AccessFormat, AccessLog, Config};
use crate::flow::Flow;
use line::Line;
use writer::Writer;

/// Memory for lines that wait to be written.
const ROOM: usize = 8 << 20;
/// How long the last lines may take at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// The access log.
#[derive(Debug)]
pub struct Access {
    state: RwLock<State>,
    /// Lines that were lost, wherever they were to go.
    lost: Arc<AtomicU64>,
}

/// How the access log is doing, where it has a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessCounts {
    /// Lines that nobody will ever read.
    pub lost: u64,
    /// Bytes of lines that wait to be written.
    pub queued: usize,
    /// Most bytes that wait.
    pub room: usize,
    /// It cannot be written now.
    pub failing: bool,
}

#[derive(Debug)]
struct State {
    place: AccessLog,
    format: AccessFormat,
    /// Who writes, where the place has somebody.
    writer: Option<Arc<Writer>>,
    /// Those who write their last lines to where they went before.
    leaving: Vec<Arc<Writer>>,
}

impl Default for Access {
    fn default() -> Access {
        let state = State { place: AccessLog::Log, format: AccessFormat::Text, writer: None, leaving: Vec::new() };
        Access { state: RwLock::new(state), lost: Arc::default() }
    }
}

impl Access {
    /// From now on lines go where these settings say. A place that cannot be written is told of, and tried again.
    ///
    /// # Errors
    /// There can be no further thread; all stays as it was.
    pub fn change(&self, config: &Config) -> io::Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.place != config.access_log {
            let writer = match &config.access_log {
                AccessLog::Log | AccessLog::Off => None,
                place => Some(Writer::start(place.clone(), ROOM, self.lost.clone())?),
            };
            let left = std::mem::replace(&mut state.writer, writer);
            state.leaving.retain(|writer| !writer.has_ended());
            state.leaving.extend(left.inspect(|writer| writer.close()));
            state.place.clone_from(&config.access_log);
        }
        state.format = config.access_log_format;
        Ok(())
    }

    /// Its file was rotated away: opens it anew.
    pub fn reopen(&self) {
        if let Some(writer) = &self.state().writer {
            writer.reopen();
        }
    }

    /// How it is doing, the last lines to where they went before included.
    pub fn counts(&self) -> AccessCounts {
        let state = self.state();
        let leaving = || state.leaving.iter().filter(|writer| !writer.has_ended());
        let busy = || state.writer.iter().chain(leaving());
        AccessCounts {
            lost: self.lost.load(Ordering::Relaxed),
            queued: busy().map(|writer| writer.queued()).sum(),
            room: ROOM,
            failing: busy().any(|writer| writer.is_failing()),
        }
    }

    /// Writes what waits, for a while, and no more after that.
    pub fn close(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let last = state.writer.take().inspect(|writer| writer.close());
        let leaving = std::mem::take(&mut state.leaving);
        drop(state);
        let until = Instant::now() + FAREWELL;
        leaving.iter().chain(&last).for_each(|writer| writer.wait(until));
    }

    /// A session has ended.
    pub(super) fn write(&self, flow: &Flow, close: &Close, setup: &Setup) {
        let state = self.state();
        if state.place == AccessLog::Off {
            return;
        }
        let line = Line::new(flow, close, setup);
        match (&state.place, &state.writer) {
            (AccessLog::Log, _) => event(&line, state.format),
            (AccessLog::Journal, Some(writer)) => {
                let entry = match state.format {
                    AccessFormat::Text => line.entry(&line.to_string()),
                    AccessFormat::Json => line.entry(&line.json()),
                };
                writer.push(entry.into_bytes());
            }
            (_, Some(writer)) => {
                let mut text = match state.format {
                    AccessFormat::Text => line.timed(),
                    AccessFormat::Json => line.json(),
                };
                text.push('\n');
                writer.push(text.into_bytes());
            }
            (_, None) => {}
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One event beside the others: the whole line as its message, for people, and each fact as a field, for the journal.
fn event(line: &Line<'_>, format: AccessFormat) {
    let message = match format {
        AccessFormat::Text => line.to_string(),
        AccessFormat::Json => line.json(),
    };
    let Line { flow, close, .. } = line;
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                id = flow.id,
                end = %close.end,
                by = %close.by,
                client = %flow.client,
                origin = flow.origin.map(display),
                name = flow.name.as_ref().map(|n| display(&n.host)),
                name_source = flow.name.as_ref().map(|n| display(n.source)),
                target = line.target().map(display),
                via = flow.led.as_ref().map(|led| &*led.via),
                route = flow.led.as_ref().and_then(|led| led.route.as_deref()),
                upstream = line.upstream().map(display),
                stage = %flow.stage,
                status = flow.status,
                error = close.error.as_deref(),
                verified = flow.verified.filter(|agrees| !agrees).map(|_| "no"),
                sniff_ms = flow.sniff.map(|span| span.millis()),
                dial_ms = flow.dial.map(|span| span.millis()),
                tls_ms = flow.tls.map(|span| span.millis()),
                connect_ms = flow.connect.map(|span| span.millis()),
                requests = (flow.requests > 0).then_some(flow.requests),
                retries = (flow.retries > 0).then_some(flow.retries),
                up = flow.up,
                down = flow.down,
                chunks_up = flow.chunks[0],
                chunks_down = flow.chunks[1],
                duration_ms = line.duration(),
                "{message}"
            )
        };
    }
    match close.end.weight() {
        Weight::Info => event!(info),
        Weight::Warn => event!(warn),
        Weight::Error => event!(error),
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
