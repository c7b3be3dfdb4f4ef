//! The usual stage: the network with its rules, a scripted upstream, and handyproxy between them.

use std::net::{IpAddr, SocketAddr};

use super::daemon::{Daemon, Launch};
use super::topology::{Topology, UPSTREAM, V4};
use super::upstream::{OPEN, Upstream};
use super::wire::Wire;

/// A port on which nothing is waited for, since its servers speak first.
pub const SERVER_FIRST: u16 = 22;

/// Everything that a test needs.
pub struct Scene {
    /// handyproxy; declared first, so that it ends first.
    pub gateway: Daemon,
    /// The scripted upstream.
    pub upstream: Upstream,
    /// The network.
    pub net: Topology,
}

impl Scene {
    /// Builds a stage with handyproxy under these flags; the upstream is the scripted one.
    pub fn new(flags: &str) -> Self {
        Self::with(Launch::new(&format!("-upstream-proxy {UPSTREAM} {flags}")))
    }

    /// Builds a stage with a handyproxy of the test's own making.
    pub fn with(launch: Launch) -> Self {
        Self::on(Topology::new(), launch)
    }

    /// The same in a network of the test's own making.
    pub fn on(net: Topology, launch: Launch) -> Self {
        net.redirect();
        Self { gateway: launch.start(&net.gateway), upstream: net.upstream.listen(UPSTREAM), net }
    }

    /// Connects a client to the origin's port.
    pub fn connect(&self, origin: IpAddr, port: u16) -> Wire {
        self.net.client.connect(SocketAddr::new(origin, port))
    }

    /// Opens a tunnel that carries nothing yet: the client's end and the origin's.
    pub fn tunnel(&self) -> (Wire, Wire) {
        self.tunnel_to(V4)
    }

    /// Opens a tunnel to an origin: the client's end and the origin's.
    pub fn tunnel_to(&self, origin: IpAddr) -> (Wire, Wire) {
        self.tunnel_by(&self.upstream, origin)
    }

    /// Opens a tunnel to an origin that another upstream must be asked for.
    pub fn tunnel_by(&self, upstream: &Upstream, origin: IpAddr) -> (Wire, Wire) {
        let mut client = self.connect(origin, SERVER_FIRST);
        let mut up = upstream.accept();
        let target = SocketAddr::new(origin, SERVER_FIRST).to_string();
        up.expect_connect(&target);
        up.reply(OPEN);
        // both ends know that it is open once a byte has gone each way
        client.send("?");
        up.expect("?");
        up.send("!");
        client.expect("!");
        (client, up)
    }
}
