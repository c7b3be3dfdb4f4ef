//! The house: bind, accept while there is room, and drain when told to stop.

mod accept;
mod stop;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::session::{self, Gateway};
use crate::sys::limits::{self, Budget};
use crate::sys::{origin, pipe, socket};

/// How long sessions that are cut may take to report it.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long the start may wait for the upstream's name.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// Serves until a signal, then drains.
///
/// # Errors
/// Why it could not start, for a person.
pub fn run(config: Config) -> Result<(), String> {
    let descriptors = limits::raise_descriptors().map_err(|e| format!("read the descriptor limit: {e}"))?;
    let budget = Budget::of(descriptors);
    let seats = seats(&config, budget, descriptors);
    pipe::allow(budget.pipes);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("handyproxy")
        .build()
        .map_err(|e| format!("start the runtime: {e}"))?;
    let gateway = Arc::new(Gateway::new(config));
    let free = Arc::new(Semaphore::new(seats));
    let outcome = runtime.block_on(serve(gateway.clone(), free.clone(), seats));
    // sessions that are still open are dropped by this, each reports it and gives back its seat; a name
    // look-up that hangs is left behind
    runtime.shutdown_background();
    let start = Instant::now();
    while free.available_permits() < seats && start.elapsed() < FAREWELL {
        std::thread::sleep(Duration::from_millis(2));
    }
    outcome?;
    tracing::info!("stopped after serving {}", sessions(gateway.stats.opened()));
    Ok(())
}

/// How many sessions may be open at once.
fn seats(config: &Config, budget: Budget, descriptors: u64) -> usize {
    match config.max_sessions {
        0 => budget.sessions,
        wanted if wanted > budget.sessions => {
            let fit = budget.sessions;
            tracing::warn!("-max-sessions {wanted}: only {fit} fit under the limit of {descriptors} descriptors");
            fit
        }
        wanted => wanted,
    }
}

async fn serve(gateway: Arc<Gateway>, seats: Arc<Semaphore>, count: usize) -> Result<(), String> {
    let config = &gateway.config;
    let stop = stop::Signals::watch().map_err(|e| format!("watch for signals: {e}"))?;
    let listener = listen(config)?;
    check_upstream(&gateway).await?;
    check_mark(config);
    let local = listener.local_addr().map_err(|e| format!("listen on port {}: {e}", config.local_port))?;
    tracing::info!("listening on {local}, upstream {}; room for {count} sessions", config.upstream_proxy);

    let accepting = tokio::spawn(accept::accept(listener, seats.clone(), {
        let gateway = gateway.clone();
        move |client, peer, seat| session::start(client, peer, gateway.clone(), seat)
    }));
    stop.drain(accepting, &seats, count, config.drain_timeout).await
}

fn sessions(count: u64) -> String {
    if count == 1 { "1 session".to_owned() } else { format!("{count} sessions") }
}

fn listen(config: &Config) -> Result<TcpListener, String> {
    let port = config.local_port;
    socket::listen(port, config.keepalive).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("listen on port {port}: another program listens there already"),
        std::io::ErrorKind::PermissionDenied => {
            format!("listen on port {port}: not allowed, it needs root or CAP_NET_BIND_SERVICE")
        }
        _ => format!("listen on port {port}: {error}"),
    })
}

/// An upstream that is this very listener would feed us our own tunnels.
async fn check_upstream(gateway: &Gateway) -> Result<(), String> {
    let config = &gateway.config;
    let answer = tokio::time::timeout(FIRST_ANSWER, gateway.upstream.addresses()).await;
    match answer.unwrap_or_else(|_| Err(std::io::Error::other("the upstream's name is still being resolved"))) {
        Ok(addrs) => {
            let own = addrs.iter().find(|a| a.port() == config.local_port && origin::is_local(a.ip()));
            own.map_or(Ok(()), |own| {
                Err(format!("-upstream-proxy {}: {own} is this very listener", config.upstream_proxy))
            })
        }
        Err(error) => {
            tracing::warn!("{error}; going on, it is asked for again with each connection");
            Ok(())
        }
    }
}

fn check_mark(config: &Config) {
    if config.mark == 0 {
        return;
    }
    if let Err(error) = socket::may_mark(config.mark) {
        let mark = config.mark;
        tracing::warn!(
            "-mark {mark:#x}: not set, {error}, it needs CAP_NET_ADMIN; a gateway needs none (say -mark 0), \
             rules for this host itself can leave out our user instead (--uid)"
        );
    }
}
