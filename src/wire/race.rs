//! The race of the scanners over one prefix: who is still in it, and what comes of it.

use super::{Verdict, http, tls};
use crate::addr::Name;

/// What a client was seen to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1: it can read an answer of ours.
    Http,
    /// TLS: it can read an alert.
    Tls,
    /// Anything else, or not looked at: it can read nothing from us.
    Unknown,
}

/// What the first bytes told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The protocol.
    pub protocol: Protocol,
    /// The name, if it gave one.
    pub name: Option<Name>,
}

impl Heard {
    /// Nothing was learnt.
    pub const NOTHING: Heard = Heard { protocol: Protocol::Unknown, name: None };
}

/// The scanners that are still in the race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Race {
    /// The HTTP/1 scanner.
    pub http: bool,
    /// The TLS scanner.
    pub tls: bool,
}

impl Race {
    /// Shows the whole prefix to all that are still in; `None` means that more bytes may help.
    pub fn step(&mut self, prefix: &[u8]) -> Option<Heard> {
        self.judge(prefix, http::scan, tls::scan)
    }

    /// Decides a prefix to which no more bytes will be added.
    pub fn settle(&mut self, prefix: &[u8]) -> Heard {
        self.judge(prefix, http::settle, tls::settle).unwrap_or(Heard::NOTHING)
    }

    fn judge(&mut self, prefix: &[u8], http: fn(&[u8]) -> Verdict, tls: fn(&[u8]) -> Verdict) -> Option<Heard> {
        for (entrant, scan, protocol) in
            [(&mut self.http, http, protocol_of_http(prefix)), (&mut self.tls, tls, Protocol::Tls)]
        {
            if !*entrant {
                continue;
            }
            match scan(prefix) {
                Verdict::More => {}
                Verdict::Named(name) => return Some(Heard { protocol, name: Some(name) }),
                Verdict::Nameless => return Some(Heard { protocol, name: None }),
                Verdict::Not => *entrant = false,
            }
        }
        (!self.http && !self.tls).then_some(Heard::NOTHING)
    }
}

/// An HTTP/2 client cannot read an HTTP/1 answer.
fn protocol_of_http(prefix: &[u8]) -> Protocol {
    if prefix.starts_with(http::H2_PREFACE) { Protocol::Unknown } else { Protocol::Http }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Race = Race { http: true, tls: true };

    #[test]
    fn the_race_ends_when_all_are_out() {
        let mut race = BOTH;
        assert_eq!(race.step(b""), None);
        assert_eq!(race.step(b"SSH-2.0-x"), None);
        assert_eq!(race, Race { http: true, tls: false });
        assert_eq!(race.step(b"SSH-2.0-x\r\n"), Some(Heard::NOTHING));
    }

    #[test]
    fn an_entrant_that_was_kept_out_does_not_run() {
        let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(Race { http: false, tls: true }.step(request), Some(Heard::NOTHING));
        let heard = BOTH.clone().step(request).expect("a whole head");
        assert_eq!(
            (heard.protocol, heard.name.map(|n| n.host.to_string())),
            (Protocol::Http, Some("a.example".into()))
        );
    }

    #[test]
    fn prior_knowledge_is_decided_at_once_and_can_read_nothing() {
        assert_eq!(BOTH.clone().step(http::H2_PREFACE), Some(Heard::NOTHING));
    }

    #[test]
    fn a_limit_decides_even_when_all_want_more() {
        assert_eq!(BOTH.clone().settle(b""), Heard::NOTHING);
        let heard = BOTH.clone().settle(b"GET / HTTP/1.1\r\nHost: a.example\r\nX");
        assert_eq!(heard.name.map(|n| n.host.to_string()), Some("a.example".into()));
    }
}
