//! The answer to a request on its way to the client.

use super::stop::Stop;
use super::talk::{Trouble, Upload};
use super::{Exchange, Turn};
use crate::close::{By, Close, End};
use crate::sys::socket;
use crate::wire::body::{Body, Extent};
use crate::wire::request::Facts;
use crate::wire::response::{self, Client};
use crate::wire::{fields, text};

/// The longest page behind a 407 that is read to keep its connection.
const MAX_DROPPED: usize = 64 * 1024;
/// The most bytes of interim answers to one request.
const MAX_INTERIM: usize = 64 * 1024;

/// What is to be done with an answer.
pub(super) struct Reply {
    pub(super) status: u16,
    extent: Extent,
    /// Chunks are taken out of their frames.
    unframe: bool,
    /// The client sees its end as the connection's.
    until_close: bool,
    /// The client's connection goes on after it.
    stays: bool,
    /// The connection to the proxy goes on after it.
    keep: bool,
    pub(super) challenges: Vec<Vec<u8>>,
}

impl Exchange<'_, '_> {
    /// Waits for an answer that is not an interim one; those are passed on. Where there is none, says
    /// whether nothing at all was heard.
    pub(super) async fn reply(&mut self, facts: &Facts, empty: bool) -> Result<Reply, (Trouble, bool)> {
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
    pub(super) fn read_reply(
        &self,
        facts: &Facts,
        empty: bool,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Result<Reply, &'static str> {
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

    /// No answer came.
    pub(super) fn unanswered(&mut self, trouble: Trouble, silent: bool) -> Stop {
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

    /// Reads an answer that nobody gets; whether its connection can be used again.
    pub(super) async fn dropped(&mut self, reply: &Reply) -> bool {
        let talk = &mut self.talk;
        if !reply.keep || talk.upload != Upload::Done {
            return false;
        }
        talk.down.begin(Body::new(reply.extent), false, 0);
        let dropping = talk.drop_body(MAX_DROPPED);
        let whole = tokio::time::timeout(self.site.dial_timeout, dropping).await.unwrap_or(false);
        // what stands behind it answers nothing that was asked
        whole && self.talk.down.inbox.is_empty()
    }

    /// Passes the body of an answer on, behind its head.
    pub(super) async fn pass(&mut self, facts: &Facts, reply: &Reply) -> Result<Turn, Stop> {
        if reply.status == 101 {
            return Ok(Turn::Switched);
        }
        let talk = &mut self.talk;
        talk.down.begin(Body::new(reply.extent), reply.unframe, 0);
        if reply.until_close {
            // its end is all that says that it is whole
            socket::abort_on_close(talk.client.tcp());
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
            socket::end_on_close(talk.client.tcp());
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
}
