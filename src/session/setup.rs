//! What sessions are made with: the settings of the moment, exchanged as a whole, and what outlives them.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use super::access::Access;
use super::mirror::Mirror;
use super::taps::Taps;
use crate::config::{Config, Via};
use crate::dns::Resolver;
use crate::route::{Routes, Verifier};
use crate::stats::{Gate, Pass, Stats, Watch};
use crate::sys::limits;
use crate::tap::Sink;
use crate::upstream::{Dialler, Upstream};

/// What all sessions of a process share.
#[derive(Debug)]
pub struct Gateway {
    setup: RwLock<Arc<Setup>>,
    pub(super) mirror: Arc<Mirror>,
    /// Whose addresses stand for names; `None`: there is none.
    pub resolver: Option<Arc<Resolver>>,
    /// The counters.
    pub stats: Stats,
    /// What the admin tells of sessions; `None`: there is no admin.
    pub watch: Option<Watch>,
    /// Where the line of each session goes.
    pub access: Access,
    /// Lines about connections that should not be here.
    pub(super) gate: Gate,
    /// Lines about ports that are all taken.
    pub(super) ports: Gate,
}

/// Settings and what is made of them. A session keeps those that it began with.
#[derive(Debug)]
pub struct Setup {
    /// The settings.
    pub config: Config,
    /// The upstreams, in the order of the settings.
    pub upstreams: Vec<Arc<Upstream>>,
    pub(super) routes: Routes,
    pub(super) taps: Taps,
    goes_direct: bool,
    pub(super) direct: Dialler,
    pub(super) verifier: Arc<Verifier>,
}

impl Gateway {
    /// A gateway that begins with this; opens nothing.
    pub fn new(setup: Setup) -> Gateway {
        let config = &setup.config;
        Gateway {
            watch: config.admin.as_ref().map(|_| Watch::default()),
            resolver: config.dns.as_ref().map(|settings| Arc::new(Resolver::new(settings, config.mark))),
            setup: RwLock::new(Arc::new(setup)),
            mirror: Arc::default(),
            stats: Stats::default(),
            access: Access::default(),
            gate: Gate::default(),
            ports: Gate::default(),
        }
    }

    /// What sessions begin with now.
    pub fn setup(&self) -> Arc<Setup> {
        self.setup.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts and tells that all ports towards a proxy or an origin are taken.
    pub(super) fn out_of_ports(&self, addr: SocketAddr) {
        self.stats.out_of_ports();
        if self.ports.pass(Instant::now()) == Pass::HoldBack {
            return;
        }
        let range = limits::port_range().map(|[first, last]| format!(" (now {first}-{last})")).unwrap_or_default();
        let remedy = "add addresses to \"source\" or widen net.ipv4.ip_local_port_range";
        tracing::error!("out of local ports towards {addr}; {remedy}{range}");
    }

    /// From now on sessions begin with this.
    pub fn exchange(&self, setup: Setup) {
        if let (Some(resolver), Some(settings)) = (&self.resolver, &setup.config.dns) {
            resolver.exchange(settings, setup.config.mark);
        }
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(setup);
    }
}

impl Setup {
    /// Makes what the settings say; opens nothing. Upstreams of `old` that would be the same stay, with all that is
    /// known of them.
    ///
    /// # Errors
    /// The roots that a proxy's certificate is checked against cannot be read.
    pub fn new(config: Config, old: Option<&Setup>) -> Result<Setup, String> {
        let mut upstreams = Vec::with_capacity(config.upstreams.len());
        for settings in &config.upstreams {
            let kept = old.and_then(|old| old.upstreams.iter().find(|upstream| upstream.is_as(settings, &config)));
            upstreams.push(match kept {
                Some(upstream) => upstream.clone(),
                None => {
                    let wrong = |why| format!("{}: upstream {}: {why}", settings.place, settings.name);
                    Arc::new(Upstream::new(settings, &config).map_err(wrong)?)
                }
            });
        }
        let default = Via::Upstream(config.default_upstream);
        Ok(Setup {
            routes: Routes::new(&config.routes, default, config.verify_name),
            taps: Taps::new(&config, old.map(|old| &old.taps)),
            goes_direct: config.routes.iter().any(|route| route.via == Via::Direct),
            direct: Dialler::new(&config, &config.source),
            verifier: old.map_or_else(Arc::default, |old| old.verifier.clone()),
            upstreams,
            config,
        })
    }

    /// The taps, to be started before the first session.
    pub fn taps(&self) -> impl Iterator<Item = &Arc<Sink>> {
        self.taps.sinks()
    }

    /// Whether a session may go to its origin without a proxy.
    pub(super) fn goes_direct(&self) -> bool {
        self.goes_direct
    }

    /// Whether one of the proxies has this address, as far as they are known now.
    pub(super) fn is_proxy(&self, addr: SocketAddr) -> bool {
        self.upstreams.iter().any(|upstream| upstream.is_at(addr))
    }

    /// The word for where a route leads.
    pub(super) fn via(&self, via: Via) -> &str {
        crate::config::via(via, &self.config)
    }
}
