//! What is caught and what is left alone: real packets, under each backend.

use crate::net::{Dial, Net};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// The variant of iptables that the machine has, and the backend that is asked for.
const WAYS: [(&str, &str); 3] = [("nft", "iptables"), ("legacy", "iptables"), ("nft", "nft")];
const CLIENTS: &str = "lan";
const PUBLIC: [&str; 2] = ["203.0.113.9", "[2001:db8:9::9]"];
const OTHER: [&str; 2] = ["192.0.2.9", "[2001:db8:2::9]"];
const PRIVATE: [&str; 2] = ["10.9.9.9", "[fd09::9]"];
const POOL: [&str; 2] = ["198.18.0.9", "[fd68::9]"];
const GATEWAY: [&str; 2] = ["203.0.113.1", "[2001:db8:9::1]"];

/// A client, a gateway that catches, and an origin that has all the addresses.
struct Lan {
    client: Net,
    gateway: Net,
    _origin: Net,
    backend: &'static str,
}

impl Lan {
    fn new((variant, backend): (&str, &'static str)) -> Lan {
        let [client, gateway, origin] = [(); 3].map(|()| Net::new(variant));
        client.link("c0", ["10.1.7.2/24", "2001:db8:7::2/64"], &gateway, CLIENTS, ["10.1.7.1/24", "2001:db8:7::1/64"]);
        client.sh("ip addr add 10.1.7.3/24 dev c0; ip addr add 2001:db8:7::3/64 dev c0 nodad preferred_lft 0");
        origin.link(
            "o0",
            ["203.0.113.9/24", "2001:db8:9::9/64"],
            &gateway,
            "up0",
            ["203.0.113.1/24", "2001:db8:9::1/64"],
        );
        for address in
            ["192.0.2.9/32", "10.9.9.9/32", "198.18.0.9/32", "2001:db8:2::9/128", "fd09::9/128", "fd68::9/128"]
        {
            origin.sh(&format!("ip addr add {address} dev o0 {}", if address.contains(':') { "nodad" } else { "" }));
        }
        client.default_routes("10.1.7.1", "2001:db8:7::1");
        origin.default_routes("203.0.113.1", "2001:db8:9::1");
        gateway.default_routes("203.0.113.9", "2001:db8:9::9");
        gateway.sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
        for port in [80, 443, 53] {
            origin.serve(port, "origin");
        }
        for host in [PUBLIC, OTHER, PRIVATE, POOL].concat() {
            for port in [443, 53] {
                origin.serve_udp(&format!("{host}:{port}"), "origin");
            }
        }
        gateway.serve(8443, "caught");
        gateway.serve(80, "gateway");
        gateway.serve(5353, "resolver");
        for host in ["10.1.7.1", "[2001:db8:7::1]"] {
            gateway.serve_udp(&format!("{host}:5353"), "resolver");
        }
        for host in GATEWAY {
            gateway.serve_udp(&format!("{host}:53"), "gateway");
        }
        Lan { client, gateway, _origin: origin, backend }
    }

    fn up(&self, options: &str) {
        self.gateway.rules(&format!("gateway up --backend {} -i {CLIENTS} {options}", self.backend)).ok();
    }

    #[track_caller]
    fn tcp(&self, hosts: [&str; 2], port: u16, answer: &str) {
        self.tcp_from(Dial::default(), hosts, port, answer);
    }

    #[track_caller]
    fn tcp_from(&self, dial: Dial, hosts: [&str; 2], port: u16, answer: &str) {
        for host in hosts {
            let to = format!("{host}:{port}");
            assert_eq!(self.client.hears(&to, dial), answer, "{} {to}", self.backend);
        }
    }

    #[track_caller]
    fn udp(&self, hosts: [&str; 2], port: u16, answer: Result<&str, ErrorKind>) {
        for host in hosts {
            let to = format!("{host}:{port}");
            assert_eq!(self.client.asks(&to).as_deref().map_err(|e| *e), answer, "{} {to}", self.backend);
        }
    }
}

#[test]
fn private_destinations_are_left_alone_unless_asked_for() {
    for way in WAYS {
        let lan = Lan::new(way);
        lan.up("");
        lan.tcp(PUBLIC, 80, "caught");
        lan.tcp(PRIVATE, 80, "origin");
        lan.udp(PRIVATE, 443, Ok("origin"));
        lan.tcp(GATEWAY, 80, "gateway");
        lan.up("--private");
        lan.tcp(PRIVATE, 80, "caught");
        lan.udp(PRIVATE, 443, Err(ErrorKind::ConnectionRefused));
        lan.tcp(GATEWAY, 80, "gateway");
    }
}

/// Each on its own, so that none hides behind another.
#[test]
fn every_private_and_unreachable_network_is_left_alone() {
    let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
    let never = ["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::1", "fe80::/10", "ff00::/8"];
    for (option, networks) in [("", [&private[..], &never].concat()), ("--private", never.to_vec())] {
        for (backend, daddr) in [("iptables", "-d "), ("nft", " daddr ")] {
            let print = Net::new("nft").rules(&format!("gateway print --quic leave --backend {backend} {option}")).ok();
            let left: Vec<&str> = print.stdout.lines().filter(|l| l.to_lowercase().ends_with("return")).collect();
            for network in &networks {
                let matches = left.iter().filter(|l| l.contains(&format!("{daddr}{network} "))).count();
                assert_eq!(matches, 1, "{backend} {network}: {}", print.stdout);
            }
            let destinations = left.iter().filter(|l| l.contains(daddr) && !l.contains("fib")).count();
            assert_eq!(destinations, networks.len(), "{backend} {option}: {}", print.stdout);
        }
    }
}

#[test]
fn excluded_destinations_are_left_alone() {
    for way in WAYS {
        let lan = Lan::new(way);
        lan.up("--exclude 192.0.2.0/24 --exclude 2001:db8:2::/64 --dns 5353");
        lan.tcp(OTHER, 80, "origin");
        lan.udp(OTHER, 443, Ok("origin"));
        lan.udp(OTHER, 53, Ok("origin"));
        lan.tcp(PUBLIC, 80, "caught");
        lan.udp(PUBLIC, 443, Err(ErrorKind::ConnectionRefused));
    }
}

#[test]
fn only_clients_of_the_given_networks_are_caught() {
    for way in WAYS {
        let lan = Lan::new(way);
        let third = |host: &str| {
            let from = if host.contains(':') { "2001:db8:7::3" } else { "10.1.7.3" };
            Dial { from: Some(from.parse().expect("an address")), ..Dial::default() }
        };
        lan.up("--from 10.1.7.3/32 --from 192.0.2.0/24 --from 2001:db8:7::3");
        lan.tcp(PUBLIC, 80, "origin");
        lan.udp(PUBLIC, 443, Ok("origin"));
        for host in PUBLIC {
            lan.tcp_from(third(host), [host; 2], 80, "caught");
        }
        // no network of a family: none of its connections
        let up = lan.gateway.rules(&format!("gateway up --backend {} --from 10.1.7.0/24", lan.backend)).ok();
        up.says("no network of IPv6");
        lan.tcp([PUBLIC[0]; 2], 80, "caught");
        lan.tcp([PUBLIC[1]; 2], 80, "origin");
        assert_eq!(lan.gateway.rules("status --porcelain").ok().stdout.lines().count(), 1);
    }
}

#[test]
fn quic_is_refused_at_once_where_tcp_would_be_caught() {
    for way in WAYS {
        let lan = Lan::new(way);
        lan.udp(PUBLIC, 443, Ok("origin"));
        lan.up("");
        lan.udp(PUBLIC, 443, Err(ErrorKind::ConnectionRefused));
        // a firewall's first rule lets it pass
        lan.gateway.sh("for t in iptables ip6tables; do $t -w -A FORWARD -i lan -j ACCEPT; done");
        lan.udp(PUBLIC, 443, Err(ErrorKind::ConnectionRefused));
        lan.up("--dports 443,80");
        lan.udp(PUBLIC, 443, Err(ErrorKind::ConnectionRefused));
        lan.up("--dports 80,8000-8999");
        lan.udp(PUBLIC, 443, Ok("origin"));
        lan.up("--dports 400-500");
        lan.udp(PUBLIC, 443, Err(ErrorKind::ConnectionRefused));
        lan.up("--quic leave");
        lan.udp(PUBLIC, 443, Ok("origin"));
        lan.tcp(PUBLIC, 443, "caught");
        lan.up("");
        lan.gateway.rules("gateway down").ok();
        lan.udp(PUBLIC, 443, Ok("origin"));
    }
}

#[test]
fn quic_of_this_machine_is_refused_but_handyproxys_own() {
    for (variant, backend) in WAYS {
        let [machine, origin] = [Net::new(variant), Net::new(variant)];
        machine.link(
            "e0",
            ["203.0.113.1/24", "2001:db8:9::1/64"],
            &origin,
            "o0",
            ["203.0.113.9/24", "2001:db8:9::9/64"],
        );
        for host in PUBLIC {
            origin.serve_udp(&format!("{host}:443"), "origin");
            origin.serve_udp(&format!("{host}:53"), "origin");
        }
        origin.serve(53, "origin");
        for host in GATEWAY {
            machine.serve_udp(&format!("{host}:443"), "machine");
        }
        for host in ["127.0.0.1", "[::1]"] {
            machine.serve_udp(&format!("{host}:5353"), "resolver");
        }
        machine.serve(5353, "resolver");
        machine.rules(&format!("local up --backend {backend} --uid 12345")).ok();
        for host in PUBLIC {
            let refused = machine.asks(&format!("{host}:443")).expect_err("QUIC was let through");
            // the kernel answers the sender's own call with the one or the other
            assert!([ErrorKind::ConnectionRefused, ErrorKind::PermissionDenied].contains(&refused), "{refused}");
            assert_eq!(machine.asks(&format!("{host}:53")).as_deref(), Ok("origin"));
        }
        for host in GATEWAY {
            assert_eq!(machine.asks(&format!("{host}:443")).as_deref(), Ok("machine"), "{backend}");
        }
        machine.rules(&format!("local up --backend {backend} --uid 12345 --dns 5353")).ok();
        for host in PUBLIC {
            let to = format!("{host}:53");
            assert_eq!(machine.asks(&to).as_deref(), Ok("resolver"), "{backend}");
            assert_eq!(machine.hears(&to, Dial::default()), "resolver", "{backend}");
            assert_eq!(machine.hears(&to, Dial::mark(0x68)), "origin", "{backend}");
            assert_eq!(machine.hears(&to, Dial::uid(12345)), "origin", "{backend}");
        }
    }
}

#[test]
fn the_clients_questions_go_to_the_resolver() {
    for way in WAYS {
        let lan = Lan::new(way);
        lan.up("--dports 80");
        lan.udp(PUBLIC, 53, Ok("origin"));
        for options in ["--dns 5353", "--dns 5353 --dports 80", "--dns 5353 --capture tproxy"] {
            lan.up(options);
            for hosts in [PUBLIC, PRIVATE, GATEWAY] {
                lan.udp(hosts, 53, Ok("resolver"));
                lan.tcp(hosts, 53, "resolver");
            }
        }
        lan.up("");
        lan.udp(GATEWAY, 53, Ok("gateway"));
    }
}

#[test]
fn the_resolvers_own_addresses_are_caught_whatever_else_says_no() {
    for way in WAYS {
        let lan = Lan::new(way);
        lan.up("--exclude 198.18.0.0/15 --exclude fd68::/16");
        lan.tcp(POOL, 80, "origin");
        lan.up("--exclude 198.18.0.0/15 --exclude fd68::/16 --dns-pool 198.18.0.0/15 --dns-pool fd68::/112");
        lan.tcp(POOL, 80, "caught");
        lan.udp(POOL, 443, Err(ErrorKind::ConnectionRefused));
        lan.tcp(PRIVATE, 80, "origin");
        lan.gateway.rules("gateway down").ok();
        lan.up("--dns-pool fd68::/112 --dports 443 --dns-pool 10.9.9.0/24");
        for host in [PRIVATE[0], POOL[1]] {
            lan.tcp([host; 2], 443, "caught");
            lan.tcp([host; 2], 80, "origin");
        }
    }
}

#[test]
fn tproxy_hands_connections_over_with_their_origin() {
    for (variant, backend) in WAYS {
        let lan = Lan::new((variant, backend));
        lan.gateway.serve_transparent(8044);
        let before = lan.gateway.what_counts();
        let up = "--port 8044 --capture tproxy --dports 80,443 --exclude 192.0.2.0/24 --exclude 2001:db8:2::/64";
        lan.up(up);
        let once = lan.gateway.everything();
        for host in PUBLIC {
            lan.tcp([host; 2], 80, &format!("tproxy {host}:80"));
        }
        lan.tcp(OTHER, 80, "origin");
        lan.tcp(PRIVATE, 80, "origin");
        lan.tcp(PUBLIC, 53, "origin");
        lan.tcp(GATEWAY, 80, "gateway");
        lan.udp(PUBLIC, 443, Err(ErrorKind::ConnectionRefused));
        let status = lan.gateway.rules("status --porcelain").ok().stdout;
        assert_eq!(status.matches("capture=tproxy").count(), 2, "{status}");
        assert!(!status.contains(" captured=0 "), "{status}");

        // the routing stays with the last instance
        lan.up("--name other --port 8045 --capture tproxy --from 192.0.2.0/24 --from 2001:db8:2::/64");
        lan.gateway.rules("down --name other").ok();
        for host in PUBLIC {
            lan.tcp([host; 2], 80, &format!("tproxy {host}:80"));
        }
        lan.up(up);
        let counted = |text: &str| text.lines().filter(|l| !l.contains("counter packets")).count();
        assert_eq!(counted(&lan.gateway.everything()), counted(&once));
        // and leaves with the way of capture
        lan.up("--name 8044 --port 8443");
        lan.tcp(PUBLIC, 80, "caught");
        assert!(!lan.gateway.everything().contains("26729"), "{}", lan.gateway.everything());
        lan.up(up);
        lan.gateway.rules("down --name 8044").ok();
        lan.tcp(PUBLIC, 80, "origin");
        assert_eq!(lan.gateway.what_counts(), before);
    }
}

#[test]
fn two_instances_serve_two_kinds_of_clients() {
    for way in WAYS {
        let lan = Lan::new(way);
        lan.gateway.serve(8044, "second");
        lan.up("--name one --from 10.1.7.2 --from 2001:db8:7::2");
        lan.up("--name two --port 8044 --from 10.1.7.3 --from 2001:db8:7::3");
        for (host, second) in PUBLIC.into_iter().zip(["10.1.7.3", "2001:db8:7::3"]) {
            lan.tcp([host; 2], 80, "caught");
            let from = Some(second.parse().expect("an address"));
            lan.tcp_from(Dial { from, ..Dial::default() }, [host; 2], 80, "second");
        }
        let status = lan.gateway.rules("status --porcelain").ok().stdout;
        assert_eq!(status.lines().count(), 4, "{status}");
        assert_eq!(status.matches(" captured=2 ").count(), 4, "{status}");
        lan.gateway.rules("down --name one").ok();
        lan.tcp(PUBLIC, 80, "origin");
        assert_eq!(lan.gateway.rules("status --porcelain").ok().stdout.lines().count(), 2);
    }
}

/// A connection that met a table without our rules would reach the origin.
#[test]
fn an_exchange_of_the_rules_lets_nobody_through() {
    for way in WAYS {
        let lan = Lan::new(way);
        lan.up("");
        let (done, connections) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                // on a busy machine connections may be slower than exchanges
                for _ in 0..50 {
                    for options in ["--dports 80", "", "--dports 80,443 --quic leave", ""] {
                        lan.up(options);
                    }
                    if connections.load(Ordering::Relaxed) > 20 {
                        break;
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                lan.tcp(PUBLIC, 80, "caught");
                connections.fetch_add(2, Ordering::Relaxed);
            }
        });
        assert!(connections.into_inner() > 20);
    }
}

/// A bridge per network, ports published by DNAT, and addresses from 172.16.0.0/12, as Docker has it.
#[test]
fn containers_are_caught_and_their_own_traffic_is_left_alone() {
    for variant in ["nft", "legacy"] {
        let [first, second, host, world] = [(); 4].map(|()| Net::new(variant));
        for (container, bridge, network) in [(&first, "docker0", "172.17"), (&second, "br-5f2a", "172.18")] {
            host.sh(&format!(
                "ip link add {bridge} type bridge; ip addr add {network}.0.1/16 dev {bridge}; ip link set {bridge} up"
            ));
            container.sh(&format!("ip link add eth0 type veth peer name v{bridge} netns {}", host.holder.id()));
            container.sh(&format!(
                "ip addr add {network}.0.2/16 dev eth0; ip link set eth0 up; ip route add default via {network}.0.1"
            ));
            host.sh(&format!("ip link set v{bridge} master {bridge}; ip link set v{bridge} up"));
            container.serve(80, "container");
            container.serve_udp("0.0.0.0:443", "container");
        }
        world.link("w0", ["203.0.113.9/24", "2001:db8:9::9/64"], &host, "up0", ["203.0.113.1/24", "2001:db8:9::1/64"]);
        world.serve(80, "origin");
        host.serve(8443, "caught");
        host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward
            iptables -w -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 8080 -j DNAT --to 172.17.0.2:80
            iptables -w -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p udp --dport 443 -j DNAT --to 172.17.0.2:443
            iptables -w -t nat -A POSTROUTING -s 172.16.0.0/12 -o up0 -j MASQUERADE");
        host.rules("gateway up -i docker0 -i br-+").ok().silent();
        for (container, other) in [(&first, "172.18.0.2"), (&second, "172.17.0.2")] {
            assert_eq!(container.hears("203.0.113.9:80", Dial::default()), "caught");
            assert_eq!(container.hears(&format!("{other}:80"), Dial::default()), "container");
        }
        assert_eq!(second.hears("203.0.113.1:8080", Dial::default()), "container");
        // with every interface and private addresses, too
        host.rules("gateway up --private").ok().silent();
        assert_eq!(world.hears("203.0.113.1:8080", Dial::default()), "container");
        assert_eq!(world.asks("203.0.113.1:443").as_deref(), Ok("container"));
        // TPROXY sees the answers of what is published, too, and must let them go
        host.rules("gateway down").ok();
        host.serve_transparent(8044);
        host.rules("gateway up --port 8044 --capture tproxy --private").ok().silent();
        assert_eq!(world.hears("203.0.113.1:8080", Dial::default()), "container");
    }
}
