//! Finds direct connections of ours that rules send back to us. The upstreams' addresses are known, so a connection to
//! one of them that comes from this machine is ours; an origin's address may be wanted by anybody here, so it takes the
//! port that ours came from.
//!
//! Both ends of such a loop are in this process: each registers first and looks for the other one then, so that one of
//! them finds it whichever is first.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Both kinds of ends that are open now.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    ends: Mutex<Ends>,
}

#[derive(Debug, Default)]
struct Ends {
    /// From where we dialled origins.
    dials: HashSet<SocketAddr>,
    /// From where clients on this machine came.
    clients: HashSet<SocketAddr>,
}

/// An end; it is forgotten when dropped.
#[derive(Debug)]
pub(super) struct Registered {
    mirror: Arc<Mirror>,
    addr: SocketAddr,
    kind: Kind,
}

/// Which end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// We dialled an origin from this address.
    Dial,
    /// A client on this machine came from this address.
    Client,
}

impl Mirror {
    /// Registers an end; `None` where it is the other end of one that is registered.
    pub(super) fn register(self: &Arc<Self>, addr: SocketAddr, kind: Kind) -> Option<Registered> {
        let mut ends = self.ends();
        ends.of(kind).insert(addr);
        let meets_itself = match kind {
            Kind::Dial => ends.clients.contains(&addr),
            Kind::Client => ends.dials.contains(&addr),
        };
        drop(ends);
        let registered = Registered { mirror: self.clone(), addr, kind };
        (!meets_itself).then_some(registered)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ends {
    fn of(&mut self, kind: Kind) -> &mut HashSet<SocketAddr> {
        match kind {
            Kind::Dial => &mut self.dials,
            Kind::Client => &mut self.clients,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.mirror.ends().of(self.kind).remove(&self.addr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_end_is_second_finds_the_first() {
        let mirror = Arc::new(Mirror::default());
        let addr = |port| SocketAddr::from(([10, 0, 0, 1], port));
        for (first, second) in [(Kind::Dial, Kind::Client), (Kind::Client, Kind::Dial)] {
            let held = mirror.register(addr(1), first).expect("alone");
            assert!(mirror.register(addr(1), second).is_none());
            assert!(mirror.register(addr(2), second).is_some());
            drop(held);
            assert!(mirror.register(addr(1), second).is_some(), "{first:?} was not forgotten");
        }
    }
}
