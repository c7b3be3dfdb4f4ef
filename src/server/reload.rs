//! SIGHUP reads the settings again and exchanges them as a whole, or leaves them; SIGUSR1 tells how the upstreams are.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::notify::Notify;
use super::seats::Seats;
use super::{check_mark, check_upstreams, count, start_taps};
use crate::config::{AccessFormat, AccessLog, Config, DnsSettings};
use crate::dns;
use crate::session::{Gateway, Setup};
use crate::sys::limits::{self, Budget};
use crate::sys::pipe;
use crate::tap::Sink;

/// The signals that change or ask.
pub(super) struct Signals {
    reload: Signal,
    ask: Signal,
}

impl Signals {
    /// From here on they no longer end the process.
    pub(super) fn watch() -> io::Result<Signals> {
        Ok(Signals { reload: signal(SignalKind::hangup())?, ask: signal(SignalKind::user_defined1())? })
    }
}

/// Answers signals for ever.
pub(super) async fn serve(mut signals: Signals, gateway: Arc<Gateway>, seats: Arc<Seats>, notify: Notify) {
    loop {
        tokio::select! {
            _ = signals.reload.recv() => {
                notify.reloading();
                // whoever rotates files knows nothing of mistakes in the settings
                gateway.access.reopen();
                gateway.setup().taps().for_each(|sink| sink.reopen());
                let outcome = reload(&gateway, &seats).await;
                let refused = outcome.err().unwrap_or_default();
                refused.iter().for_each(|why| tracing::error!("reload refused: {why}"));
                notify.reloaded(refused.into_iter().next());
            }
            _ = signals.ask.recv() => tell(&gateway),
        }
    }
}

/// How things stand.
fn tell(gateway: &Gateway) {
    let setup = gateway.setup();
    for upstream in &setup.upstreams {
        upstream.states().iter().for_each(|state| tracing::info!("{state}"));
    }
    let (live, opened) = (gateway.stats.live(), gateway.stats.opened());
    let down: usize = setup.upstreams.iter().map(|upstream| upstream.down()).sum();
    let portless = gateway.stats.found_no_port();
    if let Some(resolver) = &gateway.resolver {
        tracing::info!("dns: {}", resolver.shown());
    }
    tracing::info!(
        "state: {live} of {opened} sessions open, proxies down: {down}, sessions without a local port: {portless}"
    );
}

/// Reads the settings again, or tells everything that is wrong with them.
async fn reload(gateway: &Gateway, seats: &Seats) -> Result<(), Vec<String>> {
    let old = gateway.setup();
    let read = old.config.again();
    let mut config = read.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    keep(&old.config, &mut config);
    let setup = Setup::new(config, Some(&old)).map_err(|why| vec![why])?;
    if let Some(settings) = &setup.config.dns {
        dns::check(settings).map_err(|why| vec![why])?;
    }
    check_upstreams(&setup).await.map_err(|why| vec![why])?;
    if setup.config.has_secrets() {
        limits::forbid_core_dumps();
    }
    if setup.config.mark != old.config.mark {
        check_mark(&setup.config);
    }
    for remark in setup.config.remarks() {
        tracing::warn!("{remark}");
    }
    // all that may fail goes first: a reload is whole, or it is none
    start_taps(&setup).map_err(|why| vec![why])?;
    gateway.access.change(&setup.config).map_err(|e| vec![format!("start the access log: {e}")])?;
    for upstream in setup.upstreams.iter().filter(|new| !old.upstreams.iter().any(|old| Arc::ptr_eq(old, new))) {
        upstream.keep_probing();
    }
    make_room(&old.config, &setup.config, seats);
    let file = setup.config.file.clone().unwrap_or_else(|| "settings".to_owned());
    let upstreams = count(setup.upstreams.len() as u64, "upstream");
    let routes = count(setup.config.routes.iter().filter(|route| !route.is_no_proxy()).count() as u64, "route");
    let logged = logged(&old, &setup);
    gateway.exchange(setup);
    tracing::info!("reloaded {file}: {upstreams}, {routes}{logged}");
    Ok(())
}

/// Has as many seats as fit beside all else that holds descriptors, such as taps that write a file per session.
fn make_room(old: &Config, new: &Config, seats: &Seats) {
    if (new.max_sessions, new.descriptors()) == (old.max_sessions, old.descriptors()) {
        return;
    }
    let budget = Budget::of(seats.descriptors(), new.descriptors());
    pipe::allow(budget.pipes);
    seats.fit(budget.sessions);
    seats.resize(new.max_sessions);
}

/// How many taps there are, and what has changed about them and the access log.
fn logged(old: &Setup, new: &Setup) -> String {
    let [before, after] = [old, new].map(|setup| setup.taps().cloned().collect::<Vec<_>>());
    let only_in = |these: &[Arc<Sink>], those: &[Arc<Sink>]| -> Vec<String> {
        let is_new = |sink: &&Arc<Sink>| !those.iter().any(|other| Arc::ptr_eq(sink, other));
        these.iter().filter(is_new).map(|sink| sink.shown()).collect()
    };
    let (mut ended, begun) = (only_in(&before, &after), only_in(&after, &before));
    let mut news = Vec::new();
    for tap in begun {
        // one with other settings takes its place
        let was_there = ended.iter().position(|other| *other == tap).map(|at| ended.remove(at)).is_some();
        news.push(format!("{tap} {}", if was_there { "begins anew" } else { "begins" }));
    }
    news.extend(ended.iter().map(|tap| format!("{tap} ends")));
    let (was, is) = (&old.config, &new.config);
    if was.access_log != is.access_log {
        news.push(format!("access log: {}", place(&is.access_log)));
    }
    if was.access_log_format != is.access_log_format {
        news.push(format!("access log as {}", format(is.access_log_format)));
    }
    let mut text = String::new();
    if !before.is_empty() || !after.is_empty() {
        text = format!(", {}", count(after.len() as u64, "tap"));
    }
    if news.is_empty() { text } else { format!("{text}; {}", news.join(", ")) }
}

fn place(log: &AccessLog) -> String {
    match log {
        AccessLog::Log => "log".to_owned(),
        AccessLog::Off => "off".to_owned(),
        AccessLog::Stderr => "stderr".to_owned(),
        AccessLog::Journal => "journal".to_owned(),
        AccessLog::File(path) => path.display().to_string(),
    }
}

fn format(format: AccessFormat) -> &'static str {
    match format {
        AccessFormat::Text => "text",
        AccessFormat::Json => "json",
    }
}

/// What is fixed at the start stays as it was.
fn keep(old: &Config, new: &mut Config) {
    if old.local_port != new.local_port {
        tracing::warn!("reload: -local-port needs a restart, {} stays", old.local_port);
        new.local_port = old.local_port;
    }
    if old.capture != new.capture {
        tracing::warn!("reload: -capture needs a restart, it stays as it was");
        new.capture = old.capture;
    }
    if old.admin != new.admin {
        tracing::warn!("reload: -admin needs a restart, it stays as it was");
        new.admin.clone_from(&old.admin);
    }
    match (&old.dns, &mut new.dns) {
        (Some(old), Some(new)) if !is_same_resolver(old, new) => {
            tracing::warn!("reload: -dns, -dns-pool, -dns-pool6 and -dns-state need a restart, they stay as they were");
            let forward = std::mem::take(&mut new.forward);
            **new = DnsSettings { forward, aaaa: new.aaaa, ttl: new.ttl, ..(**old).clone() };
        }
        (Some(_), Some(_)) | (None, None) => {}
        (was, dns) => {
            tracing::warn!("reload: -dns needs a restart, it stays as it was");
            dns.clone_from(was);
        }
    }
    if old.log_level != new.log_level {
        tracing::warn!("reload: -log-level needs a restart, it stays as it was");
        new.log_level = old.log_level;
    }
}

/// Whether the same resolver could go on.
fn is_same_resolver(old: &DnsSettings, new: &DnsSettings) -> bool {
    (&old.listen, old.pool, old.pool6, &old.state) == (&new.listen, new.pool, new.pool6, &new.state)
}
