//! How many sessions may be open at once, and who waits for a seat. The number can change while they sit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admin;

/// The seats.
#[derive(Debug)]
pub(super) struct Seats {
    /// Those that are free; a session holds its permit.
    pub(super) free: Arc<Semaphore>,
    count: AtomicUsize,
    /// Seats that go when they are left.
    debt: AtomicUsize,
    most: AtomicUsize,
    descriptors: u64,
    /// Clients wait for room now.
    is_short: AtomicBool,
    /// How often there was no seat, and how often accepting failed.
    full: AtomicU64,
    failed: AtomicU64,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    /// Every seat is taken.
    Full,
    /// Accepting failed.
    Failed,
}

impl Seats {
    /// As many as fit under the limit of descriptors.
    pub(super) fn new(most: usize, descriptors: u64) -> Seats {
        Seats {
            free: Arc::new(Semaphore::new(most)),
            count: AtomicUsize::new(most),
            debt: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            descriptors,
            is_short: AtomicBool::new(false),
            full: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// There is no more room.
    pub(super) fn are_short(&self, of: Shortage) {
        self.is_short.store(true, Ordering::Relaxed);
        let count = match of {
            Shortage::Full => &self.full,
            Shortage::Failed => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// There is room again.
    pub(super) fn are_enough(&self) {
        self.is_short.store(false, Ordering::Relaxed);
    }

    /// What the admin tells of them.
    pub(super) fn shown(&self) -> admin::Seats {
        admin::Seats {
            count: self.count(),
            is_short: self.is_short.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// The limit that they were made for.
    pub(super) fn descriptors(&self) -> u64 {
        self.descriptors
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many are taken now.
    pub(super) fn taken(&self) -> usize {
        self.total().saturating_sub(self.free.available_permits())
    }

    /// How many there are, with those that go.
    pub(super) fn total(&self) -> usize {
        self.count() + self.debt.load(Ordering::Relaxed)
    }

    /// Gives a seat back for good if there is one too many.
    pub(super) fn keep(&self, seat: OwnedSemaphorePermit) -> Option<OwnedSemaphorePermit> {
        let paid = self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |debt| debt.checked_sub(1));
        if paid.is_err() {
            return Some(seat);
        }
        seat.forget();
        None
    }

    /// From the next [`resize`](Seats::resize) on so many fit, since other things take more or fewer descriptors.
    pub(super) fn fit(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Makes it as many as `-max-sessions` says, 0 being all that fit. Where more sit than may, those that leave are
    /// not followed by others until it is so.
    pub(super) fn resize(&self, wanted: usize) {
        let most = self.most.load(Ordering::Relaxed);
        if wanted > most {
            let descriptors = self.descriptors;
            tracing::warn!("-max-sessions {wanted}: only {most} fit under the limit of {descriptors} descriptors");
        }
        let new = if wanted == 0 { most } else { wanted.min(most) };
        let old = self.count.swap(new, Ordering::Relaxed);
        if new >= old {
            let mut more = new - old;
            let forgiven =
                self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |debt| Some(debt.saturating_sub(more)));
            more -= forgiven.unwrap_or_default().min(more);
            self.free.add_permits(more);
            return;
        }
        let surplus = old - new;
        self.debt.fetch_add(surplus - self.free.forget_permits(surplus), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_come_and_go_while_some_are_taken() {
        let seats = Seats::new(10, 100);
        let take = || seats.free.clone().try_acquire_owned().ok().and_then(|seat| seats.keep(seat));
        let sitting: Vec<_> = (0..6).map(|_| take().expect("a free seat")).collect();
        seats.resize(4);
        assert_eq!((seats.count(), seats.taken(), seats.free.available_permits()), (4, 6, 0));
        drop(sitting);
        // two of the six are one too many
        assert!(take().is_none() && take().is_none());
        assert_eq!((seats.total(), seats.taken(), seats.free.available_permits()), (4, 0, 4));
        let sitting: Vec<_> = (0..4).map(|_| take().expect("a free seat")).collect();
        seats.resize(1);
        seats.resize(3);
        assert_eq!((seats.total(), seats.taken()), (4, 4));
        drop(sitting);
        assert!(take().is_none());
        seats.resize(0);
        assert_eq!((seats.count(), seats.free.available_permits(), seats.taken()), (10, 10, 0));
        seats.resize(99);
        assert_eq!(seats.count(), 10);
        seats.fit(7);
        seats.resize(0);
        assert_eq!((seats.count(), seats.free.available_permits(), seats.taken()), (7, 7, 0));
    }
}
