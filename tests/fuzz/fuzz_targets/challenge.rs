//! What a proxy asks for: the challenges of a 407, and the second message of NTLM. No panic, nothing invented.
#![no_main]

use handyproxy::wire::challenge::challenges;
use handyproxy::wire::ntlm::{Challenge, Login, Moment, authenticate, negotiate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for challenge in challenges(bytes) {
        let text = std::str::from_utf8(bytes).expect("only text has challenges");
        assert!(text.contains(challenge.text) && challenge.text.starts_with(challenge.scheme));
        assert!(challenge.text.contains(challenge.token));
    }
    let login = Login::new("CORP\\me", "password");
    let proof = authenticate(&login, &negotiate(), bytes, Moment { random: [7; 8], filetime: 1 });
    assert!(proof.is_err() || Challenge::parse(bytes).is_ok());
    if let Ok(proof) = proof {
        assert!(proof.starts_with(b"NTLMSSP\0\x03") && proof.len() < 2 * bytes.len() + 400);
    }
});
