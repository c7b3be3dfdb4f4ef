//! The CONNECT request (RFC 9110 section 9.3.6), built from validated types only.

use std::io::Write as _;

use crate::addr::Target;

/// Writes the whole request. `credentials`, a value of Proxy-Authorization that may be empty, is for an upstream that
/// wants to know who we are: over such a connection several requests may have to go.
pub fn request(target: &Target<'_>, credentials: Option<&str>) -> Vec<u8> {
    let agent = concat!("handyproxy/", env!("CARGO_PKG_VERSION"));
    let length = 512 + credentials.map_or(0, str::len);
    // as long as it can get: a buffer that grows would leave copies of the credentials behind
    let mut request = Vec::with_capacity(2 * 260 + length);
    let _ = write!(request, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {agent}\r\n");
    if let Some(credentials) = credentials {
        request.extend_from_slice(b"Proxy-Connection: Keep-Alive\r\n");
        if !credentials.is_empty() {
            let _ = write!(request, "Proxy-Authorization: {credentials}\r\n");
        }
    }
    request.extend_from_slice(b"\r\n");
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_a_line_a_host_and_an_agent() {
        let target = Target::Addr("203.0.113.9:443".parse().expect("an address"));
        let agent = env!("CARGO_PKG_VERSION");
        let wanted = format!(
            "CONNECT 203.0.113.9:443 HTTP/1.1\r\nHost: 203.0.113.9:443\r\nUser-Agent: handyproxy/{agent}\r\n\r\n"
        );
        assert_eq!(request(&target, None), wanted.into_bytes());
    }
}
