//! Upstreams as they are configured: which proxies in which order, and who we are to them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use super::{Place, UpstreamAddr};

/// One upstream: an `[upstream.NAME]`, or what `upstream-proxy` says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Its name, or its address as it was given where it has none.
    pub name: String,
    /// Its proxies in order of preference, one at least.
    pub proxies: Vec<Proxy>,
    /// Schemes that may be used, in order of preference; none: no authentication.
    pub auth: Vec<Scheme>,
    /// Who we are.
    pub credentials: Credentials,
    /// What becomes of HTTP without TLS.
    pub plain_http: PlainHttp,
    /// How often to see whether its proxies are alive; `None` never asks.
    pub probe: Option<Duration>,
    /// Local addresses to dial from; empty lets the kernel choose.
    pub source: Vec<IpAddr>,
    /// PEM of the authorities that a `https://` proxy is checked against; `None`: those of the system.
    pub ca: Option<Vec<u8>>,
    /// The files that were read for it.
    pub files: Vec<NamedFile>,
    /// Where it was configured.
    pub place: Place,
}

/// A file that a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The key.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The name under which systemd may hand it over instead.
    pub credential: Option<String>,
}

impl UpstreamSettings {
    /// Whether it has a name of its own, and not just its address for one.
    pub fn is_named(&self) -> bool {
        !self.name.contains(':')
    }
}

/// One proxy of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What is spoken to it.
    pub speaks: Speaks,
    /// Where it is.
    pub addr: UpstreamAddr,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP CONNECT.
    Http,
    /// HTTP CONNECT inside TLS.
    Https,
    /// SOCKS5 (RFC 1928), by name.
    Socks5,
}

/// How we prove who we are (RFC 7617, RFC 7616, NTLMv2, RFC 4559).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// User and password, readable.
    Basic,
    /// A digest of user, password and a nonce.
    Digest,
    /// NTLMv2.
    Ntlm,
    /// Kerberos.
    Negotiate,
}

/// Who we are to an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user; `DOMAIN\user` or `user@domain` for NTLM, a principal for Negotiate. Empty: none.
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
    /// A keytab for Negotiate; `None` uses the ticket cache.
    pub keytab: Option<PathBuf>,
}

/// What becomes of HTTP without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// It goes through a tunnel like everything else.
    Connect,
    /// Each request is handed to the proxy by itself.
    Relay,
    /// A tunnel first; where the proxy refuses that for the port, as `Relay`.
    Auto,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Basic => "basic",
            Scheme::Digest => "digest",
            Scheme::Ntlm => "ntlm",
            Scheme::Negotiate => "negotiate",
        })
    }
}

impl fmt::Display for PlainHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PlainHttp::Connect => "connect",
            PlainHttp::Relay => "relay",
            PlainHttp::Auto => "auto",
        })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.speaks {
            Speaks::Http => "http",
            Speaks::Https => "https",
            Speaks::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}", self.addr)
    }
}
