//! Requests that need credentials, and a proxy that ends each connection.

use super::{PAGE, TELL};
use crate::lab::support::journal::SessionLine;
use crate::world::origin::Telling;
use crate::world::program::tool;
use crate::world::stage::Stage;
use crate::world::upstream::tinyproxy;
use crate::world::{assert_same, schemes};

#[test]
fn a_clients_own_proxy_credentials_stay_behind() {
    let stage = Stage::redirected();
    let squid = schemes::basic(&stage);
    let _telling = Telling::start(&stage);
    let gateway = stage.gateway(
        "[upstream.corp]
         proxy = '10.2.0.2:3128'
         plain-http = 'relay'
         auth = 'basic'
         user = 'ada'
         password = 'geheim-ada'",
    );
    let own = stage.client("curl -sSf -H Proxy-Connection:keep-alive -H X-Own:1 -H");
    // bob:geheim-bob
    let own = own.arg("Proxy-Authorization: Basic Ym9iOmdlaGVpbS1ib2I=").arg(format!("{TELL}/fields"));
    let got = own.text().to_lowercase();
    assert!(!got.contains("proxy-") && got.contains("x-own: 1"), "{got}");
    gateway.session_line().expect("end=done requests=1");
    assert_eq!(squid.requests_in_all(1)[0].user, "ada");
}

#[test]
fn a_body_waits_until_the_credentials_are_in_order() {
    for (scheme, user) in [("digest", "ada"), ("ntlm", r"BENCH\ada")] {
        let stage = Stage::redirected();
        let squid = if scheme == "ntlm" { schemes::ntlm(&stage) } else { schemes::digest(&stage) };
        let telling = Telling::start(&stage);
        let gateway = stage.gateway(&format!(
            "[upstream.corp]
             proxy = '10.2.0.2:3128'
             plain-http = 'relay'
             auth = '{scheme}'
             user = '{user}'
             password = 'geheim-ada'"
        ));
        let upload = stage.scratch().path("www/big.bin");
        let post = format!("--data-binary @{} {TELL}/hash", upload.display());
        let got = stage.client(&format!("curl -sSf {post} --next -sSf {post} --next -sSf {PAGE}")).run();
        let sum = tool(&stage.scratch().path(""), &["sha256sum", "www/big.bin"]);
        let hashed = format!("{} {}", stage.origin.big.len(), sum.split(' ').next().expect("a hash"));
        let wanted = [hashed.as_bytes(), hashed.as_bytes(), stage.origin.page()].concat();
        assert_same(&got, &wanted, scheme);
        telling.was_asked("POST /hash", 2);
        for (name, requests) in [("tell", 2), ("www", 1)] {
            let name = format!("{name}.bench.example");
            let line = gateway.log.take_session(&name, |line| line.get("name") == Some(&name));
            line.expect(&format!("end=done requests={requests}"));
        }
        let refused = squid.requests().iter().filter(|r| r.status == "407").count();
        assert!(refused <= 2, "{scheme}: {:?}", squid.requests());
    }
}

#[test]
fn tinyproxy_which_closes_after_each_answer_serves_a_client_that_does_not() {
    let stage = Stage::redirected();
    let proxy = tinyproxy(&stage, "BasicAuth ada geheim");
    let _telling = Telling::start(&stage);
    let gateway = stage.gateway(
        "[upstream.corp]
         proxy = '10.2.0.2:8888'
         plain-http = 'relay'
         auth = 'basic'
         user = 'ada'
         password = 'geheim'",
    );
    let upload = stage.scratch().path("www/big.bin");
    let mark = "-w (%{num_connects})";
    let line = format!(
        "curl -sSf {mark} {TELL}/chunked --next -sSf {mark} -H Transfer-Encoding:chunked --data-binary @{} {TELL}/hash
         --next -sSI {mark} -o /dev/null {TELL}/fields --next -sSf {mark} -o /dev/null {TELL}/zeros/1000000",
        upload.display()
    );
    let mut tries = (0..10).map(|_| {
        let got = stage.client(&line).text();
        assert!(got.starts_with("foursix(1)") && got.contains(&format!("(1){} ", stage.origin.big.len())), "{got}");
        (got, gateway.session_line())
    });
    // the proxy does not say that it closes: a request that meets its end, and may not be sent twice, ends the client's
    // connection, and curl makes another
    let met = |line: &SessionLine| line.get("end") == Some("hangup") && line.get("requests") == Some("2");
    let (got, line) = tries
        .find(|(_, line)| {
            if met(line) {
                gateway.session_line().expect("end=done requests=3");
            }
            !met(line)
        })
        .expect("one of ten");
    assert_eq!(got.matches("(0)").count(), 3, "{got}");
    line.expect("end=done requests=4");
    proxy.wait_for("GET http://tell.bench.example:8080/chunked HTTP/1.1");
    stage.fetch("https://www.bench.example");
    gateway.session_line().expect("end=done status=200");
}
