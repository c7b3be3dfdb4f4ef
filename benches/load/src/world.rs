//! The far side: a proxy that grants every CONNECT and plays the origin itself, or the origin alone for clients that
//! send no CONNECT. One thread, level-triggered; `wire` has what is said.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{Backlog, MsgFlags, listen, recv, send, setsockopt, sockopt};

use crate::bulk::{CHUNK, Pages, discard};
use crate::wire::{FINISH, FLIGHT, LEAF, Mode, OPENED, OURS, PAGE, READY, TICKET, head_len, tls_record_len};

/// Tokens below it are listeners.
const FIRST_PEER: usize = 1000;
const STDIN: u64 = u64::MAX;
/// Begins a request to a proxy.
const ABSOLUTE: &[u8] = b"GET http:";
const NEXT_LEAF: [u8; 67 + LEAF.len()] =
    leaf(*b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n");
const LAST_LEAF: [u8; 86 + LEAF.len()] =
    leaf(*b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\nConnection: close\r\n\r\n");
/// An opening line is shorter.
const LONGEST: usize = 64 << 10;

struct Peer {
    stream: TcpStream,
    stage: Stage,
    /// bytes that came and are not yet understood
    held: Vec<u8>,
}

enum Stage {
    /// a CONNECT may still come
    Fresh,
    /// inside the tunnel, or without one
    Opened,
    TlsFinish,
    /// a proxy that plays the origin: requests in absolute form
    Web,
    DownFor,
    Down {
        until: Instant,
    },
    Up {
        came: u64,
    },
    /// `held` is what still has to go back
    Echo,
    /// nothing more is said; waits for the other side to close
    Quiet,
}

/// What to do with a peer after an event.
enum Next {
    Stay,
    Leave,
    /// from now on wake it for these
    Await(EpollFlags),
}

/// Serves until `length` is over or standard input ends.
pub fn run(ports: &[u16], length: Duration) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut listeners = Vec::new();
    for (token, &port) in ports.iter().enumerate() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        // std's backlog is short; a second listen only changes it
        listen(&listener, Backlog::MAXALLOWABLE)?;
        listener.set_nonblocking(true)?;
        setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, token as u64))?;
        listeners.push(listener);
    }
    // a file or /dev/null cannot be waited for: then only the time ends it
    let _ = epoll.add(io::stdin(), EpollEvent::new(EpollFlags::EPOLLIN, STDIN));
    println!("ready");
    io::stdout().flush()?;
    let mut world = World { epoll, peers: Vec::new(), free: Vec::new(), pages: Pages::new()?, room: vec![0; CHUNK] };
    let mut events = vec![EpollEvent::empty(); 256];
    let until = Instant::now() + length;
    while Instant::now() < until {
        let ready = match world.epoll.wait(&mut events, 1000u16) {
            Err(Errno::EINTR) => 0,
            ready => ready?,
        };
        for event in &events[..ready] {
            match event.data() {
                STDIN => return Ok(()),
                token if (token as usize) < listeners.len() => world.accept(&listeners[token as usize])?,
                token => world.serve(token as usize - FIRST_PEER)?,
            }
        }
    }
    Ok(())
}

struct World {
    epoll: Epoll,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    pages: Pages,
    /// for one read at a time; what is kept of it goes to `held`
    room: Vec<u8>,
}

impl World {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        for _ in 0..64 {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                // out of descriptors, or gone already, or no more: the listener is level-triggered
                Err(_) => return Ok(()),
            };
            stream.set_nonblocking(true)?;
            let at = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, (at + FIRST_PEER) as u64))?;
            self.peers[at] = Some(Peer { stream, stage: Stage::Fresh, held: Vec::new() });
        }
        Ok(())
    }

    fn serve(&mut self, at: usize) -> io::Result<()> {
        let Some(peer) = &mut self.peers[at] else { return Ok(()) };
        match peer.event(&self.pages, &mut self.room).unwrap_or(Next::Leave) {
            Next::Stay => {}
            Next::Await(flags) => {
                let mut event = EpollEvent::new(flags, (at + FIRST_PEER) as u64);
                self.epoll.modify(&peer.stream, &mut event)?;
            }
            Next::Leave => {
                self.peers[at] = None;
                self.free.push(at);
            }
        }
        Ok(())
    }
}

impl Peer {
    fn event(&mut self, pages: &Pages, room: &mut [u8]) -> nix::Result<Next> {
        match &mut self.stage {
            Stage::Down { until } if Instant::now() >= *until => {
                self.stage = Stage::Quiet;
                self.stream.shutdown(Shutdown::Write).map_err(|_| Errno::EPIPE)?;
                Ok(Next::Await(EpollFlags::EPOLLIN))
            }
            Stage::Down { .. } => dry(pages.send(&self.stream)).map(|_| Next::Stay),
            Stage::Up { came } => match dry(discard(&self.stream, room))? {
                Some(0) => {
                    let came = *came;
                    self.say(&came.to_le_bytes())?;
                    Ok(Next::Leave)
                }
                n => {
                    *came += n.unwrap_or(0) as u64;
                    Ok(Next::Stay)
                }
            },
            Stage::Echo => self.echo(room),
            Stage::Quiet => match dry(discard(&self.stream, room))? {
                Some(0) => Ok(Next::Leave),
                _ => Ok(Next::Stay),
            },
            _ => match dry(recv(self.stream.as_raw_fd(), &mut room[..LONGEST], MsgFlags::empty()))? {
                Some(0) => Ok(Next::Leave),
                Some(n) => {
                    self.held.extend_from_slice(&room[..n]);
                    self.understand()
                }
                None => Ok(Next::Stay),
            },
        }
    }

    /// Answers as much of `held` as is whole.
    fn understand(&mut self) -> nix::Result<Next> {
        loop {
            let (used, next) = match self.stage {
                Stage::Fresh => match self.held.first() {
                    Some(b'C') => match head_len(&self.held) {
                        Some(head) => {
                            self.say(OPENED)?;
                            (head, Stage::Opened)
                        }
                        None => break,
                    },
                    // enough to tell it from a request to an origin
                    Some(b'G') if self.held.len() < ABSOLUTE.len() => break,
                    Some(b'G') if self.held.starts_with(ABSOLUTE) => (0, Stage::Web),
                    _ => (0, Stage::Opened),
                },
                Stage::Opened => match self.held[..] {
                    [0x16, ..] => match tls_record_len(&self.held) {
                        Some(record) if self.held.len() >= record => {
                            self.say(FLIGHT)?;
                            (record, Stage::TlsFinish)
                        }
                        _ => break,
                    },
                    [b'G', ..] => match head_len(&self.held) {
                        Some(head) => {
                            self.say(PAGE)?;
                            (head, Stage::Quiet)
                        }
                        None => break,
                    },
                    [OURS, mode, ..] => {
                        let stage = match Mode::from_byte(mode).ok_or(Errno::EPROTO)? {
                            Mode::Down => Stage::DownFor,
                            Mode::Up => Stage::Up { came: 0 },
                            Mode::Echo => Stage::Echo,
                            Mode::Quiet => Stage::Quiet,
                        };
                        self.say(&[READY])?;
                        (2, stage)
                    }
                    [] | [OURS] => break,
                    _ => return Err(Errno::EPROTO),
                },
                Stage::Web => match head_len(&self.held) {
                    Some(head) => {
                        let last = asks_to_close(&self.held[..head]);
                        self.say(if last { &LAST_LEAF } else { &NEXT_LEAF })?;
                        if last {
                            return Ok(Next::Leave);
                        }
                        (head, Stage::Web)
                    }
                    None => break,
                },
                Stage::TlsFinish if self.held.len() >= FINISH.len() => {
                    self.say(TICKET)?;
                    (FINISH.len(), Stage::Quiet)
                }
                Stage::DownFor => match *self.held {
                    [a, b, c, d, e, f, g, h] => {
                        let millis = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                        self.stage = Stage::Down { until: Instant::now() + Duration::from_millis(millis) };
                        self.held = Vec::new();
                        return Ok(Next::Await(EpollFlags::EPOLLOUT));
                    }
                    _ => break,
                },
                _ => break,
            };
            self.held.drain(..used);
            self.stage = next;
        }
        if self.held.is_empty() {
            // an idle tunnel holds no memory here either
            self.held = Vec::new();
        }
        if self.held.len() > LONGEST { Ok(Next::Leave) } else { Ok(Next::Stay) }
    }

    fn echo(&mut self, room: &mut [u8]) -> nix::Result<Next> {
        if !self.held.is_empty() {
            let sent = dry(send(self.stream.as_raw_fd(), &self.held, MsgFlags::MSG_NOSIGNAL))?;
            self.held.drain(..sent.unwrap_or(0));
            return Ok(if self.held.is_empty() { Next::Await(EpollFlags::EPOLLIN) } else { Next::Stay });
        }
        let came = match dry(recv(self.stream.as_raw_fd(), room, MsgFlags::empty()))? {
            Some(0) => return Ok(Next::Leave),
            Some(n) => &room[..n],
            None => return Ok(Next::Stay),
        };
        let sent = dry(send(self.stream.as_raw_fd(), came, MsgFlags::MSG_NOSIGNAL))?.unwrap_or(0);
        if sent == came.len() {
            return Ok(Next::Stay);
        }
        self.held = came[sent..].to_vec();
        Ok(Next::Await(EpollFlags::EPOLLOUT))
    }

    /// Sends a short answer; it fits an empty socket buffer, or the peer is not worth keeping.
    fn say(&self, words: &[u8]) -> nix::Result<()> {
        match send(self.stream.as_raw_fd(), words, MsgFlags::MSG_NOSIGNAL)? {
            n if n == words.len() => Ok(()),
            _ => Err(Errno::ENOBUFS),
        }
    }
}

/// A head and the page behind it.
const fn leaf<const HEAD: usize, const ALL: usize>(head: [u8; HEAD]) -> [u8; ALL] {
    assert!(HEAD + LEAF.len() == ALL);
    let mut whole = [LEAF[0]; ALL];
    let mut at = 0;
    while at < HEAD {
        whole[at] = head[at];
        at += 1;
    }
    whole
}

fn asks_to_close(head: &[u8]) -> bool {
    head.split(|&b| b == b'\n').any(|line| line.to_ascii_lowercase().starts_with(b"connection: close"))
}

/// `None` where the call would have had to wait.
fn dry(result: nix::Result<usize>) -> nix::Result<Option<usize>> {
    match result {
        Ok(n) => Ok(Some(n)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(e) => Err(e),
    }
}
