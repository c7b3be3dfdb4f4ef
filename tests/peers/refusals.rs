//! What a user sees when the upstream says no.

use crate::world::upstream::Kind;
use crate::world::{World, assert_same};

#[test]
fn a_denied_site_shows_squids_page_over_http() {
    let world = World::behind(Kind::Squid);
    let (status, page) = world.page_of("denied.bench.example");
    assert_eq!(status, "502");
    assert!(page.contains("403"), "names squid's status: {page}");
    assert!(page.contains("ERR_ACCESS_DENIED"), "squid's own page: {page}");
    let session = world.session("denied.bench.example:80");
    session.expect("end=refused by=upstream name=denied.bench.example status=403");
}

#[test]
fn a_denied_site_fails_at_once_over_https() {
    let world = World::behind(Kind::Squid);
    let told = world.handshake_error_of("denied.bench.example");
    assert!(told.contains("alert access denied"), "{told}");
    let session = world.session("denied.bench.example:443");
    session.expect("end=refused by=upstream name=denied.bench.example status=403");
}

#[test]
fn an_unknown_name_shows_squids_page_over_http() {
    let world = World::behind(Kind::SquidNamingFailures);
    let (status, page) = world.page_of("nosuch.bench.example");
    assert_eq!(status, "503");
    assert!(page.contains("Unable to determine IP address"), "{page}");
    let session = world.session("nosuch.bench.example:80");
    session.expect("end=refused by=upstream name=nosuch.bench.example status=503");
}

#[test]
fn an_unknown_name_is_an_unrecognized_name_over_https() {
    let world = World::behind(Kind::SquidNamingFailures);
    let told = world.handshake_error_of("nosuch.bench.example");
    assert!(told.contains("unrecognized name"), "{told}");
    let session = world.session("nosuch.bench.example:443");
    session.expect("end=refused by=upstream name=nosuch.bench.example status=503");
}

#[test]
fn an_unknown_name_fails_at_once_whatever_squid_calls_it() {
    let world = World::behind(Kind::Squid);
    let (status, page) = world.page_of("nosuch.bench.example");
    assert!(["502", "503"].contains(&status.as_str()), "{status}");
    assert!(page.contains("squid.bench.example"), "squid's own page: {page}");
    let told = world.handshake_error_of("nosuch.bench.example");
    let alerts = ["alert internal error", "unrecognized name"];
    assert!(alerts.iter().any(|alert| told.contains(alert)), "{told}");
    for port in [80, 443] {
        let session = world.session(&format!("nosuch.bench.example:{port}"));
        session.expect("end=refused by=upstream name=nosuch.bench.example");
    }
}

#[test]
fn a_refusal_leaves_other_sites_alone() {
    let world = World::behind(Kind::Squid);
    for _ in 0..3 {
        world.handshake_error_of("denied.bench.example");
        let page = world.client("curl -sSf --cacert $CA https://www.bench.example/page.html").run();
        assert_same(&page, world.origin.page(), "the page");
        world.tls_session("www.bench.example");
    }
}
