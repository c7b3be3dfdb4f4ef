//! One instance with what every check needs to know of it.

use std::path::Path;

use super::daemon::Listener;
use super::firewall::Chain;
use super::loaded::Rule;
use super::status::{self, Line, Status};
use crate::config::{Capture, Config, Doctor, Mode};
use crate::sys::account::Account;

/// Where units look for instances.
pub(super) const FOLDER: &str = "/etc/handyproxy";

/// An instance.
pub(super) struct Case<'a> {
    pub(super) config: &'a Config,
    pub(super) how: &'a Doctor,
    /// What its rules and its unit are called.
    pub(super) name: Option<&'a str>,
    /// Whose doctor this is.
    pub(super) asker: &'a Account,
    /// All that handyproxy-rules has up.
    pub(super) status: &'a Status,
    /// What of that is this instance's.
    pub(super) lines: Vec<Line>,
    /// All rules of the kernel.
    pub(super) loaded: &'a [Rule],
    /// The chains that they are in, all of them.
    pub(super) chains: &'a [Chain],
    /// Why some of them could not be seen.
    pub(super) unseen: &'a [String],
    /// Who listens on its port.
    pub(super) listener: Listener,
}

impl<'a> Case<'a> {
    pub(super) fn lines(config: &Config, name: Option<&str>, status: &Status) -> Vec<Line> {
        match status {
            Status::Up(lines) => status::of_instance(lines, name, config.local_port),
            _ => Vec::new(),
        }
    }

    /// The name of an instance, by its file.
    pub(super) fn name(config: &Config) -> Option<&str> {
        Path::new(config.file.as_deref()?).file_stem()?.to_str()
    }

    /// Rules that somebody made by other means, and that lead to its port.
    pub(super) fn made_by_hand(&self) -> Vec<&'a Rule> {
        if !self.lines.is_empty() {
            return Vec::new();
        }
        // of what the tool made, it has said that nothing is in force
        let asked = matches!(self.status, Status::Up(_));
        let by_hand = |rule: &&Rule| rule.leads_to(self.config.local_port) && !(asked && rule.is_of_tool());
        self.loaded.iter().filter(by_hand).collect()
    }

    /// Whether somebody's own rules hand over a family, IPv6 or IPv4, beside those of handyproxy-rules.
    pub(super) fn catches_by_hand(&self, six: bool) -> bool {
        let is_of = |rule: &Rule| if six { rule.is_six } else { rule.is_four };
        self.loaded.iter().any(|rule| is_of(rule) && !rule.is_of_tool() && rule.leads_to(self.config.local_port))
    }

    /// Whether connections of this machine are captured.
    pub(super) fn is_local(&self) -> bool {
        match &self.config.rules {
            Some(rules) => rules.mode == Mode::Local,
            None if self.lines.is_empty() => self.made_by_hand().iter().any(|rule| rule.is_output),
            None => self.lines.iter().any(Line::is_local),
        }
    }

    /// Whether connections of other machines are.
    pub(super) fn is_gateway(&self) -> bool {
        match &self.config.rules {
            Some(rules) => rules.mode == Mode::Gateway,
            None => self.lines.iter().any(|line| !line.is_local()) || (self.lines.is_empty() && !self.is_local()),
        }
    }

    /// How to change a setting of the file's top level.
    pub(super) fn set(&self, key: &str, value: &str) -> String {
        match &self.config.file {
            Some(file) => format!("{key} = {value} in {file}, then {}", self.take_over(key)),
            None => format!("-{key} {}", value.trim_matches(['[', ']', '"'])),
        }
    }

    /// Its unit, where it is one's.
    pub(super) fn unit(&self) -> Option<String> {
        // named from within its folder, it is the same file
        let file = std::path::absolute(self.config.file.as_deref()?).ok()?;
        Some(format!("handyproxy@{}", self.name?)).filter(|_| file.parent() == Some(Path::new(FOLDER)))
    }

    /// How the daemon learns of a setting that has changed.
    fn take_over(&self, key: &str) -> String {
        let verb = if matches!(key, "admin" | "capture" | "dns" | "local-port") { "restart" } else { "reload" };
        self.unit().map_or("restart handyproxy".to_owned(), |unit| format!("systemctl {verb} {unit}"))
    }

    /// How to stop it and start it again.
    pub(super) fn restart(&self) -> String {
        self.take_over("local-port")
    }

    /// A daemon of ours that listens where the rules lead, and not where the file says: its port and process number.
    pub(super) fn outdated(&self) -> Option<(u16, u32)> {
        if self.listener != Listener::None {
            return None;
        }
        self.lines.iter().find_map(|line| {
            let port = line.get("port").parse().ok()?;
            Some((port, Listener::on(port).daemon()?))
        })
    }

    /// How to start it.
    pub(super) fn start(&self) -> String {
        match (self.unit(), &self.config.file) {
            // --now would do nothing to one that runs with older settings
            (Some(unit), _) => format!("systemctl enable {unit} && systemctl restart {unit}"),
            (None, Some(file)) => format!("handyproxy -config {file}"),
            (None, None) => format!("handyproxy -local-port {}", self.config.local_port),
        }
    }

    /// How to bring its rules up.
    pub(super) fn rules_up(&self) -> String {
        let up = match (&self.config.file, &self.config.rules) {
            (Some(file), Some(_)) => format!("handyproxy rules up -config {file}"),
            _ => {
                let capture = if self.config.capture == Capture::Tproxy { " --capture tproxy" } else { "" };
                format!("handyproxy-rules gateway up --port {}{capture} -i INTERFACE", self.config.local_port)
            }
        };
        match self.outdated() {
            // rules for a port at which nobody listens yet would cut all clients off
            Some(_) => format!("{}, then {up}", self.restart()),
            None => up,
        }
    }

    /// How to change a key of `[rules]`.
    pub(super) fn set_rule(&self, key: &str, value: &str, option: &str) -> String {
        match (&self.config.file, &self.config.rules) {
            (Some(file), Some(_)) => format!("{key} = {value} under [rules] of {file}, then {}", self.rules_up()),
            _ => format!("{} {option}", self.rules_up()),
        }
    }
}
