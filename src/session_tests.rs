//! What a client is told, and which scanners run.

use super::*;
use crate::close::Stage;
use crate::config::Command;
use crate::wire::answer::Page;

fn config(line: &str) -> Config {
    match Command::parse(line.split(' ').map(str::to_owned)) {
        Ok(Command::Run(config)) => *config,
        other => panic!("{line}: {other:?}"),
    }
}

fn failure(end: End, status: Option<u16>, unresolved: bool) -> Failure {
    let page = Some(Page { html: false, charset: None, body: b"its page".to_vec() });
    let mut failure = Failure::new(Close::because(end, By::Upstream, "why"));
    (failure.status, failure.page, failure.unresolved) = (status, page, unresolved);
    failure
}

fn told(protocol: Protocol, failure: &Failure) -> Option<Vec<u8>> {
    let target = Target::Addr("203.0.113.9:443".parse().expect("an address"));
    news(protocol, b"GET / HTTP/1.1\r\n\r\n", failure, &target)
}

#[test]
fn tls_clients_are_told_by_an_alert_that_fits() {
    for (status, unresolved, wanted) in [
        (Some(403), false, 49),
        (Some(407), false, 49),
        (Some(503), true, 112),
        (Some(503), false, 80),
        (None, false, 80),
    ] {
        let news = told(Protocol::Tls, &failure(End::Refused, status, unresolved)).expect("an alert");
        assert_eq!(news, [0x15, 3, 3, 0, 2, 2, wanted]);
    }
}

#[test]
fn http_clients_are_told_by_a_status_that_fits() {
    for (end, status, wanted) in [
        (End::Refused, Some(403), "502"),
        (End::Refused, Some(503), "503"),
        (End::Refused, Some(504), "504"),
        (End::Timeout, None, "504"),
        (End::Dial, None, "502"),
        (End::Hangup, None, "502"),
        (End::Resolve, None, "503"),
        (End::Error, None, "503"),
    ] {
        let news = told(Protocol::Http, &failure(end, status, false)).expect("an answer");
        let news = String::from_utf8(news).expect("text");
        assert!(news.starts_with(&format!("HTTP/1.1 {wanted} ")), "{end}: {news}");
        assert!(news.contains("203.0.113.9:443") && news.ends_with("why\n\nits page"), "{news}");
    }
}

#[test]
fn others_are_told_nothing_that_they_could_take_for_the_origins_bytes() {
    assert_eq!(told(Protocol::Unknown, &failure(End::Refused, Some(403), false)), None);
}

#[test]
fn ports_decide_which_scanners_run() {
    let at = |config: &Config, port| race(config, SocketAddr::from(([203, 0, 113, 9], port))).map(|(race, _)| race);
    let off = config("-local-port 1");
    assert_eq!(at(&off, 443), None);
    let on = config("-sniff-timeout 1s -sniff-http-ports 80,443 -sniff-tls-ports 443 -server-first-ports 25,443");
    assert_eq!(at(&on, 80), Some(Race { http: true, tls: false }));
    assert_eq!(at(&on, 443), None);
    assert_eq!(at(&on, 8080), None);
    let all = config("-sniff-timeout 1s");
    assert_eq!(at(&all, 8080), Some(Race { http: true, tls: true }));
    assert_eq!(at(&all, 25), None);
}

#[tokio::test]
async fn every_session_is_reported_once_however_it_ends() {
    let gateway = Arc::new(Gateway::new(Setup::new(config("-local-port 1"), None).expect("sound")));
    let seats = Arc::new(tokio::sync::Semaphore::new(3));
    let report = || {
        let seat = seats.clone().try_acquire_owned().expect("a free seat");
        Report::new(gateway.clone(), Flow::new("192.0.2.1:1".parse().expect("an address")), seat)
    };
    let mut done = report();
    done.flow.stage = Stage::Relay;
    done.close(Close::new(End::Done, By::Client));
    drop(report());
    let panicking = report();
    let _ = tokio::spawn(async move {
        let _held = panicking;
        panic!("as asked");
    })
    .await;
    for end in End::ALL {
        let wanted = u64::from(matches!(end, End::Done | End::Drained | End::Panic));
        assert_eq!(gateway.stats.ended(end), wanted, "{end}");
    }
    assert_eq!(gateway.stats.opened(), 3);
    assert_eq!(seats.available_permits(), 3);
}

#[tokio::test]
async fn an_open_tunnel_holds_little_memory() {
    let gateway = Arc::new(Gateway::new(Setup::new(config("-local-port 1"), None).expect("sound")));
    let seat = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().expect("a free seat");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listening");
    let again = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listening");
    let mut report = Report::new(gateway, Flow::new("192.0.2.1:1".parse().expect("an address")), seat);
    let size = std::mem::size_of_val(&open(again, &mut report));
    assert!(size <= 6 * 1024, "{size} bytes for each that is being opened");
    let size = std::mem::size_of_val(&live(client, report));
    assert!(size <= 672, "{size} bytes for each tunnel");
}
