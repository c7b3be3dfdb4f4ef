//! The CONNECT dialogue on a fresh connection: the request, the reply, and not a byte of the client's.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::drain;
use super::failure::{Failure, Fault, unauthenticated};
use crate::addr::Target;
use crate::auth::Conversation;
use crate::close::{By, Close, End};
use crate::stream::Stream;
use crate::wire::answer::{MAX_PAGE, Page};
use crate::wire::reply::{self, MAX_HEAD, Reply};
use crate::wire::{connect, text};

/// How long a refusing upstream may take over its page.
const PAGE_TIME: Duration = Duration::from_secs(1);
/// How long the page of a 407 may take; the verdict in its head must not be lost to a deadline.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// What one read of the reply is asked for: most replies are far shorter.
const READ: usize = 512;
/// More requests than this, and the upstream will never be content.
const MAX_LEGS: u32 = 4;

/// An open tunnel.
#[derive(Debug)]
pub struct Opened {
    /// The 2xx that opened it; SOCKS has none.
    pub status: Option<u16>,
    /// What the upstream sent behind its answer: the origin's first bytes.
    pub surplus: Vec<u8>,
}

/// What one exchange of request and reply came to.
#[derive(Debug)]
pub(super) enum Leg {
    /// The tunnel is open.
    Opened(Opened),
    /// The upstream wants to know who we are, and has closed: the next request goes over a new connection.
    Reconnect,
}

/// The requests that it takes to open one tunnel. The caller sets the deadline; when dropped, the connection must not
/// be used again.
pub(super) struct Legs<'a> {
    target: &'a Target<'a>,
    page: bool,
    challenges: Vec<Vec<u8>>,
    sent: u32,
    /// A request with credentials was not answered.
    unheard: bool,
}

impl<'a> Legs<'a> {
    /// None yet. Where the upstream refuses and `page` is set, its page is read too.
    pub(super) fn new(target: &'a Target<'a>, page: bool) -> Legs<'a> {
        Legs { target, page, challenges: Vec::new(), sent: 0, unheard: false }
    }

    /// Asks, and answers challenges as long as the connection lasts.
    ///
    /// # Errors
    /// The upstream refused, hung up, or spoke something else.
    pub(super) async fn next(
        &mut self,
        stream: &mut Stream,
        addr: SocketAddr,
        mut conversation: Option<&mut Conversation>,
    ) -> Result<Leg, Failure> {
        if let (Some(conversation), true) = (&mut conversation, self.sent > 0) {
            conversation.reconnected();
        }
        loop {
            let request = self.request(addr, conversation.as_deref_mut()).await?;
            let head = match exchange(stream, addr, &request).await {
                // it closed behind its challenge without saying that it would
                Err(failure) if failure.fault == Fault::Stale && self.sent > 0 => {
                    let can = conversation.as_deref_mut().is_some_and(Conversation::unheard);
                    if can && !std::mem::replace(&mut self.unheard, true) {
                        self.sent += 1;
                        return Ok(Leg::Reconnect);
                    }
                    // a proxy that hangs up on credentials may mean it: the next one need not hear them too
                    return Err(Failure::new(failure.close));
                }
                head => head?,
            };
            self.sent += 1;
            let Some(conversation) = &mut conversation else { return self.settled(stream, addr, head).await };
            // tinyproxy refuses credentials as if it were the origin
            if head.status == 401 && conversation.has_told() {
                conversation.refused();
                let failure = unauthenticated(addr, &"credentials refused: answered 401, as if it were the origin");
                return Err(Failure { status: Some(401), ..failure });
            }
            if head.status != 407 {
                conversation.answered(head.status);
                return self.settled(stream, addr, head).await;
            }
            if self.sent == MAX_LEGS {
                let why = format_args!("still asks who we are after {MAX_LEGS} requests");
                return Err(Failure { status: Some(407), ..unauthenticated(addr, &why) });
            }
            self.challenges = reply::fields(&head.head, "proxy-authenticate");
            let drained = tokio::time::timeout(DRAIN_TIME, drain::finish(stream, &head.head, head.rest));
            if !drained.await.unwrap_or(false) {
                if !conversation.is_bound() {
                    return Ok(Leg::Reconnect);
                }
                // the challenge says whether it is a refusal
                self.request(addr, Some(conversation)).await?;
                let why = "closes the connection to which it wants the credentials bound (NTLM or Negotiate)";
                return Err(unauthenticated(addr, &why));
            }
        }
    }

    async fn request(
        &self,
        addr: SocketAddr,
        conversation: Option<&mut Conversation>,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let Some(conversation) = conversation else { return Ok(Zeroizing::new(connect::request(self.target, None))) };
        let challenges: Vec<&[u8]> = self.challenges.iter().map(Vec::as_slice).collect();
        let answer = conversation.answer("CONNECT", &self.target.to_string(), &challenges).await;
        let answer = answer.map_err(|refusal| {
            let status = (self.sent > 0).then_some(407);
            Failure { status, ..unauthenticated(addr, &refusal) }
        })?;
        let credentials = answer.as_ref().map_or("", |answer| answer.as_str());
        Ok(Zeroizing::new(connect::request(self.target, Some(credentials))))
    }

    /// The last word of the upstream.
    async fn settled(&self, stream: &mut Stream, addr: SocketAddr, head: Head) -> Result<Leg, Failure> {
        if (200..300).contains(&head.status) {
            return Ok(Leg::Opened(Opened { status: Some(head.status), surplus: head.rest }));
        }
        Err(refused(stream, addr, head, self.page).await)
    }
}

/// Asks without credentials, and returns the status of the reply and its head.
///
/// # Errors
/// The upstream hung up, or spoke something else.
pub(super) async fn ask_once(
    stream: &mut Stream,
    addr: SocketAddr,
    target: &Target<'_>,
) -> Result<(u16, Vec<u8>), Failure> {
    let head = exchange(stream, addr, &connect::request(target, None)).await?;
    Ok((head.status, head.head))
}

/// A head that is no interim one, and what came behind it.
struct Head {
    status: u16,
    head: Vec<u8>,
    rest: Vec<u8>,
}

/// Sends a request and reads the head of its reply.
async fn exchange(stream: &mut Stream, addr: SocketAddr, request: &[u8]) -> Result<Head, Failure> {
    let mut heads = 0;
    let mut seen = 0;
    let mut bytes = Vec::new();
    let lost = |error: std::io::Error, so_far: usize| {
        let why = format_args!("{addr}: reply to CONNECT: {error}");
        hangup(Close::because(End::Hangup, By::Upstream, why), so_far)
    };
    let sending = async {
        stream.write_all(request).await?;
        stream.flush().await
    };
    sending.await.map_err(|error| lost(error, 0))?;
    bytes.reserve(READ);
    loop {
        let (status, length) = match reply::scan(&bytes, seen) {
            Reply::Head { status, length } => (status, length),
            Reply::Bad => {
                let shown = text::shown(&bytes);
                return Err(bad(format_args!("{addr}: no HTTP reply to CONNECT, but \"{shown}\"")));
            }
            Reply::More if heads + bytes.len() >= MAX_HEAD => {
                return Err(bad(format_args!("{addr}: no end of the reply to CONNECT within {MAX_HEAD} bytes")));
            }
            Reply::More => {
                seen = bytes.len();
                bytes.reserve(READ);
                if stream.read_buf(&mut bytes).await.map_err(|error| lost(error, heads + seen))? == 0 {
                    let when = if heads + seen == 0 { "before" } else { "within" };
                    let why = format_args!("{addr}: closed {when} its reply to CONNECT");
                    return Err(hangup(Close::because(End::Hangup, By::Upstream, why), heads + seen));
                }
                continue;
            }
        };
        if status >= 200 {
            let rest = bytes.split_off(length);
            return Ok(Head { status, head: bytes, rest });
        }
        heads += length;
        bytes.drain(..length);
        seen = 0;
    }
}

/// A connection that ended before a byte of the reply may have been over before the request.
fn hangup(close: Close, so_far: usize) -> Failure {
    let fault = if so_far == 0 { Fault::Stale } else { Fault::Proxy };
    Failure { fault, ..Failure::new(close) }
}

fn bad(why: std::fmt::Arguments<'_>) -> Failure {
    Failure::new(Close::because(End::BadReply, By::Upstream, why)).of_proxy()
}

async fn refused(stream: &mut Stream, addr: SocketAddr, head: Head, page: bool) -> Failure {
    let Head { status, head, rest } = head;
    let why = text::shown(reply::status_text(&head));
    let says = |name, what: &str| {
        reply::field(&head, name)
            .is_some_and(|value| String::from_utf8_lossy(value).to_ascii_lowercase().contains(what))
    };
    let advice = if status == 407 { "; it wants credentials, and auth is none" } else { "" };
    let close = Close::because(End::Refused, By::Upstream, format_args!("{addr} answered {why}{advice}"));
    Failure {
        status: Some(status),
        forbidden: matches!(status, 403 | 405 | 501),
        page: if page { read_page(stream, &head, rest).await } else { None },
        // squid's own field, and RFC 9209 section 2.3.2
        unresolved: says("x-squid-error", "err_dns_fail") || says("proxy-status", "error=dns_error"),
        ..Failure::new(close)
    }
}

/// The upstream's page, if it is text that can be passed on as it stands.
async fn read_page(stream: &mut Stream, head: &[u8], mut body: Vec<u8>) -> Option<Page> {
    let kind = reply::field(head, "content-type")?.to_ascii_lowercase();
    let html = kind.starts_with(b"text/html");
    let coded = ["transfer-encoding", "content-encoding"].iter().any(|name| reply::field(head, name).is_some());
    if coded || !(html || kind.starts_with(b"text/plain")) {
        return None;
    }
    let length = match reply::field(head, "content-length") {
        Some(length) => std::str::from_utf8(length).ok()?.trim().parse().ok()?,
        None => MAX_PAGE,
    };
    let length = length.min(MAX_PAGE);
    let reading = async {
        while body.len() < length {
            body.reserve(READ);
            if !matches!(stream.read_buf(&mut body).await, Ok(1..)) {
                break;
            }
        }
    };
    // what came in time is what is shown
    let _ = tokio::time::timeout(PAGE_TIME, reading).await;
    body.truncate(length);
    Some(Page { html, charset: charset(&kind), body })
}

/// The charset of a lower-case media type, if it is a plain word.
fn charset(kind: &[u8]) -> Option<String> {
    let (_, charset) = std::str::from_utf8(kind).ok()?.split_once("charset=")?;
    let charset = charset.trim_matches('"');
    let plain = charset.len() <= 40 && charset.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (plain && !charset.is_empty()).then(|| charset.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Account;
    use crate::config::{Credentials, Scheme, Secret, UpstreamHost};
    use std::sync::Arc;
    use tokio::net::{TcpListener, TcpStream};

    /// What becomes of a CONNECT that is answered with these pieces, then closed.
    async fn answered(pieces: &[&[u8]]) -> Result<Opened, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        let mut client = Stream::Tcp(TcpStream::connect(addr).await.expect("listening"));
        let (mut proxy, _) = listener.accept().await.expect("connected");
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|p| p.to_vec()).collect();
        tokio::spawn(async move {
            let mut request = [0; 1024];
            assert!(proxy.read(&mut request).await.expect("a request") > 0);
            for piece in pieces {
                proxy.write_all(&piece).await.expect("still read");
                tokio::task::yield_now().await;
            }
        });
        let target = Target::Addr("203.0.113.9:443".parse().expect("an address"));
        match Legs::new(&target, true).next(&mut client, addr, None).await? {
            Leg::Opened(opened) => Ok(opened),
            Leg::Reconnect => panic!("nobody asked who we are"),
        }
    }

    #[tokio::test]
    async fn every_cut_of_a_reply_opens_the_tunnel_and_keeps_the_surplus() {
        let reply = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\nA: b\n\nHTTP/1.0 299 Yes\r\nContent-Length: 5\r\n\r\nbanner";
        for cut in 0..=reply.len() {
            let opened = answered(&[&reply[..cut], &reply[cut..]]).await.expect("2xx");
            assert_eq!(opened.status, Some(299), "{cut}");
            assert!(b"banner".starts_with(&opened.surplus[..]), "{cut}");
        }
    }

    #[tokio::test]
    async fn a_refusal_brings_its_page_and_its_reason_escaped() {
        let failure = answered(&[
            b"HTTP/1.1 403 No\x1b[31m\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 6\r\n\r\n<p>",
            b"no!surplus",
        ])
        .await
        .expect_err("403");
        assert_eq!((failure.close.end, failure.status), (End::Refused, Some(403)));
        assert!(failure.close.error.expect("a reason").ends_with("answered 403 No\\x1b[31m"));
        assert_eq!(
            failure.page,
            Some(Page { html: true, charset: Some("utf-8".to_owned()), body: b"<p>no!".to_vec() })
        );
    }

    /// Tells what becomes of a CONNECT with credentials at a proxy that says `answers` over one connection after the
    /// other, each list in turn, and closes a connection when its list is at an end, if `closes`. With the credentials
    /// that came.
    async fn asked(
        scheme: Scheme,
        answers: &[&[&str]],
        closes: bool,
    ) -> (Result<Opened, Failure>, Vec<String>, Arc<Account>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        let answers: Vec<Vec<String>> = answers.iter().map(|a| a.iter().map(|a| (*a).to_owned()).collect()).collect();
        let proxy = tokio::spawn(async move {
            let mut came = Vec::new();
            let mut open = Vec::new();
            for answers in answers {
                let (mut client, _) = listener.accept().await.expect("connected");
                for answer in answers {
                    let mut request = [0; 2048];
                    let length = client.read(&mut request).await.expect("a request");
                    let request = String::from_utf8_lossy(&request[..length]).into_owned();
                    let value = request.split("Proxy-Authorization: ").nth(1);
                    came.push(value.map_or(String::new(), |v| v.lines().next().unwrap_or_default().to_owned()));
                    client.write_all(answer.as_bytes()).await.expect("still read");
                }
                open.push(client);
                if closes {
                    open.clear();
                }
            }
            (came, open)
        });
        let password = Some(Secret::new("geheim".to_owned()));
        let credentials = Credentials { user: "me".to_owned(), password, keytab: None };
        let account = Arc::new(Account::new("corp", &[scheme], &credentials));
        let mut conversation = account.begin(&UpstreamHost::Ip(addr.ip()), "proxy").await.expect("not held");
        let target = Target::Addr("203.0.113.9:443".parse().expect("an address"));
        let mut legs = Legs::new(&target, false);
        let outcome = loop {
            let mut client = Stream::Tcp(TcpStream::connect(addr).await.expect("listening"));
            match legs.next(&mut client, addr, Some(&mut conversation)).await {
                Ok(Leg::Opened(opened)) => break Ok(opened),
                Ok(Leg::Reconnect) => {}
                Err(failure) => break Err(failure),
            }
        };
        let (came, _open) = proxy.await.expect("no panic");
        (outcome, came, account)
    }

    const DIGEST: &str = "HTTP/1.1 407 No\r\nProxy-Authenticate: Digest realm=\"r\", qop=\"auth\", nonce=\"n\"\r\n\
        Content-Length: 0\r\n\r\n";

    #[tokio::test]
    async fn a_proxy_that_closes_behind_its_challenge_has_refused_nothing() {
        let (outcome, came, account) = asked(Scheme::Digest, &[&[DIGEST], &["HTTP/1.1 200 OK\r\n\r\n"]], true).await;
        assert_eq!(outcome.expect("2xx").status, Some(200));
        assert!(came[0].is_empty() && came[1].starts_with("Digest "), "{came:?}");
        assert_eq!(account.held(), None);
    }

    #[tokio::test]
    async fn a_proxy_that_hangs_up_on_credentials_hears_them_twice_at_most() {
        let (outcome, came, account) = asked(Scheme::Digest, &[&[DIGEST, ""], &[""]], true).await;
        let failure = outcome.expect_err("closed");
        assert_eq!((failure.close.end, failure.fault), (End::Hangup, Fault::Final));
        assert_eq!(came.iter().filter(|came| came.starts_with("Digest ")).count(), 2, "{came:?}");
        assert_eq!(account.held(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_counts_whatever_its_page_does() {
        let endless = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"r\"\r\nContent-Length: 9\r\n\r\nno";
        for last in [endless, "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nConnection: close\r\n\r\n"] {
            let start = tokio::time::Instant::now();
            let (outcome, came, account) = asked(Scheme::Basic, &[&[last], &[]], false).await;
            assert!(start.elapsed() <= DRAIN_TIME);
            assert_eq!(outcome.expect_err("refused").close.end, End::Auth);
            assert_eq!(came, ["Basic bWU6Z2VoZWlt"]);
            assert!(account.held().is_some());
        }
    }

    #[tokio::test]
    async fn an_upstream_that_cannot_resolve_says_so_in_a_field() {
        for head in [
            &b"HTTP/1.1 503 x\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\n\r\n"[..],
            b"HTTP/1.1 502 x\r\nProxy-Status: p; error=dns_error\r\n\r\n",
        ] {
            assert!(answered(&[head]).await.expect_err("refused").unresolved);
        }
        assert!(!answered(&[b"HTTP/1.1 503 x\r\n\r\n"]).await.expect_err("refused").unresolved);
    }

    #[tokio::test]
    async fn endless_heads_are_given_up_after_their_limit() {
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(4000);
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(20_000)].concat();
        for bytes in [interim, endless] {
            assert_eq!(answered(&[&bytes]).await.expect_err("too long").close.end, End::BadReply);
        }
    }

    #[tokio::test]
    async fn a_hangup_says_how_far_it_came() {
        for (piece, word) in [(&b""[..], "before"), (b"HTTP/1.1 200 OK\r\n", "within")] {
            let close = answered(&[piece]).await.expect_err("closed").close;
            assert_eq!(close.end, End::Hangup);
            assert!(close.error.expect("a reason").contains(word));
        }
        assert_eq!(answered(&[b"SSH-2.0"]).await.expect_err("not HTTP").close.end, End::BadReply);
    }
}
