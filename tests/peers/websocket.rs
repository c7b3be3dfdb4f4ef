//! A WebSocket through relay: squid is asked to upgrade, and what follows is a tunnel.

use crate::world::program::PYTHON;
use crate::world::squid::Squid;
use crate::world::stage::Stage;
use crate::world::upstream::tinyproxy;
use crate::world::{V4, assert_same, schemes};

const URL: &str = "ws://tell.bench.example:8081/";

#[test]
fn messages_pass_in_both_directions() {
    let stage = Stage::redirected();
    let upgrades = "http_upgrade_request_protocols websocket allow all";
    let squid = Squid::start(&stage, "squid", &format!("http_port 3128\nhttp_access allow all\n{upgrades}"));
    let _echo = stage.beyond(&format!("{PYTHON}/websocket_echo.py {V4} 8081")).serve("listening");
    for plain_http in ["relay", "connect"] {
        let gateway = stage.gateway(&format!("upstream-proxy = '10.2.0.2:3128'\nplain-http = '{plain_http}'"));
        let told = stage.client(&format!("{PYTHON}/websocket_client.py {URL}")).text();
        assert_eq!(told, "four messages and a pong came back, closed with 1000\n");
        let line = gateway.session_line();
        line.expect("end=done name=tell.bench.example");
        assert!(line.number("up") > 3e6 && line.number("down") > 3e6, "{line:?}");
    }
    let methods: Vec<String> = squid.requests_in_all(2).into_iter().map(|r| r.method + " " + &r.status).collect();
    assert_eq!(methods, ["GET 101", "CONNECT 200"]);
}

#[test]
fn an_upgrade_waits_for_credentials_like_any_request() {
    let stage = Stage::redirected();
    let squid = schemes::ntlm(&stage);
    let _echo = stage.beyond(&format!("{PYTHON}/websocket_echo.py {V4} 8081")).serve("listening");
    let gateway = stage.gateway(
        r"[upstream.corp]
         proxy = '10.2.0.2:3128'
         plain-http = 'relay'
         auth = 'ntlm'
         user = 'BENCH\ada'
         password = 'geheim-ada'",
    );
    let told = stage.client(&format!("{PYTHON}/websocket_client.py {URL}")).text();
    assert!(told.starts_with("four messages and a pong came back"), "{told}");
    gateway.session_line().expect("end=done name=tell.bench.example");
    let statuses: Vec<String> = squid.requests_in_all(2).into_iter().map(|r| r.status).collect();
    assert_eq!(statuses, ["407", "101"]);
}

#[test]
fn a_proxy_that_cannot_upgrade_gives_an_answer_and_no_silence() {
    let stage = Stage::redirected();
    let _proxy = tinyproxy(&stage, "");
    let _echo = stage.beyond(&format!("{PYTHON}/websocket_echo.py {V4} 8081")).serve("listening");
    let gateway = stage.gateway("upstream-proxy = '10.2.0.2:8888'\nplain-http = 'relay'");
    let outcome = stage.client(&format!("{PYTHON}/websocket_client.py {URL}")).outcome();
    assert!(
        !outcome.status.success() && outcome.err.contains("server rejected WebSocket connection"),
        "{}",
        outcome.err
    );
    gateway.session_line().expect("end=done requests=1");
    let page = stage.client("curl -sSf http://www.bench.example/page.html").run();
    assert_same(&page, stage.origin.page(), "the page");
}
