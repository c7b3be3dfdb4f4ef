//! Accepts while there are seats and descriptors. Out of either it waits, says so once, and comes back
//! by itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

use super::pulse::Pulse;
use super::seats::{Seats, Shortage};

/// How long to leave a machine alone that is out of something.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(200);
/// There is room again when nobody has come for this long who would take the free seat.
const CALM: Duration = Duration::from_secs(1);

/// Accepts for ever. `start` begins the rest of a connection's life, in a task of its own. `pulse` tells that it still
/// does.
pub(super) async fn accept<F>(listener: TcpListener, seats: Arc<Seats>, mut pulse: Pulse, start: F)
where
    F: Fn(TcpStream, SocketAddr, OwnedSemaphorePermit),
{
    let mut room = Room { seats: &seats, short_at: None };
    loop {
        let seat = pulse.beside(take(&seats, &mut room)).await;
        let accepted = if room.short_at.is_some() {
            match pulse.beside(tokio::time::timeout(CALM, listener.accept())).await {
                Ok(accepted) => accepted,
                Err(_) => {
                    room.is_back();
                    pulse.beside(listener.accept()).await
                }
            }
        } else {
            pulse.beside(listener.accept()).await
        };
        match accepted {
            Ok((client, peer)) => {
                // the seat may have been taken away meanwhile
                let seat = match seats.keep(seat) {
                    Some(seat) => seat,
                    None => pulse.beside(take(&seats, &mut room)).await,
                };
                if seats.free.available_permits() > seats.count() / 8 {
                    room.is_back();
                }
                start(client, peer, seat);
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => {
                room.ends(Shortage::Failed, &format!("accept: {error}; further clients wait"));
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
        }
    }
}

/// Waits for a seat.
async fn take(seats: &Seats, room: &mut Room<'_>) -> OwnedSemaphorePermit {
    loop {
        let seat = match seats.free.clone().try_acquire_owned() {
            Ok(seat) => seat,
            Err(_) => {
                let why = "every seat is taken, further clients wait; see -max-sessions and the descriptor limit";
                room.ends(Shortage::Full, why);
                seats.free.clone().acquire_owned().await.expect("nobody closes the semaphore")
            }
        };
        if let Some(seat) = seats.keep(seat) {
            return seat;
        }
    }
}

/// Whether there is room for more clients: one line per change.
struct Room<'a> {
    seats: &'a Seats,
    /// When there was none last, if that is not over.
    short_at: Option<Instant>,
}

impl Room<'_> {
    fn ends(&mut self, of: Shortage, why: &str) {
        if self.short_at.replace(Instant::now()).is_none() {
            self.seats.are_short(of);
            tracing::warn!("{why}");
        }
    }

    fn is_back(&mut self) {
        if self.short_at.is_some_and(|at| at.elapsed() >= CALM) {
            self.short_at = None;
            self.seats.are_enough();
            tracing::info!("there is room for clients, accepting again");
        }
    }
}

/// A client that left before it was accepted is no reason to wait.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::super::pulse::pulse;
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        (listener, addr)
    }

    /// A life that says `hi`, unless the client says `!`: then it panics.
    async fn greet(mut client: TcpStream, seat: OwnedSemaphorePermit) {
        let mut byte = [0];
        client.read_exact(&mut byte).await.expect("a byte");
        assert_ne!(byte, *b"!", "as asked");
        client.write_all(b"hi").await.expect("still read");
        drop(seat);
    }

    async fn ask(addr: SocketAddr, byte: u8) -> Vec<u8> {
        let mut client = TcpStream::connect(addr).await.expect("listening");
        client.write_all(&[byte]).await.expect("accepted");
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_panic_in_one_session_ends_that_session_only() {
        let (listener, addr) = listener().await;
        let seats = Arc::new(Seats::new(2, 100));
        let accepting =
            tokio::spawn(accept(listener, seats.clone(), pulse().1, |c, _, seat| drop(tokio::spawn(greet(c, seat)))));
        assert_eq!(ask(addr, b'!').await, b"");
        assert_eq!(ask(addr, b'!').await, b"");
        assert_eq!(ask(addr, b'?').await, b"hi");
        accepting.abort();
        let _ = accepting.await;
        assert_eq!(seats.free.available_permits(), 2, "a seat was lost to a panic");
    }

    #[tokio::test]
    async fn clients_wait_for_a_seat() {
        let (listener, addr) = listener().await;
        let (finger, pulse) = pulse();
        let seats = Arc::new(Seats::new(1, 100));
        let accepting = tokio::spawn(accept(listener, seats, pulse, |c, _, seat| drop(tokio::spawn(greet(c, seat)))));
        assert!(finger.feel().await, "it waits for a client");
        let mut first = TcpStream::connect(addr).await.expect("listening");
        tokio::task::yield_now().await;
        let second = ask(addr, b'?');
        tokio::pin!(second);
        tokio::select! {
            _ = &mut second => panic!("served without a seat"),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        assert!(finger.feel().await, "to wait for a seat is no failure");
        first.write_all(b"?").await.expect("accepted");
        assert_eq!(second.await, b"hi");
        accepting.abort();
    }

    #[tokio::test]
    async fn a_loop_that_hangs_does_not_answer_and_one_that_ended_says_so() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.set_nonblocking(true).expect("a socket");
        let addr = listener.local_addr().expect("bound");
        let (finger, pulse) = pulse();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        // a runtime of its own, since all of it hangs
        let hanging = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a runtime");
                let accepting = accept(listener, Arc::new(Seats::new(9, 100)), pulse, move |c, _, seat| {
                    // as a call to the kernel that does not come back
                    let _ = wait.recv();
                    tokio::spawn(greet(c, seat));
                });
                tokio::select! {
                    () = accepting => {}
                    _ = stopped => {}
                }
            });
        });
        assert!(finger.feel().await);
        let _client = TcpStream::connect(addr).await.expect("listening");
        let limit = Duration::from_millis(300);
        // the connection may take a moment to be accepted
        while tokio::time::timeout(limit, finger.feel()).await.is_ok() {}
        go_on.send(()).expect("it waits");
        assert_eq!(tokio::time::timeout(Duration::from_secs(30), finger.feel()).await, Ok(true));
        drop(stop);
        hanging.join().expect("it has ended");
        assert!(!finger.feel().await);
    }
}
