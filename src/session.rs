//! One client connection's life, hop by hop: accept, origin, sniff, open, relay, report.
//!
//! Whatever happens to a session, a panic and a stop of the daemon included, it is reported exactly
//! once: by the `Drop` of its report.

mod access;
mod mirror;
mod report;
mod setup;
mod taps;
mod tunnel;
mod way;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::addr::{Host, Name, Source, Target};
use crate::close::{By, Close, End, Stage};
use crate::config::{Capture, Config, PlainHttp, Via};
use crate::dns::Stands;
use crate::flow::Flow;
use crate::format::Dir;
use crate::refuse::refuse;
use crate::relay::Limits;
use crate::sniff::{self, Prefix};
use crate::stream::Stream;
use crate::sys::{origin, socket};
use crate::upstream::{Deadline, Failure, Opened, Retries};
use crate::wire::alert::{self, Alert};
use crate::wire::answer;
use crate::wire::http::{H2_PREFACE, is_head};
use crate::wire::race::{Heard, Protocol, Race};
use mirror::Kind;
use report::Report;
use tunnel::{Early, Requests, Tunnel, join};
use way::{Way, Ways};

pub use access::{Access, AccessCounts};
pub use setup::{Gateway, Setup};
pub use way::route;

/// A client that leaves earlier was not waiting for long.
const PATIENT: Duration = Duration::from_secs(3);

/// Takes a connection over, for a task of its own. Its origin is read before this returns, while conntrack still knows
/// it; the rest of its life holds `seat` until it is reported.
pub fn start(client: TcpStream, peer: SocketAddr, gateway: &Arc<Gateway>, seat: OwnedSemaphorePermit) {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let mut report = Report::new(gateway.clone(), Flow::new(peer), seat);
    if let Err(close) = find_origin(&client, &mut report) {
        socket::abort_on_close(&client);
        drop(client);
        report.close(close);
        return;
    }
    find_name(&mut report);
    let id = report.flow.id;
    let task = tokio::spawn(live(client, report));
    if let Some(watch) = &gateway.watch {
        watch.live.bind(id, task.abort_handle());
    }
}

/// The hop that asks where a connection was going; one that was not redirected ends here.
fn find_origin(client: &TcpStream, report: &mut Report) -> Result<(), Close> {
    let setup = &report.setup;
    #[cfg(debug_assertions)]
    if let Some(origin) = setup.config.default_origin {
        report.flow.origin = Some(origin);
        return Ok(());
    }
    let peer = report.flow.client;
    let origin = match setup.config.capture {
        Capture::Redirect => origin::original_destination(client, peer.ip()),
        Capture::Tproxy => origin::own_address(client),
    };
    let origin = origin.map_err(|error| {
        let why = format_args!("not redirected, the kernel knows no original destination: {error}");
        Close::because(End::Direct, By::Client, why)
    })?;
    report.flow.origin = Some(origin);
    if origin.port() == setup.config.local_port && origin::is_local(origin.ip()) {
        return Err(Close::because(End::Direct, By::Client, format_args!("straight to {origin}, not redirected")));
    }
    if setup.config.is_admin(origin) && (origin::is_local(origin.ip()) || origin.ip().is_unspecified()) {
        let why = format_args!("{origin} is the admin of this daemon, which is not reached through it");
        return Err(Close::because(End::Rejected, By::Us, why));
    }
    if setup.is_proxy(origin) && origin::is_local(peer.ip()) {
        let why = "a connection of this host to the upstream was redirected, most likely our own: \
                   rules must leave out its mark or user, and the upstream";
        return Err(Close::because(End::Loop, By::Us, why));
    }
    // where no route is direct there is nothing that could come back this way
    if setup.goes_direct() && origin::is_local(peer.ip()) {
        let registered = report.gateway.mirror.register(peer, Kind::Client);
        let way_back = "our own direct connection was redirected: rules must leave out its mark or user";
        let registered = registered.ok_or_else(|| Close::because(End::Loop, By::Us, way_back))?;
        report.mirrored.get_or_insert_default()[0] = Some(registered);
    }
    Ok(())
}

/// What the origin's address stands for, where our resolver has made it.
fn find_name(report: &mut Report) {
    let (Some(resolver), Some(origin)) = (&report.gateway.resolver, report.flow.origin) else { return };
    if let Some(Stands::For(host, number)) = resolver.stands(origin.ip()) {
        report.held = NonZeroU32::new(number);
        report.flow.name = Some(Name { host: Host::clone(&host), source: Source::Dns });
    }
}

#[allow(clippy::manual_async_fn, reason = "an async fn would hold its arguments twice, a third of a tunnel's memory")]
fn live(client: TcpStream, mut report: Report) -> impl Future<Output = ()> + Send {
    async move {
        // its own allocation, so that a tunnel does not hold what only opening it needs
        let mut opened = Box::pin(open(client, &mut report)).await;
        if let Ok(Tunnel::Requests(requests)) = opened {
            opened = Box::pin(requests.exchange(&mut report)).await;
        }
        let close = match &mut opened {
            Ok(tunnel) => {
                let limits = limits(&report.setup.config);
                match tunnel {
                    Tunnel::Spliced(relay) => relay.run(limits, &mut report.flow).await,
                    Tunnel::Copied(relay) => Box::pin(relay.run(limits, &mut report.flow)).await,
                    Tunnel::Requests(_) => unreachable!("they have been exchanged"),
                }
            }
            Err(close) => close.clone(),
        };
        // the sockets go before the seat does
        drop(opened);
        report.close(close);
    }
}

fn limits(config: &Config) -> Limits {
    Limits { idle: config.idle_timeout, half_closed: config.half_closed_timeout }
}

/// From the origin to an open tunnel. The dial begins at once where the way is known, and overlaps the sniffing.
async fn open(client: TcpStream, report: &mut Report) -> Result<Tunnel, Close> {
    let setup = report.setup.clone();
    let config = &setup.config;
    let gateway = report.gateway.clone();
    let (flow, mirrored, tapped) = (&mut report.flow, &mut report.mirrored, &mut report.tapped);
    let origin = flow.origin.expect("start() has found it");
    let mut prefix = Prefix::new(config.sniff_max_bytes);
    let likely = setup.routes.decide(flow.client.ip(), origin, flow.meant());
    let early = likely.via;
    let ways = Ways { setup: &setup, resolver: gateway.resolver.as_deref(), origin, meant: flow.meant().cloned() };
    let race = race(config, origin).filter(|_| ways.meant.is_none() || ways.may_relay(early));
    // a name may lead elsewhere; an origin is not to be touched before that is known, a proxy may be
    let is_likely = matches!(early, Via::Upstream(_)) || !ways.are_lost() && (race.is_none() || !likely.may_change);
    let retries = Retries::default();
    let mut dialling = Box::pin(timed(flow.started, ways.dial(early, &retries)));
    let mut dialled = None;

    flow.reach(Stage::Sniff);
    let mut heard = Heard::NOTHING;
    if let Some((race, time)) = race {
        let sniffing = sniff::sniff(&client, &mut prefix, race, time);
        heard = beside(sniffing, &mut dialling, &mut dialled, is_likely).await?;
        flow.sniff = Some(flow.started.elapsed().into());
        tracing::debug!("{} to {origin}: {heard:?}", flow.client);
    }
    if ways.meant.is_none() {
        flow.name = heard.name.take();
    }
    let is_h2 = prefix.bytes.starts_with(H2_PREFACE);
    let routed = match ways.are_lost() {
        true if flow.name.is_none() => Err(ways.lost()),
        // a name that is checked takes a while, which is not the upstream's time
        is_lost => match beside(route(&setup, flow), &mut dialling, &mut dialled, is_likely).await {
            Ok(_) if is_lost && flow.by_address => Err(ways.lost()),
            routed => routed,
        },
    };
    let decision = match routed {
        Ok(decision) => decision,
        Err(failure) => {
            let target = flow.target().expect("the origin is known");
            refuse(client, news(heard.protocol, &prefix.bytes, &failure, &target)).await;
            return Err(failure.close);
        }
    };
    if decision.via != early || !is_likely {
        flow.dials_now();
    }
    if decision.via != early {
        dialled = None;
        retries.forget();
        dialling = Box::pin(timed(flow.started, ways.dial(decision.via, &retries)));
    }

    flow.reach(Stage::Dial);
    let limit = config.dial_timeout;
    let deadline = Deadline::after(limit);
    let opening = async {
        let (outcome, took) = match dialled {
            Some(dialled) => dialled,
            None => dialling.await,
        };
        let outcome = outcome.inspect_err(|_| flow.dial = Some(took.into()))?;
        let tls = if let Way::Proxy(link) = &outcome { link.tls } else { None };
        flow.dial = Some(took.saturating_sub(tls.unwrap_or_default()).into());
        flow.tls = tls.map(Into::into);
        let link = match outcome {
            Way::Origin(stream) => {
                let from =
                    stream.local_addr().map_err(|error| Failure::new(Close::because(End::Dial, By::Us, error)))?;
                let registered = gateway.mirror.register(from, Kind::Dial).ok_or_else(Failure::of_loop)?;
                mirrored.get_or_insert_default()[1] = Some(registered);
                let opened = Opened { status: None, surplus: Vec::new() };
                return Ok(Way::Opened(Stream::Tcp(stream), opened));
            }
            Way::Proxy(link) => link,
            opened @ Way::Opened(..) => return Ok(opened),
        };
        flow.upstream = Some(link.addr);
        let Via::Upstream(number) = decision.via else { unreachable!("only an upstream has proxies") };
        let upstream = &setup.upstreams[number];
        // the admin lets in whoever comes from this machine, and another proxy may take over later
        if config.is_admin(origin) && (origin::is_local(link.addr.ip()) || upstream.is_here()) {
            let why = format_args!("port {} is the admin's, and the upstream is on this machine", origin.port());
            return Err(Failure::rejected(why));
        }
        let is_plain = heard.protocol == Protocol::Http && !is_h2;
        if is_plain && upstream.plain_http(origin.port()) == PlainHttp::Relay {
            return Ok(Way::Proxy(link));
        }
        flow.reach(Stage::Connect);
        let asked = Instant::now();
        let target = flow.target().expect("the origin is known");
        tracing::debug!("{} to {origin}: CONNECT {target} goes to {}", flow.client, link.addr);
        let page = heard.protocol == Protocol::Http;
        let opened = upstream.open(*link, &target, page, deadline, &retries).await;
        flow.connect = Some(asked.elapsed().into());
        match opened {
            Ok((link, opened)) => {
                flow.upstream = Some(link.addr);
                flow.tls = link.tls.map(Into::into);
                Ok(Way::Opened(link.stream, opened))
            }
            Err(failure) if is_plain && upstream.relays_instead(origin.port(), failure.status) => {
                flow.reach(Stage::Dial);
                upstream.dial(&retries).await.map(|link| Way::Proxy(Box::new(link)))
            }
            Err(mut failure) => {
                let refused = matches!(failure.status, Some(403 | 405 | 501));
                if is_plain && refused && upstream.plain_http(origin.port()) == PlainHttp::Connect {
                    failure.advise("plain-http = \"auto\" would relay this request");
                }
                Err(failure)
            }
        }
    };
    let outcome = tokio::select! {
        // a client that is gone needs no tunnel, even if it is ready now
        biased;
        left = sniff::watch(&client, &mut prefix) => Err(left),
        outcome = tokio::time::timeout_at(deadline.until, opening) => Ok(outcome),
    };
    flow.retries = retries.count();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(left) => return Err(impatient(left, flow, &setup, decision.via)),
    };
    let failure = match outcome {
        Ok(Ok(Way::Opened(stream, opened))) => {
            flow.status = opened.status;
            flow.reach(Stage::Relay);
            *tapped = setup.taps.open(flow, Some(stream.tcp()), config.local_port);
            if let Some(tapped) = tapped {
                tapped.copied(Dir::Up, &prefix.bytes);
            }
            let early = Early { up: prefix.bytes, ended: prefix.ended, down: opened.surplus, ..Early::default() };
            return Ok(join(client, stream, early, tapped.clone()));
        }
        Ok(Ok(Way::Proxy(link))) => {
            flow.reach(Stage::Relay);
            *tapped = setup.taps.open(flow, Some(link.stream.tcp()), config.local_port);
            return Ok(Tunnel::Requests(Box::new(Requests { client, prefix, link: *link, via: decision.via })));
        }
        Ok(Ok(Way::Origin(_))) => unreachable!("it was opened above"),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::timeout(late(flow, &setup, decision.via).as_str(), limit),
    };
    if let Some(addr) = failure.out_of_ports {
        gateway.out_of_ports(addr);
    }
    flow.status = failure.status;
    // where nobody had to wait for the first bytes they may be here by now
    let unheard = self::race(config, origin).filter(|_| race.is_none());
    let protocol = unheard.map_or(heard.protocol, |(mut race, _)| race.settle(&prefix.bytes).protocol);
    let target = flow.target().expect("the origin is known");
    refuse(client, news(protocol, &prefix.bytes, &failure, &target)).await;
    Err(failure.close)
}

/// A client that left after a while may have had enough of waiting: for what, the line should say.
fn impatient(left: Close, flow: &Flow, setup: &Setup, via: Via) -> Close {
    let waited = flow.started.elapsed();
    if left.error.is_some() || waited < PATIENT {
        return left;
    }
    Close::because(
        left.end,
        left.by,
        format_args!("{}: nothing yet after {}s", late(flow, setup, via), waited.as_secs()),
    )
}

/// What was being waited for when the time was up.
fn late(flow: &Flow, setup: &Setup, via: Via) -> String {
    match (flow.upstream, via) {
        (Some(addr), _) => format!("{addr}: reply to CONNECT"),
        (None, Via::Upstream(number)) => format!("dial {}", setup.upstreams[number].shown()),
        (None, _) => format!("dial {}", flow.target().expect("start() has found it")),
    }
}

/// The scanners that run on this destination port, and for how long; `None` waits for nothing.
pub fn race(config: &Config, origin: SocketAddr) -> Option<(Race, Duration)> {
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
                _ if matches!(failure.close.end, End::Rejected | End::Auth) => Alert::AccessDenied,
                _ if failure.unresolved => Alert::UnrecognizedName,
                _ => Alert::InternalError,
            })
            .to_vec(),
        ),
        Protocol::Http => {
            let status = match (failure.close.end, failure.status) {
                (End::Rejected, _) => 403,
                (End::Timeout, _) | (_, Some(504)) => 504,
                (End::Resolve | End::Error, _) | (_, Some(503)) => 503,
                _ => 502,
            };
            let why = failure.close.error.as_deref().unwrap_or_default();
            let why = match failure.close.end {
                // clients need not know our rules, nor whose credentials we have
                End::Rejected => "refused by a rule of this gateway".to_owned(),
                End::Auth => "the upstream proxy does not accept this gateway's credentials".to_owned(),
                _ if failure.direct => format!("no connection to {target}: {why}"),
                _ => format!("no tunnel to {target} through the upstream proxy: {why}"),
            };
            Some(answer::response(status, &why, failure.page.as_ref(), is_head(prefix)))
        }
    }
}

/// Waits for something, and lets the dial go on meanwhile if it `may`; what came of that is in `dialled`.
async fn beside<T, D>(
    task: impl Future<Output = T>,
    dialling: &mut (impl Future<Output = D> + Unpin),
    dialled: &mut Option<D>,
    may: bool,
) -> T {
    let mut task = std::pin::pin!(task);
    loop {
        tokio::select! {
            biased;
            done = &mut task => return done,
            outcome = &mut *dialling, if may && dialled.is_none() => *dialled = Some(outcome),
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
