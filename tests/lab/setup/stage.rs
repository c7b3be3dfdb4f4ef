//! A machine for setup: the lab's gateway with folders of its own for /run and the instances, a systemctl that is played
//! by a script and really starts the daemon, the real rules tool, and a proxy that answers by policy.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::proxy::{self, Policy};
use crate::support::folder::Folder;
use crate::support::journal::Journal;
use crate::support::topology::Topology;

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");
/// An answer that any question may take; the confirmation among them.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// A machine on which nothing is set up.
pub(super) struct Stage {
    folder: Folder,
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    pub(super) net: Topology,
}

impl Stage {
    /// With this proxy.
    pub(super) fn new(policy: Policy) -> Stage {
        let net = Topology::new();
        net.gateway.ip("route add 0.0.0.0/0 via 10.2.0.2\n");
        let folder = Folder::new();
        let path = Path::new(folder.path());
        for name in ["etc", "bin", "run/systemd/system"] {
            fs::create_dir_all(path.join(name)).expect("our folder");
        }
        let link = |to: &str, name: &str| symlink(to, path.join("bin").join(name)).expect("our folder");
        link(env!("CARGO_BIN_EXE_handyproxy"), "handyproxy");
        link(&format!("{SOURCES}/iptables/handyproxy-rules"), "handyproxy-rules");
        link(&format!("{SOURCES}/tests/lab/setup/systemctl"), "systemctl");
        folder.write_as("bin/journalctl", "#!/bin/sh\ncat \"$STAGE/journal.now\"\n", 0o755);
        folder.write_as("hosts", "127.0.0.1 localhost\n203.0.113.9 www.bench.example\n", 0o644);
        let (asked, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        proxy::serve(&net, policy, &asked, &over);
        Stage { folder, asked, over, net }
    }

    /// Without systemd.
    pub(super) fn without_systemd(self) -> Stage {
        fs::remove_dir_all(self.path("run/systemd")).expect("our folder");
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        self.folder.write(name, text);
    }

    pub(super) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).expect("a file").permissions().mode() & 0o7777
    }

    /// What the proxy was asked for.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no proxy panics with it").clone()
    }

    /// Starts setup with these words, for this machine's instances.
    pub(super) fn setup(&self, line: &str) -> Running {
        self.start(&format!("handyproxy setup -etc {}/etc {line}", self.folder.path()))
    }

    /// Runs setup without a word from stdin.
    pub(super) fn done(&self, line: &str) -> (Option<i32>, String) {
        let mut running = self.setup(line);
        running.hang_up();
        running.ends()
    }

    /// Starts something on this machine.
    pub(super) fn start(&self, line: &str) -> Running {
        self.start_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// The same, word by word.
    pub(super) fn start_words(&self, words: &[&str]) -> Running {
        let folder = self.folder.path();
        let inside = "mount --bind \"$STAGE/run\" /run && mount --bind \"$STAGE/hosts\" /etc/hosts && exec \"$@\"";
        let path = std::env::var("PATH").expect("a PATH");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &format!("exec 2>&1; {inside}"), "sh"]).args(words);
        command.env("STAGE", folder).env("PATH", format!("{folder}/bin:{path}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = self.net.gateway.enter(|| command.spawn()).expect("unshare of util-linux is installed");
        Running { said: Journal::of(child.stdout.take().expect("piped")), input: child.stdin.take(), child }
    }

    /// The lines of netfilter that are ours.
    pub(super) fn rules(&self) -> Vec<String> {
        let all = self.ruleset();
        all.lines().filter(|line| line.to_ascii_lowercase().contains("handyproxy")).map(str::to_owned).collect()
    }

    /// All of netfilter, in the words of nft.
    pub(super) fn ruleset(&self) -> String {
        self.net.gateway.run("nft list ruleset")
    }

    /// All files of instances, with their modes and contents.
    pub(super) fn tree(&self) -> Vec<(PathBuf, u32, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("etc")];
        while let Some(folder) = folders.pop() {
            // it may be about to be taken back
            for path in fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
                if path.is_dir() {
                    folders.push(path.clone());
                }
                let mode = fs::metadata(&path).map_or(0, |file| file.permissions().mode());
                found.push((path.clone(), mode, fs::read(&path).unwrap_or_default()));
            }
        }
        found.sort();
        found
    }

    /// Ends all that does not outlive a reboot, and starts what is enabled.
    pub(super) fn reboots(&self) {
        if let Ok(pid) = self.read("pid").trim().parse() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        self.net.gateway.run("nft flush ruleset");
        for name in ["run/handyproxy-rules", "run/systemd/system"] {
            let _ = fs::remove_dir_all(self.path(name));
        }
        fs::create_dir_all(self.path("run/systemd/system")).expect("our folder");
        for unit in ["handyproxy@gateway", "handyproxy-rules@gateway"] {
            let _ = fs::remove_file(self.path(&format!("active.{unit}.service")));
        }
        if self.is_enabled() {
            let started = self.start("systemctl start handyproxy@gateway.service").ends();
            assert_eq!(started.0, Some(0), "{}", started.1);
        }
    }

    /// Whether the unit comes up at boot.
    pub(super) fn is_enabled(&self) -> bool {
        self.path("enabled.handyproxy@gateway.service").exists()
    }

    pub(super) fn is_active(&self) -> bool {
        self.path("active.handyproxy@gateway.service").exists()
    }

    /// Sees that nothing is left of a setup.
    pub(super) fn is_clean(&self) {
        assert_eq!(self.leftovers(), Ok(()));
    }

    /// What is left of a setup, if anything is.
    pub(super) fn leftovers(&self) -> Result<(), String> {
        let names = |folder: &str| -> Vec<String> {
            let entries = fs::read_dir(self.path(folder)).expect("our folder").filter_map(Result::ok);
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let (tree, rules, masks) = (self.tree(), self.rules(), names("run/systemd/system"));
        let drafts: Vec<String> = names("run").into_iter().filter(|name| name.contains("setup")).collect();
        if !tree.is_empty() || !rules.is_empty() || !masks.is_empty() || !drafts.is_empty() {
            return Err(format!("{tree:?} {rules:?} {masks:?} {drafts:?}"));
        }
        if self.is_enabled() || self.is_active() { Err(self.read("systemctl.log")) } else { Ok(()) }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Ok(pid) = self.read("pid").trim().parse() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}

/// A setup that is going on; it is killed when this is dropped.
pub(super) struct Running {
    pub(super) said: Journal,
    input: Option<ChildStdin>,
    child: Child,
}

impl Running {
    /// Answers.
    pub(super) fn answer(&mut self, lines: &str) -> &mut Running {
        let input = self.input.as_mut().expect("not hung up");
        input.write_all(lines.as_bytes()).expect("setup reads");
        self
    }

    /// Waits until it has said this, be that in the middle of a line.
    pub(super) fn hears(&mut self, words: &str) -> &mut Running {
        let start = Instant::now();
        while !self.text().contains(words) {
            assert!(start.elapsed() < LONG, "{words:?} is not said: {}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
        self
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.said.bytes()).into_owned()
    }

    /// Ends its input.
    pub(super) fn hang_up(&mut self) {
        self.input = None;
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), signal).expect("ours");
    }

    /// Waits for its end: exit status, and all that it said.
    pub(super) fn ends(&mut self) -> (Option<i32>, String) {
        self.ends_within(LONG)
    }

    /// The same for what takes longer.
    pub(super) fn ends_within(&mut self, patience: Duration) -> (Option<i32>, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("ours") {
                // nothing that it has started holds on to its output
                self.said.wait_for_end();
                return (status.code(), self.text());
            }
            assert!(start.elapsed() < patience, "it does not end: {}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
