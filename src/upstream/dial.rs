//! A TCP connection to one of several addresses: each is tried in turn, the next one a little later
//! while the ones before it are still trying (RFC 8305 section 5).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::sys::socket;

/// RFC 8305 section 8: Connection Attempt Delay.
const HEAD_START: Duration = Duration::from_millis(250);

/// Why an address could not be connected to.
#[derive(Debug)]
pub(super) struct Undialled {
    addr: SocketAddr,
    pub(super) error: io::Error,
}

impl fmt::Display for Undialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dial {}: {}", self.addr, self.error)
    }
}

/// Connects to one of `addrs`, which is not empty. The error is that of the last one that failed.
pub(super) async fn any(
    addrs: &[SocketAddr],
    mark: u32,
    keepalive: Option<Duration>,
) -> Result<(TcpStream, SocketAddr), Undialled> {
    if let [only] = addrs {
        return one(*only, mark, keepalive).await;
    }
    let mut waiting = addrs.iter().copied();
    let mut attempts = JoinSet::new();
    let mut failed = None;
    loop {
        if let Some(addr) = waiting.next() {
            attempts.spawn(one(addr, mark, keepalive));
        }
        let outcome = tokio::select! {
            outcome = attempts.join_next() => outcome,
            () = tokio::time::sleep(HEAD_START), if waiting.len() > 0 => continue,
        };
        match outcome {
            Some(Ok(Ok(connected))) => return Ok(connected),
            Some(Ok(Err(undialled))) => failed = Some(undialled),
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            None => return Err(failed.expect("addrs is not empty, so the last attempt has failed")),
        }
    }
}

async fn one(addr: SocketAddr, mark: u32, keepalive: Option<Duration>) -> Result<(TcpStream, SocketAddr), Undialled> {
    let connected = match socket::dialler(addr, mark, keepalive) {
        Ok(dialler) => dialler.connect(addr).await,
        Err(error) => Err(error),
    };
    connected.map(|stream| (stream, addr)).map_err(|error| Undialled { addr, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listener() -> (tokio::net::TcpListener, SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        (listener, addr)
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next() {
        let (listener, good) = listener().await;
        let (closed, bad) = self::listener().await;
        drop(closed);
        let (_, reached) = any(&[bad, bad, good], 0, None).await.expect("the third answers");
        assert_eq!(reached, good);
        drop(listener);
        let error = any(&[bad, good], 0, None).await.expect_err("none answers");
        assert_eq!(error.error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
