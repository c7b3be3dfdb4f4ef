//! Counters: what was opened and how it ended. Opened is always live plus ended. And what more the admin tells, if there
//! is one.

mod live;
mod metrics;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::close::{Close, End};
use crate::flow::Flow;

pub use live::{Ended, Live};
pub use metrics::Metrics;

/// A start that is off by less than this is the same one, reckoned anew.
const SAME: Duration = Duration::from_secs(1);

/// Counters of one process.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    /// The same by the clock on the wall, as it was told last.
    born: Mutex<SystemTime>,
    opened: AtomicU64,
    ended: [AtomicU64; End::ALL.len()],
    out_of_ports: AtomicU64,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            started: Instant::now(),
            born: Mutex::new(SystemTime::now()),
            opened: AtomicU64::default(),
            ended: [const { AtomicU64::new(0) }; End::ALL.len()],
            out_of_ports: AtomicU64::default(),
        }
    }
}

impl Stats {
    /// When counting began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The same by the clock on the wall: always the same time, unless somebody sets that clock.
    pub fn born(&self) -> SystemTime {
        let reckoned = SystemTime::now().checked_sub(self.started.elapsed()).unwrap_or(UNIX_EPOCH);
        let mut born = self.born.lock().unwrap_or_else(PoisonError::into_inner);
        *born = steady(*born, reckoned);
        *born
    }

    /// A session begins.
    pub fn open(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// A session has ended.
    pub fn close(&self, end: End) {
        self.ended[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A session found all local ports taken.
    pub fn out_of_ports(&self) {
        self.out_of_ports.fetch_add(1, Ordering::Relaxed);
    }

    /// Sessions that found all local ports taken.
    pub fn found_no_port(&self) -> u64 {
        self.out_of_ports.load(Ordering::Relaxed)
    }

    /// Sessions that began.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Sessions that are open.
    pub fn live(&self) -> u64 {
        let ended: u64 = End::ALL.iter().map(|end| self.ended(*end)).sum();
        // an end may be counted between the two
        self.opened().saturating_sub(ended)
    }

    /// Sessions that ended in this way.
    pub fn ended(&self, end: End) -> u64 {
        self.ended[end as usize].load(Ordering::Relaxed)
    }
}

/// The two clocks are not read at one moment: the time that was told last, unless the new one is really another.
fn steady(told: SystemTime, reckoned: SystemTime) -> SystemTime {
    let off = reckoned.duration_since(told).unwrap_or_else(|before| before.duration());
    if off < SAME { told } else { reckoned }
}

/// What the admin can tell of sessions.
#[derive(Debug, Default)]
pub struct Watch {
    /// Those that are open.
    pub live: Live,
    /// How they went.
    pub metrics: Metrics,
}

impl Watch {
    /// A session has ended, on its way through this upstream.
    pub fn close(&self, flow: &Flow, close: &Close, upstream: &str) {
        self.live.close(flow, close);
        self.metrics.observe(flow, close, upstream);
    }
}

/// Lets a few log lines through in every window of time and counts the others, so that nobody can
/// fill a log.
#[derive(Debug)]
pub struct Gate {
    /// When the window began, and lines that were asked for in it.
    window: std::sync::Mutex<(Instant, u64)>,
}

/// What a [`Gate`] says to one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Log it, after saying how many were not logged before it.
    Log {
        /// Lines that were held back in the windows before.
        held_back: u64,
    },
    /// Do not.
    HoldBack,
}

impl Gate {
    const LINES: u64 = 5;
    const WINDOW: Duration = Duration::from_secs(10);

    /// An open gate.
    pub fn new() -> Gate {
        Gate { window: std::sync::Mutex::new((Instant::now(), 0)) }
    }

    /// Asks for one line at the time `now`.
    pub fn pass(&self, now: Instant) -> Pass {
        let mut window = self.window.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (began, lines) = &mut *window;
        let mut held_back = 0;
        if now.duration_since(*began) >= Gate::WINDOW {
            held_back = lines.saturating_sub(Gate::LINES);
            (*began, *lines) = (now, 0);
        }
        *lines += 1;
        if *lines <= Gate::LINES { Pass::Log { held_back } } else { Pass::HoldBack }
    }
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_always_the_same_time_until_the_clock_is_set() {
        let stats = Stats::default();
        let told: std::collections::HashSet<_> = (0..10_000).map(|_| stats.born()).collect();
        assert_eq!(told.len(), 1);
        let (told, hour) = (stats.born(), Duration::from_secs(3600));
        for set in [told + hour, told - hour] {
            assert_eq!(steady(told, set), set);
        }
        assert_eq!(steady(told, told - SAME / 2), told);
    }

    #[test]
    fn a_gate_lets_a_few_lines_through_and_tells_of_the_others_later() {
        let gate = Gate::new();
        let start = Instant::now();
        let passed = (0..100).filter(|_| gate.pass(start) != Pass::HoldBack).count();
        assert_eq!(passed as u64, Gate::LINES);
        assert_eq!(gate.pass(start + Gate::WINDOW), Pass::Log { held_back: 100 - Gate::LINES });
        assert_eq!(gate.pass(start + Gate::WINDOW), Pass::Log { held_back: 0 });
    }
}
