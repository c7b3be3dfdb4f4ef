//! Locks on files, which show other processes that a file is in use.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// A lock on a file (man 2 flock), given up when dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is the lock")] Flock<File>);

impl Lock {
    /// Locks a file; `None` where another process, or another opening of the file in this one, holds the lock.
    ///
    /// # Errors
    /// The file system has no locks.
    pub fn take(file: &File) -> io::Result<Option<Lock>> {
        match Flock::lock(file.try_clone()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Lock(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }
}
