//! By which names the admin may be asked for. A page in a browser can make a name of its own resolve to loopback (DNS
//! rebinding) and then read whatever answers there; it cannot make the browser say another name than that.

use std::net::IpAddr;

use hyper::Request;
use hyper::header::HOST;

use crate::addr::Host;

/// Whether a request says a name that is ours. That of its target counts too, where there is one (RFC 9112 section
/// 3.2.2).
pub(super) fn are_ours<B>(request: &Request<B>, names: &[Host]) -> bool {
    let mut said = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (said.next(), said.next()) else { return false };
    let is_ours = |authority: &str| is_ours(authority, names);
    host.to_str().is_ok_and(is_ours) && request.uri().authority().is_none_or(|target| is_ours(target.as_str()))
}

/// Whether this is an address, `localhost`, or one of the names, on whatever port.
fn is_ours(authority: &str, names: &[Host]) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((literal, rest)) => {
            if !literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
                return false;
            }
            (None, rest)
        }
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            (Some(&authority[..at]), &authority[at..])
        }
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    if !is_port {
        return false;
    }
    let Some(host) = host else { return true };
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) {
        return true;
    }
    Host::parse(host.as_bytes()).is_some_and(|host| host.as_str() == "localhost" || names.contains(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).expect("a valid request")
    }

    #[test]
    fn addresses_and_names_of_ours_are_answered_and_no_others() {
        let names = [Host::parse(b"gateway.example").expect("a name")];
        for (host, wanted) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9843", true),
            ("10.1.2.3:1", true),
            ("[::1]:9843", true),
            ("[2001:db8::1]", true),
            ("localhost", true),
            ("LocalHost.:80", true),
            ("gateway.example", true),
            ("GATEWAY.example:9843", true),
            ("evil.example", false),
            ("evil.example:9843", false),
            ("gateway.example.evil.example", false),
            ("notlocalhost", false),
            ("localhost.evil.example", false),
            // a resolver may take these for addresses, a browser says them as they are
            ("127.1", false),
            ("0x7f.0.0.1", false),
            ("2130706433", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1:x", false),
            ("127.0.0.1@evil.example", false),
            ("localhost:80:80", false),
            ("[127.0.0.1]", false),
            ("[::1", false),
            ("[::1]evil", false),
            ("::1", false),
            ("", false),
            ("*", false),
        ] {
            assert_eq!(are_ours(&request("/", &[host]), &names), wanted, "{host:?}");
        }
    }

    #[test]
    fn one_name_must_be_said_and_the_target_must_not_say_another() {
        assert!(!are_ours(&request("/", &[]), &[]));
        assert!(!are_ours(&request("/", &["localhost", "localhost"]), &[]));
        assert!(are_ours(&request("http://localhost:1/metrics", &["localhost"]), &[]));
        assert!(!are_ours(&request("http://evil.example/metrics", &["localhost"]), &[]));
        assert!(!are_ours(&request("http://localhost/metrics", &["evil.example"]), &[]));
    }
}
