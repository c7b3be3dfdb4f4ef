//! Two sockets: bulk between them never passes through this process.

use std::task::{Context, Poll};

use tokio::net::TcpStream;

use super::direction::{Direction, Fault};
use super::{Course, Pair, Tunnel};
use crate::close::By;

/// Two sockets and what is on its way between them.
#[derive(Debug)]
pub struct Spliced {
    client: TcpStream,
    upstream: TcpStream,
    up: Direction,
    down: Direction,
}

impl Tunnel<Spliced> {
    /// Joins two sockets.
    pub fn new(client: TcpStream, upstream: TcpStream) -> Tunnel<Spliced> {
        let (up, down) = (Direction::default(), Direction::default());
        Tunnel::between(Spliced { client, upstream, up, down })
    }

    /// What the client sent before the tunnel was open, and whether it has ended its side.
    pub fn early_up(&mut self, bytes: Vec<u8>, ended: bool) {
        self.pair.up.early(bytes, ended);
    }

    /// What the upstream sent with its answer.
    pub fn early_down(&mut self, bytes: Vec<u8>) {
        self.pair.down.early(bytes, false);
    }
}

impl Pair for Spliced {
    fn poll(&mut self, from: By, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match from {
            By::Client => self.up.poll(&self.client, &self.upstream, self.down.is_done(), cx),
            _ => self.down.poll(&self.upstream, &self.client, self.up.is_done(), cx),
        }
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.up.poll_discard(&self.client, cx)
    }

    fn course(&self, from: By) -> Course {
        match from {
            By::Client => self.up.course(),
            _ => self.down.course(),
        }
    }

    fn count(&mut self, from: By, bytes: u64, chunks: u32) {
        match from {
            By::Client => self.up.add(bytes, chunks),
            _ => self.down.add(bytes, chunks),
        }
    }

    fn socket(&self, side: By) -> &TcpStream {
        match side {
            By::Client => &self.client,
            _ => &self.upstream,
        }
    }
}
