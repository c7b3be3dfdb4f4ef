//! Settings, checked and immutable: what flags and file say, made sound. Nothing is opened but the files that are named.
//!
//! Every setting stands once, in the table of `settings`; flags and keys have the same names, and a flag wins.

pub mod argv;
mod authorities;
mod command;
mod dns;
mod draft;
pub mod duration;
mod file;
pub mod grammar;
mod help;
mod near;
mod permissions;
mod routes;
mod rules;
mod secret;
mod settings;
mod shown;
mod taps;
mod top;
mod upstreams;
mod values;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::addr::Host;
use crate::pattern::{Pattern, Ports};

pub use authorities::authorities;
pub use dns::{DnsSettings, Zone};
pub use help::help;
pub use near::near;
pub use routes::{DialBy, Route, Via};
pub use rules::{Mode, Rules, words as rules_words};
pub use secret::Secret;
pub use shown::{route_shown, shown, via};
pub use taps::{DUMP_FILES, TapForm, TapSettings, WhenFull};
pub use top::{Top, admin_of};
pub use upstreams::{Credentials, NamedFile, PlainHttp, Proxy, Scheme, Speaks, UpstreamSettings};

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Run(Box<Config>),
    /// Print the settings in force.
    Check(Box<Config>),
    /// Tell how a connection would be routed.
    Explain(Box<Config>, Question),
    /// Tell the running daemon to read its settings again.
    Reload(Box<Config>),
    /// Bring the instance's netfilter rules up or down, or tell of them.
    Rules(Box<Config>, RulesAction),
    /// See whether all is well.
    Doctor(Box<Config>, Doctor),
    /// Set an instance up, or take it back, as these words say.
    Setup(Vec<String>),
    /// Look at a running daemon.
    Top(Top),
    /// Show what taps have recorded, or send it again, as these words say.
    Cat(Vec<String>),
    /// Print what completes commands in a shell.
    Completions(Shell),
    /// Print the version.
    Version,
    /// Print the flags.
    Help,
}

/// A connection that might be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where it would come from.
    pub client: IpAddr,
    /// Where it would want to go.
    pub origin: SocketAddr,
    /// The name that would be seen.
    pub name: Option<Host>,
}

/// What becomes of the netfilter rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesAction {
    /// An action of handyproxy-rules(8), and for how long without a confirmation.
    Do(&'static str, Option<Duration>),
    /// Print the words for it.
    Words,
}

/// How to examine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doctor {
    /// Tell programs, not people.
    pub json: bool,
    /// Ask nobody on the network.
    pub no_net: bool,
    /// To where proxies are asked for tunnels, if not to the usual host.
    pub target: Option<Host>,
    /// No settings were given: look at every instance of this machine.
    pub all: bool,
    /// What is wrong with the file that was given: then there are no settings to examine.
    pub mistakes: Vec<Mistake>,
}

/// A shell whose commands can be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash(1).
    Bash,
    /// zsh(1).
    Zsh,
    /// fish(1).
    Fish,
}

/// How rules hand connections over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// REDIRECT: the kernel's conntrack knows the original destination.
    Redirect,
    /// TPROXY: the accepted socket has it as its own address.
    Tproxy,
}

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that was read, as it was named.
    pub file: Option<String>,
    /// The words that all this was read from.
    words: Vec<String>,
    /// What was noticed while reading.
    notes: Vec<String>,
    /// Each setting with the text that it came from.
    texts: Vec<(&'static str, String)>,
    /// The port that rules redirect to.
    pub local_port: u16,
    /// How connections get there.
    pub capture: Capture,
    /// The resolver; `None`: there is none.
    pub dns: Option<Box<DnsSettings>>,
    /// The netfilter rules of this instance.
    pub rules: Option<Rules>,
    /// Every upstream, one at least.
    pub upstreams: Vec<UpstreamSettings>,
    /// The number of the one that takes what matches no route.
    pub default_upstream: usize,
    /// In the order in which they are tried.
    pub routes: Vec<Route>,
    /// Whether a name that matches no route counts only if it resolves to the origin's address.
    pub verify_name: bool,
    /// Addresses to dial from, where the upstream has none of its own; empty lets the kernel choose.
    pub source: Vec<IpAddr>,
    /// From accept to the open tunnel, sniffing apart.
    pub dial_timeout: Duration,
    /// How long to wait for a name; `None` does not look for one.
    pub sniff_timeout: Option<Duration>,
    /// How many bytes to hold while looking for a name.
    pub sniff_max_bytes: usize,
    /// Destination ports on which the HTTP scanner runs.
    pub sniff_http_ports: Ports,
    /// Destination ports on which the TLS scanner runs.
    pub sniff_tls_ports: Ports,
    /// Destination ports whose servers speak first: nothing is waited for.
    pub server_first_ports: Ports,
    /// An open tunnel in which nothing moves ends after this.
    pub idle_timeout: Option<Duration>,
    /// The same for a tunnel of which one side has ended.
    pub half_closed_timeout: Option<Duration>,
    /// Idle time before, and interval between, keepalive probes.
    pub keepalive: Option<Duration>,
    /// Most sessions at once; 0 is as many as the descriptors allow.
    pub max_sessions: usize,
    /// How long open sessions may go on after a signal to stop.
    pub drain_timeout: Duration,
    /// SO_MARK of every socket that is dialled; 0 is none.
    pub mark: u32,
    /// What is written down of the traffic.
    pub taps: Vec<TapSettings>,
    /// Where the line of each session goes.
    pub access_log: AccessLog,
    /// How it is written.
    pub access_log_format: AccessFormat,
    /// Where metrics and the like are served; `None`: nowhere.
    pub admin: Option<AdminAddr>,
    /// Whether that may be an address that others reach.
    pub admin_remote: bool,
    /// Names by which it may be asked for.
    pub admin_hosts: Vec<Host>,
    /// What is logged.
    pub log_level: LogLevel,
    /// Takes the place of the original destination, so that a debug build needs no rules.
    #[cfg(debug_assertions)]
    pub default_origin: Option<SocketAddr>,
}

/// Where the upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamAddr {
    /// Its name or address.
    pub host: UpstreamHost,
    /// Its port.
    pub port: u16,
}

/// An upstream's name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamHost {
    /// Resolved anew as answers age.
    Name(Host),
    /// Used as it is.
    Ip(IpAddr),
}

impl fmt::Display for UpstreamAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            UpstreamHost::Name(host) => write!(f, "{host}:{}", self.port),
            UpstreamHost::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
        }
    }
}

/// Where a setting stands: `file:line`, or the flag.
#[derive(Clone, PartialEq, Eq)]
pub struct Place(std::sync::Arc<str>);

impl Place {
    /// From its text.
    pub fn new(text: impl Into<std::sync::Arc<str>>) -> Place {
        Place(text.into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The least important lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing at all.
    Off,
    /// What is wrong with this machine.
    Error,
    /// And with the upstream or the rules.
    Warn,
    /// And one line per session.
    Info,
    /// And what helps to find a fault.
    Debug,
    /// And everything else.
    Trace,
}

/// Where the line of each session goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Beside all other lines.
    Log,
    /// Nowhere.
    Off,
    /// To stderr.
    Stderr,
    /// To the journal, with a field for each fact.
    Journal,
    /// To this file.
    File(std::path::PathBuf),
}

/// How it is written, where not by fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// `session key=value ...`.
    Text,
    /// One object of JSON.
    Json,
}

/// Clients of the admin that are served at once.
pub const ADMIN_CONNECTIONS: usize = 64;

/// Where the admin listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddr {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(std::path::PathBuf),
}

/// One mistake in the settings: which, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The flag or word as it was given.
    pub given: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.given, self.why)
    }
}

impl Command {
    /// Reads the words behind the program's name, and the file that they name.
    ///
    /// # Errors
    /// Every mistake at once, in the order in which they stand: words, file, flags.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Command, Vec<Mistake>> {
        command::parse(words.into_iter().collect())
    }
}

impl Config {
    /// Reads the same words and the same file again.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn again(&self) -> Result<Config, Vec<Mistake>> {
        match command::parse(self.words.clone())? {
            Command::Run(config) => Ok(*config),
            _ => Ok(self.clone()),
        }
    }

    /// Whether there is more than one way to go, so that it is worth saying which one was taken.
    pub fn has_ways(&self) -> bool {
        !self.routes.is_empty() || self.upstreams.iter().any(UpstreamSettings::is_named)
    }

    /// The instance that this is: the name of its file without what is behind the dot.
    pub fn instance(&self) -> Option<&str> {
        std::path::Path::new(self.file.as_deref()?).file_stem()?.to_str()
    }

    /// Whether this is the admin's port; whether the address is this machine's is not asked.
    pub fn is_admin(&self, addr: SocketAddr) -> bool {
        matches!(&self.admin, Some(AdminAddr::Tcp(admin)) if admin.port() == addr.port())
    }

    /// Whether there is something in it that must not reach a core dump.
    pub fn has_secrets(&self) -> bool {
        self.upstreams.iter().any(|upstream| upstream.credentials.password.is_some() || !upstream.auth.is_empty())
    }

    /// Descriptors that are held beside those of sessions, at most.
    pub fn descriptors(&self) -> usize {
        let admin = if self.admin.is_some() { ADMIN_CONNECTIONS } else { 0 };
        let tap = |tap: &TapSettings| if tap.form.is_per_session() { DUMP_FILES } else { 1 };
        admin + self.taps.iter().map(tap).sum::<usize>()
    }

    /// What is no mistake, but hardly meant.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = self.notes.clone();
        if self.sniff_timeout.is_some() {
            return remarks;
        }
        let unnamed = |route: &&Route| route.verify_name || route.to.iter().any(Pattern::is_name);
        // names may also come from the resolver
        for route in self.routes.iter().filter(unnamed).filter(|_| self.dns.is_none()) {
            remarks.push(format!("{}: its names match nothing, since sniff-timeout looks for no name", route.place));
        }
        for upstream in self.upstreams.iter().filter(|upstream| upstream.plain_http != PlainHttp::Connect) {
            let (place, how) = (&upstream.place, upstream.plain_http);
            remarks
                .push(format!("{place}: plain-http = {how} does nothing, since sniff-timeout looks at no first bytes"));
        }
        remarks
    }

    fn empty() -> Config {
        Config {
            file: None,
            words: Vec::new(),
            notes: Vec::new(),
            texts: Vec::new(),
            local_port: 0,
            capture: Capture::Redirect,
            dns: None,
            rules: None,
            upstreams: Vec::new(),
            default_upstream: 0,
            routes: Vec::new(),
            verify_name: false,
            source: Vec::new(),
            dial_timeout: Duration::ZERO,
            sniff_timeout: None,
            sniff_max_bytes: 0,
            sniff_http_ports: Ports::default(),
            sniff_tls_ports: Ports::default(),
            server_first_ports: Ports::default(),
            idle_timeout: None,
            half_closed_timeout: None,
            keepalive: None,
            max_sessions: 0,
            drain_timeout: Duration::ZERO,
            mark: 0,
            taps: Vec::new(),
            access_log: AccessLog::Log,
            access_log_format: AccessFormat::Text,
            admin: None,
            admin_remote: false,
            admin_hosts: Vec::new(),
            log_level: LogLevel::Info,
            #[cfg(debug_assertions)]
            default_origin: None,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        match command::parse(Vec::new()) {
            Ok(Command::Run(config)) => *config,
            _ => unreachable!("no words are no mistake, a test reads the defaults"),
        }
    }
}

/// Every key of the file: its table (nothing, `upstream`, `route`, `rules` or `tap`) and its name.
pub fn keys() -> Vec<(&'static str, &'static str)> {
    let top = settings::SETTINGS.iter().map(|setting| ("", setting.name));
    let rules = draft::RULES_KEYS.into_iter().map(|key| ("rules", key));
    let taps = draft::TAP_KEYS.into_iter().map(|key| ("tap", key));
    let upstream = draft::UPSTREAM_KEYS.into_iter().map(|key| ("upstream", key));
    top.chain(upstream)
        .chain(draft::ROUTE_KEYS.into_iter().map(|key| ("route", key)))
        .chain(rules)
        .chain(taps)
        .collect()
}
