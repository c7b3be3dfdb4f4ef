//! How often credentials may be tried: freely once they have worked, one at a time before that, and not at all for a
//! while after they were refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Refusal;
use crate::config::Scheme;

const FIRST_HOLD: Duration = Duration::from_secs(60);
const LONGEST_HOLD: Duration = Duration::from_secs(15 * 60);

/// How long one try keeps the others waiting: a proxy mostly looks at credentials before anything else, but may take
/// its time over the origin. A proxy that is slow to refuse hears one more wrong password each time.
const VERDICT: Duration = Duration::from_secs(3);

/// How the credentials of one upstream fared.
#[derive(Debug)]
pub(super) struct Lockout {
    name: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// They were accepted, and not refused since.
    proven: bool,
    /// A request without credentials was let in, and none were refused since.
    let_in: bool,
    worked: Option<Scheme>,
    trying: Option<Try>,
    tries: u64,
    hold: Option<Hold>,
    /// When it was last told that there are no credentials to try.
    told: Option<Instant>,
}

/// The try that has not been heard of, the last one if there are several.
#[derive(Clone, Copy, Debug)]
struct Try {
    number: u64,
    since: Instant,
}

#[derive(Debug)]
struct Hold {
    since: Instant,
    until: Instant,
    length: Duration,
    why: String,
}

/// The right to try credentials that are not known to be good; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    lockout: Arc<Lockout>,
    number: u64,
    /// Credentials went out, and the verdict is not known: the next one has to wait for it as if this one did.
    told: bool,
}

impl Turn {
    /// Credentials go out now.
    pub(super) fn tell(&mut self) {
        self.told = true;
    }

    /// The verdict is known, or none is to be had.
    pub(super) fn settle(mut self) {
        self.told = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.lockout.state();
        if !self.told && state.trying.is_some_and(|trying| trying.number == self.number) {
            state.trying = None;
        }
        drop(state);
        self.lockout.changed.notify_waiters();
    }
}

impl Lockout {
    pub(super) fn new(name: &str) -> Lockout {
        Lockout { name: name.to_owned(), state: Mutex::default(), changed: Notify::new() }
    }

    /// Waits until the credentials may be tried; `None` where they are known to be good.
    pub(super) async fn turn(self: &Arc<Self>) -> Result<Option<Turn>, Refusal> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // from here on no change is missed
            changed.as_mut().enable();
            let until = {
                let mut state = self.state();
                if state.proven {
                    return Ok(None);
                }
                let now = Instant::now();
                let until = state.trying.map(|trying| trying.since + VERDICT).filter(|until| *until > now);
                if let Some(hold) = &state.hold {
                    let left = hold.until.saturating_duration_since(now);
                    if !left.is_zero() || until.is_some() {
                        return Err(Refusal::Held { why: hold.why.clone(), left });
                    }
                }
                let Some(until) = until else {
                    state.tries += 1;
                    let number = state.tries;
                    state.trying = Some(Try { number, since: now });
                    return Ok(Some(Turn { lockout: self.clone(), number, told: false }));
                };
                until
            };
            // whether it was heard of or is late, the state says what that means
            let _ = tokio::time::timeout_at(until, changed).await;
        }
    }

    /// Whether they are held.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let state = self.state();
        let Some(hold) = &state.hold else { return Ok(()) };
        let left = hold.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Ok(()) } else { Err(Refusal::Held { why: hold.why.clone(), left }) }
    }

    /// They were accepted, in a scheme if the protocol has any, on a connection that began at `begun`: what was refused
    /// since then stays refused.
    pub(super) fn accepted(&self, scheme: Option<Scheme>, begun: Instant) {
        let mut state = self.state();
        if state.hold.as_ref().is_some_and(|hold| hold.since > begun) {
            return;
        }
        state.proven = true;
        if scheme.is_some() {
            state.worked = scheme;
        }
        if state.hold.take().is_some() {
            tracing::info!("upstream {}: credentials are accepted again", self.name);
        }
    }

    /// A request without credentials was let in.
    pub(super) fn let_in(&self) {
        self.state().let_in = true;
    }

    /// Whether there is no need of a turn until somebody asks.
    pub(super) fn asks_nobody(&self) -> bool {
        let state = self.state();
        state.let_in && state.hold.is_none()
    }

    /// They were refused. Of several connections that were told so at once, one counts.
    pub(super) fn refused(&self, proxy: &str, why: &str) {
        let mut state = self.state();
        (state.proven, state.let_in) = (false, false);
        let now = Instant::now();
        let length = match &state.hold {
            Some(hold) if hold.until > now => return,
            Some(hold) => (hold.length * 2).min(LONGEST_HOLD),
            None => FIRST_HOLD,
        };
        state.hold = Some(Hold { since: now, until: now + length, length, why: format!("{proxy} ({why})") });
        let name = &self.name;
        let length = humantime::format_duration(length);
        tracing::warn!("upstream {name}: credentials refused by {proxy}: {why}; no more tries for {length}");
    }

    /// There are none to try: no ticket, or nothing that the upstream wants. Told once in a while.
    pub(super) fn missing(&self, proxy: &str, why: &dyn std::fmt::Display) {
        let mut state = self.state();
        let now = Instant::now();
        if state.told.is_some_and(|told| now.duration_since(told) < FIRST_HOLD) {
            return;
        }
        state.told = Some(now);
        tracing::warn!("upstream {}: no credentials for {proxy}: {why}", self.name);
    }

    /// For how much longer they are not tried.
    pub(super) fn held(&self) -> Option<Duration> {
        let left = self.state().hold.as_ref()?.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The scheme that was accepted last.
    pub(super) fn worked(&self) -> Option<Scheme> {
        self.state().worked
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
