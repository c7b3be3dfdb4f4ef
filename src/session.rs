//! One client connection's life, hop by hop: accept, origin, sniff, open, relay, report.
//!
//! Whatever happens to a session, a panic and a stop of the daemon included, it is reported exactly
//! once: by the `Drop` of its report.

mod report;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::addr::Target;
use crate::close::{By, Close, End, Stage};
use crate::config::Config;
use crate::flow::Flow;
use crate::refuse::refuse;
use crate::relay::{Limits, Relay};
use crate::sniff::{self, Prefix};
use crate::stats::{Gate, Stats};
use crate::stream::Stream;
use crate::sys::{origin, socket};
use crate::upstream::{self, Failure, Link, Opened, Upstream};
use crate::wire::alert::{self, Alert};
use crate::wire::answer;
use crate::wire::http::is_head;
use crate::wire::race::{Heard, Protocol, Race};
use report::Report;

/// What all sessions of a process share.
#[derive(Debug)]
pub struct Gateway {
    /// The settings.
    pub config: Config,
    /// The upstream.
    pub upstream: Upstream,
    /// The counters.
    pub stats: Stats,
    gate: Gate,
}

impl Gateway {
    /// A gateway with these settings; opens nothing.
    pub fn new(config: Config) -> Gateway {
        Gateway { upstream: Upstream::new(&config), config, stats: Stats::default(), gate: Gate::default() }
    }
}

/// Takes a connection over. Its origin is read before this returns, while conntrack still knows it;
/// the future is the rest of its life, and holds `seat` until it is reported.
pub fn start(
    client: TcpStream,
    peer: SocketAddr,
    gateway: Arc<Gateway>,
    seat: OwnedSemaphorePermit,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let mut report = Report::new(gateway, Flow::new(peer), seat);
    if let Err(close) = find_origin(&client, &mut report) {
        socket::abort_on_close(&client);
        drop(client);
        report.close(close);
        return None;
    }
    Some(live(client, report))
}

/// The hop that asks where a connection was going; one that was not redirected ends here.
fn find_origin(client: &TcpStream, report: &mut Report) -> Result<(), Close> {
    let gateway = &report.gateway;
    #[cfg(debug_assertions)]
    if let Some(origin) = gateway.config.default_origin {
        report.flow.origin = Some(origin);
        return Ok(());
    }
    let peer = report.flow.client;
    let origin = origin::original_destination(client, peer.ip()).map_err(|error| {
        let why = format_args!("not redirected, the kernel knows no original destination: {error}");
        Close::because(End::Direct, By::Client, why)
    })?;
    report.flow.origin = Some(origin);
    if origin.port() == gateway.config.local_port && origin::is_local(origin.ip()) {
        return Err(Close::because(End::Direct, By::Client, format_args!("straight to {origin}, not redirected")));
    }
    if gateway.upstream.is_at(origin) && origin::is_local(peer.ip()) {
        let why = "a connection of this host to the upstream was redirected, most likely our own: \
                   rules must leave out its mark or user, and the upstream";
        return Err(Close::because(End::Loop, By::Us, why));
    }
    Ok(())
}

#[allow(clippy::manual_async_fn, reason = "an async fn would hold its arguments twice, a third of a tunnel's memory")]
fn live(client: TcpStream, mut report: Report) -> impl Future<Output = ()> + Send {
    async move {
        // its own allocation, so that a tunnel does not hold what only opening it needs
        let mut opened = Box::pin(open(client, &mut report)).await;
        let close = match &mut opened {
            Ok(relay) => {
                let config = &report.gateway.config;
                let limits = Limits { idle: config.idle_timeout, half_closed: config.half_closed_timeout };
                relay.run(limits, &mut report.flow).await
            }
            Err(close) => close.clone(),
        };
        // the sockets go before the seat does
        drop(opened);
        report.close(close);
    }
}

/// From the origin to an open tunnel. The dial begins at once and overlaps the sniffing.
async fn open(client: TcpStream, report: &mut Report) -> Result<Relay, Close> {
    let gateway = report.gateway.clone();
    let config = &gateway.config;
    let flow = &mut report.flow;
    let origin = flow.origin.expect("start() has found it");
    let mut prefix = Prefix::new(config.sniff_max_bytes);
    let mut dialling = std::pin::pin!(timed(flow.started, gateway.upstream.dial()));
    let mut dialled = None;

    flow.stage = Stage::Sniff;
    let mut heard = Heard::NOTHING;
    if let Some((race, time)) = race(config, origin) {
        let mut sniffing = std::pin::pin!(sniff::sniff(&client, &mut prefix, race, time));
        heard = loop {
            tokio::select! {
                heard = &mut sniffing => break heard?,
                outcome = &mut dialling, if dialled.is_none() => dialled = Some(outcome),
            }
        };
        flow.sniff = Some(flow.started.elapsed());
        tracing::debug!("{} to {origin}: {heard:?}", flow.client);
    }
    flow.name = heard.name.take();

    flow.stage = Stage::Dial;
    let limit = config.dial_timeout;
    let opening = async {
        let (outcome, took) = match dialled {
            Some(dialled) => dialled,
            None => dialling.await,
        };
        flow.dial = Some(took);
        let Link { stream, addr, .. } = outcome?;
        let Stream::Tcp(mut stream) = stream else { unreachable!("no TLS yet") };
        flow.upstream = Some(addr);
        flow.stage = Stage::Connect;
        let asked = Instant::now();
        let target = flow.target().expect("the origin is known");
        tracing::debug!("{} to {origin}: CONNECT {target} goes to {addr}", flow.client);
        let opened = upstream::open(&mut stream, addr, &target, heard.protocol == Protocol::Http).await;
        flow.connect = Some(asked.elapsed());
        opened.map(|opened| (stream, opened))
    };
    let outcome = tokio::select! {
        // a client that is gone needs no tunnel, even if it is ready now
        biased;
        left = sniff::watch(&client, &mut prefix) => return Err(left),
        outcome = tokio::time::timeout(limit, opening) => outcome,
    };
    let failure = match outcome {
        Ok(Ok((stream, opened))) => return Ok(join(client, stream, prefix, opened, flow)),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::timeout(late(flow, &gateway.upstream).as_str(), limit),
    };
    flow.status = failure.status;
    let target = flow.target().expect("the origin is known");
    refuse(client, news(heard.protocol, &prefix.bytes, &failure, &target)).await;
    Err(failure.close)
}

fn join(client: TcpStream, stream: TcpStream, prefix: Prefix, opened: Opened, flow: &mut Flow) -> Relay {
    flow.status = Some(opened.status);
    flow.stage = Stage::Relay;
    let mut relay = Relay::new(client, stream);
    relay.early_up(prefix.bytes, prefix.ended);
    relay.early_down(opened.surplus);
    relay
}

/// What was being waited for when the time was up.
fn late(flow: &Flow, upstream: &Upstream) -> String {
    match flow.upstream {
        Some(addr) => format!("{addr}: reply to CONNECT"),
        None => format!("dial {}", upstream.addr()),
    }
}

/// The scanners that run on this destination port, and for how long; `None` waits for nothing.
fn race(config: &Config, origin: SocketAddr) -> Option<(Race, Duration)> {
    let port = origin.port();
    let race = Race { http: config.sniff_http_ports.contains(port), tls: config.sniff_tls_ports.contains(port) };
    let time = config.sniff_timeout?;
    ((race.http || race.tls) && !config.server_first_ports.contains(port)).then_some((race, time))
}

/// What to tell the client, in the protocol that it speaks.
fn news(protocol: Protocol, prefix: &[u8], failure: &Failure, target: &Target<'_>) -> Option<Vec<u8>> {
    match protocol {
        Protocol::Unknown => None,
        Protocol::Tls => Some(
            alert::record(match failure.status {
                Some(403 | 407) => Alert::AccessDenied,
                _ if failure.unresolved => Alert::UnrecognizedName,
                _ => Alert::InternalError,
            })
            .to_vec(),
        ),
        Protocol::Http => {
            let status = match (failure.close.end, failure.status) {
                (End::Timeout, _) | (_, Some(504)) => 504,
                (End::Resolve | End::Error, _) | (_, Some(503)) => 503,
                _ => 502,
            };
            let why = failure.close.error.as_deref().unwrap_or_default();
            let why = format!("no tunnel to {target} through the upstream proxy: {why}");
            Some(answer::response(status, &why, failure.page.as_ref(), is_head(prefix)))
        }
    }
}

/// Tells how long after `since` the future was done.
async fn timed<T>(since: Instant, future: impl Future<Output = T>) -> (T, Duration) {
    let outcome = future.await;
    (outcome, since.elapsed())
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
