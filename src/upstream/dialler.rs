//! How sockets are dialled: with which mark, and from where.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::net::TcpStream;

use super::dial;
use super::failure::{Failure, undialled};
use crate::config::Config;

/// How sockets are dialled.
#[derive(Debug)]
pub struct Dialler {
    mark: u32,
    keepalive: Option<Duration>,
    source: Vec<IpAddr>,
    turn: AtomicUsize,
}

impl Dialler {
    /// Dials as the settings say, from these addresses of this machine; none leaves it to the kernel.
    pub fn new(config: &Config, source: &[IpAddr]) -> Dialler {
        let (mark, keepalive) = (config.mark, config.keepalive);
        Dialler { mark, keepalive, source: source.to_vec(), turn: AtomicUsize::new(0) }
    }

    /// Connects to an origin itself, at one of its addresses, of which there is at least one.
    ///
    /// # Errors
    /// It cannot be reached, or this machine is out of something.
    pub async fn direct(&self, origin: &[SocketAddr]) -> Result<TcpStream, Failure> {
        let dialled = dial::any(origin, &self.from()).await;
        dialled.map(|(stream, _)| stream).map_err(|error| Failure { direct: true, ..undialled(&error) })
    }

    /// Who dials.
    pub(super) fn from(&self) -> dial::From<'_> {
        dial::From { mark: self.mark, keepalive: self.keepalive, sources: &self.source, turn: &self.turn }
    }

    /// Whether another one dials in the same way.
    pub(super) fn is_as(&self, other: &Dialler) -> bool {
        (self.mark, self.keepalive, &self.source) == (other.mark, other.keepalive, &other.source)
    }
}
