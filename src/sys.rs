//! The only door to the kernel and to the system's Kerberos: nobody else mentions nix, socket2, rlimit or libloading.

pub mod datagram;
pub mod gss;
pub mod limits;
pub mod origin;
pub mod pipe;
pub mod process;
pub mod queues;
pub mod socket;
