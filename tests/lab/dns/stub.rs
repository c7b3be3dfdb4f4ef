//! Who asks, and who is asked: a stub resolver, and a name server of which a test writes the answers.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use handyproxy::addr::Host;
use handyproxy::wire::dns::{Answer, Asked, Query, read};
use simple_dns::Packet;
use simple_dns::rdata::RData;

use crate::support::PATIENCE;
use crate::support::netns::Netns;

/// What a client was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) code: u8,
    pub(super) cut: bool,
    pub(super) addrs: Vec<IpAddr>,
    pub(super) names: Vec<String>,
    /// How long it may be kept: the answer, or that there is none.
    pub(super) ttl: Option<u32>,
}

impl Told {
    fn from(bytes: &[u8]) -> Told {
        let packet = Packet::parse(bytes).expect("a message");
        let (mut addrs, mut names) = (Vec::new(), Vec::new());
        for record in &packet.answers {
            match &record.rdata {
                RData::A(a) => addrs.push(Ipv4Addr::from(a.address).into()),
                RData::AAAA(a) => addrs.push(Ipv6Addr::from(a.address).into()),
                RData::PTR(name) => names.push(name.0.to_string()),
                other => panic!("an answer that nobody expected: {other:?}"),
            }
        }
        let ttl = packet.answers.first().or(packet.name_servers.first()).map(|record| record.ttl);
        Told { code: bytes[3] & 15, cut: bytes[2] & 2 != 0, addrs, names, ttl }
    }

    /// The only address.
    pub(super) fn addr(&self) -> IpAddr {
        assert_eq!((self.code, self.addrs.len()), (0, 1), "{self:?}");
        self.addrs[0]
    }
}

/// A client's socket for questions.
pub(super) struct Stub {
    socket: UdpSocket,
    server: SocketAddr,
}

/// The type of a question by its name.
pub(super) fn kind(name: &str) -> u16 {
    let kinds = [("A", 1), ("NS", 2), ("PTR", 12), ("MX", 15), ("TXT", 16), ("AAAA", 28), ("SRV", 33)];
    let more = [("SVCB", 64), ("HTTPS", 65), ("AXFR", 252), ("ANY", 255)];
    let found = kinds.into_iter().chain(more).find(|(kind, _)| *kind == name);
    found.unwrap_or_else(|| panic!("no type {name}")).1
}

/// A question.
pub(super) fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x55, 0xaa, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

impl Stub {
    /// Asks `server` from this namespace. The socket is connected: an answer from another address does not count.
    pub(super) fn new(ns: &Netns, server: &str) -> Stub {
        let server: SocketAddr = server.parse().expect("an address");
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = ns.enter(|| UdpSocket::bind((any, 0))).expect("a port");
        socket.connect(server).expect("a way there");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Stub { socket, server }
    }

    /// Asks, and hears.
    pub(super) fn ask(&self, name: &str, kind: &str) -> Told {
        self.ask_raw(&question(name, self::kind(kind)))
    }

    /// The same with bytes of the test's own.
    pub(super) fn ask_raw(&self, bytes: &[u8]) -> Told {
        self.send(bytes);
        Told::from(&self.receive().unwrap_or_else(|| panic!("no answer to {}", bytes.escape_ascii())))
    }

    /// Asks, and asks again where nothing comes for a second, as resolvers do: where many datagrams are under way, one
    /// may be lost.
    pub(super) fn ask_again(&self, name: &str, kind: &str) -> Told {
        self.patience(Duration::from_secs(1));
        let answer = (0..10).find_map(|_| {
            self.send(&question(name, self::kind(kind)));
            self.receive()
        });
        Told::from(&answer.unwrap_or_else(|| panic!("no answer about {name}")))
    }

    /// Only sends.
    pub(super) fn send(&self, bytes: &[u8]) {
        self.socket.send(bytes).expect("a way there");
    }

    /// What comes, if something does.
    pub(super) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }

    /// How long to wait.
    pub(super) fn patience(&self, time: Duration) {
        self.socket.set_read_timeout(Some(time)).expect("not zero");
    }

    /// A connection to the same server.
    pub(super) fn stream(&self, ns: &Netns) -> TcpStream {
        let stream = ns.enter(|| TcpStream::connect(self.server)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream
    }

    /// Asks over a connection.
    pub(super) fn ask_by_stream(stream: &mut TcpStream, name: &str, kind: &str) -> Told {
        let question = question(name, self::kind(kind));
        let mut message = (question.len() as u16).to_be_bytes().to_vec();
        message.extend(question);
        stream.write_all(&message).expect("it listens");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).expect("all of it");
        Told::from(&answer)
    }
}

/// How a name server behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// Answers.
    Good,
    /// Says that there is more, and answers over TCP.
    Cut,
    /// Says that it failed.
    Fails,
    /// Answers under another id and about another name first.
    Forged,
    /// Says nothing.
    Silent,
}

/// A name server: one address for every name that begins with `has`, none for others.
pub(super) struct Server {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// How many questions came by each way.
    pub(super) datagrams: Arc<AtomicUsize>,
    pub(super) streams: Arc<AtomicUsize>,
    /// The ports that questions came from.
    pub(super) ports: Arc<Mutex<Vec<u16>>>,
}

impl Server {
    /// Starts one.
    pub(super) fn start(ns: &Netns, at: &str, manner: Manner, addr: &str) -> Server {
        let addr: IpAddr = addr.parse().expect("an address");
        let (socket, listener) = ns.enter(|| {
            (UdpSocket::bind(at).expect("an address that is free"), TcpListener::bind(at).expect("the same"))
        });
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("not zero");
        listener.set_nonblocking(true).expect("an option");
        let over = Arc::new(AtomicBool::new(false));
        let (datagrams, streams) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let ports = Arc::new(Mutex::new(Vec::new()));
        let (stop, count, seen) = (over.clone(), datagrams.clone(), ports.clone());
        let first = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                seen.lock().expect("no panic").push(from.port());
                let good = answer(&buffer[..length], addr);
                let mut bytes = good.clone();
                match manner {
                    Manner::Good => {}
                    Manner::Cut => bytes[2] |= 2,
                    Manner::Fails => bytes[3] = 0x82,
                    Manner::Silent => continue,
                    Manner::Forged => {
                        let mut forged = good.clone();
                        forged[0] ^= 1;
                        let _ = socket.send_to(&forged, from);
                        let mut forged = good.clone();
                        forged[13] ^= 1;
                        let _ = socket.send_to(&forged, from);
                        let _ = socket.send_to(b"\0", from);
                    }
                }
                let _ = socket.send_to(&bytes, from);
            }
        });
        let (stop, count) = (over.clone(), streams.clone());
        let second = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                count.fetch_add(1, Ordering::Relaxed);
                stream.set_nonblocking(false).expect("an option");
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                if stream.read_exact(&mut question).is_ok() {
                    let answer = answer(&question, addr);
                    let _ = stream.write_all(&(answer.len() as u16).to_be_bytes());
                    let _ = stream.write_all(&answer);
                }
            }
        });
        Server { over, threads: vec![first, second], datagrams, streams, ports }
    }
}

fn answer(question: &[u8], addr: IpAddr) -> Vec<u8> {
    let Asked::Query(query): Asked = read(question) else { panic!("no question: {}", question.escape_ascii()) };
    let query: Query = query;
    let fits = query.kind() == if addr.is_ipv4() { 1 } else { 28 };
    let host: Option<Host> = query.host();
    match host.filter(|host| host.as_str().starts_with("has")) {
        Some(_) if fits => query.answer(Answer::Addr(addr), 77),
        Some(_) => query.answer(Answer::NoData, 7),
        None => query.answer(Answer::NoName, 7),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
