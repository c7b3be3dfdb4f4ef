//! Whether a name really leads to the origin that the client dialled: a client may write any name it likes
//! (CVE-2009-0801).
//!
//! Answers are kept for a while, failures too, and neither memory nor the threads that look names up grow
//! with what clients write.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

use crate::addr::Host;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an answer is believed, also a failure.
const FRESH: Duration = Duration::from_secs(30);
/// How many names are remembered.
const NAMES: usize = 1024;
/// How many look-ups may be under way: each holds a thread until the resolver gives up.
const AT_ONCE: usize = 64;

/// Asks the system what names resolve to, and remembers.
pub struct Verifier {
    look_up: Box<LookUp>,
    known: Mutex<HashMap<Host, Answer>>,
    free: Arc<Semaphore>,
}

type LookUp = dyn Fn(Host) -> Pin<Box<dyn Future<Output = Vec<IpAddr>> + Send>> + Send + Sync;

#[derive(Clone)]
struct Answer {
    asked: Instant,
    /// Empty for a failure. Whoever comes first asks, the others wait.
    addrs: Arc<OnceCell<Vec<IpAddr>>>,
}

impl Default for Verifier {
    fn default() -> Verifier {
        Verifier::new()
    }
}

impl Verifier {
    /// Asks the system's resolver.
    pub fn new() -> Verifier {
        Verifier::with(Box::new(|name| Box::pin(ask(name))))
    }

    fn with(look_up: Box<LookUp>) -> Verifier {
        Verifier { look_up, known: Mutex::default(), free: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Whether the name resolves to the address, among others. Takes two seconds at most; what fails or takes
    /// longer does not agree.
    pub async fn agrees(&self, name: &Host, origin: IpAddr) -> bool {
        let answer = self.answer(name);
        let origin = origin.to_canonical();
        answer.addrs.get_or_init(|| self.look_up(name)).await.iter().any(|addr| addr.to_canonical() == origin)
    }

    /// The fresh answer for a name, which may still have to be asked for.
    fn answer(&self, name: &Host) -> Answer {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = known.get(name).filter(|answer| answer.asked.elapsed() < FRESH) {
            return answer.clone();
        }
        if known.len() >= NAMES {
            known.retain(|_, answer| answer.asked.elapsed() < FRESH);
        }
        if known.len() >= NAMES
            && let Some(oldest) = known.iter().min_by_key(|(_, answer)| answer.asked).map(|(name, _)| name.clone())
        {
            known.remove(&oldest);
        }
        let answer = Answer { asked: Instant::now(), addrs: Arc::default() };
        known.insert(name.clone(), answer.clone());
        answer
    }

    /// Asks, in a task that keeps its place until the resolver is done, also if nobody waits any more.
    async fn look_up(&self, name: &Host) -> Vec<IpAddr> {
        let asked = async {
            let place = self.free.clone().acquire_owned().await.ok()?;
            let asking = (self.look_up)(name.clone());
            let task = tokio::spawn(async move {
                let addrs = asking.await;
                drop(place);
                addrs
            });
            task.await.ok()
        };
        tokio::time::timeout(PATIENCE, asked).await.ok().flatten().unwrap_or_default()
    }
}

async fn ask(name: Host) -> Vec<IpAddr> {
    match tokio::net::lookup_host((name.as_str(), 0)).await {
        Ok(addrs) => addrs.map(|addr| addr.ip()).collect(),
        Err(error) => {
            tracing::debug!("resolve {name}: {error}");
            Vec::new()
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}
