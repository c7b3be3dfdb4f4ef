//! The body of a 407: nobody wants it, but the connection behind it.

use tokio::io::AsyncReadExt;

use crate::stream::Stream;
use crate::wire::reply;

/// The longest body that is worth it, in bytes.
const MAX: usize = 64 * 1024;

/// Reads the body to its end, of which `rest` came with the head; tells whether the connection can be used again.
/// The caller sets the deadline.
pub(super) async fn finish(stream: &mut Stream, head: &[u8], rest: Vec<u8>) -> bool {
    if !reply::keeps_alive(head) || reply::field(head, "transfer-encoding").is_some() {
        return false;
    }
    let Some(length) = reply::field(head, "content-length") else { return false };
    let length = std::str::from_utf8(length).ok().and_then(|length| length.trim().parse().ok());
    let Some(mut left) =
        length.filter(|&length| length <= MAX).and_then(|length: usize| length.checked_sub(rest.len()))
    else {
        return false;
    };
    let mut chunk = [0; 2048];
    while left > 0 {
        let room = left.min(chunk.len());
        match stream.read(&mut chunk[..room]).await {
            Ok(n @ 1..) => left -= n,
            _ => return false,
        }
    }
    true
}
