//! How much waits in the kernel's queues of a socket (SIOCOUTQ and SIOCINQ, man 7 tcp).
//!
//! One of three files with `unsafe`: no library has a safe call for it.
#![allow(unsafe_code, reason = "nix makes an ioctl by a macro whose function is unsafe")]

use std::os::fd::AsRawFd;

use nix::libc::{FIONREAD, TIOCOUTQ, c_int};
use tokio::net::TcpStream;

mod ioctl {
    nix::ioctl_read_bad!(siocoutq, super::TIOCOUTQ, super::c_int);
    nix::ioctl_read_bad!(siocinq, super::FIONREAD, super::c_int);
}

/// Bytes that were written and that the peer has not acknowledged, an end of the stream included; 0 also
/// where the socket has no such queue any more.
pub fn unacked(socket: &TcpStream) -> usize {
    ask(socket, ioctl::siocoutq)
}

/// Bytes that have come and were not read.
pub fn unread(socket: &TcpStream) -> usize {
    ask(socket, ioctl::siocinq)
}

fn ask(socket: &TcpStream, question: unsafe fn(c_int, *mut c_int) -> nix::Result<c_int>) -> usize {
    let mut bytes: c_int = 0;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and both calls write one int
    let answered = unsafe { question(socket.as_raw_fd(), &mut bytes) };
    if answered.is_ok() { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}
