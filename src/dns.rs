//! The resolver of clients that have none: every name gets an address of our own, which stands for it from then on.
//!
//! A session to such an address is one to the name, before a byte of it was read. Names that others know are asked
//! there; what would lead clients around us (HTTP/3, encrypted hellos, DNS over HTTPS) has no answer. Settings can
//! change while it runs, the networks and listeners cannot.

mod forward;
mod listen;
mod nets;
mod pool;
mod state;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use crate::addr::Host;
use crate::config::DnsSettings;
use crate::stats::{Gate, Pass};
use crate::sys::origin;
use crate::wire::dns::{A, AAAA, ANY, Answer, HTTPS, Query, Rcode, SVCB};
use pool::Pool;
use state::Journal;

pub use nets::Nets;

/// Firefox does not use DNS over HTTPS where this name does not exist.
const CANARY: &str = "use-application-dns.net";
/// Trees that the Internet's DNS does not have, or whose answers would be of no use (RFC 6761, 6762, 7686).
const NOWHERE: [&str; 4] = ["arpa", "local", "invalid", "onion"];
/// The longest time for which clients may believe that something is not there.
const NEGATIVE: u32 = 60;
/// Questions to other servers at the same time.
const FORWARDED: usize = 256;
/// Look-ups by the system at the same time: each holds a thread until its resolver gives up.
const LOOK_UPS: usize = 64;
/// Between two batches of new names for the journal.
const PAUSE: Duration = Duration::from_millis(500);

/// The resolver.
#[derive(Debug)]
pub struct Resolver {
    nets: Nets,
    listen: Vec<SocketAddr>,
    path: Option<PathBuf>,
    pool: Mutex<Pool>,
    journal: Mutex<Option<Journal>>,
    /// There are names for the journal.
    news: Notify,
    terms: RwLock<Arc<Terms>>,
    forwarded: Arc<Semaphore>,
    look_ups: Semaphore,
    gate: Gate,
}

/// What can change while it runs.
#[derive(Debug)]
struct Terms {
    zones: HashMap<String, Arc<[SocketAddr]>>,
    ttl: u32,
    aaaa: bool,
    mark: u32,
}

/// What an address of ours stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    /// This name; its number is held until [`Resolver::let_go`].
    For(Arc<Host>, u32),
    /// Nothing that is known.
    Nothing,
}

/// What becomes of a question.
enum Reply {
    Now(Vec<u8>),
    /// These know.
    Forward(Arc<[SocketAddr]>),
}

impl Terms {
    fn new(settings: &DnsSettings, mark: u32) -> Terms {
        let zones = settings.forward.iter();
        Terms {
            zones: zones.map(|zone| (zone.name.to_string(), Arc::from(zone.servers.clone()))).collect(),
            // a day at most
            ttl: settings.ttl.as_secs() as u32,
            aaaa: settings.aaaa,
            mark,
        }
    }

    /// Who knows a name: the servers of the longest zone that it is in.
    fn zone(&self, name: &str) -> Option<&Arc<[SocketAddr]>> {
        let mut rest = Some(name);
        while let Some(name) = rest {
            if let Some(servers) = self.zones.get(name) {
                return Some(servers);
            }
            rest = name.split_once('.').map(|(_, rest)| rest);
        }
        None
    }
}

impl Resolver {
    /// A resolver that knows no name yet; opens nothing.
    pub fn new(settings: &DnsSettings, mark: u32) -> Resolver {
        let nets = Nets::new(settings.pool, settings.pool6);
        Resolver {
            nets,
            listen: settings.listen.clone(),
            path: path(settings),
            pool: Mutex::new(Pool::new(nets.last())),
            journal: Mutex::new(None),
            news: Notify::new(),
            terms: RwLock::new(Arc::new(Terms::new(settings, mark))),
            forwarded: Arc::new(Semaphore::new(FORWARDED)),
            look_ups: Semaphore::new(LOOK_UPS),
            gate: Gate::new(),
        }
    }

    /// Remembers names from before, listens, and answers from now on.
    ///
    /// # Errors
    /// Why it cannot listen, for a person.
    pub fn start(self: &Arc<Self>) -> Result<(), String> {
        if let Some(path) = &self.path {
            *lock(&self.journal) = state::open(path, self.nets, &mut lock(&self.pool));
        }
        let mut at = Vec::new();
        for addr in &self.listen {
            listen::start(self, *addr)?;
            at.push(addr.to_string());
        }
        tokio::spawn(save(self.clone()));
        tracing::info!("dns: answering at {}; {}", at.join(", "), self.shown());
        Ok(())
    }

    /// Answers by these settings from now on; the networks and listeners stay.
    pub fn exchange(&self, settings: &DnsSettings, mark: u32) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Terms::new(settings, mark));
    }

    /// What an address stands for, for a session that begins; `None`: it is none of ours.
    pub fn stands(&self, addr: IpAddr) -> Option<Stands> {
        if !self.nets.contain(addr) {
            return None;
        }
        let held = self.nets.number(addr).and_then(|number| Some((lock(&self.pool).hold(number)?, number)));
        let Some((name, number)) = held else { return Some(Stands::Nothing) };
        self.news.notify_one();
        Some(Stands::For(name, number))
    }

    /// A session that [`Resolver::stands`] gave a number has ended.
    pub fn let_go(&self, number: u32) {
        lock(&self.pool).let_go(number);
    }

    /// Whether an address is one of ours.
    pub fn has(&self, addr: IpAddr) -> bool {
        self.nets.contain(addr)
    }

    /// How many addresses stand for names, and how many could.
    pub fn count(&self) -> (u32, u32) {
        lock(&self.pool).count()
    }

    /// The same, for people.
    pub fn shown(&self) -> String {
        let (taken, all) = self.count();
        format!("names with an address of {}: {taken}, room for {all}", self.nets.v4_net())
    }

    /// The real addresses of a name: from the servers of its zone, or as the system knows it. Never ours, and never
    /// this machine's own: what only it can reach is not for clients.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, String> {
        let terms = self.terms();
        let found = match terms.zone(host.as_str()) {
            Some(servers) => {
                let (v4, v6) = (Query::about(host, A), Query::about(host, AAAA));
                let (v4, v6) =
                    tokio::join!(forward::ask(&v4, servers, terms.mark), forward::ask(&v6, servers, terms.mark));
                let addresses = |reply: &Result<Vec<u8>, String>| {
                    reply.as_ref().map(|reply| crate::wire::dns::addresses(reply)).unwrap_or_default()
                };
                let found = [addresses(&v4), addresses(&v6)].concat();
                match (found.is_empty(), v4) {
                    (true, Err(why)) => return Err(format!("resolve {host}: {why}")),
                    _ => found,
                }
            }
            None => {
                let _place = self.look_ups.acquire().await;
                let found = tokio::net::lookup_host((host.as_str(), 0)).await;
                found.map_err(|error| format!("resolve {host}: {error}"))?.map(|addr| addr.ip()).collect()
            }
        };
        let usable = |addr: &IpAddr| {
            let (own, beside) = (addr.is_loopback(), is_link_local(*addr));
            !self.has(*addr) && !own && !beside && crate::sys::datagram::is_peer(*addr)
        };
        let addrs: Vec<IpAddr> =
            found.iter().copied().filter(|addr| usable(addr) && !origin::is_local(*addr)).collect();
        match (addrs.is_empty(), found.first()) {
            (false, _) => Ok(addrs),
            (true, None) => Err(format!("resolve {host}: no address")),
            (true, Some(ours)) if self.has(*ours) => Err(format!(
                "resolve {host}: {ours} is an address of dns-pool: this machine must not ask its own resolver"
            )),
            (true, Some(near)) if is_link_local(*near) => {
                Err(format!("resolve {host}: {near} is good on one link only, and may be a cloud's metadata server"))
            }
            (true, Some(own)) => Err(format!("resolve {host}: {own} is an address of this machine")),
        }
    }

    /// Writes what is not written yet.
    pub fn save(&self) {
        if let Some(journal) = &mut *lock(&self.journal) {
            while journal.save(&self.pool) {}
        }
    }

    fn terms(&self) -> Arc<Terms> {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The answer to a question, or who has it.
    fn reply(&self, query: &Query) -> Reply {
        let terms = self.terms();
        let name = query.name();
        let now = |answer, ttl| Reply::Now(query.answer(answer, ttl));
        let none = terms.ttl.min(NEGATIVE);
        if !query.is_ordinary() {
            return now(Answer::Fails(Rcode::Refused), 0);
        }
        if let Some(addr) = query.reverse().filter(|addr| self.nets.contain(*addr)) {
            let number = self.nets.number(addr);
            let known = number.and_then(|number| lock(&self.pool).name(number).cloned());
            return Reply::Now(query.answer(known.as_ref().map_or(Answer::NoName, |name| Answer::Name(name)), none));
        }
        if name == "localhost" || name.ends_with(".localhost") {
            return match query.kind() {
                A => now(Answer::Addr(Ipv4Addr::LOCALHOST.into()), terms.ttl),
                AAAA => now(Answer::Addr(Ipv6Addr::LOCALHOST.into()), terms.ttl),
                _ => now(Answer::NoData, none),
            };
        }
        if let Some(servers) = terms.zone(name) {
            return match query.kind() {
                // announcements of HTTP/3 and keys of encrypted hellos
                HTTPS | SVCB | ANY => now(Answer::NoData, none),
                _ => Reply::Forward(servers.clone()),
            };
        }
        // the root exists
        if name.is_empty() {
            return now(Answer::NoData, none);
        }
        let last = name.rsplit('.').next().unwrap_or(name);
        let Some(host) = query.host().filter(|_| last != name && name != CANARY && !NOWHERE.contains(&last)) else {
            return now(Answer::NoName, none);
        };
        let net = match query.kind() {
            A => Nets::v4,
            AAAA if terms.aaaa => Nets::v6,
            _ => return now(Answer::NoData, none),
        };
        let number = lock(&self.pool).ask(&host);
        self.news.notify_one();
        match number {
            Some(number) => now(Answer::Addr(net(&self.nets, number)), terms.ttl),
            None => {
                self.warn(format_args!("dns: no address for {host}: sessions hold all of {}", self.nets.v4_net()));
                now(Answer::Fails(Rcode::ServFail), 0)
            }
        }
    }

    /// A warning that clients can cause: a few in ten seconds.
    fn warn(&self, what: std::fmt::Arguments<'_>) {
        match self.gate.pass(Instant::now()) {
            Pass::HoldBack => return,
            Pass::Log { held_back: 0 } => {}
            Pass::Log { held_back } => tracing::warn!("dns: {held_back} more such lines were held back"),
        }
        tracing::warn!("{what}");
    }
}

/// Whether these settings would have it ask itself.
///
/// # Errors
/// Which server it is, for a person.
pub fn check(settings: &DnsSettings) -> Result<(), String> {
    let nets = Nets::new(settings.pool, settings.pool6);
    for zone in &settings.forward {
        for server in &zone.servers {
            let given = format!("dns-forward {}={server}", zone.name);
            let ours = settings.listen.iter().any(|own| {
                let same = own.ip() == server.ip() || own.ip().is_unspecified() && origin::is_local(server.ip());
                own.port() == server.port() && same
            });
            if ours {
                return Err(format!("{given}: this is our own resolver"));
            }
            if nets.contain(server.ip()) {
                return Err(format!("{given}: an address of dns-pool stands for a name, not for a server"));
            }
        }
    }
    Ok(())
}

/// The name that the journal has for an address, if it is one of ours; for those who only want to know.
///
/// `None`: it is none of ours.
pub fn remembered(settings: &DnsSettings, addr: IpAddr) -> Option<Option<Arc<Host>>> {
    let nets = Nets::new(settings.pool, settings.pool6);
    if !nets.contain(addr) {
        return None;
    }
    let path = path(settings);
    Some(nets.number(addr).and_then(|number| state::look_up(path.as_deref()?, nets, number)))
}

/// Where names are kept.
fn path(settings: &DnsSettings) -> Option<PathBuf> {
    settings.state.clone().or_else(|| {
        // several folders stand one behind the other (man 5 systemd.exec)
        let folders = std::env::var("STATE_DIRECTORY").ok()?;
        folders.split(':').next().filter(|folder| !folder.is_empty()).map(|folder| Path::new(folder).join("dns-names"))
    })
}

/// Writes new names for ever, a batch at a time.
async fn save(resolver: Arc<Resolver>) {
    loop {
        resolver.news.notified().await;
        let task = resolver.clone();
        let saving = tokio::task::spawn_blocking(move || match &mut *lock(&task.journal) {
            Some(journal) => journal.save(&task.pool),
            None => {
                // nobody will ask for them
                lock(&task.pool).unsaved(usize::MAX);
                false
            }
        });
        if saving.await.unwrap_or_default() {
            resolver.news.notify_one();
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it is of one link only (RFC 3927, RFC 4291 section 2.5.6): clients reach nothing there through us.
fn is_link_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
