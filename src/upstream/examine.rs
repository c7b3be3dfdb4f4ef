//! Single questions to a proxy, for whoever examines it: each says what it came to, and none is asked again elsewhere.

use std::net::SocketAddr;

use super::{Deadline, Failure, Link, Upstream, connect, socks5};
use crate::addr::Target;
use crate::wire::challenge::challenges;
use crate::wire::{reply, text};

/// What a proxy said to a CONNECT without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The status with its reason, escaped.
    pub text: String,
    /// The schemes that it offers, in its own words.
    pub schemes: Vec<String>,
    /// Its Date field.
    pub date: Option<String>,
}

impl Upstream {
    /// Connects to one address of the first proxy, TLS included.
    ///
    /// # Errors
    /// It cannot be reached there, or this machine is out of something.
    pub async fn reach(&self, addr: SocketAddr) -> Result<Link, Failure> {
        let reached = self.members[0].dial_at(&[addr], &self.dialler.from()).await?;
        Ok(Link::new(reached, 0, Vec::new()))
    }

    /// Greets a SOCKS5 proxy, and asks it for nothing. The connection is closed behind its answer.
    ///
    /// # Errors
    /// There was no answer, or none in SOCKS5.
    pub async fn greet(&self, mut link: Link, deadline: Deadline) -> Result<(), Failure> {
        let with_login = self.settings.credentials.password.is_some();
        let greeting = socks5::greet(&mut link.stream, link.addr, with_login);
        match tokio::time::timeout_at(deadline.until, greeting).await {
            Ok(answered) => answered,
            Err(_) => Err(Failure::timeout(&link.addr.to_string(), deadline.limit)),
        }
    }

    /// Asks a HTTP proxy for a tunnel, and does not say who we are. The connection is closed behind its answer.
    ///
    /// # Errors
    /// There was no answer, or none in HTTP.
    pub async fn ask_unnamed(&self, link: Link, target: &Target<'_>, deadline: Deadline) -> Result<Answer, Failure> {
        let mut link = link;
        let asking = connect::ask_once(&mut link.stream, link.addr, target);
        let (status, head) = match tokio::time::timeout_at(deadline.until, asking).await {
            Ok(answered) => answered?,
            Err(_) => return Err(Failure::timeout(&format!("{}: reply to CONNECT", link.addr), deadline.limit)),
        };
        let values = reply::fields(&head, "proxy-authenticate");
        let schemes =
            values.iter().flat_map(|value| challenges(value)).map(|offer| text::shown(offer.scheme.as_bytes()));
        Ok(Answer {
            status,
            text: text::shown(reply::status_text(&head)),
            schemes: schemes.collect(),
            date: reply::field(&head, "date").map(|date| String::from_utf8_lossy(date).into_owned()),
        })
    }
}
