//! A request head: no panic; what is relayed is one request to the named host, and says so when it is read again.
#![no_main]

use std::net::SocketAddr;

use handyproxy::addr::Target;
use handyproxy::wire::{fields, reply, request, response};
use libfuzzer_sys::fuzz_target;

/// More fields than we ever add to a head.
const OURS: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let Some(end) = reply::head_end(bytes, 0) else { return };
    let head = &bytes[..end];
    // our own fields may make of a full head one that is too full to be read by ourselves
    if head.iter().filter(|&&byte| byte == b'\n').count() > fields::MAX_FIELDS - OURS {
        return;
    }
    let mut room = fields::room();
    if let Ok(response) = response::parse(head, false, &mut room) {
        let mut out = Vec::new();
        response.write(response::Client { old: false, keep: response.keep }, &mut out);
        let mut room = fields::room();
        let again = response::parse(&out, false, &mut room).expect("valid again");
        assert_eq!((again.status, again.extent), (response.status, response.extent));
    }
    let mut room = fields::room();
    let Ok(request) = request::parse(head, &mut room) else { return };
    let site = match &request.host {
        Some(host) => Target::Name(host, 8080),
        None => Target::Addr(SocketAddr::from(([203, 0, 113, 9], 8080))),
    };
    let mut out = Vec::new();
    let line = request.write(&site, &mut out);
    assert!(out[line.uri.clone()].starts_with(format!("http://{site}").as_bytes()));
    request.facts.finish(None, request::Leg::Last, &mut out);
    assert_eq!(reply::head_end(&out, 0), Some(out.len()));
    let mut room = fields::room();
    let again = request::parse(&out, &mut room).expect("valid again");
    assert_eq!(again.host, request.host);
    assert_eq!((again.facts.extent, again.facts.head), (request.facts.extent, request.facts.head));
    assert_eq!(again.facts.upgrade, request.facts.upgrade);
});
