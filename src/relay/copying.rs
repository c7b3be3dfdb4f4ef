//! A socket and a stream that cannot be spliced, because of TLS or of a tap: bytes are copied by the thread's buffer,
//! and what the other side does not take at once is held, so that nothing more is read meanwhile.
//!
//! An end of TLS without a close_notify counts as an end, like a FIN. Many proxies end so, and whoever can
//! forge one could cut the connection anyway: what runs inside has its own way to tell a torn stream from
//! a whole one, as it must through a proxy without TLS.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::direction::{BUFFER, Fault, ROUNDS, Taken, poll_waste, take};
use super::{Course, Pair, Tunnel};
use crate::close::By;
use crate::format::Dir;
use crate::stream::Stream;
use crate::sys::socket;
use crate::tap::{self, Tapped};

/// What is copied at once: a full TLS record.
const CHUNK: usize = 16 * 1024;

/// A client's socket, a stream to its upstream, and what is on its way between them.
#[derive(Debug)]
pub struct Copied {
    client: TcpStream,
    upstream: Stream,
    up: Lane,
    down: Lane,
    /// The stream has taken bytes that its socket has not.
    unflushed: bool,
    /// The tap knows already that what is held for the upstream was handed on, and that the client has ended.
    told_up: bool,
    tap: Option<Tapped>,
}

/// One direction.
#[derive(Default)]
struct Lane {
    /// Read and not handed on; its room goes when the source has nothing more.
    held: Vec<u8>,
    /// 0 <= sent <= held.len()
    sent: usize,
    moved: u64,
    chunks: u32,
    /// The source has ended.
    ended: bool,
    /// And so was the destination told.
    done: bool,
}

impl fmt::Debug for Lane {
    /// Shows how much is held, not what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.course().fmt(f)
    }
}

impl Tunnel<Copied> {
    /// Joins a socket and a stream; `tap` sees all that is read from now on.
    pub fn new(client: TcpStream, upstream: Stream, tap: Option<Tapped>) -> Tunnel<Copied> {
        let (up, down) = (Lane::default(), Lane::default());
        Tunnel::between(Copied { client, upstream, up, down, unflushed: false, told_up: false, tap })
    }

    /// What the client sent before the tunnel was open, and whether it has ended its side. The tap has seen the bytes.
    pub fn early_up(&mut self, bytes: Vec<u8>, ended: bool) {
        self.pair.up.early(bytes);
        self.pair.up.ended = ended;
        if let (true, Some(tap)) = (ended, &self.pair.tap) {
            tap.ended(Dir::Up);
        }
    }

    /// The same, of which the tap was told, too, that it was handed on.
    pub fn told_up(&mut self, bytes: Vec<u8>, ended: bool) {
        self.pair.up.early(bytes);
        self.pair.up.ended = ended;
        self.pair.told_up = true;
    }

    /// What the upstream sent with its answer.
    pub fn early_down(&mut self, bytes: Vec<u8>) {
        if let Some(tap) = &self.pair.tap {
            tap.copied(Dir::Down, &bytes);
        }
        self.pair.down.early(bytes);
    }
}

impl Pair for Copied {
    fn poll(&mut self, from: By, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match from {
            By::Client => self.poll_up(cx),
            _ => self.poll_down(cx),
        }
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.up.drop_held();
        if !self.up.ended {
            ready!(poll_waste(&self.client, cx)).map_err(Fault::From)?;
            self.up.ended = true;
        }
        self.up.done = true;
        Poll::Ready(Ok(()))
    }

    fn course(&self, from: By) -> Course {
        match from {
            By::Client => Course { holds: self.unflushed || self.up.holds(), ..self.up.course() },
            _ => self.down.course(),
        }
    }

    fn count(&mut self, from: By, bytes: u64, chunks: u32) {
        let lane = match from {
            By::Client => &mut self.up,
            _ => &mut self.down,
        };
        lane.moved += bytes;
        lane.chunks = lane.chunks.wrapping_add(chunks);
    }

    fn socket(&self, side: By) -> &TcpStream {
        match side {
            By::Client => &self.client,
            _ => self.upstream.tcp(),
        }
    }
}

impl Copied {
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Copied { client, upstream, up, unflushed, told_up, tap, .. } = self;
        let size = size(upstream, tap.is_some());
        if up.done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS {
            let before = up.moved;
            let handed = up.poll_hand_on(|bytes| Pin::new(&mut *upstream).poll_write(cx, bytes));
            if !*told_up {
                told(tap, Dir::Up, up.moved - before);
            }
            ready!(handed).map_err(Fault::To)?;
            // nothing is read while encrypted bytes wait: the stream would take far more than its socket
            let flushed = Pin::new(&mut *upstream).poll_flush(cx);
            *unflushed = flushed.is_pending();
            ready!(flushed).map_err(Fault::To)?;
            if up.ended {
                up.drop_held();
                let told = poll_tell(upstream, cx);
                *unflushed = told.is_pending();
                // the last direction tells as well as it can: the socket is closed when it is ready
                if !self.down.done {
                    ready!(told).map_err(Fault::To)?;
                }
                up.done = true;
                if let (false, Some(tap)) = (*told_up, tap) {
                    tap.sent(Dir::Up, 0);
                }
                return Poll::Ready(Ok(()));
            }
            // from here on it is new
            *told_up = false;
            if client.poll_read_ready(cx).is_pending() {
                up.drop_held();
                return Poll::Pending;
            }
            if let Some(tap) = tap {
                ready!(tap.poll_room(cx));
            }
            BUFFER.with_borrow_mut(|buffer| {
                match take(client, &mut buffer[..size]).map_err(Fault::From)? {
                    Taken::Nothing => {}
                    Taken::End => up.ends(tap, Dir::Up),
                    Taken::Bytes(got) => {
                        let before = up.moved;
                        let write = |bytes: &[u8]| Pin::new(&mut *upstream).poll_write(cx, bytes);
                        let handed = up.hand_on(&buffer[..got.get()], write);
                        if let Some(tap) = tap {
                            tap.read(Dir::Up, buffer, got.get());
                        }
                        told(tap, Dir::Up, up.moved - before);
                        handed.map_err(Fault::To)?;
                    }
                }
                Ok(())
            })?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Copied { client, upstream, down, tap, .. } = self;
        let size = size(upstream, tap.is_some());
        if down.done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS {
            let before = down.moved;
            let handed = down.poll_hand_on(|bytes| Pin::new(&mut *client).poll_write(cx, bytes));
            told(tap, Dir::Down, down.moved - before);
            ready!(handed).map_err(Fault::To)?;
            if down.ended {
                down.drop_held();
                if !self.up.done {
                    socket::finish(client);
                }
                down.done = true;
                if let Some(tap) = tap {
                    tap.sent(Dir::Down, 0);
                }
                return Poll::Ready(Ok(()));
            }
            if let Some(tap) = tap {
                ready!(tap.poll_room(cx));
            }
            let polled = BUFFER.with_borrow_mut(|buffer| {
                let mut room = ReadBuf::new(&mut buffer[..size]);
                let read = ready!(Pin::new(&mut *upstream).poll_read(cx, &mut room));
                let got = room.filled().len();
                match read {
                    Ok(()) if got == 0 => down.ends(tap, Dir::Down),
                    Ok(()) => {
                        let before = down.moved;
                        let write = |bytes: &[u8]| Pin::new(&mut *client).poll_write(cx, bytes);
                        let handed = down.hand_on(&buffer[..got], write);
                        if let Some(tap) = tap {
                            tap.read(Dir::Down, buffer, got);
                        }
                        told(tap, Dir::Down, down.moved - before);
                        handed.map_err(Fault::To)?;
                    }
                    // no close_notify
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => down.ends(tap, Dir::Down),
                    Err(error) => return Poll::Ready(Err(Fault::From(error))),
                }
                Poll::Ready(Ok(()))
            });
            if polled.is_pending() {
                down.drop_held();
            }
            ready!(polled)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How much is read at once: TLS makes records of it, and a tap one of its own.
fn size(upstream: &Stream, tapped: bool) -> usize {
    if tapped && matches!(upstream, Stream::Tcp(_)) { tap::SIZE } else { CHUNK }
}

/// Tells a tap what was handed on.
fn told(tap: &Option<Tapped>, dir: Dir, bytes: u64) {
    if let (Some(tap), true) = (tap, bytes > 0) {
        tap.sent(dir, usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

/// Tells the upstream that the client has ended: a close_notify where there is TLS, and a FIN.
fn poll_tell(upstream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    match upstream {
        // one that is gone already needs no end
        Stream::Tcp(tcp) => {
            socket::finish(tcp);
            Poll::Ready(Ok(()))
        }
        Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
    }
}

impl Lane {
    fn holds(&self) -> bool {
        self.sent < self.held.len()
    }

    /// What was read elsewhere goes first.
    fn early(&mut self, bytes: Vec<u8>) {
        self.chunks = self.chunks.wrapping_add(u32::from(!bytes.is_empty()));
        self.held = bytes;
    }

    /// The source has ended.
    fn ends(&mut self, tap: &Option<Tapped>, dir: Dir) {
        self.ended = true;
        if let Some(tap) = tap {
            tap.ended(dir);
        }
    }

    fn course(&self) -> Course {
        Course { moved: self.moved, chunks: self.chunks, holds: self.holds(), ended: self.ended, done: self.done }
    }

    /// Nothing more comes for now: an idle lane holds no memory.
    fn drop_held(&mut self) {
        (self.held, self.sent) = (Vec::new(), 0);
    }

    /// Hands on all that is held.
    fn poll_hand_on(&mut self, mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>) -> Poll<io::Result<()>> {
        while self.holds() {
            let sent = ready!(write(&self.held[self.sent..]))?;
            self.sent += sent;
            self.moved += sent as u64;
        }
        // the room stays for what does not fit next
        self.held.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Hands on new bytes, and holds what does not fit. Nothing is held before.
    fn hand_on(&mut self, bytes: &[u8], mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>) -> io::Result<()> {
        self.chunks = self.chunks.wrapping_add(1);
        let mut rest = bytes;
        while !rest.is_empty() {
            let Poll::Ready(sent) = write(rest) else { break };
            let sent = sent?;
            self.moved += sent as u64;
            rest = &rest[sent..];
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }
}

#[cfg(test)]
#[path = "copying_tests.rs"]
mod tests;
