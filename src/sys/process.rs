//! Other processes.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

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

/// Waits for so long, unless nobody reads stdout any more; whether that is so.
pub fn stdout_is_gone(within: Duration) -> bool {
    let stdout = io::stdout();
    // hang-ups are told unasked
    let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    poll(&mut watched, within).is_ok_and(|ready| ready > 0)
}
