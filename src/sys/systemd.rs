//! What goes between systemd and a service: descriptors in (man 3 sd_listen_fds), words and descriptors out (man 3
//! sd_notify). Without a service manager there is nothing to take, and words go nowhere.
//!
//! One of three files with `unsafe`: descriptors come as bare numbers.
#![allow(unsafe_code, reason = "sd-notify hands out numbers, and no library makes descriptors of them")]

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub use sd_notify::NotifyState as Word;

/// The name under which our listener waits in systemd's store while we restart.
pub const STORED: &str = "listener";

/// A descriptor that was passed to us.
#[derive(Debug)]
pub struct Passed {
    /// FDNAME of one that was stored, FileDescriptorName of one of a socket unit.
    pub name: String,
    /// The descriptor.
    pub socket: OwnedFd,
}

/// Takes what was passed, once: the variables that tell of it are gone afterwards, so that no child believes them. To be
/// called while there is one thread.
///
/// # Errors
/// The variables are no numbers, or tell of descriptors that are not open.
pub fn take() -> io::Result<Vec<Passed>> {
    // SAFETY: there is one thread, so nobody reads the environment meanwhile
    let passed = unsafe { sd_notify::listen_fds_with_names_and_unset_env() }?;
    // SAFETY: whoever started us opened these for us (they were just found open), and nobody else takes them: the
    // variables are gone
    Ok(passed.map(|(fd, name)| Passed { name, socket: unsafe { OwnedFd::from_raw_fd(fd) } }).collect())
}

/// Whether there is somebody to tell.
pub fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty())
}

/// Tells.
///
/// # Errors
/// Nobody reads what is told.
pub fn tell(words: &[Word<'_>]) -> io::Result<()> {
    sd_notify::notify(words)
}

/// Gives a listener to the store, where it goes on taking clients in while we are away.
///
/// # Errors
/// Nobody reads what is told.
pub fn store(listener: impl AsFd) -> io::Result<()> {
    sd_notify::notify_with_fds(&[Word::FdStore, Word::FdName(STORED)], &[listener.as_fd()])
}

/// Takes all our listeners out of the store.
///
/// # Errors
/// Nobody reads what is told.
pub fn discard() -> io::Result<()> {
    sd_notify::notify(&[Word::FdStoreRemove, Word::FdName(STORED)])
}

/// How long we may be silent before we count as dead; `None`: for ever.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|time| !time.is_zero())
}
