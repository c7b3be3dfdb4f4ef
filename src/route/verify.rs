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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn host(text: &str) -> Host {
        Host::parse(text.as_bytes()).expect("a valid name")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Counts questions; each is answered after `delay`, with 192.0.2.1 unless the name begins with `no`.
    fn counting(delay: Duration) -> (Verifier, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let look_up = move |name: Host| -> Pin<Box<dyn Future<Output = Vec<IpAddr>> + Send>> {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(delay).await;
                if name.as_str().starts_with("no") { vec![] } else { vec![ip("2001:db8::1"), ip("192.0.2.1")] }
            })
        };
        (Verifier::with(Box::new(look_up)), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_agrees_with_each_of_its_addresses_and_no_other() {
        let (verifier, asked) = counting(Duration::from_millis(5));
        let name = host("a.example");
        for (addr, wanted) in
            [("192.0.2.1", true), ("::ffff:192.0.2.1", true), ("2001:db8::1", true), ("192.0.2.2", false)]
        {
            assert_eq!(verifier.agrees(&name, ip(addr)).await, wanted, "{addr}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_and_failures_are_asked_for_anew_after_half_a_minute() {
        let (verifier, asked) = counting(Duration::ZERO);
        for (name, wanted) in [("a.example", true), ("no.example", false)] {
            let name = host(name);
            let before = asked.load(Ordering::Relaxed);
            assert_eq!(verifier.agrees(&name, ip("192.0.2.1")).await, wanted);
            tokio::time::advance(FRESH - Duration::from_secs(1)).await;
            assert_eq!(verifier.agrees(&name, ip("192.0.2.1")).await, wanted);
            assert_eq!(asked.load(Ordering::Relaxed), before + 1);
            tokio::time::advance(Duration::from_secs(2)).await;
            assert_eq!(verifier.agrees(&name, ip("192.0.2.1")).await, wanted);
            assert_eq!(asked.load(Ordering::Relaxed), before + 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_name_is_asked_for_once_however_many_wait() {
        let (verifier, asked) = counting(Duration::from_secs(1));
        let name = host("a.example");
        let all = tokio::join!(
            verifier.agrees(&name, ip("192.0.2.1")),
            verifier.agrees(&name, ip("192.0.2.2")),
            verifier.agrees(&name, ip("192.0.2.1")),
        );
        assert_eq!(all, (true, false, true));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_leaves_the_question_to_the_next() {
        let (verifier, _) = counting(Duration::from_millis(1500));
        let name = host("a.example");
        let gone = tokio::time::timeout(Duration::from_secs(1), verifier.agrees(&name, ip("192.0.2.1"))).await;
        assert!(gone.is_err());
        assert!(verifier.agrees(&name, ip("192.0.2.1")).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_resolver_does_not_agree_after_two_seconds() {
        let (verifier, asked) = counting(Duration::from_secs(10));
        let name = host("a.example");
        let begin = Instant::now();
        assert!(!verifier.agrees(&name, ip("192.0.2.1")).await);
        assert!(begin.elapsed() <= PATIENCE + Duration::from_millis(10), "{:?}", begin.elapsed());
        // and that is believed
        assert!(!verifier.agrees(&name, ip("192.0.2.1")).await);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_resolver_holds_a_bounded_number_of_threads() {
        let (verifier, asked) = counting(Duration::from_secs(3600));
        let verifier = Arc::new(verifier);
        let ask = |n: usize| {
            let verifier = verifier.clone();
            tokio::spawn(async move { verifier.agrees(&host(&format!("n{n}.example")), ip("192.0.2.1")).await })
        };
        let tasks: Vec<_> = (0..AT_ONCE * 3).map(ask).collect();
        for task in tasks {
            assert!(!task.await.expect("no panic"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_name_makes_room() {
        let (verifier, asked) = counting(Duration::ZERO);
        for n in 0..NAMES + 1 {
            assert!(verifier.agrees(&host(&format!("n{n}.example")), ip("192.0.2.1")).await);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(verifier.known.lock().expect("no panic").len(), NAMES);
        let before = asked.load(Ordering::Relaxed);
        assert!(verifier.agrees(&host("n1.example"), ip("192.0.2.1")).await);
        assert_eq!(asked.load(Ordering::Relaxed), before, "the second is still known");
        assert!(verifier.agrees(&host("n0.example"), ip("192.0.2.1")).await);
        assert_eq!(asked.load(Ordering::Relaxed), before + 1, "the first had to go");
    }

    #[tokio::test]
    async fn the_system_knows_localhost_and_nothing_invalid() {
        // on a busy machine the first question may take longer than is waited for
        let mut verifier = Verifier::new();
        for _ in 0..10 {
            if verifier.agrees(&host("localhost"), ip("127.0.0.1")).await {
                break;
            }
            verifier = Verifier::new();
        }
        assert!(verifier.agrees(&host("localhost"), ip("127.0.0.1")).await);
        assert!(!verifier.agrees(&host("localhost"), ip("192.0.2.1")).await);
        assert!(!verifier.agrees(&host("nowhere.invalid"), ip("127.0.0.1")).await);
    }
}
