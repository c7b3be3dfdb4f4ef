//! The lab: handyproxy as a black box between real clients and a scripted upstream.
//!
//! Every test builds its own client, gateway and upstream as network namespaces that have no name and end with the test,
//! redirects with the rules of `iptables/handyproxy-rules`, and drives the program that cargo built. The upstream is a
//! script, so that it can answer as badly as upstreams do. Needs root; without it every test fails and says so.

mod access;
mod admin;
mod answers;
mod auth;
mod capture;
mod config;
mod connect;
mod dns;
mod doctor;
mod failover;
mod integrity;
mod leaving;
mod life;
mod log;
mod names;
mod pcapng;
mod plain;
mod resolve;
mod routes;
mod service;
mod setup;
mod silence;
mod socks;
mod sources;
mod stall;
mod taps;
mod taps_dump;
mod taps_flow;
mod timers;
mod tproxy;
mod tunnel;

pub mod support;
