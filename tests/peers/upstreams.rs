//! What has to work through every upstream, whatever its make.

use crate::world::upstream::Kind;
use crate::world::{V4, World, assert_same};

/// The same promises for each of them.
macro_rules! through {
    ($($name:ident: $kind:expr,)+) => {$(
        mod $name {
            use super::*;

            #[test]
            fn http_goes_by_its_host() {
                super::http_goes_by_its_host($kind);
            }

            #[test]
            fn https_goes_by_its_server_name() {
                super::https_goes_by_its_server_name($kind);
            }

            #[test]
            fn five_megabytes_come_down_unchanged() {
                super::five_megabytes_come_down_unchanged($kind);
            }

            #[test]
            fn five_megabytes_go_up_unchanged() {
                super::five_megabytes_go_up_unchanged($kind);
            }

            #[test]
            fn thirty_clients_at_once_are_all_served() {
                super::thirty_clients_at_once_are_all_served($kind);
            }

            #[test]
            fn an_origin_that_is_down_is_told_at_once() {
                super::an_origin_that_is_down_is_told_at_once($kind);
            }
        }
    )+};
}

through! {
    squid: Kind::Squid,
    tinyproxy: Kind::Tinyproxy,
    cntlm: Kind::Cntlm,
}

fn http_goes_by_its_host(kind: Kind) {
    let world = World::behind(kind);
    let page = world.client("curl -sSf4 http://www.bench.example/page.html").run();
    assert_same(&page, world.origin.page(), "the page");
    let session = world.http_session("www.bench.example");
    session.expect(&format!("origin={V4}:80 stage=relay"));
}

fn https_goes_by_its_server_name(kind: Kind) {
    let world = World::behind(kind);
    let page = world.client("curl -sSf4 --cacert $CA https://www.bench.example/page.html").run();
    assert_same(&page, world.origin.page(), "the page");
    let session = world.tls_session("www.bench.example");
    session.expect(&format!("origin={V4}:443 stage=relay"));
}

fn five_megabytes_come_down_unchanged(kind: Kind) {
    let world = World::behind(kind);
    for scheme in ["http", "https"] {
        let line = format!("curl -sSf --cacert $CA {scheme}://www.bench.example/big.bin");
        let got = world.client(&line).run();
        assert_same(&got, &world.origin.big, scheme);
    }
    let size = world.origin.big.len() as f64;
    assert!(world.http_session("www.bench.example").number("down") > size);
    assert!(world.tls_session("www.bench.example").number("down") > size);
}

fn five_megabytes_go_up_unchanged(kind: Kind) {
    let world = World::behind(kind);
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://www.bench.example/upload/{scheme}.bin");
        let status = world
            .client("curl -sSf --cacert $CA -w %{http_code} -T")
            .arg(world.scratch().path("www/big.bin"))
            .arg(url)
            .text();
        assert_eq!(status, "201", "nginx says Created");
        let stored = world.scratch().read(&format!("www/upload/{scheme}.bin"));
        assert_same(&stored, &world.origin.big, scheme);
    }
    let size = world.origin.big.len() as f64;
    assert!(world.http_session("www.bench.example").number("up") > size);
    assert!(world.tls_session("www.bench.example").number("up") > size);
}

fn thirty_clients_at_once_are_all_served(kind: Kind) {
    let world = World::behind(kind);
    let script = "
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
            curl -sSf http://www.bench.example/page.html >http.$i & pids=\"$pids $!\"
            curl -sSf --cacert $0 https://www.bench.example/page.html >https.$i & pids=\"$pids $!\"
        done
        failed=0
        for pid in $pids; do wait $pid || failed=$((failed + 1)); done
        echo failed: $failed";
    let told = world.client("sh -c").arg(script).arg(world.scratch().path("ca.pem"));
    assert_eq!(told.text(), "failed: 0\n");
    for i in 1..=15 {
        for scheme in ["http", "https"] {
            let got = world.scratch().read(&format!("home/{scheme}.{i}"));
            assert_same(&got, world.origin.page(), scheme);
        }
        world.http_session("www.bench.example");
        world.tls_session("www.bench.example");
    }
}

fn an_origin_that_is_down_is_told_at_once(kind: Kind) {
    let world = World::behind(kind);
    let (status, page) = world.page_of("down.bench.example");
    assert!(["502", "503"].contains(&status.as_str()), "{status}");
    assert!(page.contains("</html>"), "with the upstream's own page: {page}");
    let told = world.handshake_error_of("down.bench.example");
    assert!(told.contains("alert internal error"), "{told}");
    for port in [80, 443] {
        let session = world.session(&format!("down.bench.example:{port}"));
        session.expect("end=refused by=upstream name=down.bench.example");
    }
}
