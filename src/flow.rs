//! The facts about one session: who, where to, by which name, how long each stage took, how much.
//!
//! Plain data: every hop writes its own part, the report reads them all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::addr::{Name, Target};
use crate::close::Stage;

/// What is known of a session so far.
#[derive(Debug)]
pub struct Flow {
    /// When it was accepted.
    pub started: Instant,
    /// The client's address.
    pub client: SocketAddr,
    /// The original destination; `None` until it was read.
    pub origin: Option<SocketAddr>,
    /// The name seen on the wire.
    pub name: Option<Name>,
    /// The address of the upstream that was connected to.
    pub upstream: Option<SocketAddr>,
    /// How far it came.
    pub stage: Stage,
    /// The status of the last answer to CONNECT.
    pub status: Option<u16>,
    /// From accept to the verdict on the first bytes.
    pub sniff: Option<Duration>,
    /// From accept to the TCP connection to the upstream.
    pub dial: Option<Duration>,
    /// From the CONNECT request to its answer.
    pub connect: Option<Duration>,
    /// Requests that were relayed one by one.
    pub requests: u32,
    /// Bytes that were handed to the upstream's socket, the CONNECT request apart.
    pub up: u64,
    /// Bytes that were handed to the client's socket, an error answer of ours apart.
    pub down: u64,
}

impl Flow {
    /// A session that was accepted just now.
    pub fn new(client: SocketAddr) -> Flow {
        Flow {
            started: Instant::now(),
            client,
            origin: None,
            name: None,
            upstream: None,
            stage: Stage::Origin,
            status: None,
            sniff: None,
            dial: None,
            connect: None,
            requests: 0,
            up: 0,
            down: 0,
        }
    }

    /// What CONNECT carries: the name if there is one, the port always from the origin.
    pub fn target(&self) -> Option<Target<'_>> {
        let origin = self.origin?;
        Some(match &self.name {
            Some(name) => Target::Name(&name.host, origin.port()),
            None => Target::Addr(origin),
        })
    }
}
