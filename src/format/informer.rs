//! The status lines of InformerProxy, and what DumperProxy made of them: one line per event, each with the state of
//! both sockets of a session. Pure: events in, lines out.
//!
//! The originals ended a session with its first half; a tunnel of ours goes on the other way. The half that has ended
//! shows closed from then on, and the last line of a session is the only one of a close in which both do.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;

use super::{Dir, Facts};
use crate::close::By;

/// What happens in a session, as far as a status line shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its way is open.
    Opened,
    /// So many bytes were read.
    Read(Dir, usize),
    /// So many were handed on; 0 is the end.
    Sent(Dir, usize),
    /// The source has ended.
    Ended(Dir),
    /// The session has ended, by whom.
    Closed(By),
}

/// The two sockets of a session: the client's, and the one that leads on.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    /// Whether its beginning was seen.
    known: bool,
    client_closed: bool,
    forward_closed: bool,
    /// What was read from the client and not handed on.
    up: Unsent,
    /// What was read for the client and not handed on.
    down: Unsent,
}

/// A status line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it begins with where the session is not known.
    marker: &'static str,
    client: Half,
    forward: Half,
    column: Column,
}

/// How one socket is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Connected,
    Idle,
    /// Data moves to the right: from a client.
    Right,
    /// Data moves to the left: to a client.
    Left,
    Closed,
}

/// What DumperProxy adds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Nothing,
    Bytes(usize),
    /// The first of two closes.
    Close,
    /// The last one, with what is lost.
    End(Unsent),
}

/// Chunks that were read and not handed on, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Unsent {
    /// What is left of one that was handed on in part.
    tail: usize,
    queue: VecDeque<usize>,
}

impl Pair {
    /// Takes note of an event, and gives the lines for it: one, or two where a half closes.
    pub fn step(&mut self, event: Event) -> Vec<Status> {
        let marker = match event {
            _ if self.known => "",
            Event::Opened => "",
            Event::Read(..) | Event::Ended(_) => "WTF recv? ",
            Event::Sent(..) => "WTF send? ",
            Event::Closed(_) => "WTF close? ",
        };
        let line = |pair: &Pair, client, forward, column| Status {
            marker,
            client: if pair.client_closed { Half::Closed } else { client },
            forward: if pair.forward_closed { Half::Closed } else { forward },
            column,
        };
        let read = |pair: &Pair, dir, length| match dir {
            Dir::Up => line(pair, Half::Right, Half::Idle, Column::Bytes(length)),
            Dir::Down => line(pair, Half::Idle, Half::Left, Column::Bytes(length)),
        };
        let close = |pair: &mut Pair, dir| {
            let column = pair.close(dir);
            line(pair, Half::Idle, Half::Idle, column)
        };
        match event {
            Event::Opened => {
                *self = Pair { known: true, ..Pair::default() };
                vec![line(self, Half::Connected, Half::Connected, Column::Nothing)]
            }
            Event::Read(dir, length) => {
                self.unsent(dir).read(length);
                vec![read(self, dir, length)]
            }
            Event::Sent(dir, length) => {
                self.unsent(dir).sent(length);
                vec![match dir {
                    Dir::Up => line(self, Half::Idle, Half::Right, Column::Bytes(length)),
                    Dir::Down => line(self, Half::Left, Half::Idle, Column::Bytes(length)),
                }]
            }
            // the second half closes with the session
            Event::Ended(dir) if self.client_closed || self.forward_closed => vec![read(self, dir, 0)],
            Event::Ended(dir) => vec![read(self, dir, 0), close(self, dir)],
            Event::Closed(_) if self.client_closed => vec![close(self, Dir::Down)],
            Event::Closed(_) if self.forward_closed => vec![close(self, Dir::Up)],
            Event::Closed(By::Upstream) => vec![close(self, Dir::Down), close(self, Dir::Up)],
            Event::Closed(_) => vec![close(self, Dir::Up), close(self, Dir::Down)],
        }
    }

    /// Records are missing: what is still to be handed on is not known.
    pub fn missed(&mut self) {
        (self.up, self.down) = (Unsent::default(), Unsent::default());
    }

    fn unsent(&mut self, dir: Dir) -> &mut Unsent {
        match dir {
            Dir::Up => &mut self.up,
            Dir::Down => &mut self.down,
        }
    }

    /// The source of `dir` closes. Where it is the last to do so, what was on its way to it is lost.
    fn close(&mut self, dir: Dir) -> Column {
        let lost = match dir {
            Dir::Up => {
                self.client_closed = true;
                &self.down
            }
            Dir::Down => {
                self.forward_closed = true;
                &self.up
            }
        };
        if self.client_closed && self.forward_closed { Column::End(lost.clone()) } else { Column::Close }
    }
}

impl Status {
    /// Writes it as InformerProxy did, with a line feed.
    pub fn inform(&self, facts: &Facts, out: &mut Vec<u8>) {
        put(out, format_args!("{}\n", Line { status: self, facts }));
    }

    /// Writes it as it stands in a file of DumperProxy: a line feed before and behind it, and `END.` behind the last;
    /// bytes that were read follow. The first of two closes was on its console only, and writes nothing.
    pub fn dump(&self, facts: &Facts, out: &mut Vec<u8>) {
        let line = Line { status: self, facts };
        match &self.column {
            Column::Nothing => put(out, format_args!("\n{line} \n")),
            Column::Bytes(length) => put(out, format_args!("\n{line} {length}b\n")),
            Column::Close => {}
            Column::End(lost) => put(out, format_args!("\n{line} {lost}\nEND.")),
        }
    }
}

/// A status line as far as both show it.
struct Line<'a> {
    status: &'a Status,
    facts: &'a Facts,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { status, facts } = self;
        let number = facts.id.wrapping_mul(2);
        write!(f, "{}{}  ", status.marker, facts.client)?;
        status.client.show(f, number)?;
        write!(f, " [{} PROXY {}] ", facts.local_port, facts.from_port.unwrap_or(0))?;
        status.forward.show(f, number + 1)?;
        write!(f, " {}", facts.origin)
    }
}

impl Half {
    fn show(self, f: &mut fmt::Formatter<'_>, number: u64) -> fmt::Result {
        let (left, right) = match self {
            Half::Connected => ("<-*-", "->"),
            Half::Idle => ("--*-", "--"),
            Half::Right => ("--*-", ">>"),
            Half::Left => ("<<*-", "--"),
            Half::Closed => ("----", "--"),
        };
        write!(f, "{left}{number}{right}")
    }
}

impl Unsent {
    fn read(&mut self, length: usize) {
        if length > 0 {
            self.queue.push_back(length);
        }
    }

    fn sent(&mut self, mut length: usize) {
        while length > 0 {
            if self.tail == 0 {
                let Some(next) = self.queue.pop_front() else { return };
                self.tail = next;
            }
            let now = length.min(self.tail);
            self.tail -= now;
            length -= now;
        }
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lose {}b ", self.tail)?;
        if self.queue.is_empty() {
            return Ok(());
        }
        let lengths: Vec<String> = self.queue.iter().map(|length| format!("{length}b")).collect();
        write!(f, "queue data [{}]", lengths.join(", "))
    }
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes everything");
}

#[cfg(test)]
#[path = "informer_tests.rs"]
mod tests;
