//! A name server that knows no name: for one that is not in its hosts file, squid asks, and must not wait for the answer.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::lab::support::netns::Netns;

/// Says NXDOMAIN to every question until it is dropped.
pub(crate) struct Resolver {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    /// Starts it in this namespace.
    pub(crate) fn start(ns: &Netns) -> Self {
        let socket = ns.enter(|| UdpSocket::bind("127.0.0.1:53")).expect("nothing else listens in a new namespace");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("not zero");
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut question = [0; 512];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((n @ 12.., from)) = socket.recv_from(&mut question) {
                    // a client that is gone does not matter
                    let _ = socket.send_to(&no_such_name(&question[..n]), from);
                }
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The question again as an answer with RCODE 3 and no record, RFC 1035 section 4.1.1.
fn no_such_name(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x83]);
    answer[6..12].fill(0);
    answer
}
