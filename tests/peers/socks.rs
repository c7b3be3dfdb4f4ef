//! SOCKS5 by name: microsocks with and without a password, and dante.

use crate::world::program::Service;
use crate::world::stage::{Stage, count, session};
use crate::world::{AT_ONCE, V4, V6};

const TARGET: &str = "www.bench.example:443";

fn microsocks(stage: &Stage, options: &str) -> Service {
    // it says nothing until somebody comes
    let service = stage.beyond(&format!("microsocks -i 10.2.0.2 -p 1080 {options}")).serve("");
    stage.listens("10.2.0.2:1080");
    service
}

#[test]
fn names_go_to_the_proxy_as_names() {
    let stage = Stage::redirected();
    let proxy = microsocks(&stage, "");
    let gateway = stage.gateway("upstream-proxy = 'socks5://10.2.0.2'");
    for site in ["https://www.bench.example", "http://www.bench.example"] {
        stage.fetch(site);
        gateway.session_line().expect("end=done name=www.bench.example upstream=10.2.0.2:1080");
    }
    proxy.wait_for("connected to www.bench.example:443");
    proxy.wait_for("connected to www.bench.example:80");

    let line = format!("openssl s_client -quiet -CAfile $CA -noservername -connect {V4}:443");
    let answer = stage.client(&line).input("GET /seen HTTP/1.0\r\nHost: www.bench.example\r\n\r\n").text();
    assert!(answer.ends_with("www.bench.example"), "{answer}");
    proxy.wait_for(&format!("connected to {V4}:443"));

    let outcome = stage.client("curl -sS --cacert $CA https://down.bench.example/").outcome();
    assert!(!outcome.status.success() && outcome.took < AT_ONCE, "{:?} {}", outcome.took, outcome.err);
    session(&gateway, "down.bench.example:443").expect("end=refused by=upstream");
    assert_eq!(count(&gateway, " is down: "), 0, "the proxy is well");
}

#[test]
fn user_and_password_are_given_when_they_are_asked_for() {
    let stage = Stage::redirected();
    let proxy = microsocks(&stage, "-u ada -P geheim");
    let toml = |password: &str| {
        format!(
            "[upstream.corp]
             proxy = 'socks5://10.2.0.2'
             auth = 'basic'
             user = 'ada'
             password = '{password}'"
        )
    };
    let gateway = stage.gateway(&toml("geheim"));
    stage.fetch("https://www.bench.example");
    session(&gateway, TARGET).expect("end=done");
    proxy.wait_for("connected to www.bench.example:443");
    drop(gateway);

    let gateway = stage.gateway(&toml("falsch"));
    for _ in 0..3 {
        stage.miss("https://www.bench.example");
        session(&gateway, TARGET).expect("end=auth by=upstream");
    }
    assert_eq!(count(&gateway, "credentials refused by socks5://10.2.0.2:1080"), 1);
    assert_eq!(count(&gateway, "falsch"), 0);
    drop(gateway);

    let gateway = stage.gateway("upstream-proxy = 'socks5://10.2.0.2'");
    stage.miss("https://www.bench.example");
    let line = session(&gateway, TARGET);
    line.expect("by=upstream");
    assert!(["auth", "dial"].contains(&line.get("end").expect("an end")), "{line:?}");
}

#[test]
fn dante_takes_names_too() {
    let stage = Stage::redirected();
    let root = stage.scratch().root();
    stage.scratch().write("danted.conf", DANTE);
    let program = stage.beyond(&format!("danted -f {root}/danted.conf -p {root}/danted.pid"));
    let dante = program.serve("running");
    let gateway = stage.gateway("upstream-proxy = 'socks5://10.2.0.2'");
    for _ in 0..2 {
        stage.fetch("https://www.bench.example");
        session(&gateway, TARGET).expect("end=done");
    }
    // the client knows IPv4 alone: it was the proxy that found this address for the name
    dante.wait_for(&format!(" {V6}.443"));
}

const DANTE: &str = "\
logoutput: stderr
internal: 10.2.0.2 port = 1080
external: lo
external.rotation: route
clientmethod: none
socksmethod: none
user.unprivileged: nobody
client pass { from: 10.2.0.0/24 to: 0/0 }
socks pass { from: 10.2.0.0/24 to: 0/0 log: connect error }
";
