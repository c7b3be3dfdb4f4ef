//! How many sessions may be open at once, and who waits for a seat. The number can change while they sit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// The seats.
#[derive(Debug)]
pub(super) struct Seats {
    /// Those that are free; a session holds its permit.
    pub(super) free: Arc<Semaphore>,
    count: AtomicUsize,
    most: usize,
    descriptors: u64,
}

impl Seats {
    /// As many as fit under the limit of descriptors.
    pub(super) fn new(most: usize, descriptors: u64) -> Seats {
        Seats { free: Arc::new(Semaphore::new(most)), count: AtomicUsize::new(most), most, descriptors }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many are taken now.
    pub(super) fn taken(&self) -> usize {
        self.count().saturating_sub(self.free.available_permits())
    }

    /// Makes it as many as `-max-sessions` says, 0 being all that fit. Where more sit than may, those that leave are
    /// not followed by others until it is so.
    pub(super) fn resize(&self, wanted: usize) {
        let Seats { most, descriptors, .. } = *self;
        if wanted > most {
            tracing::warn!("-max-sessions {wanted}: only {most} fit under the limit of {descriptors} descriptors");
        }
        let new = if wanted == 0 { most } else { wanted.min(most) };
        let old = self.count.swap(new, Ordering::Relaxed);
        if new >= old {
            self.free.add_permits(new - old);
            return;
        }
        let mut surplus = old - new;
        surplus -= self.free.forget_permits(surplus);
        if let (Ok(rest @ 1..), free) = (u32::try_from(surplus), self.free.clone()) {
            tokio::spawn(async move {
                free.acquire_many(rest).await.expect("nobody closes the semaphore").forget();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn seats_come_and_go_while_some_are_taken() {
        let seats = Seats::new(10, 100);
        let sitting: Vec<_> = (0..6).map(|_| seats.free.clone().try_acquire_owned().expect("a free seat")).collect();
        seats.resize(4);
        tokio::task::yield_now().await;
        assert_eq!((seats.count(), seats.free.available_permits()), (4, 0));
        drop(sitting);
        tokio::task::yield_now().await;
        assert_eq!((seats.free.available_permits(), seats.taken()), (4, 0));
        seats.resize(0);
        assert_eq!((seats.count(), seats.free.available_permits()), (10, 10));
        seats.resize(99);
        assert_eq!(seats.count(), 10);
    }
}
