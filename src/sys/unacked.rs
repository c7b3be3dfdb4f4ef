//! How much of what was written to a socket its peer has not acknowledged (SIOCOUTQ, man 7 tcp).
//!
//! The one file with `unsafe`: no library has a safe call for it.
#![allow(unsafe_code, reason = "nix makes an ioctl by a macro whose function is unsafe")]

use std::os::fd::AsRawFd;

use tokio::net::TcpStream;

mod ioctl {
    nix::ioctl_read_bad!(siocoutq, nix::libc::TIOCOUTQ, nix::libc::c_int);
}

/// Bytes, an end of the stream included; 0 also where the socket has no such queue any more.
pub fn unacked(socket: &TcpStream) -> usize {
    let mut bytes: nix::libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and SIOCOUTQ writes one int
    let answered = unsafe { ioctl::siocoutq(socket.as_raw_fd(), &mut bytes) };
    if answered.is_ok() { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}
