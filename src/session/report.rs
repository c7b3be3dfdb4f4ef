//! The last hop: counts a session and files its one line, whatever ended it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::mirror::Registered;
use super::{Gateway, Setup};
use crate::close::{By, Close, End};
use crate::flow::Flow;
use crate::stats::Pass;

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
    close: Option<Close>,
    _seat: OwnedSemaphorePermit,
}

impl Report {
    /// Opens the file.
    pub(super) fn new(gateway: Arc<Gateway>, flow: Flow, seat: OwnedSemaphorePermit) -> Report {
        gateway.stats.open();
        Report { setup: gateway.setup(), gateway, flow, mirrored: None, held: None, close: None, _seat: seat }
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
        if let (Some(number), Some(resolver)) = (self.held, &self.gateway.resolver) {
            resolver.let_go(number.get());
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
