//! haproxy between the gateway and squid, closing what says nothing for some seconds.

use std::net::SocketAddr;

use crate::lab::support::eventually;
use crate::world::origin::Telling;
use crate::world::schemes;
use crate::world::squid::Squid;
use crate::world::stage::{Stage, count, session};
use crate::world::{V4, program::Service};

const REQUEST: &str = "GET /page.html HTTP/1.1\r\nHost: www.bench.example\r\nConnection: close\r\n\r\n";

fn haproxy(stage: &Stage) -> Service {
    let root = stage.scratch().root();
    stage.scratch().write("haproxy.cfg", HAPROXY);
    let service = stage.beyond(&format!("haproxy -db -f {root}/haproxy.cfg")).serve("");
    stage.listens("10.2.0.2:3130");
    service
}

/// A client that says nothing until haproxy has closed the connection that waits for it, and then wants its page.
fn slow_client(stage: &Stage, haproxy: &Service) {
    let mut client = stage.net.client.connect(SocketAddr::new(V4, 80));
    haproxy.wait_for("idle cD");
    client.send(REQUEST);
    let (answer, _) = client.receive_all();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("script src=/app.js"), "{answer}");
}

#[test]
fn a_connection_that_died_while_it_waited_costs_the_client_nothing() {
    let stage = Stage::redirected();
    let haproxy = haproxy(&stage);
    let squid = Squid::start(&stage, "squid", "http_port 3128\nhttp_access allow all");
    let gateway = stage.gateway("upstream-proxy = '10.2.0.2:3130'");
    slow_client(&stage, &haproxy);
    session(&gateway, "www.bench.example:80").expect("end=done status=200");
    squid.saw("200 CONNECT www.bench.example:80");
    assert_eq!(count(&gateway, " is down: "), 0, "the proxy is not to blame");
}

#[test]
fn nor_does_it_with_credentials_that_belong_to_a_connection() {
    let stage = Stage::redirected();
    let haproxy = haproxy(&stage);
    let squid = schemes::ntlm(&stage);
    let gateway = stage.gateway(
        r"[upstream.corp]
         proxy = '10.2.0.2:3130'
         auth = 'ntlm'
         user = 'BENCH\ada'
         password = 'geheim-ada'",
    );
    slow_client(&stage, &haproxy);
    session(&gateway, "www.bench.example:80").expect("end=done status=200");
    squid.requests_in_all(2);
    assert_eq!(count(&gateway, " is down: ") + count(&gateway, "credentials refused"), 0);
}

#[test]
fn a_connection_that_the_proxy_ended_between_requests_is_replaced() {
    let stage = Stage::redirected();
    let telling = Telling::start(&stage);
    let squid =
        Squid::start(&stage, "squid", "http_port 3128\nhttp_access allow all\nclient_idle_pconn_timeout 1 second");
    let gateway = stage.gateway("upstream-proxy = '10.2.0.2:3128'\nplain-http = 'relay'");
    let mut client = stage.net.client.connect(SocketAddr::new(V4, 8080));
    client.send("GET /204 HTTP/1.1\r\nHost: tell.bench.example:8080\r\n\r\n");
    client.receive_through(b"\r\n\r\n");
    eventually(|| {
        let open = stage.net.gateway.run("ss -Htn state established dst 10.2.0.2");
        if open.is_empty() { Ok(()) } else { Err(open) }
    });
    // a request that must not be sent twice
    client.send(
        "POST /hash HTTP/1.1\r\nHost: tell.bench.example:8080\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    );
    let (answer, _) = client.receive_all();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("3 ba7816bf"), "{answer}");
    gateway.session_line().expect("end=done requests=2");
    assert_eq!(squid.requests_in_all(2)[1].method, "POST");
    telling.was_asked("POST /hash", 1);
}

const HAPROXY: &str = "\
global
  log stdout format raw local0
defaults
  mode tcp
  log global
  log-format \"idle %ts\"
  timeout connect 30s
  timeout client 4s
  timeout server 4s
listen proxy
  bind 10.2.0.2:3130
  server squid 10.2.0.2:3128
";
