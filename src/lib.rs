//! handyproxy: redirected TCP connections leave through an HTTP CONNECT proxy.
//!
//! Imports point down only; `tests/layers.rs` reads this table and holds every `crate::` path to it.
//!
//! ```text
//! 8 door     cli
//! 7 house    server log
//! 6 life     session
//! 5 forms    plain
//! 4 hops     sniff route upstream dns refuse relay
//! 3 seams    auth stats stream
//! 2 settings config
//! 1 facts    flow pattern wire sys
//! 0 words    addr close
//! ```

pub mod addr;
pub mod auth;
pub mod cli;
pub mod close;
pub mod config;
pub mod dns;
pub mod flow;
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
pub mod upstream;
pub mod wire;
