//! NTLM: with squid, with cntlm in between, and with a proxy of ours that verifies NTLMv2 and closes where it likes.

use crate::world::program::Service;
use crate::world::stage::{Stage, count, session};
use crate::world::upstream::cntlm;
use crate::world::{AT_ONCE, schemes, stubs};

const SITE: &str = "https://www.bench.example";
const TARGET: &str = "www.bench.example:443";

fn gateway_toml(auth: &str, password: &str) -> String {
    format!(
        "[upstream.corp]
         proxy = '10.2.0.2:3128'
         auth = {auth}
         user = 'BENCH\\ada'
         password = '{password}'
        "
    )
}

/// The credentials and statuses of each connection that a proxy of ours saw, in order, and so many at least.
fn dialogues(proxy: &Service, requests: usize) -> Vec<Vec<String>> {
    let mut peers = Vec::new();
    let mut dialogues: Vec<Vec<String>> = Vec::new();
    for (peer, what) in stubs::asked(proxy, requests) {
        let at = peers.iter().position(|known| *known == peer).unwrap_or_else(|| {
            peers.push(peer);
            dialogues.push(Vec::new());
            peers.len() - 1
        });
        dialogues[at].push(what);
    }
    dialogues
}

#[test]
fn squid_lets_it_pass_after_two_round_trips() {
    let stage = Stage::redirected();
    let squid = schemes::ntlm(&stage);
    let gateway = stage.gateway(&gateway_toml("'ntlm'", "geheim-ada"));
    for _ in 0..2 {
        stage.fetch(SITE);
        session(&gateway, TARGET).expect("end=done status=200");
    }
    let requests = squid.requests_in_all(4);
    for legs in requests.chunks(2) {
        assert_eq!((legs[0].status.as_str(), legs[1].status.as_str()), ("407", "200"), "{legs:?}");
        assert_eq!(legs[0].peer, legs[1].peer);
        assert_eq!(legs[1].user, r"BENCH\ada");
    }
    assert_ne!(requests[0].peer, requests[2].peer);
}

#[test]
fn users_and_passwords_are_more_than_ascii() {
    let stage = Stage::redirected();
    let proxy = stubs::ntlm(&stage, "none");
    let toml = gateway_toml("'ntlm'", "geheim-ß€😀").replace(r"BENCH\ada", "jürgen@bench.example");
    let gateway = stage.gateway(&toml);
    stage.fetch(SITE);
    session(&gateway, TARGET).expect("end=done status=200");
    assert_eq!(dialogues(&proxy, 2), [["type1 407", "type3 jürgen@bench.example 200"]]);
}

#[test]
fn a_wrong_password_of_many_clients_is_tried_once() {
    let stage = Stage::redirected();
    let squid = schemes::ntlm(&stage);
    let gateway = stage.gateway(&gateway_toml("'ntlm'", "falsch"));
    let urls = [SITE; 20].join(" ");
    let line = format!("curl -sS --cacert $CA --http1.1 -Z --parallel-immediate --parallel-max 20 {urls}");
    assert!(!stage.client(&line).outcome().status.success());
    for _ in 0..20 {
        session(&gateway, TARGET).expect("end=auth by=upstream");
    }
    assert!(squid.requests_in_all(2).iter().all(|r| r.status == "407"));
    assert_eq!(count(&gateway, "credentials refused by"), 1);
}

#[test]
fn thirty_tunnels_at_once_each_prove_themselves() {
    let stage = Stage::redirected();
    let proxy = stubs::ntlm(&stage, "none");
    let gateway = stage.gateway(&gateway_toml("'ntlm'", "geheim-ada"));
    let urls = format!("{SITE}/page.html ").repeat(30);
    let line = format!("curl -sSf --cacert $CA --http1.1 -Z --parallel-immediate --parallel-max 30 {urls}");
    let pages = stage.client(&line).run();
    assert_eq!(pages.len(), 30 * stage.origin.page().len());
    for _ in 0..30 {
        session(&gateway, TARGET).expect("status=200");
    }
    let dialogues = dialogues(&proxy, 60);
    assert_eq!(dialogues.len(), 30);
    for dialogue in dialogues {
        assert_eq!(dialogue, ["type1 407", r"type3 BENCH\ada 200"]);
    }
}

#[test]
fn a_proxy_that_closes_after_a_bare_407_is_asked_again() {
    let stage = Stage::redirected();
    let proxy = stubs::ntlm(&stage, "bare");
    let gateway = stage.gateway(&gateway_toml("['digest', 'ntlm']", "geheim-ada"));
    for _ in 0..2 {
        stage.fetch(SITE);
        session(&gateway, TARGET).expect("end=done status=200");
    }
    let whole = vec!["type1 407".to_owned(), r"type3 BENCH\ada 200".to_owned()];
    assert_eq!(dialogues(&proxy, 5), [vec!["none 407".to_owned()], whole.clone(), whole]);
}

#[test]
fn a_proxy_that_closes_after_every_407_is_told_of_and_not_hammered() {
    let stage = Stage::redirected();
    let proxy = stubs::ntlm(&stage, "every");
    let gateway = stage.gateway(&gateway_toml("'ntlm'", "geheim-ada"));
    let outcome = stage.client(&format!("curl -sS --cacert $CA {SITE}")).outcome();
    assert!(!outcome.status.success() && outcome.took < AT_ONCE, "{}", outcome.err);
    let line = session(&gateway, TARGET);
    line.expect("end=auth by=upstream");
    assert!(line.get("error").expect("why").contains("clos"), "{line:?}");
    assert!(stubs::asked(&proxy, 1).len() <= 4, "{}", proxy.said());
}

#[test]
fn cntlm_in_between_needs_no_credentials_of_ours() {
    let stage = Stage::redirected();
    let proxy = stubs::ntlm(&stage, "none");
    let _cntlm = cntlm(&stage, "Proxy 10.2.0.2:3128");
    let gateway = stage.gateway("upstream-proxy = 'localhost'");
    stage.fetch(SITE);
    session(&gateway, TARGET).expect("end=done status=200");
    proxy.wait_until("a type 3", |said| said.lines().any(|line| line.contains(" type3 ") && line.ends_with(" 200")));
    let asked = stubs::asked(&proxy, 1);
    assert_eq!(asked.last().expect("it was asked").1.to_lowercase(), r"type3 bench\ada 200");
}
