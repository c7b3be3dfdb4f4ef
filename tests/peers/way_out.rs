//! The rules are the only way out, and they take what they should and nothing else.

use crate::lab::support::topology::Topology;
use crate::world::upstream::Kind;
use crate::world::{RULES, SNIFFING, World, assert_same};

#[test]
fn nothing_gets_out_without_the_rules() {
    let world = World::behind(Kind::Squid);
    for option in ["-4", "-6"] {
        let line = format!("curl -sSf {option} http://www.bench.example/page.html");
        world.net.rules("gateway down");
        let outcome = world.client(&format!("{line} --connect-timeout 2")).outcome();
        // could not connect, or not in time
        let codes = [Some(7), Some(28)];
        assert!(codes.contains(&outcome.status.code()), "{}", outcome.err);
        world.net.rules(RULES);
        let page = world.client(&line).run();
        assert_same(&page, world.origin.page(), "the page");
        world.http_session("www.bench.example");
    }
    assert_eq!(world.gateway.log.sessions().len(), 2, "none without the rules");
}

#[test]
fn rules_that_were_taken_down_are_gone() {
    let world = World::behind(Kind::Squid);
    world.net.rules("gateway down");
    for tool in ["iptables", "ip6tables"] {
        let left = world.net.gateway.run(&format!("{tool} -t nat -S"));
        let left: Vec<&str> = left.lines().filter(|line| !line.starts_with("-P ")).collect();
        assert_eq!(left, [""; 0], "{tool}");
    }
}

#[test]
fn the_gateways_own_programs_go_through_with_local_rules() {
    let flags = format!("-upstream-proxy {} -sniff-timeout {SNIFFING}", Kind::Squid.address());
    let world = World::with(Kind::Squid, &flags, |net| {
        default_route(net);
        // the upstream's port is among them: only the mark keeps handyproxy's own dials out
        net.rules("local up --dports 80,443,3128");
    });
    for option in ["-4", "-6"] {
        for scheme in ["http", "https"] {
            let line = format!("curl -sSf {option} --cacert $CA {scheme}://www.bench.example/page.html");
            let page = world.on_gateway(&line).run();
            assert_same(&page, world.origin.page(), &line);
        }
        world.http_session("www.bench.example");
        world.tls_session("www.bench.example");
    }
}

/// A route that a connection to an origin may begin with, and that leads nowhere.
pub(crate) fn default_route(net: &Topology) {
    net.gateway.ip("link add nowhere type veth peer name nobody
         link set nobody up
         link set nowhere up
         route add default dev nowhere
         route add ::/0 dev nowhere
         ");
}
