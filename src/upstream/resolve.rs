//! The upstream's addresses: resolved by the system, kept for a while, the last good answer for ever.
//!
//! Nobody waits for a look-up except the sessions before the first answer: an answer that has aged is
//! still used while one task asks anew.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{UpstreamAddr, UpstreamHost};

/// An answer is asked for anew when it is older than this.
const FRESH: Duration = Duration::from_secs(30);
/// A failure is believed for this long, so that a dead resolver is not asked once per connection.
const FAILED: Duration = Duration::from_secs(1);
/// A client whose upstream cannot be reached waits this long for a newer answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The addresses behind one name.
#[derive(Debug)]
pub(super) struct Resolver {
    name: String,
    port: u16,
    state: Mutex<State>,
    asking: AtomicBool,
    /// Told at the end of each look-up.
    answered: Notify,
}

#[derive(Debug)]
enum State {
    /// An address was configured.
    Fixed(Arc<[SocketAddr]>),
    Known {
        addrs: Arc<[SocketAddr]>,
        at: Instant,
        failing: bool,
    },
    Failed {
        why: String,
        at: Instant,
    },
    Never,
}

impl Resolver {
    pub(super) fn new(addr: &UpstreamAddr) -> Resolver {
        let (name, state) = match &addr.host {
            UpstreamHost::Ip(ip) => (ip.to_string(), State::Fixed(Arc::new([SocketAddr::new(*ip, addr.port)]))),
            UpstreamHost::Name(host) => (host.to_string(), State::Never),
        };
        Resolver {
            name,
            port: addr.port,
            state: Mutex::new(state),
            asking: AtomicBool::new(false),
            answered: Notify::new(),
        }
    }

    /// What is known without asking.
    pub(super) fn known(&self) -> Option<Arc<[SocketAddr]>> {
        match &*self.state() {
            State::Fixed(addrs) | State::Known { addrs, .. } => Some(addrs.clone()),
            _ => None,
        }
    }

    /// The addresses, in the order in which to try them.
    pub(super) async fn addresses(self: &Arc<Self>) -> io::Result<Arc<[SocketAddr]>> {
        loop {
            if let Some(usable) = self.usable() {
                return usable;
            }
            self.answer().await;
        }
    }

    /// Asks anew, and says where the name points if that is elsewhere than `addrs`.
    pub(super) async fn moved_from(self: &Arc<Self>, addrs: &Arc<[SocketAddr]>) -> Option<Arc<[SocketAddr]>> {
        let just_asked = match &*self.state() {
            State::Fixed(_) => return None,
            State::Known { at, .. } => at.elapsed() < FAILED,
            State::Failed { .. } | State::Never => false,
        };
        if !just_asked {
            let _ = tokio::time::timeout(PATIENCE, self.answer()).await;
        }
        self.known().filter(|now| now != addrs)
    }

    /// What can be used without waiting; has an aged answer asked for anew.
    fn usable(self: &Arc<Self>) -> Option<io::Result<Arc<[SocketAddr]>>> {
        let usable = match &*self.state() {
            State::Fixed(addrs) => return Some(Ok(addrs.clone())),
            State::Known { addrs, at, .. } if at.elapsed() < FRESH => return Some(Ok(addrs.clone())),
            State::Known { addrs, .. } => addrs.clone(),
            State::Failed { why, at } if at.elapsed() < FAILED => return Some(Err(io::Error::other(why.clone()))),
            State::Failed { .. } | State::Never => return None,
        };
        self.start_asking();
        Some(Ok(usable))
    }

    /// The end of the look-up that is under way, or of one that begins now.
    async fn answer(self: &Arc<Self>) {
        let answered = self.answered.notified();
        tokio::pin!(answered);
        // from here on no end is missed
        answered.as_mut().enable();
        self.start_asking();
        answered.await;
    }

    /// One look-up at a time, in a task of its own: it outlives whoever wanted it.
    fn start_asking(self: &Arc<Self>) {
        if self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let resolver = self.clone();
        tokio::spawn(async move {
            let _ = resolver.ask().await;
            resolver.asking.store(false, Ordering::Release);
            resolver.answered.notify_waiters();
        });
    }

    /// Asks the system and remembers the answer.
    async fn ask(&self) -> io::Result<Arc<[SocketAddr]>> {
        let answer = tokio::net::lookup_host((self.name.as_str(), self.port)).await.and_then(|found| {
            let addrs = alternate(found.collect());
            if addrs.is_empty() { Err(io::Error::other("no address")) } else { Ok(Arc::from(addrs)) }
        });
        let now = Instant::now();
        let mut state = self.state();
        match answer {
            Ok(addrs) => {
                if let State::Known { failing: true, .. } = *state {
                    tracing::info!("upstream name {} resolves again", self.name);
                }
                *state = State::Known { addrs: Arc::clone(&addrs), at: now, failing: false };
                Ok(addrs)
            }
            Err(error) => {
                let why = format!("resolve {}: {error}", self.name);
                if let State::Known { addrs, at, failing } = &mut *state {
                    if !*failing {
                        tracing::warn!("{why}; keeping the last good answer, {addrs:?}");
                    }
                    (*at, *failing) = (now, true);
                } else {
                    *state = State::Failed { why: why.clone(), at: now };
                }
                Err(io::Error::other(why))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system's order, but with the families taking turns (RFC 8305 section 4).
fn alternate(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addrs.first().map(SocketAddr::is_ipv6) else { return addrs };
    let (mut same, mut other): (Vec<_>, Vec<_>) = addrs.into_iter().partition(|a| a.is_ipv6() == first);
    let mut turns = Vec::with_capacity(same.len() + other.len());
    same.reverse();
    other.reverse();
    while let Some(addr) = same.pop() {
        turns.push(addr);
        turns.extend(other.pop());
    }
    other.reverse();
    turns.extend(other);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Host;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn resolver(name: &str) -> Arc<Resolver> {
        let host = UpstreamHost::Name(Host::parse(name.as_bytes()).expect("a valid name"));
        Arc::new(Resolver::new(&UpstreamAddr { host, port: 3128 }))
    }

    #[test]
    fn families_take_turns_in_the_given_order() {
        let [a, b, c] = [addr("[::1]:1"), addr("[::2]:1"), addr("[::3]:1")];
        let [x, y] = [addr("1.1.1.1:1"), addr("2.2.2.2:1")];
        assert_eq!(alternate(vec![a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(alternate(vec![x, a, b]), [x, a, b]);
        assert_eq!(alternate(vec![]), []);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_answer_outlives_a_dead_resolver() {
        let resolver = resolver("nowhere.invalid");
        let good: Arc<[SocketAddr]> = Arc::new([addr("10.0.0.1:3128")]);
        *resolver.state() = State::Known { addrs: good.clone(), at: Instant::now(), failing: false };
        tokio::time::advance(FRESH * 2).await;
        assert_eq!(resolver.addresses().await.expect("kept"), good);
        let _ = resolver.ask().await.expect_err("an invalid name");
        assert_eq!(resolver.addresses().await.expect("still kept"), good);
        assert!(matches!(*resolver.state(), State::Known { failing: true, .. }));
    }

    #[tokio::test]
    async fn a_name_that_never_resolved_is_an_error_that_names_it() {
        let resolver = resolver("nowhere.invalid");
        let error = resolver.addresses().await.expect_err("an invalid name").to_string();
        assert!(error.starts_with("resolve nowhere.invalid: "), "{error}");
        assert_eq!(resolver.addresses().await.expect_err("believed for a while").to_string(), error);
    }

    #[tokio::test]
    async fn an_upstream_that_moved_is_found_at_its_new_address() {
        let resolver = resolver("localhost");
        let old: Arc<[SocketAddr]> = Arc::new([addr("10.0.0.1:3128")]);
        *resolver.state() = State::Known { addrs: old.clone(), at: Instant::now() - FAILED * 2, failing: false };
        let moved = resolver.moved_from(&old).await.expect("localhost is elsewhere");
        assert!(moved.iter().all(|a| a.ip().is_loopback() && a.port() == 3128));
        assert_eq!(resolver.moved_from(&moved).await, None);
    }
}
