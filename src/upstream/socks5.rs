//! The SOCKS5 dialogue on a fresh connection: methods, a login where the proxy wants one, the request.
//!
//! Each message waits for the answer to the one before it: some servers drop what comes early.

use std::fmt;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Failure, Opened};
use crate::addr::Target;
use crate::close::{By, Close, End};
use crate::stream::Stream;
use crate::wire::socks5::{self, Method, Parsed, Reply};
use crate::wire::text;

/// The longest reply, with a name as its bound address.
const ROOM: usize = 5 + 255 + 2;

/// Asks for a tunnel to `target`, with user and password at hand where they are given.
/// The caller sets the deadline; when dropped, the connection must not be used again.
///
/// # Errors
/// The proxy refused us or the target, hung up, or spoke something else.
pub(super) async fn open(
    stream: &mut Stream,
    addr: SocketAddr,
    target: &Target<'_>,
    login: Option<(&str, &str)>,
) -> Result<Opened, Failure> {
    let mut dialogue = Dialogue { stream, addr, bytes: Vec::with_capacity(ROOM) };
    let method = dialogue.ask(socks5::greeting(login.is_some()), socks5::method).await?;
    match (method, login) {
        (Method::NoLogin, _) => {}
        (Method::Login, Some((user, password))) => {
            let message = socks5::login(user, password)
                .ok_or_else(|| failed(End::Auth, format_args!("{addr}: user or password is longer than 255 bytes")))?;
            if !dialogue.ask(&message, socks5::accepted).await? {
                return Err(failed(End::Auth, format_args!("{addr} refused the user or the password")));
            }
        }
        (Method::Login, None) => {
            return Err(failed(End::BadReply, format_args!("{addr} chose a login, which was not offered")));
        }
        (Method::Neither, Some(_)) => {
            return Err(failed(End::Auth, format_args!("{addr} takes neither user and password nor nobody")));
        }
        (Method::Neither, None) => {
            return Err(failed(End::Auth, format_args!("{addr} wants a login, and there is none")));
        }
    }
    match dialogue.ask(&socks5::request(target), socks5::reply).await? {
        Reply::Granted => Ok(Opened { status: None, surplus: dialogue.bytes }),
        Reply::Refused(code) => Err(Failure {
            forbidden: socks5::is_forbidden(code),
            unresolved: socks5::may_be_unresolved(code) && matches!(target, Target::Name(..)),
            ..failed(End::Refused, format_args!("{addr} answered {code}, {}", socks5::meaning(code)))
        }),
    }
}

/// Says hello, and nothing else; the proxy itself answers that at once, whatever it thinks of us.
/// The caller sets the deadline.
///
/// # Errors
/// It hung up, or spoke something else.
pub(super) async fn greet(stream: &mut Stream, addr: SocketAddr, with_login: bool) -> Result<(), Failure> {
    let mut dialogue = Dialogue { stream, addr, bytes: Vec::with_capacity(ROOM) };
    dialogue.ask(socks5::greeting(with_login), socks5::method).await.map(drop)
}

fn failed(end: End, why: fmt::Arguments<'_>) -> Failure {
    Failure::new(Close::because(end, By::Upstream, why))
}

struct Dialogue<'a> {
    stream: &'a mut Stream,
    addr: SocketAddr,
    /// Read and not yet understood.
    bytes: Vec<u8>,
}

impl Dialogue<'_> {
    /// Sends a message and takes its answer off `bytes`; what came behind it stays there.
    async fn ask<T>(&mut self, message: &[u8], parse: fn(&[u8]) -> Parsed<T>) -> Result<T, Failure> {
        let addr = self.addr;
        let lost = |error| failed(End::Hangup, format_args!("{addr}: reply in SOCKS5: {error}"));
        self.stream.write_all(message).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        loop {
            match parse(&self.bytes) {
                Parsed::Whole(answer, length) => {
                    self.bytes.drain(..length);
                    return Ok(answer);
                }
                Parsed::Bad => {
                    let shown = text::shown(&self.bytes);
                    let hint = if self.bytes.starts_with(b"H") { "; an HTTP proxy is http://" } else { "" };
                    return Err(failed(End::BadReply, format_args!("{addr}: no SOCKS5 reply, but \"{shown}\"{hint}")));
                }
                Parsed::More => {}
            }
            if self.stream.read_buf(&mut self.bytes).await.map_err(lost)? == 0 {
                let when = if self.bytes.is_empty() { "before" } else { "within" };
                return Err(failed(End::Hangup, format_args!("{addr}: closed {when} a reply in SOCKS5")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Host;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    /// What the proxy waits for, and what it says then.
    type Turn<'a> = (&'a [u8], &'a [u8]);

    /// A dialogue with a proxy that waits for each message and then says its line, in pieces of `piece` bytes.
    async fn with_proxy(script: &[Turn<'_>], login: Option<(&str, &str)>, piece: usize) -> Result<Opened, Failure> {
        let (mut stream, addr, proxying) = proxy(script, piece).await;
        let host = Host::parse(b"a.example").expect("a valid name");
        let outcome = open(&mut stream, addr, &Target::Name(&host, 443), login).await;
        proxying.await.expect("the messages that were wanted");
        outcome
    }

    /// A greeting alone.
    async fn greeted(turn: Turn<'_>, with_login: bool) -> Result<(), Failure> {
        let (mut stream, addr, proxying) = proxy(&[turn], 1).await;
        let outcome = greet(&mut stream, addr, with_login).await;
        proxying.await.expect("the greeting");
        outcome
    }

    async fn proxy(script: &[Turn<'_>], piece: usize) -> (Stream, SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        let (client, proxy) = tokio::join!(TcpStream::connect(addr), listener.accept());
        let stream = Stream::Tcp(client.expect("listening"));
        let mut proxy = proxy.expect("connected").0;
        let script: Vec<_> = script.iter().map(|(wanted, line)| (wanted.to_vec(), line.to_vec())).collect();
        let proxying = tokio::spawn(async move {
            proxy.set_nodelay(true).expect("an option");
            for (wanted, line) in script {
                let mut message = vec![0; wanted.len()];
                proxy.read_exact(&mut message).await.expect("a message");
                assert_eq!(message, wanted);
                for bytes in line.chunks(piece) {
                    proxy.write_all(bytes).await.expect("still read");
                    tokio::task::yield_now().await;
                }
            }
        });
        (stream, addr, proxying)
    }

    const REQUEST: &[u8] = b"\x05\x01\x00\x03\x09a.example\x01\xbb";
    const GRANTED: &[u8] = b"\x05\x00\x00\x03\x05proxy\x04\x38banner";
    const NOBODY: Turn<'_> = (b"\x05\x01\x00", b"\x05\x00");
    const SOMEBODY: Turn<'_> = (b"\x05\x02\x00\x02", b"\x05\x02");
    const LOGIN: &[u8] = b"\x01\x02me\x06secret";

    #[tokio::test]
    async fn a_tunnel_opens_however_the_answers_are_cut_and_keeps_the_surplus() {
        for piece in 1..=GRANTED.len() {
            let opened = with_proxy(&[NOBODY, (REQUEST, GRANTED)], None, piece).await.expect("granted");
            assert_eq!(opened.status, None);
            assert!(b"banner".starts_with(&opened.surplus[..]), "{piece}");
        }
    }

    #[tokio::test]
    async fn the_login_is_shown_only_where_it_is_wanted() {
        let login = Some(("me", "secret"));
        let wanted = [SOMEBODY, (LOGIN, b"\x01\x00"), (REQUEST, GRANTED)];
        assert!(with_proxy(&wanted, login, 1).await.is_ok());
        let unwanted = [(SOMEBODY.0, NOBODY.1), (REQUEST, GRANTED)];
        assert!(with_proxy(&unwanted, login, 1).await.is_ok());
    }

    #[tokio::test]
    async fn who_is_refused_is_told_apart_from_what_is_refused() {
        let login = Some(("me", "secret"));
        let cases: [(&[Turn<'_>], _, _, _); 7] = [
            (&[(NOBODY.0, b"\x05\xff")], None, End::Auth, "wants a login, and there is none"),
            (&[(SOMEBODY.0, b"\x05\xff")], login, End::Auth, "takes neither"),
            (&[SOMEBODY, (LOGIN, b"\x01\x01")], login, End::Auth, "refused the user or the password"),
            (&[NOBODY, (REQUEST, b"\x05\x02\x00\x01")], None, End::Refused, "answered 2, not allowed by its rules"),
            (&[NOBODY, (REQUEST, b"\x05\x05")], None, End::Refused, "answered 5, connection refused"),
            (&[(NOBODY.0, b"\x05\x02")], None, End::BadReply, "was not offered"),
            (
                &[(NOBODY.0, b"HTTP/1.1 400 Bad\r\n")],
                None,
                End::BadReply,
                "no SOCKS5 reply, but \"HTTP/1.1 400 Bad\\r\\n\"; an HTTP proxy is http://",
            ),
        ];
        for (script, login, end, words) in cases {
            let failure = with_proxy(script, login, 100).await.expect_err(words);
            let why = failure.close.error.as_deref().unwrap_or_default();
            assert_eq!(failure.close.end, end, "{why}");
            assert!(why.contains(words) && !why.contains("secret"), "{why}");
            assert!(!failure.unresolved, "{why}");
            assert_eq!(failure.forbidden, words.contains("its rules"), "{why}");
        }
        let unreachable = with_proxy(&[NOBODY, (REQUEST, b"\x05\x04")], None, 1).await.expect_err("unreachable");
        assert!(unreachable.unresolved && unreachable.close.end == End::Refused);
        let long = "p".repeat(256);
        let failure = with_proxy(&[SOMEBODY], Some(("me", &long)), 1).await.expect_err("too long");
        assert_eq!(failure.close.end, End::Auth);
    }

    #[tokio::test]
    async fn whoever_answers_a_greeting_speaks_socks5() {
        for answer in [&b"\x05\x00"[..], b"\x05\x02", b"\x05\xff"] {
            assert!(greeted((SOMEBODY.0, answer), true).await.is_ok(), "{answer:?}");
        }
        for (answer, end) in
            [(&b"HTTP/1.1 400 Bad\r\n"[..], End::BadReply), (b"\x04\x00", End::BadReply), (b"\x05", End::Hangup)]
        {
            let failure = greeted((NOBODY.0, answer), false).await.expect_err("no greeting");
            assert_eq!(failure.close.end, end, "{}", failure.why());
        }
    }

    #[tokio::test]
    async fn a_hangup_says_how_far_it_came() {
        for (script, word) in [
            (&[(NOBODY.0, &b""[..])][..], "before"),
            (&[(NOBODY.0, b"\x05")], "within"),
            (&[NOBODY, (REQUEST, &GRANTED[..6])], "within"),
        ] {
            let close = with_proxy(script, None, 100).await.expect_err("closed").close;
            assert_eq!(close.end, End::Hangup);
            assert!(close.error.expect("a reason").contains(word));
        }
    }
}
