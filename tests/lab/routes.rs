//! Where a connection goes: through which upstream, directly, or nowhere, and as whom.

mod names;

use std::net::{IpAddr, SocketAddr};

use crate::support::daemon::Launch;
use crate::support::each_row;
use crate::support::folder::Folder;
use crate::support::hello::Hello;
use crate::support::kind::{ACCESS_DENIED, Kind, Told};
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{Topology, V4};
use crate::support::upstream::{OPEN, Upstream};
use crate::support::wire::{Ending, Wire};

const REJECTED: Told = Told { status: 403, alert: ACCESS_DENIED };

/// Every line with a remark can be asked for by it.
const FILE: &str = r#"
upstream-proxy = "main"
sniff-timeout = "5s"
no-proxy = "np.example, 198.51.100.7, *.star.example"   # no-proxy

[upstream.main]
proxy = "10.2.0.2"

[upstream.other]
proxy = "10.2.0.3"

[[route]] # client
from = "10.1.0.3"
to = ["!198.51.100.0/24"]
via = "other"

[[route]] # all but
from = ["10.1.0.0/29", "!10.1.0.0/30"]
to = ["!192.0.2.0/24"]
via = "reject"

[[route]] # port
to = "*:25"
via = "reject"

[[route]] # network
to = "198.51.100.0/24:443"
via = "other"

[[route]] # suffix
to = [".corp.example", "!vpn.corp.example"]
via = "other"

[[route]] # name
to = "www.exact.example"
via = "reject"

[[route]] # never: the one above matches first
to = "www.exact.example"
via = "other"

[[route]] # direct
to = ["direct.example", "203.0.113.80-203.0.113.90"]
via = "direct"

[[route]] # range
to = ["192.0.2.10-192.0.2.20"]
via = "other"

[[route]] # by address
to = ".byaddress.example"
via = "main"
dial = "address"

[[route]] # ports of a name
to = ".ported.example:8000-8999"
via = "other"

[[route]] # IPv6
to = ["[2001:db8:7::/48]:22", "2001:db8:8::1"]
via = "other"
"#;

/// The line of the file with this remark.
fn line_with(remark: &str) -> usize {
    let found = FILE.lines().position(|line| line.contains(&format!("# {remark}")));
    1 + found.unwrap_or_else(|| panic!("no line with {remark:?}"))
}

/// Where a session must go.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Goes {
    /// To `main`, asking for this.
    Main(&'static str),
    /// To `other`, asking for this.
    Other(&'static str),
    Direct,
    Nowhere,
}
use Goes::{Direct, Main, Nowhere, Other};

/// A client, by the last number of its address, what it wants and says, and what becomes of it by which line.
struct Row {
    client: u8,
    origin: &'static str,
    says: Says,
    goes: Goes,
    by: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Says {
    /// A ClientHello for this name.
    Hello(&'static str),
    /// A request with this host.
    Get(&'static str),
    /// Not a word.
    Nothing,
}
use Says::{Get, Nothing};

impl Says {
    fn bytes(self) -> Vec<u8> {
        match self {
            Says::Hello(name) => Hello::to(name).bytes(),
            Get(name) => format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes(),
            Nothing => vec![],
        }
    }

    fn kind(self) -> Kind {
        match self {
            Says::Hello(_) => Kind::Tls,
            Get(_) => Kind::Http,
            Nothing => Kind::Unknown,
        }
    }
}

fn rows() -> Vec<Row> {
    let says = |origin, says, goes, by| Row { client: 2, origin, says, goes, by };
    let hello = |name, goes, by| says("203.0.113.9:443", Says::Hello(name), goes, by);
    let silent = |origin, goes, by| says(origin, Nothing, goes, by);
    let from = |client, row| Row { client, ..row };
    vec![
        hello("www.plain.example", Main("www.plain.example:443"), ""),
        silent("203.0.113.9:22", Main("203.0.113.9:22"), ""),
        // by client
        from(3, hello("www.plain.example", Other("www.plain.example:443"), "client")),
        from(3, silent("203.0.113.9:25", Other("203.0.113.9:25"), "client")),
        from(3, silent("198.51.100.9:22", Main("198.51.100.9:22"), "")),
        from(5, silent("203.0.113.9:22", Nowhere, "all but")),
        from(5, silent("192.0.2.1:22", Main("192.0.2.1:22"), "")),
        // by port, by address
        silent("203.0.113.9:25", Nowhere, "port"),
        says("198.51.100.9:443", Says::Hello("www.plain.example"), Other("www.plain.example:443"), "network"),
        says("198.51.100.9:8443", Says::Hello("www.plain.example"), Main("www.plain.example:8443"), ""),
        silent("192.0.2.9:22", Main("192.0.2.9:22"), ""),
        silent("192.0.2.10:22", Other("192.0.2.10:22"), "range"),
        silent("192.0.2.20:22", Other("192.0.2.20:22"), "range"),
        silent("192.0.2.21:22", Main("192.0.2.21:22"), ""),
        silent("[2001:db8:7::5]:22", Other("[2001:db8:7::5]:22"), "IPv6"),
        silent("[2001:db8:7::5]:21", Main("[2001:db8:7::5]:21"), ""),
        silent("[2001:db8:8::1]:21", Other("[2001:db8:8::1]:21"), "IPv6"),
        // by name
        hello("a.corp.example", Other("a.corp.example:443"), "suffix"),
        hello("A.B.Corp.Example.", Other("a.b.corp.example:443"), "suffix"),
        hello("corp.example", Other("corp.example:443"), "suffix"),
        hello("acorp.example", Main("acorp.example:443"), ""),
        hello("vpn.corp.example", Main("vpn.corp.example:443"), ""),
        says("203.0.113.9:80", Get("a.corp.example"), Other("a.corp.example:80"), "suffix"),
        hello("www.exact.example", Nowhere, "name"),
        says("203.0.113.9:80", Get("www.exact.example"), Nowhere, "name"),
        hello("a.www.exact.example", Main("a.www.exact.example:443"), ""),
        says("203.0.113.9:8100", Says::Hello("a.ported.example"), Other("a.ported.example:8100"), "ports of a name"),
        hello("a.ported.example", Main("a.ported.example:443"), ""),
        hello("a.byaddress.example", Main("203.0.113.9:443"), "by address"),
        // directly
        hello("direct.example", Direct, "direct"),
        hello("np.example", Direct, "no-proxy"),
        hello("below.np.example", Direct, "no-proxy"),
        // a star as others write it
        hello("a.star.example", Direct, "no-proxy"),
        says("198.51.100.7:443", Says::Hello("www.exact.example"), Direct, "no-proxy"),
        says("203.0.113.80:443", Says::Hello("www.plain.example"), Direct, "direct"),
    ]
}

#[test]
fn the_first_route_that_matches_decides() {
    let net = Topology::new();
    let other = net.proxy(3);
    let origins = ["203.0.113.9:443", "198.51.100.7:443", "203.0.113.80:443"].map(|at| (at, net.origin(at)));
    for n in [3, 5] {
        net.client_address(n);
    }
    let folder = Folder::new();
    let scene = Scene::on(net, folder.launch(FILE));
    let rows = rows();
    each_row(
        &rows,
        |row| format!("10.1.0.{} to {}, {:?}: {:?}", row.client, row.origin, row.says, row.goes),
        |row| {
            for upstream in [&scene.upstream, &other].into_iter().chain(origins.iter().map(|(_, origin)| origin)) {
                upstream.forget();
            }
            let origin: SocketAddr = row.origin.parse().expect("an address");
            let connected = match origin {
                SocketAddr::V4(_) => scene.net.client.try_connect_from(IpAddr::from([10, 1, 0, row.client]), origin),
                SocketAddr::V6(_) => scene.net.client.try_connect(origin),
            };
            let Ok(mut client) = connected else {
                // reset before connect() had returned: whoever says nothing may be rejected as soon as that
                assert_eq!((row.goes, row.says.bytes().len()), (Nowhere, 0));
                let by = format!("route={}", folder.line(line_with(row.by)));
                return scene.gateway.session_line().expect(&format!("end=rejected by=us via=reject {by}"));
            };
            client.send(row.says.bytes());
            let address = client.address();
            let via = match row.goes {
                Main(target) => {
                    opens(&scene.upstream, client, target, row.says);
                    "main"
                }
                Other(target) => {
                    opens(&other, client, target, row.says);
                    "other"
                }
                Direct => {
                    let (_, origin) = origins.iter().find(|(at, _)| *at == row.origin).expect("it exists");
                    carries(client, origin.accept_asked(), row.says);
                    "direct"
                }
                Nowhere => {
                    REJECTED.check(row.says.kind(), &mut client);
                    "reject"
                }
            };
            let line = scene.gateway.session_from(&address);
            line.expect(&format!("via={via}"));
            match row.by {
                "" => line.expect("-route"),
                "no-proxy" => {
                    let place = line.get("route").expect("a place");
                    assert!(
                        place.contains("no-proxy") && place.contains(&folder.line(line_with("no-proxy"))),
                        "{place}"
                    );
                }
                by => line.expect(&format!("route={}", folder.line(line_with(by)))),
            }
            match row.goes {
                Nowhere => line.expect("end=rejected by=us up=0 down=0"),
                Direct => line.expect("end=done stage=relay -status"),
                _ => line.expect("end=done stage=relay status=200"),
            }
        },
    );
}

fn opens(upstream: &Upstream, client: Wire, target: &str, says: Says) {
    let mut up = upstream.accept_asked();
    up.expect_connect(target);
    up.reply(OPEN);
    carries(client, up, says);
}

fn carries(mut client: Wire, mut up: Wire, says: Says) {
    up.expect(says.bytes());
    up.send("hi");
    client.expect("hi");
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
}

#[test]
fn a_direct_session_half_closes_resets_and_fails_like_any_other() {
    let net = Topology::new();
    let origin = net.origin("203.0.113.9:22");
    let scene = Scene::on(net, Folder::new().launch("[[route]]\nvia = 'direct'\n"));
    let mut client = scene.connect(V4, SERVER_FIRST);
    let mut up = origin.accept();
    up.send("SSH-2.0-x\r\n");
    client.expect("SSH-2.0-x\r\n");
    client.fin();
    up.expect_end(Ending::Fin);
    up.send("bye");
    client.expect("bye");
    up.reset();
    client.expect_end(Ending::Reset);
    scene.gateway.session_of(&client).expect("end=reset via=direct target=203.0.113.9:22");
    // nobody listens on this port
    let client = scene.net.client.try_connect((V4, 21).into());
    scene.gateway.session_line().expect("end=dial via=direct");
    drop(client);
    scene.upstream.expect_no_connection(std::time::Duration::ZERO);
    assert_eq!(scene.gateway.log.count(" is down: "), 0);
}

#[test]
fn whoever_is_rejected_is_told_in_his_own_words_and_no_upstream_is_asked() {
    let scene = Scene::with(Folder::new().launch("sniff-timeout = '5s'\n[[route]]\nvia = 'reject'\n"));
    each_row(
        &Kind::ALL,
        |kind| format!("{kind:?}"),
        |kind| {
            let mut client = kind.speak(&scene);
            REJECTED.check(*kind, &mut client);
            client.fin();
            let line = scene.gateway.session_of(&client);
            line.expect("end=rejected by=us via=reject");
            assert_eq!(line.level(), "INFO");
        },
    );
    scene.upstream.expect_no_byte();
}

#[test]
fn a_session_line_has_via_behind_the_target_and_route_only_where_one_matched() {
    let scene =
        Scene::with(Folder::new().launch("upstream-proxy = '10.2.0.2'\n[[route]]\nto = '*:25'\nvia = 'reject'\n"));
    drop(scene.tunnel());
    let line = scene.gateway.session_line();
    let keys = line.keys();
    let at = keys.iter().position(|key| *key == "target").expect("a target");
    assert_eq!(keys.get(at + 1), Some(&"via"), "{keys:?}");
    line.expect("-route -verified");
    // without routes and names there is nothing to tell apart
    let scene = Scene::with(Launch::new("-upstream-proxy 10.2.0.2"));
    drop(scene.tunnel());
    scene.gateway.session_line().expect("-via -route -verified");
}

#[test]
fn the_name_decides_although_another_upstream_was_likelier() {
    let net = Topology::new();
    let other = net.proxy(3);
    let scene = Scene::on(net, Folder::new().launch(FILE));
    let mut client = scene.connect(V4, 443);
    // time for a dial ahead of need
    let early = scene.upstream.accept_within(std::time::Duration::from_millis(100));
    let says = Says::Hello("a.corp.example");
    client.send(says.bytes());
    opens(&other, client, "a.corp.example:443", says);
    if let Some(mut early) = early {
        assert_eq!(early.receive_all(), (vec![], Ending::Fin), "the connection that was not needed");
    }
    scene.upstream.expect_no_byte();
}

#[test]
fn each_client_has_its_own_identity_and_connections_are_not_shared() {
    let net = Topology::new();
    let own = net.client_address(3);
    let launch = Folder::new();
    let launch_file = r#"
        upstream-proxy = "everybody"
        [upstream.everybody]
        proxy = "10.2.0.2"
        auth = "basic"
        user = "all"
        password = "a"
        [upstream.accounting]
        proxy = "10.2.0.2"
        auth = "basic"
        user = "acc"
        password = "b"
        [[route]]
        from = "10.1.0.3"
        via = "accounting"
        "#;
    let scene = Scene::on(net, launch.launch(launch_file));
    let origin = SocketAddr::new(V4, SERVER_FIRST);
    let usual = IpAddr::from([10, 1, 0, 2]);
    let rows = [usual, own, own, usual, own, usual];
    each_row(
        &rows,
        |from| format!("from {from}"),
        |from| {
            let mut client = scene.net.client.connect_from(*from, origin);
            let mut up = scene.upstream.accept();
            let (wanted, via) =
                if *from == own { ("Basic YWNjOmI=", "accounting") } else { ("Basic YWxsOmE=", "everybody") };
            assert_eq!(up.expect_credentials("203.0.113.9:22"), wanted);
            up.reply([OPEN, b"hi"].concat());
            client.expect("hi");
            client.fin();
            up.fin();
            scene.gateway.session_of(&client).expect(&format!("end=done via={via}"));
        },
    );
}
