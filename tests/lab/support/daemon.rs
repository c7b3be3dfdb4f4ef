//! handyproxy itself, run in the gateway's namespace, with its log read and its descriptors, memory and time counted.
//!
//! It dies with the thread that started it (PR_SET_PDEATHSIG by way of setpriv), so start it on the test's own thread.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::Socket;

use super::eventually;
use super::journal::{Journal, SessionLine};
use super::netns::Netns;
use super::topology::PORT;
use super::wire::Wire;

/// What to run and under which circumstances.
pub struct Launch {
    words: Vec<String>,
    passed: Option<Socket>,
}

impl Launch {
    /// A run with these flags, on the lab's port.
    pub fn new(flags: &str) -> Self {
        Self::words(&format!("-local-port {PORT} {flags}"))
    }

    /// A run with these words and nothing else.
    pub fn words(line: &str) -> Self {
        let own = format!("{} {line}", env!("CARGO_BIN_EXE_handyproxy"));
        Self { words: words(&own), passed: None }
    }

    /// A run by way of another program, whose words name ours.
    pub fn of(program: &str, line: &str) -> Self {
        Self { words: words(&format!("{program} {line}")), passed: None }
    }

    /// Gives it a variable of the environment.
    pub fn variable(self, name: &str, value: &str) -> Self {
        self.under(vec!["env".to_owned(), format!("{name}={value}")])
    }

    /// Lets it have no more than so many descriptors.
    pub fn descriptors(self, limit: u32) -> Self {
        self.descriptor_limits(limit, limit)
    }

    /// The same with a soft limit that it may raise up to a hard one.
    pub fn descriptor_limits(self, soft: u32, hard: u32) -> Self {
        self.under(words(&format!("prlimit --nofile={soft}:{hard}")))
    }

    /// Gives it another file in place of a system one, such as /etc/hosts, that nobody else sees.
    pub fn with_file(self, ours: &Path, theirs: &str) -> Self {
        let mut wrapper = words("unshare -m sh -c");
        wrapper.push(r#"mount --bind "$0" "$1" && shift && exec "$@""#.to_owned());
        wrapper.push(ours.to_str().expect("a plain path").to_owned());
        wrapper.push(theirs.to_owned());
        self.under(wrapper)
    }

    /// Lets it find the journal's socket in this folder; nobody else does.
    pub fn with_journal(self, folder: &Path) -> Self {
        let script = r#"mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
            mount --bind "$0" /run/systemd/journal && exec "$@""#;
        self.mounted(script, folder)
    }

    /// Makes of this folder one that holds no more than 64 KiB, which [`Daemon::sees`] alone.
    pub fn with_tiny(self, folder: &Path) -> Self {
        self.mounted(r#"mount -t tmpfs -o size=64k none "$0" && exec "$@""#, folder)
    }

    fn mounted(self, script: &str, folder: &Path) -> Self {
        let mut wrapper = words("unshare -m sh -c");
        wrapper.extend([script.to_owned(), folder.to_str().expect("a plain path").to_owned()]);
        self.under(wrapper)
    }

    /// Gives it a variable of its environment.
    pub fn with_variable(self, name: &str, value: &str) -> Self {
        self.under(vec!["env".to_owned(), format!("{name}={value}")])
    }

    /// Runs it by way of another program, such as setpriv.
    pub fn wrapped(self, line: &str) -> Self {
        self.under(words(line))
    }

    /// Passes it a socket as systemd does, once under each of these names.
    pub fn passed(self, socket: Socket, names: &[&str]) -> Self {
        let copies: String = (3..3 + names.len()).map(|number| format!(" {number}<&0")).collect();
        let (count, names) = (names.len(), names.join(":"));
        // the number of the process stays
        let script = format!(
            r#"exec{copies} </dev/null; LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names} exec "$0" "$@""#
        );
        let launch = self.under(vec!["sh".to_owned(), "-c".to_owned(), script]);
        Self { passed: Some(socket), ..launch }
    }

    /// Starts it here and waits until it listens.
    pub fn start(self, ns: &Netns) -> Daemon {
        let daemon = self.start_unheard(ns);
        daemon.log.wait_for("listening on");
        daemon
    }

    /// Starts it here, where it may well refuse to run.
    pub fn start_unheard(self, ns: &Netns) -> Daemon {
        let spawned = ns.enter(|| {
            Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "--"])
                .args(&self.words)
                .stdin(self.passed.map_or_else(Stdio::null, |socket| OwnedFd::from(socket).into()))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        });
        let mut child = spawned.expect("setpriv of util-linux is installed");
        Daemon {
            log: Journal::of(child.stderr.take().expect("stderr was piped")),
            out: Journal::of(child.stdout.take().expect("stdout was piped")),
            child,
        }
    }

    fn under(mut self, mut wrapper: Vec<String>) -> Self {
        wrapper.append(&mut self.words);
        Self { words: wrapper, ..self }
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A running handyproxy; it is killed when this is dropped.
pub struct Daemon {
    /// What it writes to stderr.
    pub log: Journal,
    /// What it writes to stdout.
    pub out: Journal,
    child: Child,
}

/// Open descriptors by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// Sockets, the listener among them.
    pub sockets: usize,
    /// Ends of pipes.
    pub pipes: usize,
}

impl Daemon {
    /// The next end-of-session line that nobody has asked for yet.
    pub fn session_line(&self) -> SessionLine {
        self.log.take_session("next session", |_| true)
    }

    /// The end-of-session line of this client's connection.
    pub fn session_of(&self, client: &Wire) -> SessionLine {
        self.session_from(&client.address())
    }

    /// The end-of-session line of a client that no tunnel was opened for: it hears what it is told to the end, and leaves.
    pub fn refusal_of(&self, client: &mut Wire) -> SessionLine {
        client.receive_all();
        client.fin();
        self.session_of(client)
    }

    /// The end-of-session line of the connection from this address.
    pub fn session_from(&self, address: &str) -> SessionLine {
        let what = format!("session of client={address}");
        self.log.take_session(&what, |line| line.get("client") == Some(address))
    }

    /// Its open descriptors.
    pub fn descriptors(&self) -> Descriptors {
        let links: Vec<String> = self
            .proc_dir("fd")
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .map(|target| target.to_string_lossy().into_owned())
            .collect();
        let count = |kind: &str| links.iter().filter(|l| l.starts_with(kind)).count();
        Descriptors { sockets: count("socket:"), pipes: count("pipe:") }
    }

    /// Waits until its descriptors are exactly these.
    pub fn settles_at(&self, want: Descriptors) {
        eventually(|| {
            let seen = self.descriptors();
            if seen == want { Ok(()) } else { Err(format!("{seen:?} and not {want:?}")) }
        });
    }

    /// Its resident memory in KiB, without the pages of its program: which of those are there says nothing of what it holds.
    pub fn rss_kib(&self) -> u64 {
        self.kib("RssAnon:")
    }

    /// The most resident memory that it ever had, in KiB.
    pub fn peak_rss_kib(&self) -> u64 {
        self.kib("VmHWM:")
    }

    /// The processor time that it has used, in ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = self.proc_file("stat");
        // the name in parentheses may hold spaces: count behind it
        let (_, fields) = stat.rsplit_once(") ").expect("proc(5): stat");
        let fields: Vec<&str> = fields.split(' ').collect();
        let tick = |i: usize| fields[i].parse::<u64>().expect("proc(5): a number");
        tick(11) + tick(12)
    }

    /// Where we find what it sees under this path, which may be mounted for it alone.
    pub fn sees(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.pid(), path.display()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it was started by us");
    }

    /// Makes it read its file again, and waits until it has done so; returns the line that says so.
    pub fn reload(&self) -> String {
        let times = self.log.count("reloaded ") + 1;
        self.signal(Signal::SIGHUP);
        self.log.wait_for_times("reloaded ", times)
    }

    /// Waits until it has ended by itself, at most for so long.
    pub fn ends_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let start = std::time::Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    fn kib(&self, key: &str) -> u64 {
        let status = self.proc_file("status");
        let line = status.lines().find_map(|l| l.strip_prefix(key));
        line.and_then(|l| l.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("a live process has {key}"))
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("pid_max is below 2^22"))
    }

    fn proc_file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid())).expect("it is alive")
    }

    fn proc_dir(&self, name: &str) -> impl Iterator<Item = fs::DirEntry> {
        let dir = fs::read_dir(format!("/proc/{}/{name}", self.pid()));
        dir.expect("it is alive").filter_map(Result::ok)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log\n{}", self.log.lines().join("\n"));
        }
        // an error means that it has ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
