//! The house: bind, accept while there is room, read the settings again when told to, and drain when told to stop.

mod accept;
mod listen;
mod notify;
mod pulse;
mod reload;
mod seats;
mod stop;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::admin::{Admin, House};
use crate::config::Config;
use crate::dns;
use crate::session::{self, Gateway, Setup};
use crate::sys::limits::{self, Budget};
use crate::sys::systemd::{self, Passed};
use crate::sys::{listener, origin, pipe, socket};
use crate::tap;
use notify::Notify;
use pulse::Finger;
use seats::Seats;

/// How long sessions that are cut may take to report it.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long the start may wait for the upstream's name.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// Serves until a signal, then drains.
///
/// # Errors
/// Why it could not start, for a person.
pub fn run(config: Config) -> Result<(), String> {
    let passed = systemd::take().map_err(|e| format!("sockets that systemd passed: {e}"))?;
    let descriptors = limits::raise_descriptors().map_err(|e| format!("read the descriptor limit: {e}"))?;
    if config.has_secrets() {
        limits::forbid_core_dumps();
    }
    let budget = Budget::of(descriptors, config.descriptors());
    let seats = Arc::new(Seats::new(budget.sessions, descriptors));
    seats.resize(config.max_sessions);
    pipe::allow(budget.pipes);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("handyproxy")
        .build()
        .map_err(|e| format!("start the runtime: {e}"))?;
    let gateway = Arc::new(Gateway::new(Setup::new(config, None)?));
    let outcome = runtime.block_on(serve(gateway.clone(), seats.clone(), passed));
    // sessions that are still open are dropped by this, each reports it and gives back its seat; a name
    // look-up that hangs is left behind
    runtime.shutdown_background();
    let start = Instant::now();
    while seats.taken() > 0 && start.elapsed() < FAREWELL {
        std::thread::sleep(Duration::from_millis(2));
    }
    gateway.access.close();
    if let Some(resolver) = &gateway.resolver {
        resolver.save();
    }
    gateway.setup().taps().for_each(|sink| sink.close());
    if !tap::wait() {
        tracing::warn!("a tap's file takes too long: its last records are lost");
    }
    outcome?;
    tracing::info!("stopped after serving {}", count(gateway.stats.opened(), "session"));
    Ok(())
}

async fn serve(gateway: Arc<Gateway>, seats: Arc<Seats>, passed: Vec<Passed>) -> Result<(), String> {
    let setup = gateway.setup();
    let config = &setup.config;
    let stop = stop::Signals::watch().map_err(|e| format!("watch for signals: {e}"))?;
    let reload = reload::Signals::watch().map_err(|e| format!("watch for signals: {e}"))?;
    let listener = listen::listen(config, passed)?;
    let admin = config.admin.as_ref().map(Admin::open).transpose()?;
    check_upstreams(&setup).await?;
    if let Some(settings) = &config.dns {
        dns::check(settings)?;
    }
    check_mark(config);
    for remark in config.remarks() {
        tracing::warn!("{remark}");
    }
    let local = listener.socket.local_addr().map_err(|e| format!("listen on port {}: {e}", config.local_port))?;
    let upstreams: Vec<&str> = setup.upstreams.iter().map(|upstream| &**upstream.name()).collect();
    let (upstreams, room) = (upstreams.join(", "), seats.count());
    if let Some(resolver) = &gateway.resolver {
        resolver.start()?;
    }
    gateway.access.change(config).map_err(|e| format!("start the access log: {e}"))?;
    tracing::info!("listening on {local}, upstream {upstreams}; room for {room} sessions");
    for upstream in &setup.upstreams {
        upstream.keep_probing();
    }
    start_taps(&setup)?;
    let notify = Notify::new(config.local_port, gateway.clone());
    notify.ready(&listener);
    drop(setup);

    let (finger, pulse) = pulse::pulse();
    let (options, was_foreign) = (listener.options, listener.was_foreign());
    let accepting = tokio::spawn(accept::accept(listener.socket, seats.clone(), pulse, {
        let gateway = gateway.clone();
        move |client, peer, seat| {
            if was_foreign {
                listener::catch_up(&client, options);
            }
            session::start(client, peer, &gateway, seat);
        }
    }));
    let admin = admin.map(|admin| {
        tracing::info!("admin at {admin}");
        tokio::spawn(admin.serve(house(gateway.clone(), seats.clone(), finger.clone())))
    });
    notify.watch(finger);
    let reloading = tokio::spawn(reload::serve(reload, gateway.clone(), seats.clone(), notify.clone()));
    let outcome = stop.drain(accepting, &seats, &notify, || gateway.setup().config.drain_timeout).await;
    reloading.abort();
    // until now it told how far draining is
    if let Some(admin) = admin {
        admin.abort();
        let _ = admin.await;
    }
    outcome
}

/// Lets the taps write.
fn start_taps(setup: &Setup) -> Result<(), String> {
    setup.taps().try_for_each(|sink| sink.start().map_err(|error| format!("{}: {error}", sink.shown())))
}

/// What the admin tells of.
fn house(gateway: Arc<Gateway>, seats: Arc<Seats>, finger: Finger) -> House {
    House {
        gateway,
        descriptors: seats.descriptors(),
        seats: Box::new(move || seats.shown()),
        accepts: Box::new(move || {
            let finger = finger.clone();
            Box::pin(async move { finger.feel().await })
        }),
    }
}

/// `1 session`, `2 sessions`.
fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// An upstream that is this very listener would feed us our own tunnels.
async fn check_upstreams(setup: &Setup) -> Result<(), String> {
    let port = setup.config.local_port;
    let mut asked = JoinSet::new();
    for (upstream, settings) in setup.upstreams.iter().cloned().zip(&setup.config.upstreams) {
        let place = settings.place.clone();
        asked.spawn(async move {
            let answers = tokio::time::timeout(FIRST_ANSWER, upstream.addresses()).await;
            (place, answers.map_err(|_| upstream.name().clone()))
        });
    }
    for (place, answers) in asked.join_all().await {
        let answers = answers.unwrap_or_else(|name| {
            tracing::warn!("upstream {name}: a proxy's name is still being resolved; going on, it is asked for again");
            Vec::new()
        });
        for (proxy, answer) in answers {
            match answer {
                Ok(addrs) => {
                    let fake = setup.config.dns.as_ref().and_then(|settings| {
                        addrs.iter().find(|addr| dns::Nets::new(settings.pool, settings.pool6).contain(addr.ip()))
                    });
                    if let Some(fake) = fake {
                        return Err(format!(
                            "{place} {proxy}: {fake} is an address of dns-pool: this machine must not ask its own \
                             resolver for its proxy (dns-forward can name who knows it)"
                        ));
                    }
                    if let Some(own) = addrs.iter().find(|a| a.port() == port && origin::is_local(a.ip())) {
                        return Err(format!("{place} {proxy}: {own} is this very listener"));
                    }
                }
                Err(error) => tracing::warn!("{error}; going on, it is asked for again with each connection"),
            }
        }
    }
    Ok(())
}

fn check_mark(config: &Config) {
    if config.mark == 0 {
        return;
    }
    if let Err(error) = socket::may_mark(config.mark) {
        let mark = config.mark;
        tracing::warn!(
            "-mark {mark:#x}: not set, {error}, it needs CAP_NET_ADMIN (or CAP_NET_RAW since Linux 5.17); a gateway needs none \
             (say -mark 0), rules for this host itself can leave out our user instead (--uid)"
        );
    }
}
