//! The facts about one session: who, where to, by which name and way, how long each stage took, how much.
//!
//! Plain data: every hop writes its own part, the report reads them all.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::addr::{Host, Name, Source, Target};
use crate::close::Stage;

/// What is known of a session so far.
#[derive(Debug)]
pub struct Flow {
    /// Its number, unique while the process lives; 1 is the first.
    pub id: u64,
    /// When it was accepted.
    pub started: Instant,
    /// The client's address.
    pub client: SocketAddr,
    /// The original destination; `None` until it was read.
    pub origin: Option<SocketAddr>,
    /// The name seen on the wire, or what the origin's address stands for.
    pub name: Option<Name>,
    /// Whether the name is only known, and the origin's address is asked for.
    pub by_address: bool,
    /// Whether the name resolves to the origin's address here, where that was asked.
    pub verified: Option<bool>,
    /// Where it is led, where there is more than one way.
    pub led: Option<Box<Led>>,
    /// The address of the upstream that was connected to.
    pub upstream: Option<SocketAddr>,
    /// How far it came.
    pub stage: Stage,
    /// The status of the last answer to CONNECT.
    pub status: Option<u16>,
    /// From accept to the verdict on the first bytes.
    pub sniff: Option<Span>,
    /// From accept to the TCP connection to the upstream, or until there was none.
    pub dial: Option<Span>,
    /// From that to the end of the TLS handshake with the upstream, where there was one. That of a connection which
    /// took the place of the first one is a part of `connect` as well.
    pub tls: Option<Span>,
    /// From the CONNECT request to its answer, with all that was tried in between.
    pub connect: Option<Span>,
    /// Requests that were handed to the upstream one by one.
    pub requests: u32,
    /// How often another proxy was tried, or the same one over a new connection, because one could not be reached or
    /// gave no sound answer to CONNECT. A connection that authentication needs is none, nor is one between requests.
    pub retries: u16,
    /// Reads of the client, and of the upstream, that brought bytes.
    pub chunks: [u32; 2],
    /// Bytes that were handed to the upstream's socket, the CONNECT request apart.
    pub up: u64,
    /// Bytes that were handed to the client's socket, an error answer of ours apart.
    pub down: u64,
    /// What those see of it who look on; `None`: nobody does.
    pub shown: Option<Arc<Shown>>,
}

/// What is shown of a session while it lasts. The counts are exact, the facts those of the last hop.
#[derive(Debug)]
pub struct Shown {
    /// Its number.
    pub id: u64,
    /// When it was accepted.
    pub started: Instant,
    /// The client's address.
    pub client: SocketAddr,
    /// From accept to the beginning of the dial that counted, unless it began at once.
    pub dial_began: OnceLock<Span>,
    /// From accept to the open way.
    pub set_up: OnceLock<Span>,
    known: Mutex<Known>,
    requests: AtomicU32,
    up: AtomicU64,
    down: AtomicU64,
    killed: AtomicBool,
}

/// What was found out of a session; the fields are those of [`Flow`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "they are those of Flow")]
pub struct Known {
    pub origin: Option<SocketAddr>,
    pub name: Option<Name>,
    pub by_address: bool,
    pub led: Option<Box<Led>>,
    pub upstream: Option<SocketAddr>,
    pub stage: Stage,
    pub status: Option<u16>,
}

/// What a session has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Requests that were handed on one by one.
    pub requests: u32,
    /// Bytes up.
    pub up: u64,
    /// Bytes down.
    pub down: u64,
}

/// How long a stage took, in microseconds: 1 at least, 71 minutes at most. Small, since every open tunnel holds some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(NonZeroU32);

impl From<Duration> for Span {
    fn from(time: Duration) -> Span {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        Span(NonZeroU32::new(micros).unwrap_or(NonZeroU32::MIN))
    }
}

impl Span {
    /// In milliseconds.
    pub fn millis(self) -> f64 {
        f64::from(self.0.get()) / 1e3
    }

    /// In seconds.
    pub fn seconds(self) -> f64 {
        f64::from(self.0.get()) / 1e6
    }
}

/// Where a session is led.
#[derive(Clone, Debug)]
pub struct Led {
    /// The name of an upstream, `direct` or `reject`.
    pub via: Arc<str>,
    /// Where the route stands that says so, if one does.
    pub route: Option<Arc<str>>,
}

impl Flow {
    /// A session that was accepted just now.
    pub fn new(client: SocketAddr) -> Flow {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Flow {
            id: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            started: Instant::now(),
            client,
            origin: None,
            name: None,
            by_address: false,
            verified: None,
            led: None,
            upstream: None,
            stage: Stage::Origin,
            status: None,
            sniff: None,
            dial: None,
            tls: None,
            connect: None,
            requests: 0,
            retries: 0,
            chunks: [0; 2],
            up: 0,
            down: 0,
            shown: None,
        }
    }

    /// Lets others look on from now on; returns what they see.
    pub fn show_to_others(&mut self) -> Arc<Shown> {
        let shown = Arc::new(Shown {
            id: self.id,
            started: self.started,
            client: self.client,
            dial_began: OnceLock::new(),
            set_up: OnceLock::new(),
            known: Mutex::new(self.known()),
            requests: AtomicU32::new(self.requests),
            up: AtomicU64::new(self.up),
            down: AtomicU64::new(self.down),
            killed: AtomicBool::new(false),
        });
        self.shown = Some(shown.clone());
        shown
    }

    /// It has come so far.
    pub fn reach(&mut self, stage: Stage) {
        self.stage = stage;
        if let Some(shown) = self.shown.as_ref().filter(|_| stage == Stage::Relay) {
            shown.set_up.get_or_init(|| self.started.elapsed().into());
        }
        self.show();
    }

    /// The dial that counts begins only now.
    pub fn dials_now(&self) {
        if let Some(shown) = &self.shown {
            shown.dial_began.get_or_init(|| self.started.elapsed().into());
        }
    }

    /// Lets those who look on see what is known by now.
    pub fn show(&self) {
        if let Some(shown) = &self.shown {
            *shown.known.lock().unwrap_or_else(PoisonError::into_inner) = self.known();
        }
    }

    /// So many bytes have gone up and down by now.
    pub fn moved(&mut self, up: u64, down: u64) {
        (self.up, self.down) = (up, down);
        if let Some(shown) = &self.shown {
            shown.up.store(up, Ordering::Relaxed);
            shown.down.store(down, Ordering::Relaxed);
            shown.requests.store(self.requests, Ordering::Relaxed);
        }
    }

    /// What was found out so far.
    pub fn known(&self) -> Known {
        Known {
            origin: self.origin,
            name: self.name.clone(),
            by_address: self.by_address,
            led: self.led.clone(),
            upstream: self.upstream,
            stage: self.stage,
            status: self.status,
        }
    }

    /// Whether somebody has it cut.
    pub fn is_killed(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.is_killed())
    }

    /// The name that the origin's address stands for, where our resolver has made it: the address means nothing to
    /// anybody else.
    pub fn meant(&self) -> Option<&Host> {
        self.name.as_ref().filter(|name| name.source == Source::Dns).map(|name| &name.host)
    }

    /// What CONNECT carries: the name if there is one to go by, the port always from the origin.
    pub fn target(&self) -> Option<Target<'_>> {
        target(self.origin, self.name.as_ref(), self.by_address)
    }
}

impl Shown {
    /// What is known of it.
    pub fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has moved so far.
    pub fn moved(&self) -> Moved {
        Moved {
            requests: self.requests.load(Ordering::Relaxed),
            up: self.up.load(Ordering::Relaxed),
            down: self.down.load(Ordering::Relaxed),
        }
    }

    /// Says that it is going to be cut.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
    }

    /// Whether it is going to be cut.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }
}

impl Known {
    /// What is asked for, or is to be; nothing as long as that is no question.
    pub fn target(&self) -> Option<Target<'_>> {
        target(self.origin, self.name.as_ref(), self.by_address).filter(|_| self.stage != Stage::Origin)
    }
}

fn target(origin: Option<SocketAddr>, name: Option<&Name>, by_address: bool) -> Option<Target<'_>> {
    let origin = origin?;
    Some(match name {
        Some(name) if !by_address => Target::Name(&name.host, origin.port()),
        _ => Target::Addr(origin),
    })
}
