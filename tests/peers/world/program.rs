//! A real program in a namespace, with a hosts file of its own, no proxy setting, and an end that is certain.
//!
//! It runs in a process namespace of its own under a shell: killing the one process that we started ends whatever it has
//! started, and so does the end of the thread that started it. The trap: a parent-death signal is lost with a change of user,
//! so the namespace's first process must not be the program itself. Its /etc/hosts, resolv.conf, /run and /dev/shm are its
//! own: no name service of this machine, and no other program's shared memory.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::scratch::Scratch;
use crate::lab::support::journal::Journal;
use crate::lab::support::netns::Netns;

/// The longest that a client program may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// The longest that a service may take to say something.
const START: Duration = Duration::from_secs(60);

const SEARCH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Which Debian package a program comes from.
const PACKAGES: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("chromium", "chromium"),
    ("cntlm", "cntlm"),
    ("curl", "curl"),
    ("danted", "dante-server"),
    ("dpkg-deb", "dpkg"),
    ("faketime", "faketime"),
    ("git", "git"),
    ("haproxy", "haproxy"),
    ("kadmin.local", "krb5-admin-server"),
    ("kdb5_util", "krb5-kdc"),
    ("kinit", "krb5-user"),
    ("krb5kdc", "krb5-kdc"),
    ("microsocks", "microsocks"),
    ("nginx", "nginx-light"),
    ("node", "nodejs"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("squid", "squid-openssl or squid"),
    ("tinyproxy", "tinyproxy"),
    ("unshare", "util-linux"),
    ("wget", "wget"),
];

/// Programs of our own in Python, and the libraries that they use: where every program sees them, as any user.
pub(crate) const PYTHON: &str = "/run/python/bin/python3 -B /run/scripts";

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/python");
// tests/run makes it
const LIBRARIES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python");

/// $0 is the hosts file; resolv.conf may be a link into /run, and without one the resolver is 127.0.0.1 just the same.
/// The last line keeps the shell from becoming the program.
const SANDBOX: &str = r#"
set -e
mount --bind "$0" /etc/hosts
mount --bind "${0%/*}/resolv.conf" /etc/resolv.conf 2>/dev/null || :
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir /run/scripts /run/python
mount --bind "$1" /run/scripts
[ ! -d "$2" ] || mount --bind "$2" /run/python
shift 2
"$@"
exit $?"#;

/// What to run; its home is its working directory.
pub(crate) struct Program<'a> {
    ns: &'a Netns,
    words: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    input: Vec<u8>,
    hosts: PathBuf,
    home: PathBuf,
}

/// How a program ended.
pub(crate) struct Outcome {
    /// Its exit status.
    pub(crate) status: ExitStatus,
    /// What it wrote to stdout.
    pub(crate) out: Vec<u8>,
    /// What it wrote to stderr.
    pub(crate) err: String,
    /// How long it ran.
    pub(crate) took: Duration,
}

impl<'a> Program<'a> {
    /// A command line, which is split at spaces; the hosts file is one of the scratch directory.
    pub(crate) fn new(line: &str, ns: &'a Netns, scratch: &Scratch, hosts: &str) -> Self {
        let home = scratch.dir("home");
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        require(words[0].to_str().expect("it was text"));
        Self { ns, words, variables: Vec::new(), input: Vec::new(), hosts: scratch.path(hosts), home }
    }

    /// One more argument, which may hold spaces.
    pub(crate) fn arg(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    /// An environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// What it reads from stdin.
    pub(crate) fn input(mut self, text: &str) -> Self {
        text.as_bytes().clone_into(&mut self.input);
        self
    }

    /// Starts it as a service that runs until it is dropped, once it has said `ready` on stderr or stdout.
    pub(crate) fn serve(self, ready: &str) -> Service {
        let name = self.words[0].to_string_lossy().into_owned();
        let mut child = self.spawn();
        let out = Journal::of(child.stdout.take().expect("stdout was piped"));
        let err = Journal::of(child.stderr.take().expect("stderr was piped"));
        let service = Service { name, out, err, child };
        service.wait_for(ready);
        service
    }

    /// Runs it to its end, which must be a good one, and returns what it wrote to stdout.
    pub(crate) fn run(self) -> Vec<u8> {
        let line = self.line();
        let outcome = self.outcome();
        let start = &outcome.out[..outcome.out.len().min(2000)];
        assert!(outcome.status.success(), "{line}: {}\n{}\n{}", outcome.status, outcome.err, start.escape_ascii());
        outcome.out
    }

    /// Runs it to its end, which must be a good one, and returns what it wrote as text.
    pub(crate) fn text(self) -> String {
        String::from_utf8_lossy(&self.run()).into_owned()
    }

    /// Runs it to its end, whatever that is.
    pub(crate) fn outcome(mut self) -> Outcome {
        let line = self.line();
        let input = std::mem::take(&mut self.input);
        let start = Instant::now();
        let mut child = self.spawn();
        let out = collect(child.stdout.take().expect("stdout was piped"));
        let err = collect(child.stderr.take().expect("stderr was piped"));
        let mut pipe = child.stdin.take().expect("stdin was piped");
        pipe.write_all(&input).expect("it reads its stdin");
        drop(pipe);
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                break Some(status);
            }
            if start.elapsed() > PATIENCE {
                end(&mut child);
                break None;
            }
            thread::sleep(Duration::from_millis(2));
        };
        let took = start.elapsed();
        let out = out.join().expect("reading a pipe does not panic");
        let err = err.join().expect("reading a pipe does not panic");
        let err = String::from_utf8_lossy(&err).into_owned();
        let Some(status) = status else {
            panic!("{line}: not over after {took:?}\n{err}");
        };
        Outcome { status, out, err, took }
    }

    fn spawn(self) -> Child {
        let Self { ns, .. } = self;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .args(["unshare", "--mount", "--pid", "--fork"])
            .args(["--kill-child", "--mount-proc"])
            .args(["sh", "-c", SANDBOX])
            .arg(&self.hosts)
            .args([SCRIPTS, LIBRARIES])
            .args(&self.words)
            .env_clear()
            .env("PATH", SEARCH)
            .env("HOME", &self.home)
            .env("LANG", "C.UTF-8")
            .envs(self.variables)
            .current_dir(&self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        ns.enter(|| command.spawn()).expect("setpriv of util-linux is installed")
    }

    fn line(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|w| w.to_string_lossy()).collect();
        words.join(" ")
    }
}

/// A program that runs until this is dropped.
pub(crate) struct Service {
    name: String,
    out: Journal,
    err: Journal,
    child: Child,
}

impl Service {
    /// Waits until it has written a line with these words.
    pub(crate) fn wait_for(&self, words: &str) {
        self.wait_until(words, |said| said.contains(words));
    }

    /// Waits until it has written these words so often; it must not have been more often.
    pub(crate) fn says_times(&self, words: &str, times: usize) {
        let count = |said: &str| said.matches(words).count();
        let said = self.wait_until(words, |said| count(said) >= times);
        assert_eq!(count(&said), times, "{words:?} from {}:\n{said}", self.name);
    }

    /// Waits until what it has written is as wanted: a program may need long to start.
    pub(crate) fn wait_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let said = self.said();
            if wanted(&said) {
                return said;
            }
            assert!(start.elapsed() < START, "no {what:?} from {}:\n{said}", self.name);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All that it has written so far.
    pub(crate) fn said(&self) -> String {
        [self.out.lines(), self.err.lines()].concat().join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.said());
        }
        end(&mut self.child);
    }
}

/// Ends what `spawn` began. The first process of its namespace goes after our own one, and after all others there: only
/// then nobody listens any more.
fn end(child: &mut Child) {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()));
    let first = children.ok().and_then(|pids| pids.trim().parse::<u32>().ok());
    // an error means that it has ended already
    let _ = child.kill();
    let _ = child.wait();
    let start = Instant::now();
    while first.is_some_and(lives) && start.elapsed() < START {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether there is such a process, which is not dead and merely unasked for.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // PID (NAME) STATE
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Runs a program of this machine that needs no network, in a directory, and returns what it printed.
pub(crate) fn tool(dir: &Path, words: &[&str]) -> String {
    tool_with(dir, words, &[])
}

/// The same with variables.
pub(crate) fn tool_with(dir: &Path, words: &[&str], variables: &[(&str, &str)]) -> String {
    require(words[0]);
    let output = Command::new(words[0])
        .args(&words[1..])
        .env_clear()
        .env("PATH", SEARCH)
        .env("HOME", dir)
        .env("LANG", "C.UTF-8")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(variables.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|why| panic!("{}: {why}", words[0]));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {err}", words.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn require(program: &str) {
    let found = SEARCH.split(':').any(|dir| Path::new(dir).join(program).exists());
    let package = PACKAGES.iter().find(|(name, _)| *name == program);
    let package = package.map_or(program, |(_, package)| package);
    let libraries = !PYTHON.starts_with(program) || Path::new(LIBRARIES).exists();
    assert!(libraries, "no Python libraries in {LIBRARIES}: run tests/run");
    assert!(found || program.starts_with('/'), "{program} is not installed: apt-get install {package}");
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).expect("a pipe can be read");
        all
    })
}
