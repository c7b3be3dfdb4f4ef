//! The upstream proxies, each as Debian ships it and configured as little as it lets us.

use super::program::{Program, Service};
use super::squid::Squid;
use super::stage::Stage;

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
pub(crate) enum Upstream {
    /// squid, which writes a file.
    Squid(Squid),
    /// What writes to its output: the last of these.
    Talkative(Vec<Service>),
}

impl Upstream {
    /// Starts it where it belongs.
    pub(crate) fn start(kind: Kind, stage: &Stage) -> Self {
        match kind {
            Kind::Squid => Self::squid(stage, ""),
            Kind::SquidNamingFailures => Self::squid(stage, NAMING_FAILURES),
            Kind::Tinyproxy => Self::Talkative(vec![tinyproxy(stage, "")]),
            Kind::Cntlm => Self::Talkative(vec![cntlm(stage, "Proxy 10.2.0.2:8888"), tinyproxy(stage, "")]),
        }
    }

    /// Waits until its own record holds these words.
    pub(crate) fn saw(&self, words: &str) {
        match self {
            Self::Squid(squid) => squid.saw(words),
            Self::Talkative(services) => services.last().expect("every upstream is a service").wait_for(words),
        }
    }

    fn squid(stage: &Stage, more: &str) -> Self {
        let lines = format!(
            "http_port 3128
             acl forbidden dstdomain denied.bench.example
             http_access deny forbidden
             {more}
             http_access deny tunnel !web
             http_access deny !tunnel
             http_access allow all"
        );
        Self::Squid(Squid::start(stage, "squid", &lines))
    }
}

/// Debian 12's squid 5.7 answers a CONNECT to a name that it cannot resolve with ERR_CANNOT_FORWARD (squid bug 5294, mended
/// in 6); this makes it say what later ones say.
const NAMING_FAILURES: &str = "\
acl resolved dst 203.0.113.0/24 2001:db8::/32
deny_info 503:ERR_DNS_FAIL resolved
http_access deny !resolved";

/// tinyproxy on port 8888, with more lines in its configuration.
pub(crate) fn tinyproxy(stage: &Stage, more: &str) -> Service {
    let dir = stage.scratch().dir("tinyproxy");
    stage.scratch().write(
        "tinyproxy.conf",
        format!(
            "Port 8888\nListen 10.2.0.2\nTimeout 60\nMaxClients 200\nLogLevel Info\nPidFile \"{}/pid\"\n\
             Allow 10.2.0.0/24\nConnectPort 443\nConnectPort 80\n{more}\n",
            dir.display()
        ),
    );
    let line = format!("tinyproxy -d -c {}/tinyproxy.conf", stage.scratch().root());
    stage.beyond(&line).serve("Accepting connections")
}

/// cntlm on the gateway, with more lines in its configuration.
pub(crate) fn cntlm(stage: &Stage, more: &str) -> Service {
    let own = "Username ada\nDomain BENCH\nPassword geheim-ada\nListen 127.0.0.1:3128\n";
    stage.scratch().write("cntlm.conf", format!("{own}{more}\n"));
    let line = format!("cntlm -f -c {}/cntlm.conf", stage.scratch().root());
    Program::new(&line, &stage.net.gateway, stage.scratch(), "hosts.gateway").serve("Cntlm ready")
}
