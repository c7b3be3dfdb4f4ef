//! A tunnel first, and where the proxy refuses it for a port, request by request.

use std::time::Duration;

use super::{GET, GET_LINE, OK, answer};
use crate::support::each_row;
use crate::support::folder::Folder;
use crate::support::scene::Scene;
use crate::support::topology::V4;
use crate::support::upstream::OPEN;
use crate::support::wire::Wire;

fn auto() -> Scene {
    Scene::with(Folder::new().launch(
        r#"
        sniff-timeout = "5s"
        upstream-proxy = "corp"
        [upstream.corp]
        proxy = "10.2.0.2"
        plain-http = "auto"
        "#,
    ))
}

fn refusal(status: u16) -> String {
    format!("HTTP/1.1 {status} No\r\nContent-Length: 4\r\n\r\nno.\n")
}

/// A client asks on this port, and the proxy answers its CONNECT with this.
fn refused(scene: &Scene, port: u16, request: &str, status: u16) -> Wire {
    scene.upstream.forget();
    let mut client = scene.connect(V4, port);
    client.send(request);
    let mut up = scene.upstream.accept_asked();
    up.expect_connect(&format!("www.bench.example:{port}"));
    up.reply(refusal(status));
    client
}

/// The next connection to the proxy brings the request itself.
fn relayed(scene: &Scene, port: u16, client: &mut Wire) {
    let mut up = scene.upstream.accept_asked();
    let authority = if port == 80 { String::new() } else { format!(":{port}") };
    up.expect_head(&format!("GET http://www.bench.example{authority}/ HTTP/1.1"));
    answer(client, &mut up);
}

#[test]
fn where_connect_is_refused_the_same_session_is_relayed_and_the_next_one_does_not_ask() {
    each_row(
        &[403, 405, 501],
        |status| format!("{status}"),
        |&status| {
            let scene = auto();
            let mut client = refused(&scene, 80, GET, status);
            relayed(&scene, 80, &mut client);
            client.fin();
            scene.gateway.session_of(&client).expect("end=done status=200 requests=1 via=corp");
            let told = "upstream corp: port 80 is relayed from now on, CONNECT was answered with";
            scene.gateway.log.wait_for(&format!("{told} {status}"));
            for _ in 0..2 {
                let mut client = scene.connect(V4, 80);
                client.send(GET);
                relayed(&scene, 80, &mut client);
            }
            // another port is asked for itself
            let mut client = refused(&scene, 8080, GET, status);
            relayed(&scene, 8080, &mut client);
            assert_eq!(scene.gateway.log.count(told), 1);
        },
    );
}

#[test]
fn a_request_with_a_body_is_not_lost_on_the_way() {
    let scene = auto();
    let request = "POST / HTTP/1.1\r\nHost: www.bench.example\r\nContent-Length: 10\r\n\r\nhello";
    let mut client = refused(&scene, 80, request, 403);
    let mut up = scene.upstream.accept_asked();
    up.expect_head("POST http://www.bench.example/ HTTP/1.1");
    up.expect("hello");
    client.send("world");
    up.expect("world");
    answer(&mut client, &mut up);
    // on the same connection
    client.send(GET);
    up.expect_head(GET_LINE);
    answer(&mut client, &mut up);
}

#[test]
fn other_refusals_stand_and_change_nothing() {
    let scene = auto();
    each_row(
        &[400, 404, 407, 500, 502, 503, 504],
        |status| format!("{status}"),
        |&status| {
            let mut client = refused(&scene, 80, GET, status);
            let head = client.head();
            assert!(head.line.starts_with("HTTP/1.1 50"), "{head:?}");
            client.receive_all();
            client.fin();
            scene.gateway.session_of(&client).expect(&format!("by=upstream status={status}"));
        },
    );
    scene.upstream.expect_no_byte();
    assert_eq!(scene.gateway.log.count("is relayed from now on"), 0);
    // nor does a tunnel that opens
    for _ in 0..2 {
        let mut client = scene.connect(V4, 80);
        client.send(GET);
        let mut up = scene.upstream.accept_asked();
        up.expect_connect("www.bench.example:80");
        up.reply([OPEN, OK.as_bytes()].concat());
        up.expect(GET);
        client.expect(OK);
    }
}

#[test]
fn what_is_no_http_is_refused_as_ever() {
    let scene = auto();
    let mut client = scene.connect(V4, 22);
    let mut up = scene.upstream.accept_asked();
    up.expect_connect("203.0.113.9:22");
    up.reply(refusal(403));
    scene.gateway.session_of(&client).expect("end=refused by=upstream status=403");
    assert_ne!(client.receive_all().1, crate::support::wire::Ending::Open);
    scene.upstream.expect_no_connection(Duration::from_millis(20));
    assert_eq!(scene.gateway.log.count("is relayed from now on"), 0);
}
