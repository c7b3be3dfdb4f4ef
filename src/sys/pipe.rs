//! Pipes for splice(2): one is lent to a direction for as long as bytes are in it.
//!
//! A few empty ones are kept while bulk goes on; a pipe with bytes in it is closed, never kept. A pipe that
//! came out small (man 7 pipe: pipe-user-pages-soft) would be slower than copying and is not lent.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use tokio::net::TcpStream;

/// What one splice is asked for, and the size that a pipe is given where the kernel allows it.
const WANTED: usize = 1 << 20;
/// A smaller pipe than this loses against copying.
const SMALLEST: usize = 1 << 16;
/// Empty pipes that are kept at most.
const KEPT: usize = 32;
/// A kept pipe that was not needed for this long is closed.
const UNUSED: Duration = Duration::from_secs(2);

static LIMIT: AtomicUsize = AtomicUsize::new(0);
static OPEN: AtomicUsize = AtomicUsize::new(0);

static POOL: Mutex<Pool> = Mutex::new(Pool { pipes: Vec::new(), fewest: 0, swept: false });

struct Pool {
    pipes: Vec<Pipe>,
    /// The fewest that were in the pool since the last sweep: nobody needed these.
    fewest: usize,
    /// Whether a sweep is under way.
    swept: bool,
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes what was not needed, until nothing is left.
async fn sweep() {
    loop {
        tokio::time::sleep(UNUSED).await;
        let mut pool = pool();
        let needed = pool.pipes.len() - pool.fewest;
        pool.pipes.truncate(needed);
        pool.fewest = needed;
        if needed == 0 {
            pool.swept = false;
            return;
        }
    }
}

/// Sets how many pipes may exist at once in this process; none before the first call.
pub fn allow(pipes: usize) {
    LIMIT.store(pipes, Ordering::Relaxed);
}

/// How many pipes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub open: usize,
    /// Those that wait to be lent.
    pub kept: usize,
    /// As many as there may be.
    pub limit: usize,
}

/// How many pipes there are now.
pub fn counts() -> Counts {
    let kept = pool().pipes.len();
    // one that is being refused counts for a moment
    let limit = LIMIT.load(Ordering::Relaxed);
    Counts { open: OPEN.load(Ordering::Relaxed).min(limit), kept, limit }
}

/// A pipe, and how many bytes are in it.
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// Takes a kept pipe, or makes one; `None` where there is none to be had, which means: copy.
    pub fn lend() -> Option<Pipe> {
        let mut pool = pool();
        let kept = pool.pipes.pop();
        pool.fewest = pool.fewest.min(pool.pipes.len());
        drop(pool);
        kept.or_else(Pipe::make)
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

    /// Gives the pipe back, on a runtime's thread. One with bytes in it is closed.
    pub fn give_back(self) {
        let mut pool = pool();
        if self.held > 0 || pool.pipes.len() >= KEPT {
            return;
        }
        pool.pipes.push(self);
        if !std::mem::replace(&mut pool.swept, true) {
            tokio::spawn(sweep());
        }
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
