//! What systemd is told of us (man 3 sd_notify): ready, reloading, stopping, alive, and a line for `systemctl status`.
//! Without a service manager nothing at all happens here.
//!
//! Alive means that the runtime runs this, and that the loop that accepts answers it: also while it waits for a seat.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::count;
use super::listen::Listener;
use super::pulse::Finger;
use crate::session::Gateway;
use crate::sys::systemd::{self, Word};

/// How often the status is told anew where no watchdog sets the pace.
const REFRESH: Duration = Duration::from_secs(30);
/// A longer silence than this is not waited for, though it is allowed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How often systemd is asked for patience while sessions end, and how much of it: enough to report those that are cut.
const DRAIN: Duration = Duration::from_secs(5);
const DRAIN_MORE: u32 = 25_000_000;

/// Tells, if there is somebody to tell.
#[derive(Clone, Debug)]
pub(super) struct Notify(Option<Arc<Unit>>);

#[derive(Debug)]
struct Unit {
    port: u16,
    gateway: Arc<Gateway>,
    /// Why the last reload was refused, if it was.
    refused: Mutex<Option<String>>,
    stopping: AtomicBool,
    /// It was said that nobody reads what is told.
    unheard: AtomicBool,
}

impl Notify {
    /// For the service manager of the environment.
    pub(super) fn new(port: u16, gateway: Arc<Gateway>) -> Notify {
        let unit = || Unit {
            port,
            gateway,
            refused: Mutex::default(),
            stopping: AtomicBool::new(false),
            unheard: AtomicBool::new(false),
        };
        Notify(systemd::listens().then(|| Arc::new(unit())))
    }

    /// Clients are served, also while a restart lasts.
    pub(super) fn ready(&self, listener: &Listener) {
        let Some(unit) = &self.0 else { return };
        unit.hear(listener.store());
        unit.tell(&[Word::Ready, Word::Status(&unit.status())]);
    }

    /// The settings are read again.
    pub(super) fn reloading(&self) {
        let Some(unit) = &self.0 else { return };
        match Word::monotonic_usec_now() {
            Ok(now) => unit.tell(&[Word::Reloading, now]),
            Err(error) => unit.hear(Err(error)),
        }
    }

    /// They are read, or refused, and the old ones stay.
    pub(super) fn reloaded(&self, refused: Option<String>) {
        let Some(unit) = &self.0 else { return };
        *unit.refused() = refused;
        unit.tell(&[Word::Ready, Word::Status(&unit.status())]);
    }

    /// No more clients are served.
    pub(super) fn stopping(&self) {
        let Some(unit) = &self.0 else { return };
        unit.stopping.store(true, Ordering::Relaxed);
        unit.tell(&[Word::Stopping, Word::Status(&unit.status())]);
    }

    /// Asks for patience for as long as it is polled.
    pub(super) async fn drain(&self) -> Infallible {
        let Some(unit) = &self.0 else { return pending().await };
        loop {
            unit.tell(&[Word::ExtendTimeoutUsec(DRAIN_MORE), Word::Status(&unit.status())]);
            sleep(DRAIN).await;
        }
    }

    /// Starts to tell again and again that we are alive, for as long as the runtime is and `accepting` answers.
    pub(super) fn watch(&self, accepting: Finger) {
        if let Some(unit) = self.0.clone() {
            tokio::spawn(async move { unit.watch(accepting, systemd::watchdog()).await });
        }
    }
}

impl Unit {
    async fn watch(&self, accepting: Finger, watchdog: Option<Duration>) {
        let period = watchdog.map_or(REFRESH, |limit| limit.min(LONGEST) / 2);
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = self.status();
        let mut hangs = false;
        loop {
            ticks.tick().await;
            // while sessions end nobody accepts any more
            let lives =
                timeout(period / 2, accepting.feel()).await == Ok(true) || self.stopping.load(Ordering::Relaxed);
            if !lives {
                if !hangs {
                    tracing::error!("clients are no longer accepted: the watchdog is not told that all is well");
                }
                hangs = true;
                continue;
            }
            hangs = false;
            let now = self.status();
            let alive = watchdog.map(|_| Word::Watchdog);
            let status = (now != told).then(|| Word::Status(&now));
            let words: Vec<Word<'_>> = alive.into_iter().chain(status).collect();
            if !words.is_empty() {
                self.tell(&words);
            }
            told = now;
        }
    }

    fn status(&self) -> String {
        let open = count(self.gateway.stats.live(), "session");
        if self.stopping.load(Ordering::Relaxed) {
            return format!("stopping, {open} open");
        }
        let mut status = format!("listening on port {}, {open} open", self.port);
        let down: usize = self.gateway.setup().upstreams.iter().map(|upstream| upstream.down()).sum();
        if down > 0 {
            status += &format!(", proxies down: {down}");
        }
        if let Some(why) = &*self.refused() {
            status += &format!("; reload refused: {}", why.replace('\n', " "));
        }
        status
    }

    fn refused(&self) -> MutexGuard<'_, Option<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, words: &[Word<'_>]) {
        self.hear(systemd::tell(words));
    }

    /// Says once that nobody reads what is told.
    fn hear(&self, outcome: std::io::Result<()>) {
        if let Err(error) = outcome
            && !self.unheard.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("notify systemd: {error}");
        }
    }
}
