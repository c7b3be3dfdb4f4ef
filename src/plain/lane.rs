//! One direction of an exchange: heads that we wrote go first, then the body as it came, in one call where
//! both are there.
//!
//! Nothing is read while anything is to be written, so the memory of a lane is one buffer. Body bytes are
//! looked at, and not copied; a short body may be kept to be sent again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroize;

use super::inbox::Inbox;
use crate::wire::body::{Body, Part};
use crate::wire::fields;

/// Rounds before the other sessions of the thread get their turn.
const ROUNDS: usize = 16;
/// Larger buffers of ours are given back after use.
const OUT: usize = 4 * 1024;

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) inbox: Inbox,
    /// The source has ended.
    pub(super) ended: bool,
    /// What we wrote.
    out: Vec<u8>,
    /// 0 <= sent <= out.len()
    sent: usize,
    /// So many bytes at the front of the inbox go as they are, after `out`.
    pass: usize,
    /// So many bytes behind those are dropped.
    skip: usize,
    body: Body,
    unframe: bool,
    /// The body so far, unless it became too long.
    record: Option<Vec<u8>>,
    record_max: usize,
    /// The body that was begun, and its record, while another one goes first.
    aside: Option<(Body, Vec<u8>)>,
    unflushed: bool,
    /// There are credentials in `out`.
    secret: bool,
    /// Bytes that were handed on.
    pub(super) moved: u64,
    /// Reads that brought bytes.
    pub(super) chunks: u32,
}

/// What went wrong, and on which side.
#[derive(Debug)]
pub(super) enum Fault {
    From(io::Error),
    To(io::Error),
    /// The source ended within the body.
    Torn,
    /// The body is not valid.
    Malformed(&'static str),
}

impl Lane {
    /// What has come from its source already.
    pub(super) fn new(bytes: Vec<u8>, ended: bool) -> Lane {
        Lane {
            chunks: u32::from(!bytes.is_empty()),
            inbox: Inbox::new(bytes),
            ended,
            out: Vec::new(),
            sent: 0,
            pass: 0,
            skip: 0,
            body: Body::none(),
            unframe: false,
            record: None,
            record_max: 0,
            aside: None,
            unflushed: false,
            secret: false,
            moved: 0,
        }
    }

    /// What we say next, before the body.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// What we say next is wiped when it was said.
    pub(super) fn is_secret(&mut self) {
        self.secret = true;
    }

    /// What we wanted to say and could not yet.
    pub(super) fn unsaid(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// The body that follows; `unframe` takes chunks out of their frames. As long as it is no longer than
    /// `record_max` it can be sent again.
    pub(super) fn begin(&mut self, body: Body, unframe: bool, record_max: usize) {
        self.body = body;
        self.unframe = unframe;
        self.record = Some(Vec::new());
        self.record_max = record_max;
        self.aside = None;
    }

    /// The body that was begun waits for [`again`](Lane::again), and none follows until then.
    pub(super) fn set_aside(&mut self) {
        let body = std::mem::replace(&mut self.body, Body::none());
        let record = self.record.replace(Vec::new()).unwrap_or_default();
        self.aside.get_or_insert((body, record));
    }

    /// Whether [`again`](Lane::again) can be called: the body has not begun, or is still held.
    pub(super) fn can_repeat(&self) -> bool {
        self.record.is_some()
    }

    /// Forgets what we wrote, and what of the body waited to be written.
    pub(super) fn clear(&mut self) {
        self.clear_out();
        self.inbox.consume(std::mem::take(&mut self.pass));
        self.inbox.consume(std::mem::take(&mut self.skip));
        self.unflushed = false;
    }

    /// Sends the body again, as far as it went, behind what we wrote since [`clear`](Lane::clear).
    pub(super) fn again(&mut self) {
        if let Some((body, record)) = self.aside.take() {
            self.body = body;
            self.record = Some(record);
        }
        if let Some(record) = &self.record {
            self.out.extend_from_slice(record);
        }
    }

    /// Gives the memory back.
    pub(super) fn release(&mut self) {
        self.inbox.release();
        self.record = None;
        self.aside = None;
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    fn clear_out(&mut self) {
        if std::mem::take(&mut self.secret) {
            self.out.zeroize();
        }
        self.out.clear();
        self.sent = 0;
        if self.out.capacity() > OUT {
            self.out = Vec::new();
        }
    }

    /// Reads once; 0 is the end.
    pub(super) fn poll_fill<F: AsyncRead + Unpin>(
        &mut self,
        from: &mut F,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let got = ready!(self.inbox.poll_fill(from, cx))?;
        self.ended = got == 0;
        self.chunks = self.chunks.wrapping_add(u32::from(got > 0));
        Poll::Ready(Ok(got))
    }

    /// Moves what can be moved; ready when the body is whole and everything was written.
    pub(super) fn poll<F: AsyncRead + Unpin, T: AsyncWrite + Unpin>(
        &mut self,
        from: &mut F,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        for _ in 0..ROUNDS {
            if self.pass == 0 {
                self.sort().map_err(Fault::Malformed)?;
            }
            ready!(self.poll_write(to, cx)).map_err(Fault::To)?;
            if self.body.is_done() {
                return Poll::Ready(Ok(()));
            }
            if self.sort().map_err(Fault::Malformed)? {
                continue;
            }
            if self.ended {
                if !self.body.ends_with_connection() {
                    return Poll::Ready(Err(Fault::Torn));
                }
                self.body = Body::none();
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_fill(from, cx)).map_err(Fault::From)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads the body for nobody; ready when it is whole, with its length.
    pub(super) fn poll_drop<F: AsyncRead + Unpin>(
        &mut self,
        from: &mut F,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Fault>> {
        let mut dropped = 0;
        loop {
            match self.body.next(self.inbox.bytes()).map_err(Fault::Malformed)? {
                Part::Done => return Poll::Ready(Ok(dropped)),
                Part::Data(length) | Part::Frame(length) | Part::Trailers(length) => {
                    self.inbox.consume(length);
                    dropped += length;
                }
                Part::More if self.ended || self.body.ends_with_connection() => {
                    return Poll::Ready(Err(Fault::Torn));
                }
                Part::More if dropped > 0 => {
                    // bounded by whoever asks
                    return Poll::Ready(Ok(dropped));
                }
                Part::More => {
                    ready!(self.poll_fill(from, cx)).map_err(Fault::From)?;
                }
            }
        }
    }

    /// Whether the body is whole.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_done()
    }

    /// Sorts what is in the inbox, from where `pass` ends; whether there is something to write or drop now.
    fn sort(&mut self) -> Result<bool, &'static str> {
        let mut at = 0;
        let bytes = self.inbox.bytes();
        let before = self.out.len();
        loop {
            // trailers are written anew, and frames that are taken off leave a gap: what is before them goes first
            let breaks = self.body.is_in_trailers() || (self.unframe && !self.body.is_in_data());
            if breaks && at > 0 && !self.body.is_done() {
                break;
            }
            match self.body.next(&bytes[at..])? {
                Part::Data(length) => at += length,
                Part::Frame(length) if self.unframe => {
                    self.skip = length;
                    break;
                }
                Part::Frame(length) => at += length,
                Part::Trailers(length) => {
                    if !self.unframe {
                        fields::trailers(&bytes[..length], &mut self.out)?;
                    }
                    self.skip = length;
                    break;
                }
                Part::More | Part::Done => break,
            }
        }
        self.pass = at;
        if let Some(record) = &mut self.record {
            let added = at + self.out.len() - before;
            if added > 0 && record.len() + added > self.record_max {
                self.record = None;
            } else {
                record.extend_from_slice(&bytes[..at]);
                record.extend_from_slice(&self.out[before..]);
            }
        }
        let any = at > 0 || self.skip > 0;
        if at == 0 {
            self.inbox.consume(std::mem::take(&mut self.skip));
        }
        Ok(any)
    }

    /// Writes all that is to be written.
    pub(super) fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() || self.pass > 0 {
            let said = &self.out[self.sent..];
            let passed = &self.inbox.bytes()[..self.pass];
            let to = Pin::new(&mut *to);
            let wrote = match (said.is_empty(), passed.is_empty()) {
                (true, _) => ready!(to.poll_write(cx, passed)),
                (_, true) => ready!(to.poll_write(cx, said)),
                _ => ready!(to.poll_write_vectored(cx, &[IoSlice::new(said), IoSlice::new(passed)])),
            }?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.moved += wrote as u64;
            self.unflushed = true;
            let of_ours = wrote.min(said.len());
            self.sent += of_ours;
            self.pass -= wrote - of_ours;
            self.inbox.consume(wrote - of_ours);
        }
        if self.pass == 0 {
            self.inbox.consume(std::mem::take(&mut self.skip));
        }
        if !self.out.is_empty() {
            self.clear_out();
        }
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
