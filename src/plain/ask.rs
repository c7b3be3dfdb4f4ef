//! One request on its way to the proxy, as often as it takes: over which connection, with which credentials, and
//! whether its body goes with it.

use std::net::SocketAddr;

use zeroize::Zeroizing;

use super::inbox::SIZE;
use super::pass::Reply;
use super::stop::Stop;
use super::talk::{Trouble, Upload};
use super::{Exchange, Turn};
use crate::auth::{Conversation, Refusal};
use crate::upstream::{Failure, Link, Retries};
use crate::wire::body::Body;
use crate::wire::request::{Facts, Leg, Line};
use crate::wire::text;

/// A proxy that asks for credentials more often than this gets none.
const MAX_LEGS: u32 = 4;

/// How far the tries of a request have come.
#[derive(Default)]
pub(super) struct Tries {
    legs: u32,
    challenges: Vec<Vec<u8>>,
    /// The body has begun to go up.
    begun: bool,
    /// The proxy has let us in: nothing goes empty any more.
    let_in: bool,
    /// It was sent again over a new connection.
    repeated: bool,
}

impl Exchange<'_, '_> {
    /// Sends the request, as often as it takes, and passes the answer on.
    pub(super) async fn serve(&mut self, facts: &Facts, line: &Line) -> Result<Turn, Stop> {
        let mut tries = Tries::default();
        loop {
            self.connect(facts).await?;
            let empty = self.compose(facts, line, &mut tries).await?;
            let reply = match self.reply(facts, empty).await {
                Ok(reply) => reply,
                Err((Trouble::Upstream(_), true)) if self.may_repeat(facts, &tries) => {
                    tries.repeated = true;
                    // what a dead connection was asked is no question of the next one
                    tries.challenges.clear();
                    self.talk.unlink(false);
                    continue;
                }
                Err((trouble, silent)) => return Err(self.unanswered(trouble, silent)),
            };
            self.talk.flow.status = Some(reply.status);
            self.talk.flow.show();
            let conversation = self.talk.link.as_mut().and_then(|link| link.conversation.as_mut());
            match (reply.status, conversation) {
                (407, None) => return Err(Stop::refused(self.addr(), unanswerable(&reply.challenges))),
                (407, Some(_)) => self.challenged(reply, &mut tries).await?,
                (_, Some(conversation)) => {
                    conversation.answered(reply.status);
                    tries.let_in = true;
                    if !empty {
                        return self.pass(facts, &reply).await;
                    }
                    // the answer to an empty request is nobody's
                    tries.challenges.clear();
                    if !self.dropped(&reply).await {
                        self.talk.unlink(true);
                    }
                }
                (_, None) => return self.pass(facts, &reply).await,
            }
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.talk.link.as_ref().map_or(self.site.origin, |link| link.addr)
    }

    /// Sees to a connection. One that was used may be closed by now: what cannot be sent twice is not
    /// risked on it.
    pub(super) async fn connect(&mut self, facts: &Facts) -> Result<(), Stop> {
        if std::mem::take(&mut self.spent) || (!facts.idempotent && self.talk.is_spent()) {
            self.talk.unlink(false);
        }
        if self.talk.link.is_none() {
            self.talk.link = Some(self.dial(None).await?);
            self.fresh = true;
        }
        let upstream = self.site.upstream;
        if let Some(link) = self.talk.link.as_mut().filter(|link| link.conversation.is_none()) {
            let limit = self.site.dial_timeout;
            link.conversation = match tokio::time::timeout(limit, upstream.conversation(link)).await {
                Ok(begun) => begun.map_err(Stop::undialled)?,
                Err(_) => return Err(Stop::undialled(Failure::timeout("credentials", limit))),
            };
        }
        Ok(())
    }

    /// A new connection, to the same proxy if one is given.
    pub(super) async fn dial(&mut self, proxy: Option<usize>) -> Result<Link, Stop> {
        let limit = self.site.dial_timeout;
        let upstream = self.site.upstream;
        let retries = Retries::default();
        let dialling = async {
            match proxy {
                Some(proxy) => upstream.redial(proxy).await,
                None => upstream.dial(&retries).await,
            }
        };
        let dialled = tokio::time::timeout(limit, dialling).await;
        let flow = &mut self.talk.flow;
        flow.retries = flow.retries.saturating_add(retries.count());
        let link = match dialled {
            Ok(dialled) => dialled.map_err(Stop::undialled)?,
            Err(_) => return Err(Stop::undialled(Failure::timeout("dial", limit))),
        };
        self.talk.flow.upstream = Some(link.addr);
        Ok(link)
    }

    /// Writes the request for the next try; whether it goes without its body.
    pub(super) async fn compose(&mut self, facts: &Facts, line: &Line, tries: &mut Tries) -> Result<bool, Stop> {
        let addr = self.addr();
        let (ask, up) = (&self.ask, &mut self.talk.up);
        let mut leg = Leg::Last;
        let mut credentials = None;
        if let Some(conversation) = self.talk.link.as_mut().and_then(|link| link.conversation.as_mut()) {
            let answer = answer(conversation, ask, line, &tries.challenges);
            let answer = match tokio::time::timeout(self.site.dial_timeout, answer).await {
                Ok(answer) => answer.map_err(|why| Stop::auth(addr, why))?,
                Err(_) => return Err(Stop::auth(addr, "credentials took too long")),
            };
            if answer.is_none() && !tries.challenges.is_empty() {
                return Err(Stop::auth(addr, unanswerable(&tries.challenges)));
            }
            leg = match () {
                () if conversation.is_final() || tries.let_in => Leg::Last,
                // what can be sent twice need not be left out: a proxy that does not ask hands it on. A body that
                // waits for a 100 is not here when the 407 comes, which would end the connection
                () if facts.has_body() && (facts.expects || !facts.has_short_body(SIZE)) => Leg::Empty,
                () => Leg::Whole,
            };
            credentials = Some(answer);
        }
        up.clear();
        up.out().extend_from_slice(ask);
        let value = credentials.as_ref().map(|answer| answer.as_ref().map(|value| value.as_str()));
        facts.finish(value, leg, up.out());
        if matches!(value, Some(Some(_))) {
            up.is_secret();
        }
        let empty = leg == Leg::Empty;
        if tries.begun && !up.can_repeat() {
            return Err(Stop::auth(addr, "credentials were wanted again when the body had been sent"));
        }
        if tries.begun {
            if empty { up.set_aside() } else { up.again() }
        } else if empty {
            up.begin(Body::none(), false, 0);
        } else {
            // a body that may have to be sent again is held, if it is short
            let held = if credentials.is_some() || (!self.fresh && facts.idempotent) { SIZE } else { 0 };
            up.begin(Body::new(facts.extent), false, held);
            tries.begun = true;
        }
        self.talk.upload = Upload::Going;
        Ok(empty)
    }

    /// Whether a request that got no answer may be sent once more: only over a connection that may have
    /// been closing when it was sent (RFC 9110 section 9.2.2).
    pub(super) fn may_repeat(&self, facts: &Facts, tries: &Tries) -> bool {
        !self.fresh && !tries.repeated && facts.idempotent && self.talk.up.can_repeat()
    }

    /// The proxy wants to know who we are: sees to a connection for the next try.
    pub(super) async fn challenged(&mut self, reply: Reply, tries: &mut Tries) -> Result<(), Stop> {
        let addr = self.addr();
        tries.legs += 1;
        if tries.legs >= MAX_LEGS {
            return Err(Stop::auth(addr, "credentials are wanted again and again"));
        }
        let alive = self.dropped(&reply).await;
        tries.challenges = reply.challenges;
        if alive {
            return Ok(());
        }
        let proxy = self.talk.link.as_ref().map(Link::proxy);
        let conversation = self.talk.link.as_mut().and_then(|link| link.conversation.take());
        self.talk.unlink(true);
        let Some(mut conversation) = conversation else { return Ok(()) };
        if conversation.is_bound() {
            return Err(Stop::auth(addr, "the connection was closed while it was to be authenticated"));
        }
        conversation.reconnected();
        let mut link = self.dial(proxy).await?;
        link.conversation = Some(conversation);
        self.talk.link = Some(link);
        self.fresh = true;
        Ok(())
    }
}

/// What the proxy wanted that we do not have.
fn unanswerable(challenges: &[Vec<u8>]) -> String {
    let schemes: Vec<_> = challenges.iter().map(|c| text::shown(c.split(|&b| b == b' ').next().unwrap_or(c))).collect();
    format!("credentials are wanted ({})", schemes.join(", "))
}

async fn answer(
    conversation: &mut Conversation,
    ask: &[u8],
    line: &Line,
    challenges: &[Vec<u8>],
) -> Result<Option<Zeroizing<String>>, Refusal> {
    let text = |range: &std::ops::Range<usize>| std::str::from_utf8(&ask[range.clone()]).unwrap_or_default();
    let challenges: Vec<&[u8]> = challenges.iter().map(Vec::as_slice).collect();
    conversation.answer(text(&line.method), text(&line.uri), &challenges).await
}
