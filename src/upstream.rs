//! The upstream: its addresses, a TCP connection to one of them, and the tunnel through it.

mod connect;
mod dial;
mod resolve;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::auth::Conversation;
use crate::close::{By, Close, End};
use crate::config::{Config, UpstreamAddr};
use crate::stream::Stream;
use crate::sys::socket;
use crate::wire::answer::Page;
use resolve::Resolver;

pub use connect::{Opened, open};

/// One upstream proxy.
#[derive(Debug)]
pub struct Upstream {
    addr: UpstreamAddr,
    resolver: Arc<Resolver>,
    mark: u32,
    keepalive: Option<Duration>,
}

/// A connection to a proxy of an upstream.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub stream: Stream,
    /// Where to.
    pub addr: SocketAddr,
    /// Who we are there.
    pub conversation: Option<Conversation>,
}

/// Why there is no tunnel.
#[derive(Debug)]
pub struct Failure {
    /// For the log.
    pub close: Close,
    /// The upstream's status, if it said one.
    pub status: Option<u16>,
    /// The upstream's page, for people.
    pub page: Option<Page>,
    /// Whether the upstream said that it cannot resolve the name.
    pub unresolved: bool,
}

impl Failure {
    fn of(close: Close) -> Failure {
        Failure { close, status: None, page: None, unresolved: false }
    }

    /// The deadline passed.
    pub fn timeout(doing: &str, limit: Duration) -> Failure {
        let limit = humantime::format_duration(limit);
        Failure::of(Close::because(End::Timeout, By::Upstream, format_args!("{doing}: nothing within {limit}")))
    }
}

impl Upstream {
    /// The upstream that the settings name; nothing is resolved or dialled yet.
    pub fn new(config: &Config) -> Upstream {
        let addr = config.upstream_proxy.clone();
        let resolver = Arc::new(Resolver::new(&addr));
        Upstream { addr, resolver, mark: config.mark, keepalive: config.keepalive }
    }

    /// Its name or address, as it was configured.
    pub fn addr(&self) -> &UpstreamAddr {
        &self.addr
    }

    /// Its addresses, as far as they are known now.
    ///
    /// # Errors
    /// Its name does not resolve and never did.
    pub async fn addresses(&self) -> io::Result<Arc<[SocketAddr]>> {
        self.resolver.addresses().await
    }

    /// Whether this is one of its addresses, as far as they are known now.
    pub fn is_at(&self, addr: SocketAddr) -> bool {
        self.resolver.known().is_some_and(|known| known.contains(&addr))
    }

    /// Connects to the first of its addresses that answers. May be dropped at any time.
    ///
    /// # Errors
    /// No address, or none of them answers.
    pub async fn dial(&self) -> Result<Link, Failure> {
        let (stream, addr) = self.connect().await?;
        Ok(Link { stream: Stream::Tcp(stream), addr, conversation: None })
    }

    async fn connect(&self) -> Result<(TcpStream, SocketAddr), Failure> {
        let unresolved = |error| Failure::of(Close::because(End::Resolve, By::Upstream, error));
        let addrs = self.resolver.addresses().await.map_err(unresolved)?;
        let first = match dial::any(&addrs, self.mark, self.keepalive).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        // it may have moved since its name was resolved
        let Some(moved) = self.resolver.moved_from(&addrs).await else {
            return Err(undialled(&first));
        };
        dial::any(&moved, self.mark, self.keepalive).await.map_err(|error| undialled(&error))
    }
}

/// A shortage of ours is not the upstream's fault.
fn undialled(error: &dial::Undialled) -> Failure {
    if socket::is_shortage(&error.error) {
        return Failure::of(Close::because(End::Error, By::Us, error));
    }
    Failure::of(Close::because(End::Dial, By::Upstream, error))
}
