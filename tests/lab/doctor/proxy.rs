//! A proxy that answers every CONNECT by itself, for a doctor that asks several times, and remembers what it was asked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::support::PATIENCE;
use crate::support::topology::{Topology, UPSTREAM};
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;

/// How it answers.
#[derive(Clone, Default)]
pub(super) struct Manners {
    /// What it says for targets that end like this, in place of 200.
    pub(super) refusals: Vec<(&'static str, &'static str)>,
    /// The challenge to whoever does not say who he is.
    pub(super) challenge: Option<&'static str>,
    /// What Proxy-Authorization must be then; nothing is right where this is none.
    pub(super) credentials: Option<&'static str>,
    /// How far its clock is ahead.
    pub(super) ahead: Duration,
    /// It speaks SOCKS5, and forbids this port.
    pub(super) socks: Option<u16>,
}

/// A CONNECT that came: its target and its credentials.
pub(super) type Asked = (String, Option<String>);

/// The running proxy; it ends when this is dropped.
pub(super) struct Proxy {
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens where the upstream of the lab does.
    pub(super) fn start(net: &Topology, manners: Manners) -> Self {
        let upstream = net.upstream.listen(UPSTREAM);
        let (asked, stop) = (Arc::new(Mutex::default()), Arc::new(AtomicBool::new(false)));
        let (memory, end) = (asked.clone(), stop.clone());
        let thread = thread::spawn(move || serve(&upstream, &manners, &memory, &end));
        Self { asked, stop, thread: Some(thread) }
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(upstream: &Upstream, manners: &Manners, memory: &Mutex<Vec<Asked>>, end: &AtomicBool) {
    thread::scope(|scope| {
        while !end.load(Ordering::Relaxed) {
            let Some(wire) = upstream.accept_within(Duration::from_millis(20)) else { continue };
            scope.spawn(move || talk(wire, manners, memory, end));
        }
    });
}

/// One connection, as long as the other side wants it.
fn talk(mut wire: Wire, manners: &Manners, memory: &Mutex<Vec<Asked>>, end: &AtomicBool) {
    let remember = |asked: Asked| memory.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    if let Some(forbidden) = manners.socks {
        let _ = read(&mut wire, end, |bytes| bytes.len() >= 3);
        let _ = wire.try_send([5, 0]);
        let Some(request) = read(&mut wire, end, |bytes| bytes.len() >= 10) else { return };
        let port = u16::from_be_bytes([request[request.len() - 2], request[request.len() - 1]]);
        remember((port.to_string(), None));
        let code = if port == forbidden { 2 } else { 0 };
        let _ = wire.try_send([5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        return;
    }
    while let Some(head) = read(&mut wire, end, |bytes| bytes.ends_with(b"\r\n\r\n")) {
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let value = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: ")).map(str::to_owned);
        remember((target.clone(), value.clone()));
        let date = format!("Date: {}\r\n", httpdate::fmt_http_date(SystemTime::now() + manners.ahead));
        let known = manners.challenge.is_none() || (value.is_some() && value.as_deref() == manners.credentials);
        let refusal = manners.refusals.iter().find(|(what, _)| target.contains(what));
        let reply = match (known, refusal, manners.challenge) {
            (false, _, Some(challenge)) => {
                format!("HTTP/1.1 407 Who\r\nProxy-Authenticate: {challenge}\r\n{date}Content-Length: 0\r\n\r\n")
            }
            (_, Some((_, status)), _) => format!("HTTP/1.1 {status}\r\n{date}Content-Length: 0\r\n\r\n"),
            _ => format!("HTTP/1.1 200 OK\r\n{date}\r\n"),
        };
        if wire.try_send(reply).is_err() {
            return;
        }
    }
}

/// Reads until it is enough; nothing where the other side ends before.
fn read(wire: &mut Wire, end: &AtomicBool, enough: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !end.load(Ordering::Relaxed) {
        let mut chunk = [0; 1024];
        match wire.read(&mut chunk, Instant::now() + Duration::from_millis(20)) {
            Ok(0) => return None,
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(why) if why.kind() == std::io::ErrorKind::TimedOut => {}
            Err(_) => return None,
        }
        if enough(&bytes) {
            return Some(bytes);
        }
    }
    None
}
