//! The program from outside: words in, lines and exit codes out.

#[path = "cli/cat.rs"]
mod cat;
#[path = "cli/file.rs"]
mod file;
#[path = "cli/scratch.rs"]
mod scratch;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

fn handyproxy(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handyproxy"));
    command.args(line.split(' ').filter(|w| !w.is_empty())).stdin(Stdio::null());
    command
}

fn run(line: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = handyproxy(line).output().expect("the binary runs");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

/// A daemon that has come up; killed when dropped.
struct Daemon {
    child: Child,
    ready: String,
}

impl Daemon {
    fn start(line: &str) -> Daemon {
        Daemon::ready(handyproxy(line).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary runs"))
    }

    /// Waits until a daemon, with a pipe to its stderr, has come up.
    fn ready(mut child: Child) -> Daemon {
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let ready = lines.map_while(Result::ok).find(|l| l.contains("listening on"));
        Daemon { child, ready: ready.expect("it comes up") }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on, and that the kernel gives to nobody who binds or connects meanwhile: it is none of those
/// that it chooses from, where it leaves any.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("proc(5)");
    let first: u32 = range.split_whitespace().next().and_then(|port| port.parse().ok()).expect("two ports");
    let lowest = 2048;
    if first < 2 * lowest {
        return TcpListener::bind("[::]:0").and_then(|l| l.local_addr()).expect("a free port").port();
    }
    // each is tried once, and another run of these tests begins elsewhere
    let number = || std::process::id() * 97 + NEXT.fetch_add(1, Ordering::Relaxed);
    let mut ports = (lowest..first).map(|_| u16::try_from(lowest + number() % (first - lowest)).expect("a port"));
    ports.find(|port| TcpListener::bind(("::", *port)).is_ok()).expect("a free port")
}

#[test]
fn version_and_help_are_printed_and_nothing_is_started() {
    let version = format!("HandyProxy {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["-version", "--version", "-version=true"] {
        assert_eq!(run(flag), (Some(0), version.clone(), String::new()), "{flag}");
    }
    for flag in ["-h", "--help", "-help"] {
        let (code, out, err) = run(flag);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{flag}");
        assert!(out.contains(" -sniff-timeout <TIME>"), "{out}");
    }
}

#[test]
fn every_mistake_is_named_and_the_exit_code_is_2() {
    let (code, out, err) = run("-nope -local-port 70000 --dial-timeout=2 -upstream-proxy ftp://x -sniff-max-bytes");
    assert_eq!((code, out.as_str()), (Some(2), ""));
    for flag in ["-nope", "-local-port", "-dial-timeout", "-upstream-proxy", "-sniff-max-bytes"] {
        assert!(err.contains(&format!("handyproxy: {flag}: ")), "{flag} is not named in {err}");
    }
}

#[test]
fn a_port_in_use_is_named_and_the_exit_code_is_1() {
    for addr in ["0.0.0.0:0", "[::]:0"] {
        let taken = TcpListener::bind(addr).expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let (code, _, err) = run(&format!("-local-port {port} -upstream-proxy 127.0.0.1:9"));
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(&format!("handyproxy: listen on port {port}: another program listens there")), "{err}");
    }
}

#[test]
fn nobody_can_listen_on_our_port_too() {
    let port = free_port();
    let first = Daemon::start(&format!("-local-port {port} -upstream-proxy 127.0.0.1:9"));
    let (code, _, err) = run(&format!("-local-port {port} -upstream-proxy 127.0.0.1:9"));
    assert_eq!(code, Some(1), "{err}");
    drop(first);
}

#[test]
fn a_port_that_is_not_allowed_is_named() {
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .args([env!("CARGO_BIN_EXE_handyproxy"), "-local-port", "80", "-upstream-proxy", "127.0.0.1:9"])
        .output()
        .expect("setpriv, of the package util-linux");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "needs root, and a target folder that others may read: {err}");
    assert!(err.contains("listen on port 80: not allowed, it needs root or CAP_NET_BIND_SERVICE"), "{err}");
}

#[test]
fn an_upstream_that_is_this_very_listener_is_refused() {
    let port = free_port();
    for host in ["127.0.0.1", "[::1]", "localhost", "127.9.9.9"] {
        let (code, _, err) = run(&format!("-local-port {port} -upstream-proxy {host}:{port}"));
        assert_eq!(code, Some(1), "{err}");
        assert!(
            err.contains(&format!("-upstream-proxy http://{host}:{port}: ")) && err.contains("this very listener"),
            "{err}"
        );
    }
}

#[test]
fn an_upstream_that_does_not_resolve_yet_is_only_a_warning() {
    let daemon = Daemon::start(&format!("-local-port {} -upstream-proxy nowhere.invalid", free_port()));
    assert!(daemon.ready.contains("upstream nowhere.invalid:3128"), "{}", daemon.ready);
}

#[test]
fn the_start_line_names_port_upstream_and_room() {
    let port = free_port();
    let daemon = Daemon::start(&format!("--local-port={port} -upstream-proxy 127.0.0.1 -max-sessions 7"));
    assert!(daemon.ready.contains(&format!("listening on [::]:{port}, upstream 127.0.0.1:3128; room for 7 sessions")));
}

#[test]
fn under_the_journal_a_line_is_a_message_with_a_field_for_each_fact() {
    let folder = std::env::temp_dir().join(format!("handyproxy-journal-{}", std::process::id()));
    // a run that was interrupted may have left it
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    let journal = UnixDatagram::bind(folder.join("socket")).expect("a free name");
    journal.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    let stderr = File::create(folder.join("stderr")).expect("a scratch file");
    let meta = stderr.metadata().expect("a file");
    let port = free_port();
    let daemon = Command::new("unshare")
        .args([
            "-m",
            "sh",
            "-c",
            "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
            mount --bind \"$0\" /run/systemd/journal && exec \"$@\"",
        ])
        .arg(&folder)
        .args([env!("CARGO_BIN_EXE_handyproxy"), "-local-port", &port.to_string(), "-upstream-proxy", "127.0.0.1:9"])
        .args(["-default-origin", "203.0.113.9:443"])
        .env("JOURNAL_STREAM", format!("{}:{}", meta.st_dev(), meta.st_ino()))
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("unshare, of the package util-linux");
    let _daemon = Daemon { child: daemon, ready: String::new() };
    let entry = || {
        let mut bytes = vec![0; 1 << 16];
        let length = journal.recv(&mut bytes).expect("an entry of the journal; needs root");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    while !entry().contains("listening on") {}
    let _client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let entry = std::iter::repeat_with(entry).find(|entry| entry.contains("session id=")).expect("it never ends");
    for wanted in [
        "session id=1 end=dial by=upstream",
        "HANDYPROXY_ID\n",
        "HANDYPROXY_END\n",
        "HANDYPROXY_ORIGIN\n",
        "203.0.113.9:443",
        "PRIORITY\n\u{1}\0\0\0\0\0\0\u{0}4\n",
    ] {
        assert!(entry.contains(wanted), "no {wanted:?} in {entry:?}");
    }
    std::fs::remove_dir_all(&folder).expect("the scratch folder");
}

/// An upstream that opens every tunnel and then says nothing.
fn opening_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut request = [0; 512];
            assert!(stream.read(&mut request).expect("a request") > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhi").expect("still read");
            open.push(stream);
        }
    });
    addr
}

#[test]
fn every_session_that_a_stop_cuts_is_reported() {
    const TUNNELS: usize = 300;
    let log = std::env::temp_dir().join(format!("handyproxy-drain-{}", std::process::id()));
    let port = free_port();
    let line = format!("-local-port {port} -upstream-proxy {} -drain-timeout 0", opening_upstream());
    let mut child = handyproxy(&line)
        .args(["-default-origin", "203.0.113.9:443"])
        .stdout(Stdio::null())
        .stderr(File::create(&log).expect("a scratch file"))
        .spawn()
        .expect("the binary runs");
    let said = || std::fs::read_to_string(&log).expect("the scratch file");
    while !said().contains("listening on") {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut clients: Vec<_> =
        (0..TUNNELS).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it listens")).collect();
    for client in &mut clients {
        client.read_exact(&mut [0; 2]).expect("an open tunnel");
    }
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert!(child.wait().expect("it ends").success());
    let said = said();
    assert_eq!(said.matches(" end=drained by=us").count(), TUNNELS);
    assert!(said.lines().last().expect("lines").contains("stopped after serving 300 sessions"), "{said}");
    std::fs::remove_file(&log).expect("the scratch file");
}

#[test]
fn help_for_a_reader_that_has_gone_away_is_no_failure() {
    let mut child = handyproxy("-h").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn the_soft_descriptor_limit_is_raised_to_the_hard_one() {
    let daemon = Daemon::start(&format!("-local-port {} -upstream-proxy 127.0.0.1:9", free_port()));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.child.id())).expect("it runs");
    let line = limits.lines().find(|l| l.starts_with("Max open files")).expect("the limit");
    let numbers: Vec<&str> = line.split_whitespace().filter(|w| w.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
}

#[test]
fn what_is_not_known_is_told_with_what_was_most_likely_meant() {
    let lines = [
        ("-sniff-timout 1s", "handyproxy: -sniff-timout: unknown flag; is it -sniff-timeout?"),
        ("--Local_port=1", "handyproxy: --Local_port=1: unknown flag; is it -local-port?"),
        ("-colour red", "handyproxy: -colour: unknown flag"),
        ("doctr -json", "handyproxy: doctr: unknown command; is it doctor?"),
        ("doctor -jsno", "handyproxy: -jsno: unknown flag; is it -json?"),
        ("top -intervall 1s", "handyproxy: -intervall: unknown flag; is it -interval?"),
        ("setup -mdoe local", "handyproxy: setup: -mdoe: unknown flag; is it -mode?"),
        ("cat --replya x:1", "handyproxy: cat: --replya: unknown flag; is it --replay?"),
    ];
    for (line, wanted) in lines {
        let output = handyproxy(line).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().next()), (Some(2), Some(wanted)), "{line}: {said}");
    }
}
