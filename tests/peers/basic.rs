//! Basic with squid, and what becomes of a wrong password.

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::world::stage::{Stage, count, session};
use crate::world::upstream::tinyproxy;
use crate::world::{AT_ONCE, schemes};

const SITE: &str = "https://www.bench.example";
const TARGET: &str = "www.bench.example:443";

/// A configuration with this password.
fn gateway_toml(password: &str) -> String {
    format!(
        "[upstream.corp]
         proxy = '10.2.0.2:3128'
         auth = 'basic'
         user = 'ada'
         password = '{password}'
        "
    )
}

#[test]
fn the_configured_proxy_gets_the_password_with_the_first_request() {
    let stage = Stage::redirected();
    let squid = schemes::basic(&stage);
    stage.scratch().write("corp.password", "geheim-ada\n");
    std::fs::set_permissions(stage.scratch().path("corp.password"), private()).expect("it is ours");
    let gateway = stage.gateway(
        "upstream-proxy = '10.2.0.2:3128'
         auth = 'basic'
         user = 'ada'
         password-file = 'corp.password'",
    );
    for _ in 0..2 {
        stage.fetch(SITE);
        session(&gateway, TARGET).expect("end=done status=200");
    }
    for request in squid.requests_in_all(2) {
        assert_eq!((request.status.as_str(), request.user.as_str()), ("200", "ada"), "{request:?}");
    }
}

#[test]
fn a_scheme_that_was_not_asked_for_unasked_follows_the_challenge() {
    let stage = Stage::redirected();
    let squid = schemes::basic(&stage);
    let toml = gateway_toml("geheim-ada").replace("'basic'", "['digest', 'basic']");
    let gateway = stage.gateway(&toml);
    for _ in 0..2 {
        stage.fetch(SITE);
        session(&gateway, TARGET).expect("end=done status=200");
    }
    // the first is asked who it is, over the same connection; the second knows what works
    let requests = squid.requests_in_all(3);
    let seen: Vec<_> = requests.iter().map(|r| (r.status.as_str(), r.user.as_str())).collect();
    assert_eq!(seen, [("407", "-"), ("200", "ada"), ("200", "ada")]);
    assert_eq!(requests[0].peer, requests[1].peer);
}

#[test]
fn a_wrong_password_is_tried_once_and_held() {
    let stage = Stage::redirected();
    let squid = schemes::basic(&stage);
    let gateway = stage.gateway(&gateway_toml("falsch"));
    stage.miss(SITE);
    session(&gateway, TARGET).expect("end=auth by=upstream");
    let told = gateway.log.wait_for("credentials refused by");
    assert!(told.contains("WARN") && told.contains("upstream corp: "), "{told}");
    assert!(told.contains("http://10.2.0.2:3128: ") && told.ends_with("; no more tries for 1m"), "{told}");

    let start = Instant::now();
    for _ in 0..5 {
        stage.miss(SITE);
        let held = session(&gateway, TARGET);
        held.expect("end=auth by=upstream");
        let error = held.get("error").expect("why");
        assert!(error.contains("credentials were refused") && error.contains("more"), "{error}");
        assert_eq!(held.level(), "INFO");
    }
    assert!(start.elapsed() < AT_ONCE * 5);
    let page = stage.client("curl -sS -w %{http_code} http://www.bench.example/").text();
    assert!(page.ends_with("502") && page.contains("does not accept this gateway's credentials"), "{page}");
    assert!(!page.contains("ada"), "clients need not know whose credentials we have: {page}");
    session(&gateway, "www.bench.example:80").expect("end=auth");

    let requests = squid.requests_in_all(1);
    assert_eq!((requests[0].status.as_str(), requests[0].user.as_str()), ("407", "ada"));
    assert_eq!(count(&gateway, "credentials refused by"), 1);
    assert_eq!(count(&gateway, "falsch"), 0);

    // who corrects the file need not wait
    stage.configure(&gateway_toml("geheim-ada"));
    gateway.signal(Signal::SIGHUP);
    gateway.log.wait_for("reloaded ");
    stage.fetch(SITE);
    session(&gateway, TARGET).expect("end=done status=200");
}

#[test]
fn a_wrong_password_of_many_clients_at_once_is_no_storm() {
    let stage = Stage::redirected();
    let squid = schemes::basic(&stage);
    let gateway = stage.gateway(&gateway_toml("falsch"));
    let urls = [SITE; 20].join(" ");
    let line = format!("curl -sS --cacert $CA --http1.1 -Z --parallel-immediate --parallel-max 20 {urls}");
    assert!(!stage.client(&line).outcome().status.success());
    for _ in 0..20 {
        session(&gateway, TARGET).expect("end=auth by=upstream");
    }
    // one at a time until one worked
    squid.requests_in_all(1);
    assert_eq!(count(&gateway, "credentials refused by"), 1);
}

#[test]
fn nor_is_it_where_requests_are_relayed() {
    let stage = Stage::redirected();
    let squid = schemes::basic(&stage);
    let gateway = stage.gateway(&(gateway_toml("falsch") + "plain-http = 'relay'\n"));
    let urls = ["http://www.bench.example/page.html"; 20].join(" ");
    let line = format!("curl -sSf -Z --parallel-immediate --parallel-max 20 {urls}");
    assert!(!stage.client(&line).outcome().status.success());
    for _ in 0..20 {
        gateway.session_line().expect("end=auth by=upstream");
    }
    // one at a time until one worked
    let tries = squid.requests_in_all(1).len();
    assert_eq!(count(&gateway, "credentials refused by"), 1);
    // the hold is the upstream's: tunnels are held too
    stage.miss(SITE);
    session(&gateway, TARGET).expect("end=auth");
    assert_eq!(squid.requests().len(), tries);
}

#[test]
fn refused_credentials_leave_other_upstreams_alone() {
    let stage = Stage::redirected();
    let squid = schemes::basic(&stage);
    let gateway = stage.gateway(
        "upstream-proxy = 'bad'
         [upstream.bad]
         proxy = '10.2.0.2:3128'
         auth = 'basic'
         user = 'ada'
         password = 'falsch'
         [upstream.good]
         proxy = '10.2.0.2:3128'
         auth = 'basic'
         user = 'bob'
         password = 'geheim-bob'
         [[route]]
         to = 'www.bench.example'
         via = 'good'",
    );
    stage.miss("https://git.bench.example");
    session(&gateway, "git.bench.example:443").expect("end=auth via=bad");
    stage.fetch(SITE);
    session(&gateway, TARGET).expect("end=done via=good status=200");
    squid.saw("200 CONNECT www.bench.example:443 bob");
}

#[test]
fn tinyproxy_answers_a_wrong_password_with_401() {
    let stage = Stage::redirected();
    let proxy = tinyproxy(&stage, "BasicAuth ada geheim-ada");
    let toml = |password: &str| gateway_toml(password).replace("3128", "8888");
    let gateway = stage.gateway(&toml("geheim-ada"));
    stage.fetch(SITE);
    session(&gateway, TARGET).expect("end=done status=200");
    drop(gateway);
    let gateway = stage.gateway(&toml("falsch"));
    for _ in 0..3 {
        stage.miss(SITE);
        session(&gateway, TARGET).expect("end=auth by=upstream");
    }
    proxy.says_times("CONNECT www.bench.example:443", 2);
    assert_eq!(count(&gateway, "credentials refused by"), 1);
}

fn private() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o640)
}
