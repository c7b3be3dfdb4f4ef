//! The answers of a SOCKS5 proxy: no panic, an answer that never changes, an end that is where it says.
#![no_main]

use handyproxy::wire::socks5::{self, Parsed, Reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let cut = &bytes[..bytes.len() / 2];
    settled(socks5::method(cut), socks5::method(bytes), bytes);
    settled(socks5::accepted(cut), socks5::accepted(bytes), bytes);
    settled(socks5::reply(cut), socks5::reply(bytes), bytes);
    if let Parsed::Whole(Reply::Refused(code), _) = socks5::reply(bytes) {
        assert!(code != 0 && !socks5::meaning(code).is_empty());
    }
});

fn settled<T: PartialEq + std::fmt::Debug>(early: Parsed<T>, whole: Parsed<T>, bytes: &[u8]) {
    assert!(early == Parsed::More || early == whole, "{early:?} became {whole:?}");
    if let Parsed::Whole(_, length) = whole {
        assert!((2..=bytes.len()).contains(&length));
    }
}
