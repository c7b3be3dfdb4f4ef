//! Why nothing follows on a client's connection, and its last word.

use std::net::SocketAddr;

use super::Exchange;
use super::talk::Last;
use crate::close::{By, Close, End};
use crate::refuse::refuse;
use crate::sys::socket;
use crate::upstream::Failure;
use crate::wire::answer::{self, Page};

/// Why nothing follows.
pub(super) enum Stop {
    /// All is said.
    Quiet(Close),
    /// The client gets a page of ours.
    Page { close: Close, status: u16, why: String, page: Option<Page> },
    /// A message is torn, and must not look whole.
    Torn(Close),
}

impl Stop {
    pub(super) fn page(end: End, by: By, status: u16, why: impl Into<String>) -> Stop {
        let why = why.into();
        Stop::Page { close: Close::because(end, by, &why), status, why, page: None }
    }

    pub(super) fn auth(addr: SocketAddr, why: impl std::fmt::Display) -> Stop {
        let close = Close::because(End::Auth, By::Upstream, format_args!("{addr}: {why}"));
        // clients need not know whose credentials we have
        let why = "the upstream proxy does not accept this gateway's credentials".to_owned();
        Stop::Page { close, status: 502, why, page: None }
    }

    pub(super) fn refused(addr: SocketAddr, why: impl std::fmt::Display) -> Stop {
        Stop::page(End::Refused, By::Upstream, 502, format!("{addr}: {why}"))
    }

    pub(super) fn undialled(failure: Failure) -> Stop {
        let status = match failure.close.end {
            End::Timeout => 504,
            End::Resolve | End::Error => 503,
            _ => 502,
        };
        if failure.close.end == End::Auth {
            let why = "the upstream proxy does not accept this gateway's credentials".to_owned();
            return Stop::Page { close: failure.close, status, why, page: None };
        }
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

impl Exchange<'_, '_> {
    /// Says the last word to the client.
    pub(super) async fn stop(mut self, stop: Stop) -> Close {
        let head = self.head;
        if !matches!(stop, Stop::Quiet(_)) {
            self.talk.unlink(matches!(stop, Stop::Torn(_)));
        }
        let (client, upstream, up, down) = self.talk.into_ends();
        let client = client.into_tcp();
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
