//! Time as a busy machine has it. A thread counts it that must be run like all others: where nobody gets his turn for a
//! while, or the whole machine stands still, hardly any time has passed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(10);

/// A moment from which such time is counted; never more than passes on the clock.
pub struct Pace {
    ticks: u32,
    at: Instant,
}

impl Pace {
    /// From now on.
    pub fn start() -> Self {
        Self { ticks: ticks(), at: Instant::now() }
    }

    /// What has passed since then.
    pub fn elapsed(&self) -> Duration {
        // the one that is under way is not over
        let ticks = ticks().wrapping_sub(self.ticks).saturating_sub(1);
        self.at.elapsed().min(TICK * ticks)
    }
}

fn ticks() -> u32 {
    static TICKS: AtomicU32 = AtomicU32::new(0);
    static COUNTING: OnceLock<()> = OnceLock::new();
    COUNTING.get_or_init(|| {
        thread::spawn(|| {
            loop {
                thread::sleep(TICK);
                TICKS.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    TICKS.load(Ordering::Relaxed)
}
