//! Bytes between client and upstream, both ways, until both have ended.
//!
//! One future per tunnel, polled by readiness: an idle tunnel holds two sockets and nothing else. A
//! half-close passes through, a reset on one side is a reset on the other, and a tunnel that is dropped
//! before its end resets both, so that nobody takes a torn stream for a whole one. The trap: a side that
//! has ended and resets later says only that it takes no more; what it sent before is still delivered.
//!
//! How the bytes move is a [`Pair`]'s business: spliced from socket to socket, or copied where one side is
//! more than a socket. What is promised is the same.

mod copying;
mod direction;
mod splicing;
mod watchdog;

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::close::{By, Close, End};
use crate::flow::Flow;
use crate::sys::queues::unacked;
use crate::sys::socket;
use direction::Fault;

pub use watchdog::Watchdog;

pub use copying::Copied;
pub use splicing::Spliced;

/// A tunnel between two sockets.
pub type Relay = Tunnel<Spliced>;
/// A tunnel whose upstream side is encrypted, or otherwise more than a socket.
pub type Copying = Tunnel<Copied>;

/// How long nothing may move.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In an open tunnel.
    pub idle: Option<Duration>,
    /// In one of which a side has ended.
    pub half_closed: Option<Duration>,
}

/// Two sides, and how bytes get from each to the other.
pub trait Pair {
    /// Moves what can be moved from one side to the other; ready when the source has ended and the other
    /// side was told, and then always.
    ///
    /// # Errors
    /// Which side failed.
    fn poll(&mut self, from: By, cx: &mut Context<'_>) -> Poll<Result<(), Fault>>;

    /// Reads the client for nobody, so that it can be closed without a reset; ready when it has ended.
    ///
    /// # Errors
    /// The client failed.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>>;

    /// How far the direction from this side is.
    fn course(&self, from: By) -> Course;

    /// Adds to the counts of the direction from this side.
    fn count(&mut self, from: By, bytes: u64, chunks: u32);

    /// The socket of a side, for its options and errors.
    fn socket(&self, side: By) -> &TcpStream;
}

/// How far a direction is.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Bytes that were handed on.
    pub moved: u64,
    /// Reads that brought bytes.
    pub chunks: u32,
    /// Bytes wait for the destination.
    pub holds: bool,
    /// The source has ended; bytes may still be held.
    pub ended: bool,
    /// And so was the destination told.
    pub done: bool,
}

/// A tunnel that is open.
#[derive(Debug)]
pub struct Tunnel<P: Pair> {
    pair: P,
    first: Option<By>,
    /// The side that ended, and was reset later: nothing can be delivered to it.
    deaf: Option<By>,
    watchdog: Watchdog,
    finished: bool,
}

impl<P: Pair> Tunnel<P> {
    fn between(pair: P) -> Tunnel<P> {
        Tunnel { pair, first: None, deaf: None, watchdog: Watchdog::default(), finished: false }
    }

    /// Counts on from what went up and down before the tunnel, such as the requests that led to it.
    pub fn counted(&mut self, bytes: [u64; 2], chunks: [u32; 2]) {
        self.pair.count(By::Client, bytes[0], chunks[0]);
        self.pair.count(By::Upstream, bytes[1], chunks[1]);
    }

    /// Relays to the end. Counts into `flow` as bytes leave, so that the count is right when dropped.
    pub fn run(&mut self, limits: Limits, flow: &mut Flow) -> impl Future<Output = Close> {
        // no async fn, which would hold its arguments twice: every idle tunnel has one of these
        poll_fn(move |cx| {
            let polled = self.poll(limits, cx);
            flow.moved(self.pair.course(By::Client).moved, self.pair.course(By::Upstream).moved);
            flow.chunks = [By::Client, By::Upstream].map(|side| self.pair.course(side).chunks);
            polled
        })
    }

    fn poll(&mut self, limits: Limits, cx: &mut Context<'_>) -> Poll<Close> {
        loop {
            let up = match self.deaf {
                Some(By::Upstream) => self.pair.poll_discard(cx),
                _ => self.pair.poll(By::Client, cx),
            };
            // before the other direction reads: a broken socket says so once, and then looks like one that ended
            if let Some(close) = self.judge(&up, By::Client, By::Upstream) {
                return Poll::Ready(close);
            }
            let down = match self.deaf {
                Some(By::Client) => Poll::Pending,
                _ => self.pair.poll(By::Upstream, cx),
            };
            if let Some(close) = self.judge(&down, By::Upstream, By::Client) {
                return Poll::Ready(close);
            }
            let done = [&up, &down].map(|outcome| matches!(outcome, Poll::Ready(Ok(()))));
            if done == [true, true] {
                self.finished = true;
                return Poll::Ready(Close::new(End::Done, self.first.unwrap_or(By::Client)));
            }
            if let Some(close) = self.last_words() {
                return Poll::Ready(close);
            }
            if [&up, &down].iter().any(|outcome| matches!(outcome, Poll::Ready(Err(_)))) {
                // one side has gone deaf just now: the other one is still to be served
                continue;
            }
            return self.watch(limits, done.contains(&true) || self.deaf.is_some(), cx);
        }
    }

    /// What one direction came to.
    fn judge(&mut self, outcome: &Poll<Result<(), Fault>>, from: By, to: By) -> Option<Close> {
        match outcome {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => {
                self.first.get_or_insert(from);
                None
            }
            Poll::Ready(Err(Fault::From(error))) => Some(Close::because(End::Reset, from, error)),
            Poll::Ready(Err(Fault::To(error))) => self.broken(to, error),
        }
    }

    /// A side takes no more. If it had ended before, what it sent is whole and is still delivered; EPIPE
    /// says that it had, read or not. Anything else has torn what it sent.
    fn broken(&mut self, side: By, error: &std::io::Error) -> Option<Close> {
        let whole = self.pair.course(side).ended || error.kind() == std::io::ErrorKind::BrokenPipe;
        if !whole || self.deaf.is_some_and(|deaf| deaf != side) {
            return Some(Close::because(End::Reset, side, error));
        }
        self.deaf = Some(side);
        None
    }

    /// Bytes that came from the deaf side and that the other one has not acknowledged.
    fn unacked(&self) -> usize {
        match self.deaf {
            None => 0,
            Some(By::Client) => unacked(self.pair.socket(By::Upstream)),
            Some(_) => unacked(self.pair.socket(By::Client)),
        }
    }

    /// Whether all that a deaf side had sent has arrived, its end included: then nothing is left to do.
    fn last_words(&mut self) -> Option<Close> {
        let side = self.deaf?;
        if !self.pair.course(side).done || self.unacked() > 0 {
            return None;
        }
        // a client that has got everything need not be warned; an upstream still serves one that is gone
        self.finished = side == By::Upstream;
        Some(match side {
            By::Upstream => Close::new(End::Done, By::Upstream),
            _ => Close::because(End::Reset, side, "connection reset"),
        })
    }

    /// What no readiness tells: that nothing moves, and that a socket is broken which we do not read now.
    fn watch(&mut self, limits: Limits, half_closed: bool, cx: &mut Context<'_>) -> Poll<Close> {
        loop {
            let [up, down] = [By::Client, By::Upstream].map(|side| self.pair.course(side));
            let stuck = half_closed || up.holds || down.holds;
            let (limit, end) = self.limit(limits, half_closed);
            let moved = (up.moved + down.moved).wrapping_sub(self.unacked() as u64);
            let quiet = match self.watchdog.poll(stuck, limit, moved, cx) {
                Poll::Ready(quiet) => quiet,
                Poll::Pending => return Poll::Pending,
            };
            if limit.is_some_and(|limit| quiet >= limit) {
                return Poll::Ready(end);
            }
            for side in [By::Client, By::Upstream] {
                if let Ok(Some(error)) = self.pair.socket(side).take_error()
                    && let Some(close) = self.broken(side, &error)
                {
                    return Poll::Ready(close);
                }
            }
            if let Some(close) = self.last_words() {
                return Poll::Ready(close);
            }
        }
    }

    /// How long nothing may move now, and what it is called when that is over.
    fn limit(&self, limits: Limits, half_closed: bool) -> (Option<Duration>, Close) {
        if half_closed {
            let limit = [limits.half_closed, limits.idle].into_iter().flatten().min();
            return (limit, Close::new(End::HalfClosed, By::Us));
        }
        (limits.idle, Close::new(End::Idle, By::Us))
    }
}

impl<P: Pair> Drop for Tunnel<P> {
    fn drop(&mut self) {
        if !self.finished {
            socket::abort_on_close(self.pair.socket(By::Client));
            socket::abort_on_close(self.pair.socket(By::Upstream));
        }
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
