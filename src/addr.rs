//! Who and where: host names that are safe to put on a wire, and what a CONNECT carries.
//!
//! Owns the one definition of a valid name. A [`Host`] cannot hold anything else, so nobody
//! checks it again. Refuses IP literals in every spelling that a resolver would take for one.

use std::fmt;
use std::net::SocketAddr;

/// A host name: lower case, letters, digits, `-` and `_` in labels of 1 to 63 bytes, 253 bytes at
/// most, no trailing dot, no IP literal (RFC 1123 section 2.1, with the underscore seen in the field).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Host(Box<str>);

impl Host {
    /// Reads a name as a client wrote it; one trailing dot and upper case are forgiven.
    ///
    /// Returns `None` for everything that is not a valid name: an internationalised name counts
    /// only as punycode.
    pub fn parse(bytes: &[u8]) -> Option<Host> {
        let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
        if bytes.is_empty() || bytes.len() > 253 {
            return None;
        }
        let mut name = String::with_capacity(bytes.len());
        for label in bytes.split(|&b| b == b'.') {
            if label.is_empty() || label.len() > 63 {
                return None;
            }
            if !name.is_empty() {
                name.push('.');
            }
            for &b in label {
                if !(b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                    return None;
                }
                name.push(char::from(b.to_ascii_lowercase()));
            }
        }
        let last = name.rsplit('.').next().unwrap_or(&name);
        (!is_number(last)).then(|| Host(name.into_boxed_str()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a resolver would read this last label as a part of an IPv4 address: `127.1`, `0x7f.1`
/// and `2130706433` are addresses to inet_aton(3).
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What CONNECT carries: the sniffed name with the origin's port, or the origin itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// By name; the port is always the origin's.
    Name(&'a Host, u16),
    /// By address.
    Addr(SocketAddr),
}

impl fmt::Display for Target<'_> {
    /// Writes an authority with a port, IPv6 in brackets (RFC 9110 section 9.3.6).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Name(host, port) => write!(f, "{host}:{port}"),
            Target::Addr(addr) => addr.fmt(f),
        }
    }
}

/// A name and where it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub host: Host,
    /// Where it stood.
    pub source: Source,
}

/// Where a name was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a ClientHello's server_name extension (RFC 6066 section 3).
    Sni,
    /// The same, in a hello that also carries an encrypted one: the name may be a cover (RFC 9849).
    SniOuter,
    /// In a Host field (RFC 9110 section 7.2).
    HostField,
    /// In the target of an absolute-form request (RFC 9112 section 3.2.2).
    Authority,
    /// In a question to our resolver: the origin's address stands for it.
    Dns,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Sni => "sni",
            Source::SniOuter => "sni-outer",
            Source::HostField => "host",
            Source::Authority => "authority",
            Source::Dns => "dns",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Option<String> {
        Host::parse(text.as_bytes()).map(|h| h.as_str().to_owned())
    }

    #[test]
    fn valid_names_come_out_lower_case_without_the_trailing_dot() {
        for (given, wanted) in [
            ("a", "a"),
            ("Name.Example.", "name.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("_dmarc.a_b.example", "_dmarc.a_b.example"),
            ("r3---sn-x.example", "r3---sn-x.example"),
            ("1.example", "1.example"),
            ("0xa.example", "0xa.example"),
        ] {
            assert_eq!(parsed(given).as_deref(), Some(wanted), "{given}");
        }
    }

    #[test]
    fn what_is_no_valid_name_is_no_name() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}example", "abcdefg.".repeat(32));
        for given in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            "a\r\nb",
            "a\0",
            "a:22",
            "user@a",
            "a/b",
            "[::1]",
            "::1",
            "192.0.2.1",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "0x7f000001",
            "a.0x1",
            "b\u{fc}cher.example",
            "a%00",
            "a,b",
            "*",
            &long_label,
            &long_name,
        ] {
            assert_eq!(parsed(given), None, "{given:?}");
        }
        assert!(parsed(&format!("{}a", "abcdefg.".repeat(31))).is_some());
    }

    #[test]
    fn targets_always_have_a_port_and_bracket_ipv6() {
        let host = Host::parse(b"a.example").expect("a valid name");
        assert_eq!(Target::Name(&host, 443).to_string(), "a.example:443");
        let v6 = "[2001:db8::9]:443".parse().expect("an address");
        assert_eq!(Target::Addr(v6).to_string(), "[2001:db8::9]:443");
    }

    proptest! {
        #[test]
        fn any_name_that_parses_is_harmless_and_stable(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(host) = Host::parse(&bytes) {
                let text = host.as_str();
                prop_assert!(text.len() <= 253 && !text.is_empty());
                prop_assert!(text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')));
                prop_assert!(text.parse::<std::net::IpAddr>().is_err());
                prop_assert_eq!(Host::parse(text.as_bytes()), Some(host.clone()));
            }
        }

        #[test]
        fn names_of_valid_labels_parse(labels in proptest::collection::vec("[a-z][a-z0-9_-]{0,20}", 1..6)) {
            let text = labels.join(".");
            prop_assert_eq!(parsed(&text), Some(text));
        }
    }
}
