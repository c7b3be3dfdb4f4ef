//! The upstream proxies, each as Debian ships it and configured as little as it lets us.

use std::path::PathBuf;

use super::program::{Program, Service};
use super::resolver::Resolver;
use super::scratch::Scratch;
use crate::lab::support::eventually;
use crate::lab::support::topology::Topology;

/// Which proxy handyproxy talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// squid, which may not be asked for denied.bench.example.
    Squid,
    /// squid that reports a name that it cannot resolve as one.
    SquidNamingFailures,
    /// tinyproxy.
    Tinyproxy,
    /// cntlm on the gateway itself, which adds credentials and goes on to tinyproxy.
    Cntlm,
}

impl Kind {
    /// What -upstream-proxy says.
    pub(crate) fn address(self) -> &'static str {
        match self {
            Self::Squid | Self::SquidNamingFailures => "10.2.0.2:3128",
            Self::Tinyproxy => "10.2.0.2:8888",
            Self::Cntlm => "localhost",
        }
    }
}

/// A running upstream; what it has been asked for can be read.
pub(crate) struct Upstream {
    record: Record,
    services: Vec<Service>,
    _resolver: Option<Resolver>,
}

/// Where an upstream writes down its requests.
enum Record {
    File(PathBuf),
    /// the output of its last service
    Output,
}

impl Upstream {
    /// Starts it where it belongs.
    pub(crate) fn start(kind: Kind, net: &Topology, scratch: &Scratch) -> Self {
        match kind {
            Kind::Squid => Self::squid(net, scratch, ""),
            Kind::SquidNamingFailures => Self::squid(net, scratch, NAMING_FAILURES),
            Kind::Tinyproxy => Self::talkative(vec![tinyproxy(net, scratch)]),
            Kind::Cntlm => Self::talkative(vec![cntlm(net, scratch), tinyproxy(net, scratch)]),
        }
    }

    /// Waits until its own record holds these words.
    pub(crate) fn saw(&self, words: &str) {
        match (&self.record, self.services.last()) {
            (Record::File(path), _) => eventually(|| {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                if text.contains(words) { Ok(()) } else { Err(format!("no {words:?} in the upstream's log:\n{text}")) }
            }),
            (Record::Output, Some(service)) => service.wait_for(words),
            (Record::Output, None) => unreachable!("every upstream is a service"),
        }
    }

    fn talkative(services: Vec<Service>) -> Self {
        Self { record: Record::Output, services, _resolver: None }
    }

    fn squid(net: &Topology, scratch: &Scratch, more: &str) -> Self {
        let resolver = Resolver::start(&net.upstream);
        let dir = scratch.dir_for("squid", "proxy");
        let dir = dir.to_str().expect("a plain path");
        let configuration = format!(
            "http_port 3128
             cache_effective_user proxy
             pid_filename {dir}/pid
             coredump_dir {dir}
             cache_log {dir}/cache.log
             access_log stdio:{dir}/access.log
             cache deny all
             cache_mem 8 MB
             netdb_filename none
             pinger_enable off
             visible_hostname squid.bench.example
             shutdown_lifetime 1 second
             acl tunnel method CONNECT
             acl web port 80 443
             acl forbidden dstdomain denied.bench.example
             http_access deny forbidden
             {more}
             http_access deny tunnel !web
             http_access deny !tunnel
             http_access allow all
            "
        );
        // squid.conf lines that begin with a space go on from the line before
        let configuration: Vec<&str> = configuration.lines().map(str::trim).collect();
        scratch.write("squid.conf", configuration.join("\n"));
        let line = format!("squid -N -d 1 -f {}/squid.conf", scratch.root());
        let squid =
            Program::new(&line, &net.upstream, scratch, "hosts.upstream").serve("Accepting HTTP Socket connections");
        Self {
            record: Record::File(PathBuf::from(format!("{dir}/access.log"))),
            services: vec![squid],
            _resolver: Some(resolver),
        }
    }
}

/// Debian 12's squid 5.7 answers a CONNECT to a name that it cannot resolve with ERR_CANNOT_FORWARD (squid bug 5294, mended
/// in 6); this makes it say what later ones say.
const NAMING_FAILURES: &str = "\
acl resolved dst 203.0.113.0/24 2001:db8::/32
deny_info 503:ERR_DNS_FAIL resolved
http_access deny !resolved";

fn tinyproxy(net: &Topology, scratch: &Scratch) -> Service {
    let dir = scratch.dir("tinyproxy");
    scratch.write(
        "tinyproxy.conf",
        format!(
            "Port 8888\nListen 10.2.0.2\nTimeout 60\nMaxClients 200\nLogLevel Info\nPidFile \"{}/pid\"\n\
             Allow 10.2.0.0/24\nConnectPort 443\nConnectPort 80\n",
            dir.display()
        ),
    );
    let line = format!("tinyproxy -d -c {}/tinyproxy.conf", scratch.root());
    Program::new(&line, &net.upstream, scratch, "hosts.upstream").serve("Accepting connections")
}

fn cntlm(net: &Topology, scratch: &Scratch) -> Service {
    scratch.write(
        "cntlm.conf",
        "Username gateway\nDomain BENCH\nPassword nothing\nProxy 10.2.0.2:8888\nListen 127.0.0.1:3128\n",
    );
    let line = format!("cntlm -f -c {}/cntlm.conf", scratch.root());
    Program::new(&line, &net.gateway, scratch, "hosts.gateway").serve("Cntlm ready")
}
