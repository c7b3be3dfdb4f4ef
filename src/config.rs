//! Settings, checked and immutable: what the flags (and later the file) say, made sound.
//!
//! Every setting stands once, in the table of `settings`; flags are keys of the same names.

pub mod argv;
mod authorities;
pub mod duration;
mod routes;
mod secret;
mod settings;
mod upstreams;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::addr::Host;
use crate::pattern::Ports;

pub use authorities::authorities;
pub use routes::{DialBy, Route, Via};
pub use secret::Secret;
pub use settings::help;
pub use upstreams::{Credentials, PlainHttp, Proxy, Scheme, Speaks, UpstreamSettings};

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Run(Box<Config>),
    /// Print the version.
    Version,
    /// Print the flags.
    Help,
}

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The port that rules redirect to.
    pub local_port: u16,
    /// The upstream.
    pub upstream_proxy: UpstreamAddr,
    /// From accept to the open tunnel, sniffing apart.
    pub dial_timeout: Duration,
    /// How long to wait for a name; `None` does not look for one.
    pub sniff_timeout: Option<Duration>,
    /// How many bytes to hold while looking for a name.
    pub sniff_max_bytes: usize,
    /// Destination ports on which the HTTP scanner runs.
    pub sniff_http_ports: Ports,
    /// Destination ports on which the TLS scanner runs.
    pub sniff_tls_ports: Ports,
    /// Destination ports whose servers speak first: nothing is waited for.
    pub server_first_ports: Ports,
    /// An open tunnel in which nothing moves ends after this.
    pub idle_timeout: Option<Duration>,
    /// The same for a tunnel of which one side has ended.
    pub half_closed_timeout: Option<Duration>,
    /// Idle time before, and interval between, keepalive probes.
    pub keepalive: Option<Duration>,
    /// Most sessions at once; 0 is as many as the descriptors allow.
    pub max_sessions: usize,
    /// How long open sessions may go on after a signal to stop.
    pub drain_timeout: Duration,
    /// SO_MARK of every socket that is dialled; 0 is none.
    pub mark: u32,
    /// What is logged.
    pub log_level: LogLevel,
    /// Takes the place of the original destination, so that a debug build needs no rules.
    #[cfg(debug_assertions)]
    pub default_origin: Option<SocketAddr>,
}

/// Where the upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamAddr {
    /// Its name or address.
    pub host: UpstreamHost,
    /// Its port.
    pub port: u16,
}

/// An upstream's name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamHost {
    /// Resolved anew as answers age.
    Name(Host),
    /// Used as it is.
    Ip(IpAddr),
}

impl fmt::Display for UpstreamAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            UpstreamHost::Name(host) => write!(f, "{host}:{}", self.port),
            UpstreamHost::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
        }
    }
}

/// Where a setting stands: `file:line`, or the flag.
#[derive(Clone, PartialEq, Eq)]
pub struct Place(std::sync::Arc<str>);

impl Place {
    /// From its text.
    pub fn new(text: impl Into<std::sync::Arc<str>>) -> Place {
        Place(text.into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The least important lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing at all.
    Off,
    /// What is wrong with this machine.
    Error,
    /// And with the upstream or the rules.
    Warn,
    /// And one line per session.
    Info,
    /// And what helps to find a fault.
    Debug,
    /// And everything else.
    Trace,
}

/// One mistake in the settings: which, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The flag or word as it was given.
    pub given: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.given, self.why)
    }
}

impl Command {
    /// Reads the words behind the program's name.
    ///
    /// # Errors
    /// Every mistake at once, in the order in which they stand.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Command, Vec<Mistake>> {
        settings::parse(words)
    }
}
