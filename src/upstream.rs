//! An upstream: its proxies in order of preference, a connection to the first of them that works, and the tunnel
//! through it, credentials included.
//!
//! Another proxy takes over only before a byte of the client's was sent, and only for what is the proxy's own fault:
//! a status is its answer, refused credentials would be refused, and counted against us, by the next one too.

mod connect;
mod dial;
mod dialler;
mod drain;
mod examine;
mod failure;
mod health;
mod member;
mod resolve;
mod socks5;
mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::addr::Target;
use crate::auth::{Account, Conversation};
use crate::close::{By, Close, End};
use crate::config::{Config, Credentials, PlainHttp, Proxy, Speaks, UpstreamSettings};
use crate::stream::Stream;
use crate::sys::{origin, socket};
use failure::{Fault, unauthenticated};
use member::{Member, Reached};
use tls::Tls;

pub use connect::Opened;
pub use dialler::Dialler;
pub use examine::Answer;
pub use failure::{Deadline, Failure};

/// How long a proxy may take to be connected to while there is another one, unless the time is shorter.
const PATIENCE: Duration = Duration::from_secs(5);
/// A dial that was given up earlier says nothing about the proxy.
const SLOW: Duration = Duration::from_secs(1);
/// A connection that was not used for so long may have been closed for that.
const UNUSED: Duration = Duration::from_millis(500);
/// How long a port is relayed for which a tunnel was refused.
const RELAYED: Duration = Duration::from_secs(600);

/// One upstream.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    name: Arc<str>,
    members: Vec<Member>,
    account: Arc<Account>,
    dialler: Dialler,
    /// How long a proxy may take to be connected to while there is another one.
    patience: Duration,
    /// Ports for which CONNECT was refused, and until when that is believed.
    relayed: Mutex<HashMap<u16, Instant>>,
}

/// How a proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub proxy: String,
    /// It worked when it was last used, or was not used yet.
    pub up: bool,
    /// How much longer it is left alone, or its upstream's credentials are.
    pub held: Duration,
    /// Why that is, where it is.
    pub why: Option<String>,
}

/// A connection to one of an upstream's proxies.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub stream: Stream,
    /// To where.
    pub addr: SocketAddr,
    /// How long its TLS handshake took, where there was one.
    pub tls: Option<Duration>,
    /// Who we are, on this connection: whoever sends requests over it keeps it here.
    pub conversation: Option<Conversation>,
    member: usize,
    since: Instant,
    /// The proxies that could not be reached before this one.
    failed: Vec<usize>,
}

impl Link {
    fn new(reached: Reached, member: usize, failed: Vec<usize>) -> Link {
        let Reached { stream, addr, tls } = reached;
        Link { stream, addr, tls, conversation: None, member, since: Instant::now(), failed }
    }

    /// Which of the upstream's proxies it leads to, for [`Upstream::redial`].
    pub fn proxy(&self) -> usize {
        self.member
    }
}

impl Upstream {
    /// The upstream that these settings describe; nothing is resolved or dialled yet.
    ///
    /// # Errors
    /// The roots that its certificate is to be checked against cannot be read.
    pub fn new(settings: &UpstreamSettings, config: &Config) -> Result<Upstream, String> {
        let name: Arc<str> = Arc::from(settings.name.as_str());
        let wants_tls = settings.proxies.iter().any(|proxy| proxy.speaks == Speaks::Https);
        let tls = if wants_tls { Some(Tls::new(settings.ca.as_deref())?) } else { None };
        let member = |proxy: &Proxy| Member::new(name.clone(), proxy.clone(), tls.clone());
        Ok(Upstream {
            members: settings.proxies.iter().map(member).collect(),
            account: Arc::new(Account::new(&settings.name, &settings.auth, &settings.credentials)),
            dialler: Dialler::new(config, &settings.source),
            relayed: Mutex::default(),
            patience: PATIENCE.min(config.dial_timeout / u32::try_from(settings.proxies.len()).unwrap_or(u32::MAX)),
            settings: settings.clone(),
            name,
        })
    }

    /// Whether it would be the same if it were made of these settings; where they stand does not count, nor which files
    /// said so. One that was refused with a keytab is not: that may be another one by now, under the same name.
    pub fn is_as(&self, settings: &UpstreamSettings, config: &Config) -> bool {
        if settings.credentials.keytab.is_some() && self.account.held().is_some() {
            return false;
        }
        let UpstreamSettings { files, place, .. } = self.settings.clone();
        self.settings == UpstreamSettings { files, place, ..settings.clone() }
            && self.dialler.is_as(&Dialler::new(config, &settings.source))
    }

    /// Its name, or its address where it has none.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its name with its proxies, for people.
    pub fn shown(&self) -> String {
        if !self.settings.is_named() {
            return self.name.to_string();
        }
        let proxies: Vec<String> = self.members.iter().map(|member| member.proxy.to_string()).collect();
        format!("{} ({})", self.name, proxies.join(", "))
    }

    /// Looks its proxies' names up, all at once, and tells all addresses with the proxies that have them, or why a
    /// name has none.
    pub async fn addresses(&self) -> Vec<(String, Result<Arc<[SocketAddr]>, String>)> {
        let mut asked = tokio::task::JoinSet::new();
        for (number, member) in self.members.iter().enumerate() {
            let resolver = member.resolver.clone();
            asked.spawn(async move { (number, resolver.addresses().await) });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(number, _)| *number);
        let shown = |(number, answer): (usize, std::io::Result<_>)| {
            (self.members[number].proxy.to_string(), answer.map_err(|error| error.to_string()))
        };
        answers.into_iter().map(shown).collect()
    }

    /// Whether one of its proxies has this address, as far as they are known now.
    pub fn is_at(&self, addr: SocketAddr) -> bool {
        self.members.iter().any(|m| m.resolver.known().is_some_and(|known| known.contains(&addr)))
    }

    /// Whether one of its proxies is on this machine, as far as they are known now: any of them may be the next.
    pub fn is_here(&self) -> bool {
        let mut known = self.members.iter().filter_map(|member| member.resolver.known());
        known.any(|addrs| addrs.iter().any(|addr| origin::is_local(addr.ip())))
    }

    /// How each proxy is.
    pub fn standings(&self) -> Vec<Standing> {
        let now = Instant::now();
        let refused = self.account.check().err();
        let standing = |member: &Member| {
            let proxy = member.proxy.to_string();
            match (member.health.down(now), &refused) {
                (Some((held, why)), _) => Standing { proxy, up: false, held, why: Some(why) },
                (None, Some(refusal)) => {
                    let held = self.account.held().unwrap_or_default();
                    Standing { proxy, up: true, held, why: Some(refusal.to_string()) }
                }
                (None, None) => Standing { proxy, up: true, held: Duration::ZERO, why: None },
            }
        };
        self.members.iter().map(standing).collect()
    }

    /// How each proxy is, for people.
    pub fn states(&self) -> Vec<String> {
        let state = |Standing { proxy, up, held, why }| match (up, why) {
            (true, Some(_)) => {
                let left = held.as_secs() + 1;
                format!("upstream {}: {proxy} up, credentials refused and held for {left}s more", self.name)
            }
            (true, None) => format!("upstream {}: {proxy} up", self.name),
            (false, why) => {
                let (left, why) = (held.as_secs(), why.unwrap_or_default());
                format!("upstream {}: {proxy} held for {left}s more: {why}", self.name)
            }
        };
        self.standings().into_iter().map(state).collect()
    }

    /// How many of its proxies are down.
    pub fn down(&self) -> usize {
        let now = Instant::now();
        self.members.iter().filter(|member| member.health.down(now).is_some()).count()
    }

    /// Connects to the first proxy that works. May be dropped at any time; sends nothing of a client's. Each that did
    /// not and is followed by another one is added to `retries`.
    ///
    /// # Errors
    /// None of them can be reached, or this machine is out of something.
    pub async fn dial(&self, retries: &Retries) -> Result<Link, Failure> {
        if let Err(held) = self.account.check() {
            return Err(Failure::new(Close::because(End::Auth, By::Upstream, held)));
        }
        let order = self.order();
        if order.len() > 1 {
            // one session sees whether a proxy is back; the others go on without it meanwhile
            self.members[order[0]].health.claim(Instant::now(), self.patience);
        }
        self.dial_one(&order, retries).await
    }

    /// Asks for a tunnel to `target`, over `link` if that still lives, and else over a new connection, which is added
    /// to `retries`. Where the upstream refuses and `page` is set, reads its page too.
    ///
    /// # Errors
    /// The upstream refused, none of its proxies answers as it should, or `deadline` passed.
    pub async fn open(
        &self,
        mut link: Link,
        target: &Target<'_>,
        page: bool,
        deadline: Deadline,
        retries: &Retries,
    ) -> Result<(Link, Opened), Failure> {
        let Deadline { until, limit } = deadline;
        let mut left = self.order();
        let mut may_be_stale = link.since.elapsed() > UNUSED || socket::has_ended(link.stream.tcp());
        loop {
            let member = &self.members[link.member];
            left.retain(|number| *number != link.member && !link.failed.contains(number));
            // whoever waits for the verdict on another session's credentials has asked the proxy nothing
            let mut conversation = match tokio::time::timeout_at(until, self.conversation(&link)).await {
                Ok(begun) => begun?,
                Err(_) => {
                    let waiting = format!("{}: the verdict on credentials that another session tries", link.addr);
                    return Err(Failure::timeout(&waiting, limit));
                }
            };
            let asking = self.ask(&mut link, conversation.as_mut(), target, page);
            let asked = tokio::time::timeout_at(until, asking).await;
            let failure = match asked {
                Ok(Ok(opened)) => {
                    member.worked();
                    return Ok((link, opened));
                }
                Ok(Err(failure)) => failure,
                Err(_) => {
                    let failure = Failure::timeout(&format!("{}: reply to CONNECT", link.addr), limit);
                    member.was_silent(failure.why());
                    return Err(failure);
                }
            };
            match failure.fault {
                Fault::Final => {
                    if failure.status.is_some() {
                        member.worked();
                    }
                    return Err(failure);
                }
                // a proxy that closes what nobody used for a while is not to blame
                Fault::Stale if may_be_stale => left.insert(0, link.member),
                // it may be the target that it dislikes
                Fault::Stale | Fault::Proxy => member.was_silent(failure.why()),
            }
            may_be_stale = false;
            drop(conversation);
            if left.is_empty() {
                return Err(failure);
            }
            drop(link);
            retries.add();
            link = match tokio::time::timeout_at(until, self.dial_one(&left, retries)).await {
                Ok(dialled) => dialled?,
                Err(_) => return Err(Failure::timeout(&format!("dial {}", self.shown()), limit)),
            };
        }
    }

    /// A conversation about who we are, for requests that are sent over a link to this upstream; `None` where none
    /// is wanted.
    ///
    /// # Errors
    /// Our credentials were refused a moment ago.
    pub async fn conversation(&self, link: &Link) -> Result<Option<Conversation>, Failure> {
        if !self.account.is_needed() {
            return Ok(None);
        }
        let proxy = &self.members[link.member].proxy;
        let begun = self.account.begin(&proxy.addr.host, &proxy.to_string()).await;
        begun.map(Some).map_err(|refusal| unauthenticated(link.addr, &refusal))
    }

    /// Takes note that the proxy behind a link answers.
    pub fn answered(&self, link: &Link) {
        self.members[link.member].worked();
    }

    /// Connects once more to the proxy that a link led to.
    ///
    /// # Errors
    /// It cannot be reached, or this machine is out of something.
    pub async fn redial(&self, proxy: usize) -> Result<Link, Failure> {
        self.dial_one(&[proxy], &Retries::default()).await
    }

    /// What becomes of HTTP without TLS to this port now.
    pub fn plain_http(&self, port: u16) -> PlainHttp {
        if self.settings.plain_http != PlainHttp::Auto {
            return self.settings.plain_http;
        }
        let mut relayed = self.relayed.lock().unwrap_or_else(PoisonError::into_inner);
        match relayed.get(&port) {
            Some(until) if *until > Instant::now() => PlainHttp::Relay,
            Some(_) => {
                relayed.remove(&port);
                PlainHttp::Auto
            }
            None => PlainHttp::Auto,
        }
    }

    /// A tunnel to this port was refused with this status: whether its requests are to be relayed from now on.
    pub fn relays_instead(&self, port: u16, status: Option<u16>) -> bool {
        let Some(status @ (403 | 405 | 501)) = status else { return false };
        if self.settings.plain_http != PlainHttp::Auto {
            return false;
        }
        let mut relayed = self.relayed.lock().unwrap_or_else(PoisonError::into_inner);
        if relayed.insert(port, Instant::now() + RELAYED).is_none() {
            let name = &self.name;
            tracing::info!("upstream {name}: port {port} is relayed from now on, CONNECT was answered with {status}");
        }
        true
    }

    /// Sees now and then whether its proxies are alive, if it is told to, for as long as it is in use.
    pub fn keep_probing(self: &Arc<Self>) {
        let Some(interval) = self.settings.probe else { return };
        let upstream: Weak<Upstream> = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(upstream) = upstream.upgrade() else { return };
                for member in &upstream.members {
                    match tokio::time::timeout(PATIENCE, member.dial(&upstream.dialler.from())).await {
                        Ok(Ok(_)) => member.was_reached(),
                        Ok(Err(failure)) if failure.fault == Fault::Proxy => member.failed(failure.why()),
                        Ok(Err(_)) => {}
                        Err(_) => member.failed(&format!("probe: nothing within {}s", PATIENCE.as_secs())),
                    }
                }
            }
        });
    }

    /// Its proxies as they are to be tried: those that work by preference, then the others, soonest first.
    fn order(&self) -> Vec<usize> {
        let now = Instant::now();
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        if order.len() > 1 {
            order.sort_by_key(|number| self.members[*number].health.held_until(now));
        }
        order
    }

    async fn dial_one(&self, order: &[usize], retries: &Retries) -> Result<Link, Failure> {
        let mut failure = None;
        let mut failed = Vec::new();
        for (turn, &number) in order.iter().enumerate() {
            let member = &self.members[number];
            let from = self.dialler.from();
            let waiting = Waiting { member, since: Instant::now(), over: false };
            let dialling = async {
                let dialled = member.dial(&from).await;
                waiting.over();
                dialled
            };
            let dialled = if turn + 1 < order.len() {
                let late = |_| Failure::timeout(&format!("dial {}", member.proxy.addr), self.patience).of_proxy();
                tokio::time::timeout(self.patience, dialling).await.map_err(late).and_then(|dialled| dialled)
            } else {
                dialling.await
            };
            match dialled {
                Ok(reached) => return Ok(Link::new(reached, number, failed)),
                Err(ours) if ours.fault == Fault::Final => return Err(ours),
                Err(theirs) => {
                    member.failed(theirs.why());
                    failed.push(number);
                    failure = Some(theirs);
                    if failed.len() < order.len() {
                        retries.add();
                    }
                }
            }
        }
        Err(failure.expect("an upstream has at least one proxy, and it failed"))
    }

    /// One proxy's answer, however many requests that takes.
    async fn ask(
        &self,
        link: &mut Link,
        mut conversation: Option<&mut Conversation>,
        target: &Target<'_>,
        page: bool,
    ) -> Result<Opened, Failure> {
        let member = &self.members[link.member];
        let unused = link.since.elapsed() > UNUSED;
        if member.proxy.speaks == Speaks::Socks5 {
            let Credentials { user, password, .. } = &self.settings.credentials;
            let login = password.as_ref().map(|password| (user.as_str(), password.reveal()));
            let outcome = socks5::open(&mut link.stream, link.addr, target, login).await;
            match (&mut conversation, &outcome) {
                (Some(conversation), Err(failure)) if failure.close.end == End::Auth => conversation.refused(),
                (Some(conversation), Ok(_)) => conversation.accepted(),
                _ => {}
            }
            return outcome.map_err(|mut failure| {
                // a proxy that hangs up on a login may mean it: the next one need not hear it too
                failure.fault = match failure.close.end {
                    End::Hangup if login.is_none() || unused => Fault::Stale,
                    End::BadReply if login.is_none() => Fault::Proxy,
                    _ => Fault::Final,
                };
                failure
            });
        }
        let mut legs = connect::Legs::new(target, page);
        loop {
            match legs.next(&mut link.stream, link.addr, conversation.as_deref_mut()).await? {
                connect::Leg::Opened(opened) => return Ok(opened),
                connect::Leg::Reconnect => *link = self.redial(link.member).await?,
            }
        }
    }
}

/// How often something else was tried because a proxy could not be reached or gave no sound answer. Whoever waits holds
/// it, so that it is known even where the time is up.
#[derive(Debug, Default)]
pub struct Retries(AtomicU16);

impl Retries {
    /// How often.
    pub fn count(&self) -> u16 {
        self.0.load(Ordering::Relaxed)
    }

    /// From now on it is another way.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A dial that may be given up from outside: what took long is the proxy's silence.
struct Waiting<'a> {
    member: &'a Member,
    since: Instant,
    over: bool,
}

impl Waiting<'_> {
    fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over && self.since.elapsed() > SLOW {
            let seconds = self.since.elapsed().as_secs();
            self.member.was_silent(&format!("dial {}: given up after {seconds}s", self.member.proxy.addr));
        }
    }
}
