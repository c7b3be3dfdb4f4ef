//! Pure parsers and writers of what goes over the wire: no I/O, no clock, no state between calls.
//!
//! A scanner is a function of the prefix that was read so far; see [`Verdict`] for what it owes.

pub mod alert;
pub mod answer;
pub mod body;
pub mod challenge;
pub mod connect;
pub mod dns;
pub mod fields;
pub mod http;
pub mod ntlm;
pub mod race;
pub mod reply;
pub mod request;
pub mod response;
pub mod socks5;
pub mod text;
pub mod tls;

use crate::addr::Name;

/// What a scanner says of a prefix. Once it is not `More`, no further byte changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The prefix fits the protocol; the name may still come.
    More,
    /// It is this protocol, and this is the name.
    Named(Name),
    /// It is this protocol, and it will not give a name that can be used.
    Nameless,
    /// It is not this protocol.
    Not,
}
