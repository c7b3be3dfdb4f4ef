//! Messages of one size, each sent when the one before has come back.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::json::Json;
use crate::net::{self, PATIENCE};
use crate::options::Options;
use crate::wire::Mode;

struct Pinger {
    stream: TcpStream,
    sent_at: Instant,
    /// 0 <= got <= size
    got: usize,
}

/// Runs `--conns` pingers and prints how often and how fast.
pub fn run(options: &Options) -> Result<(), String> {
    let to = options.target()?;
    let open = |_| net::open(to, Mode::Echo).map(|stream| Pinger { stream, sent_at: Instant::now(), got: 0 });
    let mut pingers = (0..options.conns).map(open).collect::<io::Result<Vec<_>>>().map_err(|e| format!("open: {e}"))?;
    let mut pings = Vec::with_capacity(1 << 20);
    let window = options.watch.start()?;
    let failed = exchange(&mut pingers, options, &mut pings);
    let (seconds, spent) = (window.seconds(), window.spent()?);
    pings.sort_unstable();
    let micros = |part: f64| pings.get((pings.len() as f64 * part) as usize).map_or(0.0, |&ns| f64::from(ns) / 1e3);
    let mut json =
        Json::default().text("scenario", "ping").number("seconds", seconds).number("messages", pings.len() as f64);
    json = json.number("p50_us", micros(0.5)).number("p99_us", micros(0.99)).numbers("cpu", &spent);
    json = json.number("errors", f64::from(u8::from(failed.is_err())));
    if let Err(why) = failed {
        json = json.text("error", &why.to_string());
    }
    json.print();
    Ok(())
}

/// Appends the nanoseconds of every round trip to `pings`; ends once all that was sent has come back.
fn exchange(pingers: &mut [Pinger], options: &Options, pings: &mut Vec<u32>) -> io::Result<()> {
    let message = vec![0xa5; options.size];
    let mut back = vec![0; options.size];
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut events = vec![EpollEvent::empty(); pingers.len()];
    let started = Instant::now();
    let length = options.seconds_or(2.0);
    for (at, pinger) in pingers.iter_mut().enumerate() {
        pinger.stream.set_nonblocking(true)?;
        epoll.add(&pinger.stream, EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
        pinger.send(&message)?;
    }
    let mut outstanding = pingers.len();
    while outstanding > 0 {
        if started.elapsed() > length + PATIENCE {
            return Err(io::Error::other(format!("{outstanding} messages did not come back")));
        }
        let ready = match epoll.wait(&mut events, 1000u16) {
            Err(Errno::EINTR) => 0,
            ready => ready?,
        };
        for event in &events[..ready] {
            let pinger = &mut pingers[event.data() as usize];
            if !pinger.receive(&mut back)? {
                continue;
            }
            pings.push(u32::try_from(pinger.sent_at.elapsed().as_nanos()).unwrap_or(u32::MAX));
            if started.elapsed() < length {
                pinger.send(&message)?;
            } else {
                outstanding -= 1;
            }
        }
    }
    Ok(())
}

impl Pinger {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.sent_at = Instant::now();
        self.got = 0;
        match send(self.stream.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL)? {
            n if n == message.len() => Ok(()),
            // one message fits any socket buffer, and at most one is under way
            n => Err(io::Error::other(format!("only {n} of {} bytes were taken", message.len()))),
        }
    }

    /// True once the whole message is back.
    fn receive(&mut self, back: &mut [u8]) -> io::Result<bool> {
        let size = back.len();
        match recv(self.stream.as_raw_fd(), &mut back[self.got..], MsgFlags::empty()) {
            Ok(0) => Err(io::Error::other("closed by the other side")),
            Ok(n) => {
                self.got += n;
                Ok(self.got == size)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}
