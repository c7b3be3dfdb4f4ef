//! A request that is relayed: its head parsed strictly, and written anew for a proxy in absolute form.
//!
//! What a client says becomes a part of what we say only after it was parsed and found valid: the method,
//! the path and each field. The host is a validated name or the origin's address, the port always the
//! origin's. What two recipients could read differently is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::body::Extent;
use super::fields::{self, Framing, Misframed, Options, Room};
use crate::addr::{Host, Target};

/// Why a request is not relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is answered.
    pub status: u16,
    /// In words.
    pub why: &'static str,
}

/// A request that can be relayed.
#[derive(Debug)]
pub struct Request<'r, 'b> {
    method: &'b str,
    /// From its first slash, or `*`.
    path: &'b str,
    /// Whether the path, of an absolute target, wants a slash before it.
    slash: bool,
    fields: &'r [httparse::Header<'b>],
    options: Options<'b>,
    /// The host that it names, if that is a valid name.
    pub host: Option<Host>,
    /// What is known of it without its bytes.
    pub facts: Facts,
}

/// What is to be known of a request once its head was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The length of its head, the empty line included.
    pub length: usize,
    /// How its body ends.
    pub extent: Extent,
    /// How its body was framed, for the head that goes with it.
    framing: Framing,
    /// Whether the client speaks HTTP/1.0.
    pub old: bool,
    /// Whether the client's connection may go on after it.
    pub keep: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub expects: bool,
    /// Whether the client would like to go on in another protocol.
    pub upgrade: bool,
    /// Whether its answer has no body.
    pub head: bool,
    /// Whether it may be sent twice (RFC 9110 section 9.2.2).
    pub idempotent: bool,
}

/// One sending of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Without its body, until the proxy knows who we are.
    Empty,
    /// Whole, though the proxy may ask who we are.
    Whole,
    /// Whole; the connection need not go on if the client's does not.
    Last,
}

/// Where method and target stand in what [`Request::write`] wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The method.
    pub method: Range<usize>,
    /// The whole target.
    pub uri: Range<usize>,
}

/// Parses a whole head, from the first byte of its method to its empty line.
///
/// # Errors
/// It is no valid request, or none that is relayed.
pub fn parse<'r, 'b>(head: &'b [u8], room: &'r mut Room<'b>) -> Result<Request<'r, 'b>, Refusal> {
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(head, room) {
        Ok(httparse::Status::Complete(length)) => length,
        Err(httparse::Error::TooManyHeaders) => return Err(refuse(431, "too many fields")),
        Err(httparse::Error::Version) if has_version(head) => {
            return Err(refuse(505, "neither HTTP/1.1 nor HTTP/1.0"));
        }
        Ok(httparse::Status::Partial) | Err(_) => return Err(bad("the head is not valid")),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(bad("the head is not valid"));
    };
    // an empty line that the parser sees elsewhere is somebody's smuggling
    if length != head.len() {
        return Err(bad("the head is not valid"));
    }
    let fields: &'r [httparse::Header<'b>] = request.headers;
    let old = minor == 0;
    // TRACE would show our credentials to the client, and some proxies read methods without their case
    if ["CONNECT", "TRACE"].iter().any(|barred| method.eq_ignore_ascii_case(barred)) {
        return Err(refuse(405, "this method is not relayed"));
    }
    // whether its answer has a body must not depend on who reads it
    if method.eq_ignore_ascii_case("HEAD") && method != "HEAD" {
        return Err(bad("the method is not valid"));
    }
    let named = host(fields)?;
    if named.is_none() && !old {
        return Err(bad("there is no host"));
    }
    let target = read_target(method, target)?;
    let authority = match (target.authority, named) {
        (Some(one), Some(other)) if one != other => return Err(bad("the target and host differ")),
        (Some(one), _) => Some(one),
        (None, named) => named,
    };
    let framing = fields::framing(fields).map_err(|misframed| match misframed {
        Misframed::Ambiguous(why) => bad(why),
        Misframed::Coded => refuse(501, "a transfer coding other than chunked"),
    })?;
    let extent = match framing {
        Framing::Chunked if old => return Err(bad("chunks in HTTP/1.0")),
        Framing::Chunked => Extent::Chunked,
        Framing::Length(length) => Extent::Length(length),
        Framing::Unsaid => Extent::Length(0),
    };
    let options = Options::read(fields, true).ok_or(bad("too many connection options"))?;
    let keep = !options.close && (!old || options.keep_alive);
    let facts = Facts {
        length,
        extent,
        framing,
        old,
        keep,
        expects: expects(fields, old)?,
        upgrade: !old && options.upgrade && extent == Extent::Length(0) && may_upgrade(fields),
        head: method == "HEAD",
        idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE"),
    };
    let host = match authority {
        Some(Authority::Name(host)) => Some(host),
        _ => None,
    };
    Ok(Request { method, path: target.path, slash: target.slash, fields, options, host, facts })
}

/// Whether the request line ends with some version of HTTP, as it should.
fn has_version(head: &[u8]) -> bool {
    let line = head.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii_end();
    let mut words = line.split(|&b| b == b' ');
    let version = words.nth(2).unwrap_or_default();
    words.next().is_none() && matches!(version, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'])
}

const fn refuse(status: u16, why: &'static str) -> Refusal {
    Refusal { status, why }
}

const fn bad(why: &'static str) -> Refusal {
    refuse(400, why)
}

/// The host of an authority; its port is the origin's in any case.
#[derive(Debug, PartialEq, Eq)]
enum Authority {
    Name(Host),
    Addr(IpAddr),
}

impl Authority {
    /// Reads `host[:port]`; no user (RFC 9110 section 4.2.4).
    fn parse(text: &[u8]) -> Option<Authority> {
        let text = std::str::from_utf8(text).ok()?;
        if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            return is_port(port).then(|| host.parse::<Ipv6Addr>().ok().map(|ip| Authority::Addr(ip.into())))?;
        }
        let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        if !is_port(port) {
            return None;
        }
        match host.parse::<Ipv4Addr>() {
            Ok(ip) => Some(Authority::Addr(ip.into())),
            Err(_) => Host::parse(host.as_bytes()).map(Authority::Name),
        }
    }
}

/// Whether this is nothing, or a colon with a port that may be left out (RFC 3986 section 3.2.3).
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':').unwrap_or(text);
    (text.is_empty() || text.len() > digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u16>().is_ok())
}

/// The one Host field (RFC 9112 section 3.2).
fn host(fields: &[httparse::Header<'_>]) -> Result<Option<Authority>, Refusal> {
    let mut hosts = fields.iter().filter(|f| f.name.eq_ignore_ascii_case("host"));
    let Some(host) = hosts.next() else { return Ok(None) };
    if hosts.next().is_some() {
        return Err(bad("there are several hosts"));
    }
    Authority::parse(host.value).map(Some).ok_or(bad("the host is no valid name or address"))
}

struct Form<'b> {
    authority: Option<Authority>,
    path: &'b str,
    slash: bool,
}

/// Takes a target apart: origin-form, absolute-form or `*` (RFC 9112 section 3.2).
fn read_target<'b>(method: &str, target: &'b str) -> Result<Form<'b>, Refusal> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Form { authority: None, path: target, slash: false });
    }
    let Some(rest) = target.get(..7).filter(|s| s.eq_ignore_ascii_case("http://")).map(|_| &target[7..]) else {
        return Err(bad("the target is no path"));
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority =
        Authority::parse(authority.as_bytes()).ok_or(bad("the target's host is no valid name or address"))?;
    // http://host alone is the whole server where that is asked about, and its root elsewhere
    let path = if path.is_empty() && method == "OPTIONS" { "*" } else { path };
    Ok(Form { authority: Some(authority), path, slash: !path.starts_with(['/', '*']) })
}

/// The one expectation that there is (RFC 9110 section 10.1.1); HTTP/1.0 has none.
fn expects(fields: &[httparse::Header<'_>], old: bool) -> Result<bool, Refusal> {
    let mut expects = false;
    for field in fields.iter().filter(|f| f.name.eq_ignore_ascii_case("expect")) {
        if !field.value.eq_ignore_ascii_case(b"100-continue") && !old {
            return Err(refuse(417, "an expectation other than 100-continue"));
        }
        expects = !old;
    }
    Ok(expects)
}

/// Upgrade to HTTP/2 is no more (RFC 9113 section 3.1), and behind it nobody would see the requests.
fn may_upgrade(fields: &[httparse::Header<'_>]) -> bool {
    let mut wishes = fields.iter().filter(|f| f.name.eq_ignore_ascii_case("upgrade")).peekable();
    wishes.peek().is_some()
        && wishes.all(|f| f.value.split(|&b| b == b',').all(|p| !p.trim_ascii().eq_ignore_ascii_case(b"h2c")))
}

impl Request<'_, '_> {
    /// Writes the head for a proxy as far as all tries of it are the same; [`Facts::finish`] does the rest.
    pub fn write(&self, site: &Target<'_>, out: &mut Vec<u8>) -> Line {
        let method = out.len()..out.len() + self.method.len();
        out.extend_from_slice(self.method.as_bytes());
        out.extend_from_slice(b" ");
        let start = out.len();
        out.extend_from_slice(b"http://");
        write_authority(site, out);
        if self.slash {
            out.extend_from_slice(b"/");
        }
        if self.path != "*" {
            out.extend_from_slice(self.path.as_bytes());
        }
        let uri = start..out.len();
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        write_authority(site, out);
        out.extend_from_slice(b"\r\n");
        for field in self.fields {
            let name = field.name;
            if name.eq_ignore_ascii_case("te") && field.value.eq_ignore_ascii_case(b"trailers") {
                out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
            }
            let anew = name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case("expect");
            if anew || self.options.ends_here(name) {
                // what its protocol needs, an upgrade names as an option
                let kept = self.facts.upgrade && name.eq_ignore_ascii_case("upgrade");
                if !kept {
                    continue;
                }
            }
            fields::write(out, field);
        }
        if self.facts.upgrade {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
        }
        out.extend_from_slice(if self.facts.old { b"Via: 1.0 handyproxy\r\n" } else { b"Via: 1.1 handyproxy\r\n" });
        Line { method, uri }
    }
}

impl Facts {
    /// Whether it has a body.
    pub fn has_body(&self) -> bool {
        self.extent != Extent::Length(0)
    }

    /// Whether its body is known to be no longer than this.
    pub fn has_short_body(&self, most: usize) -> bool {
        matches!(self.extent, Extent::Length(length) if length <= most as u64)
    }

    /// Writes the rest of the head. `Some` carries credentials, if there are any, to a proxy that wants
    /// them.
    pub fn finish(&self, credentials: Option<Option<&str>>, leg: Leg, out: &mut Vec<u8>) {
        if leg == Leg::Empty {
            out.extend_from_slice(b"Content-Length: 0\r\n");
        } else {
            fields::write_framing(out, self.framing);
            if self.expects {
                out.extend_from_slice(b"Expect: 100-continue\r\n");
            }
        }
        // who closes first keeps the port for a minute
        if leg == Leg::Last && !self.keep {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        if let Some(value) = credentials {
            // old gear closes without it
            out.extend_from_slice(b"Proxy-Connection: Keep-Alive\r\n");
            if let Some(value) = value {
                out.extend_from_slice(b"Proxy-Authorization: ");
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The authority of an http URI: its own port is left out.
fn write_authority(site: &Target<'_>, out: &mut Vec<u8>) {
    use std::io::Write;
    let written = match site {
        Target::Name(host, 80) => write!(out, "{host}"),
        Target::Addr(addr) if addr.port() == 80 => match addr.ip() {
            IpAddr::V4(ip) => write!(out, "{ip}"),
            IpAddr::V6(ip) => write!(out, "[{ip}]"),
        },
        site => write!(out, "{site}"),
    };
    written.expect("a Vec takes every byte");
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
