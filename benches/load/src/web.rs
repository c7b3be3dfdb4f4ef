//! Requests for small pages, one after the other on each connection: the next on the same one where the other side keeps
//! it open, and on a new one where it does not, or where each is to have its own. One thread, edge-triggered.

use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::json::Json;
use crate::net::{self, PATIENCE};
use crate::options::Options;
use crate::wire::{Form, LEAF, head_len};

/// After as many errors nothing more is asked for.
const ENOUGH_ERRORS: u64 = 200;
/// An answer with all that proxies add to its head is shorter.
const ROOM: usize = 4096;

/// Asks over `--conns` connections at once for `--seconds`, and prints how often and how fast.
pub fn run(options: &Options) -> Result<(), String> {
    let plan = Plan { to: options.target()?, request: options.form.request(), once: options.each == 1 };
    let window = options.watch.start()?;
    let length = options.seconds_or(2.0);
    let mut outcome = plan.run(options.conns, length).map_err(|e| e.to_string())?;
    let (seconds, spent) = (window.seconds(), window.spent()?);
    outcome.took.sort_unstable();
    let took = &outcome.took;
    let micros = |part: f64| took.get((took.len() as f64 * part) as usize).map_or(0.0, |&ns| f64::from(ns) / 1e3);
    let mut json = Json::default().text("scenario", "web").number("seconds", seconds);
    json = json.number("requests", took.len() as f64).number("conns", outcome.conns as f64);
    // one straggler at the end says little about the rate
    json = json.number("rate", outcome.in_time as f64 / length.as_secs_f64());
    json = json.number("errors", outcome.errors as f64).numbers("cpu", &spent);
    if let Some(why) = &outcome.first_error {
        json = json.text("error", why);
    }
    let slowest = took.last().map_or(0.0, |&ns| f64::from(ns) / 1e3);
    json.number("p50_us", micros(0.5)).number("p99_us", micros(0.99)).number("max_us", slowest).print();
    Ok(())
}

struct Plan {
    to: SocketAddrV4,
    request: &'static [u8],
    /// a connection for each request
    once: bool,
}

#[derive(Default)]
struct Outcome {
    /// nanoseconds from the request, or the connect before it, to the end of the answer
    took: Vec<u32>,
    conns: u64,
    /// requests that were answered before the time was up
    in_time: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Outcome {
    fn fail(&mut self, why: String) {
        self.errors += 1;
        self.first_error.get_or_insert(why);
    }
}

impl Plan {
    fn run(&self, at_once: usize, length: Duration) -> nix::Result<Outcome> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut events = vec![EpollEvent::empty(); 256];
        let mut askers: Vec<Option<Asker>> = (0..at_once).map(|_| None).collect();
        let mut outcome = Outcome::default();
        let (started, mut looked) = (Instant::now(), Instant::now());
        loop {
            let go_on = started.elapsed() < length && outcome.errors < ENOUGH_ERRORS;
            for (slot, asker) in askers.iter_mut().enumerate().filter(|(_, asker)| asker.is_none() && go_on) {
                match Asker::connect(self.to, &epoll, slot) {
                    Ok(fresh) => {
                        *asker = Some(fresh);
                        outcome.conns += 1;
                    }
                    Err(e) => outcome.fail(format!("connect: {e}")),
                }
            }
            if !go_on && askers.iter().all(Option::is_none) {
                return Ok(outcome);
            }
            let ready = match epoll.wait(&mut events, 100u8) {
                Err(Errno::EINTR) => 0,
                ready => ready?,
            };
            for event in &events[..ready] {
                let slot = &mut askers[event.data() as usize];
                let Some(asker) = slot else { continue };
                if !self.serve(asker, &mut outcome, started.elapsed() < length) {
                    *slot = None;
                }
            }
            if looked.elapsed() > Duration::from_millis(200) {
                looked = Instant::now();
                for slot in &mut askers {
                    if let Some(late) = slot.take_if(|asker| asker.begun.elapsed() > PATIENCE) {
                        outcome.fail(format!("timed out, {} bytes in", late.got));
                    }
                }
            }
        }
    }

    /// Does what can be done; false once the connection is of no more use.
    fn serve(&self, asker: &mut Asker, outcome: &mut Outcome, go_on: bool) -> bool {
        loop {
            match asker.ask(self.request) {
                Ok(Answer::More) => return true,
                // the answer before was the last one on this connection
                Ok(Answer::Closed) => return false,
                Ok(Answer::Whole { keeps }) => {
                    outcome.took.push(u32::try_from(asker.begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
                    outcome.in_time += u64::from(go_on);
                    if self.once || !keeps || !go_on {
                        return false;
                    }
                    (asker.begun, asker.got, asker.asked) = (Instant::now(), 0, false);
                }
                Err(why) => {
                    outcome.fail(why);
                    return false;
                }
            }
        }
    }
}

enum Answer {
    More,
    Whole { keeps: bool },
    Closed,
}

/// A connection, and how far its present request is.
struct Asker {
    socket: OwnedFd,
    begun: Instant,
    first: bool,
    asked: bool,
    /// 0 <= got <= ROOM
    got: usize,
    room: [u8; ROOM],
}

impl Asker {
    fn connect(to: SocketAddrV4, epoll: &Epoll, slot: usize) -> nix::Result<Self> {
        let begun = Instant::now();
        let socket = net::connect_nonblocking(to)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&socket, EpollEvent::new(flags, slot as u64))?;
        Ok(Self { socket, begun, first: true, asked: false, got: 0, room: [0; ROOM] })
    }

    fn ask(&mut self, request: &[u8]) -> Result<Answer, String> {
        if !self.asked {
            match send(self.socket.as_raw_fd(), request, MsgFlags::MSG_NOSIGNAL) {
                Ok(n) if n == request.len() => self.asked = true,
                Ok(n) => return Err(format!("only {n} bytes of a request were taken")),
                // not connected yet
                Err(Errno::EAGAIN | Errno::ENOTCONN) => return Ok(Answer::More),
                Err(Errno::EPIPE | Errno::ECONNRESET) if !self.first => return Ok(Answer::Closed),
                Err(e) => return Err(format!("request: {e}")),
            }
        }
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.room[self.got..], MsgFlags::empty()) {
                Ok(0) | Err(Errno::ECONNRESET) if self.got == 0 && !self.first => return Ok(Answer::Closed),
                Ok(0) => return Err(format!("closed after {} bytes of an answer", self.got)),
                Ok(n) => self.got += n,
                Err(Errno::EAGAIN) => return Ok(Answer::More),
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(format!("{e} after {} bytes of an answer", self.got)),
            }
            let came = &self.room[..self.got];
            let Some(head) = head_len(came) else { continue };
            if !came.starts_with(b"HTTP/1.1 200 ") && !came.starts_with(b"HTTP/1.0 200 ") {
                return Err(format!("answered {:?}", String::from_utf8_lossy(&came[..head.min(60)])));
            }
            match self.got.checked_sub(head + LEAF.len()) {
                None => continue,
                Some(0) => {
                    self.first = false;
                    return Ok(Answer::Whole { keeps: keeps(&came[..head]) });
                }
                Some(more) => return Err(format!("{more} bytes behind the answer")),
            }
        }
    }
}

/// Whether the head leaves the connection open.
fn keeps(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    !text.contains("connection: close") && !text.starts_with("http/1.0")
}

impl Form {
    fn request(self) -> &'static [u8] {
        match self {
            Form::Origin => b"GET /page HTTP/1.1\r\nHost: www.bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
            Form::Absolute => b"GET http://www.bench.example/page HTTP/1.1\r\nHost: www.bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
        }
    }
}
