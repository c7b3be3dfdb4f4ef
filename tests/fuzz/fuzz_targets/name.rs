//! A name: what parses is harmless, no address, and parses to itself.
#![no_main]

use handyproxy::addr::{Host, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(host) = Host::parse(bytes) else { return };
    let text = host.as_str();
    assert!((1..=253).contains(&text.len()));
    assert!(text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')));
    assert!(text.split('.').all(|label| (1..=63).contains(&label.len())));
    assert!(text.parse::<std::net::IpAddr>().is_err());
    assert_eq!(Host::parse(text.as_bytes()).as_ref(), Some(&host));
    let request = handyproxy::wire::connect::request(&Target::Name(&host, 443), None);
    assert_eq!(request.iter().filter(|&&b| b == b'\n').count(), 4);
});
