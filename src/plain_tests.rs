//! A client, the relay, and a proxy played by the test, over loopback.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::auth::Account;
use crate::config::{Command, Config, Credentials, Scheme, Secret, UpstreamHost};
use crate::sys::socket;
use crate::upstream::Retries;

/// What a session would hand over.
struct Setup {
    prefix: &'static str,
    ended: bool,
    by_name: bool,
    idle: Option<Duration>,
    scheme: Option<Scheme>,
    /// The client's connection holds little.
    narrow: bool,
}

const PLAIN: Setup = Setup { prefix: "", ended: false, by_name: true, idle: None, scheme: None, narrow: false };
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const HOST: &str = "Host: a.example\r\n";
const VIA: &str = "Via: 1.1 handyproxy\r\n";

/// Between a client and a proxy.
struct Rig {
    client: TcpStream,
    proxy: TcpStream,
    listener: TcpListener,
    served: JoinHandle<(Outcome, Flow)>,
}

impl Rig {
    async fn new(setup: Setup) -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        let config = config(&format!("-upstream-proxy {addr}"));
        let upstream = Upstream::new(&config.upstreams[0], &config).expect("sound");
        let mut link = upstream.dial(&Retries::default()).await.expect("it listens");
        let (proxy, _) = listener.accept().await.expect("dialled");
        if let Some(scheme) = setup.scheme {
            let password = Some(Secret::new("pw".to_owned()));
            let who = Credentials { user: "user".to_owned(), password, keytab: None };
            let account = Arc::new(Account::new("test", &[scheme], &who));
            link.conversation = account.begin(&UpstreamHost::Ip(addr.ip()), "proxy").await.ok();
        }
        let door = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let client = TcpStream::connect(door.local_addr().expect("bound")).await.expect("it listens");
        let (inner, from) = door.accept().await.expect("connected");
        if setup.narrow {
            socket2::SockRef::from(&client).set_recv_buffer_size(1).expect("a socket");
            socket2::SockRef::from(&inner).set_send_buffer_size(1).expect("a socket");
        }
        let served = tokio::spawn(async move {
            let mut flow = Flow::new(from);
            let accepts = |host: Option<&Host>| host.is_none_or(|host| !host.as_str().starts_with("other"));
            let way = Way {
                upstream: &upstream,
                link,
                origin: SocketAddr::from(([203, 0, 113, 9], 80)),
                by_name: setup.by_name,
                accepts: &accepts,
                limits: relay::Limits { idle: setup.idle, half_closed: setup.idle },
                dial_timeout: Duration::from_secs(30),
            };
            let outcome =
                exchange(Client::new(inner, None), setup.prefix.as_bytes().to_vec(), setup.ended, way, &mut flow).await;
            (outcome, flow)
        });
        Rig { client, proxy, listener, served }
    }

    async fn ask(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.expect("the client is served");
    }

    async fn answer(&mut self, text: &str) {
        self.proxy.write_all(text.as_bytes()).await.expect("the proxy is read");
    }

    async fn asked(&mut self, text: &str) {
        expect(&mut self.proxy, text).await;
    }

    async fn answered(&mut self, text: &str) {
        expect(&mut self.client, text).await;
    }

    /// A further connection to the proxy.
    async fn redialled(&mut self) {
        let dialled = tokio::time::timeout(Duration::from_secs(30), self.listener.accept()).await;
        self.proxy = dialled.expect("dialled again").expect("loopback").0;
    }

    /// The proxy's connection ends without another byte.
    async fn hears_nothing(&mut self) {
        let mut heard = Vec::new();
        let _ = self.proxy.read_to_end(&mut heard).await;
        assert_eq!(String::from_utf8_lossy(&heard), "");
    }

    /// What the client reads to its end.
    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        let reading = self.client.read_to_string(&mut rest);
        tokio::time::timeout(Duration::from_secs(30), reading).await.expect("an end").expect("no reset");
        rest
    }

    async fn close(self) -> (Close, Flow) {
        drop((self.client, self.proxy));
        match self.served.await.expect("no panic") {
            (Outcome::Ended(close), flow) => (close, flow),
            (switched, _) => panic!("{switched:?}"),
        }
    }
}

fn config(line: &str) -> Config {
    match Command::parse(line.split(' ').map(str::to_owned)) {
        Ok(Command::Run(config)) => *config,
        other => panic!("{line}: {other:?}"),
    }
}

async fn expect(stream: &mut TcpStream, text: &str) {
    let mut bytes = Vec::new();
    let wanted = text.len() as u64;
    let mut part = stream.take(wanted);
    let reading = part.read_to_end(&mut bytes);
    match tokio::time::timeout(Duration::from_secs(30), reading).await {
        Ok(read) => _ = read.expect("no reset"),
        Err(_) => panic!("nothing more than {:?} came, not {text:?}", bytes.escape_ascii().to_string()),
    }
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

fn get(path: &str, host: &str) -> String {
    format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n{VIA}\r\n")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len())
}

#[tokio::test]
async fn requests_of_one_connection_go_each_to_its_own_host_over_one_connection() {
    let mut rig = Rig::new(Setup { prefix: "GET /1 HTTP/1.1\r\nHost: a.ex", ..PLAIN }).await;
    rig.ask("ample\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: b.example\r\n\r\nGET /3 HTTP").await;
    for (path, host, body) in [("/1", "a.example", "one"), ("/2", "b.example", "two")] {
        rig.asked(&get(path, host)).await;
        rig.answer(&format!("{}\r\n{body}", ok(body))).await;
        rig.answered(&format!("{}{VIA}\r\n{body}", ok(body))).await;
    }
    rig.ask("/1.1\r\nHost: a.example\r\n\r\n").await;
    rig.asked(&get("/3", "a.example")).await;
    rig.answer(&format!("{}\r\n", ok(""))).await;
    rig.answered(&format!("{}{VIA}\r\n", ok(""))).await;
    let (close, flow) = rig.close().await;
    assert_eq!((close, flow.requests, flow.status), (Close::new(End::Done, By::Client), 3, Some(200)));
    assert_eq!(flow.up as usize, get("/1", "a.example").len() * 3);
    assert_eq!(flow.down as usize, (ok("one").len() + VIA.len() + 2) * 3 + 6);
}

#[tokio::test]
async fn every_cut_of_two_requests_and_answers_is_the_same() {
    let asks = format!(
        "POST /1 HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nSum: 1\r\nTE: x\r\n\r\n\
         PUT /2 HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello"
    );
    let chunks = "3;x=y\r\nabc\r\n0\r\nSum: 1\r\n\r\n";
    let asked = format!(
        "POST http://a.example/1 HTTP/1.1\r\n{HOST}{VIA}Transfer-Encoding: chunked\r\n\r\n{chunks}\
         PUT http://a.example/2 HTTP/1.1\r\n{HOST}{VIA}Content-Length: 5\r\n\r\nhello"
    );
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let answered = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{VIA}\r\n1\r\nx\r\n0\r\n\r\n");
    let first = asked.find("PUT").expect("the second");
    for size in [1, 2, 3, 7, 50, 1000] {
        let mut rig = Rig::new(PLAIN).await;
        for (part, whole) in [(&asked[..first], true), (&asked[first..], false)] {
            if whole {
                for piece in asks.as_bytes().chunks(size) {
                    rig.client.write_all(piece).await.expect("served");
                    tokio::task::yield_now().await;
                }
            }
            rig.asked(part).await;
            for piece in answer.as_bytes().chunks(size) {
                rig.proxy.write_all(piece).await.expect("read");
                tokio::task::yield_now().await;
            }
            rig.answered(&answered).await;
        }
        assert_eq!(rig.close().await.1.requests, 2, "{size}");
    }
}

#[tokio::test]
async fn an_answer_that_overtakes_its_request_is_passed_on_and_is_the_last() {
    let mut rig = Rig::new(PLAIN).await;
    rig.ask(&format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 500000\r\n\r\nbegin")).await;
    rig.asked(&format!("POST http://a.example/ HTTP/1.1\r\n{HOST}{VIA}Content-Length: 500000\r\n\r\nbegin")).await;
    rig.answer("HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig").await;
    rig.answered(&format!("HTTP/1.1 413 No\r\nContent-Length: 3\r\nConnection: close\r\n{VIA}\r\nbig")).await;
    rig.ask("more").await;
    assert_eq!(rig.rest().await, "");
    assert_eq!(rig.close().await.0.end, End::Done);
}

#[tokio::test]
async fn interim_answers_reach_a_client_that_knows_them() {
    let mut rig = Rig::new(PLAIN).await;
    rig.ask(&format!("POST / HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")).await;
    rig.asked(&format!(
        "POST http://a.example/ HTTP/1.1\r\n{HOST}{VIA}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    ))
    .await;
    rig.answer("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").await;
    rig.answered("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").await;
    rig.ask("hi").await;
    rig.asked("hi").await;
    rig.answer(&format!("{}\r\n", ok(""))).await;
    rig.answered(&format!("{}{VIA}\r\n", ok(""))).await;

    rig.ask("POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi").await;
    rig.asked(
        "POST http://203.0.113.9/ HTTP/1.1\r\nHost: 203.0.113.9\r\nVia: 1.0 handyproxy\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
    )
    .await;
    rig.answer(&format!("HTTP/1.1 100 Continue\r\n\r\n{}\r\n", ok(""))).await;
    rig.answered(&format!("{}Connection: close\r\n{VIA}\r\n", ok(""))).await;
    assert_eq!(rig.rest().await, "");
}

#[tokio::test]
async fn answers_without_a_body_are_followed_by_the_next() {
    let mut rig = Rig::new(PLAIN).await;
    for (method, status) in [("HEAD", 200), ("GET", 304), ("DELETE", 204)] {
        rig.ask(&format!("{method} / HTTP/1.1\r\n{HOST}\r\n")).await;
        rig.asked(&format!("{method} http://a.example/ HTTP/1.1\r\n{HOST}{VIA}\r\n")).await;
        rig.answer(&format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n")).await;
        let length = if status == 204 { "" } else { "Content-Length: 5\r\n" };
        rig.answered(&format!("HTTP/1.1 {status} X\r\n{length}{VIA}\r\n")).await;
    }
    assert_eq!(rig.close().await.1.requests, 3);
}

#[tokio::test]
async fn an_old_client_gets_no_chunks_and_may_keep_its_connection() {
    let mut rig = Rig::new(PLAIN).await;
    let old = "GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n";
    let asked = format!("GET http://a.example/ HTTP/1.1\r\n{HOST}Via: 1.0 handyproxy\r\n\r\n");
    rig.ask(old).await;
    rig.asked(&asked).await;
    rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
    rig.answered(&format!("{}Connection: keep-alive\r\n{VIA}\r\nhi", ok("hi"))).await;
    rig.ask(old).await;
    rig.asked(&asked).await;
    rig.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\nSum: 1\r\n\r\n")
        .await;
    assert_eq!(rig.rest().await, format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{VIA}\r\nhello"));
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_ends_both_and_is_never_torn_silently() {
    let mut rig = Rig::new(PLAIN).await;
    rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
    rig.asked(&get("/", "a.example")).await;
    rig.answer("HTTP/1.1 200 OK\r\n\r\nall of it").await;
    rig.proxy.shutdown().await.expect("open");
    assert_eq!(rig.rest().await, format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{VIA}\r\nall of it"));

    for (head, reset) in [("", true), ("Content-Length: 50\r\n", false), ("Transfer-Encoding: chunked\r\n", false)] {
        let mut rig = Rig::new(PLAIN).await;
        rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
        rig.asked(&get("/", "a.example")).await;
        rig.answer(&format!("HTTP/1.1 200 OK\r\n{head}\r\n5\r\n")).await;
        rig.answered("HTTP/1.1 200").await;
        // the body is on its way, too
        tokio::time::sleep(Duration::from_millis(20)).await;
        if reset {
            socket::abort_on_close(&rig.proxy);
        }
        let Rig { mut client, proxy, served, .. } = rig;
        drop(proxy);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect_err("a reset");
        let (Outcome::Ended(close), _) = served.await.expect("no panic") else { panic!("not switched") };
        assert_eq!((close.end, close.by), (End::Hangup, By::Upstream), "{head}");
    }
}

#[tokio::test]
async fn a_stop_within_an_answer_that_ends_with_the_connection_is_a_reset() {
    let mut rig = Rig::new(PLAIN).await;
    rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
    rig.asked(&get("/", "a.example")).await;
    rig.answer("HTTP/1.1 200 OK\r\n\r\npart").await;
    rig.answered(&format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{VIA}\r\npart")).await;
    rig.served.abort();
    rig.client.read(&mut [0]).await.expect_err("a reset");
}

#[tokio::test]
async fn a_switch_hands_both_connections_over_with_what_came_early() {
    let mut rig = Rig::new(PLAIN).await;
    rig.ask(&format!("GET /ws HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nup early")).await;
    rig.asked(&format!(
        "GET http://a.example/ws HTTP/1.1\r\n{HOST}Upgrade: websocket\r\nConnection: Upgrade\r\n{VIA}\r\n"
    ))
    .await;
    rig.answer("HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\ndown early").await;
    let (Outcome::Switched { early_up, ended, early_down, .. }, _) = rig.served.await.expect("no panic") else {
        panic!("not switched")
    };
    assert_eq!((early_up.as_slice(), ended), (&b"up early"[..], false));
    let head = "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&early_down), format!("{head}down early"));
}

#[tokio::test]
async fn a_switch_that_nobody_wanted_is_a_bad_answer() {
    let mut rig = Rig::new(PLAIN).await;
    rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
    rig.asked(&get("/", "a.example")).await;
    rig.answer("HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n").await;
    assert!(rig.rest().await.starts_with("HTTP/1.1 502 "));
    assert_eq!(rig.close().await.0.end, End::BadReply);
}

#[tokio::test]
async fn a_client_that_ends_its_side_gets_its_answers() {
    let mut rig = Rig::new(PLAIN).await;
    let ask = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    rig.ask(&format!("{ask}{ask}")).await;
    rig.client.shutdown().await.expect("open");
    for _ in 0..2 {
        rig.asked(&get("/", "a.example")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
        rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
    }
    assert_eq!(rig.rest().await, "");
    assert_eq!(rig.close().await.0, Close::new(End::Done, By::Client));
}

/// One request and answer.
async fn round(rig: &mut Rig, method: &str, redialled: bool, more: &str) {
    rig.ask(&format!("{method} / HTTP/1.1\r\n{HOST}\r\n")).await;
    if redialled {
        rig.redialled().await;
    }
    rig.asked(&format!("{method} http://a.example/ HTTP/1.1\r\n{HOST}{VIA}\r\n")).await;
    rig.answer(&format!("{}{more}\r\nhi", ok("hi"))).await;
    rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
}

#[tokio::test]
async fn a_connection_that_the_proxy_closes_between_requests_is_replaced() {
    let mut rig = Rig::new(PLAIN).await;
    round(&mut rig, "GET", false, "Connection: close\r\n").await;
    round(&mut rig, "POST", true, "").await;
    rig.proxy.shutdown().await.expect("open");
    // seen while the client is idle
    let mut end = [0];
    assert_eq!(rig.proxy.read(&mut end).await.expect("closed as well"), 0);
    round(&mut rig, "POST", true, "").await;
    assert_eq!(rig.close().await.0.end, End::Done);
}

#[tokio::test]
async fn the_last_request_lets_the_proxy_close_first() {
    let mut rig = Rig::new(PLAIN).await;
    rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n")).await;
    rig.asked(&format!("GET http://a.example/ HTTP/1.1\r\n{HOST}{VIA}Connection: close\r\n\r\n")).await;
    rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
    assert_eq!(rig.rest().await, format!("{}Connection: close\r\n{VIA}\r\nhi", ok("hi")));
    let early = tokio::time::timeout(Duration::from_millis(50), rig.proxy.read(&mut [0])).await;
    early.expect_err("still open");
    drop(rig.client);
    assert_eq!(rig.proxy.read(&mut [0]).await.expect("an end"), 0);
}

#[tokio::test]
async fn a_request_that_finds_its_connection_dead_is_repeated_if_it_may_be() {
    for (ask, asked) in [
        (format!("GET / HTTP/1.1\r\n{HOST}\r\n"), get("/", "a.example")),
        (
            format!("PUT / HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\nhi"),
            format!("PUT http://a.example/ HTTP/1.1\r\n{HOST}{VIA}Content-Length: 2\r\n\r\nhi"),
        ),
    ] {
        let mut rig = Rig::new(PLAIN).await;
        round(&mut rig, "GET", false, "").await;
        rig.ask(&ask).await;
        rig.asked(&asked).await;
        // a new connection must not be dialled before this one is dead
        rig.proxy.shutdown().await.expect("open");
        rig.redialled().await;
        rig.asked(&asked).await;
        rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
        rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
        // once and not again
        rig.ask(&ask).await;
        rig.asked(&asked).await;
        rig.proxy.shutdown().await.expect("open");
        rig.redialled().await;
        rig.asked(&asked).await;
        rig.proxy.shutdown().await.expect("open");
        assert!(rig.rest().await.starts_with("HTTP/1.1 502 "));
        assert_eq!(rig.close().await.0.end, End::Hangup);
    }
    let mut rig = Rig::new(PLAIN).await;
    round(&mut rig, "GET", false, "").await;
    rig.ask(&format!("POST / HTTP/1.1\r\n{HOST}\r\n")).await;
    rig.asked(&format!("POST http://a.example/ HTTP/1.1\r\n{HOST}{VIA}\r\n")).await;
    rig.proxy.shutdown().await.expect("open");
    assert_eq!(rig.rest().await, "");
    let (close, flow) = rig.close().await;
    assert_eq!((close.end, close.by, flow.requests), (End::Hangup, By::Upstream, 2));
}

#[tokio::test]
async fn a_request_that_leads_another_way_is_left_to_a_new_connection() {
    let mut rig = Rig::new(PLAIN).await;
    round(&mut rig, "GET", false, "").await;
    rig.ask("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n").await;
    assert_eq!(rig.rest().await, "");
    rig.hears_nothing().await;
    let (close, flow) = rig.close().await;
    assert_eq!((close.end, close.by, flow.requests), (End::Done, By::Us, 1));
}

#[tokio::test]
async fn a_name_that_may_not_be_used_is_not() {
    let by_addr = "GET http://203.0.113.9/ HTTP/1.1\r\nHost: 203.0.113.9\r\nVia: 1.1 handyproxy\r\n\r\n";
    let mut rig = Rig::new(Setup { by_name: false, ..PLAIN }).await;
    rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
    rig.asked(by_addr).await;
    // nobody sniffed this one, and it leads elsewhere
    let mut rig = Rig::new(PLAIN).await;
    rig.ask("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n").await;
    rig.asked(by_addr).await;
}

#[tokio::test]
async fn a_bad_request_gets_a_page_and_goes_nowhere() {
    let long = format!("GET / HTTP/1.1\r\n{HOST}X: {}", "y".repeat(70_000));
    for (ask, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: a.example\r\nExpect: x\r\n\r\n", 417),
        (&long, 431),
    ] {
        let mut rig = Rig::new(PLAIN).await;
        rig.ask(ask).await;
        rig.client.shutdown().await.expect("open");
        let page = rig.rest().await;
        assert!(page.starts_with(&format!("HTTP/1.1 {status} ")) && page.contains("Connection: close"), "{page}");
        rig.hears_nothing().await;
        let (close, flow) = rig.close().await;
        assert_eq!((close.end, close.by, flow.requests, flow.up), (End::BadRequest, By::Client, 0, 0));
    }
    let mut rig = Rig::new(PLAIN).await;
    rig.ask("GET / HT").await;
    rig.client.shutdown().await.expect("open");
    assert!(rig.rest().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_body_that_is_no_chunks_resets_the_proxy_before_it_is_sent() {
    let mut rig = Rig::new(PLAIN).await;
    rig.ask(&format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0x\r\n\r\n")).await;
    assert!(rig.rest().await.starts_with("HTTP/1.1 400 "));
    let mut got = Vec::new();
    rig.proxy.read_to_end(&mut got).await.expect_err("a reset");
    assert!(!got.ends_with(b"0x\r\n\r\n"));
    assert_eq!(rig.close().await.0.end, End::BadRequest);
}

#[tokio::test]
async fn bodies_without_end_stream_both_ways_at_once() {
    let mut rig = Rig::new(PLAIN).await;
    let size = 3_000_000;
    rig.ask(&format!("POST / HTTP/1.1\r\n{HOST}Content-Length: {size}\r\n\r\n")).await;
    rig.asked(&format!("POST http://a.example/ HTTP/1.1\r\n{HOST}{VIA}Content-Length: {size}\r\n\r\n")).await;
    rig.answer(&format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")).await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n{VIA}\r\n");
    rig.answered(&head).await;
    let body: Vec<u8> = (0..size).map(|n: u32| (n % 251) as u8).collect();
    let Rig { client, proxy, served, .. } = rig;
    // what the proxy gets is what it answers
    let echo = tokio::spawn(async move {
        let (mut read, mut write) = proxy.into_split();
        tokio::io::copy(&mut read, &mut write).await
    });
    let (mut read, mut write) = client.into_split();
    let given = body.clone();
    let upload = tokio::spawn(async move {
        write.write_all(&given).await.expect("served");
        write
    });
    let mut got = Vec::new();
    read.read_to_end(&mut got).await.expect("no reset");
    assert!(got == body);
    drop((upload.await.expect("no panic"), read));
    let (_, flow) = served.await.expect("no panic");
    assert_eq!(flow.down as usize, got.len() + head.len());
    echo.abort();
}

#[tokio::test]
async fn a_client_that_breaks_frees_the_proxy_at_once() {
    let mut rig = Rig::new(PLAIN).await;
    rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
    rig.asked(&get("/", "a.example")).await;
    socket::abort_on_close(&rig.client);
    drop(rig.client);
    rig.proxy.read(&mut [0]).await.expect_err("a reset");
    let (Outcome::Ended(close), _) = rig.served.await.expect("no panic") else { panic!("not switched") };
    assert_eq!((close.end, close.by), (End::Reset, By::Client));
}

#[tokio::test]
async fn a_proxy_that_does_not_answer_is_told_of_by_a_page() {
    for (answer, end) in [
        ("", End::Hangup),
        ("HTTP/1.1 2", End::Hangup),
        ("SSH-2.0\r\n", End::BadReply),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", End::BadReply),
    ] {
        let mut rig = Rig::new(PLAIN).await;
        // not to be repeated
        rig.ask(&format!("POST / HTTP/1.1\r\n{HOST}\r\n")).await;
        rig.asked(&format!("POST http://a.example/ HTTP/1.1\r\n{HOST}{VIA}\r\n")).await;
        rig.answer(answer).await;
        rig.proxy.shutdown().await.expect("open");
        let page = rig.rest().await;
        assert!(page.starts_with("HTTP/1.1 502 "), "{answer:?}: {page}");
        assert_eq!(rig.close().await.0.end, end);
    }
}

#[tokio::test]
async fn silence_ends_at_its_limit() {
    let short = || Setup { idle: Some(Duration::from_millis(100)), ..PLAIN };
    let mut rig = Rig::new(short()).await;
    round(&mut rig, "GET", false, "").await;
    assert_eq!(rig.rest().await, "");
    assert_eq!(rig.close().await.0, Close::new(End::Idle, By::Us));

    let mut rig = Rig::new(short()).await;
    rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
    assert!(rig.rest().await.starts_with("HTTP/1.1 504 "));
    assert_eq!(rig.close().await.0, Close::new(End::Idle, By::Us));
}

/// `Proxy-Connection` and `Proxy-Authorization` of the request that the proxy reads next, and the rest of it.
async fn request(proxy: &mut TcpStream) -> (Option<String>, String) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(proxy.read_u8().await.expect("a request"));
    }
    let text = String::from_utf8(bytes).expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: ")).map(str::to_owned);
    assert!(text.contains("\r\nProxy-Connection: Keep-Alive\r\n"), "{text}");
    let rest = text.lines().filter(|line| !line.starts_with("Proxy-")).collect::<Vec<_>>().join("\n");
    (value, rest)
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn credentials_go_with_each_request_and_the_client_never_knows() {
    let mut rig = Rig::new(Setup { scheme: Some(Scheme::Basic), ..PLAIN }).await;
    for _ in 0..2 {
        rig.ask(POST).await;
        let (value, rest) = request(&mut rig.proxy).await;
        assert_eq!(value.as_deref(), Some("Basic dXNlcjpwdw=="));
        assert!(rest.contains("Content-Length: 5"), "{rest}");
        rig.asked("hello").await;
        rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
        rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
    }
    assert_eq!(rig.close().await.1.requests, 2);
}

/// A type 2 message of a server named X.
fn type_2() -> String {
    use base64::Engine;
    let info = [&[2, 0, 2, 0, b'X', 0][..], &[0; 4]].concat();
    let name = [b'X', 0];
    let (name_at, info_at) = (56u32, 58u32);
    let mut bytes = b"NTLMSSP\0\x02\0\0\0".to_vec();
    bytes.extend([2, 0, 2, 0]);
    bytes.extend(name_at.to_le_bytes());
    bytes.extend(0xa288_8205_u32.to_le_bytes());
    bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    bytes.extend([0; 8]);
    bytes.extend([info.len() as u8, 0, info.len() as u8, 0]);
    bytes.extend(info_at.to_le_bytes());
    bytes.extend([10, 0, 0, 0, 0, 0, 0, 15]);
    bytes.extend(name);
    bytes.extend(info);
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn a_scheme_of_several_legs_sends_the_body_with_the_last() {
    let mut rig = Rig::new(Setup { scheme: Some(Scheme::Ntlm), ..PLAIN }).await;
    rig.ask(CHUNKED).await;
    let (value, rest) = request(&mut rig.proxy).await;
    assert!(value.expect("type 1").starts_with("NTLM "));
    assert!(rest.contains("Content-Length: 0"), "{rest}");
    rig.answer(&format!("HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM {}\r\nContent-Length: 6\r\n\r\nsecret", type_2()))
        .await;
    let (value, rest) = request(&mut rig.proxy).await;
    assert!(value.expect("type 3").starts_with("NTLM "));
    assert!(rest.contains("Transfer-Encoding: chunked"), "{rest}");
    rig.asked("5\r\nhello\r\n0\r\n\r\n").await;
    rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
    rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
    // the connection is known now
    rig.ask(POST).await;
    let (value, rest) = request(&mut rig.proxy).await;
    assert_eq!(value, None);
    assert!(rest.contains("Content-Length: 5"), "{rest}");
    rig.asked("hello").await;
    rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
    rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
    assert_eq!(rig.close().await.1.requests, 2);
}

#[tokio::test]
async fn an_empty_leg_that_is_let_in_is_followed_by_the_request() {
    let mut rig = Rig::new(Setup { scheme: Some(Scheme::Ntlm), ..PLAIN }).await;
    rig.ask(CHUNKED).await;
    assert!(request(&mut rig.proxy).await.1.contains("Content-Length: 0"));
    rig.answer(&format!("{}\r\nfirst", ok("first"))).await;
    assert!(request(&mut rig.proxy).await.1.contains("Transfer-Encoding: chunked"));
    rig.asked("5\r\nhello\r\n0\r\n\r\n").await;
    rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
    rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
}

#[tokio::test]
async fn a_short_body_goes_with_every_leg_since_a_proxy_may_not_ask() {
    let mut rig = Rig::new(Setup { scheme: Some(Scheme::Ntlm), ..PLAIN }).await;
    rig.ask(POST).await;
    for answer in [
        format!("HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM {}\r\nContent-Length: 0\r\n\r\n", type_2()),
        ok("hi") + "\r\nhi",
    ] {
        let (value, rest) = request(&mut rig.proxy).await;
        assert!(value.expect("NTLM").starts_with("NTLM ") && rest.contains("Content-Length: 5"), "{rest}");
        rig.asked("hello").await;
        rig.answer(&answer).await;
    }
    rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
}

#[tokio::test]
async fn a_challenge_that_closes_is_answered_over_a_new_connection() {
    let mut rig = Rig::new(Setup { scheme: Some(Scheme::Digest), ..PLAIN }).await;
    rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
    assert_eq!(request(&mut rig.proxy).await.0, None);
    rig.answer("HTTP/1.1 407 No\r\nProxy-Authenticate: Digest realm=\"x\", nonce=\"y\", qop=\"auth\"\r\n\r\npage")
        .await;
    rig.proxy.shutdown().await.expect("open");
    rig.redialled().await;
    assert!(request(&mut rig.proxy).await.0.is_some());
    rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
    rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
}

#[tokio::test]
async fn credentials_that_are_refused_or_missing_end_in_a_page() {
    for scheme in [Some(Scheme::Basic), None] {
        let mut rig = Rig::new(Setup { scheme, ..PLAIN }).await;
        rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
        rig.asked("GET http://a.example/ HTTP/1.1\r\n").await;
        rig.answer("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 6\r\n\r\nsecret").await;
        let page = rig.rest().await;
        assert!(page.starts_with("HTTP/1.1 502 ") && !page.contains("secret") && !page.contains(" 407"), "{page}");
        let (close, flow) = rig.close().await;
        let end = if scheme.is_some() { End::Auth } else { End::Refused };
        assert_eq!((close.end, close.by, flow.status), (end, By::Upstream, Some(407)));
    }
}

/// The three messages of NTLM around a request without a body: the connection is authenticated then.
async fn bound() -> Rig {
    let mut rig = Rig::new(Setup { scheme: Some(Scheme::Ntlm), ..PLAIN }).await;
    rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
    request(&mut rig.proxy).await;
    rig.answer(&type_2_reply()).await;
    request(&mut rig.proxy).await;
    rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
    rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
    rig
}

fn type_2_reply() -> String {
    format!("HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM {}\r\nContent-Length: 0\r\n\r\n", type_2())
}

#[tokio::test]
async fn a_body_that_was_sent_before_an_empty_leg_is_sent_again_after_it() {
    let mut rig = bound().await;
    rig.ask(CHUNKED).await;
    assert_eq!(request(&mut rig.proxy).await.0, None);
    rig.asked("5\r\nhello\r\n0\r\n\r\n").await;
    // the proxy has forgotten us
    rig.answer("HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n").await;
    assert!(request(&mut rig.proxy).await.1.contains("Content-Length: 0"));
    rig.answer(&type_2_reply()).await;
    assert!(request(&mut rig.proxy).await.1.contains("Transfer-Encoding: chunked"));
    rig.asked("5\r\nhello\r\n0\r\n\r\n").await;
    rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
    rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
}

#[tokio::test]
async fn the_rest_of_a_body_behind_an_empty_leg_is_no_request() {
    let mut rig = bound().await;
    rig.ask(&format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 20000\r\n\r\nbegin")).await;
    assert_eq!(request(&mut rig.proxy).await.0, None);
    rig.asked("begin").await;
    rig.answer("HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n").await;
    rig.redialled().await;
    assert!(request(&mut rig.proxy).await.1.contains("Content-Length: 0"));
    rig.answer(&type_2_reply()).await;
    assert!(request(&mut rig.proxy).await.1.contains("Content-Length: 20000"));
    rig.answer(&format!("{}\r\n", ok(""))).await;
    // an answer before the body is whole: nothing follows it
    rig.answered(&format!("{}Connection: close\r\n{VIA}\r\n", ok(""))).await;
    rig.ask(&format!("GET /smuggled HTTP/1.1\r\n{HOST}\r\n")).await;
    assert_eq!(rig.rest().await, "");
    assert_eq!(rig.close().await.1.requests, 2);
}

#[tokio::test]
async fn a_body_that_waits_for_a_100_goes_with_the_last_leg_only() {
    let mut rig = Rig::new(Setup { scheme: Some(Scheme::Ntlm), ..PLAIN }).await;
    rig.ask(&format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")).await;
    let first = request(&mut rig.proxy).await.1;
    rig.answer(&type_2_reply()).await;
    let (value, last) = request(&mut rig.proxy).await;
    assert!(first.contains("Content-Length: 0") && !first.contains("Expect"), "{first}");
    assert!(value.expect("type 3").starts_with("NTLM ") && last.contains("Expect: 100-continue"), "{last}");
    rig.answer("HTTP/1.1 100 Continue\r\n\r\n").await;
    rig.answered("HTTP/1.1 100 Continue\r\n\r\n").await;
    rig.ask("hello").await;
    rig.asked("hello").await;
    rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
    rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
}

#[tokio::test]
async fn a_head_that_was_begun_before_it_was_waited_for_has_its_time_too() {
    let mut rig = Rig::new(Setup { prefix: "GET / HT", ..PLAIN }).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(100)).await;
    // what has been sent may need a moment of real time
    tokio::time::resume();
    let page = rig.rest().await;
    assert!(page.starts_with("HTTP/1.1 408 "), "{page}");
}

#[tokio::test]
async fn an_empty_line_begins_no_head() {
    let mut rig = Rig::new(PLAIN).await;
    round(&mut rig, "GET", false, "").await;
    tokio::time::pause();
    rig.ask("\r\n").await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    tokio::time::resume();
    round(&mut rig, "GET", false, "").await;
    assert_eq!(rig.close().await.1.requests, 2);
}

#[tokio::test]
async fn what_follows_a_challenge_is_no_answer_to_the_next_try() {
    let mut rig = Rig::new(Setup { scheme: Some(Scheme::Digest), ..PLAIN }).await;
    rig.ask(&format!("GET / HTTP/1.1\r\n{HOST}\r\n")).await;
    assert_eq!(request(&mut rig.proxy).await.0, None);
    let challenge = "Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\", qop=\"auth\"\r\n";
    let surplus = format!("{}\r\nevil", ok("evil"));
    rig.answer(&format!("HTTP/1.1 407 No\r\n{challenge}Content-Length: 4\r\n\r\npage{surplus}")).await;
    rig.redialled().await;
    assert!(request(&mut rig.proxy).await.0.is_some());
    rig.answer(&format!("{}\r\nhi", ok("hi"))).await;
    rig.answered(&format!("{}{VIA}\r\nhi", ok("hi"))).await;
}

#[tokio::test]
async fn a_switch_repeats_nothing_of_the_interim_answer_before_it() {
    let mut rig = Rig::new(Setup { narrow: true, ..PLAIN }).await;
    rig.ask(&format!("GET /ws HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")).await;
    rig.asked("GET http://a.example/ws HTTP/1.1\r\n").await;
    let early = format!("HTTP/1.1 103 Early\r\nLink: {}\r\n\r\n", "x".repeat(60_000));
    let switch = "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    rig.answer(&format!("{early}{switch}")).await;
    let (Outcome::Switched { client, early_down, .. }, _) = rig.served.await.expect("no panic") else {
        panic!("not switched")
    };
    drop(client);
    let mut came = Vec::new();
    rig.client.read_to_end(&mut came).await.expect("an end");
    assert!(!came.is_empty() && came.len() < early.len(), "{}", came.len());
    came.extend(early_down);
    assert!(came == format!("{early}{switch}").into_bytes());
}
