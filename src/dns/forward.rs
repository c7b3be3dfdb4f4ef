//! Questions to other servers: one after the other until one answers, over TCP what does not fit into a datagram.
//!
//! Each question has an id and a port of its own, both random, and only the answer to it from where it was sent
//! counts (RFC 5452). Sockets carry the mark, so that rules leave them alone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::sys::{datagram, socket};
use crate::wire::dns::{Query, Rcode, rcode, replies_to};

/// How long one server is waited for.
const EACH: Duration = Duration::from_millis(1500);
/// How long all of them together: clients ask again after five seconds.
const ALL: Duration = Duration::from_millis(4500);
/// How often each is asked.
const ROUNDS: usize = 2;
/// More than any server sends without being asked for it.
const DATAGRAM: usize = 4096;

/// The reply of the first server that has one. One that fails or refuses is taken only if all do.
///
/// # Errors
/// What became of the last one, for people.
pub(super) async fn ask(query: &Query, servers: &[SocketAddr], mark: u32) -> Result<Vec<u8>, String> {
    let end = Instant::now() + ALL;
    let mut poor = None;
    let mut why = String::new();
    for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
        let left = end.saturating_duration_since(Instant::now()).min(EACH);
        match timeout(left, one(query, *server, mark)).await {
            Ok(Ok(reply)) if is_poor(&reply) => poor = Some(reply),
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => why = format!("{server}: {error}"),
            Err(_) if why.is_empty() || left == EACH => why = format!("{server}: no answer"),
            Err(_) => break,
        }
    }
    poor.ok_or(why)
}

/// Whether another server may know more.
fn is_poor(reply: &[u8]) -> bool {
    let (_, code) = rcode(reply);
    [Rcode::ServFail, Rcode::NotImp, Rcode::Refused].iter().any(|poor| *poor as u16 == code)
}

async fn one(query: &Query, server: SocketAddr, mark: u32) -> io::Result<Vec<u8>> {
    let reply = by_datagram(query, server, mark).await?;
    match rcode(&reply) {
        (true, _) => Ok(by_stream(query, server, mark).await.unwrap_or(reply)),
        _ => Ok(reply),
    }
}

async fn by_datagram(query: &Query, server: SocketAddr, mark: u32) -> io::Result<Vec<u8>> {
    let id = random()?;
    let socket = datagram::dialler(server, mark)?;
    socket.send(&query.ask(id)).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if replies_to(query, id, &buffer[..length]) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_stream(query: &Query, server: SocketAddr, mark: u32) -> io::Result<Vec<u8>> {
    let id = random()?;
    let mut stream = socket::dialler(server, mark, None, None)?.connect(server).await?;
    let question = query.ask(id);
    // some 300 bytes at most
    let mut message = (question.len() as u16).to_be_bytes().to_vec();
    message.extend(question);
    stream.write_all(&message).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await?;
    if replies_to(query, id, &reply) { Ok(reply) } else { Err(io::Error::other("the reply is to another question")) }
}

fn random() -> io::Result<u16> {
    let number = getrandom::u32().map_err(|error| io::Error::other(error.to_string()))?;
    Ok((number & 0xffff) as u16)
}
