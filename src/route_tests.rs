//! Decisions, against the same rules written down plainly.

use proptest::prelude::*;

use super::*;
use crate::pattern::{Pattern, Subject};

fn list(texts: &[&str], read: fn(&str) -> Result<Pattern, String>) -> Vec<Pattern> {
    texts.iter().map(|text| read(text).expect("an entry")).collect()
}

/// A route; its place tells its number.
fn route(number: usize, from: &[&str], to: &[&str], via: Via) -> Route {
    Route {
        from: list(from, Pattern::parse_client),
        to: list(to, Pattern::parse),
        via,
        dial: DialBy::Name,
        verify_name: false,
        place: Place::new(format!("file:{number}")),
    }
}

fn host(text: &str) -> Host {
    Host::parse(text.as_bytes()).expect("a valid name")
}

/// `route 0`, `route 1`… to these lists, each with the same `from`.
fn routes(from: &[&str], to: &[&[&str]]) -> Routes {
    let routes: Vec<Route> = to.iter().enumerate().map(|(n, to)| route(n, from, to, Via::Upstream(n))).collect();
    Routes::new(&routes, Via::Direct, false)
}

/// The number of the route that matches.
fn decided(routes: &Routes, client: &str, origin: &str, name: Option<&str>) -> Option<usize> {
    let name = name.map(host);
    let client = client.parse().expect("a client");
    let decision = routes.decide(client, origin.parse().expect("an origin"), name.as_ref());
    match decision.via {
        Via::Upstream(number) => {
            assert_eq!(decision.place, Some(Place::new(format!("file:{number}"))));
            Some(number)
        }
        _ => {
            assert_eq!(decision.place, None);
            None
        }
    }
}

#[test]
fn no_routes_lead_to_the_default() {
    let routes = Routes::new(&[], Via::Upstream(7), true);
    assert!(routes.is_empty());
    let decision = routes.decide([10, 0, 0, 1].into(), "192.0.2.1:80".parse().expect("an origin"), None);
    let wanted = Decision {
        via: Via::Upstream(7),
        dial: DialBy::Name,
        verify_name: true,
        place: None,
        allows_private: false,
        may_change: false,
    };
    assert_eq!(decision, wanted);
}

#[test]
fn the_first_route_that_matches_wins() {
    let routes = routes(&[], &[&[".a.example:443"], &["192.0.2.0/24"], &["x.a.example"], &["*:25"], &[".example"]]);
    for (origin, name, wanted) in [
        ("198.51.100.1:443", Some("x.a.example"), Some(0)),
        ("198.51.100.1:443", Some("a.example"), Some(0)),
        ("198.51.100.1:80", Some("x.a.example"), Some(2)),
        ("192.0.2.1:80", Some("x.a.example"), Some(1)),
        ("198.51.100.1:80", Some("y.x.a.example"), Some(4)),
        ("198.51.100.1:25", None, Some(3)),
        ("198.51.100.1:80", None, None),
        ("198.51.100.1:80", Some("xa.examples"), None),
        ("[::ffff:192.0.2.1]:80", None, Some(1)),
        ("[2001:db8::1]:80", None, None),
    ] {
        assert_eq!(decided(&routes, "10.0.0.1", origin, name), wanted, "{origin} {name:?}");
    }
}

#[test]
fn a_negated_entry_takes_out_of_its_list_only() {
    let routes = routes(&[], &[&[".corp", "!vpn.corp"], &["*", "!10.0.0.0/8", "!*:25"], &["!.corp"], &[]]);
    for (origin, name, wanted) in [
        ("10.0.0.1:80", Some("a.corp"), 0),
        ("192.0.2.1:80", Some("vpn.corp"), 1),
        ("10.0.0.1:80", Some("vpn.corp"), 3),
        ("192.0.2.1:25", None, 2),
        ("10.0.0.1:80", None, 2),
        ("192.0.2.1:25", Some("vpn.corp"), 3),
    ] {
        assert_eq!(decided(&routes, "10.0.0.1", origin, name), Some(wanted), "{origin} {name:?}");
    }
}

#[test]
fn each_client_has_its_own_routes() {
    let from: [&[&str]; 4] =
        [&["10.0.0.1"], &["10.0.0.0/24", "!10.0.0.9"], &["2001:db8::/32", "!10.0.0.0/24"], &["!10.0.0.9"]];
    let routes: Vec<Route> =
        from.iter().enumerate().map(|(n, from)| route(n, from, &["*", ".corp"], Via::Upstream(n))).collect();
    let routes = Routes::new(&routes, Via::Reject, false);
    for (client, wanted) in [
        ("10.0.0.1", Some(0)),
        ("::ffff:10.0.0.1", Some(0)),
        ("10.0.0.2", Some(1)),
        ("10.0.0.9", None),
        ("2001:db8::5", Some(2)),
        ("172.16.0.1", Some(3)),
    ] {
        assert_eq!(decided(&routes, client, "192.0.2.1:80", Some("a.corp")), wanted, "{client}");
    }
}

#[test]
fn a_route_with_thousands_of_clients_is_found_among_thousands() {
    let routes: Vec<Route> = (0..5000)
        .map(|n: usize| route(n, &[&format!("10.0.{}.{}", n / 250, n % 250)], &[".corp"], Via::Upstream(n)))
        .collect();
    let routes = Routes::new(&routes, Via::Reject, false);
    assert_eq!(decided(&routes, "10.0.19.249", "192.0.2.1:80", Some("a.corp")), Some(4999));
    assert_eq!(decided(&routes, "10.0.7.3", "192.0.2.1:80", Some("a.corp")), Some(1753));
    assert_eq!(decided(&routes, "10.0.7.3", "192.0.2.1:80", Some("a.corpse")), None);
    assert_eq!(decided(&routes, "10.1.7.3", "192.0.2.1:80", Some("a.corp")), None);
}

#[test]
fn only_an_entry_that_names_the_target_allows_a_private_one() {
    let allows = |to: &[&str], dial: DialBy, name: Option<&str>| {
        let routes = Routes::new(&[Route { dial, ..route(0, &[], to, Via::Direct) }], Via::Reject, false);
        let name = name.map(host);
        let origin = "127.0.0.1:80".parse().expect("an origin");
        let decision = routes.decide([10, 0, 0, 1].into(), origin, name.as_ref());
        assert_eq!(decision.via, Via::Direct);
        decision.allows_private
    };
    let both = ["127.0.0.0/8", "localhost"];
    for (to, dial, name, wanted) in [
        (&["*"][..], DialBy::Name, Some("localhost"), false),
        (&["*:80"], DialBy::Name, None, false),
        (&[], DialBy::Name, None, false),
        (&["!10.0.0.0/8"], DialBy::Name, None, false),
        (&["127.0.0.1"], DialBy::Name, None, true),
        (&["*", "127.0.0.1:81"], DialBy::Name, None, false),
        (&["*", "127.0.0.1:80"], DialBy::Name, None, true),
        // the name is what CONNECT carries: the address that matched says nothing about it
        (&["127.0.0.1"], DialBy::Name, Some("localhost"), false),
        (&["localhost"], DialBy::Name, Some("localhost"), true),
        (&both, DialBy::Name, Some("localhost"), true),
        // and a client may write any name before an address
        (&[".localhost"], DialBy::Address, Some("a.localhost"), false),
        (&both, DialBy::Address, Some("localhost"), true),
    ] {
        assert_eq!(allows(to, dial, name), wanted, "{to:?} {dial:?} {name:?}");
    }
}

#[test]
fn what_no_name_can_change_is_said() {
    let may_change = |to: &[&[&str]], from: &[&str], origin: &str| {
        let decision = routes(from, to).decide([10, 0, 0, 1].into(), origin.parse().expect("an origin"), None);
        decision.may_change
    };
    for (to, from, origin, wanted) in [
        (&[&["10.0.0.0/8"][..]][..], &[][..], "10.0.0.1:80", false),
        (&[&["10.0.0.0/8"], &[".corp"]], &[], "10.0.0.1:80", false),
        (&[&["10.0.0.0/8"], &[".corp"]], &[], "192.0.2.1:80", true),
        (&[&["10.0.0.0/8", "!.corp"]], &[], "10.0.0.1:80", true),
        (&[&["10.0.0.0/8", "!.corp:81"]], &[], "10.0.0.1:80", false),
        (&[&[".corp:443"], &["*"]], &[], "10.0.0.1:80", false),
        (&[&[".corp:443"], &["*"]], &[], "10.0.0.1:443", true),
        (&[&[".corp"], &["*"]], &["10.0.0.1"], "10.0.0.1:443", true),
        (&[&[".corp"], &["*"]], &["10.0.0.2"], "10.0.0.1:443", false),
        (&[&[".corp", "!10.0.0.1"], &["*"]], &[], "10.0.0.1:443", false),
        (&[&[".corp", "10.0.0.1"], &["*"]], &[], "10.0.0.1:443", false),
    ] {
        assert_eq!(may_change(to, from, origin), wanted, "{to:?} {from:?} {origin}");
    }
}

/// The contract, one sentence after the other.
mod plainly {
    use super::*;

    pub(super) struct Flow<'a> {
        pub(super) client: IpAddr,
        pub(super) origin: SocketAddr,
        pub(super) name: Option<&'a Host>,
    }

    fn hit(subject: &Subject, addr: IpAddr, name: Option<&Host>) -> bool {
        match subject {
            Subject::Any => true,
            Subject::Nets(nets) => nets.iter().any(|net| net.contains(&addr.to_canonical())),
            Subject::Host(host) => name == Some(host),
            Subject::Suffix(host) => {
                name.is_some_and(|name| name == host || name.as_str().ends_with(&format!(".{host}")))
            }
        }
    }

    fn in_list(list: &[Pattern], addr: IpAddr, port: u16, name: Option<&Host>) -> bool {
        let hits = |pattern: &&Pattern| {
            hit(&pattern.subject, addr, name) && pattern.ports.as_ref().is_none_or(|ports| ports.contains(port))
        };
        let (mut negated, positive): (Vec<_>, Vec<_>) = list.iter().partition(|pattern| pattern.negated);
        negated.retain(|pattern| hits(pattern));
        negated.is_empty() && (positive.is_empty() || positive.iter().any(hits))
    }

    pub(super) fn decide<'a>(routes: &'a [Route], flow: &Flow) -> Option<&'a Route> {
        let Flow { client, origin, name } = flow;
        routes.iter().find(|route| {
            in_list(&route.from, *client, 0, None) && in_list(&route.to, origin.ip(), origin.port(), *name)
        })
    }

    pub(super) fn allows_private(route: &Route, flow: &Flow) -> bool {
        let by_name = flow.name.is_some() && route.dial == DialBy::Name;
        route.to.iter().any(|pattern| {
            let about_name = matches!(pattern.subject, Subject::Host(_) | Subject::Suffix(_));
            let about_target = if by_name { about_name } else { matches!(pattern.subject, Subject::Nets(_)) };
            let plain = Pattern { negated: false, ..pattern.clone() };
            !pattern.negated && about_target && in_list(&[plain], flow.origin.ip(), flow.origin.port(), flow.name)
        })
    }
}

const NAMES: [&str; 9] = ["a", "b.a", "c.b.a", "d.c.b.a", "e.d.c.b.a", "b", "a.b", "xb.a", "z.example"];
const ADDRS: [&str; 8] =
    ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.1.0.1", "192.0.2.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8:1::1"];
const NETS: [&str; 12] = [
    "10.0.0.1",
    "10.0.0.0/30",
    "10.0.0.0/24",
    "10.0.0.0/16",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "10.0.0.1-10.0.1.1",
    "192.0.2.1",
    "2001:db8::1",
    "2001:db8::/32",
    "::/0",
    "::ffff:10.0.0.0/104",
];

fn lists() -> impl Strategy<Value = (Vec<Pattern>, Vec<Pattern>)> {
    let not = prop_oneof![3 => Just(""), 1 => Just("!")];
    let from = (not.clone(), prop_oneof![5 => proptest::sample::select(&NETS[..]), 1 => Just("*")])
        .prop_map(|(not, net)| Pattern::parse_client(&format!("{not}{net}")).expect("an entry"));
    let net = proptest::sample::select(&NETS[..]);
    let net = net.prop_map(|net| if net.contains(':') { format!("[{net}]") } else { net.to_owned() });
    let name = (prop_oneof![Just(""), Just(".")], proptest::sample::select(&NAMES[..]));
    let name = name.prop_map(|(dot, name)| format!("{dot}{name}"));
    let port = prop_oneof![3 => Just(""), 1 => Just(":80"), 1 => Just(":81-443"), 1 => Just(":22")];
    let to = (not, prop_oneof![4 => net, 4 => name, 1 => Just("*".to_owned())], port)
        .prop_map(|(not, what, port)| Pattern::parse(&format!("{not}{what}{port}")).expect("an entry"));
    (proptest::collection::vec(from, 0..3), proptest::collection::vec(to, 0..5))
}

fn some_routes() -> impl Strategy<Value = Vec<Route>> {
    let route = (lists(), any::<bool>(), any::<bool>());
    proptest::collection::vec(route, 0..9).prop_map(|routes| {
        let numbered = routes.into_iter().enumerate();
        numbered
            .map(|(number, ((from, to), by_name, verify_name))| Route {
                from,
                to,
                via: Via::Upstream(number),
                dial: if by_name { DialBy::Name } else { DialBy::Address },
                verify_name,
                place: Place::new(format!("file:{number}")),
            })
            .collect()
    })
}

fn flows() -> impl Strategy<Value = Vec<(IpAddr, SocketAddr, Option<Host>)>> {
    let addr = || proptest::sample::select(&ADDRS[..]).prop_map(|addr| addr.parse::<IpAddr>().expect("an address"));
    let port = proptest::sample::select(&[22_u16, 80, 443][..]);
    let name = proptest::sample::select(&NAMES[..]).prop_map(host);
    let name = proptest::option::of(prop_oneof![8 => name, 1 => Just(host("q.w.e.r.t.y.c.b.a"))]);
    let flow = (addr(), addr(), port, name);
    let flow = flow.prop_map(|(client, origin, port, name)| (client, SocketAddr::new(origin, port), name));
    proptest::collection::vec(flow, 30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn decisions_are_what_the_rules_say_plainly(routes in some_routes(), flows in flows()) {
        let compiled = Routes::new(&routes, Via::Direct, true);
        for (client, origin, name) in flows {
            let decision = compiled.decide(client, origin, name.as_ref());
            let flow = plainly::Flow { client, origin, name: name.as_ref() };
            let wanted = plainly::decide(&routes, &flow);
            let about = format!("{client} {origin} {name:?}");
            prop_assert_eq!(&decision.place, &wanted.map(|route| route.place.clone()), "{}", about);
            prop_assert_eq!(decision.via, wanted.map_or(Via::Direct, |route| route.via));
            prop_assert_eq!(decision.dial, wanted.map_or(DialBy::Name, |route| route.dial));
            prop_assert_eq!(decision.verify_name, wanted.is_none_or(|route| route.verify_name));
            let allows = wanted.is_some_and(|route| plainly::allows_private(route, &flow));
            prop_assert_eq!(decision.allows_private, allows, "{}", about);
            let unnamed = compiled.decide(client, origin, None);
            prop_assert!(unnamed.may_change || decision.place == unnamed.place, "{}", about);
            prop_assert!(name.is_none() || !decision.may_change);
        }
    }
}
