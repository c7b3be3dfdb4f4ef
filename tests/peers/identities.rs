//! One gateway, two clients, two accounts at one proxy: what one authenticated never serves the other.

use std::collections::BTreeSet;

use crate::lab::support::daemon::Daemon;
use crate::world::program::Program;
use crate::world::schemes;
use crate::world::squid::Request;
use crate::world::stage::{Stage, session};

/// Two routes by client; a scheme for both, and what to do with plain HTTP.
fn gateway(stage: &Stage, auth: &str, domain: &str) -> Daemon {
    stage.net.client.ip("addr add 10.1.0.3/24 dev eth0\n");
    let upstream = |user: &str| {
        format!(
            "[upstream.{user}]
             proxy = '10.2.0.2:3128'
             auth = '{auth}'
             user = '{domain}{user}'
             password = 'geheim-{user}'
             plain-http = 'relay'
            "
        )
    };
    let route = |from: &str, via: &str| format!("[[route]]\nfrom = '{from}'\nvia = '{via}'\n");
    let routes = route("10.1.0.2", "ada") + &route("10.1.0.3/32", "bob") + "[[route]]\nvia = 'reject'\n";
    stage.gateway(&format!("upstream-proxy = 'ada'\n{}{}{routes}", upstream("ada"), upstream("bob")))
}

fn curl<'a>(stage: &'a Stage, from: &str, rest: &str) -> Program<'a> {
    stage.client(&format!("curl -sSf4 --cacert $CA --interface {from} {rest}"))
}

fn peers(requests: &[Request], user: &str) -> BTreeSet<String> {
    let theirs = requests.iter().filter(|r| r.user.to_lowercase().ends_with(user));
    theirs.map(|r| r.peer.clone()).collect()
}

#[test]
fn tunnels_belong_to_who_opened_them() {
    let stage = Stage::redirected();
    let squid = schemes::basic(&stage);
    let gateway = gateway(&stage, "basic", "");
    for (from, user, site) in [("10.1.0.2", "ada", "www"), ("10.1.0.3", "bob", "git"), ("10.1.0.2", "ada", "repo")] {
        let url = format!("https://{site}.bench.example/");
        // an index that nginx does not show is an answer too
        stage.client(&format!("curl -sS4 --cacert $CA --interface {from} {url}")).run();
        session(&gateway, &format!("{site}.bench.example:443")).expect(&format!("end=done via={user}"));
        squid.saw(&format!("200 CONNECT {site}.bench.example:443 {user}"));
    }
    stage.net.client.ip("addr add 10.1.0.4/24 dev eth0\n");
    let outcome = curl(&stage, "10.1.0.4", "https://www.bench.example/page.html").outcome();
    assert!(!outcome.status.success());
    gateway.session_line().expect("end=rejected by=us via=reject");
    squid.requests_in_all(3);
}

#[test]
fn relayed_requests_never_share_a_connection() {
    let stage = Stage::redirected();
    let squid = schemes::ntlm(&stage);
    let gateway = gateway(&stage, "ntlm", r"BENCH\");
    // one after the other and at the same time, each with keep-alive
    let urls = ["http://www.bench.example/page.html"; 10].join(" ");
    for _ in 0..2 {
        for from in ["10.1.0.2", "10.1.0.3"] {
            let pages = curl(&stage, from, &urls).run();
            assert_eq!(pages, stage.origin.page().repeat(10));
        }
    }
    let script = format!("curl -sSf4 --interface 10.1.0.2 {urls} & curl -sSf4 --interface 10.1.0.3 {urls} && wait $!");
    let pages = stage.client("sh -c").arg(script).run();
    assert_eq!(pages.len(), 20 * stage.origin.page().len());

    for (client, user) in [("10.1.0.2:", "ada"), ("10.1.0.3:", "bob")] {
        for _ in 0..3 {
            let line = gateway.log.take_session(client, |l| l.get("client").is_some_and(|c| c.starts_with(client)));
            line.expect(&format!("end=done via={user} requests=10"));
        }
    }
    let requests = squid.requests_at_least(60, |r| r.status == "200");
    let of =
        |user: &str| requests.iter().filter(|r| r.status == "200" && r.user.to_lowercase().ends_with(user)).count();
    assert_eq!((of("ada"), of("bob")), (30, 30));
    let (ada, bob) = (peers(&requests, "ada"), peers(&requests, "bob"));
    assert!(!ada.is_empty() && !bob.is_empty());
    assert!(ada.is_disjoint(&bob), "{ada:?} {bob:?}");
}
