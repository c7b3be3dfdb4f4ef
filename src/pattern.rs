//! What routes match: names, networks and ports, as they are written in lists (`.corp.example`, `10.0.0.0/8`,
//! `*:25`, `!vpn.corp.example`).
//!
//! Reading is strict: what a resolver or another tool would take for something else is refused with a hint.
//! What is printed reads back to the same entry. The trap: IPv6 needs brackets when a port follows.

mod net;
mod ports;
mod read;

use std::fmt;

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
    /// Addresses: one, a network, or a range, which becomes several networks. Not empty, and without gaps;
    /// IPv4 is never written as IPv6.
    Nets(Vec<IpNet>),
}

impl Pattern {
    /// Whether it looks at the name.
    pub fn is_name(&self) -> bool {
        matches!(self.subject, Subject::Host(_) | Subject::Suffix(_))
    }

    /// Reads an entry of a route's `to`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        read::entry(text, read::Names::Exact)
    }

    /// Reads an entry of a route's `from`: addresses only, without ports.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse_client(text: &str) -> Result<Pattern, String> {
        let pattern = read::entry(text, read::Names::Exact)?;
        if matches!(pattern.subject, Subject::Host(_) | Subject::Suffix(_)) {
            return Err(format!("{text:?} is a name; clients are known by their addresses only"));
        }
        if pattern.ports.is_some() {
            return Err(format!("{text:?} has a port; clients are known by their addresses only"));
        }
        Ok(pattern)
    }

    /// Reads an entry of a NO_PROXY list, in which `corp.example` stands for everything below it too.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse_no_proxy(text: &str) -> Result<Pattern, String> {
        read::entry(text, read::Names::AndBelow)
    }
}

impl fmt::Display for Pattern {
    /// Writes it so that [`Pattern::parse`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.negated { "!" } else { "" })?;
        let Some(ports) = &self.ports else { return self.subject.fmt(f) };
        match &self.subject {
            Subject::Nets(nets) if nets.first().is_some_and(|net| matches!(net, IpNet::V6(_))) => {
                write!(f, "[{}]:{ports}", self.subject)
            }
            subject => write!(f, "{subject}:{ports}"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Any => f.write_str("*"),
            Subject::Host(host) => host.fmt(f),
            Subject::Suffix(host) => write!(f, ".{host}"),
            Subject::Nets(nets) => match &nets[..] {
                [net] if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
                [net] => net.fmt(f),
                [first, .., last] => write!(f, "{}-{}", first.network(), last.broadcast()),
                [] => Ok(()),
            },
        }
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
