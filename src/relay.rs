//! Bytes between client and upstream, both ways, until both have ended.
//!
//! One future per tunnel, polled by readiness: an idle tunnel holds two sockets and nothing else. A
//! half-close passes through, a reset on one side is a reset on the other, and a tunnel that is dropped
//! before its end resets both, so that nobody takes a torn stream for a whole one. The trap: a side that
//! has ended and resets later says only that it takes no more; what it sent before is still delivered.

mod copying;
mod direction;
mod watchdog;

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::close::{By, Close, End};
use crate::flow::Flow;
use crate::sys::queues::unacked;
use crate::sys::socket;
pub use copying::Copying;
use direction::{Direction, Fault};

pub use watchdog::Watchdog;

/// How long nothing may move.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In an open tunnel.
    pub idle: Option<Duration>,
    /// In one of which a side has ended.
    pub half_closed: Option<Duration>,
}

/// A tunnel that is open.
#[derive(Debug)]
pub struct Relay {
    client: TcpStream,
    upstream: TcpStream,
    up: Direction,
    down: Direction,
    first: Option<By>,
    /// The side that ended, and was reset later: nothing can be delivered to it.
    deaf: Option<By>,
    watchdog: Watchdog,
    finished: bool,
}

impl Relay {
    /// Joins two sockets.
    pub fn new(client: TcpStream, upstream: TcpStream) -> Relay {
        Relay {
            client,
            upstream,
            up: Direction::default(),
            down: Direction::default(),
            first: None,
            deaf: None,
            watchdog: Watchdog::default(),
            finished: false,
        }
    }

    /// What the client sent before the tunnel was open, and whether it has ended its side.
    pub fn early_up(&mut self, bytes: Vec<u8>, ended: bool) {
        self.up.early(bytes, ended);
    }

    /// What the upstream sent with its answer.
    pub fn early_down(&mut self, bytes: Vec<u8>) {
        self.down.early(bytes, false);
    }

    /// Relays to the end. Counts into `flow` as bytes leave, so that the count is right when dropped.
    pub async fn run(&mut self, limits: Limits, flow: &mut Flow) -> Close {
        poll_fn(|cx| self.poll(limits, flow, cx)).await
    }

    fn poll(&mut self, limits: Limits, flow: &mut Flow, cx: &mut Context<'_>) -> Poll<Close> {
        loop {
            let up = match self.deaf {
                Some(By::Upstream) => self.up.poll_discard(&self.client, cx),
                _ => self.up.poll(&self.client, &self.upstream, self.down.is_done(), cx),
            };
            flow.up = self.up.moved();
            // before the other direction reads: a broken socket says so once, and then looks like one that ended
            if let Some(close) = self.judge(&up, By::Client, By::Upstream) {
                return Poll::Ready(close);
            }
            let down = match self.deaf {
                Some(By::Client) => Poll::Pending,
                _ => self.down.poll(&self.upstream, &self.client, self.up.is_done(), cx),
            };
            flow.down = self.down.moved();
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
        let had_ended = match side {
            By::Client => self.up.has_ended(),
            _ => self.down.has_ended(),
        };
        let whole = had_ended || error.kind() == std::io::ErrorKind::BrokenPipe;
        if !whole || self.deaf.is_some_and(|deaf| deaf != side) {
            return Some(Close::because(End::Reset, side, error));
        }
        self.deaf = Some(side);
        None
    }

    /// The direction from the deaf side, and the socket that it leads to.
    fn remaining(&self) -> Option<(By, &Direction, &TcpStream)> {
        match self.deaf? {
            By::Client => Some((By::Client, &self.up, &self.upstream)),
            side => Some((side, &self.down, &self.client)),
        }
    }

    /// Whether all that a deaf side had sent has arrived, its end included: then nothing is left to do.
    fn last_words(&mut self) -> Option<Close> {
        let (side, direction, to) = self.remaining()?;
        if !direction.is_done() || unacked(to) > 0 {
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
            let stuck = half_closed || self.up.holds() || self.down.holds();
            let (limit, end) = self.limit(limits, half_closed);
            let waiting = self.remaining().map_or(0, |(_, _, to)| unacked(to) as u64);
            let moved = (self.up.moved() + self.down.moved()).wrapping_sub(waiting);
            let quiet = match self.watchdog.poll(stuck, limit, moved, cx) {
                Poll::Ready(quiet) => quiet,
                Poll::Pending => return Poll::Pending,
            };
            if limit.is_some_and(|limit| quiet >= limit) {
                return Poll::Ready(end);
            }
            for (error, side) in [(self.client.take_error(), By::Client), (self.upstream.take_error(), By::Upstream)] {
                if let Ok(Some(error)) = error
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

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.finished {
            socket::abort_on_close(&self.client);
            socket::abort_on_close(&self.upstream);
        }
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
