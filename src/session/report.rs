//! The last hop: counts a session and writes its one line, whatever ended it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tracing::field::display;

use super::Gateway;
use crate::close::{By, Close, End, Weight};
use crate::flow::Flow;
use crate::stats::Pass;

/// A session's facts, filed when dropped.
pub(super) struct Report {
    pub(super) gateway: Arc<Gateway>,
    pub(super) flow: Flow,
    close: Option<Close>,
    _seat: OwnedSemaphorePermit,
}

impl Report {
    /// Opens the file.
    pub(super) fn new(gateway: Arc<Gateway>, flow: Flow, seat: OwnedSemaphorePermit) -> Report {
        gateway.stats.open();
        Report { gateway, flow, close: None, _seat: seat }
    }

    /// Says how it ended, and files it.
    pub(super) fn close(mut self, close: Close) {
        self.close = Some(close);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let close = self.close.take().unwrap_or_else(|| {
            let end = if std::thread::panicking() { End::Panic } else { End::Drained };
            Close::new(end, By::Us)
        });
        self.gateway.stats.close(close.end);
        // whoever can reach the port can cause these at will
        if matches!(close.end, End::Direct | End::Loop) {
            match self.gateway.gate.pass(Instant::now()) {
                Pass::HoldBack => return,
                Pass::Log { held_back: 0 } => {}
                Pass::Log { held_back } => tracing::warn!("{held_back} more such sessions were not logged one by one"),
            }
        }
        write(&self.flow, &close, &self.gateway);
    }
}

fn write(flow: &Flow, close: &Close, gateway: &Gateway) {
    let millis = |span: Duration| display(format!("{:.3}", span.as_secs_f64() * 1e3));
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                end = %close.end,
                by = %close.by,
                client = %flow.client,
                origin = flow.origin.map(display),
                name = flow.name.as_ref().map(|n| display(&n.host)),
                name_source = flow.name.as_ref().map(|n| display(n.source)),
                target = flow.target().map(display),
                upstream = %Either(flow.upstream, gateway.upstream.addr()),
                stage = %flow.stage,
                status = flow.status,
                error = close.error.as_deref(),
                sniff_ms = flow.sniff.map(millis),
                dial_ms = flow.dial.map(millis),
                connect_ms = flow.connect.map(millis),
                up = flow.up,
                down = flow.down,
                duration_ms = millis(flow.started.elapsed()),
                "session"
            )
        };
    }
    match close.end.weight() {
        Weight::Info => line!(info),
        Weight::Warn => line!(warn),
        Weight::Error => line!(error),
    }
}

/// The address that was reached, or the one that was configured.
struct Either<A, B>(Option<A>, B);

impl<A: std::fmt::Display, B: std::fmt::Display> std::fmt::Display for Either<A, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(reached) => reached.fmt(f),
            None => self.1.fmt(f),
        }
    }
}
