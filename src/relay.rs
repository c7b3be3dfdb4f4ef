//! Bytes between client and upstream, both ways, until both have ended.
//!
//! One future per tunnel, polled by readiness: an idle tunnel holds two sockets and nothing else. A
//! half-close passes through, a reset on one side is a reset on the other, and a tunnel that is dropped
//! before its end resets both, so that nobody takes a torn stream for a whole one. The trap: a side that
//! has ended and resets later says only that it takes no more; what it sent before is still delivered.

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
use direction::{Direction, Fault};
use watchdog::Watchdog;

/// A side that was reset has this long for each step of what it had sent to be taken by the other.
const LAST_WORDS: Duration = Duration::from_secs(10);

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
            let down = match self.deaf {
                Some(By::Client) => Poll::Pending,
                _ => self.down.poll(&self.upstream, &self.client, self.up.is_done(), cx),
            };
            (flow.up, flow.down) = (self.up.moved(), self.down.moved());
            for (outcome, from, to) in [(&up, By::Client, By::Upstream), (&down, By::Upstream, By::Client)] {
                let failed = match outcome {
                    Poll::Ready(Ok(())) => {
                        self.first.get_or_insert(from);
                        continue;
                    }
                    // all that it sent is read, and no end of it came
                    Poll::Ready(Err(Fault::From(error))) => Some(Close::because(End::Reset, from, error)),
                    Poll::Ready(Err(Fault::To(error))) => self.deafen(to, error),
                    Poll::Pending => continue,
                };
                if let Some(close) = failed {
                    return Poll::Ready(close);
                }
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

    /// Nothing can be delivered to this side any more. What it sent before may still be on its way, with
    /// its end or without: reading on will tell.
    fn deafen(&mut self, side: By, error: &dyn std::fmt::Display) -> Option<Close> {
        if self.deaf.is_some_and(|deaf| deaf != side) {
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
            for (broken, side) in
                [(socket::is_broken(&self.client), By::Client), (socket::is_broken(&self.upstream), By::Upstream)]
            {
                if broken && let Some(close) = self.deafen(side, &"connection reset") {
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
        if let Some(side) = self.deaf {
            return (Some(LAST_WORDS), Close::because(End::Reset, side, "connection reset"));
        }
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
