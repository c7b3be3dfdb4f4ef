//! What a session becomes when its way is open: bytes both ways, or requests one by one.

use tokio::net::TcpStream;

use super::limits;
use super::report::Report;
use crate::addr::{Host, Target};
use crate::close::Close;
use crate::config::{DialBy, Via};
use crate::plain;
use crate::relay::{Copying, Relay};
use crate::route::is_private;
use crate::sniff::Prefix;
use crate::stream::Stream;
use crate::tap::Tapped;
use crate::upstream::Link;

/// What a session has become. The common kind stands in it, so that an idle tunnel is one piece of memory.
#[allow(clippy::large_enum_variant, reason = "the large one is the common one")]
pub(super) enum Tunnel {
    /// Bytes both ways, moved by the kernel.
    Spliced(Relay),
    /// Bytes both ways, moved by us.
    Copied(Box<Copying>),
    /// HTTP, request by request.
    Requests(Box<Requests>),
}

/// What is on its way when a tunnel opens, and what went before.
#[derive(Default)]
pub(super) struct Early {
    /// What the client sent, and whether it has ended its side.
    pub(super) up: Vec<u8>,
    pub(super) ended: bool,
    /// A tap was told that all of this was handed on, not only that it came.
    pub(super) is_told: bool,
    /// What the upstream sent.
    pub(super) down: Vec<u8>,
    /// Bytes that went up and down already, and the reads that brought them.
    pub(super) counted: ([u64; 2], [u32; 2]),
}

/// Joins a client and its tunnel. A tap has seen what is early from the client, and nothing of what is from the upstream.
pub(super) fn join(client: TcpStream, stream: Stream, early: Early, tapped: Option<Tapped>) -> Tunnel {
    let Early { up, ended, is_told, down, counted } = early;
    match (stream, tapped) {
        (Stream::Tcp(stream), None) => {
            let mut relay = Relay::new(client, stream);
            relay.early_up(up, ended);
            relay.early_down(down);
            relay.counted(counted.0, counted.1);
            Tunnel::Spliced(relay)
        }
        (stream, tapped) => {
            let mut relay = Copying::new(client, stream, tapped);
            if is_told {
                relay.told_up(up, ended)
            } else {
                relay.early_up(up, ended)
            }
            relay.early_down(down);
            relay.counted(counted.0, counted.1);
            Tunnel::Copied(Box::new(relay))
        }
    }
}

/// A client whose requests are handed to a proxy one by one.
pub(super) struct Requests {
    pub(super) client: TcpStream,
    pub(super) prefix: Prefix,
    pub(super) link: Link,
    pub(super) via: Via,
}

impl Requests {
    /// Hands them over until the last one, or until one of them makes a tunnel of the connection.
    pub(super) async fn exchange(self, report: &mut Report) -> Result<Tunnel, Close> {
        let Requests { client, prefix, link, via } = self;
        let setup = report.setup.clone();
        let Via::Upstream(number) = via else { unreachable!("only an upstream takes requests") };
        let flow = &mut report.flow;
        let (peer, origin) = (flow.client.ip(), flow.origin.expect("start() has found it"));
        let meant = flow.meant().cloned();
        let accepts = |name: Option<&Host>| {
            // what the address stands for has been decided already
            if meant.is_some() && (name.is_none() || name == meant.as_ref()) {
                return true;
            }
            let decision = setup.routes.decide(peer, origin, name);
            let target = name.map_or(Target::Addr(origin), |host| Target::Name(host, origin.port()));
            // what would have to be looked up first is left to a connection of its own
            decision.via == via
                && !(decision.verify_name && name.is_some())
                && (decision.dial == DialBy::Name || meant.is_some())
                && (decision.allows_private || !is_private(&target))
        };
        let way = plain::Way {
            upstream: &setup.upstreams[number],
            link,
            origin,
            by_name: !flow.by_address,
            accepts: &accepts,
            limits: limits(&setup.config),
            dial_timeout: setup.config.dial_timeout,
        };
        let client = plain::Client::new(client, report.tapped.clone());
        match plain::exchange(client, prefix.bytes, prefix.ended, way, flow).await {
            plain::Outcome::Ended(close) => Err(close),
            plain::Outcome::Switched { client, upstream, early_up, ended, early_down } => {
                // the reads of what is early are counted when it goes on
                let again = [&early_up, &early_down].map(|bytes| u32::from(!bytes.is_empty()));
                let [up, down] = report.flow.chunks;
                let chunks = [up.wrapping_sub(again[0]), down.wrapping_sub(again[1])];
                let counted = ([report.flow.up, report.flow.down], chunks);
                let early = Early { up: early_up, ended, is_told: true, down: early_down, counted };
                Ok(join(client, upstream, early, report.tapped.clone()))
            }
        }
    }
}
