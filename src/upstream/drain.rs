//! The body of a 407: nobody wants it, but the connection behind it.

use tokio::io::AsyncReadExt;

use crate::stream::Stream;
use crate::wire::body::{Body, Part};
use crate::wire::{fields, response};

/// The longest body that is worth it, in bytes.
const MAX: usize = 64 * 1024;
const READ: usize = 2048;

/// Reads the body to its end, of which `rest` came with the head; tells whether the connection can be used again.
/// The caller sets the deadline.
pub(super) async fn finish(stream: &mut Stream, head: &[u8], mut rest: Vec<u8>) -> bool {
    let Some(mut body) = body(head) else { return false };
    let mut left = MAX;
    loop {
        match body.next(&rest) {
            // what comes behind it was not asked for
            Ok(Part::Done) => return rest.is_empty(),
            Ok(Part::Data(length) | Part::Frame(length) | Part::Trailers(length)) => {
                let Some(less) = left.checked_sub(length) else { return false };
                left = less;
                rest.drain(..length);
            }
            Ok(Part::More) => {
                rest.reserve(READ);
                if rest.len() > left || !matches!(stream.read_buf(&mut rest).await, Ok(1..)) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
}

/// The body of a head behind which another request may follow. Apart, so that no session that is being opened holds
/// the room for the fields.
fn body(head: &[u8]) -> Option<Body> {
    let mut room = fields::room();
    let response = response::parse(head, false, &mut room).ok()?;
    response.keep.then(|| Body::new(response.extent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn can_be_used_again(head: &str, body: &[u8], rest: usize) -> bool {
        let (client, mut proxy) = crate::stream::tests::tcp_pair().await;
        proxy.write_all(&body[rest..]).await.expect("room in the kernel");
        proxy.shutdown().await.expect("open");
        finish(&mut Stream::Tcp(client), head.as_bytes(), body[..rest].to_vec()).await
    }

    #[tokio::test]
    async fn a_body_with_an_end_leaves_its_connection_free() {
        let long = vec![b'x'; MAX];
        let chunks = b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n";
        for rest in [0, 1, 3] {
            assert!(can_be_used_again("HTTP/1.1 407 x\r\nContent-Length: 3\r\n\r\n", b"abc", rest).await);
            assert!(can_be_used_again("HTTP/1.1 407 x\r\nTransfer-Encoding: chunked\r\n\r\n", chunks, rest).await);
        }
        assert!(can_be_used_again("HTTP/1.1 407 x\r\nContent-Length: 65536\r\n\r\n", &long, 0).await);
        assert!(
            can_be_used_again("HTTP/1.0 407 x\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", b"", 0).await
        );
    }

    #[tokio::test]
    async fn a_body_without_an_end_or_too_long_does_not() {
        let long = vec![b'x'; MAX + 1];
        for (head, body, rest) in [
            ("HTTP/1.1 407 x\r\n\r\n", &b"abc"[..], 0),
            ("HTTP/1.1 407 x\r\nConnection: close\r\nContent-Length: 3\r\n\r\n", b"abc", 3),
            ("HTTP/1.0 407 x\r\nContent-Length: 3\r\n\r\n", b"abc", 3),
            ("HTTP/1.1 407 x\r\nContent-Length: 4\r\n\r\n", b"abc", 1),
            ("HTTP/1.1 407 x\r\nContent-Length: 2\r\n\r\n", b"abc", 3),
            ("HTTP/1.1 407 x\r\nContent-Length: 65537\r\n\r\n", &long, 0),
            ("HTTP/1.1 407 x\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n", 0),
        ] {
            assert!(!can_be_used_again(head, body, rest).await, "{head}");
        }
    }
}
