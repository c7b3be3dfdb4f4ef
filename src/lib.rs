//! handyproxy: redirected TCP connections leave through an HTTP CONNECT proxy.
//!
//! Imports point down only; `tests/layers.rs` reads this table and holds every `crate::` path to it.
//!
//! ```text
//! 9 door     cli
//! 8 house    server log
//! 7 desk     admin
//! 6 life     session
//! 5 forms    plain
//! 4 hops     sniff route upstream dns refuse relay
//! 3 seams    auth stats stream tap
//! 2 settings config
//! 1 facts    flow format pattern wire sys
//! 0 words    addr close
//! ```

pub mod addr;
pub mod admin;
pub mod auth;
pub mod cli;
pub mod close;
pub mod config;
pub mod dns;
pub mod flow;
pub mod format;
pub mod log;
pub mod pattern;
pub mod plain;
pub mod refuse;
pub mod relay;
pub mod route;
pub mod server;
pub mod session;
pub mod sniff;
pub mod stats;
pub mod stream;
pub mod sys;
pub mod tap;
pub mod upstream;
pub mod wire;
