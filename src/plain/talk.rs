//! The two connections of an exchange, and what can be waited for on them.
//!
//! While an answer is awaited or passed on, the request's body goes on, and behind it the client is
//! watched: one that resets frees everything at once, one that only ends its side gets its answer.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::client::Client;
use super::inbox::SIZE;
use super::lane::{Fault, Lane};
use crate::close::{By, Close, End};
use crate::flow::Flow;
use crate::relay::{Limits, Watchdog};
use crate::stream::Stream;
use crate::sys::socket;
use crate::upstream::Link;
use crate::wire::fields::MAX_HEAD;
use crate::wire::reply::head_end;

/// How long a client may take over a request head that it has begun.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// A client and its connection to the proxy.
pub(super) struct Talk<'f> {
    pub(super) client: Client,
    pub(super) link: Option<Link>,
    pub(super) up: Lane,
    pub(super) down: Lane,
    pub(super) upload: Upload,
    pub(super) flow: &'f mut Flow,
    limits: Limits,
    watchdog: Watchdog,
}

/// How far a request has gone up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upload {
    Going,
    Done,
    /// The proxy takes no more of it.
    Broken,
}

/// Why there is no further request.
#[derive(Debug)]
pub(super) enum Last {
    /// The client has ended its side.
    Ended,
    /// It broke the connection.
    Gone(io::Error),
    /// Nothing came.
    Idle,
    /// It ended its side within a head.
    Cut,
    TooLong,
    TooSlow,
}

/// Why there is no answer, or only a part of it.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The client broke the connection, or ended its side within the body.
    Client(io::Error),
    /// The client's body is not valid.
    BadBody(&'static str),
    /// The proxy closed or broke the connection.
    Upstream(io::Error),
    /// What the proxy says is not valid.
    BadReply(&'static str),
    /// Nothing moved.
    Quiet(Close),
}

impl<'f> Talk<'f> {
    pub(super) fn new(client: Client, link: Link, up: Lane, limits: Limits, flow: &'f mut Flow) -> Talk<'f> {
        Talk {
            client,
            link: Some(link),
            up,
            down: Lane::new(Vec::new(), false),
            upload: Upload::Done,
            flow,
            limits,
            watchdog: Watchdog::default(),
        }
    }

    /// Waits for a whole request head, and returns its length. The memory of an idle client is given back,
    /// and so is a connection that the proxy closes meanwhile.
    pub(super) async fn request_head(&mut self) -> Result<usize, Last> {
        let mut seen = 0;
        let mut began = None;
        poll_fn(|cx| self.poll_request_head(&mut seen, &mut began, cx)).await
    }

    fn poll_request_head(
        &mut self,
        seen: &mut usize,
        began: &mut Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Last>> {
        loop {
            // RFC 9112 section 2.2: empty lines before a request are nothing
            while let [b'\n', ..] | [b'\r', b'\n', ..] = self.up.inbox.bytes() {
                let length = if self.up.inbox.bytes()[0] == b'\n' { 1 } else { 2 };
                self.up.inbox.consume(length);
                *seen = 0;
            }
            let bytes = self.up.inbox.bytes();
            // what came early, behind the last request, began it too; empty lines did not
            *began = if bytes.is_empty() { None } else { began.or_else(|| Some(Instant::now())) };
            if let Some(length) = head_end(bytes, seen.saturating_sub(3)) {
                return Poll::Ready(if length > MAX_HEAD { Err(Last::TooLong) } else { Ok(length) });
            }
            *seen = bytes.len();
            if bytes.len() >= MAX_HEAD {
                return Poll::Ready(Err(Last::TooLong));
            }
            if self.up.ended {
                return Poll::Ready(Err(if bytes.is_empty() { Last::Ended } else { Last::Cut }));
            }
            if bytes.is_empty() && self.client.tcp().poll_read_ready(cx).is_pending() {
                self.up.release();
                self.down.release();
                self.poll_unlink(cx);
                return self.poll_head_time(*began, cx);
            }
            match self.up.poll_fill(&mut self.client, cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Last::Gone(error))),
                Poll::Pending => return self.poll_head_time(*began, cx),
            }
        }
    }

    /// Whatever comes from the proxy between two answers ends that connection.
    fn poll_unlink(&mut self, cx: &mut Context<'_>) {
        if let Some(link) = &mut self.link
            && pin!(link.stream.read(&mut [0])).poll(cx).is_ready()
        {
            self.link = None;
        }
    }

    fn poll_head_time<T>(&mut self, began: Option<Instant>, cx: &mut Context<'_>) -> Poll<Result<T, Last>> {
        let limit = if began.is_some() { Some(HEAD_TIME) } else { None };
        let limit = [limit, self.limits.idle].into_iter().flatten().min();
        while let Poll::Ready(quiet) = self.watchdog.poll(false, limit, self.moved(), cx) {
            if began.is_some_and(|began| began.elapsed() >= HEAD_TIME) {
                return Poll::Ready(Err(Last::TooSlow));
            }
            if self.limits.idle.is_some_and(|idle| quiet >= idle) {
                return Poll::Ready(Err(Last::Idle));
            }
        }
        Poll::Pending
    }

    /// Waits for the head of an answer, and returns its length, while the request goes up.
    pub(super) async fn reply_head(&mut self) -> Result<usize, Trouble> {
        let mut seen = 0;
        poll_fn(|cx| {
            let polled = self.poll_reply_head(&mut seen, cx);
            self.counted(polled, cx)
        })
        .await
    }

    fn poll_reply_head(&mut self, seen: &mut usize, cx: &mut Context<'_>) -> Poll<Result<usize, Trouble>> {
        self.poll_upload(cx)?;
        if let Poll::Ready(Err(error)) = self.down.poll_write(&mut self.client, cx) {
            return Poll::Ready(Err(Trouble::Client(error)));
        }
        let link = self.link.as_mut().expect("it was dialled before the request was sent");
        loop {
            let bytes = self.down.inbox.bytes();
            if let Some(length) = head_end(bytes, seen.saturating_sub(3)) {
                return Poll::Ready(Ok(length));
            }
            *seen = bytes.len();
            if !b"HTTP/1.".starts_with(&bytes[..bytes.len().min(7)]) {
                return Poll::Ready(Err(Trouble::BadReply("it is no HTTP/1")));
            }
            if bytes.len() >= MAX_HEAD {
                return Poll::Ready(Err(Trouble::BadReply("its head is too long")));
            }
            if self.down.ended {
                return Poll::Ready(Err(Trouble::Upstream(closed())));
            }
            match self.down.poll_fill(&mut link.stream, cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Trouble::Upstream(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Passes an answer on to its end, while the request goes up.
    pub(super) async fn deliver(&mut self) -> Result<(), Trouble> {
        poll_fn(|cx| {
            let polled = self.poll_deliver(cx);
            self.counted(polled, cx)
        })
        .await
    }

    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        self.poll_upload(cx)?;
        let link = self.link.as_mut().expect("its answer is being read");
        self.down.poll(&mut link.stream, &mut self.client, cx).map_err(|fault| match fault {
            Fault::From(error) => Trouble::Upstream(error),
            Fault::To(error) => Trouble::Client(error),
            Fault::Torn => Trouble::Upstream(closed()),
            Fault::Malformed(why) => Trouble::BadReply(why),
        })
    }

    /// Reads an answer for nobody, up to `max` bytes of it; whether it came to its end.
    pub(super) async fn drop_body(&mut self, max: usize) -> bool {
        let mut dropped = 0;
        while !self.down.is_done() {
            let Some(link) = &mut self.link else { return false };
            match poll_fn(|cx| self.down.poll_drop(&mut link.stream, cx)).await {
                Ok(more) => dropped += more,
                Err(_) => return false,
            }
            if dropped > max {
                return false;
            }
        }
        true
    }

    /// Sends more of the request; behind its end, watches the client.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Trouble> {
        let link = self.link.as_mut().expect("it was dialled before the request was sent");
        if self.upload == Upload::Going {
            match self.up.poll(&mut self.client, &mut link.stream, cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) => self.upload = Upload::Done,
                // it may have answered before it closed
                Poll::Ready(Err(Fault::To(_))) => self.upload = Upload::Broken,
                Poll::Ready(Err(Fault::From(error))) => return Err(Trouble::Client(error)),
                Poll::Ready(Err(Fault::Torn)) => return Err(Trouble::Client(closed())),
                Poll::Ready(Err(Fault::Malformed(why))) => return Err(Trouble::BadBody(why)),
            }
        }
        while !self.up.ended && self.up.inbox.len() < SIZE {
            match self.up.poll_fill(&mut self.client, cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(Trouble::Client(error)),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Keeps the books, and the time.
    fn counted<T>(&mut self, polled: Poll<Result<T, Trouble>>, cx: &mut Context<'_>) -> Poll<Result<T, Trouble>> {
        self.flow.moved(self.up.moved, self.down.moved);
        self.flow.chunks = [self.up.chunks, self.down.chunks];
        if polled.is_ready() {
            return polled;
        }
        let half_closed = if self.up.ended { self.limits.half_closed } else { None };
        let limit = [half_closed, self.limits.idle].into_iter().flatten().min();
        while let Poll::Ready(quiet) = self.watchdog.poll(false, limit, self.moved(), cx) {
            if limit.is_some_and(|limit| quiet >= limit) {
                let end = if half_closed.is_some() { End::HalfClosed } else { End::Idle };
                return Poll::Ready(Err(Trouble::Quiet(Close::new(end, By::Us))));
            }
        }
        Poll::Pending
    }

    fn moved(&self) -> u64 {
        self.up.moved + self.down.moved
    }

    /// Whether the proxy has closed the connection, as far as is known here.
    pub(super) fn is_spent(&self) -> bool {
        self.link.as_ref().is_some_and(|link| socket::has_ended(link.stream.tcp()))
    }

    /// Ends the connection to the proxy: by a reset if a request or answer is not whole.
    pub(super) fn unlink(&mut self, torn: bool) {
        if let Some(link) = self.link.take()
            && torn
        {
            socket::abort_on_close(link.stream.tcp());
        }
        self.down.inbox = super::inbox::Inbox::default();
        self.down.ended = false;
    }

    /// The two connections, for those who go on with them.
    pub(super) fn into_ends(self) -> (Client, Option<Stream>, Lane, Lane) {
        (self.client, self.link.map(|link| link.stream), self.up, self.down)
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed")
}
