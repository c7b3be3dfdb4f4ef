//! Pipes for splice(2): one is lent to a direction for as long as bytes are in it.
//!
//! Each thread keeps a few empty ones; a pipe with bytes in it is closed, never kept. A pipe that
//! came out small (man 7 pipe: pipe-user-pages-soft) would be slower than copying and is not lent.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use tokio::net::TcpStream;

/// What one splice is asked for, and the size that a pipe is given where the kernel allows it.
const WANTED: usize = 1 << 20;
/// A smaller pipe than this loses against copying.
const SMALLEST: usize = 1 << 16;
/// Empty pipes that a thread keeps.
const KEPT: usize = 16;

static LIMIT: AtomicUsize = AtomicUsize::new(0);
static OPEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// Sets how many pipes may exist at once in this process; none before the first call.
pub fn allow(pipes: usize) {
    LIMIT.store(pipes, Ordering::Relaxed);
}

/// A pipe, and how many bytes are in it.
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// Takes a pipe of this thread's, or makes one; `None` where there is none to be had, which
    /// means: copy.
    pub fn lend() -> Option<Pipe> {
        POOL.with_borrow_mut(Vec::pop).or_else(Pipe::make)
    }

    fn make() -> Option<Pipe> {
        if OPEN.fetch_add(1, Ordering::Relaxed) >= LIMIT.load(Ordering::Relaxed) {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let Ok((read, write)) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK) else {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        // from here on Drop keeps the count
        let pipe = Pipe { read, write, held: 0 };
        for size in [WANTED, WANTED / 4] {
            if fcntl(&pipe.write, FcntlArg::F_SETPIPE_SZ(size as i32)).is_ok() {
                return Some(pipe);
            }
        }
        let size = fcntl(&pipe.write, FcntlArg::F_GETPIPE_SZ).ok()?;
        (size as usize >= SMALLEST).then_some(pipe)
    }

    /// Gives the pipe back to this thread. One with bytes in it is closed.
    pub fn give_back(self) {
        POOL.with_borrow_mut(|pool| {
            if self.held == 0 && pool.len() < KEPT {
                pool.push(self);
            }
        });
    }

    /// Bytes that are in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what the socket has into the pipe, which must be empty: then `WouldBlock` can only mean
    /// that the socket is dry. 0 is the end of the stream.
    ///
    /// # Errors
    /// What the peer or the network did.
    pub fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        debug_assert_eq!(self.held, 0);
        let moved = splice(from, None, &self.write, None, WANTED, SpliceFFlags::SPLICE_F_NONBLOCK)?;
        self.held = moved;
        Ok(moved)
    }

    /// Moves what is in the pipe to the socket; `WouldBlock` means that the peer is full.
    ///
    /// # Errors
    /// What the peer or the network did.
    pub fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        // never SPLICE_F_MORE: it holds back the tail
        let moved = splice(&self.read, None, to, None, self.held, SpliceFFlags::SPLICE_F_NONBLOCK)?;
        self.held -= moved;
        Ok(moved)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_pipes_are_lent_than_allowed_and_empty_ones_are_used_again() {
        allow(2);
        let first = Pipe::lend().expect("one of two");
        let second = Pipe::lend().expect("two of two");
        assert!(Pipe::lend().is_none());
        first.give_back();
        let again = Pipe::lend().expect("the one given back");
        drop(again);
        drop(second);
        assert!(Pipe::lend().is_some());
    }
}
