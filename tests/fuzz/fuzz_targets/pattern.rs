//! An entry of a route's list: no panic, what is read prints to text that reads back; lists of them decide.
#![no_main]

use handyproxy::addr::Host;
use handyproxy::config::{DialBy, Place, Route, Via};
use handyproxy::pattern::{Pattern, Subject};
use handyproxy::route::Routes;
use libfuzzer_sys::fuzz_target;

fn read(text: &str, reader: fn(&str) -> Result<Pattern, String>) -> Vec<Pattern> {
    let read = text.split(' ').filter_map(|entry| match reader(entry) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            assert!(why.starts_with('"') && !why.contains('\n'), "{why}");
            None
        }
    });
    read.collect()
}

fuzz_target!(|text: &str| {
    let _ = read(text, Pattern::parse_no_proxy);
    // each line is a route; `from` and `to` have a tab between them
    let routes: Vec<Route> = text
        .lines()
        .map(|line| {
            let (from, to) = line.split_once('\t').unwrap_or(("", line));
            Route {
                from: read(from, Pattern::parse_client),
                to: read(to, Pattern::parse),
                via: Via::Direct,
                dial: DialBy::Name,
                verify_name: false,
                place: Place::new("fuzz"),
            }
        })
        .collect();
    let compiled = Routes::new(&routes, Via::Reject, false);
    for pattern in routes.iter().flat_map(|route| route.to.iter().chain(&route.from)) {
        assert_eq!(Pattern::parse(&pattern.to_string()).as_ref(), Ok(pattern));
        let host: Option<&Host> = match &pattern.subject {
            Subject::Host(host) | Subject::Suffix(host) => Some(host),
            _ => None,
        };
        let addr = match &pattern.subject {
            Subject::Nets(nets) => nets[0].addr(),
            _ => [192, 0, 2, 1].into(),
        };
        let port = pattern.ports.as_ref().and_then(|ports| ports.ranges().next()).map_or(80, |(first, _)| first);
        let decision = compiled.decide(addr, (addr, port).into(), host);
        assert!(decision.via == Via::Direct || decision.place.is_none());
    }
});
