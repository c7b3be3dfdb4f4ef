//! Whether a proxy works, as far as its last connections told: after a failure it is left alone for a while that
//! doubles with each further one, so that sessions go to the next proxy at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FIRST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// So many CONNECT in a row without a sound answer, and it is the proxy: one may be its target's fault.
const SILENCES: u32 = 3;

/// The health of one proxy.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    down: Option<Down>,
    silences: u32,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    until: Instant,
    hold: Duration,
    why: String,
    /// It can be connected to, and does not answer.
    silent: bool,
    /// A session is seeing whether it works again.
    claimed: bool,
}

/// What a failure or a success changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that was not known.
    None,
    /// It was fine and is not any more; it is left alone for so long.
    Down(Duration),
    /// It was down for so long and is not any more.
    Up(Duration),
}

impl Health {
    /// It could not be reached, or spoke nonsense.
    pub(super) fn failed(&self, why: &str, now: Instant) -> Change {
        self.down_for(why, now, false)
    }

    fn down_for(&self, why: &str, now: Instant, silent: bool) -> Change {
        let mut state = self.state();
        state.silences = 0;
        match &mut state.down {
            None => {
                let hold = FIRST_HOLD;
                state.down =
                    Some(Down { since: now, until: now + hold, hold, why: why.to_owned(), silent, claimed: false });
                Change::Down(hold)
            }
            // of several sessions that failed at the same time one counts
            Some(down) if down.until > now && !down.claimed => Change::None,
            Some(down) => {
                down.claimed = false;
                down.hold = (down.hold * 2).min(LONGEST_HOLD);
                down.until = now + down.hold;
                why.clone_into(&mut down.why);
                Change::None
            }
        }
    }

    /// It did not answer in time, or closed instead.
    pub(super) fn was_silent(&self, why: &str, now: Instant) -> Change {
        let silences = {
            let mut state = self.state();
            state.silences += 1;
            state.silences
        };
        if silences < SILENCES { Change::None } else { self.down_for(why, now, true) }
    }

    /// It answered.
    pub(super) fn worked(&self, now: Instant) -> Change {
        let mut state = self.state();
        state.silences = 0;
        state.down.take().map_or(Change::None, |down| Change::Up(now.duration_since(down.since)))
    }

    /// It can be connected to: that ends only what a failure to do so began.
    pub(super) fn reached(&self, now: Instant) -> Change {
        let mut state = self.state();
        match state.down.take_if(|down| !down.silent) {
            Some(down) => Change::Up(now.duration_since(down.since)),
            None => Change::None,
        }
    }

    /// A session goes and sees whether it works again; for so long the others leave it alone still.
    pub(super) fn claim(&self, now: Instant, patience: Duration) {
        if let Some(down) = self.state().down.as_mut().filter(|down| down.until <= now) {
            (down.until, down.claimed) = (now + patience, true);
        }
    }

    /// Until when it is left alone.
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.state().down.as_ref().map(|down| down.until).filter(|until| *until > now)
    }

    /// Why it is down, if it is, and how long it is still left alone.
    pub(super) fn down(&self, now: Instant) -> Option<(Duration, String)> {
        let state = self.state();
        state.down.as_ref().map(|down| (down.until.saturating_duration_since(now), down.why.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_proxy_is_left_alone_for_longer_and_longer() {
        let health = Health::default();
        let mut now = Instant::now();
        assert_eq!(health.failed("refused", now), Change::Down(FIRST_HOLD));
        assert_eq!(health.failed("refused", now), Change::None);
        let mut holds = Vec::new();
        for _ in 0..8 {
            let until = health.held_until(now).expect("held");
            holds.push(until.duration_since(now).as_secs());
            now = until;
            assert_eq!(health.held_until(now), None);
            assert_eq!(health.failed("again", now), Change::None);
        }
        assert_eq!(holds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(health.down(now).map(|(_, why)| why), Some("again".to_owned()));
        assert!(matches!(health.worked(now), Change::Up(_)));
        assert_eq!(health.failed("new", now), Change::Down(FIRST_HOLD));
    }

    #[test]
    fn one_silence_may_be_the_fault_of_an_origin() {
        let health = Health::default();
        let now = Instant::now();
        for _ in 0..2 {
            assert_eq!(health.was_silent("nothing", now), Change::None);
            assert_eq!(health.was_silent("nothing", now), Change::None);
            assert_eq!(health.worked(now), Change::None);
        }
        let changes = [(); 3].map(|()| health.was_silent("nothing", now));
        assert_eq!(changes, [Change::None, Change::None, Change::Down(FIRST_HOLD)]);
    }
}
