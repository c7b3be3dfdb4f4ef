//! An upstream with a name: all of its addresses are tried, and a resolver that fails does not end the service.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Launch};
use crate::support::topology::{Topology, V4};
use crate::support::upstream::{OPEN, Upstream};
use crate::support::{each_row, eventually};

/// A network whose gateway reads /etc/hosts from a file of the test's.
struct Named {
    gateway: Daemon,
    upstream: Upstream,
    net: Topology,
    hosts: Hosts,
}

/// The file in place of /etc/hosts.
struct Hosts(PathBuf);

impl Hosts {
    fn new(test: &str, lines: &str) -> Self {
        let hosts =
            Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("hosts-{test}-{}", std::process::id())));
        hosts.write(lines);
        hosts
    }

    /// Changes it in its place: a file that was bound elsewhere must not be replaced.
    fn write(&self, lines: &str) {
        fs::write(&self.0, lines).expect("cargo's directory for tests is writable");
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Named {
    /// The upstream has 10.2.0.2, which listens, 10.2.0.3, which refuses, and 10.2.0.4, which drops what comes.
    fn new(test: &str, lines: &str) -> Self {
        let net = Topology::new();
        net.redirect();
        net.upstream.ip("addr add 10.2.0.3/24 dev eth0\naddr add 10.2.0.4/24 dev eth0\n");
        net.upstream.run("iptables -w -A INPUT -d 10.2.0.4 -j DROP");
        let hosts = Hosts::new(test, lines);
        let launch = Launch::new("-upstream-proxy proxy.lab:3128 -dial-timeout 60s").with_file(&hosts.0, "/etc/hosts");
        Self { gateway: launch.start(&net.gateway), upstream: net.upstream.listen("10.2.0.2:3128"), net, hosts }
    }

    /// Waits until nobody listens where the upstream was: a child of another test may hold its socket until it runs.
    fn expect_closed(&self) {
        let was = "10.2.0.2:3128".parse().expect("an address");
        eventually(|| match self.net.gateway.try_connect(was) {
            Ok(_) => Err("somebody still listens".to_owned()),
            Err(_) => Ok(()),
        });
    }

    /// Opens a tunnel and says how long the connection to the upstream took.
    fn serves(&self) -> Duration {
        let start = Instant::now();
        let mut client = self.net.client.connect(SocketAddr::new(V4, 443));
        let mut up = self.upstream.accept();
        let took = start.elapsed();
        up.expect_connect("203.0.113.9:443");
        up.reply([OPEN, b"hi"].concat());
        client.expect("hi");
        client.fin();
        up.fin();
        self.gateway.session_of(&client).expect("end=done upstream=10.2.0.2:3128");
        took
    }
}

#[test]
fn every_address_of_the_upstream_is_tried() {
    let rows = [
        ("refuses", "10.2.0.3 proxy.lab\n10.2.0.2 proxy.lab\n"),
        ("refuses-last", "10.2.0.2 proxy.lab\n10.2.0.3 proxy.lab\n"),
        ("refuses-ipv6", "fd10:2::2 proxy.lab\n10.2.0.2 proxy.lab\n"),
        ("drops", "10.2.0.4 proxy.lab\n10.2.0.2 proxy.lab\n"),
        ("drops-and-refuses", "10.2.0.4 proxy.lab\n10.2.0.3 proxy.lab\n10.2.0.2 proxy.lab\n"),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(test, lines)| {
            let named = Named::new(test, lines);
            let took = named.serves();
            assert!(took < Duration::from_secs(8), "the good address was reached after {took:?}");
            named.serves();
        },
    );
}

#[test]
fn a_resolver_that_dies_leaves_the_last_good_answer() {
    let mut named = Named::new("dies", "10.2.0.2 proxy.lab\n");
    named.serves();
    named.hosts.write("");
    named.serves();
    // a dial that fails is a reason to ask anew
    named.upstream = named.net.upstream.listen("10.2.0.2:3999");
    named.expect_closed();
    // what was answered within the last second is not asked again
    std::thread::sleep(Duration::from_millis(1100));
    for _ in 0..2 {
        let _ = named.net.client.try_connect(SocketAddr::new(V4, 443)).map(|mut client| client.receive_all());
        named.gateway.session_line().expect("end=dial");
    }
    named.gateway.log.wait_for("last good answer");
    named.upstream = named.net.upstream.listen("10.2.0.2:3128");
    let took = named.serves();
    assert!(took < Duration::from_secs(8), "served after {took:?}");
}

#[test]
fn an_upstream_that_moves_is_found_again() {
    let mut named = Named::new("moves", "10.2.0.2 proxy.lab\n");
    named.serves();
    named.net.upstream.ip("addr add 10.2.0.5/24 dev eth0\n");
    named.upstream = named.net.upstream.listen("10.2.0.5:3128");
    named.expect_closed();
    named.hosts.write("10.2.0.5 proxy.lab\n");
    // an answer that is only just known is believed for a moment, so a first client may pay for it
    eventually(|| {
        let client = named.net.client.try_connect(SocketAddr::new(V4, 443));
        let mut client = client.map_err(|why| why.to_string())?;
        // what is still being dialled for one client must not be taken for the next one's
        let up = eventually(|| match named.upstream.accept_within(Duration::from_millis(5)) {
            Some(up) => Ok(Some(up)),
            None if client.has_news(Duration::ZERO) => Ok(None),
            None => Err("neither a connection nor an end".to_owned()),
        });
        let mut up = up.ok_or("nobody comes to the new address")?;
        up.expect_connect("203.0.113.9:443");
        up.reply([OPEN, b"hi"].concat());
        client.expect("hi");
        Ok(())
    });
}

#[test]
fn a_name_that_resolves_later_is_served_without_a_restart() {
    let named = Named::new("later", "");
    // the reset may come before connect() has returned
    let client = named.net.client.try_connect(SocketAddr::new(V4, 443));
    named.gateway.session_line().expect("end=resolve by=upstream");
    drop(client);
    named.hosts.write("10.2.0.2 proxy.lab\n");
    // a failure may be believed for a moment
    std::thread::sleep(Duration::from_millis(2000));
    named.serves();
}
