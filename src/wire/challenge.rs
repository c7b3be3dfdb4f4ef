//! What a 407 asks for: the challenges in the values of its Proxy-Authenticate fields (RFC 9110 section 11.6.1).
//!
//! One field may hold several, with commas between them and between the parameters of one: a challenge begins where a
//! word is not followed by `=`.

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// The scheme, as it was written.
    pub scheme: &'a str,
    /// All of it, the scheme included.
    pub text: &'a str,
    /// What follows the scheme by itself, as in NTLM and Negotiate; empty if nothing does.
    pub token: &'a str,
}

/// More challenges than this are not looked at.
const MAX: usize = 32;

/// The challenges in one value; what is no challenge is passed over.
pub fn challenges(value: &[u8]) -> Vec<Challenge<'_>> {
    let Ok(value) = std::str::from_utf8(value) else { return Vec::new() };
    let mut found: Vec<Challenge<'_>> = Vec::new();
    let mut from = 0;
    for (start, end) in elements(value) {
        let element = value[start..end].trim();
        if let Some((scheme, token)) = opening(element) {
            if found.len() == MAX {
                break;
            }
            from = end - value[start..end].trim_start().len();
            found.push(Challenge { scheme, text: value[from..end].trim_end(), token });
        } else if let (Some(last), false) = (found.last_mut(), element.is_empty()) {
            last.text = value[from..end].trim_end();
        }
    }
    found
}

/// What stands between commas that are not in quotes.
fn elements(value: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut quoted = false;
    let mut escaped = false;
    let mut start = 0;
    let ends = value.bytes().map(Some).chain([None]).enumerate();
    ends.filter_map(move |(at, byte)| {
        match byte {
            _ if std::mem::take(&mut escaped) => return None,
            Some(b'\\') if quoted => escaped = true,
            Some(b'"') => quoted = !quoted,
            Some(b',') if !quoted => {}
            None => {}
            _ => return None,
        }
        if matches!(byte, Some(b',') | None) {
            let element = (start, at);
            start = at + 1;
            return Some(element);
        }
        None
    })
}

/// The scheme that an element begins with, and what follows it by itself.
fn opening(element: &str) -> Option<(&str, &str)> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let length = element.bytes().take_while(|b| is_token(*b)).count();
    let (scheme, rest) = element.split_at(length);
    let behind = rest.trim_start();
    if scheme.is_empty() || behind.starts_with('=') || (rest.len() == behind.len() && !rest.is_empty()) {
        return None;
    }
    // a token may end in =, a parameter has something behind that
    let is_token68 = behind.trim_end_matches('=').bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b));
    Some((scheme, if is_token68 { behind } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(value: &str) -> Vec<(&str, &str, &str)> {
        challenges(value.as_bytes()).into_iter().map(|c| (c.scheme, c.text, c.token)).collect()
    }

    #[test]
    fn challenges_are_told_apart_in_one_field() {
        let value = r#"Negotiate, NTLM TlRM== ,Basic realm="a, Digest b\", c", charset="UTF-8" , Digest realm="r",nonce="n=", qop="auth""#;
        assert_eq!(
            parsed(value),
            [
                ("Negotiate", "Negotiate", ""),
                ("NTLM", "NTLM TlRM==", "TlRM=="),
                ("Basic", r#"Basic realm="a, Digest b\", c", charset="UTF-8""#, ""),
                ("Digest", r#"Digest realm="r",nonce="n=", qop="auth""#, ""),
            ]
        );
    }

    #[test]
    fn what_is_no_challenge_is_passed_over() {
        assert_eq!(parsed(""), []);
        assert_eq!(parsed(",, ,"), []);
        assert_eq!(parsed("realm=\"x\", NTLM"), [("NTLM", "NTLM", "")]);
        assert_eq!(parsed("Basic realm = \"x\""), [("Basic", "Basic realm = \"x\"", "")]);
        assert_eq!(parsed("\"quoted\", ntlm"), [("ntlm", "ntlm", "")]);
        assert!(challenges(b"NTLM \xff").is_empty());
        assert_eq!(challenges("NTLM,".repeat(1000).as_bytes()).len(), MAX);
    }

    proptest! {
        #[test]
        fn any_value_is_read(value in "\\PC{0,60}|[A-Za-z=\", \\\\]{0,60}") {
            for challenge in challenges(value.as_bytes()) {
                prop_assert!(challenge.text.starts_with(challenge.scheme));
                prop_assert!(value.contains(challenge.text));
            }
        }
    }
}
