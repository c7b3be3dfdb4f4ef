//! Bytes in bulk, one thread per connection. The sender hands out pages of a memfd, the receiver lets the kernel throw
//! them away (MSG_TRUNC), so that most of the machine is left to the proxy.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::sendfile::sendfile;
use nix::sys::socket::{MsgFlags, recv};

use crate::json::Json;
use crate::net::{self, PATIENCE};
use crate::options::Options;
use crate::wire::Mode;

/// Bytes asked of one call.
pub const CHUNK: usize = 1 << 20;

/// Where bulk bytes come from.
pub struct Pages(File);

impl Pages {
    pub fn new() -> io::Result<Self> {
        let mut file = File::from(memfd_create("bulk", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(&vec![0x5a; CHUNK])?;
        Ok(Self(file))
    }

    /// Sends up to one chunk.
    pub fn send(&self, to: &TcpStream) -> nix::Result<usize> {
        sendfile(to, &self.0, Some(&mut 0), CHUNK)
    }
}

/// Receives up to `room.len()` bytes and discards them unread; `room` is never written.
pub fn discard(from: &TcpStream, room: &mut [u8]) -> nix::Result<usize> {
    recv(from.as_raw_fd(), room, MsgFlags::MSG_TRUNC)
}

/// The origin sends, for as long as it is told to, then ends the stream.
pub fn down(options: &Options) -> Result<(), String> {
    let millis = options.seconds_or(2.0).as_millis() as u64;
    run("down", options, Mode::Down, |mut stream| {
        // before the origin can begin to count, or a preempted client would find the stream too short
        let started = Instant::now();
        stream.write_all(&millis.to_le_bytes())?;
        let mut room = vec![0; CHUNK];
        let mut total = 0;
        loop {
            match discard(&stream, &mut room) {
                Ok(0) => break,
                Ok(n) => total += n as u64,
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
            if started.elapsed() > Duration::from_millis(millis) + PATIENCE {
                return Err(io::Error::other("the stream did not end"));
            }
        }
        if started.elapsed() < Duration::from_millis(millis) {
            return Err(io::Error::other("the stream ended early"));
        }
        Ok(total)
    })
}

/// The client sends, ends its side, and is told how many bytes came.
pub fn up(options: &Options) -> Result<(), String> {
    let length = options.seconds_or(2.0);
    let pages = Pages::new().map_err(|e| format!("memfd: {e}"))?;
    run("up", options, Mode::Up, |mut stream| {
        let started = Instant::now();
        let mut sent = 0;
        while started.elapsed() < length {
            match pages.send(&stream) {
                Ok(n) => sent += n as u64,
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        stream.shutdown(Shutdown::Write)?;
        let mut came = [0; 8];
        stream.read_exact(&mut came)?;
        match u64::from_le_bytes(came) {
            came if came == sent => Ok(sent),
            came => Err(io::Error::other(format!("sent {sent} bytes, {came} came"))),
        }
    })
}

fn run(
    name: &str,
    options: &Options,
    mode: Mode,
    work: impl Fn(TcpStream) -> io::Result<u64> + Sync,
) -> Result<(), String> {
    let to = options.target()?;
    let all_open = Barrier::new(options.conns + 1);
    let one = || {
        let stream = net::open(to, mode);
        all_open.wait();
        stream.and_then(&work)
    };
    let (results, seconds, spent) = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.conns).map(|_| scope.spawn(one)).collect();
        all_open.wait();
        let window = options.watch.start()?;
        let results: Vec<_> =
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(io::Error::other("panic")))).collect();
        Ok::<_, String>((results, window.seconds(), window.spent()?))
    })?;
    let bytes: u64 = results.iter().flatten().sum();
    let errors: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    let mut json = Json::default().text("scenario", name).number("seconds", seconds).number("bytes", bytes as f64);
    json = json.number("errors", errors.len() as f64).numbers("cpu", &spent);
    if let Some(first) = errors.first() {
        json = json.text("error", &first.to_string());
    }
    json.print();
    Ok(())
}
