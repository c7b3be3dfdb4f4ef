//! A coarse clock for one tunnel. There is none while nothing asks for it, and no reset per byte: each
//! tick compares the count of bytes with that of the last one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// While something is stuck a reset must be looked for.
const STUCK_TICK: Duration = Duration::from_secs(1);
const SHORTEST_TICK: Duration = Duration::from_millis(20);

/// The clock, if it runs.
#[derive(Debug, Default)]
pub(super) struct Watchdog(Option<Box<Running>>);

#[derive(Debug)]
struct Running {
    sleep: Pin<Box<Sleep>>,
    moved: u64,
    quiet_since: Instant,
}

impl Watchdog {
    /// Ready at a tick, with how long nothing has moved; pending for ever where nothing asks for a clock:
    /// nothing is stuck and there is no limit.
    pub(super) fn poll(
        &mut self,
        stuck: bool,
        limit: Option<Duration>,
        moved: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Duration> {
        // a limit is kept to a quarter
        let tick = limit.map(|limit| (limit / 4).max(SHORTEST_TICK));
        let tick = if stuck { Some(tick.map_or(STUCK_TICK, |t| t.min(STUCK_TICK))) } else { tick };
        if tick.is_none() && self.0.is_none() {
            return Poll::Pending;
        }
        let now = Instant::now();
        let Some(running) = &mut self.0 else {
            let Some(tick) = tick else { return Poll::Pending };
            let mut sleep = Box::pin(tokio::time::sleep(tick));
            // a fresh clock cannot have run out; this is where it learns whom to wake
            let _ = sleep.as_mut().poll(cx);
            self.0 = Some(Box::new(Running { sleep, moved, quiet_since: now }));
            return Poll::Pending;
        };
        if let Some(tick) = tick
            && running.sleep.deadline() > now + tick
        {
            running.sleep.as_mut().reset(now + tick);
        }
        if running.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let Some(tick) = tick else {
            self.0 = None;
            return Poll::Pending;
        };
        if running.moved != moved {
            running.moved = moved;
            running.quiet_since = now;
        }
        let quiet = now - running.quiet_since;
        running.sleep.as_mut().reset(now + tick);
        Poll::Ready(quiet)
    }
}
