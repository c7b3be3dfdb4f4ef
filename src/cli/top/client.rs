//! What top asks of a running daemon, and its answers made fit to be shown.

use std::io::ErrorKind;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};

use super::super::ask::{Unheard, ask};
use super::facts::Snapshot;
use super::text::clean;
use crate::config::AdminAddr;

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
        let hint = |unheard: &Unheard| match (unheard.kind(), &self.addr) {
            (Some(ErrorKind::PermissionDenied), AdminAddr::Unix(_)) => ", its user and group may, and root",
            (Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused), _) => ", the daemon does not run there",
            _ => "",
        };
        ask(&self.addr, method, path).await.map_err(|unheard| clean(&format!("{unheard}{}", hint(&unheard))))
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
