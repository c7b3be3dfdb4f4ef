//! The only door to the kernel: nobody else mentions nix, socket2 or rlimit.

pub mod gss;
pub mod limits;
pub mod origin;
pub mod pipe;
pub mod process;
pub mod queues;
pub mod socket;
