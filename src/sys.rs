//! The only door to the kernel, to systemd and to the system's Kerberos: nobody else mentions nix, socket2, rlimit,
//! sd_notify or libloading.

pub mod account;
pub mod datagram;
pub mod disk;
pub mod gss;
pub mod interfaces;
pub mod journal;
pub mod limits;
pub mod listener;
pub mod lock;
pub mod origin;
pub mod pipe;
pub mod process;
pub mod queues;
pub mod socket;
pub mod systemd;
pub mod terminal;
