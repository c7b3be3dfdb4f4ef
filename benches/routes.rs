//! What a decision costs, and what the routes hold: `cargo bench --bench routes`.
//!
//! The columns of allocations must be empty for decisions; for `compile`, what is allocated and grown less what
//! is freed and shrunk is what the compiled routes hold.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use divan::{AllocProfiler, Bencher};
use handyproxy::addr::Host;
use handyproxy::config::{DialBy, Place, Route, Via};
use handyproxy::pattern::Pattern;
use handyproxy::route::{Decision, Routes};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// As many name suffixes, and as many networks.
const MANY: u32 = 10_000;

fn main() {
    divan::main();
}

/// How the entries are spread over routes.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// All in one.
    OneRoute,
    /// One entry each.
    ManyRoutes,
    /// One entry each, each for one client.
    ManyClients,
}

const SHAPES: [Shape; 3] = [Shape::OneRoute, Shape::ManyRoutes, Shape::ManyClients];

fn entries() -> Vec<Pattern> {
    let names = (0..MANY).map(|n| format!(".site{n}.tld{}.example", n % 40));
    // /24 and wider ones around some of them
    let nets = (0..MANY).map(|n| match n % 10 {
        0 => format!("{}/16", Ipv4Addr::from(0x1400_0000 + n / 10 * 0x1_0000)),
        _ => format!("{}/24", Ipv4Addr::from(0x1400_0000 + n * 0x700)),
    });
    let texts = names.zip(nets).flat_map(|(name, net)| [name, net]);
    texts.map(|text| Pattern::parse(&text).expect("an entry")).collect()
}

fn routes(shape: Shape) -> Vec<Route> {
    let route = |line: usize, from: Vec<Pattern>, to: Vec<Pattern>| Route {
        from,
        to,
        via: Via::Direct,
        dial: DialBy::Name,
        verify_name: false,
        place: Place::new(format!("/etc/handyproxy/gateway.toml:{line}")),
    };
    let client =
        |n: usize| Pattern::parse_client(&Ipv4Addr::from(0x0a00_0000 + n as u32).to_string()).expect("a client");
    let each = entries().into_iter().enumerate();
    match shape {
        Shape::OneRoute => vec![route(12, vec![], entries())],
        Shape::ManyRoutes => each.map(|(n, entry)| route(n, vec![], vec![entry])).collect(),
        Shape::ManyClients => each.map(|(n, entry)| route(n, vec![client(n)], vec![entry])).collect(),
    }
}

fn compiled(shape: Shape) -> Routes {
    Routes::new(&routes(shape), Via::Upstream(0), false)
}

/// A client, an origin, and perhaps a name.
type Flow = (IpAddr, SocketAddr, Option<Host>);

fn flow(client: u32, origin: &str, name: Option<&str>) -> Flow {
    let name = name.map(|name| Host::parse(name.as_bytes()).expect("a valid name"));
    (Ipv4Addr::from(client).into(), origin.parse().expect("an origin"), name)
}

fn decide(bencher: Bencher, routes: Routes, flow: Flow, matches: bool) {
    let decide = || -> Decision {
        let (client, origin, name) = divan::black_box(&flow);
        routes.decide(*client, *origin, name.as_ref())
    };
    assert_eq!(decide().place.is_some(), matches);
    bencher.bench_local(decide);
}

#[divan::bench]
fn no_routes(bencher: Bencher) {
    let routes = Routes::new(&[], Via::Upstream(0), false);
    decide(bencher, routes, flow(0x0a00_0001, "203.0.113.9:443", Some("www.bench.example")), false);
}

#[divan::bench(args = SHAPES)]
fn by_name(bencher: Bencher, shape: Shape) {
    let flow = flow(0x0a00_0000 + 9998 * 2, "203.0.113.9:443", Some("www.static.site9998.tld38.example"));
    decide(bencher, compiled(shape), flow, true);
}

#[divan::bench(args = SHAPES)]
fn by_address(bencher: Bencher, shape: Shape) {
    // 9,999 * 7 networks of /24 behind 20.0.0.0
    decide(bencher, compiled(shape), flow(0x0a00_0000 + 9999 * 2 + 1, "21.17.105.9:443", None), true);
}

#[divan::bench(args = SHAPES)]
fn no_match(bencher: Bencher, shape: Shape) {
    let flow = flow(0x0a00_0001, "203.0.113.9:443", Some("www.static.bench.tld38.example"));
    decide(bencher, compiled(shape), flow, false);
}

#[divan::bench(args = SHAPES)]
fn no_match_without_a_name(bencher: Bencher, shape: Shape) {
    decide(bencher, compiled(shape), flow(0x0a00_0001, "203.0.113.9:443", None), false);
}

#[divan::bench(args = SHAPES)]
fn no_match_for_the_longest_name(bencher: Bencher, shape: Shape) {
    let name = format!("{}site5.example", "a.".repeat(120));
    decide(bencher, compiled(shape), flow(0x0a00_0001, "203.0.113.9:443", Some(&name)), false);
}

/// The worst that could be thought of: everybody's route is about the same name.
#[divan::bench]
fn one_name_for_20000_clients(bencher: Bencher) {
    let name = Pattern::parse(".corp.example").expect("an entry");
    let mut routes = routes(Shape::ManyClients);
    for route in &mut routes {
        route.to = vec![name.clone()];
    }
    let routes = Routes::new(&routes, Via::Upstream(0), false);
    decide(bencher, routes, flow(0x0a00_0000 + 19_000, "203.0.113.9:443", Some("www.corp.example")), true);
}

#[divan::bench(args = SHAPES, sample_count = 5, sample_size = 1)]
fn compile(bencher: Bencher, shape: Shape) {
    let routes = routes(shape);
    bencher.bench_local(|| Routes::new(divan::black_box(&routes), Via::Upstream(0), false));
}
