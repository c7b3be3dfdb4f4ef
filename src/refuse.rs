//! The bad news in a form that the client can read: a page for HTTP, an alert for TLS, a reset for all else.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::sys::socket;

/// How long a client is read on after the bad news: closing on bytes that nobody read would be a reset, and the
/// client would not see the news. It has no bound in bytes: a fast upload would pass it before the news is read.
const LINGER: Duration = Duration::from_secs(2);

/// Sends `news`, or resets the connection if there is none that the client could read.
pub async fn refuse(mut client: TcpStream, news: Option<Vec<u8>>) {
    let Some(news) = news else {
        socket::abort_on_close(&client);
        return;
    };
    let telling = async {
        client.write_all(&news).await?;
        socket::finish(&client);
        let mut unread = vec![0; 2048];
        while client.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    // a client that went away, or does not end, has had its chance
    let _ = tokio::time::timeout(LINGER, telling).await;
}
