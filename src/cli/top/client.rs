//! Asks the admin of a running daemon, over TCP or its unix socket; every answer is bounded in size and time.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::facts::Snapshot;
use super::text::clean;
use crate::config::AdminAddr;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A hundred thousand sessions are less.
const MOST: usize = 64 << 20;

/// Whom to ask.
#[derive(Clone, Debug)]
pub(super) struct Client {
    addr: AdminAddr,
}

impl Client {
    pub(super) fn new(addr: AdminAddr) -> Client {
        Client { addr }
    }

    /// Where that is.
    pub(super) fn place(&self) -> String {
        match &self.addr {
            AdminAddr::Tcp(addr) => addr.to_string(),
            AdminAddr::Unix(path) => clean(&path.to_string_lossy()),
        }
    }

    /// All that it tells of sessions.
    pub(super) async fn sessions(&self) -> Result<Snapshot, String> {
        let about = |why: String| format!("{}: {why}", self.place());
        let (status, body) = self.ask(Method::GET, "/sessions").await.map_err(about)?;
        if status != StatusCode::OK {
            return Err(about(format!("GET /sessions: {}", refusal(status, &body))));
        }
        Snapshot::parse(&body).map_err(about)
    }

    /// Ends a session.
    pub(super) async fn kill(&self, id: u64) -> Result<String, String> {
        let (status, body) = self.ask(Method::DELETE, &format!("/sessions/{id}")).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(format!("session {id} has ended already")),
            _ if status.is_success() => Ok(format!("session {id} is killed")),
            _ => Err(refusal(status, &body)),
        }
    }

    async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), String> {
        let asked = async {
            match &self.addr {
                AdminAddr::Tcp(addr) => {
                    let stream = TcpStream::connect(addr).await.map_err(|error| unreached(&error, None))?;
                    talk(stream, method, path, &addr.to_string()).await
                }
                AdminAddr::Unix(socket) => {
                    let stream = UnixStream::connect(socket).await.map_err(|error| unreached(&error, Some(socket)))?;
                    talk(stream, method, path, "localhost").await
                }
            }
        };
        let late = |_| format!("no answer within {}s", PATIENCE.as_secs());
        tokio::time::timeout(PATIENCE, asked).await.map_err(late)?
    }
}

async fn talk<S>(stream: S, method: Method, path: &str, host: &str) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| clean(&told(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // the connection ends with its only request
    let driver = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(header::HOST, host);
    let request = request.header(header::CONNECTION, "close").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    driver.abort();
    let body = body.map_err(|error| format!("read its answer: {}", clean(&error.to_string())))?;
    Ok((status, body.to_bytes()))
}

fn unreached(error: &std::io::Error, socket: Option<&Path>) -> String {
    let hint = match (error.kind(), socket) {
        (std::io::ErrorKind::PermissionDenied, Some(_)) => ", its user and group may, and root",
        (std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused, _) => ", the daemon does not run there",
        _ => "",
    };
    format!("connect: {error}{hint}")
}

/// An error with what is behind it: hyper tells that apart.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", told(source)),
        None => error.to_string(),
    }
}

/// Why something was refused: what the daemon says about it, or else its status.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(2000)]);
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let said = json.as_ref().and_then(|json| json["error"].as_str()).unwrap_or(&text);
    match said.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => clean(line),
        _ => format!("status {}", status.as_u16()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_daemons_words_and_without_controls() {
        let forbidden = StatusCode::FORBIDDEN;
        assert_eq!(refusal(forbidden, b"only over a unix socket\n"), "only over a unix socket");
        assert_eq!(refusal(forbidden, br#"{"error":"not \u001b[31mhere"}"#), "not \\u{1b}[31mhere");
        assert_eq!(refusal(forbidden, b""), "status 403");
    }
}
