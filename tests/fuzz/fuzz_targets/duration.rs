//! A duration: no panic, no endless loop; whole command lines come along.
#![no_main]

use handyproxy::config::{Command, duration};
use handyproxy::pattern::Ports;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = (duration::parse(text), Ports::parse(text));
    let words = text.split('\n').map(str::to_owned);
    if let Err(mistakes) = Command::parse(words) {
        assert!(!mistakes.is_empty());
    }
});
