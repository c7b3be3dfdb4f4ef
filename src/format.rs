//! How traffic is written down and read again: facts of a session, and one file per format. Pure: bytes in, bytes
//! out, no clock, no file.

pub mod capture;
pub mod hexlog;
pub mod informer;
pub mod pcapng;
pub mod readable;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::{Host, Name};
use crate::close::{By, End};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dir {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// What is known of a session when its way is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its number, unique while the process lives; 1 is the first.
    pub id: u64,
    /// The client's address.
    pub client: SocketAddr,
    /// The original destination.
    pub origin: SocketAddr,
    /// The name that was seen.
    pub name: Option<Name>,
    /// What was asked for.
    pub target: String,
    /// The name of the upstream, or `direct`, where there is more than one way.
    pub via: Option<Arc<str>>,
    /// The address that was connected to.
    pub upstream: Option<SocketAddr>,
    /// The port that the connection comes from; `None` where there is none.
    pub from_port: Option<u16>,
    /// The port that we listen on.
    pub local_port: u16,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How.
    pub end: End,
    /// By whom.
    pub by: By,
    /// Why, where the label alone does not say it; escaped.
    pub error: Option<Box<str>>,
    /// Bytes that were handed to the upstream.
    pub up: u64,
    /// Bytes that were handed to the client.
    pub down: u64,
    /// From accept to the end.
    pub lasted: Duration,
}

/// What a file tells when it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Something that happened.
    Entry(Entry),
    /// Records could not be written here, as the file says.
    Missing(String),
    /// The file ends in the middle of something: it grows still, or whoever wrote it was killed.
    Torn(String),
    /// Something that cannot be read: where, and why. What is behind it may be read.
    Wrong(String),
    /// The same, and nothing in it is as in such a file: with nothing else before it, this may be another kind of file.
    Strange(String),
}

/// Something that happened in a session, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When: nanoseconds since 1970.
    pub at: u64,
    /// The client's address.
    pub client: SocketAddr,
    /// The original destination, where the file has it.
    pub origin: Option<SocketAddr>,
    /// What.
    pub what: Told,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The session began, or goes on here from an earlier file.
    Opened {
        /// The name that was seen.
        name: Option<Host>,
        /// It began in an earlier file.
        goes_on: bool,
    },
    /// Bytes went that way.
    Bytes(Dir, Vec<u8>),
    /// None comes that way any more.
    Ended(Dir),
}
