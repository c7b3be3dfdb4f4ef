//! A gateway on which all is well, and what its doctor says.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::proxy::{Manners, Proxy};
use crate::support::daemon::{Daemon, Launch};
use crate::support::folder::Folder;
use crate::support::topology::{PORT, Topology, UPSTREAM, V4};

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/iptables/handyproxy-rules");
const PROGRAM: &str = env!("CARGO_BIN_EXE_handyproxy");

/// Everything that is examined.
pub(super) struct Stage {
    /// handyproxy; declared first, so that it ends first.
    pub(super) gateway: Option<Daemon>,
    pub(super) proxy: Option<Proxy>,
    pub(super) net: Topology,
    pub(super) folder: Folder,
    /// The instance, and its file: no two tests share one, since the tool keeps what it knows of it in one place.
    pub(super) name: String,
    pub(super) file: String,
}

impl Stage {
    /// The settings of the usual instance.
    pub(super) fn settings() -> String {
        format!(
            "local-port = {PORT}\nupstream-proxy = '{UPSTREAM}'\nsniff-timeout = '2s'\nmax-sessions = 100\n\
             [rules]\nmode = 'gateway'\ninterfaces = ['lan']\n"
        )
    }

    /// All is well, and one connection was captured.
    pub(super) fn well() -> Self {
        Self::with(&Self::settings(), Manners::default())
    }

    /// The usual settings, and a proxy that behaves like this.
    pub(super) fn before(manners: Manners) -> Self {
        Self::with(&Self::settings(), manners)
    }

    /// Other settings too.
    pub(super) fn with(settings: &str, manners: Manners) -> Self {
        let mut stage = Self::empty(settings);
        stage.proxy = Some(Proxy::start(&stage.net, manners));
        stage.rules("up");
        stage.start();
        drop(stage.net.client.connect(SocketAddr::new(V4, 443)));
        stage
    }

    /// The network, a file and the tool; nothing is up.
    pub(super) fn empty(settings: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}-{}", std::process::id() % 1_000_000, COUNT.fetch_add(1, Ordering::Relaxed));
        let (folder, net) = (Folder::new(), Topology::new());
        symlink(TOOL, format!("{}/handyproxy-rules", folder.path())).expect("our own folder");
        let file = folder.write(&format!("{name}.toml"), settings);
        Self { gateway: None, proxy: None, net, folder, name, file }
    }

    /// Starts the daemon.
    pub(super) fn start(&mut self) {
        self.start_as(Launch::words(&format!("-config {}", self.file)));
    }

    /// Starts the daemon in another way.
    pub(super) fn start_as(&mut self, launch: Launch) {
        self.gateway = None;
        self.gateway = Some(launch.start(&self.net.gateway));
    }

    /// Writes its file anew.
    pub(super) fn write(&self, settings: &str) {
        fs::write(&self.file, settings).expect("our own file");
    }

    /// Changes its rules as its file says.
    pub(super) fn rules(&self, action: &str) {
        self.sh(&format!("{PROGRAM} rules {action} -config {}", self.file));
    }

    /// Runs a line of shell on the gateway, with the tool in PATH; it must succeed.
    pub(super) fn sh(&self, line: &str) {
        let output = self.command("sh", &["-c", line]);
        assert!(output.0 == 0, "{line}: {output:?}");
    }

    /// What the doctor says of the instance, with further flags.
    pub(super) fn examine(&self, flags: &str) -> Told {
        self.doctor(&format!("-config {} {flags}", self.file))
    }

    /// What the doctor says with these words.
    pub(super) fn doctor(&self, words: &str) -> Told {
        self.told(PROGRAM, &format!("doctor {words}"))
    }

    /// What the doctor of the instance says in a world in which a file of the system has another text.
    pub(super) fn examine_with(&self, path: &str, text: &str) -> Told {
        let ours = self.folder.write("system-file", text);
        let script = format!("mount --bind {ours} {path} && exec {PROGRAM} doctor -config {}", self.file);
        Told::new(self.command("unshare", &["-m", "sh", "-c", &script]))
    }

    /// The same for a program in front of it.
    pub(super) fn told(&self, program: &str, words: &str) -> Told {
        let words: Vec<&str> = words.split_whitespace().collect();
        Told::new(self.command(program, &words))
    }

    fn command(&self, program: &str, words: &[&str]) -> (i32, String, String) {
        let path = format!("{}:{}", self.folder.path(), std::env::var("PATH").unwrap_or_default());
        let output = self.net.gateway.enter(|| Command::new(program).args(words).env("PATH", path).output());
        let output = output.unwrap_or_else(|why| panic!("run {program}: {why}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // the rules go with their namespace, what the tool wrote elsewhere does not
        let _ = self.command("handyproxy-rules", &["down", "--name", &self.name]);
    }
}

/// What the doctor said.
pub(super) struct Told {
    pub(super) exit: i32,
    pub(super) text: String,
    findings: Vec<Finding>,
}

/// One line of it, with what stands below.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) status: String,
    pub(super) check: String,
    pub(super) seen: String,
    pub(super) fix: String,
}

impl Told {
    fn new((exit, text, stderr): (i32, String, String)) -> Self {
        let mut findings: Vec<Finding> = Vec::new();
        for line in text.lines() {
            if let (Some(fix), Some(last)) = (line.strip_prefix("      fix: "), findings.last_mut()) {
                fix.clone_into(&mut last.fix);
            } else if let Some((head, seen)) = line.split_once(": ") {
                let words: Vec<&str> = head.split_whitespace().collect();
                let [status, check] = words[..] else { continue };
                let finding = [status, check, seen, ""].map(str::to_owned);
                let [status, check, seen, fix] = finding;
                findings.push(Finding { status, check, seen, fix });
            }
        }
        Self { exit, text: format!("{text}{stderr}"), findings }
    }

    /// The findings of one check.
    pub(super) fn of(&self, check: &str) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| finding.check == check).collect()
    }

    /// What is wrong: `FAIL rules`.
    pub(super) fn wrong(&self) -> Vec<String> {
        let wrong = self.findings.iter().filter(|finding| matches!(&finding.status[..], "warn" | "FAIL"));
        wrong.map(|finding| format!("{} {}", finding.status, finding.check)).collect()
    }

    /// Sees that all is well, but for what is worth a note.
    pub(super) fn is_well(&self) {
        assert_eq!(self.wrong(), [""; 0], "{}", self.text);
        assert_eq!(self.exit, 0, "{}", self.text);
        assert!(self.findings.len() > 10, "{}", self.text);
    }

    /// Sees that exactly these are wrong, that the first of them says this in its fix, and each has one.
    pub(super) fn names(&self, wrong: &[&str], fix: &str) {
        assert_eq!(self.wrong(), wrong, "{}", self.text);
        assert_eq!(self.exit, 1, "{}", self.text);
        let bad: Vec<&Finding> = self.findings.iter().filter(|f| matches!(&f.status[..], "warn" | "FAIL")).collect();
        assert!(bad.iter().all(|finding| !finding.fix.is_empty()), "{}", self.text);
        assert!(bad[0].fix.contains(fix), "wanted {fix:?}: {}", self.text);
    }
}
