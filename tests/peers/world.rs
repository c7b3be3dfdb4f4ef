//! The stage: a client's network, the gateway, and a world of origin servers that only an upstream proxy reaches.
//!
//! Every test builds its own and everything ends with it: programs, namespaces, files.

pub(crate) mod apt;
pub(crate) mod certificates;
pub(crate) mod kerberos;
pub(crate) mod origin;
pub(crate) mod program;
pub(crate) mod resolver;
pub(crate) mod schemes;
pub(crate) mod scratch;
pub(crate) mod squid;
pub(crate) mod stage;
pub(crate) mod stubs;
pub(crate) mod upstream;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::time::Duration;

use crate::lab::support::daemon::{Daemon, Launch};
use crate::lab::support::journal::SessionLine;
use crate::lab::support::topology::Topology;

use stage::Stage;
use upstream::{Kind, Upstream};

/// Where the origin servers listen: on the far side of the upstream proxy.
pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
/// The same for IPv6; only www has it.
pub(crate) const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));

/// A stage with a proxy and a gateway on it; what must end first stands first.
pub(crate) struct World {
    /// handyproxy.
    pub(crate) gateway: Daemon,
    /// The proxy in front of the origins.
    pub(crate) upstream: Upstream,
    stage: Stage,
}

impl Deref for World {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl World {
    /// A world behind such an upstream, with handyproxy sniffing and the repository's rules for ports 80 and 443.
    pub(crate) fn behind(kind: Kind) -> Self {
        let flags = format!("-upstream-proxy {} -sniff-timeout {SNIFFING}", kind.address());
        Self::with(kind, &flags, |net| net.rules(RULES))
    }

    /// A world behind such an upstream, with other flags and other rules.
    pub(crate) fn with(kind: Kind, flags: &str, redirect: impl FnOnce(&Topology)) -> Self {
        let stage = Stage::new();
        let upstream = Upstream::start(kind, &stage);
        redirect(&stage.net);
        let launch = Launch::new(flags).with_file(&stage.scratch().path("hosts.gateway"), "/etc/hosts");
        Self { gateway: stage.start(launch), upstream, stage }
    }

    /// Waits for a session that carried this target, and for the upstream's own record of it. Each session is taken once.
    pub(crate) fn session(&self, target: &str) -> SessionLine {
        self.upstream.saw(&format!("CONNECT {target} "));
        stage::session(&self.gateway, target)
    }

    /// Waits for a finished session to a name on port 443 that its ClientHello gave away.
    pub(crate) fn tls_session(&self, name: &str) -> SessionLine {
        let session = self.session(&format!("{name}:443"));
        session.expect(&format!("end=done name={name} name_source=sni status=200"));
        session
    }

    /// Waits for a finished session to a name on port 80 that its Host gave away.
    pub(crate) fn http_session(&self, name: &str) -> SessionLine {
        let session = self.session(&format!("{name}:80"));
        session.expect(&format!("end=done name={name} name_source=host status=200"));
        session
    }

    /// The status and the page that a user who asks for this site over http gets at once.
    pub(crate) fn page_of(&self, name: &str) -> (String, String) {
        let line = format!("curl -sS -w %{{http_code}} http://{name}/");
        let outcome = self.client(&line).outcome();
        assert!(outcome.status.success(), "{}", outcome.err);
        assert!(outcome.took < AT_ONCE, "took {:?}", outcome.took);
        let text = String::from_utf8_lossy(&outcome.out).into_owned();
        let (page, status) = text.split_at(text.len() - 3);
        (status.to_owned(), page.to_owned())
    }

    /// What curl says of this site over https, which must fail in the handshake and at once.
    pub(crate) fn handshake_error_of(&self, name: &str) -> String {
        let line = format!("curl -sS --cacert $CA https://{name}/");
        let outcome = self.client(&line).outcome();
        // man 1 curl: the SSL handshaking failed
        assert_eq!(outcome.status.code(), Some(35), "{}", outcome.err);
        assert!(outcome.took < AT_ONCE, "took {:?}", outcome.took);
        outcome.err
    }
}

/// How long handyproxy waits for what names the origin; nobody here waits so long.
pub(crate) const SNIFFING: &str = "1m";

/// What "at once" is for a program with all its start-up, on a busy machine: below every timeout.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(8);

/// What a gateway's operator would write.
pub(crate) const RULES: &str = "gateway up -i lan --dports 80,443";

/// Says that two bodies are the same without printing megabytes.
pub(crate) fn assert_same(got: &[u8], want: &[u8], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let differs = got.iter().zip(want).position(|(g, w)| g != w);
    assert_eq!(differs, None, "{what}: first byte that differs");
}

// nosuch is a name that only the client knows: stale data, as on any network
const CLIENT_HOSTS: &str = "\
127.0.0.1 localhost
203.0.113.9 www.bench.example quic.bench.example git.bench.example repo.bench.example tell.bench.example
203.0.113.9 denied.bench.example down.bench.example nosuch.bench.example
2001:db8::9 www.bench.example
";

// the gateway knows no origin: a name in a CONNECT can only come from the wire
const GATEWAY_HOSTS: &str = "\
127.0.0.1 localhost
::1 localhost
10.2.0.2 proxy.local
";

// at down nothing listens
const UPSTREAM_HOSTS: &str = "\
127.0.0.1 localhost down.bench.example
203.0.113.9 www.bench.example quic.bench.example git.bench.example repo.bench.example tell.bench.example denied.bench.example
2001:db8::9 www.bench.example
";
