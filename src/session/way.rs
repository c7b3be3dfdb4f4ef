//! The way out of a session: where its route leads, whether it may go there, and the first connection on it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::Setup;
use crate::addr::Host;
use crate::config::{DialBy, PlainHttp, Via};
use crate::dns::Resolver;
use crate::flow::{Flow, Led};
use crate::route::{Decision, is_private};
use crate::stream::Stream;
use crate::upstream::{Failure, Link, Opened, Retries};

/// How far a session has come on its way out.
pub(super) enum Way {
    /// Connected to a proxy.
    Proxy(Box<Link>),
    /// Connected to the origin itself.
    Origin(TcpStream),
    /// A tunnel.
    Opened(Stream, Opened),
}

/// The ways out of one session.
pub(super) struct Ways<'a> {
    pub(super) setup: &'a Setup,
    pub(super) resolver: Option<&'a Resolver>,
    pub(super) origin: SocketAddr,
    /// The name that the origin's address stands for.
    pub(super) meant: Option<Host>,
}

impl Ways<'_> {
    /// Connects to where a route leads, and counts the proxies that did not work. May be dropped at any time.
    pub(super) async fn dial(&self, via: Via, retries: &Retries) -> Result<Way, Failure> {
        match (via, &self.meant, self.resolver) {
            (Via::Upstream(number), ..) => {
                self.setup.upstreams[number].dial(retries).await.map(|link| Way::Proxy(Box::new(link)))
            }
            (Via::Direct, Some(host), Some(resolver)) => {
                let addrs = resolver.resolve(host).await.map_err(Failure::unresolved)?;
                let addrs: Vec<_> = addrs.into_iter().map(|ip| SocketAddr::new(ip, self.origin.port())).collect();
                self.setup.direct.direct(&addrs).await.map(Way::Origin)
            }
            (Via::Direct, ..) => self.setup.direct.direct(&[self.origin]).await.map(Way::Origin),
            (Via::Reject, ..) => std::future::pending().await,
        }
    }

    /// Whether requests may be handed over one by one there, so that it matters what the client speaks.
    pub(super) fn may_relay(&self, via: Via) -> bool {
        let Via::Upstream(number) = via else { return false };
        self.setup.upstreams[number].plain_http(self.origin.port()) != PlainHttp::Connect
    }

    /// Whether the origin's address stands for a name that nobody knows any more.
    pub(super) fn are_lost(&self) -> bool {
        self.meant.is_none() && self.resolver.is_some_and(|resolver| resolver.has(self.origin.ip()))
    }

    /// Why such a session cannot go on.
    pub(super) fn lost(&self) -> Failure {
        let addr = self.origin.ip();
        Failure::unresolved(format!("{addr} stands for no name that is known here: the client must ask DNS again"))
    }
}

/// The decision for a session whose name, if it has one, is known by now. Its way is written into the flow.
///
/// # Errors
/// It must not go on: its route says so, or its target is a private address that no route allows.
pub async fn route(setup: &Setup, flow: &mut Flow) -> Result<Decision, Failure> {
    let origin = flow.origin.expect("a session is routed when its origin is known");
    let decide = |name| setup.routes.decide(flow.client.ip(), origin, name);
    let host = flow.name.as_ref().map(|name| &name.host);
    let mut decision = decide(host);
    let is_meant = flow.meant().is_some();
    // what our own resolver has said needs no second opinion
    if let Some(host) = host.filter(|_| decision.verify_name && !is_meant) {
        let agrees = setup.verifier.agrees(host, origin.ip()).await;
        if !agrees {
            decision = decide(None);
        }
        flow.verified = Some(agrees);
    }
    let by_address = flow.verified == Some(false) || decision.dial == DialBy::Address || decision.via == Via::Direct;
    flow.by_address = by_address && !is_meant;
    if setup.config.has_ways() {
        let via = match decision.via {
            Via::Upstream(number) => setup.upstreams[number].name().clone(),
            via => Arc::from(setup.via(via)),
        };
        let route = decision.place.as_ref().map(|place| Arc::from(place.to_string()));
        flow.led = Some(Box::new(Led { via, route }));
    }
    match forbidden(&decision, flow) {
        Some(failure) => Err(failure),
        None => Ok(decision),
    }
}

fn forbidden(decision: &Decision, flow: &Flow) -> Option<Failure> {
    let place = || decision.place.as_ref().map(ToString::to_string).unwrap_or_default();
    match decision.via {
        Via::Reject => Some(Failure::rejected(format_args!("rejected by the route at {}", place()))),
        Via::Upstream(_) if !decision.allows_private => {
            let target = flow.target()?;
            is_private(&target).then(|| {
                let why = format_args!("{target} is a private address; a route that names it in \"to\" allows it");
                Failure::rejected(why)
            })
        }
        _ => None,
    }
}
