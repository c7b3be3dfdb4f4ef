//! `handyproxy reload`: for ExecReload of a unit. The settings have been read by now, and have no mistake.

use crate::sys::process;

/// Tells the daemon that systemd means.
pub(super) fn run() -> Result<(), String> {
    let given = std::env::var("MAINPID").map_err(|_| {
        "reload: MAINPID is not set: this is for ExecReload of a systemd unit; by hand, send SIGHUP to the daemon"
            .to_owned()
    })?;
    let pid = given.parse().ok().filter(|&pid: &i32| pid > 1);
    let pid = pid.ok_or_else(|| format!("reload: MAINPID is {given:?}, which is no process"))?;
    process::hang_up(pid).map_err(|error| format!("reload: signal process {pid}: {error}"))
}
