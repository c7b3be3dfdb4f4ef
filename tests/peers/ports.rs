//! squid's own rules, which open tunnels to port 443 only, and what plain HTTP does about that.

use crate::lab::support::daemon::Daemon;
use crate::world::schemes;
use crate::world::squid::Squid;
use crate::world::stage::{Stage, count};

const PLAIN: &str = "http://www.bench.example";

/// A stage with squid under the rules of its own default configuration, and handyproxy with this `plain-http`.
fn stage(plain_http: &str) -> (Daemon, Squid, Stage) {
    let stage = Stage::redirected();
    let squid = Squid::start(&stage, "squid", DEFAULTS);
    let gateway = stage.gateway(&format!(
        "[upstream.corp]
         proxy = '10.2.0.2:3128'
         plain-http = '{plain_http}'"
    ));
    (gateway, squid, stage)
}

/// What squid was asked for: method and target.
fn asked(squid: &Squid, count: usize) -> Vec<String> {
    squid.requests_in_all(count).iter().map(|r| format!("{} {} {}", r.method, r.target, r.status)).collect()
}

#[test]
fn connect_is_refused_and_the_user_sees_why() {
    let (gateway, squid, stage) = stage("connect");
    let page = stage.client(&format!("curl -sS -w %{{http_code}} {PLAIN}/")).text();
    assert!(page.contains("ERR_ACCESS_DENIED") && page.ends_with("502"), "{page}");
    gateway.session_line().expect("end=refused by=upstream status=403");
    stage.fetch("https://www.bench.example");
    gateway.session_line().expect("end=done status=200");
    assert_eq!(asked(&squid, 2), ["CONNECT www.bench.example:80 403", "CONNECT www.bench.example:443 200"]);
}

#[test]
fn relay_hands_over_plain_requests_and_nothing_else() {
    let (gateway, squid, stage) = stage("relay");
    stage.fetch(PLAIN);
    gateway.session_line().expect("end=done name=www.bench.example requests=1");
    stage.fetch("https://www.bench.example");
    gateway.session_line().expect("end=done name=www.bench.example status=200 -requests");
    let page = "GET http://www.bench.example/page.html 200";
    assert_eq!(asked(&squid, 2), [page, "CONNECT www.bench.example:443 200"]);
}

#[test]
fn auto_finds_out_once_and_remembers_it_for_the_port() {
    let (gateway, squid, stage) = stage("auto");
    for site in [PLAIN, PLAIN, "https://www.bench.example", PLAIN] {
        stage.fetch(site);
        gateway.session_line().expect("end=done name=www.bench.example");
    }
    let page = "GET http://www.bench.example/page.html 200";
    let wanted = ["CONNECT www.bench.example:80 403", page, page, "CONNECT www.bench.example:443 200", page];
    assert_eq!(asked(&squid, 5), wanted);
    let told = gateway.log.wait_for("is relayed from now on");
    assert!(told.contains("INFO"), "{told}");
    assert!(told.ends_with("upstream corp: port 80 is relayed from now on, CONNECT was answered with 403"), "{told}");
    assert_eq!(count(&gateway, "is relayed from now on"), 1);
}

#[test]
fn auto_costs_none_of_many_first_clients_an_answer() {
    let (gateway, squid, stage) = stage("auto");
    let urls = format!("{PLAIN}/page.html ").repeat(20);
    let line = format!("curl -sSf4 -Z --parallel-immediate --parallel-max 20 {urls}");
    let outcome = stage.client(&line).outcome();
    for _ in 0..20 {
        gateway.session_line().expect("end=done requests=1");
    }
    assert!(outcome.status.success(), "{}", outcome.err);
    assert_eq!(count(&gateway, "is relayed from now on"), 1);
    let requests = squid.requests_at_least(20, |r| r.status == "200");
    assert_eq!(requests.iter().filter(|r| r.status == "200").count(), 20);
}

#[test]
fn auto_keeps_a_refusal_of_the_site_what_it_is() {
    let (gateway, squid, stage) = stage("auto");
    let line = "curl -sS -w %{http_code} http://denied.bench.example/";
    let page = stage.client(line).text();
    // through the relay it is squid's own answer
    assert!(page.contains("ERR_ACCESS_DENIED") && page.ends_with("403"), "{page}");
    gateway.session_line().expect("name=denied.bench.example");
    assert_eq!(asked(&squid, 2)[1], "GET http://denied.bench.example/ 403");
}

#[test]
fn a_403_does_not_prove_a_password() {
    let stage = Stage::redirected();
    // squid refuses the port before it asks who wants it
    let lines = format!("{DEFAULTS}\n{}", schemes::basic_lines(&stage))
        .replace("http_access allow localnet\nhttp_access deny all\n", "");
    let squid = Squid::start(&stage, "squid", &lines);
    let gateway = stage.gateway(
        "[upstream.corp]
         proxy = '10.2.0.2:3128'
         auth = 'basic'
         user = 'ada'
         password = 'falsch'",
    );
    stage.miss(PLAIN);
    gateway.session_line().expect("end=refused status=403");
    let urls = ["https://www.bench.example"; 20].join(" ");
    let line = format!("curl -sS --cacert $CA --http1.1 -Z --parallel-immediate --parallel-max 20 {urls}");
    assert!(!stage.client(&line).outcome().status.success());
    let requests = squid.requests_at_least(1, |r| r.status == "407");
    let tries = requests.iter().filter(|r| r.status == "407").count();
    assert_eq!(tries, 1, "one at a time until one worked");
    assert_eq!(count(&gateway, "credentials refused by"), 1);
}

// squid.conf.default, with its own networks
const DEFAULTS: &str = "\
http_port 3128
acl localnet src 10.0.0.0/8
acl SSL_ports port 443
acl Safe_ports port 80 21 443 70 210 1025-65535 280 488 591 777
acl forbidden dstdomain denied.bench.example
http_access deny forbidden
http_access deny !Safe_ports
http_access deny CONNECT !SSL_ports
http_access allow localhost manager
http_access deny manager
http_access allow localnet
http_access deny all";
