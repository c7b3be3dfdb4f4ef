//! A machine with a Debian of its own: a root folder, a process tree and a network, and machine.py for a systemd.
//!
//! Its disk outlives it, as far as it is not below /run, /tmp or /proc: so it can be booted again.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::lab::support::netns::Netns;
use super::scratch::Scratch;
use super::{output, said, succeeds};

/// Mounts what a machine has, and becomes its first process. What is written need not outlive the test: volatile.
const BOOT: &str = r#"
    set -eu
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/disk,workdir=$2/work,volatile" "$2/root"
    mount -t proc proc "$2/root/proc"
    mount -t tmpfs tmpfs "$2/root/run"
    mount -t tmpfs tmpfs "$2/root/tmp"
    exec python3 tests/package/machine.py "$2/root"
"#;

/// What differs from one installation to the next, and is not the package's: the notes of dpkg and apt, logs and backups.
const NOT_OURS: [&str; 11] = [
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/log",
    "/var/cache",
    "/etc/*-",
    "/etc/.pwd.lock",
];

/// As a Debian with systemd has it.
const WANTS: &str = "disk/etc/systemd/system/multi-user.target.wants";

/// What it has on its disk.
pub(super) struct Disk(Scratch);

/// A machine that is up; it is gone, and all of its processes, when this is dropped.
pub(super) struct Machine<'d> {
    _disk: &'d Disk,
    keeper: Child,
    first: u32,
}

impl Disk {
    /// With a fresh Debian on it, these files lying in /root, and a systemctl.
    pub(super) fn new(files: &[&Path]) -> Disk {
        let scratch = Scratch::new();
        for folder in ["disk", "work", "root", "disk/root", "disk/usr/bin", "disk/etc/apt/apt.conf.d", WANTS] {
            fs::create_dir_all(scratch.path(folder)).expect("our folder");
        }
        for file in files {
            let name = file.file_name().expect("a file").to_string_lossy();
            fs::copy(file, scratch.path(&format!("disk/root/{name}"))).expect("it can be read");
        }
        fs::copy("tests/package/systemctl", scratch.path("disk/usr/bin/systemctl")).expect("it can be read");
        fs::write(scratch.path("disk/etc/apt/apt.conf.d/yes"), "APT::Get::Assume-Yes true;\n").expect("our folder");
        fs::set_permissions(scratch.path("disk/root"), fs::Permissions::from_mode(0o700)).expect("our folder");
        Disk(scratch)
    }

    /// Starts the machine on its end of this network, and waits until all that is enabled has been started.
    pub(super) fn boot(&self, net: &Netns) -> Machine<'_> {
        let _ = fs::remove_dir_all(self.0.path("work"));
        fs::create_dir(self.0.path("work")).expect("our folder");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL", "sh", "-c", BOOT, "boot"]);
        command.arg(debian()).arg(self.0.folder());
        let mut keeper = net.enter(|| command.stdout(Stdio::piped()).spawn()).expect("unshare is there");
        let mut lines = BufReader::new(keeper.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next().and_then(Result::ok).as_deref(), Some("up"), "the machine did not come up");
        let path = format!("/proc/{0}/task/{0}/children", keeper.id());
        let children = fs::read_to_string(path).expect("proc(5)");
        let first = children.trim().parse().expect("one child: the first process");
        Machine { _disk: self, keeper, first }
    }
}

impl Machine<'_> {
    /// Runs a line of shell as root.
    pub(super) fn tries(&self, line: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wdns=/root"]);
        command.args(["--target", &self.first.to_string(), "--", "/bin/sh", "-c", line]).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("DEBIAN_FRONTEND", "noninteractive").env("HOME", "/root");
        output(command.stdin(Stdio::null()))
    }

    /// Runs it, and it must succeed.
    pub(super) fn runs(&self, line: &str) -> String {
        let output = self.tries(line);
        let told = said(&output.stdout);
        assert!(output.status.success(), "{line}: {told}{}\n{}", said(&output.stderr), self.logs());
        told
    }

    /// What services and machine.py have said.
    pub(super) fn logs(&self) -> String {
        said(&self.tries("tail -n 30 /var/log/machine.log /var/log/handyproxy*.log").stdout)
    }

    /// The processes that run there, apart from the first one and the one that looks.
    pub(super) fn processes(&self) -> Vec<String> {
        let line = "cd /proc && for p in [0-9]*; do tr '\\0\\n' '  ' <$p/cmdline 2>/dev/null && echo; done";
        let all = said(&self.tries(line).stdout);
        let all = all.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("cmdline"));
        all.filter(|line| !line.contains("machine.py") && !line.starts_with("tr ")).map(str::to_owned).collect()
    }

    /// Every file with its kind, mode and owner, and the users and groups.
    pub(super) fn census(&self) -> String {
        let not_ours = NOT_OURS.map(|path| format!("-path '{path}'")).join(" -o ");
        let find = format!("find / -xdev \\( {not_ours} \\) -prune -o -printf '%p %y%m %u:%g\\n' | sort");
        self.runs(&format!("{find}; cat /etc/passwd /etc/group"))
    }

    /// Puts a file there.
    pub(super) fn writes(&self, path: &str, text: &str) {
        fs::write(format!("/proc/{}/root{path}", self.first), text).expect("a folder of the machine");
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        // its first process goes after that, and the disk, which may be used again, with it
        let start = Instant::now();
        let lives = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.first)).unwrap_or_default();
            // PID (NAME) STATE
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
        };
        while lives() && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A Debian with nothing of ours, made once.
fn debian() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian");
        succeeds(Command::new("tests/package/debian-root").arg(&folder));
        folder
    })
}
