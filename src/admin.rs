//! The admin: metrics, health, sessions and settings over HTTP, for people and programs of this machine.
//!
//! There is no password: whoever reaches the address may read, and whoever reaches the unix socket may cut sessions.
//! A web page in a browser here reaches loopback too, by a name of its own that resolves to it: so the Host field must
//! be an address or a name that is ours. What takes long is made on a thread that no session waits for.

mod answer;
mod hosts;
mod json;
mod listen;
mod patient;
mod places;
mod scrape;
mod sessions;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::AdminAddr;
use crate::session::Gateway;
use listen::Listener;
use patient::Patient;
use places::{Place, Places};

/// Connections at once; one more is let in and gets the place of another.
const CONNECTIONS: usize = crate::config::ADMIN_CONNECTIONS - 1;
/// How long a request's head may take, and how long a connection may wait for the next one.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Most bytes of a request's head.
const HEAD: usize = 16 << 10;
/// How long to leave a machine alone on which accepting fails.
const PAUSE: Duration = Duration::from_millis(500);

/// What the admin tells of.
pub struct House {
    /// Sessions, upstreams, settings.
    pub gateway: Arc<Gateway>,
    /// Most descriptors that may be open.
    pub descriptors: u64,
    /// The seats of now.
    pub seats: Box<dyn Fn() -> Seats + Send + Sync>,
    /// Asks the loop that accepts: ready when it answers, never if it hangs; `false` if it has ended.
    pub accepts: Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>,
}

/// How many sessions there is room for, and how often there was none.
#[derive(Clone, Copy, Debug)]
pub struct Seats {
    /// How many there are.
    pub count: usize,
    /// Whether clients wait for room now.
    pub is_short: bool,
    /// How often all seats were taken.
    pub full: u64,
    /// How often accepting failed, as without a free descriptor.
    pub failed: u64,
}

/// A listener, and who answers there.
#[derive(Debug)]
pub struct Admin {
    listener: Listener,
}

/// What answers.
#[derive(Debug)]
struct Desk {
    house: Arc<House>,
    registry: Registry,
}

/// By which way a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From whatever reaches the address.
    Tcp,
    /// From those who may open the socket.
    Unix,
}

impl Admin {
    /// Listens; nothing is answered yet.
    ///
    /// # Errors
    /// Why there is no listener, for a person.
    pub fn open(addr: &AdminAddr) -> Result<Admin, String> {
        Listener::open(addr).map(|listener| Admin { listener })
    }

    /// Answers for ever. When dropped nobody gets in any more, and the unix socket goes; those who are in are answered
    /// to their end.
    pub async fn serve(self, house: House) {
        let desk = Arc::new(Desk::new(house));
        let places = Places::new(CONNECTIONS);
        let mut is_failing = false;
        loop {
            match self.listener.accept().await {
                Ok(listen::Client::Tcp(client)) => serve(client, Way::Tcp, desk.clone(), places.take().await),
                Ok(listen::Client::Unix(client)) => serve(client, Way::Unix, desk.clone(), places.take().await),
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!("admin: accept: {error}");
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            is_failing = false;
        }
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listener.fmt(f)
    }
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").field("descriptors", &self.descriptors).finish_non_exhaustive()
    }
}

impl Desk {
    fn new(house: House) -> Desk {
        let house = Arc::new(house);
        let registry = scrape::registry(&house);
        Desk { house, registry }
    }
}

/// Serves one client, in a task of its own.
fn serve(client: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, way: Way, desk: Arc<Desk>, place: Place) {
    tokio::spawn(async move {
        let service = service_fn(|request| {
            let (desk, place) = (desk.clone(), &place);
            async move {
                place.asks();
                let answer = answer::answer(desk, way, request).await;
                place.is_answered();
                answer
            }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD);
        tokio::select! {
            outcome = server.serve_connection(TokioIo::new(Patient::new(client)), service) => {
                if let Err(error) = outcome {
                    tracing::debug!("admin: {error}");
                }
            }
            () = place.is_needed() => tracing::debug!("admin: all places are taken, a quiet client has left its own"),
        }
    });
}
