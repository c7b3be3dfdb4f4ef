//! The last hop: counts a session and writes its one line, whatever ended it.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::mirror::Registered;
use super::{Gateway, Setup};
use crate::addr::Target;
use crate::close::{By, Close, End, Stage, Weight};
use crate::flow::Flow;
use crate::format::Ending;
use crate::stats::Pass;
use crate::tap::Tapped;

/// A session's facts, filed when dropped.
pub(super) struct Report {
    pub(super) gateway: Arc<Gateway>,
    /// What was in force when it began.
    pub(super) setup: Arc<Setup>,
    pub(super) flow: Flow,
    /// The ends by which a loop would be found.
    pub(super) mirrored: Option<Box<[Option<Registered>; 2]>>,
    /// The number of the address that stands for the name, until this is over.
    pub(super) held: Option<NonZeroU32>,
    /// The taps that see it, once its way is open.
    pub(super) tapped: Option<Tapped>,
    close: Option<Close>,
    _seat: OwnedSemaphorePermit,
}

impl Report {
    /// Opens the file.
    pub(super) fn new(gateway: Arc<Gateway>, mut flow: Flow, seat: OwnedSemaphorePermit) -> Report {
        gateway.stats.open();
        if let Some(watch) = &gateway.watch {
            watch.live.open(&mut flow);
        }
        let setup = gateway.setup();
        Report { setup, gateway, flow, mirrored: None, held: None, tapped: None, close: None, _seat: seat }
    }

    /// Says how it ended, and files it.
    pub(super) fn close(mut self, close: Close) {
        self.close = Some(close);
    }

    /// The name of the upstream that it was led to, or `direct`, or `reject`.
    fn upstream(&self) -> &str {
        let led = self.flow.led.as_ref().map(|led| &*led.via);
        led.unwrap_or_else(|| self.setup.upstreams[self.setup.config.default_upstream].name())
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let close = self.close.take().unwrap_or_else(|| {
            let end = match () {
                () if std::thread::panicking() => End::Panic,
                () if self.flow.is_killed() => End::Killed,
                () => End::Drained,
            };
            Close::new(end, By::Us)
        });
        self.gateway.stats.close(close.end);
        if let Some(watch) = &self.gateway.watch {
            watch.close(&self.flow, &close, self.upstream());
        }
        if let (Some(number), Some(resolver)) = (self.held, &self.gateway.resolver) {
            resolver.let_go(number.get());
        }
        // one that did not come that far is written down too
        let local_port = self.setup.config.local_port;
        let tapped = self.tapped.take().or_else(|| self.setup.taps.open(&self.flow, None, local_port));
        if let Some(tapped) = tapped {
            tapped.close(ending(&self.flow, &close));
        }
        // whoever can reach the port can cause these at will
        if matches!(close.end, End::Direct | End::Loop) {
            match self.gateway.gate.pass(Instant::now()) {
                Pass::HoldBack => return,
                Pass::Log { held_back: 0 } => {}
                Pass::Log { held_back } => tracing::warn!("{held_back} more such sessions were not logged one by one"),
            }
        }
        write(&self.flow, &close, &self.setup);
    }
}

fn ending(flow: &Flow, close: &Close) -> Ending {
    Ending {
        end: close.end,
        by: close.by,
        error: close.error.clone(),
        up: flow.up,
        down: flow.down,
        lasted: flow.started.elapsed(),
    }
}

/// One event: the whole line as its message, for people, and each fact as a field, for the journal.
fn write(flow: &Flow, close: &Close, setup: &Setup) {
    let line = Line { flow, close, setup };
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                end = %close.end,
                by = %close.by,
                client = %flow.client,
                origin = flow.origin.map(display),
                name = flow.name.as_ref().map(|n| display(&n.host)),
                name_source = flow.name.as_ref().map(|n| display(n.source)),
                target = line.target().map(display),
                via = flow.led.as_ref().map(|led| &*led.via),
                route = flow.led.as_ref().and_then(|led| led.route.as_deref()),
                upstream = line.upstream().map(display),
                stage = %flow.stage,
                status = flow.status,
                error = close.error.as_deref(),
                verified = flow.verified.filter(|agrees| !agrees).map(|_| "no"),
                requests = (flow.requests > 0).then_some(flow.requests),
                up = flow.up,
                down = flow.down,
                "{line}"
            )
        };
    }
    match close.end.weight() {
        Weight::Info => event!(info),
        Weight::Warn => event!(warn),
        Weight::Error => event!(error),
    }
}

/// `session key=value ...`, what is not known left out.
struct Line<'a> {
    flow: &'a Flow,
    close: &'a Close,
    setup: &'a Setup,
}

impl Line<'_> {
    /// What was, or was to be, asked for; nothing where that was never a question.
    fn target(&self) -> Option<Target<'_>> {
        self.flow.target().filter(|_| self.flow.stage != Stage::Origin)
    }

    /// The address that was reached, or else what was to be reached; nothing where no upstream is concerned.
    fn upstream(&self) -> Option<Either<SocketAddr, &str>> {
        let Line { flow, setup, .. } = self;
        let led = flow.led.as_ref().map(|led| &*led.via);
        let name = led.unwrap_or_else(|| setup.upstreams[setup.config.default_upstream].name());
        let concerned = flow.stage != Stage::Origin && !matches!(name, "direct" | "reject");
        concerned.then_some(Either(flow.upstream, name))
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { flow, close, .. } = self;
        write!(f, "session end={} by={} client={}", close.end, close.by, flow.client)?;
        if let Some(origin) = flow.origin {
            write!(f, " origin={origin}")?;
        }
        if let Some(name) = &flow.name {
            write!(f, " name={} name_source={}", name.host, name.source)?;
        }
        if let Some(target) = self.target() {
            write!(f, " target={target}")?;
        }
        if let Some(led) = &flow.led {
            write!(f, " via={}", led.via)?;
            if let Some(route) = &led.route {
                write!(f, " route={}", Quoted(route))?;
            }
        }
        if flow.verified == Some(false) {
            f.write_str(" verified=no")?;
        }
        if let Some(upstream) = self.upstream() {
            write!(f, " upstream={upstream}")?;
        }
        write!(f, " stage={}", flow.stage)?;
        if let Some(status) = flow.status {
            write!(f, " status={status}")?;
        }
        if let Some(error) = &close.error {
            write!(f, " error={error:?}")?;
        }
        for (key, span) in [("sniff_ms", flow.sniff), ("dial_ms", flow.dial), ("connect_ms", flow.connect)] {
            if let Some(span) = span {
                write!(f, " {key}={:.3}", span.millis())?;
            }
        }
        if flow.requests > 0 {
            write!(f, " requests={}", flow.requests)?;
        }
        write!(f, " up={} down={} duration_ms={:.3}", flow.up, flow.down, millis(flow.started.elapsed()))
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// A word as it is, anything else in quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(|c: char| c.is_whitespace() || c == '"') {
            write!(f, "{:?}", self.0)
        } else {
            f.write_str(self.0)
        }
    }
}

/// The one if it is there, else the other.
struct Either<A, B>(Option<A>, B);

impl<A: fmt::Display, B: fmt::Display> fmt::Display for Either<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(one) => one.fmt(f),
            None => self.1.fmt(f),
        }
    }
}
