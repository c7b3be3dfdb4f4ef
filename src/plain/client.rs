//! A client, and the taps that see what it says and is told. They stand on this side, so that they see no
//! credentials of ours.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::format::Dir;
use crate::tap::Tapped;

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    tcp: TcpStream,
    tap: Option<Tapped>,
}

impl Client {
    /// A connection, and who sees it.
    pub fn new(tcp: TcpStream, tap: Option<Tapped>) -> Client {
        Client { tcp, tap }
    }

    /// For its options; bytes are not to be read or written by it.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The connection, for whoever goes on with it; what is told it from now on is nobody's to see.
    pub(super) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    /// What was read of it before, and whether it has ended its side.
    pub(super) fn began(&self, bytes: &[u8], ended: bool) {
        self.said(bytes);
        if ended {
            self.ended();
        }
    }

    fn said(&self, bytes: &[u8]) {
        if let Some(tap) = &self.tap {
            tap.copied(Dir::Up, bytes);
            if !bytes.is_empty() {
                tap.sent(Dir::Up, bytes.len());
            }
        }
    }

    fn ended(&self) {
        if let Some(tap) = &self.tap {
            tap.ended(Dir::Up);
            tap.sent(Dir::Up, 0);
        }
    }

    fn told(&self, bytes: &[u8]) {
        if let (Some(tap), false) = (&self.tap, bytes.is_empty()) {
            tap.copied(Dir::Down, bytes);
            tap.sent(Dir::Down, bytes.len());
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let client = self.get_mut();
        if let Some(tap) = &client.tap {
            ready!(tap.poll_room(cx));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut client.tcp).poll_read(cx, buffer))?;
        match &buffer.filled()[before..] {
            [] => client.ended(),
            bytes => client.said(bytes),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let client = self.get_mut();
        if let Some(tap) = &client.tap {
            ready!(tap.poll_room(cx));
        }
        let wrote = ready!(Pin::new(&mut client.tcp).poll_write(cx, bytes))?;
        client.told(&bytes[..wrote]);
        Poll::Ready(Ok(wrote))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let client = self.get_mut();
        if let Some(tap) = &client.tap {
            ready!(tap.poll_room(cx));
        }
        let wrote = ready!(Pin::new(&mut client.tcp).poll_write_vectored(cx, pieces))?;
        if client.tap.is_some() {
            let mut left = wrote;
            for piece in pieces {
                let part = &piece[..piece.len().min(left)];
                client.told(part);
                left -= part.len();
            }
        }
        Poll::Ready(Ok(wrote))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
