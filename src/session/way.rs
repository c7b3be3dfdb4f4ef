//! The way out of a session: where its route leads, whether it may go there, and the first connection on it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::Setup;
use crate::config::{DialBy, Via};
use crate::flow::{Flow, Led};
use crate::route::{Decision, is_private};
use crate::stream::Stream;
use crate::upstream::{Failure, Link, Opened};

/// How far a session has come on its way out.
pub(super) enum Way {
    /// Connected to a proxy.
    Proxy(Box<Link>),
    /// Connected to the origin itself.
    Origin(TcpStream),
    /// A tunnel.
    Opened(Stream, Opened),
}

/// Connects to where a route leads. May be dropped at any time.
pub(super) async fn dial(setup: &Setup, via: Via, origin: SocketAddr) -> Result<Way, Failure> {
    match via {
        Via::Upstream(number) => setup.upstreams[number].dial().await.map(|link| Way::Proxy(Box::new(link))),
        Via::Direct => setup.direct.direct(origin).await.map(Way::Origin),
        Via::Reject => std::future::pending().await,
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
    if let Some(host) = host.filter(|_| decision.verify_name) {
        let agrees = setup.verifier.agrees(host, origin.ip()).await;
        if !agrees {
            decision = decide(None);
        }
        flow.verified = Some(agrees);
    }
    flow.by_address = flow.verified == Some(false) || decision.dial == DialBy::Address || decision.via == Via::Direct;
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
