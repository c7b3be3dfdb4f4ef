//! The words behind `setup`: what is given by flags need not be asked.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::argv::{self, Kind, Words};
use crate::config::{Mistake, Mode, duration};

/// A flag, what its value is (nothing: a switch), and what it means.
pub(in super::super) type Flag = (&'static str, &'static str, &'static str);

/// All flags.
pub(in super::super) const FLAGS: &[Flag] = &[
    ("name", "NAME", "Name of the instance and of its file, unit and rules (default gateway)"),
    ("upstream", "PROXY", "Proxy that opens the tunnels, as in upstream-proxy of handyproxy.conf(5)"),
    ("auth", "SCHEMES", "How to prove who we are: none, basic, digest, ntlm, negotiate"),
    ("user", "USER", "Who we are to the proxy, such as 'DOMAIN\\user'"),
    ("password-file", "FILE", "File whose first line is the password; it is copied to where only root reads it"),
    ("mode", "gateway|local", "Whose connections: gateway for other machines (default), local for this one"),
    ("interfaces", "LIST", "Interfaces at which clients arrive, or all (default: all that are up, but the way out)"),
    ("ports", "PORTS", "Destination ports to catch, such as 80,443,8000-8999, or * for all (default 80,443)"),
    ("plain-http", "HOW", "What becomes of HTTP without TLS: connect, relay or auto (default: as the proxy needs it)"),
    ("local-port", "PORT", "Port of the daemon (default: the first free one from 8443)"),
    ("dns", "yes|no", "Whether clients without DNS get their names resolved here (default no)"),
    ("capture", "HOW", "How rules hand over: redirect or tproxy (default redirect)"),
    ("confirm", "TIME", "How long rules stay up without a confirmation, 10s to 1h (default 60s)"),
    ("target", "HOST[:PORT]", "What tests ask the proxy for (default example.com:443)"),
    ("etc", "DIR", "Where instances are (default /etc/handyproxy)"),
    ("yes", "", "Ask nothing: take defaults, accept the summary, keep what was proven"),
    ("force", "", "With -yes: go on although the proxy fails its test"),
    ("replace", "", "Replace an instance of that name"),
    ("no-start", "", "Write the file, and start nothing"),
    ("undo", "", "Take back what setup has done for -name"),
    ("help", "", "Print this help and exit"),
    ("h", "", "The same"),
];

/// Where instances are, unless `-etc` says otherwise.
const ETC: &str = "/etc/handyproxy";

/// What was asked for.
#[derive(Debug)]
pub(super) enum Asked {
    /// An instance.
    Setup(Box<Wishes>),
    /// The way back for an instance.
    Undo { name: String, etc: PathBuf },
    /// The flags.
    Help,
}

/// What flags say; `None` is to be asked, or to be taken by default.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) name: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) auth: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) mode: Option<Mode>,
    pub(super) interfaces: Option<String>,
    pub(super) ports: Option<String>,
    pub(super) plain_http: Option<String>,
    pub(super) local_port: Option<String>,
    pub(super) dns: Option<bool>,
    pub(super) capture: Option<String>,
    pub(super) confirm: Option<Duration>,
    pub(super) target: Option<String>,
    pub(super) etc: PathBuf,
    pub(super) yes: bool,
    pub(super) force: bool,
    pub(super) replace: bool,
    pub(super) no_start: bool,
}

/// Reads the words.
///
/// # Errors
/// Every mistake at once.
pub(super) fn read(words: Vec<String>) -> Result<Asked, Vec<Mistake>> {
    let kind = |value: &str| if value.is_empty() { Kind::Switch } else { Kind::Value };
    let known: Vec<(&str, Kind)> = FLAGS.iter().map(|(name, value, _)| (*name, kind(value))).collect();
    let Words { given, mut mistakes, .. } = argv::split(words, 0, &known);
    let mut wishes = Wishes { etc: PathBuf::from(ETC), ..Wishes::default() };
    let (mut undo, mut help) = (false, false);
    for flag in &given {
        let value = flag.value.clone();
        let outcome = match flag.name.as_str() {
            "name" => name(&value).map(|()| wishes.name = Some(value)),
            "upstream" => set(&mut wishes.upstream, value),
            "auth" => set(&mut wishes.auth, value),
            "user" => set(&mut wishes.user, value),
            "password-file" => set(&mut wishes.password_file, PathBuf::from(value)),
            "mode" => mode(&value).map(|mode| wishes.mode = Some(mode)),
            "interfaces" => set(&mut wishes.interfaces, value),
            "ports" => set(&mut wishes.ports, value),
            "plain-http" => set(&mut wishes.plain_http, value),
            "local-port" => set(&mut wishes.local_port, value),
            "dns" => yes_or_no(&value).map(|yes| wishes.dns = Some(yes)),
            "capture" => set(&mut wishes.capture, value),
            "confirm" => confirm(&value).map(|time| wishes.confirm = Some(time)),
            "target" => set(&mut wishes.target, value),
            "etc" if value.is_empty() || value.contains(char::is_control) => Err(format!("{value:?} is no folder")),
            "etc" => std::path::absolute(&value).map(|path| wishes.etc = path).map_err(|error| error.to_string()),
            "yes" => switch(&value).map(|on| wishes.yes = on),
            "force" => switch(&value).map(|on| wishes.force = on),
            "replace" => switch(&value).map(|on| wishes.replace = on),
            "no-start" => switch(&value).map(|on| wishes.no_start = on),
            "undo" => switch(&value).map(|on| undo = on),
            _ => switch(&value).map(|on| help = on),
        };
        if let Err(why) = outcome {
            mistakes.push(Mistake { given: format!("-{}", flag.name), why });
        }
    }
    let stray = |given: &argv::Given| !matches!(given.name.as_str(), "undo" | "name" | "etc" | "yes");
    if let (true, Some(given)) = (undo, given.iter().find(|given| stray(given))) {
        mistakes.push(Mistake { given: format!("-{}", given.name), why: "says nothing to -undo".to_owned() });
    }
    match (mistakes.is_empty(), help, undo) {
        (false, ..) => Err(mistakes),
        (_, true, _) => Ok(Asked::Help),
        (_, _, true) => Ok(Asked::Undo { name: wishes.name.unwrap_or_else(|| "gateway".to_owned()), etc: wishes.etc }),
        _ => Ok(Asked::Setup(Box::new(wishes))),
    }
}

/// What `setup -h` prints.
pub(super) fn help() -> String {
    let mut text = "Sets up an instance on this machine: its file, its unit, its netfilter rules.\n\n\
                    Usage: handyproxy setup [-flag value]...\n       handyproxy setup -undo [-name NAME]\n\n"
        .to_owned();
    for (name, value, what) in FLAGS {
        let flag = if value.is_empty() { format!("-{name}") } else { format!("-{name} <{value}>") };
        let _ = writeln!(text, "  {flag:22} {what}");
    }
    text += "\nWhat is not given is asked for. Nothing is changed before the summary is accepted; what fails or is not\n\
             confirmed is taken back. Exit codes: 0 done, 1 failed and taken back, 2 bad usage, 3 the file is written,\n\
             and nothing runs, since there is no systemd here.\n";
    text
}

/// A name that fits a file, a unit and a chain.
pub(super) fn name(text: &str) -> Result<(), String> {
    super::super::rules::name(&format!("{text}.toml")).map(|_| ()).map_err(|_| {
        let most = super::super::rules::MAX_NAME;
        format!("{text:?} is not 1 to {most} letters, digits, - and _")
    })
}

/// `gateway` or `local`.
pub(super) fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "gateway" => Ok(Mode::Gateway),
        "local" => Ok(Mode::Local),
        _ => Err(format!("{text:?} is not gateway or local")),
    }
}

/// The usual words.
pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "n" | "no" => Ok(false),
        _ => Err(format!("{text:?} is not yes or no")),
    }
}

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), String> {
    *place = Some(value);
    Ok(())
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

fn confirm(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))?;
    let fits = (Duration::from_secs(10)..=Duration::from_secs(3600)).contains(&time);
    if fits { Ok(time) } else { Err(format!("{text:?} is not between 10s and 1h")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Asked, Vec<String>> {
        let asked = read(line.split_whitespace().map(str::to_owned).collect());
        asked.map_err(|mistakes| mistakes.into_iter().map(|mistake| mistake.given).collect())
    }

    #[test]
    fn flags_become_wishes() {
        let Ok(Asked::Setup(wishes)) = run("-name a --upstream=p:1 -dns no -confirm 90s -mode local -yes") else {
            panic!("wishes were wanted");
        };
        assert_eq!((wishes.name.as_deref(), wishes.upstream.as_deref()), (Some("a"), Some("p:1")));
        assert_eq!((wishes.dns, wishes.yes, wishes.force), (Some(false), true, false));
        assert_eq!((wishes.confirm, wishes.mode), (Some(Duration::from_secs(90)), Some(Mode::Local)));
        assert_eq!(wishes.etc, PathBuf::from(ETC));
    }

    #[test]
    fn every_mistake_is_named() {
        let line = "-nope -name a.b -mode x -dns perhaps -confirm 9s -etc= -yes=maybe";
        let wanted = ["-nope", "-name", "-mode", "-dns", "-confirm", "-etc", "-yes"];
        assert_eq!(run(line).expect_err("mistakes"), wanted);
        assert_eq!(run("-undo -upstream p").expect_err("of no use"), ["-upstream"]);
        for name in ["", "-x", "fifteen-letters"] {
            assert_eq!(run(&format!("-name={name}")).expect_err("no name"), ["-name"], "{name}");
        }
    }

    #[test]
    fn undo_needs_no_name() {
        assert!(matches!(run("-undo"), Ok(Asked::Undo { name, .. }) if name == "gateway"));
        assert!(matches!(run("-undo -name x"), Ok(Asked::Undo { name, .. }) if name == "x"));
    }

    #[test]
    fn help_names_every_flag_within_a_hundred_and_twenty_columns() {
        let help = help();
        for (name, ..) in FLAGS {
            assert!(help.contains(&format!("  -{name} ")), "{name} in {help}");
        }
        assert!(help.lines().all(|line| line.len() <= 120), "{help}");
        assert!(matches!(run("-h"), Ok(Asked::Help)));
    }
}
