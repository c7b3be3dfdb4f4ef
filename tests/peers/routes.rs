//! Routes with real programs: directly, nowhere, by address, and by a name that is what it says.

use crate::lab::support::each_row;
use crate::world::squid::Squid;
use crate::world::stage::{Stage, session};
use crate::world::{AT_ONCE, V4};

/// A stage with squid, and a way from the gateway to the origins that needs no proxy.
fn stage() -> (Squid, Stage) {
    let stage = Stage::redirected();
    stage.net.gateway.ip("route add 203.0.113.0/24 via 10.2.0.2\n");
    let squid = Squid::start(&stage, "squid", "http_port 3128\nhttp_access allow all");
    (squid, stage)
}

/// Whom nginx takes the client for.
fn seen_from(stage: &Stage, site: &str) -> String {
    stage.client(&format!("curl -sSf4 --cacert $CA {site}/from")).text()
}

// what nginx sees of the gateway, and of squid, which is on its own machine
const GATEWAY: &str = "10.2.0.1";

#[test]
fn each_name_goes_its_own_way() {
    let (squid, stage) = stage();
    let gateway = stage.gateway(
        "upstream-proxy = 'corp'
no-proxy = 'localhost,repo.bench.example,10.0.0.0/8'
[upstream.corp]
proxy = '10.2.0.2:3128'
[[route]]
to = ['www.bench.example:80', '.nowhere.example']
via = 'direct'
[[route]]
to = ['.bench.example', '!www.bench.example']
via = 'reject'
",
    );
    let rows = [
        ("http://www.bench.example", Some(GATEWAY), "via=direct target=203.0.113.9:80 -status", "gateway.toml:5"),
        ("https://www.bench.example", Some("squid"), "via=corp target=www.bench.example:443 status=200", ""),
        ("http://repo.bench.example", Some(GATEWAY), "via=direct", "gateway.toml:2"),
        ("https://repo.bench.example", Some(GATEWAY), "via=direct", "gateway.toml:2"),
        ("http://git.bench.example", None, "by=us via=reject", "gateway.toml:8"),
        ("https://git.bench.example", None, "by=us via=reject", "gateway.toml:8"),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(site, from, fields, place)| {
            match from {
                Some(GATEWAY) => assert_eq!(seen_from(&stage, site), GATEWAY),
                Some(_) => assert_ne!(seen_from(&stage, site), GATEWAY),
                None => assert!(!stage.client(&format!("curl -sSf --cacert $CA {site}/")).outcome().status.success()),
            }
            let line = gateway.session_line();
            line.expect(if from.is_some() { "end=done" } else { "end=rejected" });
            line.expect(fields);
            assert_eq!(line.level(), "INFO");
            let route = line.get("route").unwrap_or_default();
            assert!(if place.is_empty() { route.is_empty() } else { route.ends_with(place) }, "{route}");
        },
    );
    squid.requests_in_all(1);

    // what the user sees of a rejection
    let page = stage.client("curl -sS -w %{http_code} http://git.bench.example/").text();
    assert!(page.ends_with("403") && page.contains("refused by a rule of this gateway"), "{page}");
    let outcome = stage.client("curl -sS --cacert $CA https://git.bench.example/").outcome();
    assert!(outcome.err.contains("alert access denied"), "{}", outcome.err);
    assert!(outcome.took < AT_ONCE);
}

#[test]
fn a_route_may_dial_by_address_what_it_knows_by_name() {
    let (squid, stage) = stage();
    let gateway = stage.gateway(
        "[upstream.corp]
         proxy = '10.2.0.2:3128'
         [[route]]
         to = 'www.bench.example'
         via = 'corp'
         dial = 'address'",
    );
    stage.fetch("https://www.bench.example");
    session(&gateway, &format!("{V4}:443")).expect("end=done name=www.bench.example name_source=sni");
    squid.saw(&format!("CONNECT {V4}:443"));
    stage.client("curl -sS4 --cacert $CA https://git.bench.example/").run();
    session(&gateway, "git.bench.example:443").expect("end=done name=git.bench.example");
    squid.saw("CONNECT git.bench.example:443");
}

#[test]
fn a_name_counts_only_if_it_is_the_origins() {
    let (squid, stage) = stage();
    let hosts =
        format!("127.0.0.1 localhost\n10.2.0.2 proxy.local\n{V4} www.bench.example\n198.51.100.7 git.bench.example\n");
    stage.scratch().write("hosts.gateway", hosts);
    let gateway = stage.gateway(
        "upstream-proxy = 'corp'
         verify-name = true
         [upstream.corp]
         proxy = 'proxy.local:3128'
         [upstream.other]
         proxy = 'proxy.local:3128'
         [[route]]
         to = ['git.bench.example', 'repo.bench.example', 'www.bench.example']
         via = 'other'
         verify-name = true
         [[route]]
         via = 'corp'",
    );
    stage.fetch("https://www.bench.example");
    session(&gateway, "www.bench.example:443").expect("end=done via=other -verified");
    squid.saw("CONNECT www.bench.example:443");
    // one that is elsewhere, and one that nobody knows here: the route is decided again, by address
    for name in ["git.bench.example", "repo.bench.example"] {
        stage.client(&format!("curl -sS4 --cacert $CA https://{name}/")).run();
        let line = session(&gateway, &format!("{V4}:443"));
        line.expect(&format!("end=done via=corp name={name} verified=no"));
    }
    let requests = squid.requests_in_all(3);
    assert!(requests[1..].iter().all(|r| r.target == format!("{V4}:443")), "{requests:?}");
}

#[test]
fn private_addresses_need_a_route_that_names_them() {
    let stage = Stage::redirected();
    let squid = Squid::start(&stage, "squid", "http_port 3128\nhttp_access deny all");
    let gateway = stage.gateway(
        "[upstream.corp]
         proxy = '10.2.0.2:3128'
         [[route]]
         to = '10.9.0.0/16'
         via = 'corp'
         [[route]]
         to = '*'
         via = 'corp'",
    );
    let curl = |at: &str| stage.client(&format!("curl -sS -k --max-time 5 https://{at}/")).outcome();
    assert!(!curl("10.8.0.9").status.success());
    let line = gateway.session_line();
    line.expect("end=rejected by=us target=10.8.0.9:443");
    let error = line.get("error").expect("why");
    assert!(error.starts_with("10.8.0.9:443 is a private address; a route that names it in "), "{error}");
    assert!(!curl("10.9.0.9").status.success());
    gateway.session_line().expect("end=refused by=upstream target=10.9.0.9:443 status=403");
    let requests = squid.requests_in_all(1);
    assert_eq!(requests[0].target, "10.9.0.9:443");
}
