//! A ClientHello: no panic, a verdict that never changes, the same name however it is cut into records.
#![no_main]

use handyproxy::wire::{Verdict, tls};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = tls::scan(bytes);
    for cut in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let early = tls::scan(&bytes[..cut]);
        assert!(early == Verdict::More || early == whole, "{early:?} became {whole:?}");
        let _ = tls::settle(&bytes[..cut]);
    }
    // a hello in one record, then in many
    if let (Verdict::Named(_), [0x16, 3, minor, high, low, message @ ..]) = (&whole, bytes) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let message = message.get(..length).unwrap_or_default();
        if let [_, a, b, c, body @ ..] = message
            && body.len() >= usize::from(*a) * 65536 + usize::from(*b) * 256 + usize::from(*c)
        {
            let size = 1 + usize::from(bytes[bytes.len() - 1]);
            let split: Vec<u8> = message
                .chunks(size)
                .flat_map(|c| [&[0x16, 3, *minor][..], &(c.len() as u16).to_be_bytes(), c].concat())
                .collect();
            assert_eq!(tls::scan(&split), whole);
        }
    }
});
