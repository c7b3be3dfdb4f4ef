//! Plain HTTP handed to a proxy request by request, for proxies that open no tunnel to port 80.
//!
//! One client connection: a request is read, written anew in absolute form, sent, and its answer passed on,
//! then the next one. Bodies stream; the memory is two buffers. The client need not know: what stands
//! between it and a proxy (credentials, Connection, 407) stays between us and the proxy. The trap: an
//! answer can come before its request is whole, and both go on.

mod inbox;
mod lane;
mod talk;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::addr::{Host, Target};
use crate::auth::Conversation;
use crate::close::{By, Close, End, Stage};
use crate::flow::Flow;
use crate::refuse::refuse;
use crate::relay;
use crate::stream::Stream;
use crate::sys::socket;
use crate::upstream::{Failure, Link, Upstream};
use crate::wire::answer::{self, Page};
use crate::wire::body::{Body, Extent};
use crate::wire::request::{self, Facts, Leg, Line};
use crate::wire::response::{self, Client};
use crate::wire::{fields, text};
use inbox::SIZE;
use lane::Lane;
use talk::{Last, Talk, Trouble, Upload};

/// A proxy that asks for credentials more often than this gets none.
const MAX_LEGS: u32 = 4;
/// The longest page behind a 407 that is read to keep its connection.
const MAX_DROPPED: usize = 64 * 1024;
/// The most bytes of interim answers to one request.
const MAX_INTERIM: usize = 64 * 1024;

/// Where the requests of a client go.
pub struct Way<'a> {
    /// The upstream.
    pub upstream: &'a Upstream,
    /// A connection to it.
    pub link: Link,
    /// Where the client was going: the port of every request, and the host of those without a usable name.
    pub origin: SocketAddr,
    /// Whether requests go by the name that they say, where it is allowed; by the origin's address otherwise.
    pub by_name: bool,
    /// Whether a request to this name, or to none, leads the same way.
    pub accepts: &'a (dyn Fn(Option<&Host>) -> bool + Sync),
    /// How long nothing may move.
    pub limits: relay::Limits,
    /// How long a further connection to the upstream may take.
    pub dial_timeout: Duration,
}

/// What became of a client.
#[derive(Debug)]
pub enum Outcome {
    /// All is said, and both connections are closed.
    Ended(Close),
    /// Client and origin go on in another protocol: this is a tunnel now.
    Switched {
        /// The client.
        client: TcpStream,
        /// The upstream.
        upstream: Stream,
        /// What the client sent behind its request.
        early_up: Vec<u8>,
        /// Whether it has ended its side.
        ended: bool,
        /// What goes to the client first: the head that switches, and what came behind it.
        early_down: Vec<u8>,
    },
}

/// Serves a client to its end. `prefix` was read of it before, `ended` says that it has ended its side. When
/// dropped, both connections are closed, within a message if need be.
pub async fn exchange(client: TcpStream, prefix: Vec<u8>, ended: bool, way: Way<'_>, flow: &mut Flow) -> Outcome {
    flow.stage = Stage::Relay;
    let Way { upstream, link, origin, by_name, accepts, limits, dial_timeout } = way;
    let talk = Talk::new(client, link, Lane::new(prefix, ended), limits, flow);
    let site = Site { upstream, origin, by_name, accepts, dial_timeout };
    let mut exchange = Exchange { talk, site, ask: Vec::new(), fresh: false, spent: false, head: false };
    let stop = loop {
        match exchange.turn().await {
            Ok(Turn::Next) => {}
            Ok(Turn::Switched) => return exchange.switched(),
            Err(stop) => break stop,
        }
    };
    Outcome::Ended(exchange.stop(stop).await)
}

/// [`Way`], without the connection.
struct Site<'a> {
    upstream: &'a Upstream,
    origin: SocketAddr,
    by_name: bool,
    accepts: &'a (dyn Fn(Option<&Host>) -> bool + Sync),
    dial_timeout: Duration,
}

/// A client that is being served.
struct Exchange<'a, 'f> {
    talk: Talk<'f>,
    site: Site<'a>,
    /// The head of the request, as far as all tries of it are the same.
    ask: Vec<u8>,
    /// The connection to the proxy was dialled for this request.
    fresh: bool,
    /// The connection to the proxy is used no more.
    spent: bool,
    /// The request is a HEAD.
    head: bool,
}

/// What follows a request.
enum Turn {
    Next,
    Switched,
}

/// Why nothing follows.
enum Stop {
    /// All is said.
    Quiet(Close),
    /// The client gets a page of ours.
    Page { close: Close, status: u16, why: String, page: Option<Page> },
    /// A message is torn, and must not look whole.
    Torn(Close),
}

impl Stop {
    fn page(end: End, by: By, status: u16, why: impl Into<String>) -> Stop {
        let why = why.into();
        Stop::Page { close: Close::because(end, by, &why), status, why, page: None }
    }

    fn auth(addr: SocketAddr, why: impl std::fmt::Display) -> Stop {
        Stop::page(End::Auth, By::Upstream, 502, format!("{addr}: {why}"))
    }

    fn undialled(failure: Failure) -> Stop {
        let status = match failure.close.end {
            End::Timeout => 504,
            End::Resolve | End::Error => 503,
            _ => 502,
        };
        let why = failure.close.error.as_deref().unwrap_or_default().to_owned();
        Stop::Page { close: failure.close, status, why, page: failure.page }
    }
}

impl From<Last> for Stop {
    fn from(last: Last) -> Stop {
        let bad = |status, why: &str| Stop::page(End::BadRequest, By::Client, status, why);
        match last {
            Last::Ended => Stop::Quiet(Close::new(End::Done, By::Client)),
            Last::Gone(error) => Stop::Torn(Close::because(End::Reset, By::Client, error)),
            Last::Idle => Stop::Quiet(Close::new(End::Idle, By::Us)),
            Last::Cut => bad(400, "the request ended within its head"),
            Last::TooLong => bad(431, "the request's head is too long"),
            Last::TooSlow => bad(408, "the request's head took too long"),
        }
    }
}

/// What is to be done with an answer.
struct Reply {
    status: u16,
    extent: Extent,
    /// Chunks are taken out of their frames.
    unframe: bool,
    /// The client sees its end as the connection's.
    until_close: bool,
    /// The client's connection goes on after it.
    stays: bool,
    /// The connection to the proxy goes on after it.
    keep: bool,
    challenges: Vec<Vec<u8>>,
}

/// How far the tries of a request have come.
#[derive(Default)]
struct Tries {
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
    /// One request and its answer.
    async fn turn(&mut self) -> Result<Turn, Stop> {
        let length = self.talk.request_head().await?;
        let (facts, line) = self.read(length)?;
        self.head = facts.head;
        self.talk.flow.requests += 1;
        let turn = self.serve(&facts, &line).await;
        self.head = false;
        turn
    }

    /// Takes the head off the inbox and writes it anew.
    fn read(&mut self, length: usize) -> Result<(Facts, Line), Stop> {
        let inbox = &mut self.talk.up.inbox;
        let mut room = fields::room();
        let request = request::parse(&inbox.bytes()[..length], &mut room)
            .map_err(|refusal| Stop::page(End::BadRequest, By::Client, refusal.status, refusal.why))?;
        let host = request.host.as_ref();
        let first = self.talk.flow.requests == 0;
        let sniffed = first && self.talk.flow.name.as_ref().map(|name| &name.host) == host;
        let accepted = sniffed || (self.site.accepts)(host);
        // the client will say it again over a new connection, which finds its own way
        if !accepted && !first {
            let why = "a further request leads another way";
            return Err(Stop::Quiet(Close::because(End::Done, By::Us, why)));
        }
        let site = match host {
            Some(host) if accepted && self.site.by_name => Target::Name(host, self.site.origin.port()),
            _ => Target::Addr(self.site.origin),
        };
        self.ask.clear();
        let line = request.write(&site, &mut self.ask);
        let facts = request.facts;
        inbox.consume(length);
        Ok((facts, line))
    }

    /// Sends the request, as often as it takes, and passes the answer on.
    async fn serve(&mut self, facts: &Facts, line: &Line) -> Result<Turn, Stop> {
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
            let conversation = self.talk.link.as_mut().and_then(|link| link.conversation.as_mut());
            match (reply.status, conversation) {
                (407, None) => return Err(Stop::auth(self.addr(), unanswerable(&reply.challenges))),
                (407, Some(_)) => self.challenged(reply, &mut tries).await?,
                (_, Some(conversation)) => {
                    conversation.accepted();
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

    fn addr(&self) -> SocketAddr {
        self.talk.link.as_ref().map_or(self.site.origin, |link| link.addr)
    }

    /// Sees to a connection. One that was used may be closed by now: what cannot be sent twice is not
    /// risked on it.
    async fn connect(&mut self, facts: &Facts) -> Result<(), Stop> {
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
    async fn dial(&mut self, proxy: Option<usize>) -> Result<Link, Stop> {
        let limit = self.site.dial_timeout;
        let upstream = self.site.upstream;
        let dialling = async {
            match proxy {
                Some(proxy) => upstream.redial(proxy).await,
                None => upstream.dial().await,
            }
        };
        let link = match tokio::time::timeout(limit, dialling).await {
            Ok(dialled) => dialled.map_err(Stop::undialled)?,
            Err(_) => return Err(Stop::undialled(Failure::timeout("dial", limit))),
        };
        self.talk.flow.upstream = Some(link.addr);
        Ok(link)
    }

    /// Writes the request for the next try; whether it goes without its body.
    async fn compose(&mut self, facts: &Facts, line: &Line, tries: &mut Tries) -> Result<bool, Stop> {
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
                // what can be sent twice need not be left out: a proxy that does not ask hands it on
                () if facts.has_body() && !facts.has_short_body(SIZE) => Leg::Empty,
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
        if empty {
            up.begin(Body::none(), false, 0);
        } else if tries.begun {
            if !up.can_repeat() {
                return Err(Stop::auth(addr, "credentials were wanted again when the body had been sent"));
            }
            up.again();
        } else {
            // a body that may have to be sent again is held, if it is short
            let held = if credentials.is_some() || (!self.fresh && facts.idempotent) { SIZE } else { 0 };
            up.begin(Body::new(facts.extent), false, held);
            tries.begun = true;
        }
        self.talk.upload = Upload::Going;
        Ok(empty)
    }

    /// Waits for an answer that is not an interim one; those are passed on. Where there is none, says
    /// whether nothing at all was heard.
    async fn reply(&mut self, facts: &Facts, empty: bool) -> Result<Reply, (Trouble, bool)> {
        let mut interim = 0;
        loop {
            let head = self.talk.reply_head().await;
            let length = match head {
                Ok(length) => length,
                Err(trouble) => return Err((trouble, interim == 0 && self.talk.down.inbox.is_empty())),
            };
            // interim answers that are still unsaid go first
            let mut out = std::mem::take(self.talk.down.out());
            let read = self.read_reply(facts, empty, length, &mut out);
            *self.talk.down.out() = out;
            let reply = read.map_err(|why| (Trouble::BadReply(why), false))?;
            self.talk.down.inbox.consume(length);
            if reply.status >= 200 || reply.status == 101 {
                return Ok(reply);
            }
            interim += length;
            if interim > MAX_INTERIM {
                return Err((Trouble::BadReply("interim answers without end"), false));
            }
        }
    }

    /// Reads the head of an answer, and writes it anew where the client is to have it.
    fn read_reply(&self, facts: &Facts, empty: bool, length: usize, out: &mut Vec<u8>) -> Result<Reply, &'static str> {
        let talk = &self.talk;
        let mut room = fields::room();
        let response = response::parse(&talk.down.inbox.bytes()[..length], facts.head, &mut room)?;
        let (status, extent) = (response.status, response.extent);
        if status == 101 && !(facts.upgrade && talk.upload == Upload::Done) {
            return Err("it switches unasked");
        }
        let unframe = facts.old && extent == Extent::Chunked;
        let until_close = unframe || extent == Extent::UntilClose;
        // an answer that overtakes its request is the last one
        let stays = facts.keep && !until_close && talk.upload == Upload::Done;
        let interim = status < 200 && status != 101;
        if !(empty || status == 407 || (interim && facts.old)) {
            response.write(Client { old: facts.old, keep: stays }, out);
        }
        let challenges = if status == 407 { response.challenges() } else { Vec::new() };
        Ok(Reply { status, extent, unframe, until_close, stays, keep: response.keep, challenges })
    }

    /// Whether a request that got no answer may be sent once more: only over a connection that may have
    /// been closing when it was sent (RFC 9110 section 9.2.2).
    fn may_repeat(&self, facts: &Facts, tries: &Tries) -> bool {
        !self.fresh && !tries.repeated && facts.idempotent && self.talk.up.can_repeat()
    }

    /// No answer came.
    fn unanswered(&mut self, trouble: Trouble, silent: bool) -> Stop {
        let addr = self.addr();
        let stop = match trouble {
            Trouble::Client(error) => Stop::Torn(Close::because(End::Reset, By::Client, error)),
            Trouble::BadBody(why) => Stop::page(End::BadRequest, By::Client, 400, why),
            // what came of the request is unknown, and the client is to know just that
            Trouble::Upstream(error) if silent && !self.fresh && self.talk.flow.requests > 1 => {
                Stop::Quiet(Close::because(End::Hangup, By::Upstream, format_args!("{addr}: {error}")))
            }
            Trouble::Upstream(error) => {
                let when = if silent { "before" } else { "within" };
                Stop::page(End::Hangup, By::Upstream, 502, format!("{addr}: {error} {when} its answer"))
            }
            Trouble::BadReply(why) => {
                let shown = text::shown(self.talk.down.inbox.bytes());
                Stop::page(End::BadReply, By::Upstream, 502, format!("{addr}: {why}: \"{shown}\""))
            }
            Trouble::Quiet(close) => {
                Stop::Page { close, status: 504, why: format!("{addr}: no answer in time"), page: None }
            }
        };
        self.talk.unlink(true);
        stop
    }

    /// The proxy wants to know who we are: sees to a connection for the next try.
    async fn challenged(&mut self, reply: Reply, tries: &mut Tries) -> Result<(), Stop> {
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

    /// Reads an answer that nobody gets; whether its connection can be used again.
    async fn dropped(&mut self, reply: &Reply) -> bool {
        let talk = &mut self.talk;
        if !reply.keep || talk.upload != Upload::Done {
            return false;
        }
        talk.down.begin(Body::new(reply.extent), false, 0);
        let dropping = talk.drop_body(MAX_DROPPED);
        tokio::time::timeout(self.site.dial_timeout, dropping).await.unwrap_or(false)
    }

    /// Passes the body of an answer on, behind its head.
    async fn pass(&mut self, facts: &Facts, reply: &Reply) -> Result<Turn, Stop> {
        if reply.status == 101 {
            return Ok(Turn::Switched);
        }
        let talk = &mut self.talk;
        talk.down.begin(Body::new(reply.extent), reply.unframe, 0);
        if reply.until_close {
            // its end is all that says that it is whole
            socket::abort_on_close(&talk.client);
        }
        if let Err(trouble) = talk.deliver().await {
            let addr = self.addr();
            self.talk.unlink(true);
            return Err(Stop::Torn(match trouble {
                Trouble::Client(error) => Close::because(End::Reset, By::Client, error),
                Trouble::BadBody(why) => Close::because(End::BadRequest, By::Client, why),
                Trouble::Upstream(error) => {
                    Close::because(End::Hangup, By::Upstream, format_args!("{addr}: {error} within its answer"))
                }
                Trouble::BadReply(why) => Close::because(End::BadReply, By::Upstream, format_args!("{addr}: {why}")),
                Trouble::Quiet(close) => close,
            }));
        }
        let talk = &mut self.talk;
        if reply.until_close {
            socket::end_on_close(&talk.client);
        }
        if talk.upload != Upload::Done || !talk.down.inbox.is_empty() || talk.down.ended {
            talk.unlink(talk.upload != Upload::Done);
        }
        // the proxy closes it, and keeps the port
        self.spent = !reply.keep;
        self.fresh = false;
        if reply.stays {
            return Ok(Turn::Next);
        }
        let by = if facts.keep { By::Upstream } else { By::Client };
        Err(Stop::Quiet(Close::new(End::Done, by)))
    }

    fn switched(self) -> Outcome {
        let (client, upstream, mut up, mut down) = self.talk.into_ends();
        let Some(upstream) = upstream else { unreachable!("it has just answered") };
        let mut early_down = std::mem::take(down.out());
        early_down.extend(down.inbox.take());
        Outcome::Switched { client, upstream, early_up: up.inbox.take(), ended: up.ended, early_down }
    }

    /// Says the last word to the client.
    async fn stop(mut self, stop: Stop) -> Close {
        let head = self.head;
        if !matches!(stop, Stop::Quiet(_)) {
            self.talk.unlink(matches!(stop, Stop::Torn(_)));
        }
        let (client, upstream, up, down) = self.talk.into_ends();
        match stop {
            Stop::Torn(close) => {
                socket::abort_on_close(&client);
                close
            }
            Stop::Quiet(close) => {
                if !up.ended {
                    refuse(client, Some(Vec::new())).await;
                }
                // by now the proxy has closed first, if it was told that this was the last request
                drop(upstream);
                close
            }
            Stop::Page { close, status, why, page } => {
                let mut news = down.unsaid().to_vec();
                news.extend(answer::response(status, &why, page.as_ref(), head));
                refuse(client, Some(news)).await;
                close
            }
        }
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
) -> Result<Option<Zeroizing<String>>, crate::auth::Refusal> {
    let text = |range: &std::ops::Range<usize>| std::str::from_utf8(&ask[range.clone()]).unwrap_or_default();
    let challenges: Vec<&[u8]> = challenges.iter().map(Vec::as_slice).collect();
    conversation.answer(text(&line.method), text(&line.uri), &challenges).await
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
