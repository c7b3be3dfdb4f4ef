//! Real programs through the gateway: curl, wget, git, apt, browsers and their kind on one side, squid, tinyproxy, cntlm,
//! microsocks, dante and haproxy on the other, nginx behind them, and a Kerberos realm where one is needed.
//!
//! Nothing here knows of a proxy but handyproxy: clients have no proxy setting, no name server and no route to an origin,
//! so whatever reaches it went through the rules, the gateway and the upstream. Needs root and the Debian packages that
//! `world/program.rs` lists; a test without them fails and names what is missing.

#[expect(
    dead_code,
    unreachable_pub,
    reason = "the lab's namespaces, network and daemon serve here too, but not all of them"
)]
#[path = "../lab"]
mod lab {
    pub mod support;
}

mod basic;
mod clients;
mod digest;
mod failover;
mod identities;
mod idle;
mod negotiate;
mod ntlm;
mod original;
mod ports;
mod refusals;
mod relay;
mod routes;
mod socks;
mod tls;
mod upstreams;
mod way_out;
mod websocket;
mod world;
