//! Bytes between client and upstream, both ways, until both have ended.
//!
//! One future per tunnel, polled by readiness: an idle tunnel holds two sockets and nothing else. A
//! half-close passes through, a reset on one side is a reset on the other, and a tunnel that is dropped
//! before its end resets both, so that nobody takes a torn stream for a whole one.

mod direction;
mod watchdog;

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::close::{By, Close, End};
use crate::flow::Flow;
use crate::sys::socket;
use direction::{Direction, Fault};
use watchdog::Watchdog;

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
        let up = self.up.poll(&self.client, &self.upstream, cx);
        let down = self.down.poll(&self.upstream, &self.client, cx);
        (flow.up, flow.down) = (self.up.moved(), self.down.moved());
        match up {
            Poll::Ready(Err(Fault::From(error))) => return reset(By::Client, &error),
            Poll::Ready(Err(Fault::To(error))) => return reset(By::Upstream, &error),
            Poll::Ready(Ok(())) => _ = self.first.get_or_insert(By::Client),
            Poll::Pending => {}
        }
        match down {
            Poll::Ready(Err(Fault::From(error))) => return reset(By::Upstream, &error),
            Poll::Ready(Err(Fault::To(error))) => return reset(By::Client, &error),
            Poll::Ready(Ok(())) => _ = self.first.get_or_insert(By::Upstream),
            Poll::Pending => {}
        }
        if up.is_ready() && down.is_ready() {
            self.finished = true;
            return Poll::Ready(Close::new(End::Done, self.first.unwrap_or(By::Client)));
        }
        self.watch(limits, up.is_ready() || down.is_ready(), cx)
    }

    /// What no readiness tells: that nothing moves, and that a socket is broken which we do not read now.
    fn watch(&mut self, limits: Limits, half_closed: bool, cx: &mut Context<'_>) -> Poll<Close> {
        let stuck = half_closed || self.up.holds() || self.down.holds();
        let limit =
            if half_closed { [limits.half_closed, limits.idle].into_iter().flatten().min() } else { limits.idle };
        loop {
            let moved = self.up.moved() + self.down.moved();
            let quiet = match self.watchdog.poll(stuck, limit, moved, cx) {
                Poll::Ready(quiet) => quiet,
                Poll::Pending => return Poll::Pending,
            };
            for (socket, by) in [(&self.client, By::Client), (&self.upstream, By::Upstream)] {
                if socket::is_broken(socket) {
                    return Poll::Ready(Close::because(End::Reset, by, "connection reset"));
                }
            }
            if limit.is_some_and(|limit| quiet >= limit) {
                return Poll::Ready(Close::new(if half_closed { End::HalfClosed } else { End::Idle }, By::Us));
            }
        }
    }
}

fn reset(by: By, error: &std::io::Error) -> Poll<Close> {
    Poll::Ready(Close::because(End::Reset, by, error))
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
