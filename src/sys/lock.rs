//! Locks on files, which show other processes that a file is in use.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// A lock on a file (man 2 flock), given up when dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is the lock")] Flock<File>);

impl Lock {
    /// Locks a file for this opening of it alone, and waits until nobody else has it locked.
    ///
    /// # Errors
    /// The file system has no locks.
    pub fn wait(file: &File) -> io::Result<Lock> {
        let lock = Flock::lock(file.try_clone()?, FlockArg::LockExclusive);
        Ok(Lock(lock.map_err(|(_, error)| error)?))
    }

    /// Whether a file is locked by another opening of it, in this process or another.
    ///
    /// # Errors
    /// The file system has no locks.
    pub fn is_held(file: &File) -> io::Result<bool> {
        // those who ask at the same time do not see each other
        match Flock::lock(file.try_clone()?, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(false),
            Err((_, Errno::EWOULDBLOCK)) => Ok(true),
            Err((_, error)) => Err(error.into()),
        }
    }
}
