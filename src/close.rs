//! Every way in which a session ends: the label, by whom, at which stage, and how loud it is.
//!
//! Labels and their order are part of the interface: man page, log and metrics use them.

use std::fmt;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both directions finished.
    Done,
    /// One side reset the open tunnel; the other side was reset too.
    Reset,
    /// The client gave up before the tunnel was open.
    Left,
    /// The connection was not redirected: it came straight to our port.
    Direct,
    /// Our own dial to the upstream was redirected back to us.
    Loop,
    /// A route rejects it, or its target is a private address that no route allows.
    Rejected,
    /// The upstream's name does not resolve, or that of an origin that we must resolve, or the origin's address stood
    /// for a name and does no more.
    Resolve,
    /// No address of the upstream could be connected to.
    Dial,
    /// The upstream answered CONNECT with something other than 2xx.
    Refused,
    /// The upstream's answer is not of the protocol that it should speak, or its head is too long.
    BadReply,
    /// The upstream closed before its answer was whole.
    Hangup,
    /// The dial time-out passed before the tunnel was open.
    Timeout,
    /// The upstream wants credentials that we lack, or refuses ours.
    Auth,
    /// The client's request is no valid HTTP, or none that is relayed.
    BadRequest,
    /// Nothing moved for the idle time-out.
    Idle,
    /// One side had ended and nothing moved for the half-closed time-out.
    HalfClosed,
    /// Cut because the daemon stopped.
    Drained,
    /// Cut by a person, over the admin.
    Killed,
    /// A bug of ours ended this session, and only this one.
    Panic,
    /// We ran out of something: descriptors, ports, memory.
    Error,
}

impl End {
    /// All ends, in the order of their numbers.
    pub const ALL: [End; 20] = [
        End::Done,
        End::Reset,
        End::Left,
        End::Direct,
        End::Loop,
        End::Rejected,
        End::Resolve,
        End::Dial,
        End::Refused,
        End::BadReply,
        End::Hangup,
        End::Timeout,
        End::Auth,
        End::BadRequest,
        End::Idle,
        End::HalfClosed,
        End::Drained,
        End::Killed,
        End::Panic,
        End::Error,
    ];

    /// The word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            End::Done => "done",
            End::Reset => "reset",
            End::Left => "left",
            End::Direct => "direct",
            End::Loop => "loop",
            End::Rejected => "rejected",
            End::Resolve => "resolve",
            End::Dial => "dial",
            End::Refused => "refused",
            End::BadReply => "bad-reply",
            End::Hangup => "hangup",
            End::Timeout => "timeout",
            End::Auth => "auth",
            End::BadRequest => "bad-request",
            End::Idle => "idle",
            End::HalfClosed => "half-closed",
            End::Drained => "drained",
            End::Killed => "killed",
            End::Panic => "panic",
            End::Error => "error",
        }
    }

    /// Whose fault it is decides how loud the line is: the upstream's and the rules' warn, ours is
    /// an error, and a peer that hangs up is none. Refused credentials have a line of their own: those
    /// of the sessions need not be loud too.
    pub fn weight(self) -> Weight {
        match self {
            End::Done | End::Reset | End::Left | End::Idle | End::HalfClosed | End::Drained | End::Killed => {
                Weight::Info
            }
            // an upstream that refuses us has a line of its own, and a route does what it is for
            End::Auth | End::BadRequest | End::Rejected => Weight::Info,
            End::Panic | End::Error => Weight::Error,
            _ => Weight::Warn,
        }
    }
}

/// How loud a session's line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The ordinary course of things.
    Info,
    /// Somebody should look at the upstream or the rules.
    Warn,
    /// Somebody should look at this machine.
    Error,
}

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The client.
    Client,
    /// The upstream, or the origin behind it.
    Upstream,
    /// handyproxy.
    Us,
}

impl By {
    /// The word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            By::Client => "client",
            By::Upstream => "upstream",
            By::Us => "us",
        }
    }
}

/// How far a session came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding the original destination.
    Origin,
    /// Reading first bytes for a name.
    Sniff,
    /// Resolving and connecting to the upstream.
    Dial,
    /// Waiting for the answer to CONNECT.
    Connect,
    /// The tunnel is open.
    Relay,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Origin => "origin",
            Stage::Sniff => "sniff",
            Stage::Dial => "dial",
            Stage::Connect => "connect",
            Stage::Relay => "relay",
        })
    }
}

/// The last word on a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// How.
    pub end: End,
    /// By whom.
    pub by: By,
    /// Why, where the label alone does not say it; already escaped and bounded.
    pub error: Option<Box<str>>,
}

impl Close {
    /// An end that needs no further words.
    pub fn new(end: End, by: By) -> Close {
        Close { end, by, error: None }
    }

    /// An end with its reason.
    pub fn because(end: End, by: By, error: impl fmt::Display) -> Close {
        Close { end, by, error: Some(error.to_string().into_boxed_str()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_own_label_and_number() {
        for (number, end) in End::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, number);
            assert_eq!(End::ALL.iter().filter(|e| e.label() == end.label()).count(), 1);
        }
    }
}
