//! What routes match: names, networks and ports, as they are written in lists (`.corp.example`, `10.0.0.0/8`,
//! `*:25`, `!vpn.corp.example`).

mod ports;

use ipnet::IpNet;

use crate::addr::Host;

pub use ports::Ports;

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Whether it stands behind a `!`: what it matches is taken out of the list.
    pub negated: bool,
    /// What it matches.
    pub subject: Subject,
    /// The ports it is limited to; `None` is all of them.
    pub ports: Option<Ports>,
}

/// What an entry matches, ports apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `*`: everything, with a name or without.
    Any,
    /// `host`: this name only.
    Host(Host),
    /// `.suffix`: this name and every name below it.
    Suffix(Host),
    /// Addresses: one, a network, or a range, which becomes several networks.
    Nets(Vec<IpNet>),
}

impl Pattern {
    /// Reads an entry of a route's `to`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        Err(format!("{text:?}: not yet"))
    }

    /// Reads an entry of a route's `from`: addresses only, without ports.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse_client(text: &str) -> Result<Pattern, String> {
        Err(format!("{text:?}: not yet"))
    }

    /// Reads an entry of a NO_PROXY list, in which `corp.example` stands for everything below it too.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse_no_proxy(text: &str) -> Result<Pattern, String> {
        Err(format!("{text:?}: not yet"))
    }
}
