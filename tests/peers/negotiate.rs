//! Negotiate with squid and a Kerberos realm of MIT's.

use crate::lab::support::daemon::Daemon;
use crate::lab::support::eventually;
use crate::world::kerberos::Kerberos;
use crate::world::schemes;
use crate::world::stage::{Stage, count, session};

const SITE: &str = "https://www.bench.example";
const TARGET: &str = "www.bench.example:443";

const TICKET: &str = "\
[upstream.corp]
proxy = 'proxy.local:3128'
auth = 'negotiate'
";

/// handyproxy with this configuration where Kerberos is set up, and ada's ticket cache is the default.
fn gateway(stage: &Stage, kerberos: &Kerberos, toml: &str) -> Daemon {
    let launch = stage.launch(toml);
    let launch = launch.with_variable("KRB5_CONFIG", kerberos.configuration());
    stage.start(launch.with_variable("KRB5CCNAME", &kerberos.cache()))
}

#[test]
fn a_ticket_of_the_cache_opens_tunnels_at_once() {
    let stage = Stage::redirected();
    let kerberos = Kerberos::start(&stage);
    let squid = schemes::negotiate(&stage, &kerberos);
    kerberos.ticket(&stage, "");
    let gateway = gateway(&stage, &kerberos, TICKET);
    for _ in 0..2 {
        stage.fetch(SITE);
        session(&gateway, TARGET).expect("end=done status=200");
    }
    for request in squid.requests_in_all(2) {
        assert_eq!((request.status.as_str(), request.user.as_str()), ("200", "ada@BENCH.EXAMPLE"), "{request:?}");
    }
}

#[test]
fn a_keytab_needs_no_ticket() {
    let stage = Stage::redirected();
    let kerberos = Kerberos::start(&stage);
    let squid = schemes::negotiate(&stage, &kerberos);
    let toml = format!("{TICKET}user = 'ada@BENCH.EXAMPLE'\nkeytab = '$ROOT/kdc/ada.keytab'\n");
    let gateway = gateway(&stage, &kerberos, &toml);
    for _ in 0..2 {
        stage.fetch(SITE);
        session(&gateway, TARGET).expect("end=done status=200");
    }
    assert!(squid.requests_in_all(2).iter().all(|r| r.user == "ada@BENCH.EXAMPLE"));
}

#[test]
fn without_a_ticket_the_line_says_so_and_a_new_ticket_is_found() {
    let stage = Stage::redirected();
    let kerberos = Kerberos::start(&stage);
    let squid = schemes::negotiate(&stage, &kerberos);
    let gateway = gateway(&stage, &kerberos, TICKET);
    stage.miss(SITE);
    let line = session(&gateway, TARGET);
    line.expect("end=auth");
    let why = line.get("error").expect("why").to_lowercase();
    assert!(why.contains("credentials cache") || why.contains("no kerberos credentials"), "{why}");
    assert!(squid.requests().iter().all(|r| r.user == "-"), "{:?}", squid.requests());

    // no password was refused: nothing is held
    kerberos.ticket(&stage, "");
    stage.fetch(SITE);
    session(&gateway, TARGET).expect("end=done status=200");
}

#[test]
fn an_expired_ticket_is_called_so() {
    let stage = Stage::redirected();
    let kerberos = Kerberos::start_strict(&stage);
    let _squid = schemes::negotiate(&stage, &kerberos);
    kerberos.ticket(&stage, "-l 1s");
    let gateway = gateway(&stage, &kerberos, TICKET);
    // it is good for a second, and for one more of tolerance between clocks
    let line = eventually(|| {
        stage.client(&format!("curl -sS --cacert $CA {SITE}/page.html")).outcome();
        let line = session(&gateway, TARGET);
        let is_expired = line.get("error").is_some_and(|why| why.to_lowercase().contains("expired"));
        if is_expired { Ok(line) } else { Err(format!("{line:?}")) }
    });
    line.expect("end=auth");
}

#[test]
fn a_proxy_whose_clock_is_off_refuses_once() {
    let stage = Stage::redirected();
    let kerberos = Kerberos::start_under(&stage, "faketime -f +30m");
    let squid = schemes::negotiate(&stage, &kerberos);
    kerberos.ticket(&stage, "");
    let gateway = gateway(&stage, &kerberos, TICKET);
    for _ in 0..3 {
        stage.miss(SITE);
        session(&gateway, TARGET).expect("end=auth by=upstream");
    }
    assert!(squid.requests().len() <= 2, "{:?}", squid.requests());
    assert_eq!(count(&gateway, "credentials refused by"), 1);
}
