//! A proxy that is spoken to inside TLS: squid's https_port, with good and with bad certificates.

use crate::world::certificates::{issue_for_proxy, issue_stranger};
use crate::world::schemes::basic_lines;
use crate::world::squid::Squid;
use crate::world::stage::{Stage, count, session};

const SITE: &str = "https://www.bench.example";
const TARGET: &str = "www.bench.example:443";
const PORT: &str = "https_port 3129 tls-cert=$DIR/../proxy.pem";

/// A stage with squid in TLS on port 3129, whose certificate was issued when the clock said so.
fn stage(clock: &[&str], access: &str) -> (Squid, Stage) {
    let stage = Stage::redirected();
    issue_for_proxy(stage.scratch(), "proxy", clock);
    let squid = Squid::start(&stage, "squid", &format!("{PORT}\n{access}"));
    (squid, stage)
}

/// Tries twice with this configuration; both must fail before a CONNECT, and one line says why.
fn refuses(stage: &Stage, toml: &str, why: &[&str]) {
    let gateway = stage.gateway(toml);
    for _ in 0..2 {
        stage.miss(SITE);
        let line = session(&gateway, TARGET);
        line.expect("end=dial by=upstream -status");
        let error = line.get("error").expect("why").to_lowercase();
        assert!(why.iter().any(|why| error.contains(why)), "{why:?}: {error}");
    }
    let down = gateway.log.wait_for(" is down: ").to_lowercase();
    assert!(why.iter().any(|why| down.contains(why)), "{why:?}: {down}");
    assert_eq!(count(&gateway, " is down: "), 1);
}

#[test]
fn the_proxy_is_verified_by_its_name_and_its_authority() {
    let (squid, stage) = stage(&[], "http_access allow all");
    issue_stranger(stage.scratch());
    let gateway = stage.gateway("upstream-proxy = 'https://proxy.local:3129'\nca = '$ROOT/ca.pem'");
    for site in [SITE, "http://www.bench.example"] {
        stage.fetch(site);
        let line = gateway.session_line();
        line.expect("end=done status=200 upstream=10.2.0.2:3129 -retries");
        let sum = line.number("dial_ms") + line.number("tls_ms") + line.number("connect_ms");
        assert!(line.number("tls_ms") > 0.0 && sum < line.number("duration_ms"), "{line:?}");
    }
    let page = stage.client("curl -sSf4 --cacert $CA https://www.bench.example/big.bin").run();
    assert!(page == stage.origin.big, "five megabytes through two layers of TLS");
    gateway.session_line().expect("end=done status=200");
    assert_eq!(squid.requests_in_all(3).len(), 3);
    drop(gateway);

    let unknown = ["unknownissuer", "unknown issuer", "not trusted", "unknown authority"];
    refuses(&stage, "upstream-proxy = 'https://proxy.local:3129'", &unknown);
    refuses(&stage, "upstream-proxy = 'https://proxy.local:3129'\nca = '$ROOT/stranger.pem'", &unknown);
    let name = ["not valid for name", "notvalidforname", "for other names", "not for 10.2.0.2"];
    refuses(&stage, "upstream-proxy = 'https://10.2.0.2:3129'\nca = '$ROOT/ca.pem'", &name);
    squid.requests_in_all(3);
}

#[test]
fn an_expired_certificate_is_called_so() {
    let (_squid, stage) = stage(&["faketime", "2024-02-29"], "http_access allow all");
    let toml = "upstream-proxy = 'https://proxy.local:3129'\nca = '$ROOT/ca.pem'";
    refuses(&stage, toml, &["expired"]);
}

#[test]
fn a_proxy_without_tls_is_told_from_one() {
    let stage = Stage::redirected();
    let _squid = Squid::start(&stage, "squid", "http_port 3129\nhttp_access allow all");
    issue_stranger(stage.scratch());
    let toml = "upstream-proxy = 'https://proxy.local:3129'\nca = '$ROOT/stranger.pem'";
    refuses(&stage, toml, &["tls"]);
}

#[test]
fn credentials_and_relayed_requests_travel_inside() {
    let stage = Stage::redirected();
    issue_for_proxy(stage.scratch(), "proxy", &[]);
    let squid = Squid::start(&stage, "squid", &format!("{PORT}\n{}", basic_lines(&stage)));
    let gateway = stage.gateway(
        "[upstream.corp]
         proxy = 'https://proxy.local:3129'
         ca = '$ROOT/ca.pem'
         plain-http = 'relay'
         auth = 'basic'
         user = 'ada'
         password = 'geheim-ada'",
    );
    stage.fetch(SITE);
    session(&gateway, TARGET).expect("end=done status=200");
    stage.fetch("http://www.bench.example");
    gateway.session_line().expect("end=done requests=1");
    let seen: Vec<_> = squid.requests_in_all(2).into_iter().map(|r| (r.method, r.user)).collect();
    assert_eq!(seen, [("CONNECT".to_owned(), "ada".to_owned()), ("GET".to_owned(), "ada".to_owned())]);
}
