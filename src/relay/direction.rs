//! One direction of a tunnel. Small messages go through a buffer that all tunnels of a thread share; a
//! read that fills it means bulk, which goes through a lent pipe until the socket is dry.
//!
//! Bytes leave a socket only to be handed on or held: nothing is read while anything is held.

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Course;
use crate::sys::pipe::Pipe;
use crate::sys::queues::unread;
use crate::sys::socket;

/// A read that brings this much is the start of bulk; below it a copy costs less than two splices.
const BULK: usize = 16 * 1024;
/// What is copied at once where no pipe can be had.
const COPY: usize = 64 * 1024;
/// Rounds before the other tunnels of the thread get their turn.
pub(super) const ROUNDS: usize = 16;

thread_local! {
    /// For what is in nobody's hands between two calls.
    pub(super) static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; COPY].into_boxed_slice());
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    held: Held,
    moved: u64,
    chunks: u32,
    /// Bytes since the socket was last dry.
    run: usize,
    bulk: bool,
    /// The source has ended.
    ended: bool,
    /// And so was the destination told.
    done: bool,
}

/// What was read and could not be handed on yet.
#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Bytes {
        bytes: Vec<u8>,
        /// 0 <= sent < bytes.len()
        sent: usize,
    },
    Piped(Pipe),
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Held::Nothing => write!(f, "0"),
            Held::Bytes { bytes, sent } => write!(f, "{}", bytes.len() - sent),
            Held::Piped(pipe) => write!(f, "{} piped", pipe.held()),
        }
    }
}

/// Which socket failed.
#[derive(Debug)]
pub enum Fault {
    /// The one that is read.
    From(io::Error),
    /// The one that is written.
    To(io::Error),
}

impl Direction {
    /// Counts what others have moved.
    pub(super) fn add(&mut self, bytes: u64, chunks: u32) {
        self.moved += bytes;
        self.chunks = self.chunks.wrapping_add(chunks);
    }

    /// Bytes that were read elsewhere and go first.
    pub(super) fn early(&mut self, bytes: Vec<u8>, ended: bool) {
        if !bytes.is_empty() {
            self.held = Held::Bytes { bytes, sent: 0 };
            self.chunks = self.chunks.wrapping_add(1);
        }
        self.ended = ended;
    }

    /// How far it is.
    pub(super) fn course(&self) -> Course {
        let holds = !matches!(self.held, Held::Nothing);
        Course { moved: self.moved, chunks: self.chunks, holds, ended: self.ended, done: self.done }
    }

    /// Whether the destination was told that the source has ended.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Reads for nobody, so that the source can be closed without a reset; ready when it has ended.
    pub(super) fn poll_discard(&mut self, from: &TcpStream, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.held = Held::Nothing;
        if !self.ended {
            ready!(poll_waste(from, cx)).map_err(Fault::From)?;
            self.ended = true;
        }
        self.done = true;
        Poll::Ready(Ok(()))
    }

    /// Moves what can be moved; ready when the source has ended and the destination was told, and then always.
    /// The `last` direction needs no telling: both sockets are closed when it is ready.
    pub(super) fn poll(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        last: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS {
            ready!(self.poll_hand_on(to, cx)).map_err(Fault::To)?;
            if self.ended {
                self.release();
                if !last {
                    socket::finish(to);
                }
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            if from.poll_read_ready(cx).is_pending() {
                self.dry();
                return Poll::Pending;
            }
            match self.pipe() {
                Some(pipe) => self.splice(from, to, pipe)?,
                None => self.copy(from, to)?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands on all that is held; an empty pipe stays for the next round.
    fn poll_hand_on(&mut self, to: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let outcome = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Piped(pipe) if pipe.held() == 0 => return Poll::Ready(Ok(())),
                Held::Piped(pipe) => to.try_io(Interest::WRITABLE, || pipe.drain(to)),
                Held::Bytes { bytes, sent } => to.try_io(Interest::WRITABLE, || socket::write(to, &bytes[*sent..])),
            };
            match outcome {
                Ok(moved) => self.count(moved),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(to.poll_write_ready(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn count(&mut self, moved: usize) {
        self.moved += moved as u64;
        if let Held::Bytes { bytes, sent } = &mut self.held {
            *sent += moved;
            if *sent == bytes.len() {
                self.held = Held::Nothing;
            }
        }
    }

    /// The pipe for this round, if it is one of bulk and there is a pipe to be had.
    fn pipe(&mut self) -> Option<Pipe> {
        if !self.bulk {
            return None;
        }
        match std::mem::take(&mut self.held) {
            Held::Piped(pipe) => Some(pipe),
            _ => Pipe::lend(),
        }
    }

    /// Socket to pipe; handing on is the next round's work.
    fn splice(&mut self, from: &TcpStream, to: &TcpStream, mut pipe: Pipe) -> Result<(), Fault> {
        let mut at_mark = false;
        let filled = from.try_io(Interest::READABLE, || {
            let filled = pipe.fill(from);
            let nothing = match &filled {
                Ok(filled) => *filled == 0,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            // splice never passes the mark of urgent data; a read does
            at_mark = nothing && unread(from) > 0;
            if at_mark { Ok(0) } else { filled }
        });
        if at_mark {
            pipe.give_back();
            return self.copy(from, to);
        }
        self.held = Held::Piped(pipe);
        match filled {
            Ok(0) => self.ended = true,
            Ok(filled) => {
                self.chunks = self.chunks.wrapping_add(1);
                self.run += filled;
            }
            // the readiness is cleared: the next round waits
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Fault::From(error)),
        }
        Ok(())
    }

    /// Socket to buffer to socket; what does not fit is held.
    fn copy(&mut self, from: &TcpStream, to: &TcpStream) -> Result<(), Fault> {
        BUFFER.with_borrow_mut(|buffer| {
            // bulk, but without a pipe
            let buffer = if self.bulk { &mut buffer[..] } else { &mut buffer[..BULK] };
            let got = match take(from, buffer).map_err(Fault::From)? {
                Taken::Nothing => return Ok(()),
                Taken::End => {
                    self.ended = true;
                    return Ok(());
                }
                Taken::Bytes(got) => got.get(),
            };
            self.chunks = self.chunks.wrapping_add(1);
            self.run += got;
            self.bulk |= got == buffer.len();
            let sent = match to.try_io(Interest::WRITABLE, || socket::write(to, &buffer[..got])) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(Fault::To(error)),
            };
            self.moved += sent as u64;
            if sent < got {
                self.held = Held::Bytes { bytes: buffer[sent..got].to_vec(), sent: 0 };
            }
            Ok(())
        })
    }

    /// The source has nothing now: the pipe goes back, and a short run was no bulk.
    fn dry(&mut self) {
        self.release();
        self.bulk &= self.run >= BULK;
        self.run = 0;
    }

    fn release(&mut self) {
        if let Held::Piped(pipe) = std::mem::take(&mut self.held) {
            pipe.give_back();
        }
    }
}

/// What one read brought.
pub(super) enum Taken {
    /// The socket is dry.
    Nothing,
    /// The source has ended.
    End,
    /// So many bytes.
    Bytes(NonZeroUsize),
}

/// Reads once. Where that leaves the socket dry, its readiness is cleared: no second read need find out.
pub(super) fn take(from: &TcpStream, buffer: &mut [u8]) -> io::Result<Taken> {
    let mut got = 0;
    let read = from.try_io(Interest::READABLE, || {
        got = socket::read(from, buffer)?;
        // a short read leaves the socket dry (man 7 epoll), unless it stopped at the mark of urgent data
        let dry = 0 < got && got < buffer.len() && unread(from) == 0;
        if dry { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match (NonZeroUsize::new(got), read) {
        (Some(got), _) => Ok(Taken::Bytes(got)),
        (None, Ok(())) => Ok(Taken::End),
        (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(Taken::Nothing),
        (None, Err(error)) => Err(error),
    }
}

/// Reads for nobody; ready at the end.
pub(super) fn poll_waste(from: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    for _ in 0..ROUNDS {
        ready!(from.poll_read_ready(cx))?;
        if let Taken::End = BUFFER.with_borrow_mut(|buffer| take(from, buffer))? {
            return Poll::Ready(Ok(()));
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
