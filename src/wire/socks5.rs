//! SOCKS version 5 as a client speaks it (RFC 1928), with user and password where asked for (RFC 1929).
//!
//! Strict where a byte decides, tolerant where none does: reserved bytes are not looked at, nor what a
//! refusal carries behind its code. The bound address of a reply is skipped, whatever its type: its end
//! is where the origin's first byte begins.

use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::addr::Target;

const VERSION: u8 = 5;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xff;

/// What the bytes read so far amount to. Once it is not `More`, no further byte changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// The answer is not whole yet.
    More,
    /// This is no such answer, and more bytes will not make it one.
    Bad,
    /// The answer, in so many of the first bytes.
    Whole(T, usize),
}

/// How the server wants to know who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    NoLogin,
    /// By user and password.
    Login,
    /// By none of the ways that were offered.
    Neither,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The tunnel is open.
    Granted,
    /// It is not, by this code, which is not 0.
    Refused(u8),
}

/// The first message: the methods that we know.
pub fn greeting(with_login: bool) -> &'static [u8] {
    if with_login { &[VERSION, 2, NO_LOGIN, LOGIN] } else { &[VERSION, 1, NO_LOGIN] }
}

/// User and password (RFC 1929 section 2); `None` where one is longer than the 255 bytes that fit.
pub fn login(user: &str, password: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (user_length, password_length) = (u8::try_from(user.len()).ok()?, u8::try_from(password.len()).ok()?);
    // all of its room at once: growing would leave a copy of the password behind
    let mut message = Zeroizing::new(Vec::with_capacity(3 + user.len() + password.len()));
    message.extend([1, user_length]);
    message.extend(user.as_bytes());
    message.push(password_length);
    message.extend(password.as_bytes());
    Some(message)
}

/// Asks for a connection to `target`, by name where it is one.
pub fn request(target: &Target<'_>) -> Vec<u8> {
    let mut message = vec![VERSION, CONNECT, 0];
    let port = match target {
        Target::Name(host, port) => {
            let name = host.as_str().as_bytes();
            message.extend([NAME, u8::try_from(name.len()).expect("a host name has 253 bytes at most")]);
            message.extend(name);
            *port
        }
        Target::Addr(addr) => {
            match addr.ip() {
                IpAddr::V4(ip) => {
                    message.push(IPV4);
                    message.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    message.push(IPV6);
                    message.extend(ip.octets());
                }
            }
            addr.port()
        }
    };
    message.extend(port.to_be_bytes());
    message
}

/// Reads the answer to the greeting.
pub fn method(bytes: &[u8]) -> Parsed<Method> {
    match *bytes {
        [] | [VERSION] => Parsed::More,
        [VERSION, NO_LOGIN, ..] => Parsed::Whole(Method::NoLogin, 2),
        [VERSION, LOGIN, ..] => Parsed::Whole(Method::Login, 2),
        [VERSION, NO_METHOD, ..] => Parsed::Whole(Method::Neither, 2),
        _ => Parsed::Bad,
    }
}

/// Reads the answer to user and password: whether they are right. Its version is 1, but 5 is seen too.
pub fn accepted(bytes: &[u8]) -> Parsed<bool> {
    match *bytes {
        [] | [1 | VERSION] => Parsed::More,
        [1 | VERSION, status, ..] => Parsed::Whole(status == 0, 2),
        _ => Parsed::Bad,
    }
}

/// Reads the answer to a request. A refusal is known by its code: some servers send nothing after that.
pub fn reply(bytes: &[u8]) -> Parsed<Reply> {
    // version, code, reserved, type; then the address and two bytes of port
    let length = match *bytes {
        [] | [VERSION] => return Parsed::More,
        [VERSION, 0] | [VERSION, 0, _] | [VERSION, 0, _, NAME] => return Parsed::More,
        [VERSION, 0, _, IPV4, ..] => 4 + 4 + 2,
        [VERSION, 0, _, IPV6, ..] => 4 + 16 + 2,
        [VERSION, 0, _, NAME, name, ..] => 5 + usize::from(name) + 2,
        [VERSION, code, ..] if code != 0 => return Parsed::Whole(Reply::Refused(code), 2),
        _ => return Parsed::Bad,
    };
    if bytes.len() < length { Parsed::More } else { Parsed::Whole(Reply::Granted, length) }
}

/// What a code means (RFC 1928 section 6).
pub fn meaning(code: u8) -> &'static str {
    match code {
        0 => "succeeded",
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown code",
    }
}

/// Whether a code says that the server's rules forbid it (RFC 1928 section 6).
pub fn is_forbidden(code: u8) -> bool {
    code == 2
}

/// Whether a code may also mean that a name does not resolve: most servers have no better one for it.
pub fn may_be_unresolved(code: u8) -> bool {
    code == 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Host;
    use proptest::prelude::*;

    #[test]
    fn requests_carry_names_as_names_and_addresses_as_addresses() {
        let host = Host::parse(b"a.example").expect("a valid name");
        assert_eq!(request(&Target::Name(&host, 443)), b"\x05\x01\x00\x03\x09a.example\x01\xbb");
        let addr = |text: &str| Target::Addr(text.parse().expect("an address"));
        assert_eq!(request(&addr("203.0.113.9:80")), b"\x05\x01\x00\x01\xcb\x00\x71\x09\x00\x50");
        let v6 = request(&addr("[2001:db8::9]:65535"));
        assert_eq!(v6, b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\xff\xff");
    }

    #[test]
    fn a_login_is_offered_only_where_there_is_one_and_fits() {
        assert_eq!(greeting(false), b"\x05\x01\x00");
        assert_eq!(greeting(true), b"\x05\x02\x00\x02");
        assert_eq!(**login("me", "secret").expect("short"), *b"\x01\x02me\x06secret");
        assert_eq!(**login("me", "").expect("short"), *b"\x01\x02me\x00");
        assert!(login(&"u".repeat(255), &"p".repeat(255)).is_some());
        assert!(login(&"u".repeat(256), "p").is_none() && login("u", &"p".repeat(256)).is_none());
    }

    #[test]
    fn methods_and_verdicts_are_two_bytes() {
        for (bytes, wanted) in
            [(b"\x05\x00", Method::NoLogin), (b"\x05\x02", Method::Login), (b"\x05\xff", Method::Neither)]
        {
            assert_eq!(method(bytes), Parsed::Whole(wanted, 2));
            assert_eq!(method(&bytes[..1]), Parsed::More);
        }
        for bytes in [&b"\x04"[..], b"H", b"\x05\x01", b"\x05\x03more"] {
            assert_eq!(method(bytes), Parsed::Bad);
        }
        for (bytes, wanted) in [(b"\x01\x00", true), (b"\x05\x00", true), (b"\x01\x01", false), (b"\x01\xff", false)] {
            assert_eq!(accepted(bytes), Parsed::Whole(wanted, 2));
            assert_eq!(accepted(&bytes[..1]), Parsed::More);
        }
        assert_eq!((accepted(b""), accepted(b"\x00")), (Parsed::More, Parsed::Bad));
    }

    #[test]
    fn every_cut_of_a_granting_reply_asks_for_more_and_its_end_is_exact() {
        for bound in [
            &b"\x01\x7f\x00\x00\x01"[..],
            b"\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09",
            b"\x03\x00",
            b"\x03\x09a.example",
            &[&b"\x03\xff"[..], &[b'n'; 255]].concat(),
        ] {
            let whole = [b"\x05\x00\x77", bound, b"\x01\xbb"].concat();
            for end in 0..whole.len() {
                assert_eq!(reply(&whole[..end]), Parsed::More, "{end} of {whole:?}");
            }
            assert_eq!(reply(&whole), Parsed::Whole(Reply::Granted, whole.len()));
            assert_eq!(reply(&[&whole[..], b"surplus"].concat()), Parsed::Whole(Reply::Granted, whole.len()));
        }
    }

    #[test]
    fn a_refusal_is_known_by_its_code_and_garbage_at_once() {
        for code in 1..=255 {
            assert_eq!(reply(&[5, code]), Parsed::Whole(Reply::Refused(code), 2));
            assert_eq!(reply(&[5, code, 0, 9]), Parsed::Whole(Reply::Refused(code), 2));
            assert!(!meaning(code).is_empty());
        }
        for bytes in [&b"H"[..], b"\x00", b"\x04\x5a", b"\x05\x00\x00\x00", b"\x05\x00\x00\x02"] {
            assert_eq!(reply(bytes), Parsed::Bad, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn an_answer_never_changes(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..6], 0..40), cut in 0usize..40,
        ) {
            let cut = cut.min(bytes.len());
            let (early, late) = (reply(&bytes[..cut]), reply(&bytes));
            prop_assert!(early == Parsed::More || early == late);
            if let Parsed::Whole(_, length) = late {
                prop_assert!(length <= bytes.len());
            }
            let (early, late) = (method(&bytes[..cut]), method(&bytes));
            prop_assert!(early == Parsed::More || early == late);
            let (early, late) = (accepted(&bytes[..cut]), accepted(&bytes));
            prop_assert!(early == Parsed::More || early == late);
        }
    }
}
