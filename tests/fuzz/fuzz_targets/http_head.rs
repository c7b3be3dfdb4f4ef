//! A request head: no panic, a verdict that never changes, a name that is harmless in a CONNECT.
#![no_main]

use handyproxy::wire::{Verdict, http};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = http::scan(bytes);
    let cut = bytes.len() / 2;
    let early = http::scan(&bytes[..cut]);
    assert!(early == Verdict::More || early == whole, "{early:?} became {whole:?}");
    for verdict in [whole, http::settle(bytes), http::settle(&bytes[..cut])] {
        if let Verdict::Named(name) = verdict {
            let text = name.host.as_str();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
            assert!(bytes.to_ascii_lowercase().windows(text.len()).any(|w| w == text.as_bytes()));
        }
    }
});
