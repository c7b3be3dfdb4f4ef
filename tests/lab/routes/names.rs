//! Targets that a client must not have for the asking: private addresses, and names that are not the origin's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Says, carries, opens};
use crate::support::daemon::Launch;
use crate::support::each_row;
use crate::support::folder::Folder;
use crate::support::scene::Scene;
use crate::support::topology::{Topology, UPSTREAM, V4};

#[test]
fn private_addresses_are_refused_as_a_target() {
    let scene = Scene::new("-sniff-timeout 5s");
    let rows = [
        "10.9.9.9",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "[64:ff9b::169.254.169.254]",
        "[fd00::1]",
        "[fc00::1]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b::127.0.0.1]",
    ];
    each_row(
        &rows,
        |row| (*row).to_owned(),
        |row| {
            let origin = format!("{row}:22");
            let client = scene.net.client.try_connect(origin.parse().expect("an address"));
            let line = scene.gateway.session_line();
            line.expect("end=rejected by=us");
            let error = line.get("error").expect("a reason");
            // an address is shown in its own way
            let why = r#":22 is a private address; a route that names it in \"to\" allows it"#;
            assert!(error.contains(why), "{error}");
            drop(client);
        },
    );
    for public in ["172.32.0.1", "100.128.0.1", "198.18.0.1", "192.0.2.1", "[2001:db8::1]", "[64:ff9b::192.0.2.1]"] {
        let origin: SocketAddr = format!("{public}:22").parse().expect("an address");
        let client = scene.net.client.connect(origin);
        opens(&scene.upstream, client, &origin.to_string(), Says::Nothing);
    }
}

#[test]
fn names_that_mean_the_proxy_itself_are_refused_as_a_target() {
    let scene = Scene::new("-sniff-timeout 5s");
    each_row(
        &["localhost", "a.localhost", "LOCALHOST.", "metadata.google.internal"],
        |name| (*name).to_owned(),
        |name| {
            let mut client = scene.connect(V4, 443);
            client.send(Says::Hello(name).bytes());
            scene.gateway.refusal_of(&mut client).expect("end=rejected by=us");
        },
    );
    scene.upstream.expect_no_byte();
    // a name that only looks like it
    let mut client = scene.connect(V4, 443);
    let says = Says::Hello("localhost.example");
    client.send(says.bytes());
    opens(&scene.upstream, client, "localhost.example:443", says);
}

#[test]
fn a_private_address_with_another_name_is_asked_for_by_that() {
    let scene = Scene::new("-sniff-timeout 5s");
    let mut client = scene.connect([10, 9, 9, 9].into(), 443);
    let says = Says::Hello("www.plain.example");
    client.send(says.bytes());
    opens(&scene.upstream, client, "www.plain.example:443", says);
}

#[test]
fn a_route_that_names_a_private_address_allows_it_and_a_star_does_not() {
    let net = Topology::new();
    let origin = net.origin("10.9.8.1:22");
    let scene = Scene::on(
        net,
        Folder::new().launch(
            r#"
            upstream-proxy = "corp"
            [upstream.corp]
            proxy = "10.2.0.2"
            [[route]]
            to = "10.9.9.0/24:22"
            via = "corp"
            [[route]]
            to = "10.9.8.0/24"
            via = "direct"
            [[route]]
            to = ["*", "!10.9.7.0/24"]
            via = "corp"
            "#,
        ),
    );
    let connect = |at: &str| scene.net.client.try_connect(at.parse().expect("an address"));
    let client = connect("10.9.9.9:22").expect("it is let in");
    opens(&scene.upstream, client, "10.9.9.9:22", Says::Nothing);
    scene.gateway.session_line().expect("end=done via=corp");
    for refused in ["10.9.9.9:21", "10.9.6.1:22", "10.9.7.1:22"] {
        let client = connect(refused);
        scene.gateway.session_line().expect("end=rejected by=us");
        drop(client);
    }
    // what goes directly is the client's own affair
    carries(connect("10.9.8.1:22").expect("it is let in"), origin.accept(), Says::Nothing);
}

#[test]
fn a_name_counts_only_if_it_is_the_origins() {
    let net = Topology::new();
    let other = net.proxy(3);
    let folder = Folder::new();
    let hosts = folder.write_as(
        "hosts",
        "203.0.113.9 good.example x.vip.example both.example\n203.0.113.77 bad.example y.vip.example\n\
         203.0.113.76 both.example\n",
        0o644,
    );
    let launch = folder.launch(&format!(
        r#"
        upstream-proxy = "main"
        sniff-timeout = "5s"
        verify-name = true
        [upstream.main]
        proxy = "{UPSTREAM}"
        [upstream.other]
        proxy = "10.2.0.3"
        [[route]]
        to = ".vip.example"
        via = "other"
        [[route]]
        to = ".claimed.example"
        via = "main"
        verify-name = false
        "#
    ));
    let scene = Scene::on(net, launch.with_file(hosts.as_ref(), "/etc/hosts"));
    let rows = [
        ("good.example", &scene.upstream, "good.example:443", "main", true),
        ("both.example", &scene.upstream, "both.example:443", "main", true),
        ("bad.example", &scene.upstream, "203.0.113.9:443", "main", false),
        ("unknown.example", &scene.upstream, "203.0.113.9:443", "main", false),
        ("x.vip.example", &other, "x.vip.example:443", "other", true),
        // decided anew, without the name
        ("y.vip.example", &scene.upstream, "203.0.113.9:443", "main", false),
        ("a.claimed.example", &scene.upstream, "a.claimed.example:443", "main", true),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(name, upstream, target, via, verified)| {
            let start = Instant::now();
            let mut client = scene.connect(V4, 443);
            client.send(Says::Hello(name).bytes());
            let address = client.address();
            opens(upstream, client, target, Says::Hello(name));
            let took = start.elapsed();
            assert!(took < Duration::from_secs(4), "{took:?}");
            let line = scene.gateway.session_from(&address);
            line.expect(&format!("end=done name={name} target={target} via={via}"));
            line.expect(if *verified { "-verified" } else { "verified=no" });
        },
    );
}

#[test]
fn a_name_that_nobody_looks_up_takes_time_that_is_not_the_upstreams() {
    let net = Topology::new();
    net.upstream.run("iptables -A INPUT -p udp --dport 53 -j DROP");
    let folder = Folder::new();
    let resolver = folder.write_as("resolv.conf", "nameserver 10.2.0.2\n", 0o644);
    let launch = Launch::new(&format!("-upstream-proxy {UPSTREAM} -sniff-timeout 5s -verify-name"));
    let scene = Scene::on(net, launch.with_file(resolver.as_ref(), "/etc/resolv.conf"));
    // the dial comes about when its SYN is sent again, a second later: between the first bytes and the verdict on the name
    let syn = "INPUT -p tcp --dport 3128 --syn -j DROP";
    scene.net.upstream.run(&format!("iptables -A {syn}"));
    let mut client = scene.connect(V4, 443);
    client.send(Says::Hello("silent.example").bytes());
    std::thread::sleep(Duration::from_millis(300));
    scene.net.upstream.run(&format!("iptables -D {syn}"));
    opens(&scene.upstream, client, "203.0.113.9:443", Says::Hello("silent.example"));
    let line = scene.gateway.session_line();
    line.expect("end=done name=silent.example verified=no");
    let millis = |key: &str| line.get(key).and_then(|text| text.parse::<f64>().ok()).expect("a number");
    // two seconds were given to the resolver
    assert!(millis("duration_ms") >= 2000.0, "{line:?}");
    assert!((500.0..2000.0).contains(&millis("dial_ms")), "{line:?}");
}

#[test]
fn names_are_checked_by_a_flag_too() {
    let folder = Folder::new();
    let hosts = folder.write_as("hosts", "203.0.113.77 bad.example\n", 0o644);
    let launch = Launch::new(&format!("-upstream-proxy {UPSTREAM} -sniff-timeout 5s -verify-name"));
    let scene = Scene::with(launch.with_file(hosts.as_ref(), "/etc/hosts"));
    let mut client = scene.connect(V4, 443);
    client.send(Says::Hello("bad.example").bytes());
    opens(&scene.upstream, client, "203.0.113.9:443", Says::Hello("bad.example"));
    scene.gateway.session_line().expect("end=done name=bad.example verified=no");
}
