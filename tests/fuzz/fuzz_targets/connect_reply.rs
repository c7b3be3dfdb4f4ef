//! A reply to CONNECT: no panic, a head whose end never moves, the same whatever was seen before.
#![no_main]

use handyproxy::wire::reply::{self, Reply};
use handyproxy::wire::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = reply::scan(bytes, 0);
    let cut = bytes.len() / 2;
    match reply::scan(&bytes[..cut], 0) {
        Reply::More => assert_eq!(reply::scan(bytes, cut), whole),
        early => assert_eq!(early, whole),
    }
    if let Reply::Head { status, length } = whole {
        assert!((100..1000).contains(&status) && length <= bytes.len());
        assert!(bytes[..length].ends_with(b"\n"));
        let _ = reply::field(&bytes[..length], "content-type");
        assert!(text::shown(reply::status_text(&bytes[..length])).bytes().all(|b| (b' '..0x7f).contains(&b)));
    }
});
