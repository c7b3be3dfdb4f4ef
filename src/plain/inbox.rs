//! What has come from one side and was not handed on yet.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What is read at once.
pub(super) const SIZE: usize = 16 * 1024;

/// Bytes in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// 0 <= start <= bytes.len()
    start: usize,
}

impl Inbox {
    /// With these in it.
    pub(super) fn new(bytes: Vec<u8>) -> Inbox {
        Inbox { bytes, start: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `length` bytes are done with.
    pub(super) fn consume(&mut self, length: usize) {
        self.start += length;
        debug_assert!(self.start <= self.bytes.len());
    }

    /// Takes all of it.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }

    /// Gives the memory back, if there is nothing in it.
    pub(super) fn release(&mut self) {
        if self.is_empty() {
            *self = Inbox::default();
        }
    }

    /// Reads once, to behind what is there; 0 is the end.
    pub(super) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        from: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.bytes.drain(..std::mem::take(&mut self.start));
        let held = self.bytes.len();
        if self.bytes.capacity() == held || self.bytes.capacity() < SIZE {
            self.bytes.reserve_exact(if held < SIZE { SIZE - held } else { held });
        }
        let got = ready!(pin!(from.read_buf(&mut self.bytes)).poll(cx))?;
        Poll::Ready(Ok(got))
    }
}
