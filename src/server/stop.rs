//! The end: SIGTERM or SIGINT stops accepting and waits for open sessions; a second one waits for nothing.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::notify::Notify;
use super::seats::Seats;

/// The signals to stop.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they no longer end the process by themselves.
    pub(super) fn watch() -> io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for a signal, ends `accepting`, and then waits until all seats are free, the limit that is in force by
    /// then has passed, or another signal comes.
    pub(super) async fn drain(
        mut self,
        mut accepting: JoinHandle<()>,
        seats: &Seats,
        notify: &Notify,
        limit: impl FnOnce() -> Duration,
    ) -> Result<(), String> {
        tokio::select! {
            () = self.next() => {}
            outcome = &mut accepting => return Err(format!("accepting has ended by itself: {outcome:?}")),
        }
        notify.stopping();
        accepting.abort();
        let _ = accepting.await;
        let open = seats.taken();
        tracing::info!("stopping: no more clients; sessions open: {open}");
        let all = u32::try_from(seats.total()).unwrap_or(u32::MAX);
        tokio::select! {
            _ = seats.free.acquire_many(all) => {}
            () = tokio::time::sleep(limit()) => tracing::info!("stopping: time is up"),
            () = self.next() => tracing::info!("stopping: at once"),
            never = notify.drain() => match never {},
        }
        Ok(())
    }
}
