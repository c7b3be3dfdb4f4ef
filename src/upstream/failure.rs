//! Why there is no tunnel, and whose fault that is.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::dial::Undialled;
use crate::close::{By, Close, End};
use crate::sys::socket;
use crate::wire::answer::Page;

/// Why there is no tunnel.
#[derive(Debug)]
pub struct Failure {
    /// For the log.
    pub close: Close,
    /// The upstream's status, if it said one.
    pub status: Option<u16>,
    /// The upstream's page, for people.
    pub page: Option<Page>,
    /// Whether the upstream's rules forbid this target, as far as its answer tells.
    pub forbidden: bool,
    /// Whether the upstream said that it cannot resolve the name, or we cannot.
    pub unresolved: bool,
    /// Towards where this machine is out of ports, if it is.
    pub out_of_ports: Option<SocketAddr>,
    /// Whether no upstream was concerned.
    pub direct: bool,
    pub(super) fault: Fault,
}

/// How long something may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// When it is over.
    pub until: tokio::time::Instant,
    /// The time that was given, for people.
    pub limit: Duration,
}

impl Deadline {
    /// So long from now on.
    pub fn after(limit: Duration) -> Deadline {
        Deadline { until: tokio::time::Instant::now() + limit, limit }
    }
}

/// Whose fault it is, as far as that decides what is tried next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody else could do better.
    Final,
    /// The proxy's: the next one may do better.
    Proxy,
    /// The connection had ended before it was used.
    Stale,
}

impl Failure {
    /// Nobody else could do better, as far as is known.
    pub fn new(close: Close) -> Failure {
        Failure {
            close,
            status: None,
            page: None,
            forbidden: false,
            unresolved: false,
            out_of_ports: None,
            direct: false,
            fault: Fault::Final,
        }
    }

    /// The next proxy may do better.
    pub(super) fn of_proxy(mut self) -> Failure {
        self.fault = Fault::Proxy;
        self
    }

    /// It must not go on, by our own rules.
    pub fn rejected(why: fmt::Arguments<'_>) -> Failure {
        Failure::new(Close::because(End::Rejected, By::Us, why))
    }

    /// There is no address to connect to.
    pub fn unresolved(why: impl fmt::Display) -> Failure {
        let close = Close::because(End::Resolve, By::Us, why);
        Failure { direct: true, unresolved: true, ..Failure::new(close) }
    }

    /// Our own direct connection came back to us.
    pub fn of_loop() -> Failure {
        let why = "our own direct connection was redirected: rules must leave out its mark or user";
        Failure { direct: true, ..Failure::new(Close::because(End::Loop, By::Us, why)) }
    }

    /// The deadline passed.
    pub fn timeout(doing: &str, limit: Duration) -> Failure {
        let limit = humantime::format_duration(limit);
        Failure::new(Close::because(End::Timeout, By::Upstream, format_args!("{doing}: nothing within {limit}")))
    }

    /// Adds to its reason what may help.
    pub fn advise(&mut self, advice: &str) {
        self.close.error = Some(format!("{}; {advice}", self.why()).into());
    }

    /// Its reason, for people.
    pub fn why(&self) -> &str {
        self.close.error.as_deref().unwrap_or_default()
    }
}

/// Credentials that we lack or that were refused.
pub(super) fn unauthenticated(addr: SocketAddr, why: &dyn fmt::Display) -> Failure {
    Failure::new(Close::because(End::Auth, By::Upstream, format_args!("{addr}: {why}")))
}

/// A shortage of ours is not the upstream's fault.
pub(super) fn undialled(error: &Undialled) -> Failure {
    if socket::is_shortage(&error.error) {
        let mut failure = Failure::new(Close::because(End::Error, By::Us, error));
        failure.out_of_ports = socket::is_port_shortage(&error.error).then_some(error.addr);
        return failure;
    }
    Failure::new(Close::because(End::Dial, By::Upstream, error)).of_proxy()
}
