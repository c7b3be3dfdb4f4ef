//! Asks the admin of a running daemon, over TCP or its unix socket; every answer is bounded in size and time.

use std::path::Path;
use std::time::Duration;
use std::{fmt, io};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::AdminAddr;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to see whether the queue of a socket has room.
const AGAIN: Duration = Duration::from_millis(50);
/// A hundred thousand sessions are less.
const MOST: usize = 64 << 20;

/// Why there is no answer. What others said is in it as they said it.
#[derive(Debug)]
pub(super) enum Unheard {
    /// Nobody could be connected to.
    Unreached(io::Error),
    /// What came is no answer of HTTP, or not the whole of one.
    Broken(String),
    /// Nothing came in time.
    Late,
}

impl Unheard {
    /// Why nobody could be connected to.
    pub(super) fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Unheard::Unreached(error) => Some(error.kind()),
            _ => None,
        }
    }
}

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unheard::Unreached(error) => write!(f, "connect: {error}"),
            Unheard::Broken(why) => f.write_str(why),
            Unheard::Late => write!(f, "no answer within {}s", PATIENCE.as_secs()),
        }
    }
}

/// Asks for one page of it.
pub(super) async fn ask(addr: &AdminAddr, method: Method, path: &str) -> Result<(StatusCode, Bytes), Unheard> {
    let asked = async {
        match addr {
            AdminAddr::Tcp(addr) => {
                let stream = TcpStream::connect(addr).await.map_err(Unheard::Unreached)?;
                talk(stream, method, path, &addr.to_string()).await
            }
            AdminAddr::Unix(socket) => {
                let stream = connect(socket).await.map_err(Unheard::Unreached)?;
                talk(stream, method, path, "localhost").await
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| Unheard::Late)?
}

/// Connects, also to one at which others wait already: it would be said at once that its queue is full (man 7 unix).
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(AGAIN).await,
            connected => return connected,
        }
    }
}

async fn talk<S>(stream: S, method: Method, path: &str, host: &str) -> Result<(StatusCode, Bytes), Unheard>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| Unheard::Broken(told(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // the connection ends with its only request
    let driver = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(header::HOST, host);
    let request = request.header(header::CONNECTION, "close").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| Unheard::Broken(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    driver.abort();
    let body = body.map_err(|error| Unheard::Broken(format!("read its answer: {error}")))?;
    Ok((status, body.to_bytes()))
}

/// An error with what is behind it: hyper tells that apart.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", told(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    #[tokio::test]
    async fn a_queue_that_is_full_is_waited_for() {
        let path = std::env::temp_dir().join(format!("handyproxy-ask-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let at = SockAddr::unix(&path).expect("a short path");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        listener.bind(&at).expect("it is free");
        listener.listen(0).expect("it is bound");
        let clients: Vec<Socket> = std::iter::from_fn(|| {
            let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).expect("a socket");
            client.connect(&at).is_ok().then_some(client)
        })
        .collect();
        let addr = AdminAddr::Unix(path.clone());
        let mut asking = std::pin::pin!(ask(&addr, Method::GET, "/readyz"));
        let early = tokio::time::timeout(AGAIN, &mut asking).await;
        assert!(early.is_err(), "{early:?}");
        let waiting = clients.len();
        let serving = std::thread::spawn(move || {
            let accepted: Vec<Socket> = (0..waiting).map(|_| listener.accept().expect("a client").0).collect();
            let mut asker = listener.accept().expect("who asks").0;
            let _ = asker.read(&mut [0; 1000]).expect("a request");
            asker.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n").expect("who reads");
            drop(accepted);
        });
        let (status, body) = asking.await.expect("an answer");
        assert_eq!((status, &body[..]), (StatusCode::OK, &b"ready\n"[..]));
        serving.join().expect("it has served");
        std::fs::remove_file(&path).expect("our own");
    }
}
