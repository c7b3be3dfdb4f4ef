//! Digest with squid, which knows MD5, and with a proxy of ours that knows SHA-256.

use crate::world::stage::{Stage, count, session};
use crate::world::{schemes, stubs};

const SITE: &str = "https://www.bench.example";
const TARGET: &str = "www.bench.example:443";

fn gateway_toml(password: &str) -> String {
    format!(
        "[upstream.corp]
         proxy = '10.2.0.2:3128'
         auth = 'digest'
         user = 'ada'
         password = '{password}'
        "
    )
}

#[test]
fn squid_asks_once_and_its_nonce_serves_again() {
    let stage = Stage::redirected();
    let squid = schemes::digest(&stage);
    let gateway = stage.gateway(&gateway_toml("geheim-ada"));
    for _ in 0..3 {
        stage.fetch(SITE);
        session(&gateway, TARGET).expect("end=done status=200");
    }
    let requests = squid.requests_in_all(4);
    let seen: Vec<_> = requests.iter().map(|r| (r.status.as_str(), r.user.as_str())).collect();
    assert_eq!(seen, [("407", "-"), ("200", "ada"), ("200", "ada"), ("200", "ada")]);
    assert_eq!(requests[0].peer, requests[1].peer, "both legs over one connection");
}

#[test]
fn a_wrong_password_of_many_clients_is_tried_once() {
    let stage = Stage::redirected();
    let squid = schemes::digest(&stage);
    let gateway = stage.gateway(&gateway_toml("falsch"));
    let urls = [SITE; 20].join(" ");
    let line = format!("curl -sS --cacert $CA --http1.1 -Z --parallel-immediate --parallel-max 20 {urls}");
    assert!(!stage.client(&line).outcome().status.success());
    for _ in 0..20 {
        session(&gateway, TARGET).expect("end=auth by=upstream");
    }
    // who are you, and not you
    assert!(squid.requests_in_all(2).iter().all(|r| r.status == "407"));
    assert_eq!(count(&gateway, "credentials refused by"), 1);
}

#[test]
fn the_better_algorithm_is_taken_and_a_stale_nonce_is_no_refusal() {
    let stage = Stage::redirected();
    let proxy = stubs::digest(&stage);
    let gateway = stage.gateway(&gateway_toml("geheim-ada"));
    for _ in 0..5 {
        stage.fetch(SITE);
        session(&gateway, TARGET).expect("end=done status=200");
    }
    let asked: Vec<String> = stubs::asked(&proxy, 7).into_iter().map(|(_, what)| what).collect();
    let first = |count: u32| format!("digest SHA-256 {count:08} 200");
    let stale = "digest SHA-256 00000004 407".to_owned();
    assert_eq!(asked, ["none 407".to_owned(), first(1), first(2), first(3), stale, first(1), first(2)]);
    assert_eq!(count(&gateway, "credentials refused by"), 0);
}

#[test]
fn a_proxy_that_wants_basic_does_not_get_it() {
    let stage = Stage::redirected();
    let squid = schemes::basic(&stage);
    let gateway = stage.gateway(&gateway_toml("geheim-ada"));
    for _ in 0..2 {
        stage.miss(SITE);
        let line = session(&gateway, TARGET);
        line.expect("end=auth by=upstream");
        assert!(line.get("error").expect("why").to_lowercase().contains("basic"), "{line:?}");
    }
    assert!(squid.requests().iter().all(|r| r.status == "407" && r.user == "-"), "{:?}", squid.requests());
}
