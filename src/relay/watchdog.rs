//! A coarse clock for one tunnel. There is none while nothing asks for it, and no reset per byte: each
//! tick compares the count of bytes with that of the last one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// While something is stuck a reset must be looked for.
const STUCK_TICK: Duration = Duration::from_secs(1);
const SHORTEST_TICK: Duration = Duration::from_millis(20);

/// The clock, if it runs.
#[derive(Debug, Default)]
pub struct Watchdog {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Bytes that had moved at the last tick.
    moved: u64,
    quiet_since: Option<Instant>,
    limit: Option<Duration>,
}

impl Watchdog {
    /// Ready at a tick, with how long nothing has moved; pending for ever where nothing asks for a clock:
    /// nothing is stuck and there is no limit.
    pub fn poll(&mut self, stuck: bool, limit: Option<Duration>, moved: u64, cx: &mut Context<'_>) -> Poll<Duration> {
        // a limit is kept to a quarter
        let tick = limit.map(|limit| (limit / 4).max(SHORTEST_TICK));
        let tick = if stuck { Some(tick.map_or(STUCK_TICK, |t| t.min(STUCK_TICK))) } else { tick };
        if tick.is_none() && self.sleep.is_none() {
            return Poll::Pending;
        }
        let now = Instant::now();
        let sleep = self.sleep.get_or_insert_with(|| {
            self.moved = moved;
            self.quiet_since = Some(now);
            Box::pin(tokio::time::sleep(tick.unwrap_or(STUCK_TICK)))
        });
        // silence counts from where its limit began
        if std::mem::replace(&mut self.limit, limit) != limit {
            self.quiet_since = Some(now);
        }
        if let Some(tick) = tick
            && sleep.deadline() > now + tick
        {
            sleep.as_mut().reset(now + tick);
        }
        ready!(sleep.as_mut().poll(cx));
        let Some(tick) = tick else {
            self.sleep = None;
            return Poll::Pending;
        };
        sleep.as_mut().reset(now + tick);
        if std::mem::replace(&mut self.moved, moved) != moved {
            self.quiet_since = Some(now);
        }
        Poll::Ready(self.quiet_since.map_or(Duration::ZERO, |since| now - since))
    }
}
