//! One proxy of an upstream: its addresses, its health, and a connection to it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::dial::{self, From};
use super::failure::{Failure, undialled};
use super::health::{Change, Health};
use super::resolve::Resolver;
use super::tls::Tls;
use crate::close::{By, Close, End};
use crate::config::{Proxy, Speaks};
use crate::stream::Stream;

/// A proxy.
#[derive(Debug)]
pub(super) struct Member {
    /// The name of the upstream that it belongs to, for the log.
    upstream: Arc<str>,
    pub(super) proxy: Proxy,
    pub(super) resolver: Arc<Resolver>,
    pub(super) health: Health,
    tls: Option<Tls>,
}

/// A connection to it.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) stream: Stream,
    pub(super) addr: SocketAddr,
    /// How long the TLS handshake took, where there was one.
    pub(super) tls: Option<Duration>,
}

impl Member {
    pub(super) fn new(upstream: Arc<str>, proxy: Proxy, tls: Option<Tls>) -> Member {
        let resolver = Arc::new(Resolver::new(&proxy.addr));
        let tls = tls.filter(|_| proxy.speaks == Speaks::Https);
        Member { upstream, proxy, resolver, health: Health::default(), tls }
    }

    /// Connects to it, TLS included where it speaks that. May be dropped at any time.
    pub(super) async fn dial(&self, from: &From<'_>) -> Result<Reached, Failure> {
        let unresolved = |error: io::Error| Failure::new(Close::because(End::Resolve, By::Upstream, error)).of_proxy();
        let addrs = self.resolver.addresses().await.map_err(unresolved)?;
        let (tcp, addr) = match dial::any(&addrs, from).await {
            Ok(connected) => connected,
            // it may have moved since its name was resolved
            Err(error) => match self.resolver.moved_from(&addrs).await {
                Some(moved) => dial::any(&moved, from).await.map_err(|error| undialled(&error))?,
                None => return Err(undialled(&error)),
            },
        };
        self.greet(tcp, addr).await
    }

    /// The same at one of these addresses.
    pub(super) async fn dial_at(&self, addrs: &[SocketAddr], from: &From<'_>) -> Result<Reached, Failure> {
        let (tcp, addr) = dial::any(addrs, from).await.map_err(|error| undialled(&error))?;
        self.greet(tcp, addr).await
    }

    /// TLS, where it speaks that.
    async fn greet(&self, tcp: TcpStream, addr: SocketAddr) -> Result<Reached, Failure> {
        let Some(tls) = &self.tls else { return Ok(Reached { stream: Stream::Tcp(tcp), addr, tls: None }) };
        let start = Instant::now();
        let stream = tls.handshake(tcp, &self.proxy.addr.host).await.map_err(|error| {
            Failure::new(Close::because(End::Dial, By::Upstream, format_args!("{addr}: {error}"))).of_proxy()
        })?;
        Ok(Reached { stream, addr, tls: Some(start.elapsed()) })
    }

    /// Takes note of a failure that is its own.
    pub(super) fn failed(&self, why: &str) {
        self.tell(self.health.failed(why, Instant::now()), why);
    }

    /// Takes note that it gave no sound answer.
    pub(super) fn was_silent(&self, why: &str) {
        self.tell(self.health.was_silent(why, Instant::now()), why);
    }

    /// Takes note that it can be connected to, which is not to say that it answers.
    pub(super) fn was_reached(&self) {
        self.tell(self.health.reached(Instant::now()), "");
    }

    /// Takes note that it answers.
    pub(super) fn worked(&self) {
        self.tell(self.health.worked(Instant::now()), "");
    }

    /// One line per change.
    fn tell(&self, change: Change, why: &str) {
        let Member { upstream, proxy, .. } = self;
        match change {
            Change::None => {}
            Change::Down(hold) => {
                let hold = humantime::format_duration(hold);
                tracing::warn!("upstream {upstream}: {proxy} is down: {why}; next try in {hold}");
            }
            Change::Up(after) => {
                tracing::info!("upstream {upstream}: {proxy} is up again after {}s", after.as_secs());
            }
        }
    }
}
