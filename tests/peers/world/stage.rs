//! Everything of a world but the proxy and the gateway: the network, the origins, a name server, the files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::origin::Origin;
use super::program::Program;
use super::resolver::Resolver;
use super::scratch::Scratch;
use super::{CLIENT_HOSTS, GATEWAY_HOSTS, SNIFFING, UPSTREAM_HOSTS, V4, V6, assert_same};
use crate::lab::support::daemon::{Daemon, Launch};
use crate::lab::support::eventually;
use crate::lab::support::journal::SessionLine;
use crate::lab::support::topology::Topology;

/// What a test stands its proxies and its gateway on.
pub(crate) struct Stage {
    /// The origin servers.
    pub(crate) origin: Origin,
    /// The network.
    pub(crate) net: Topology,
    _resolver: Resolver,
    scratch: Scratch,
}

impl Stage {
    /// The network without rules, and the origins beyond it.
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        let net = Topology::new();
        net.upstream.ip(&format!(
            "addr add {V4}/32 dev lo
             addr add {V6}/128 dev lo nodad
             "
        ));
        scratch.write("hosts.client", CLIENT_HOSTS);
        scratch.write("hosts.gateway", GATEWAY_HOSTS);
        scratch.write("hosts.upstream", UPSTREAM_HOSTS);
        scratch.write("resolv.conf", "nameserver 127.0.0.1\n");
        let origin = Origin::start(&net.upstream, &scratch);
        let resolver = Resolver::start(&net.upstream);
        Self { origin, net, _resolver: resolver, scratch }
    }

    /// The same with the client's every connection led to the gateway.
    pub(crate) fn redirected() -> Self {
        let stage = Self::new();
        stage.net.redirect();
        stage
    }

    /// handyproxy with this configuration file and a long sniff timeout; it listens.
    pub(crate) fn gateway(&self, toml: &str) -> Daemon {
        self.start(self.launch(toml))
    }

    /// What `gateway` starts, to be changed before; it finds names in the gateway's hosts file.
    pub(crate) fn launch(&self, toml: &str) -> Launch {
        self.configure(toml);
        let flags = format!("-sniff-timeout {SNIFFING} -config {}/gateway.toml", self.scratch.root());
        Launch::new(&flags).with_file(&self.scratch.path("hosts.gateway"), "/etc/hosts")
    }

    /// Starts what `launch` gave.
    pub(crate) fn start(&self, launch: Launch) -> Daemon {
        launch.start(&self.net.gateway)
    }

    /// Writes the configuration file so that it may hold a password; `$ROOT` in it is the scratch directory.
    pub(crate) fn configure(&self, toml: &str) {
        let path = self.scratch.write("gateway.toml", toml.replace("$ROOT", self.scratch.root()));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }

    /// A program in the client's network; `$CA` in its command line is the path of the authority's certificate.
    pub(crate) fn client(&self, line: &str) -> Program<'_> {
        Program::new(&self.with_ca(line), &self.net.client, &self.scratch, "hosts.client")
    }

    /// A program on the gateway itself, which resolves names as a client does.
    pub(crate) fn on_gateway(&self, line: &str) -> Program<'_> {
        Program::new(&self.with_ca(line), &self.net.gateway, &self.scratch, "hosts.client")
    }

    /// A program where the proxies and the origins are.
    pub(crate) fn beyond(&self, line: &str) -> Program<'_> {
        Program::new(line, &self.net.upstream, &self.scratch, "hosts.upstream")
    }

    /// The scratch directory, for what a program reads and writes.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Fetches a site's page with curl, over a connection of its own; it must come, and be right.
    pub(crate) fn fetch(&self, site: &str) {
        let page = self.client(&format!("curl -sSf4 --cacert $CA {site}/page.html")).run();
        assert_same(&page, self.origin.page(), site);
    }

    /// What curl says of a site that must not be reached, over a connection of its own.
    pub(crate) fn miss(&self, site: &str) -> String {
        let outcome = self.client(&format!("curl -sSf4 --cacert $CA {site}/page.html")).outcome();
        assert!(!outcome.status.success(), "{site} was reached");
        outcome.err
    }

    /// Waits until something listens at this address beyond the gateway.
    pub(crate) fn listens(&self, at: &str) {
        eventually(|| {
            let listening = self.net.upstream.run("ss -Htnl");
            if listening.contains(&format!(" {at} ")) { Ok(()) } else { Err(format!("nothing at {at}:\n{listening}")) }
        });
    }

    fn with_ca(&self, line: &str) -> String {
        line.replace("$CA", &format!("{}/ca.pem", self.scratch.root()))
    }
}

/// Waits for a session that carried this target. Each session is taken once.
pub(crate) fn session(gateway: &Daemon, target: &str) -> SessionLine {
    gateway.log.take_session(&format!("session to {target}"), |line| line.get("target") == Some(target))
}

/// How many lines of the gateway's log hold these words.
pub(crate) fn count(gateway: &Daemon, words: &str) -> usize {
    gateway.log.lines().iter().filter(|line| line.contains(words)).count()
}
