//! A client's first bytes: held within a byte and a time budget while the scanners race over them, then
//! watched while the tunnel is being opened, so that a client that gives up frees everything at once.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::close::{By, Close, End};
use crate::sys::{queues, socket};
use crate::wire::race::{Heard, Race};

/// What one read is asked for: a browser's ClientHello fits.
const READ: usize = 2048;
/// A client that ends its side this much later than its last byte has given up; one that does it
/// earlier has sent all it had to say, and waits for the answer.
const GIVING_UP: Duration = Duration::from_secs(1);
/// How often a client is looked at of which no more is read.
const LOOK: Duration = Duration::from_millis(250);

/// What was read of a client so far; all of it goes to the origin first.
#[derive(Debug)]
pub struct Prefix {
    /// The bytes, `max` at most.
    pub bytes: Vec<u8>,
    /// Whether the client has ended its side.
    pub ended: bool,
    max: usize,
    last: Instant,
}

impl Prefix {
    /// Nothing yet; holds `max` bytes at most.
    pub fn new(max: usize) -> Prefix {
        Prefix { bytes: Vec::new(), ended: false, max, last: Instant::now() }
    }

    /// The client has ended its side just now.
    fn end(&self) -> Result<(), Close> {
        let gave_up = self.bytes.is_empty() || self.last.elapsed() > GIVING_UP;
        if gave_up { Err(Close::new(End::Left, By::Client)) } else { Ok(()) }
    }

    fn is_final(&self) -> bool {
        self.ended || self.bytes.len() >= self.max
    }

    /// Reads once; nothing is lost when dropped.
    async fn read(&mut self, client: &TcpStream) -> Result<(), Close> {
        let left = |error| Close::because(End::Left, By::Client, error);
        loop {
            client.readable().await.map_err(left)?;
            let mut chunk = [0; READ];
            let room = READ.min(self.max - self.bytes.len());
            let mut got = 0;
            let read = client.try_io(Interest::READABLE, || {
                got = socket::read(client, &mut chunk[..room])?;
                // a short read leaves the socket dry (man 7 epoll), unless it stopped at the mark of urgent data
                let dry = 0 < got && got < room && queues::unread(client) == 0;
                if dry { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match read {
                Ok(()) if got == 0 => {
                    self.ended = true;
                    return self.end();
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(left(error)),
                _ if got == 0 => {}
                _ => {
                    self.bytes.extend_from_slice(&chunk[..got]);
                    self.last = Instant::now();
                    return Ok(());
                }
            }
        }
    }
}

/// Reads until the race is decided, or a budget is spent, or the client ends its side.
/// Nothing is lost when dropped.
///
/// # Errors
/// The client left: it reset the connection, or ended it without a byte.
pub async fn sniff(client: &TcpStream, prefix: &mut Prefix, mut race: Race, time: Duration) -> Result<Heard, Close> {
    let deadline = tokio::time::sleep(time);
    tokio::pin!(deadline);
    loop {
        if let Some(heard) = race.step(&prefix.bytes) {
            return Ok(heard);
        }
        if prefix.is_final() {
            return Ok(race.settle(&prefix.bytes));
        }
        tokio::select! {
            read = prefix.read(client) => read?,
            () = &mut deadline => return Ok(race.settle(&prefix.bytes)),
        }
    }
}

/// Waits for the client to give up, and goes on holding what it sends meanwhile. Nothing is lost when dropped.
pub async fn watch(client: &TcpStream, prefix: &mut Prefix) -> Close {
    while !prefix.is_final() {
        if let Err(left) = prefix.read(client).await {
            return left;
        }
    }
    let mut unread = queues::unread(client);
    // what is not read is only looked at, and its end too
    while !prefix.ended {
        tokio::select! {
            _ = client.ready(Interest::ERROR) => break,
            () = tokio::time::sleep(LOOK) => {}
        }
        if std::mem::replace(&mut unread, queues::unread(client)) != unread {
            prefix.last = Instant::now();
        }
        if socket::has_ended(client) {
            if let Err(left) = prefix.end() {
                return left;
            }
            break;
        }
    }
    match client.ready(Interest::ERROR).await {
        Ok(_) => Close::because(End::Left, By::Client, "connection reset"),
        Err(error) => Close::because(End::Left, By::Client, error),
    }
}
