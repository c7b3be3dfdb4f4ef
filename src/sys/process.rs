//! Other processes, and what we share with them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
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

/// Stderr, as a file of our own.
///
/// # Errors
/// It is closed, or there are no descriptors left.
pub fn stderr() -> io::Result<OwnedFd> {
    Ok(nix::unistd::dup(io::stderr())?)
}

/// Blocks until a descriptor that does not block by itself takes more.
///
/// # Errors
/// As of poll(2).
pub fn wait_for_room(descriptor: impl AsFd) -> io::Result<()> {
    let mut wanted = [PollFd::new(descriptor.as_fd(), PollFlags::POLLOUT)];
    poll(&mut wanted, PollTimeout::NONE)?;
    Ok(())
}
