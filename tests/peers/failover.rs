//! Two squids of one upstream, of which one is sometimes away.

use crate::world::squid::Squid;
use crate::world::stage::{Stage, count, session};
use crate::world::{AT_ONCE, schemes};

const SITE: &str = "https://www.bench.example";
const TARGET: &str = "www.bench.example:443";

fn squid(stage: &Stage, name: &str, port: u16) -> Squid {
    Squid::start(stage, name, &format!("http_port {port}\nhttp_access allow all"))
}

#[test]
fn the_second_serves_until_the_first_is_back() {
    let stage = Stage::redirected();
    let first = squid(&stage, "first", 3128);
    let second = squid(&stage, "second", 3129);
    let gateway = stage.gateway(
        "[upstream.corp]
         proxy = ['10.2.0.2:3128', '10.2.0.2:3129']",
    );
    let fetch = |upstream: &str| {
        let line = format!("curl -sSf4 --cacert $CA {SITE}/page.html");
        let outcome = stage.client(&line).outcome();
        assert!(outcome.status.success() && outcome.took < AT_ONCE, "{:?} {}", outcome.took, outcome.err);
        session(&gateway, TARGET).expect(&format!("end=done status=200 upstream={upstream}"));
    };
    fetch("10.2.0.2:3128");
    assert_eq!(count(&gateway, " is down: "), 0);

    drop(first);
    for _ in 0..3 {
        fetch("10.2.0.2:3129");
    }
    let down = gateway.log.wait_for(" is down: ");
    assert!(down.contains("WARN") && down.contains("upstream corp: http://10.2.0.2:3128 is down: "), "{down}");
    assert!(down.ends_with("; next try in 1s"), "{down}");

    let first = squid(&stage, "first", 3128);
    let start = std::time::Instant::now();
    while count(&gateway, " is up again after ") == 0 {
        assert!(start.elapsed() < std::time::Duration::from_secs(120), "never back");
        stage.fetch(SITE);
        session(&gateway, TARGET).expect("end=done status=200");
    }
    let up = gateway.log.wait_for(" is up again after ");
    assert!(up.contains("INFO") && up.contains("upstream corp: http://10.2.0.2:3128 is up again after "), "{up}");
    fetch("10.2.0.2:3128");
    assert_eq!(count(&gateway, " is down: "), 1, "one line for each change");
    first.requests_at_least(2, |_| true);
    second.requests_at_least(3, |_| true);
}

#[test]
fn a_probe_finds_out_without_a_client() {
    let stage = Stage::redirected();
    let first = squid(&stage, "first", 3128);
    let second = squid(&stage, "second", 3129);
    let gateway = stage.gateway(
        "[upstream.corp]
         proxy = ['10.2.0.2:3128', '10.2.0.2:3129']
         probe = '200ms'",
    );
    drop(first);
    gateway.log.wait_for("upstream corp: http://10.2.0.2:3128 is down: ");
    stage.fetch(SITE);
    session(&gateway, TARGET).expect("end=done upstream=10.2.0.2:3129");

    let first = squid(&stage, "first", 3128);
    gateway.log.wait_for("upstream corp: http://10.2.0.2:3128 is up again after ");
    stage.fetch(SITE);
    session(&gateway, TARGET).expect("end=done upstream=10.2.0.2:3128");
    assert_eq!(gateway.log.sessions().len(), 2, "a probe is no session");
    first.saw("CONNECT www.bench.example:443");
    second.saw("CONNECT www.bench.example:443");
    assert_eq!(count(&gateway, " is down: "), 1);
}

#[test]
fn a_refusal_is_an_answer_and_moves_nothing() {
    let stage = Stage::redirected();
    let deny = "http_port 3128\nacl forbidden dstdomain denied.bench.example\nhttp_access deny forbidden\nhttp_access allow all";
    let _first = Squid::start(&stage, "first", deny);
    let second = squid(&stage, "second", 3129);
    let gateway = stage.gateway("upstream-proxy = ['10.2.0.2:3128', '10.2.0.2:3129']");
    stage.miss("https://denied.bench.example");
    session(&gateway, "denied.bench.example:443").expect("end=refused status=403 upstream=10.2.0.2:3128");
    stage.fetch(SITE);
    session(&gateway, TARGET).expect("end=done upstream=10.2.0.2:3128");
    assert_eq!(count(&gateway, " is down: "), 0);
    assert!(second.requests().is_empty(), "{:?}", second.requests());
}

#[test]
fn refused_credentials_are_not_tried_on_the_next() {
    let stage = Stage::redirected();
    let lines = schemes::basic_lines(&stage);
    let first = Squid::start(&stage, "first", &format!("http_port 3128\n{lines}"));
    let second = Squid::start(&stage, "second", &format!("http_port 3129\n{lines}"));
    let gateway = stage.gateway(
        "[upstream.corp]
         proxy = ['10.2.0.2:3128', '10.2.0.2:3129']
         auth = 'basic'
         user = 'ada'
         password = 'falsch'",
    );
    for _ in 0..3 {
        stage.miss(SITE);
        session(&gateway, TARGET).expect("end=auth by=upstream");
    }
    first.requests_in_all(1);
    assert!(second.requests().is_empty(), "{:?}", second.requests());
    assert_eq!(count(&gateway, " is down: "), 0);
}

#[test]
fn one_proxy_alone_is_tried_by_everyone() {
    let stage = Stage::redirected();
    let gateway = stage.gateway("upstream-proxy = '10.2.0.2:3128'");
    for _ in 0..3 {
        stage.miss(SITE);
        session(&gateway, TARGET).expect("end=dial by=upstream");
    }
    assert_eq!(count(&gateway, "http://10.2.0.2:3128 is down: "), 1);
    let _squid = squid(&stage, "squid", 3128);
    stage.fetch(SITE);
    gateway.log.wait_for("http://10.2.0.2:3128 is up again after ");
}
