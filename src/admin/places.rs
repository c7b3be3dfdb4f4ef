//! Who has a place at the admin. There are few, and whoever reaches its address could take them all and keep them: so
//! when they are taken, a newcomer gets the place of whoever has asked for nothing for longest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// How long the making of an answer keeps a place. What takes longer waits for something that may never come.
const MAKING: Duration = Duration::from_secs(5);
/// How long to wait where everybody is being answered, before that is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    clients: HashMap<u64, Client>,
}

#[derive(Debug)]
struct Client {
    /// When it came, asked or was answered last.
    active: Instant,
    /// An answer is being made.
    asks: bool,
    /// Somebody else needs its place; it is told once.
    leaves: bool,
    needed: Arc<Notify>,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    needed: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// So many, all of them free.
    pub(super) fn new(count: usize) -> Arc<Places> {
        Arc::new(Places { free: Arc::new(Semaphore::new(count)), taken: Mutex::default() })
    }

    /// A place for a newcomer, which somebody may have to leave first.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            if let Ok(permit) = self.free.clone().try_acquire_owned() {
                return self.give(permit);
            }
            self.send_one_away();
            if let Ok(Ok(permit)) = timeout(AGAIN, self.free.clone().acquire_owned()).await {
                return self.give(permit);
            }
        }
    }

    fn give(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        let needed = Arc::<Notify>::default();
        let mut taken = self.taken();
        taken.last += 1;
        let number = taken.last;
        let client = Client { active: Instant::now(), asks: false, leaves: false, needed: needed.clone() };
        taken.clients.insert(number, client);
        drop(taken);
        Place { places: self.clone(), number, needed, _permit: permit }
    }

    fn send_one_away(&self) {
        let mut taken = self.taken();
        let stays = |client: &Client| client.leaves || client.asks && client.active.elapsed() < MAKING;
        let quiet = taken.clients.values_mut().filter(|client| !stays(client)).min_by_key(|client| client.active);
        if let Some(client) = quiet {
            client.leaves = true;
            client.needed.notify_one();
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Its client asks for something.
    pub(super) fn asks(&self) {
        self.is_active(true);
    }

    /// The answer is made.
    pub(super) fn is_answered(&self) {
        self.is_active(false);
    }

    /// Waits until somebody else needs it. Nothing is lost when dropped.
    pub(super) async fn is_needed(&self) {
        self.needed.notified().await;
    }

    fn is_active(&self, asks: bool) {
        if let Some(client) = self.places.taken().clients.get_mut(&self.number) {
            (client.active, client.asks) = (Instant::now(), asks);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().clients.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the client of this place is to leave.
    async fn leaves(place: &Place) -> bool {
        timeout(Duration::ZERO, place.is_needed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_gets_the_place_of_whoever_was_quiet_for_longest() {
        let places = Places::new(3);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(places.take().await);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(!leaves(&held[0]).await, "nobody needs it");
        held[0].asks();
        held[0].is_answered();
        let newcomer = tokio::spawn({
            let places = places.clone();
            async move { places.take().await }
        });
        held[1].is_needed().await;
        assert!(!leaves(&held[0]).await && !leaves(&held[2]).await);
        drop(held.remove(1));
        let newcomer = newcomer.await.expect("it has a place");
        assert_eq!(places.free.available_permits(), 0);
        drop((held, newcomer));
        assert_eq!((places.free.available_permits(), places.taken().clients.len()), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_being_answered_stays_unless_that_never_ends() {
        let places = Places::new(1);
        let place = places.take().await;
        place.asks();
        let asked = Instant::now();
        let newcomer = tokio::spawn({
            let places = places.clone();
            async move { places.take().await }
        });
        place.is_needed().await;
        assert!(asked.elapsed() >= MAKING, "{:?}", asked.elapsed());
        drop(place);
        newcomer.await.expect("it has a place");
    }
}
