//! The network of a test: client - gateway - upstream, joined by two cables, IPv4 and IPv6.
//!
//! ```text
//! client eth0 10.1.0.2 fd10:1::2 - lan 10.1.0.1 fd10:1::1 gateway 10.2.0.1 fd10:2::1 wan - eth0 10.2.0.2 fd10:2::2 upstream
//! ```
//! Origins exist nowhere: they are only where a client wants to go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::netns::Netns;
use super::upstream::Upstream;

/// An IPv4 origin.
pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
/// An IPv6 origin, and the family's test bed.
pub const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
/// Where the upstream proxy listens, unless a test says otherwise.
pub const UPSTREAM: &str = "10.2.0.2:3128";
/// The gateway's port.
pub const PORT: u16 = 8043;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/iptables/handyproxy-rules");

/// Three namespaces and the cables between them.
pub struct Topology {
    /// Where the programs run that know of no proxy.
    pub client: Netns,
    /// Where handyproxy runs, with forwarding on.
    pub gateway: Netns,
    /// Where the upstream proxy runs.
    pub upstream: Netns,
}

impl Topology {
    /// Builds the network, without any rule.
    #[allow(clippy::new_without_default, reason = "what takes the rights of root is no default")]
    pub fn new() -> Self {
        let net = Self { client: Netns::new(), gateway: Netns::new(), upstream: Netns::new() };
        for ns in [&net.client, &net.gateway, &net.upstream] {
            ns.sysctl("ipv6/conf/default/accept_dad", "0");
        }
        net.gateway.sysctl("ipv4/ip_forward", "1");
        net.gateway.sysctl("ipv6/conf/all/forwarding", "1");
        net.gateway.ip(&format!(
            "link set lo up
             link add lan type veth peer name eth0 netns {}
             link add wan type veth peer name eth0 netns {}
             addr add 10.1.0.1/24 dev lan
             addr add fd10:1::1/64 dev lan nodad
             addr add 10.2.0.1/24 dev wan
             addr add fd10:2::1/64 dev wan nodad
             link set lan up
             link set wan up
             ",
            net.client.path(),
            net.upstream.path()
        ));
        edge(&net.client, 1);
        edge(&net.upstream, 2);
        net
    }

    /// Gives the upstream's side one more address, 10.2.0.`n`, at which nobody listens yet.
    pub fn address(&self, n: u8) -> String {
        self.upstream.ip(&format!("addr add 10.2.0.{n}/24 dev eth0\n"));
        format!("10.2.0.{n}")
    }

    /// Puts one more proxy there.
    pub fn proxy(&self, n: u8) -> Upstream {
        self.upstream.listen(&format!("{}:3128", self.address(n)))
    }

    /// Lets an origin exist, so that the gateway can go to it directly, and listens there.
    pub fn origin(&self, at: &str) -> Upstream {
        let address: SocketAddr = at.parse().expect("an address with a port");
        let (ip, bits, hop) = match address.ip() {
            ip if ip.is_ipv4() => (ip, 32, "10.2.0.2"),
            ip => (ip, 128, "fd10:2::2"),
        };
        // it may exist already, for another port
        self.upstream.ip(&format!("addr replace {ip}/{bits} dev eth0\n"));
        self.gateway.ip(&format!("route replace {ip}/{bits} via {hop}\n"));
        self.upstream.listen(at)
    }

    /// Gives the client's side one more address, 10.1.0.`n`, to connect from.
    pub fn client_address(&self, n: u8) -> IpAddr {
        self.client.ip(&format!("addr add 10.1.0.{n}/24 dev eth0\n"));
        IpAddr::from([10, 1, 0, n])
    }

    /// Sends every connection of the client to the gateway's port, with the repository's own rules; private destinations
    /// too, as some tests have origins there.
    pub fn redirect(&self) {
        self.rules("gateway up -i lan --private");
    }

    /// Runs the rules script on the gateway.
    pub fn rules(&self, arguments: &str) {
        self.gateway.run(&format!("sh {RULES} {arguments} --port {PORT}"));
    }
}

/// One end of a cable: addresses number 2 of network `n`, everything else through number 1.
fn edge(ns: &Netns, n: u8) {
    ns.ip(&format!(
        "link set lo up
         addr add 10.{n}.0.2/24 dev eth0
         addr add fd10:{n}::2/64 dev eth0 nodad
         link set eth0 up
         route add 0.0.0.0/0 via 10.{n}.0.1
         route add ::/0 via fd10:{n}::1
         "
    ));
}
