//! Where clients ask: datagrams and connections at each address.
//!
//! Answers of our own are given at once, in the task that reads; others wait in tasks of which there are only so
//! many. Connections are few, and none of them lasts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Reply, Resolver, forward};
use crate::sys::datagram::{self, Peer};
use crate::wire::dns::{Answer, Asked, Query, Rcode, pass_on, read};

/// The longest question: one with every option that is in use.
const QUESTION: usize = 4096;
/// Connections at the same time, at each address.
const CONNECTIONS: usize = 128;
/// How long a connection may wait with its next question, or with taking an answer.
const IDLE: Duration = Duration::from_secs(5);
/// How long one may last.
const LIFE: Duration = Duration::from_secs(60);
/// How long to leave a machine alone that is out of something.
const PAUSE: Duration = Duration::from_millis(50);

/// Listens at an address, and answers there in tasks of its own.
///
/// # Errors
/// Why it cannot, for a person.
pub(super) fn start(resolver: &Arc<Resolver>, at: SocketAddr) -> Result<(), String> {
    let wrong = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("dns {at}: another program answers there already"),
        io::ErrorKind::PermissionDenied => format!("dns {at}: not allowed, it needs root or CAP_NET_BIND_SERVICE"),
        io::ErrorKind::AddrNotAvailable => format!("dns {at}: this machine has no such address"),
        _ => format!("dns {at}: {error}"),
    };
    let socket = datagram::bind(at).map_err(wrong)?;
    let listener = datagram::listen(at).map_err(wrong)?;
    tokio::spawn(datagrams(resolver.clone(), Arc::new(socket)));
    tokio::spawn(connections(resolver.clone(), listener));
    Ok(())
}

async fn datagrams(resolver: Arc<Resolver>, socket: Arc<UdpSocket>) {
    let mut buffer = [0; QUESTION];
    loop {
        let (length, peer) = match datagram::receive(&socket, &mut buffer).await {
            Ok(got) => got,
            Err(error) => {
                tracing::debug!("dns: receive: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match read(&buffer[..length]) {
            Asked::Query(query) => match resolver.reply(&query) {
                Reply::Now(bytes) => datagram::answer(&socket, &bytes, peer),
                Reply::Forward(servers) => hand_on(&resolver, &socket, query, servers, peer),
            },
            Asked::Wrong(bytes) => datagram::answer(&socket, &bytes, peer),
            Asked::Nothing => {}
        }
    }
}

/// Asks others, in a task of its own if there is room for one.
fn hand_on(resolver: &Arc<Resolver>, socket: &Arc<UdpSocket>, query: Query, servers: Arc<[SocketAddr]>, peer: Peer) {
    let Ok(place) = resolver.forwarded.clone().try_acquire_owned() else {
        resolver
            .warn(format_args!("dns: {} is not asked for: too many questions wait for other servers", query.name()));
        return datagram::answer(socket, &query.answer(Answer::Fails(Rcode::ServFail), 0), peer);
    };
    let (resolver, socket) = (resolver.clone(), socket.clone());
    tokio::spawn(async move {
        let answer = resolver.forward(&query, &servers, query.most()).await;
        datagram::answer(&socket, &answer, peer);
        drop(place);
    });
}

async fn connections(resolver: Arc<Resolver>, listener: TcpListener) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = free.clone().acquire_owned().await else { return };
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::debug!("dns: accept: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let resolver = resolver.clone();
        tokio::spawn(async move {
            // a client that is gone needs no answer
            let _ = timeout(LIFE, connection(&resolver, client)).await;
            drop(place);
        });
    }
}

/// One question after the other.
async fn connection(resolver: &Resolver, mut client: TcpStream) -> io::Result<()> {
    let mut question = Vec::new();
    loop {
        timeout(IDLE, next(&mut client, &mut question)).await??;
        let answer = match read(&question) {
            Asked::Query(query) => match resolver.reply(&query) {
                Reply::Now(bytes) => bytes,
                Reply::Forward(servers) => match resolver.forwarded.acquire().await {
                    Ok(_place) => resolver.forward(&query, &servers, usize::from(u16::MAX)).await,
                    Err(_) => return Ok(()),
                },
            },
            Asked::Wrong(bytes) => bytes,
            Asked::Nothing => return Ok(()),
        };
        // what is passed on came with such a length itself
        let mut message = (answer.len() as u16).to_be_bytes().to_vec();
        message.extend(answer);
        timeout(IDLE, client.write_all(&message)).await??;
    }
}

async fn next(client: &mut TcpStream, question: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::from(client.read_u16().await?);
    if length > QUESTION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    question.resize(length, 0);
    client.read_exact(question).await.map(drop)
}

impl Resolver {
    /// The answer of those who know.
    async fn forward(&self, query: &Query, servers: &[SocketAddr], most: usize) -> Vec<u8> {
        match forward::ask(query, servers, self.terms().mark).await {
            Ok(reply) => pass_on(query, &reply, most),
            Err(why) => {
                self.warn(format_args!("dns: no answer about {}: {why}", query.name()));
                query.answer(Answer::Fails(Rcode::ServFail), 0)
            }
        }
    }
}
