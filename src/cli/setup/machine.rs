//! What this machine is like: who runs us, which tools, interfaces and ports there are; and how its tools are run.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use super::super::rules;
use super::super::tool::{self, Ran};
use crate::sys::account::Account;
use crate::sys::interfaces;

/// How long this machine may take to connect to itself.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long systemd may take for a job: the unit has 60s to start, and 30s to stop, of which it asks for more while it
/// drains.
const JOB: Duration = Duration::from_secs(180);
/// How long for all else, reading its units anew included.
const ANSWER: Duration = Duration::from_secs(30);
/// How often to see whether a command has ended.
const LOOK: Duration = Duration::from_millis(10);
/// So many ports are tried for a free one.
const PORTS: u16 = 100;

/// Whether root runs us.
pub(super) fn is_root() -> bool {
    Account::of("self").is_some_and(|account| account.uid == 0)
}

/// Whether systemd runs this machine (sd_booted(3)).
pub(super) fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Where a program is.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let runs =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    std::env::split_paths(&rules::path()).map(|folder| folder.join(program)).find(runs)
}

/// The group that may read instances, if there is one.
pub(super) fn group() -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let line = groups.lines().find(|line| line.starts_with("handyproxy:"))?;
    line.split(':').nth(2)?.parse().ok()
}

/// Where clients may be: interfaces that are up and have an address, loopback and the ways out apart.
pub(super) fn client_interfaces() -> Vec<String> {
    let read = |file| fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
    let out = ways_out(&read("route"), &read("ipv6_route"));
    let up = interfaces::up().unwrap_or_default().into_iter();
    up.filter(|one| one.is_addressed && !out.contains(&one.name)).map(|one| one.name).collect()
}

/// All interfaces that are up, loopback apart.
pub(super) fn interfaces() -> Vec<String> {
    interfaces::up().unwrap_or_default().into_iter().map(|one| one.name).collect()
}

/// The interfaces of default routes, from /proc/net/route and /proc/net/ipv6_route.
fn ways_out(v4: &str, v6: &str) -> Vec<String> {
    let v4 = v4.lines().filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [name, "00000000", _, _, _, _, _, "00000000", ..] => Some(name.to_owned()),
        _ => None,
    });
    let v6 = v6.lines().filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        // the kernel has an unreachable default on lo
        [to, "00", .., name] if to.bytes().all(|b| b == b'0') && name != "lo" => Some(name.to_owned()),
        _ => None,
    });
    v4.chain(v6).collect()
}

/// Whether this machine forwards what is not caught.
pub(super) fn forwards() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1")
}

/// The first free port from here on.
pub(super) fn free_port(first: u16) -> Option<u16> {
    (first..first + PORTS).find(|port| is_free(*port))
}

/// Whether nobody listens on a port.
pub(super) fn is_free(port: u16) -> bool {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Ok(_) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => false,
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok(),
    }
}

/// Whether somebody takes connections on a port of this machine.
pub(super) fn is_served(port: u16) -> bool {
    let served = |addr| match TcpStream::connect_timeout(&SocketAddr::new(addr, port), AT_ONCE) {
        Ok(_) => true,
        // whoever came straight to the daemon is reset, which may be seen before the connection is
        Err(error) => matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
    };
    served(Ipv4Addr::LOCALHOST.into()) || served(Ipv6Addr::LOCALHOST.into())
}

/// Runs a command; what it says is shown, and is not waited for longer than it runs.
///
/// # Errors
/// It cannot be run, fails, or takes too long.
pub(super) fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let told = tool::command(program, words).spawn().map_err(|error| error.to_string());
    let is_stopping = || words.last().is_some_and(|unit| is_stopping(unit));
    let status = told.and_then(|mut child| ended(&mut child, patience(program, words), is_stopping));
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", tool::line(program, words))),
        Err(why) => Err(format!("{}: {why}", tool::line(program, words))),
    }
}

/// What a command prints, whatever its exit status; nothing if it cannot be run.
///
/// # Errors
/// It takes too long.
pub(super) fn asked(program: &str, words: &[&str]) -> Result<String, String> {
    match tool::run_within(ANSWER, program, words) {
        Ran::Ended { stdout, .. } => Ok(stdout),
        Ran::Missing => Ok(String::new()),
        Ran::Failed(why) => Err(why),
    }
}

/// What a command prints; nothing where it takes too long, which is told.
pub(super) fn printed(program: &str, words: &[&str]) -> String {
    asked(program, words).unwrap_or_else(|why| {
        super::super::say(&format!("  {why}\n"));
        String::new()
    })
}

/// How long a command may take; what changes rules must not be cut off half-way.
fn patience(program: &str, words: &[&str]) -> Option<Duration> {
    match (program, words.first()) {
        ("systemctl", Some(&("start" | "stop" | "restart"))) => Some(JOB),
        ("systemctl", _) => Some(ANSWER),
        _ => None,
    }
}

/// Whether a daemon of before waits for its sessions to end: systemd waits for it no longer than it may (drain-timeout).
fn is_stopping(unit: &str) -> bool {
    asked("systemctl", &["is-active", unit]).is_ok_and(|state| state.trim() == "deactivating")
}

/// Waits for the end of a command; one that takes too long is ended, unless there is a reason to `go_on`.
fn ended(child: &mut Child, patience: Option<Duration>, go_on: impl Fn() -> bool) -> Result<ExitStatus, String> {
    let Some(patience) = patience else { return child.wait().map_err(|error| error.to_string()) };
    let mut start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if start.elapsed() < patience => std::thread::sleep(LOOK),
            Ok(None) if go_on() => start = Instant::now(),
            Ok(None) => {
                // it only waits: what it asked for goes on in systemd
                let _ = child.kill();
                let _ = child.wait();
                let seconds = patience.as_secs();
                return Err(format!(
                    "no end within {seconds}s, and not waited for any longer; see systemctl list-jobs"
                ));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Runs ourselves.
///
/// # Errors
/// It cannot be run, or fails.
pub(super) fn run_own(words: &[&str]) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|error| format!("find our own program: {error}"))?;
    run(&own.to_string_lossy(), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_systemd_are_waited_for_as_long_as_units_may_take_and_not_for_ever() {
        assert_eq!(patience("systemctl", &["restart", "handyproxy@gateway.service"]), Some(JOB));
        assert_eq!(patience("systemctl", &["mask", "--runtime", "x.service"]), Some(ANSWER));
        assert_eq!(patience("handyproxy-rules", &["down"]), None);
        let mut child = tool::command("sleep", &["1000"]).spawn().expect("sleep");
        let asked_for = std::cell::Cell::new(0);
        let go_on = || asked_for.replace(asked_for.get() + 1) < 2;
        let why = ended(&mut child, Some(Duration::from_millis(50)), go_on).expect_err("it sleeps");
        assert!(why.starts_with("no end within 0s"), "{why}");
        assert_eq!(asked_for.get(), 3, "it went on twice");
        assert!(child.try_wait().expect("our child").is_some(), "it goes on");
        assert_eq!(asked("echo", &["a", "b"]), Ok("a b\n".to_owned()));
        assert_eq!(asked("no-such-program-here", &[]), Ok(String::new()));
    }

    #[test]
    fn ways_out_are_those_of_default_routes() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  wan0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  half\t00000000\t0202000A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n\
                  lan0\t0000010A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let zeros = "0".repeat(32);
        let route = |to: &str, bits, name| {
            format!("{to} {bits} {zeros} 00 {zeros} 00000400 00000001 00000000 00000003 {name}\n")
        };
        let v6 = [
            route(&zeros, "00", "wan6"),
            route(&zeros, "00", "lo"),
            route("fd100001000000000000000000000000", "40", "lan0"),
        ];
        assert_eq!(ways_out(v4, &v6.concat()), ["wan0", "wan6"]);
    }
}
