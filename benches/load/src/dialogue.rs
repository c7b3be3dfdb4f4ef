//! Many connections that each say their lines: short ones that end after the last line, and idle ones that stay.
//! One thread, edge-triggered: a connection costs one epoll_ctl, and its reads ask for all that is still expected,
//! so a short read means that the socket is dry and the next edge will come.

use std::io::Read;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::json::Json;
use crate::net::{self, PATIENCE};
use crate::options::Options;
use crate::wire::{FINISH, FLIGHT, GET, HELLO, Mode, PAGE, TICKET, Talk};

/// After as many errors nothing more is opened.
const ENOUGH_ERRORS: u64 = 200;

/// What to send, and how many bytes to wait for.
type Line = (&'static [u8], usize);

const TLS: &[Line] = &[(HELLO, FLIGHT.len()), (FINISH, TICKET.len())];
const HTTP: &[Line] = &[(GET, PAGE.len())];
const STAY: &[Line] = &[(&[0, Mode::Quiet as u8], 1)];

struct Plan {
    to: SocketAddrV4,
    lines: &'static [Line],
    at_once: usize,
    /// connections to open in all
    count: u64,
    /// no more are opened after it
    length: Duration,
    keep: bool,
}

#[derive(Default)]
struct Outcome {
    /// nanoseconds from connect to the last byte, of those that succeeded
    took: Vec<u32>,
    kept: Vec<OwnedFd>,
    errors: u64,
    first_error: Option<String>,
    /// start to the last success
    until_last: Duration,
}

/// Short connections, `--conns` at once, for `--seconds` or `--count` of them.
pub fn short(options: &Options) -> Result<(), String> {
    let lines = match options.talk {
        Talk::Tls => TLS,
        Talk::Http => HTTP,
    };
    let plan = Plan {
        to: options.target()?,
        lines,
        at_once: options.conns,
        count: options.count.unwrap_or(u64::MAX),
        length: options.seconds_or(if options.count.is_some() { 60.0 } else { 2.0 }),
        keep: false,
    };
    let window = options.watch.start()?;
    let mut outcome = plan.run().map_err(|e| e.to_string())?;
    let (seconds, spent) = (window.seconds(), window.spent()?);
    outcome.took.sort_unstable();
    let took = &outcome.took;
    let micros = |part: f64| took.get((took.len() as f64 * part) as usize).map_or(0.0, |&ns| f64::from(ns) / 1e3);
    let json = outcome.json("short").number("seconds", seconds).numbers("cpu", &spent);
    json.number("p50_us", micros(0.5)).number("p99_us", micros(0.99)).print();
    Ok(())
}

/// Tunnels that say nothing: opened, reported, held, looked at once more.
pub fn idle(options: &Options) -> Result<(), String> {
    let count = options.count.ok_or("--count is missing")?;
    let length = Duration::from_secs(60);
    let plan = Plan { to: options.target()?, lines: STAY, at_once: options.conns, count, length, keep: true };
    let window = options.watch.start()?;
    let outcome = plan.run().map_err(|e| e.to_string())?;
    let spent = window.spent()?;
    outcome.json("idle").number("seconds", outcome.until_last.as_secs_f64()).numbers("cpu", &spent).print();
    hold(options.seconds_or(2.0));
    let dropped = outcome.kept.iter().filter(|tunnel| !is_open(tunnel)).count();
    Json::default().text("scenario", "held").number("dropped", dropped as f64).print();
    Ok(())
}

impl Plan {
    fn run(&self) -> nix::Result<Outcome> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut events = vec![EpollEvent::empty(); 256];
        let mut slots: Vec<Option<Speaker>> = (0..self.at_once).map(|_| None).collect();
        let mut free: Vec<usize> = (0..self.at_once).rev().collect();
        let mut outcome = Outcome::default();
        let started = Instant::now();
        let (mut opened, mut looked) = (0, started);
        loop {
            while opened < self.count && started.elapsed() < self.length && outcome.errors < ENOUGH_ERRORS {
                let Some(slot) = free.pop() else { break };
                opened += 1;
                match Speaker::start(self.to, &epoll, slot) {
                    Ok(speaker) => slots[slot] = Some(speaker),
                    Err(e) => {
                        outcome.fail(format!("connect: {e}"));
                        free.push(slot);
                    }
                }
            }
            if free.len() == slots.len() {
                return Ok(outcome);
            }
            let ready = match epoll.wait(&mut events, 100u8) {
                Err(Errno::EINTR) => 0,
                ready => ready?,
            };
            for event in &events[..ready] {
                let slot = event.data() as usize;
                let Some(speaker) = &mut slots[slot] else { continue };
                match speaker.go_on(self.lines) {
                    Ok(Progress::More) => continue,
                    Ok(Progress::Done) => {
                        outcome.took.push(u32::try_from(speaker.begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
                        outcome.until_last = started.elapsed();
                        let speaker = slots[slot].take();
                        if let Some(speaker) = speaker.filter(|_| self.keep) {
                            // the slot's next socket must not get this one's events
                            epoll.delete(&speaker.socket)?;
                            outcome.kept.push(speaker.socket);
                        }
                    }
                    Err(why) => {
                        outcome.fail(why);
                        slots[slot] = None;
                    }
                }
                free.push(slot);
            }
            if looked.elapsed() > Duration::from_millis(200) {
                looked = Instant::now();
                for (at, slot) in slots.iter_mut().enumerate() {
                    if let Some(late) = slot.take_if(|speaker| speaker.begun.elapsed() > PATIENCE) {
                        outcome.fail(format!("timed out at line {}, {} bytes in", late.line + 1, late.got));
                        free.push(at);
                    }
                }
            }
        }
    }
}

impl Outcome {
    fn fail(&mut self, why: String) {
        self.errors += 1;
        self.first_error.get_or_insert(why);
    }

    fn json(&self, scenario: &str) -> Json {
        let json = Json::default().text("scenario", scenario);
        let json = json.number("conns", self.took.len() as f64).number("errors", self.errors as f64);
        match &self.first_error {
            Some(why) => json.text("error", why),
            None => json,
        }
    }
}

enum Progress {
    More,
    Done,
}

struct Speaker {
    socket: OwnedFd,
    begun: Instant,
    line: usize,
    said: bool,
    /// 0 <= got < expected
    got: usize,
}

impl Speaker {
    fn start(to: SocketAddrV4, epoll: &Epoll, slot: usize) -> nix::Result<Self> {
        let begun = Instant::now();
        let socket = net::connect_nonblocking(to)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&socket, EpollEvent::new(flags, slot as u64))?;
        Ok(Self { socket, begun, line: 0, said: false, got: 0 })
    }

    fn go_on(&mut self, lines: &[Line]) -> Result<Progress, String> {
        let mut room = [0; 4096];
        while let Some(&(words, expected)) = lines.get(self.line) {
            if !self.said {
                let sent = send(self.socket.as_raw_fd(), words, MsgFlags::MSG_NOSIGNAL);
                match sent {
                    Ok(n) if n == words.len() => self.said = true,
                    Ok(n) => return Err(format!("line {}: only {n} bytes were taken", self.line + 1)),
                    Err(e) => return Err(format!("line {}: {e}", self.line + 1)),
                }
            }
            match recv(self.socket.as_raw_fd(), &mut room[..expected - self.got], MsgFlags::empty()) {
                Ok(0) => return Err(format!("line {}: closed after {} of {expected} bytes", self.line + 1, self.got)),
                Ok(n) => self.got += n,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Progress::More),
                Err(e) => return Err(format!("line {}: {e} after {} of {expected} bytes", self.line + 1, self.got)),
            }
            if self.got < expected {
                return Ok(Progress::More);
            }
            (self.line, self.said, self.got) = (self.line + 1, false, 0);
        }
        Ok(Progress::Done)
    }
}

/// Waits for `length` or for the end of standard input.
fn hold(length: Duration) {
    let until = Instant::now() + length;
    let mut input = std::io::stdin();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) => return,
            Ok(_) if input.read(&mut [0; 64]).unwrap_or(0) == 0 => return,
            _ => {}
        }
    }
}

fn is_open(tunnel: &OwnedFd) -> bool {
    let peeked = recv(tunnel.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    peeked == Err(Errno::EAGAIN)
}
