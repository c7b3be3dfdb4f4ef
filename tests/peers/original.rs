//! The example lines of the Go original's documentation, unchanged.

use crate::lab::support::topology::{PORT, Topology};
use crate::way_out::default_route;
use crate::world::upstream::Kind;
use crate::world::{V4, World, assert_same};

// handyproxy -local-port 8043 -upstream-proxy proxy.local -dial-timeout 25s
const WITHOUT_SNIFFING: &str = "-upstream-proxy proxy.local -dial-timeout 25s";
// the same, sniffing
const WITH_SNIFFING: &str = "-upstream-proxy proxy.local -dial-timeout 25s -sniff-max-bytes 16384 -sniff-timeout 2s";

const PREROUTING: &str = "iptables -t nat -A PREROUTING -i eth0 -m addrtype ! --dst-type LOCAL \
                          -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 8043";
const OUTPUT: &str = "iptables -t nat -A OUTPUT -m addrtype ! --dst-type LOCAL \
                      -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 8043";

const PAGE: &str = "curl -sSf4 --cacert $CA https://www.bench.example/page.html";

#[test]
fn the_line_without_sniffing_connects_by_address() {
    let world = World::with(Kind::Squid, WITHOUT_SNIFFING, gateway);
    assert_same(&world.client(PAGE).run(), world.origin.page(), "the page");
    let session = world.session(&format!("{V4}:443"));
    session.expect("end=done -name -name_source upstream=10.2.0.2:3128 status=200");
}

#[test]
fn the_line_with_sniffing_connects_by_name() {
    let world = World::with(Kind::Squid, WITH_SNIFFING, gateway);
    assert_same(&world.client(PAGE).run(), world.origin.page(), "the page");
    let session = world.tls_session("www.bench.example");
    session.expect("upstream=10.2.0.2:3128");
}

#[test]
fn the_rule_for_local_use_serves_the_gateway_itself() {
    let world = World::with(Kind::Squid, WITH_SNIFFING, |net| {
        default_route(net);
        net.gateway.run(OUTPUT);
    });
    assert_same(&world.on_gateway(PAGE).run(), world.origin.page(), "the page");
    world.tls_session("www.bench.example");
}

/// The original's gateway calls its inner interface eth0.
fn gateway(net: &Topology) {
    assert_eq!(PORT, 8043, "the lab starts handyproxy on the port of the examples");
    net.gateway.ip("link set lan down
         link set lan name eth0
         link set eth0 up
         ");
    net.gateway.run(PREROUTING);
}
