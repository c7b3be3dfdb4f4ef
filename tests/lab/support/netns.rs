//! Network namespaces without a name: they live as long as a descriptor, a socket or a child in them does.
//!
//! Nothing is left behind, not even by a test that was killed. The trap: a namespace belongs to a thread, so `enter`
//! must always come back, whatever its closure does.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace with nothing in it but a loopback interface.
pub struct Netns {
    file: File,
    port: AtomicU16,
}

impl Netns {
    /// Makes an empty namespace. Fails the test if it is not run by root.
    #[allow(clippy::new_without_default, reason = "what takes the rights of root is no default")]
    pub fn new() -> Self {
        let maker = thread::spawn(|| {
            if let Err(why) = unshare(CloneFlags::CLONE_NEWNET) {
                panic!("cannot make a network namespace ({why}): the lab needs root");
            }
            File::open(OWN).expect("a thread can open its own namespace")
        });
        match maker.join() {
            Ok(file) => Self { file, port: AtomicU16::new(10_000) },
            Err(_) => panic!("the lab needs root: run it with sudo"),
        }
    }

    /// Runs a closure in this namespace. The sockets and children that it makes stay here.
    pub fn enter<T>(&self, run: impl FnOnce() -> T) -> T {
        let _home = Home(File::open(OWN).expect("a thread can open its own namespace"));
        setns(&self.file, CloneFlags::CLONE_NEWNET).expect("root can enter a namespace");
        run()
    }

    /// A local port that nobody here has used yet. The kernel would give one twice, for two destinations, and REDIRECT, which
    /// makes one destination of the two, would have to give one of the clients another port in the eyes of the gateway.
    pub fn fresh_port(&self) -> u16 {
        self.port.fetch_add(1, Ordering::Relaxed)
    }

    /// The path by which `ip link ... netns` finds this namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs a command line here and returns what it printed; it must succeed.
    pub fn run(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (program, arguments) = words.split_first().expect("a command line has words");
        let output = self
            .enter(|| Command::new(program).args(arguments).output())
            .unwrap_or_else(|why| panic!("cannot run {program}: {why}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs lines of `ip` commands here in one process.
    pub fn ip(&self, lines: &str) {
        let spawned = self.enter(|| {
            Command::new("ip")
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
        });
        let mut child = spawned.expect("iproute2 is installed");
        let mut input = child.stdin.take().expect("stdin was piped");
        input.write_all(lines.as_bytes()).expect("ip reads its batch");
        drop(input);
        let output = child.wait_with_output().expect("ip ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip -batch: {stderr}{lines}");
    }

    /// Sets a network sysctl of this namespace, such as `ipv4/ip_forward`.
    pub fn sysctl(&self, name: &str, value: &str) {
        self.enter(|| fs::write(format!("/proc/sys/net/{name}"), value))
            .unwrap_or_else(|why| panic!("sysctl {name}: {why}"));
    }
}

/// The namespace that a thread came from and goes back to.
struct Home(File);

impl Drop for Home {
    fn drop(&mut self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).expect("root can go back to its namespace");
    }
}
