//! Sessions to addresses that stand for names.

use std::thread;
use std::time::{Duration, Instant};

use super::stub::{Manner, Server, Stub};
use super::{AT, ip, scene};
use crate::support::PATIENCE;
use crate::support::daemon::Launch;
use crate::support::folder::Folder;
use crate::support::hello::Hello;
use crate::support::journal::SessionLine;
use crate::support::kind::UNRECOGNIZED_NAME;
use crate::support::scene::Scene;
use crate::support::topology::{Topology, UPSTREAM};
use crate::support::upstream::OPEN;
use crate::support::wire::Ending;

/// A whole scene with these lines in its file, the default upstream being the scripted one.
fn with_file(folder: &Folder, lines: &str) -> (Scene, Stub) {
    let text = format!("upstream-proxy = '{UPSTREAM}'\ndns = '{AT}'\n{lines}\n");
    let scene = Scene::with(folder.launch(&text));
    let stub = Stub::new(&scene.net.client, AT);
    (scene, stub)
}

#[test]
fn a_program_with_the_systems_resolver_goes_by_name_and_nothing_is_sniffed() {
    let (scene, _) = scene("");
    let folder = Folder::new();
    let resolv = folder.write_as("resolv.conf", "nameserver 10.1.0.1\n", 0o644);
    let script = "mount --bind $0 /etc/resolv.conf && exec curl -sS -m 9 http://www.bench.example/x";
    let page = thread::scope(|scope| {
        let curl = scope.spawn(|| {
            let run = || std::process::Command::new("unshare").args(["-m", "sh", "-c", script, &resolv]).output();
            scene.net.client.enter(run).expect("unshare and curl are installed")
        });
        let mut up = scene.upstream.accept();
        up.expect_connect("www.bench.example:80");
        up.reply(OPEN);
        up.receive_through(b"\r\n\r\n");
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
        up.fin();
        curl.join().expect("it ends")
    });
    assert_eq!(String::from_utf8_lossy(&page.stdout), "hello", "{}", String::from_utf8_lossy(&page.stderr));
    scene.gateway.session_line().expect(
        "end=done name=www.bench.example name_source=dns target=www.bench.example:80 origin=198.18.0.1:80 -sniff_ms",
    );
}

#[test]
fn nobody_waits_for_first_bytes_where_the_name_is_known() {
    let (scene, stub) = scene("-sniff-timeout 30s");
    let addr = stub.ask("www.bench.example", "A").addr();
    let start = Instant::now();
    let client = scene.connect(addr, 443);
    let mut up = scene.upstream.accept();
    up.expect_connect("www.bench.example:443");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    // a name in the first bytes changes nothing
    let mut client = client;
    client.send(Hello::to(b"cover.example").bytes());
    up.reply(OPEN);
    up.expect(Hello::to(b"cover.example").bytes());
    up.fin();
    client.fin();
    scene.gateway.session_of(&client).expect("name=www.bench.example name_source=dns -sniff_ms");
}

#[test]
fn an_address_that_stands_for_nothing_is_sniffed_or_refused() {
    let (scene, _) = scene("-sniff-timeout 5s");
    let lost = ip("198.18.7.7");
    let mut client = scene.connect(lost, 443);
    client.send(Hello::to(b"www.bench.example").bytes());
    let mut up = scene.upstream.accept_asked();
    up.expect_connect("www.bench.example:443");
    up.fin();
    client.fin();
    scene.gateway.session_of(&client).expect("name_source=sni target=www.bench.example:443");

    let mut client = scene.connect(lost, 443);
    client.send(Hello::nameless().bytes());
    let (told, end) = client.receive_all();
    assert_eq!((told, end), (vec![21, 3, 3, 0, 2, 2, UNRECOGNIZED_NAME], Ending::Fin));
    let line = scene.gateway.session_of(&client);
    line.expect("end=resolve by=us origin=198.18.7.7:443");
    let why = line.get("error").expect("a reason");
    assert_eq!(why, "198.18.7.7 stands for no name that is known here: the client must ask DNS again");
    // also where the networks' own rules would have another word: the IPv6 pool is private
    let held = scene.net.client.try_connect((ip("fd68:616e:6479::77"), 25).into());
    scene.gateway.session_line().expect("end=resolve");
    drop(held);
    scene.upstream.expect_no_byte();
}

#[test]
fn without_the_resolver_its_networks_are_nothing_special() {
    let scene = Scene::new("");
    let mut client = scene.connect(ip("198.18.0.1"), 443);
    let mut up = scene.upstream.accept();
    up.expect_connect("198.18.0.1:443");
    up.fin();
    client.fin();
}

#[test]
fn routes_by_name_decide_and_what_the_resolver_said_is_believed() {
    let folder = Folder::new();
    let file = "verify-name = true
[[route]]
to = 'no.example'
via = 'reject'
[[route]]
to = '.address.example'
via = 'upstream-proxy'
dial = 'address'
";
    let file = file.replace("via = 'upstream-proxy'", "via = 'other'") + "[upstream.other]\nproxy = '10.2.0.3'\n";
    let (scene, stub) = with_file(&folder, &file);
    let other = scene.net.proxy(3);
    // the reset may be there before the client knows that it is connected
    let knock = |addr, port| scene.net.client.try_connect((addr, port).into());
    let _held = knock(stub.ask("no.example", "A").addr(), 443);
    scene.gateway.session_line().expect("end=rejected name=no.example via=reject");
    // an address of ours cannot be what others are asked for
    let client = scene.connect(stub.ask("a.address.example", "A").addr(), 443);
    other.accept().expect_connect("a.address.example:443");
    scene.gateway.session_of(&client).expect("name=a.address.example via=other");
    let mut client = scene.connect(stub.ask("a.example", "A").addr(), 443);
    let mut up = scene.upstream.accept_asked();
    up.expect_connect("a.example:443");
    up.fin();
    client.fin();
    scene.gateway.session_of(&client).expect("name=a.example -verified");
    // a name that is the upstream's own machine is private, whatever its address here
    let _held = knock(stub.ask("metadata.google.internal", "A").addr(), 80);
    let rejected = |line: &SessionLine| line.get("name") == Some("metadata.google.internal");
    scene.gateway.log.take_session("of metadata.google.internal", rejected).expect("end=rejected");
}

#[test]
fn a_direct_route_asks_who_knows_the_name() {
    let net = Topology::new();
    let _server = Server::start(&net.upstream, "10.2.0.2:53", Manner::Good, "203.0.113.80");
    let origin = net.origin("203.0.113.80:8080");
    let folder = Folder::new();
    let text = format!(
        "upstream-proxy = '{UPSTREAM}'\ndns = '{AT}'\ndns-forward = 'corp.example=10.2.0.2'\n\
         [[route]]\nto = ['.corp.example', '.nowhere.example']\nvia = 'direct'\n"
    );
    // a zone that was forwarded gives real addresses: these names are asked for before they were forwarded
    let hidden = text.replace("dns-forward", "#");
    let scene = Scene::on(net, folder.launch(&hidden));
    let stub = Stub::new(&scene.net.client, AT);
    let addr = stub.ask("has.corp.example", "A").addr();
    let none = stub.ask("not.corp.example", "A").addr();
    folder.config(&text);
    scene.gateway.reload();
    let mut client = scene.connect(addr, 8080);
    let mut end = origin.accept();
    client.send("hi");
    end.expect("hi");
    end.fin();
    client.fin();
    scene.gateway.session_of(&client).expect("end=done via=direct target=has.corp.example:8080");
    let held = scene.net.client.try_connect((none, 8080).into());
    let line = scene.gateway.session_line();
    drop(held);
    line.expect("end=resolve");
    assert_eq!(line.get("error"), Some("resolve not.corp.example: no address"));
    scene.upstream.expect_no_connection(Duration::from_millis(50));
}

#[test]
fn a_direct_route_leads_to_no_metadata_server() {
    let net = Topology::new();
    let _server = Server::start(&net.upstream, "10.2.0.2:53", Manner::Good, "169.254.169.254");
    let folder = Folder::new();
    let text = format!(
        "upstream-proxy = '{UPSTREAM}'\ndns = '{AT}'\ndns-forward = 'corp.example=10.2.0.2'\n\
         [[route]]\nto = ['.corp.example']\nvia = 'direct'\n"
    );
    let scene = Scene::on(net, folder.launch(&text.replace("dns-forward", "#")));
    let addr = Stub::new(&scene.net.client, AT).ask("has.corp.example", "A").addr();
    folder.config(&text);
    scene.gateway.reload();
    let held = scene.net.client.try_connect((addr, 80).into());
    let line = scene.gateway.session_line();
    drop(held);
    line.expect("end=resolve");
    let why = line.get("error").expect("a reason");
    assert!(why.starts_with("resolve has.corp.example: 169.254.169.254 is good on one link only"), "{why}");
}

#[test]
fn requests_are_relayed_by_name() {
    let folder = Folder::new();
    let (scene, stub) = with_file(&folder, "sniff-timeout = '5s'\nplain-http = 'relay'");
    let addr = stub.ask("www.bench.example", "A").addr();
    for (asked, wanted) in [
        (
            "GET /a HTTP/1.1\r\nHost: www.bench.example\r\nConnection: close\r\n\r\n",
            "GET http://www.bench.example/a HTTP/1.1\r\n",
        ),
        ("GET /b HTTP/1.0\r\n\r\n", "GET http://www.bench.example/b HTTP/1.1\r\n"),
        (
            "GET /c HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n",
            "GET http://other.example/c HTTP/1.1\r\n",
        ),
    ] {
        let mut client = scene.connect(addr, 80);
        client.send(asked);
        let mut up = scene.upstream.accept_asked();
        let head = up.receive_through(b"\r\n\r\n");
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with(wanted), "{head}");
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
        up.fin();
        let (told, _) = client.receive_all();
        assert!(told.ends_with(b"hi"), "{}", told.escape_ascii());
        client.fin();
        scene.gateway.session_of(&client).expect("name=www.bench.example name_source=dns");
    }
}

#[test]
fn explain_tells_of_the_name_and_not_of_its_address() {
    let folder = Folder::new();
    let names =
        folder.write("names", "handyproxy dns names 1 198.18.0.0/15 fd68:616e:6479::/112\n5 a.corp.example *\n");
    let text = format!(
        "upstream-proxy = '{UPSTREAM}'\ndns = '{AT}'\ndns-state = '{names}'\n[[route]]\nto = '.corp.example'\nvia = 'reject'\n"
    );
    let config = folder.config(&text);
    let net = Topology::new();
    let explain = |words: &str| {
        let daemon = Launch::words(&format!("explain -config {config} 10.1.0.2 {words}")).start_unheard(&net.gateway);
        daemon.log.wait_for_end();
        daemon.out.wait_for_end();
        format!("{}{}", daemon.out.lines().join("\n"), daemon.log.lines().join("\n"))
    };
    let told = explain("198.18.0.5:443");
    assert!(told.contains("refused: rejected by the route") && told.contains("stands for a.corp.example"), "{told}");
    let told = explain("198.18.0.6:443");
    assert!(told.contains("198.18.0.6 stands for a name, which is not known here: say which one"), "{told}");
    let told = explain("198.18.0.6:443 www.example");
    assert!(told.contains("CONNECT www.example:443"), "{told}");
}
