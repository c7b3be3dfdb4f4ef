//! The CONNECT request (RFC 9110 section 9.3.6), built from validated types only.

use crate::addr::Target;

/// Writes the whole request.
pub fn request(target: &Target<'_>) -> Vec<u8> {
    let agent = concat!("handyproxy/", env!("CARGO_PKG_VERSION"));
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {agent}\r\n\r\n").into_bytes()
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
        assert_eq!(request(&target), wanted.into_bytes());
    }
}
