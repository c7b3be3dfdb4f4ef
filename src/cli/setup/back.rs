//! The way back: what the journal of a room says is undone, last things first. Each step is harmless where there is
//! nothing to undo, so that a way back that broke off is gone again from its beginning.

use super::machine;
use super::room::{FILES, Fate, Room};
use crate::cli::rules::TOOL;

/// Undoes all, and says so. What goes wrong is said too, and the rest is undone nevertheless.
///
/// # Errors
/// Something is left; the room stays, for another try.
pub(super) fn run(room: &Room, say: &dyn Fn(&str)) -> Result<(), String> {
    let name = room.name();
    let (daemon, rules) = (format!("handyproxy@{name}.service"), format!("handyproxy-rules@{name}.service"));
    let systemd = machine::has_systemd();
    let mut wrong = Vec::new();
    let mut tried = |what: &str, outcome: Result<(), String>| {
        match &outcome {
            Ok(()) => say(&format!("  {what}")),
            Err(why) => say(&format!("  {what}: failed: {why}")),
        }
        wrong.extend(outcome.err());
    };
    if room.has("rules") {
        if systemd {
            tried("unit of the rules stopped", ended("stop", &rules, ["is-active", "active"]));
        }
        tried("rules taken down", machine::run(TOOL, &["down", "--name", name]));
    }
    if room.has("start") && systemd {
        tried("daemon stopped", ended("stop", &daemon, ["is-active", "active"]));
    }
    if room.has("enable") && systemd && !room.has("was-enabled") {
        tried("unit disabled", ended("disable", &daemon, ["is-enabled", "enabled"]));
    }
    for kind in FILES {
        let path = room.target(kind);
        let path = path.display();
        match room.restore(kind) {
            Ok(Fate::Nothing) => {}
            Ok(Fate::Removed) => tried(&format!("{path} removed"), Ok(())),
            Ok(Fate::Restored) => tried(&format!("{path}: the older file is back"), Ok(())),
            Ok(Fate::Kept(saved, older)) => {
                let and = if older { ", and the older file is back" } else { "" };
                tried(&format!("{path} was edited since: it is kept as {}{and}", saved.display()), Ok(()));
            }
            Err(why) => tried(&path.to_string(), Err(why)),
        }
    }
    if room.has("mask") && systemd {
        tried("unit of the rules unmasked", machine::run("systemctl", &["unmask", "--runtime", &rules]));
    }
    if room.has("was-active") && room.has("start") && systemd {
        tried("the older daemon started", machine::run("systemctl", &["start", &daemon]));
        if room.has("had-rules") {
            tried("the older rules are up", machine::run("systemctl", &["start", &rules]));
        }
    }
    if wrong.is_empty() { room.forget() } else { Err(wrong.join("; ")) }
}

/// Ends what the admin has begun by hand with an instance that setup only wrote: without its file, nobody could.
pub(super) fn by_hand(room: &Room, say: &dyn Fn(&str)) -> Result<(), String> {
    let name = room.name();
    if room.has("start") || room.replaces("toml") {
        return Ok(());
    }
    if machine::has_systemd() {
        let daemon = format!("handyproxy@{name}.service");
        if machine::asked("systemctl", &["is-enabled", &daemon])?.trim() == "enabled" {
            machine::run("systemctl", &["disable", &daemon])?;
            say("  unit disabled");
        }
        if machine::asked("systemctl", &["is-active", &daemon])?.trim() == "active" {
            machine::run("systemctl", &["stop", &daemon])?;
            say("  daemon stopped");
        }
    }
    if !room.has("rules") && !machine::asked(TOOL, &["status", "--porcelain", "--name", name])?.is_empty() {
        machine::run(TOOL, &["down", "--name", name])?;
        say("  rules that were loaded by hand taken down");
        if !machine::has_systemd() {
            say("  a daemon that was started by hand goes on: end it yourself");
        }
    }
    Ok(())
}

/// Tells systemd to end what a unit does; one that does not, or is gone with its package, has ended. Where systemd says
/// nothing, neither is known.
fn ended(verb: &str, unit: &str, [ask, answer]: [&str; 2]) -> Result<(), String> {
    let told = machine::run("systemctl", &[verb, unit]);
    let has_ended = || machine::asked("systemctl", &[ask, unit]).is_ok_and(|state| state.trim() != answer);
    if told.is_err() && has_ended() { Ok(()) } else { told }
}
