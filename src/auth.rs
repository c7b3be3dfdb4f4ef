//! Who we are to an upstream: challenges in, credentials out, for Basic, Digest, NTLM and Negotiate.
//!
//! An [`Account`] belongs to one upstream, a [`Conversation`] to one connection of it. Nothing is sent that was not
//! configured. Refused credentials are not tried again for a while, and credentials that were never accepted are tried
//! by one connection at a time: a wrong password must not lock the account that it was meant for.

mod digest;
mod lockout;
mod negotiate;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::config::{Credentials, Scheme, UpstreamHost};
use crate::wire::challenge::{Challenge, challenges};
use crate::wire::{ntlm, text};
use digest::Digest;
use lockout::{Lockout, Turn};
use negotiate::Negotiate;

/// From 1601, where NTLM's time begins, to 1970, in seconds.
const EPOCH: Duration = Duration::from_secs(11_644_473_600);

/// Who we are to one upstream, and how that went so far.
pub struct Account {
    schemes: Vec<Scheme>,
    credentials: Credentials,
    lockout: Arc<Lockout>,
    digest: digest::Shared,
    threads: negotiate::Threads,
}

/// Who we are on one connection.
pub struct Conversation {
    account: Arc<Account>,
    proxy: String,
    service: Option<String>,
    turn: Option<Turn>,
    begun: Instant,
    state: State,
    /// The upstream has asked.
    challenged: bool,
    /// A request was to carry the last answer, and nothing was heard of it.
    pending: bool,
    /// The answer that was given last rested on a nonce of an earlier connection.
    old_nonce: bool,
}

/// How far a connection is.
enum State {
    /// Nothing was said.
    Begun,
    /// A request went without credentials.
    Silent,
    /// Credentials that say all went out.
    Told(Scheme),
    /// The first message of NTLM went out.
    Ntlm(Vec<u8>),
    /// Negotiate is under way.
    Negotiate(Negotiate),
    /// It is authenticated as a whole.
    Bound,
}

/// Why there are no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// They were refused.
    Wrong(String),
    /// They were refused before, and are not tried again for so long.
    Held {
        /// By whom, and why.
        why: String,
        /// For how much longer.
        left: Duration,
    },
    /// The upstream offers no scheme that was configured.
    NotOffered {
        /// What it offers, escaped.
        offered: String,
        /// What was configured.
        wanted: String,
    },
    /// They cannot be made: no ticket, or a challenge that makes no sense.
    Unable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Wrong(why) => write!(f, "credentials refused: {why}"),
            Refusal::Held { why, left } => {
                // 0 while another connection tries again
                let left = left.as_millis().div_ceil(1000).max(1);
                write!(f, "credentials were refused by {why}, held for {left}s more")
            }
            Refusal::NotOffered { offered, wanted } => write!(f, "wants {offered} credentials, auth says {wanted}"),
            Refusal::Unable(why) => f.write_str(why),
        }
    }
}

impl Account {
    /// An account at the upstream of this name.
    pub fn new(name: &str, schemes: &[Scheme], credentials: &Credentials) -> Account {
        Account {
            schemes: schemes.to_vec(),
            credentials: credentials.clone(),
            lockout: Arc::new(Lockout::new(name)),
            digest: digest::Shared::default(),
            threads: negotiate::Threads::default(),
        }
    }

    /// Whether there is anything to say at all.
    pub fn is_needed(&self) -> bool {
        !self.schemes.is_empty()
    }

    /// Whether there is any use in a connection now.
    ///
    /// # Errors
    /// [`Refusal::Held`].
    pub fn check(&self) -> Result<(), Refusal> {
        self.lockout.check()
    }

    /// For how long nothing is tried, after a refusal.
    pub fn held(&self) -> Option<Duration> {
        self.lockout.held()
    }

    /// Begins on a new connection to the proxy that `host` is, and that `shown` names in the log. Waits for its turn
    /// while another connection tries credentials that were never accepted. Nothing is lost when dropped.
    ///
    /// # Errors
    /// [`Refusal::Held`].
    pub async fn begin(self: &Arc<Self>, host: &UpstreamHost, shown: &str) -> Result<Conversation, Refusal> {
        let turn = if self.lockout.asks_nobody() { None } else { self.lockout.turn().await? };
        let service = match host {
            UpstreamHost::Name(name) => Some(format!("HTTP@{name}")),
            UpstreamHost::Ip(_) => None,
        };
        let (account, proxy) = (self.clone(), shown.to_owned());
        let state = State::Begun;
        let begun = Instant::now();
        Ok(Conversation {
            account,
            proxy,
            service,
            turn,
            begun,
            state,
            challenged: false,
            pending: false,
            old_nonce: false,
        })
    }

    fn basic(&self) -> Zeroizing<String> {
        let user = &self.credentials.user;
        let password = self.password();
        // as long as it gets: a buffer that grows leaves copies behind
        let mut pair = Zeroizing::new(String::with_capacity(user.len() + 1 + password.len()));
        [user, ":", password].iter().for_each(|part| pair.push_str(part));
        let mut value = Zeroizing::new(String::with_capacity(6 + pair.len().div_ceil(3) * 4));
        value.push_str("Basic ");
        BASE64_STANDARD.encode_string(pair.as_bytes(), &mut value);
        value
    }

    /// Whose credentials they are, for people.
    fn who(&self) -> String {
        let schemes = self.shown_schemes();
        match &self.credentials.user[..] {
            "" => format!("the ticket, by {schemes}"),
            user => format!("user {user} by {schemes}"),
        }
    }

    fn shown_schemes(&self) -> String {
        self.schemes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    fn password(&self) -> &str {
        self.credentials.password.as_ref().map_or("", |password| password.reveal())
    }
}

impl Conversation {
    /// The value of Proxy-Authorization for the next request; `None` sends none. `uri` is the request's target as it
    /// stands in its first line; `asked` are the values of all Proxy-Authenticate fields of the 407 that came last,
    /// none if the last answer was none. May wait for its turn as [`Account::begin`] does. When dropped, the
    /// connection must not be used again.
    ///
    /// # Errors
    /// We have nothing that the upstream wants, or it was refused a moment ago.
    pub async fn answer(
        &mut self,
        method: &str,
        uri: &str,
        asked: &[&[u8]],
    ) -> Result<Option<Zeroizing<String>>, Refusal> {
        // nothing was heard and yet there is one more request: a 407 that asks for nothing
        let is_asked = std::mem::replace(&mut self.pending, true) || !asked.is_empty();
        let answer = if is_asked { self.asked(method, uri, asked).await } else { self.unasked(method, uri).await };
        if let Err(refusal @ (Refusal::Unable(_) | Refusal::NotOffered { .. })) = &answer {
            self.account.lockout.missing(&self.proxy, refusal);
        }
        if let (Some(turn), State::Told(_) | State::Negotiate(_)) = (&mut self.turn, &self.state) {
            turn.tell();
        }
        answer
    }

    /// Whether the next request has to go over the same connection as the last one.
    pub fn is_bound(&self) -> bool {
        matches!(self.state, State::Ntlm(_) | State::Negotiate(_))
    }

    /// Whether the request that goes with the last answer may be the one that counts, so that its body must go too.
    pub fn is_final(&self) -> bool {
        !matches!(self.state, State::Ntlm(_))
    }

    /// From here on a new connection is used.
    pub fn reconnected(&mut self) {
        if matches!(self.state, State::Ntlm(_) | State::Negotiate(_) | State::Bound) {
            self.state = State::Begun;
        }
    }

    /// The connection ended before a byte of a reply came: nothing was refused. Whether the same can be said over
    /// another connection.
    pub fn unheard(&mut self) -> bool {
        self.pending = false;
        // a proxy that heard the first two messages of NTLM was there to hear the last
        let can = !matches!(self.state, State::Told(Scheme::Ntlm) | State::Bound);
        self.state = State::Begun;
        can
    }

    /// The upstream has answered with a status other than 407.
    pub fn answered(&mut self, status: u16) {
        self.pending = false;
        // what may be refused before anybody is asked who he is proves nothing
        if !self.challenged && matches!(status, 400 | 401 | 403 | 405 | 501) {
            self.settle();
            return;
        }
        self.accepted();
    }

    /// The upstream has let us in.
    pub fn accepted(&mut self) {
        self.pending = false;
        let scheme = match &self.state {
            // a protocol that has no schemes
            State::Begun => None,
            // it did not look at any credentials, and the first message of NTLM has none
            State::Silent | State::Ntlm(_) => {
                self.state = State::Silent;
                self.account.lockout.let_in();
                self.settle();
                return;
            }
            State::Told(scheme) => Some(*scheme),
            State::Negotiate(_) => Some(Scheme::Negotiate),
            State::Bound => return,
        };
        if matches!(scheme, Some(Scheme::Ntlm | Scheme::Negotiate)) {
            self.state = State::Bound;
        }
        self.account.lockout.accepted(scheme, self.begun);
        self.settle();
    }

    fn settle(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.settle();
        }
    }

    /// Whether credentials went out with the last answer.
    pub fn has_told(&self) -> bool {
        matches!(self.state, State::Told(_))
    }

    /// The upstream has refused us without a challenge.
    pub fn refused(&mut self) {
        self.account.lockout.refused(&self.proxy, &self.account.who());
        self.settle();
    }

    /// What is said to a 407.
    async fn asked(&mut self, method: &str, uri: &str, asked: &[&[u8]]) -> Result<Option<Zeroizing<String>>, Refusal> {
        // realms may be in any old encoding
        let texts: Vec<_> = asked.iter().map(|value| String::from_utf8_lossy(value)).collect();
        let offers: Vec<Challenge<'_>> = texts.iter().flat_map(|text| challenges(text.as_bytes())).collect();
        self.challenged = true;
        let offered = |scheme: Scheme| offers.iter().any(|offer| offer.scheme.eq_ignore_ascii_case(word(scheme)));
        match std::mem::replace(&mut self.state, State::Begun) {
            // a nonce grows old, which says nothing about the password
            State::Told(Scheme::Digest)
                if self.old_nonce || Digest::best(&offers).is_some_and(|digest| digest.is_stale()) => {}
            // what is not offered was not looked at
            State::Told(scheme) if asked.is_empty() || offered(scheme) => return Err(self.wrong()),
            State::Ntlm(sent) => {
                if let Some(token) = token(&offers, "ntlm") {
                    let token = token.map_err(Refusal::Unable)?;
                    return self.prove(&sent, &token).await.map(Some);
                }
            }
            State::Negotiate(negotiate) => match token(&offers, "negotiate") {
                Some(token) => return self.negotiate(negotiate, token.map_err(Refusal::Unable)?).await.map(Some),
                None if asked.is_empty() || offered(Scheme::Negotiate) => return Err(self.wrong()),
                None => {}
            },
            // where a connection that was let in is asked again, the proxy has forgotten it
            State::Begun | State::Silent | State::Bound | State::Told(_) => {}
        }
        self.choose(method, uri, &offers).await
    }

    /// What is said before anybody asks: nothing, unless there is only one thing to say.
    async fn unasked(&mut self, method: &str, uri: &str) -> Result<Option<Zeroizing<String>>, Refusal> {
        let scheme = match (&self.state, &self.account.schemes[..]) {
            (State::Bound, _) => return Ok(None),
            (_, [only]) => Some(*only),
            _ => self.account.lockout.worked(),
        };
        let digest = self.account.digest.known();
        match (scheme, digest) {
            (None, _) | (Some(Scheme::Digest), None) => {
                self.state = State::Silent;
                Ok(None)
            }
            (Some(Scheme::Digest), Some(digest)) => {
                self.old_nonce = true;
                self.digest(&digest, method, uri).await.map(Some)
            }
            (Some(scheme), _) => self.open(scheme).await.map(Some),
        }
    }

    /// Waits for the right to send credentials.
    async fn claim(&mut self) -> Result<(), Refusal> {
        if self.turn.is_none() {
            self.turn = self.account.lockout.turn().await?;
        }
        Ok(())
    }

    /// Begins with a scheme that needs no challenge.
    async fn open(&mut self, scheme: Scheme) -> Result<Zeroizing<String>, Refusal> {
        // the first message of NTLM has no credentials
        if scheme != Scheme::Ntlm {
            self.claim().await?;
        }
        match scheme {
            Scheme::Ntlm => {
                let message = ntlm::negotiate();
                let value = Zeroizing::new(format!("NTLM {}", BASE64_STANDARD.encode(&message)));
                self.state = State::Ntlm(message);
                Ok(value)
            }
            Scheme::Negotiate => {
                let service = self
                    .service
                    .clone()
                    .ok_or_else(|| Refusal::Unable("negotiate needs the proxy by name, not by address".to_owned()))?;
                let Credentials { user, keytab, .. } = &self.account.credentials;
                let principal = if self.account.schemes == [Scheme::Negotiate] { user.as_str() } else { "" };
                let begun =
                    Negotiate::begin(&self.account.threads, service, principal.to_owned(), keytab.clone()).await;
                self.negotiate(begun.map_err(Refusal::Unable)?, Vec::new()).await
            }
            Scheme::Basic | Scheme::Digest => {
                self.state = State::Told(Scheme::Basic);
                Ok(self.account.basic())
            }
        }
    }

    /// Answers with the first of our schemes that is offered, and can be.
    async fn choose(
        &mut self,
        method: &str,
        uri: &str,
        offers: &[Challenge<'_>],
    ) -> Result<Option<Zeroizing<String>>, Refusal> {
        let mut unable = None;
        for scheme in self.account.schemes.clone() {
            if !offers.iter().any(|offer| offer.scheme.eq_ignore_ascii_case(word(scheme))) {
                continue;
            }
            let answer = match scheme {
                Scheme::Digest => match Digest::best(offers) {
                    Some(digest) => {
                        let digest = self.account.digest.learn(digest);
                        self.old_nonce = false;
                        self.digest(&digest, method, uri).await
                    }
                    None => Err(Refusal::Unable("a Digest challenge that cannot be answered".to_owned())),
                },
                scheme => self.open(scheme).await,
            };
            match answer {
                Ok(answer) => return Ok(Some(answer)),
                Err(held @ Refusal::Held { .. }) => return Err(held),
                // without a ticket there may still be a password
                Err(refusal) => unable = unable.or(Some(refusal)),
            }
        }
        Err(unable.unwrap_or_else(|| self.not_offered(offers)))
    }

    async fn digest(&mut self, digest: &Digest, method: &str, uri: &str) -> Result<Zeroizing<String>, Refusal> {
        self.claim().await?;
        self.state = State::Told(Scheme::Digest);
        digest.answer(&self.account.credentials.user, self.account.password(), method, uri).map_err(Refusal::Unable)
    }

    /// The last message of NTLM.
    async fn prove(&mut self, sent: &[u8], came: &[u8]) -> Result<Zeroizing<String>, Refusal> {
        // the credentials may have been refused elsewhere since the first message
        self.claim().await?;
        let login = ntlm::Login::new(&self.account.credentials.user, self.account.password());
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Refusal::Unable(format!("random numbers: {error}")))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + EPOCH;
        let filetime = u64::try_from(now.as_nanos() / 100).unwrap_or_default();
        let message = ntlm::authenticate(&login, sent, came, ntlm::Moment { random, filetime })
            .map_err(|why| Refusal::Unable(why.to_owned()))?;
        self.state = State::Told(Scheme::Ntlm);
        let mut value = Zeroizing::new(String::with_capacity(8 + message.len() * 2));
        value.push_str("NTLM ");
        BASE64_STANDARD.encode_string(&message[..], &mut value);
        Ok(value)
    }

    async fn negotiate(&mut self, negotiate: Negotiate, token: Vec<u8>) -> Result<Zeroizing<String>, Refusal> {
        let (negotiate, token) = negotiate.step(token).await.map_err(Refusal::Unable)?;
        self.state = State::Negotiate(negotiate);
        Ok(Zeroizing::new(format!("Negotiate {}", BASE64_STANDARD.encode(token))))
    }

    /// Credentials were sent and refused: nobody tries them for a while.
    fn wrong(&mut self) -> Refusal {
        self.refused();
        Refusal::Wrong(self.account.who())
    }

    fn not_offered(&self, offers: &[Challenge<'_>]) -> Refusal {
        let offered: Vec<&str> = offers.iter().map(|offer| offer.scheme).collect();
        let offered =
            if offered.is_empty() { "unknown".to_owned() } else { text::shown(offered.join(", ").as_bytes()) };
        let wanted = self.account.shown_schemes();
        Refusal::NotOffered { offered, wanted }
    }
}

/// A scheme's name on the wire.
fn word(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Basic => "basic",
        Scheme::Digest => "digest",
        Scheme::Ntlm => "ntlm",
        Scheme::Negotiate => "negotiate",
    }
}

/// The token of the challenge of this scheme, if it has one.
fn token(offers: &[Challenge<'_>], scheme: &str) -> Option<Result<Vec<u8>, String>> {
    let offer = offers.iter().find(|o| o.scheme.eq_ignore_ascii_case(scheme) && !o.token.is_empty())?;
    let bytes = BASE64_STANDARD.decode(offer.token);
    Some(bytes.map_err(|error| format!("the proxy's {} token is no Base64: {error}", text::shown(scheme.as_bytes()))))
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("schemes", &self.schemes).finish_non_exhaustive()
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
