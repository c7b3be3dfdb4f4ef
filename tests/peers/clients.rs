//! Client programs of every kind, none of which knows that there is a proxy, through squid.

use crate::lab::support::each_row;
use crate::world::apt::Apt;
use crate::world::origin::publish_code;
use crate::world::upstream::Kind;
use crate::world::{V4, V6, World, assert_same, certificates};

const RULES_TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/iptables/handyproxy-rules");
const PAGE: &str = "https://www.bench.example/page.html";

#[test]
fn curl_speaks_every_version_of_http_and_tls() {
    let world = World::behind(Kind::Squid);
    let rows = [
        ("--http1.1 --tls-max 1.2", "HTTP/1.1 TLSv1.2"),
        ("--http1.1 --tlsv1.3", "HTTP/1.1 TLSv1.3"),
        ("--http2 --tls-max 1.2", "HTTP/2.0 TLSv1.2"),
        ("--http2 --tlsv1.3", "HTTP/2.0 TLSv1.3"),
        ("--http1.0 --tlsv1.3", "HTTP/1.0 TLSv1.3"),
    ];
    each_row(
        &rows,
        |(options, _)| (*options).to_owned(),
        |(options, spoken)| {
            let line = format!("curl -sSf {options} --cacert $CA https://www.bench.example/seen");
            let seen = world.client(&line).text();
            assert_eq!(seen, format!("{spoken} www.bench.example"));
            // over HTTP/1.0 it does not wait for the close_notify, which a RST then answers: end=done is not certain
            let session = world.session("www.bench.example:443");
            session.expect("name=www.bench.example name_source=sni status=200");
        },
    );
}

#[test]
fn curl_reaches_the_same_site_over_ipv4_and_ipv6() {
    let world = World::behind(Kind::Squid);
    for (option, origin) in [("-4", V4.to_string()), ("-6", format!("[{V6}]"))] {
        for scheme in ["http", "https"] {
            let line = format!("curl -sSf {option} --cacert $CA {scheme}://www.bench.example/page.html");
            let page = world.client(&line).run();
            assert_same(&page, world.origin.page(), &line);
        }
        let http = world.http_session("www.bench.example");
        http.expect(&format!("origin={origin}:80"));
        let tls = world.tls_session("www.bench.example");
        tls.expect(&format!("origin={origin}:443"));
    }
}

#[test]
fn curl_may_use_one_connection_for_many_requests() {
    let world = World::behind(Kind::Squid);
    let urls = ["http://www.bench.example/page.html"; 20].join(" ");
    let pages = world.client(&format!("curl -sSf {urls}")).run();
    assert_same(&pages, &world.origin.page().repeat(20), "twenty pages");
    world.http_session("www.bench.example");
    assert_eq!(world.gateway.log.sessions().len(), 1, "one session");
}

#[test]
fn wget_with_gnutls_reaches_https() {
    let world = World::behind(Kind::Squid);
    let page = world.client("wget -nv -O - --ca-certificate=$CA").arg(PAGE).run();
    assert_same(&page, world.origin.page(), "the page");
    world.tls_session("www.bench.example");
}

#[test]
fn wget_reaches_http() {
    let world = World::behind(Kind::Squid);
    let page = world.client("wget -nv -O - http://www.bench.example/page.html").run();
    assert_same(&page, world.origin.page(), "the page");
    world.http_session("www.bench.example");
}

#[test]
fn openssl_sees_the_origins_own_certificate() {
    let world = World::behind(Kind::Squid);
    let answer = world
        .client("openssl s_client -quiet -verify_return_error -CAfile $CA")
        .arg("-servername")
        .arg("www.bench.example")
        .arg("-connect")
        .arg(format!("{V4}:443"))
        .input("GET /seen HTTP/1.0\r\nHost: www.bench.example\r\n\r\n")
        .text();
    assert!(answer.ends_with("HTTP/1.0 TLSv1.3 www.bench.example"), "{answer}");
    // its close_notify comes after squid has closed: end=done is not certain
    let session = world.session("www.bench.example:443");
    session.expect("name=www.bench.example name_source=sni status=200");
}

#[test]
fn openssl_without_a_server_name_goes_by_address() {
    let world = World::behind(Kind::Squid);
    let answer = world
        .client("openssl s_client -quiet -verify_return_error -CAfile $CA -noservername")
        .arg("-connect")
        .arg(format!("{V4}:443"))
        .input("GET /seen HTTP/1.0\r\nHost: www.bench.example\r\n\r\n")
        .text();
    assert!(answer.ends_with("HTTP/1.0 TLSv1.3 www.bench.example"), "{answer}");
    let session = world.session(&format!("{V4}:443"));
    session.expect("-name -name_source status=200");
}

#[test]
fn python_reaches_https() {
    let world = World::behind(Kind::Squid);
    let script = "import ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[1])
with urllib.request.urlopen(sys.argv[2], context=context, timeout=20) as answer:
    sys.stdout.buffer.write(answer.read())";
    let page = world.client("python3 -c").arg(script).arg(world.scratch().path("ca.pem")).arg(PAGE).run();
    assert_same(&page, world.origin.page(), "the page");
    // it leaves the origin's close_notify unread, and its kernel says so with a RST: end=done is not certain
    let session = world.session("www.bench.example:443");
    session.expect("by=client name=www.bench.example name_source=sni status=200");
}

#[test]
fn node_reaches_https() {
    let world = World::behind(Kind::Squid);
    let script = "const [ca, url] = process.argv.slice(1);
require('https').get(url, { ca: require('fs').readFileSync(ca) }, (answer) => answer.pipe(process.stdout));";
    let page = world.client("node -e").arg(script).arg(world.scratch().path("ca.pem")).arg(PAGE).run();
    assert_same(&page, world.origin.page(), "the page");
    world.tls_session("www.bench.example");
}

#[test]
fn git_clones_over_https() {
    let world = World::behind(Kind::Squid);
    let (commit, content) = publish_code(world.scratch());
    world
        .client("git clone -q https://git.bench.example/code.git clone")
        .env("GIT_SSL_CAINFO", world.scratch().path("ca.pem"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .run();
    let head = world.client("git -C clone rev-parse HEAD").text();
    assert_eq!(head.trim(), commit);
    let got = world.scratch().read("home/clone/data.bin");
    assert_same(&got, &content, "the file");
    world.tls_session("git.bench.example");
}

#[test]
fn apt_updates_and_downloads_over_http() {
    let world = World::behind(Kind::Squid);
    let apt = Apt::new(&world);
    apt.update();
    world.http_session("repo.bench.example");
    apt.download();
    world.http_session("repo.bench.example");
}

#[test]
fn chromium_loads_a_page_and_its_script() {
    let world = World::behind(Kind::Squid);
    let page = chromium(&world, "--disable-quic", PAGE);
    assert!(page.contains(">script ran on www.bench.example<"), "{page}");
    let session = world.session("www.bench.example:443");
    session.expect("name=www.bench.example status=200");
    // it offers an ECH in every ClientHello, a sham one here, and only the server could tell it from a real one
    let source = session.get("name_source");
    assert!(matches!(source, Some("sni" | "sni-outer")), "{source:?}");
}

#[test]
fn chromium_goes_back_to_tcp_when_quic_is_refused() {
    let world = World::behind(Kind::Squid);
    // what is not forwarded, or has no way to go, vanishes and is not refused
    world.net.gateway.run("sysctl -q -w net.ipv4.ip_forward=1");
    world.net.gateway.run("ip route add default via 10.2.0.2");
    let page = chromium(&world, "--enable-quic", "https://quic.bench.example/page.html");
    assert!(page.contains(">script ran on quic.bench.example<"), "{page}");
    let rules = world.net.gateway.run(&format!("sh {RULES_TOOL} status --porcelain"));
    let refused = rules.lines().find(|line| line.contains(" family=4 ")).and_then(|line| {
        line.split(' ').find_map(|word| word.strip_prefix("quic_rejected=")).map(|count| count.parse::<u32>())
    });
    assert!(matches!(refused, Some(Ok(1..))), "it never tried QUIC: {rules}");
    // the page, and the script on a connection of its own
    for _ in 0..2 {
        world.session("quic.bench.example:443").expect("name=quic.bench.example status=200");
    }
}

/// What a headless Chromium shows of a page in the end.
fn chromium(world: &World, flag: &str, page: &str) -> String {
    let pin = certificates::pin(world.scratch());
    world
        .client(
            "chromium --headless --no-sandbox --disable-gpu --no-first-run
             --disable-background-networking --disable-component-update --disable-sync --dump-dom",
        )
        .arg(format!("--user-data-dir={}", world.scratch().dir("chromium").display()))
        // accepts this one key from an authority that it does not know, and nothing else
        .arg(format!("--ignore-certificate-errors-spki-list={pin}"))
        .arg(flag)
        .arg(page)
        .text()
}
