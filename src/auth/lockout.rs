//! How often credentials may be tried: freely once they have worked, one at a time before that, and not at all for a
//! while after they were refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Refusal;
use crate::config::Scheme;

const FIRST_HOLD: Duration = Duration::from_secs(60);
const LONGEST_HOLD: Duration = Duration::from_secs(15 * 60);

/// How long to wait for a refusal.
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
    worked: Option<Scheme>,
    trying: bool,
    hold: Option<Hold>,
    /// When it was last told that there are no credentials to try.
    told: Option<Instant>,
}

#[derive(Debug)]
struct Hold {
    until: Instant,
    length: Duration,
    why: String,
}

/// The right to try credentials that are not known to be good; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Lockout>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state().trying = false;
        self.0.changed.notify_waiters();
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
            {
                let mut state = self.state();
                if state.proven {
                    return Ok(None);
                }
                if let Some(hold) = &state.hold {
                    let left = hold.until.saturating_duration_since(Instant::now());
                    if !left.is_zero() || state.trying {
                        return Err(Refusal::Held { why: hold.why.clone(), left });
                    }
                }
                if !state.trying {
                    state.trying = true;
                    return Ok(Some(Turn(self.clone())));
                }
            }
            // a proxy looks at credentials before anything else: one that has not refused them by now will not
            if tokio::time::timeout(VERDICT, changed).await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Whether they are held.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let state = self.state();
        let Some(hold) = &state.hold else { return Ok(()) };
        let left = hold.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Ok(()) } else { Err(Refusal::Held { why: hold.why.clone(), left }) }
    }

    /// They were accepted, or none were wanted.
    pub(super) fn accepted(&self, scheme: Option<Scheme>) {
        let mut state = self.state();
        state.proven = true;
        if scheme.is_some() {
            state.worked = scheme;
        }
        if state.hold.take().is_some() {
            tracing::info!("upstream {}: credentials are accepted again", self.name);
        }
    }

    /// They were refused. Of several connections that were told so at once, one counts.
    pub(super) fn refused(&self, proxy: &str, why: &str) {
        let mut state = self.state();
        state.proven = false;
        let now = Instant::now();
        let length = match &state.hold {
            Some(hold) if hold.until > now => return,
            Some(hold) => (hold.length * 2).min(LONGEST_HOLD),
            None => FIRST_HOLD,
        };
        state.hold = Some(Hold { until: now + length, length, why: format!("{proxy} ({why})") });
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
