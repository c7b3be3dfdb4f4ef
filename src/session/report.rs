//! The last hop: counts a session and files its one line, whatever ended it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::mirror::Registered;
use super::{Gateway, Setup};
use crate::close::{By, Close, End};
use crate::flow::Flow;
use crate::format::Ending;
use crate::stats::Pass;
use crate::tap::Tapped;

/// A session's facts, filed when dropped.
pub(super) struct Report {
    pub(super) gateway: Arc<Gateway>,
    /// What was in force when it began.
    pub(super) setup: Arc<Setup>,
    pub(super) flow: Flow,
    /// The ends by which a loop would be found.
    pub(super) mirrored: Option<Box<[Option<Registered>; 2]>>,
    /// The number of the address that stands for the name, until this is over.
    pub(super) held: Option<NonZeroU32>,
    /// The taps that see it, once its way is open.
    pub(super) tapped: Option<Tapped>,
    close: Option<Close>,
    _seat: OwnedSemaphorePermit,
}

impl Report {
    /// Opens the file.
    pub(super) fn new(gateway: Arc<Gateway>, mut flow: Flow, seat: OwnedSemaphorePermit) -> Report {
        gateway.stats.open();
        if let Some(watch) = &gateway.watch {
            watch.live.open(&mut flow);
        }
        let setup = gateway.setup();
        Report { setup, gateway, flow, mirrored: None, held: None, tapped: None, close: None, _seat: seat }
    }

    /// Says how it ended, and files it.
    pub(super) fn close(mut self, close: Close) {
        self.close = Some(close);
    }

    /// The name of the upstream that it was led to, or `direct`, or `reject`.
    fn upstream(&self) -> &str {
        let led = self.flow.led.as_ref().map(|led| &*led.via);
        led.unwrap_or_else(|| self.setup.upstreams[self.setup.config.default_upstream].name())
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let close = self.close.take().unwrap_or_else(|| {
            let end = match () {
                () if std::thread::panicking() => End::Panic,
                () if self.flow.is_killed() => End::Killed,
                () => End::Drained,
            };
            Close::new(end, By::Us)
        });
        self.gateway.stats.close(close.end);
        if let Some(watch) = &self.gateway.watch {
            watch.close(&self.flow, &close, self.upstream());
        }
        if let (Some(number), Some(resolver)) = (self.held, &self.gateway.resolver) {
            resolver.let_go(number.get());
        }
        // one that did not come that far is written down too
        let local_port = self.setup.config.local_port;
        let tapped = self.tapped.take().or_else(|| self.setup.taps.open(&self.flow, None, local_port));
        if let Some(tapped) = tapped {
            tapped.close(ending(&self.flow, &close));
        }
        // whoever can reach the port can cause these at will
        if matches!(close.end, End::Direct | End::Loop) {
            match self.gateway.gate.pass(Instant::now()) {
                Pass::HoldBack => return,
                Pass::Log { held_back: 0 } => {}
                Pass::Log { held_back } => tracing::warn!("{held_back} more such sessions were not logged one by one"),
            }
        }
        self.gateway.access.write(&self.flow, &close, &self.setup);
    }
}

fn ending(flow: &Flow, close: &Close) -> Ending {
    Ending {
        end: close.end,
        by: close.by,
        error: close.error.clone(),
        up: flow.up,
        down: flow.down,
        lasted: flow.started.elapsed(),
    }
}
