//! A client of the admin, and what it is told.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::daemon::Launch;
use crate::support::folder::Folder;
use crate::support::netns::Netns;
use crate::support::scene::Scene;
use crate::support::topology::{Topology, UPSTREAM};

/// Where the admin listens where it is asked over TCP.
pub(super) const AT: &str = "127.0.0.1:9843";

/// The usual stage with an admin at a unix socket.
pub(super) struct Stage {
    /// Declared first, so that it ends first.
    pub(super) scene: Scene,
    /// Where the socket is.
    pub(super) folder: Folder,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Its fields in lower case.
    pub(super) head: String,
    pub(super) body: String,
}

/// Metrics as they were at one moment.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) text: String,
}

impl Stage {
    /// With these flags.
    pub(super) fn new(flags: &str) -> Self {
        Self::on(Topology::new(), flags)
    }

    /// In a network of the test's own making.
    pub(super) fn on(net: Topology, flags: &str) -> Self {
        let folder = Folder::new();
        let launch = Launch::new(&format!("-upstream-proxy {UPSTREAM} -admin {}/admin.sock {flags}", folder.path()));
        Self { scene: Scene::on(net, launch), folder }
    }

    /// With this configuration, which has no admin.
    pub(super) fn configured(net: Topology, text: &str) -> Self {
        let folder = Folder::new();
        let launch = folder.launch(&format!("admin = \"{}/admin.sock\"\n{text}", folder.path()));
        Self { scene: Scene::on(net, launch), folder }
    }

    /// The path of the socket.
    pub(super) fn socket(&self) -> String {
        format!("{}/admin.sock", self.folder.path())
    }

    /// Asks for a page.
    pub(super) fn get(&self, path: &str) -> Answer {
        over_unix(&self.socket(), &format!("GET {path} HTTP/1.1\r\nHost: x\r\n"))
    }

    /// Cuts a session.
    pub(super) fn cut(&self, id: u64) -> Answer {
        over_unix(&self.socket(), &format!("DELETE /sessions/{id} HTTP/1.1\r\nHost: x\r\n"))
    }

    /// The metrics of now.
    pub(super) fn metrics(&self) -> Metrics {
        Metrics { text: self.get("/metrics").body }
    }

    /// The sessions of now.
    pub(super) fn sessions(&self) -> Value {
        self.get("/sessions").json()
    }
}

impl Answer {
    /// Its body, which is JSON.
    pub(super) fn json(&self) -> Value {
        assert!(self.head.contains("\r\ncontent-type: application/json\r\n"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }
}

impl Metrics {
    /// The value of one sample, by its name and labels as they are written.
    pub(super) fn value(&self, sample: &str) -> f64 {
        let line = self.text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no {sample} in\n{}", self.text));
        value.parse().unwrap_or_else(|why| panic!("{sample} {value}: {why}"))
    }

    /// The sum of all samples of this name that have all of these labels.
    pub(super) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let samples = self.text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
        let wanted = samples.filter(|(has, _)| labels.iter().all(|label| has.contains(label)));
        wanted.map(|(_, value)| value.parse::<f64>().expect("a number")).sum()
    }

    /// The families that there are, as the samples of each are named (a histogram's without what is behind the name).
    pub(super) fn families(&self) -> Vec<String> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let named = |(name, kind): (&str, &str)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        types.map(named).collect()
    }
}

/// Asks over a unix socket; `head` is the request line and fields, without the empty line.
pub(super) fn over_unix(path: &str, head: &str) -> Answer {
    let stream = UnixStream::connect(path).unwrap_or_else(|why| panic!("{path}: {why}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a new socket");
    exchange(stream, head)
}

/// Asks over TCP, from this namespace.
pub(super) fn over_tcp(ns: &Netns, at: &str, head: &str) -> Answer {
    let at: SocketAddr = at.parse().expect("an address with a port");
    let wire = ns.connect(at);
    wire.socket().set_read_timeout(Some(PATIENCE)).expect("a new socket");
    exchange(wire.socket(), head)
}

fn exchange(mut stream: impl Read + Write, head: &str) -> Answer {
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap_or_else(|why| panic!("{head}: {why} after {text}"));
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole head: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: format!("{}\r\n", head.to_ascii_lowercase()), body: body.to_owned() }
}
