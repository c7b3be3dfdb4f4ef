//! A proxy that answers by policy, and plays the origins behind it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::stage::LONG;
use crate::support::topology::{Topology, UPSTREAM};
use crate::support::wire::Wire;

/// How the proxy answers.
#[derive(Clone, Copy, Default)]
pub(super) struct Policy {
    /// What CONNECT must carry in Proxy-Authorization.
    pub(super) credentials: Option<&'static str>,
    /// Whether tunnels for port 80 are refused.
    pub(super) refuses_plain: bool,
}

/// The proxy, which plays the origins too.
/// Serves until it is over, and writes down what it is asked for.
pub(super) fn serve(net: &Topology, policy: Policy, asked: &Arc<Mutex<Vec<String>>>, over: &Arc<AtomicBool>) {
    let (listener, asked, over) = (net.upstream.listen(UPSTREAM), asked.clone(), over.clone());
    thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            if let Some(wire) = listener.accept_within(Duration::from_millis(100)) {
                let asked = asked.clone();
                thread::spawn(move || tunnel(wire, policy, &asked));
            }
        }
    });
}

fn tunnel(mut wire: Wire, policy: Policy, asked: &Mutex<Vec<String>>) {
    let Some(head) = heard(&mut wire, b"\r\n\r\n") else { return };
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().expect("nobody panics with it").push(target.clone());
    let known = policy.credentials.is_none_or(|wanted| head.contains(&format!("Proxy-Authorization: {wanted}\r\n")));
    let refused = if !known {
        "407 Authenticate\r\nProxy-Authenticate: Basic realm=\"lab\""
    } else if policy.refuses_plain && target.ends_with(":80") {
        "403 Forbidden"
    } else {
        ""
    };
    if !refused.is_empty() {
        let _ = wire.try_send(format!("HTTP/1.1 {refused}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        return;
    }
    let _ = wire.try_send("HTTP/1.1 200 OK\r\n\r\n");
    if target.ends_with(":80") {
        if heard(&mut wire, b"\r\n\r\n").is_some() {
            let _ = wire.try_send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
    } else if heard(&mut wire, b"").is_some() {
        // the beginning of a server's handshake
        let _ = wire.try_send([22, 3, 3, 0, 4, 2, 0, 0, 0]);
        thread::sleep(Duration::from_millis(100));
    }
}

/// What came up to a mark, or at all; nothing if the other side ends before that.
fn heard(wire: &mut Wire, mark: &[u8]) -> Option<String> {
    let mut bytes = Vec::new();
    let deadline = Instant::now() + LONG;
    loop {
        let mut buffer = [0; 4096];
        match wire.read(&mut buffer, deadline) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
        if mark.is_empty() || bytes.windows(mark.len()).any(|window| window == mark) {
            return Some(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
