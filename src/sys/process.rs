//! Other processes.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends SIGHUP to a process.
///
/// # Errors
/// There is no such process (ESRCH), or it is not ours to signal (EPERM).
pub fn hang_up(pid: i32) -> io::Result<()> {
    Ok(kill(Pid::from_raw(pid), Signal::SIGHUP)?)
}

/// Stdout, as a file of our own.
///
/// # Errors
/// It is closed, or there are no descriptors left.
pub fn stdout() -> io::Result<OwnedFd> {
    Ok(nix::unistd::dup(io::stdout())?)
}
