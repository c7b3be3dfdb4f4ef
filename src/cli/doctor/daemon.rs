//! Who listens on the instance's port, and what that process may use.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::super::tool;
use super::case::Case;
use super::finding::Finding;
use super::machine;
use crate::config::Capture;
use crate::sys::account::Account;
use crate::sys::limits::{Budget, hard_descriptors, port_range};

/// The name of our processes.
const NAME: &str = "handyproxy";
/// As many pipes as are kept for the next chunk; each holds so many pages.
const PIPES: u64 = 32;
const PAGES: u64 = 256;

/// Who listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// Nobody.
    None,
    /// Somebody whom we may not see.
    Hidden,
    /// These.
    Seen(Vec<Holder>),
}

/// A process that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) name: String,
    /// Whether its program is ours, whatever it is called.
    pub(super) is_ours: bool,
}

impl Holder {
    fn of(pid: u32) -> Holder {
        let name = machine::text(&format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
        let is_ours = name == NAME || runs_ours(pid);
        Holder { pid, name, is_ours }
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        format!("{} (process {})", self.name, self.pid)
    }
}

/// Whether a process runs the same file as this one, or one with our name in front, as of another version.
fn runs_ours(pid: u32) -> bool {
    let exe = format!("/proc/{pid}/exe");
    let of_name =
        |path: PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(NAME.as_bytes()));
    let file = |path: &str| fs::metadata(path).ok().map(|facts| (facts.dev(), facts.ino()));
    let is_same = file(&exe).is_some_and(|theirs| Some(theirs) == file("/proc/self/exe"));
    is_same || fs::read_link(&exe).is_ok_and(of_name)
}

impl Listener {
    /// Looks for it.
    pub(super) fn on(port: u16) -> Listener {
        let tables = ["tcp", "tcp6"].map(|table| machine::text(&format!("/proc/net/{table}")).unwrap_or_default());
        let inodes: Vec<String> = tables.iter().flat_map(|table| listening(table, port)).collect();
        if inodes.is_empty() {
            return Listener::None;
        }
        let holders = holders(&inodes);
        if holders.is_empty() { Listener::Hidden } else { Listener::Seen(holders) }
    }

    /// The daemon's process number.
    pub(super) fn daemon(&self) -> Option<u32> {
        match self {
            Listener::Seen(holders) => holders.iter().find(|holder| holder.is_ours).map(|holder| holder.pid),
            _ => None,
        }
    }
}

/// The inodes of the sockets that listen on a port, in a table of proc(5).
fn listening(table: &str, port: u16) -> Vec<String> {
    let inode = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let own = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        (own == port && *state == "0A").then(|| (*inode).to_owned())
    };
    table.lines().filter_map(inode).collect()
}

/// The processes that hold one of these sockets.
fn holders(inodes: &[String]) -> Vec<Holder> {
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let open = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        let mut links = open.filter_map(|fd| fs::read_link(fd.path()).ok());
        if links.any(|link| wanted.iter().any(|wanted| link.as_os_str() == wanted.as_str())) {
            found.push(Holder::of(pid));
        }
    }
    found
}

/// The daemon, what it may open, and whether that is enough.
pub(super) fn check(case: &Case) -> Vec<Finding> {
    let port = case.config.local_port;
    let mut findings = vec![match (held_for(case), case.outdated()) {
        (Some((unit, state)), _) => judge_held(&unit, &state, port),
        (None, Some((older, pid))) => {
            let seen = format!("nothing listens on port {port}: process {pid} has older settings, and port {older}");
            Finding::fail("daemon", seen, case.restart())
        }
        (None, None) => judge_listener(&case.listener, port, &case.start(), &case.set("local-port", "ANOTHER")),
    }];
    let pid = case.listener.daemon();
    let limit = pid.and_then(|pid| descriptors(&machine::text(&format!("/proc/{pid}/limits"))?));
    let own = || hard_descriptors().ok();
    if let Some(descriptors) = limit.or_else(own) {
        findings.push(judge_descriptors(descriptors, limit.is_some(), case));
    }
    findings.extend(ports(case));
    let account = pid.and_then(|pid| Account::of(&pid.to_string()));
    findings
        .extend(machine::number("/proc/sys/fs/pipe-user-pages-soft").map(|pages| judge_pipes(pages, account.as_ref())));
    if let (Capture::Tproxy, Some(false)) = (case.config.capture, account.as_ref().map(Account::may_mark)) {
        let seen = "the daemon lacks CAP_NET_ADMIN, without which it cannot take such connections";
        findings.push(Finding::fail(
            "tproxy",
            seen,
            "AmbientCapabilities=CAP_NET_ADMIN in its unit, or start it as root",
        ));
    }
    findings
}

/// Where the service manager alone holds the port: the unit for which it does so, and how that is.
fn held_for(case: &Case) -> Option<(String, String)> {
    let Listener::Seen(holders) = &case.listener else { return None };
    let unit = case.unit().filter(|_| holders.iter().all(|holder| holder.name == "systemd"))?;
    let said = tool::run("systemctl", &["show", "-P", "ActiveState", &format!("{unit}.service")]).said()?;
    Some((unit, said.trim().to_owned()))
}

/// A socket unit waits for the first client, and a store for a daemon that comes back: one that does not come leaves
/// clients waiting in it.
fn judge_held(unit: &str, state: &str, port: u16) -> Finding {
    match state {
        "activating" | "deactivating" | "failed" => {
            let seen = format!("systemd holds port {port} for {unit}, which is {state}: clients wait in vain");
            Finding::fail("daemon", seen, format!("journalctl -u {unit} -n 20 tells why, unless it was just restarted"))
        }
        _ => {
            Finding::ok("daemon", format!("systemd listens on port {port} and starts {unit} with the first connection"))
        }
    }
}

fn judge_listener(listener: &Listener, port: u16, start: &str, elsewhere: &str) -> Finding {
    match listener {
        Listener::None => Finding::fail("daemon", format!("nothing listens on port {port}"), start),
        Listener::Hidden => {
            let seen = format!("something listens on port {port}; only root may see what");
            Finding::warn("daemon", seen, "run handyproxy doctor as root")
        }
        Listener::Seen(holders) => {
            let shown: Vec<String> = holders.iter().map(Holder::shown).collect();
            let shown = shown.join(", ");
            // what belongs to it may be held by the service manager too
            match holders.iter().find(|holder| !holder.is_ours && holder.name != "systemd") {
                Some(Holder { pid, .. }) => {
                    // an older version under another name cannot be told from a stranger
                    let fix = format!(
                        "stop process {pid}, unless it is handyproxy by another name (ls -l /proc/{pid}/exe); or \
                         {elsewhere} and new rules"
                    );
                    Finding::fail("daemon", format!("port {port} is taken by {shown}"), fix)
                }
                None if listener.daemon().is_none() => Finding::ok(
                    "daemon",
                    format!("{shown} listens on port {port} and starts it with the first connection"),
                ),
                None => Finding::ok("daemon", format!("{shown} listens on port {port}")),
            }
        }
    }
}

/// The soft limit: the daemon has raised it to the hard one.
fn descriptors(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let word = line.split_whitespace().next()?;
    if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() }
}

fn judge_descriptors(limit: u64, of_daemon: bool, case: &Case) -> Finding {
    let (room, wanted) = (Budget::of(limit, case.config.descriptors()).sessions, case.config.max_sessions);
    let whose = if of_daemon { "the daemon's limit of" } else { "not seen at a running daemon; the limit here of" };
    let seen = format!("{whose} {limit} has room for {room} sessions");
    if wanted > room {
        let needed = 2 * wanted + 512;
        let fix = format!("LimitNOFILE={needed} in its unit (ulimit -Hn by hand)");
        return Finding::warn("descriptors", format!("{seen}, and max-sessions is {wanted}"), fix);
    }
    if of_daemon { Finding::ok("descriptors", seen) } else { Finding::note("descriptors", seen, "") }
}

/// Towards one address of a proxy, each source has the whole range once.
fn ports(case: &Case) -> Option<Finding> {
    let [first, last] = port_range()?;
    let each = usize::from(last.saturating_sub(first)) + 1;
    let sources = case.config.upstreams.iter().map(|upstream| upstream.source.len().max(1)).min().unwrap_or(1);
    let wanted = case.config.max_sessions;
    let fix = format!(
        "{}, or sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
        case.set("source", "ADDRESSES OF THIS MACHINE")
    );
    Some(judge_ports(each * sources, wanted, &fix))
}

fn judge_ports(there: usize, wanted: usize, fix: &str) -> Finding {
    let seen = format!("{there} connections at once to one address of a proxy");
    if wanted > there {
        return Finding::warn("ports", format!("{seen}, and max-sessions is {wanted}"), fix);
    }
    Finding::ok("ports", seen)
}

fn judge_pipes(pages: u64, account: Option<&Account>) -> Finding {
    if pages == 0 || account.is_some_and(Account::has_free_pipes) {
        return Finding::ok("pipes", "no limit for the daemon's user");
    }
    let full = pages / PAGES;
    let seen = format!("the daemon's user may have {full} pipes of full size (fs.pipe-user-pages-soft = {pages})");
    if full < PIPES {
        let fix = format!("sysctl -w fs.pipe-user-pages-soft={}", PIPES * 2 * PAGES);
        return Finding::warn("pipes", format!("{seen}: the bytes of other tunnels are copied"), fix);
    }
    Finding::ok("pipes", seen)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status::{Fail, Ok, Warn};
    use super::*;

    #[test]
    fn listeners_are_found_by_their_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 00000000:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0\n   \
            1: 0100007F:20FB 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0\n";
        assert_eq!(listening(table, 8443), ["4242"]);
        assert_eq!(listening(table, 8444), [""; 0]);
    }

    #[test]
    fn a_socket_is_found_at_its_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = socket.local_addr().expect("bound").port();
        let Listener::Seen(holders) = Listener::on(port) else { panic!("it is our own") };
        let own = holders.iter().find(|holder| holder.pid == std::process::id()).expect("it is our own");
        assert!(own.is_ours, "it runs what we run: {own:?}");
        drop(socket);
        // a child that another test has begun holds it too, until it is another program
        let start = std::time::Instant::now();
        while Listener::on(port) != Listener::None {
            assert!(start.elapsed() < std::time::Duration::from_secs(30), "{:?}", Listener::on(port));
        }
    }

    #[test]
    fn a_port_belongs_to_the_daemon_or_is_taken() {
        let holder = |name: &str, is_ours| Holder { pid: 7, name: name.to_owned(), is_ours };
        let seen = |names: &[&str]| {
            Listener::Seen(names.iter().map(|name| holder(name, matches!(*name, NAME | "hp"))).collect())
        };
        for (listener, status) in [
            (Listener::None, Fail),
            (Listener::Hidden, Warn),
            (seen(&[NAME]), Ok),
            (seen(&["systemd", NAME]), Ok),
            (seen(&["systemd"]), Ok),
            (seen(&["hp"]), Ok),
            (seen(&["systemd", "hp"]), Ok),
            (seen(&["python3"]), Fail),
            (seen(&[NAME, "python3"]), Fail),
        ] {
            assert_eq!(judge_listener(&listener, 8443, "start", "elsewhere").status, status, "{listener:?}");
        }
    }

    #[test]
    fn a_port_that_is_held_for_a_daemon_that_fails_is_not_well() {
        for (state, status) in [("inactive", Ok), ("", Ok), ("activating", Fail), ("failed", Fail)] {
            assert_eq!(judge_held("handyproxy@gateway", state, 8443).status, status, "{state}");
        }
    }

    #[test]
    fn limits_are_compared_with_what_is_wanted() {
        assert_eq!(
            descriptors("Limit  Soft Limit\nMax open files            1024                 4096   files\n"),
            Some(1024)
        );
        assert_eq!(judge_ports(28_232, 30_000, "").status, Warn);
        assert_eq!(judge_ports(28_232, 28_232, "").status, Ok);
        assert_eq!(judge_ports(28_232, 0, "").status, Ok);
        for (pages, status) in [(0, Ok), (16_384, Ok), (8191, Warn)] {
            assert_eq!(judge_pipes(pages, None).status, status, "{pages}");
        }
    }
}
