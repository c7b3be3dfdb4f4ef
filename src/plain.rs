//! Plain HTTP handed to a proxy request by request, for proxies that open no tunnel to port 80.
//!
//! One client connection: a request is read, written anew in absolute form, sent, and its answer passed on,
//! then the next one. Bodies stream; the memory is two buffers. The client need not know: what stands
//! between it and a proxy (credentials, Connection, 407) stays between us and the proxy. The trap: an
//! answer can come before its request is whole, and both go on.

mod ask;
mod client;
mod inbox;
mod lane;
mod pass;
mod stop;
mod talk;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::addr::{Host, Target};
use crate::close::{By, Close, End, Stage};
use crate::flow::Flow;
use crate::relay;
use crate::stream::Stream;
use crate::upstream::{Link, Upstream};
use crate::wire::fields;
use crate::wire::request::{self, Facts, Line};
use lane::Lane;
use stop::Stop;
use talk::Talk;

pub use client::Client;

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
pub async fn exchange(client: Client, prefix: Vec<u8>, ended: bool, way: Way<'_>, flow: &mut Flow) -> Outcome {
    flow.reach(Stage::Relay);
    let Way { upstream, link, origin, by_name, accepts, limits, dial_timeout } = way;
    client.began(&prefix, ended);
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
    // its own allocation, so that a client that is served does not hold what only its last word needs
    Outcome::Ended(Box::pin(exchange.stop(stop)).await)
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

impl Exchange<'_, '_> {
    /// One request and its answer.
    async fn turn(&mut self) -> Result<Turn, Stop> {
        let length = self.talk.request_head().await?;
        let (facts, line) = self.read(length)?;
        self.head = facts.head;
        self.talk.flow.requests += 1;
        let turn = self.serve(&facts, &line).await?;
        self.head = false;
        Ok(turn)
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
            // an address of our own means nothing to the upstream
            _ => match self.talk.flow.meant() {
                Some(host) => Target::Name(host, self.site.origin.port()),
                None => Target::Addr(self.site.origin),
            },
        };
        self.ask.clear();
        let line = request.write(&site, &mut self.ask);
        let facts = request.facts;
        inbox.consume(length);
        Ok((facts, line))
    }

    fn switched(self) -> Outcome {
        let (client, upstream, mut up, mut down) = self.talk.into_ends();
        let Some(upstream) = upstream else { unreachable!("it has just answered") };
        let mut early_down = down.unsaid().to_vec();
        early_down.extend(down.inbox.take());
        Outcome::Switched {
            client: client.into_tcp(),
            upstream,
            early_up: up.inbox.take(),
            ended: up.ended,
            early_down,
        }
    }
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
