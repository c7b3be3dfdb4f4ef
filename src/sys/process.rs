//! Other processes, and what this one uses.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
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

/// What this process uses; `None`: the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Memory, in bytes.
    pub resident: Option<u64>,
    /// Processor time so far, in seconds.
    pub cpu: Option<f64>,
}

/// What this process uses now (man 5 proc).
pub fn usage() -> Usage {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let kib: u64 =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    };
    let cpu = || {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok()?;
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Some(seconds(usage.user_time()) + seconds(usage.system_time()))
    };
    Usage { resident: resident(), cpu: cpu() }
}

/// Waits for so long, unless nobody reads stdout any more; whether that is so.
pub fn stdout_is_gone(within: Duration) -> bool {
    let stdout = io::stdout();
    // hang-ups are told unasked
    let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    poll(&mut watched, within).is_ok_and(|ready| ready > 0)
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
