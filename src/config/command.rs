//! The words behind the program's name: what is to be done, with which settings.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::argv::{self, Given, Kind, Words};
use super::draft::Draft;
use super::file::{self, File};
use super::near::near;
use super::settings::SETTINGS;
use super::values::switch;
use super::{Command, Config, Doctor, Mistake, Place, Question, RulesAction, Shell, duration, top};
use crate::addr::Host;

/// The flags that are no settings: what to print, instead of serving.
pub(super) const SWITCHES: [(&str, &str); 3] =
    [("version", "Print the version and exit"), ("help", "Print this help and exit"), ("h", "The same")];

/// The flag that names the file, with what its value is.
pub(super) const FILE: (&str, &str, &str) =
    ("config", "FILE", "Read settings, upstreams and routes from this file (handyproxy.conf(5)); flags win over it");

/// Something that can be asked for by a plain word.
pub(super) struct Subcommand {
    pub(super) name: &'static str,
    /// What stands before the flags.
    pub(super) action: &'static str,
    /// Its own flags, beside all settings.
    pub(super) flags: &'static [(&'static str, Kind)],
    /// What stands behind the flags.
    pub(super) words: &'static str,
    pub(super) what: &'static str,
}

impl Subcommand {
    fn kind(&self, flag: &str) -> Option<Kind> {
        self.flags.iter().find(|(name, _)| *name == flag).map(|(_, kind)| *kind)
    }
}

const ACTIONS: [&str; 5] = ["up", "down", "status", "print", "confirm"];
const SHELLS: [(&str, Shell); 3] = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

/// All of them.
pub(super) static SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "check",
        action: "",
        flags: &[],
        words: "",
        what: "check all settings and print what is in force",
    },
    Subcommand {
        name: "explain",
        action: "",
        flags: &[],
        words: "CLIENT ORIGIN [NAME]",
        what: "tell how a connection would be routed, and why",
    },
    Subcommand {
        name: "reload",
        action: "",
        flags: &[],
        words: "",
        what: "check all settings, then tell the running daemon ($MAINPID) to read them",
    },
    Subcommand {
        name: "rules",
        action: "up|down|status|print|confirm|words",
        flags: &[("confirm", Kind::Value)],
        words: "",
        what: "what handyproxy-rules(8) does, as [rules] of the file says; -confirm TIME takes it back unless confirmed",
    },
    Subcommand {
        name: "doctor",
        action: "",
        flags: &[("json", Kind::Switch), ("no-net", Kind::Switch), ("target", Kind::Value)],
        words: "",
        what: "see whether all is well, and what to do: -json, -no-net (asks nobody), -target HOST",
    },
    Subcommand {
        name: "setup",
        action: "",
        flags: &[],
        words: "",
        what: "set up an instance on this machine, or take it back; setup -h tells its flags",
    },
    Subcommand {
        name: "top",
        action: "",
        flags: top::FLAGS,
        words: "",
        what: "look at a running daemon, live; -admin ADDR or -config FILE, -interval TIME, -once (print and end)",
    },
    Subcommand {
        name: "cat",
        action: "",
        flags: &[],
        words: "FILE...",
        what: "show what a tap of kind hexlog or pcapng has recorded, or send it again; cat -h tells its flags",
    },
    Subcommand {
        name: "completions",
        action: "bash|zsh|fish",
        flags: &[],
        words: "",
        what: "print what completes commands in that shell",
    },
];

/// Reads the words.
pub(super) fn parse(words: Vec<String>) -> Result<Command, Vec<Mistake>> {
    let asked = words.first().and_then(|word| SUBCOMMANDS.iter().find(|sub| sub.name == word));
    let Some(sub) = asked else {
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["help"] => return Ok(Command::Help),
            ["version"] => return Ok(Command::Version),
            _ => {}
        }
        if let Some(word) = words.first().filter(|word| !word.starts_with('-'))
            && let Some(meant) = near(word, SUBCOMMANDS.iter().map(|sub| sub.name))
        {
            return Err(mistake(word, format!("unknown command; is it {meant}?")));
        }
        return match settings(words, &[], 0)? {
            (Asked::Config(config), ..) => Ok(Command::Run(config)),
            (Asked::Other(command), ..) => Ok(command),
        };
    };
    let mut words = words[1..].to_vec();
    match sub.name {
        "setup" => return Ok(Command::Setup(words)),
        "top" => return top::read(words),
        "cat" => return Ok(Command::Cat(words)),
        "completions" => {
            let shell = SHELLS.into_iter().find(|(name, _)| words == [*name]).map(|(_, shell)| shell);
            return shell.map(Command::Completions).ok_or_else(|| mistake("completions", "wants bash, zsh or fish"));
        }
        _ => {}
    }
    let has_action = !sub.action.is_empty() && words.first().is_some_and(|word| !word.starts_with('-'));
    let action = has_action.then(|| words.remove(0));
    let extra = if sub.name == "explain" { 3 } else { 0 };
    let asked = settings(words.clone(), sub.flags, extra);
    if let (Err(mistakes), "doctor") = (&asked, sub.name)
        && let Some(command) = of_bad_file(words, sub.flags, mistakes)
    {
        return Ok(command);
    }
    let (config, own, words) = match asked? {
        (Asked::Config(config), own, words) => (config, own, words),
        (Asked::Other(command), ..) => return Ok(command),
    };
    Ok(match sub.name {
        "check" => Command::Check(config),
        "reload" => Command::Reload(config),
        "rules" => Command::Rules(config, rules_action(action.as_deref(), &own)?),
        "doctor" => {
            // what is left of the words is a setting or the file
            let own_words = argv::split(config.words.clone(), 0, &flags(sub.flags)).given;
            let all = own_words.iter().all(|given| sub.kind(&given.name).is_some());
            Command::Doctor(config, doctor(&own, all)?)
        }
        _ => Command::Explain(config, question(&words)?),
    })
}

fn mistake(given: &str, why: impl Into<String>) -> Vec<Mistake> {
    vec![Mistake { given: given.to_owned(), why: why.into() }]
}

fn doctor(own: &[Given], all: bool) -> Result<Doctor, Vec<Mistake>> {
    let last = |name| own.iter().rev().find(|given| given.name == name).map(|given| given.value.as_str());
    let target = match last("target") {
        Some(text) => Some(
            Host::parse(text.as_bytes())
                .ok_or_else(|| mistake("-target", format!("{text:?} is no valid host name")))?,
        ),
        None => None,
    };
    let is_on = |name| last(name).is_some_and(|value| switch(value) == Ok(true));
    Ok(Doctor { json: is_on("json"), no_net: is_on("no-net"), target, all, mistakes: Vec::new() })
}

/// The doctor finds mistakes of the file, where there are none on the command line.
fn of_bad_file(words: Vec<String>, own: &[(&'static str, Kind)], mistakes: &[Mistake]) -> Option<Command> {
    let Words { given, mistakes: of_words, .. } = argv::split(words, 0, &flags(own));
    let file = given.iter().rev().find(|given| given.name == FILE.0)?.value.clone();
    // what is missing from the file is called by its flag too
    let is_given = |mistake: &Mistake| {
        let name = mistake.given.strip_prefix('-').map(|rest| rest.split([':', ' ']).next().unwrap_or(rest));
        name.is_some_and(|name| given.iter().any(|given| given.name == name))
    };
    if !of_words.is_empty() || mistakes.iter().any(is_given) {
        return None;
    }
    let how = Doctor { mistakes: mistakes.to_vec(), ..doctor(&given, false).ok()? };
    let (Asked::Config(mut config), ..) = settings(Vec::new(), own, 0).ok()? else { return None };
    config.file = Some(file);
    Some(Command::Doctor(config, how))
}

fn rules_action(action: Option<&str>, own: &[Given]) -> Result<RulesAction, Vec<Mistake>> {
    let confirm = match own.iter().rev().find(|given| given.name == "confirm") {
        Some(given) => {
            match duration::parse(&given.value).map(|nanos| u64::try_from(nanos).map(Duration::from_nanos)) {
                Ok(Ok(time)) if time >= Duration::from_secs(1) => Some(time),
                Err(why) => return Err(mistake("-confirm", why)),
                _ => return Err(mistake("-confirm", format!("{:?} is less than 1s", given.value))),
            }
        }
        None => None,
    };
    if confirm.is_some() && action != Some("up") {
        return Err(mistake("-confirm", "belongs to rules up"));
    }
    match action.and_then(|word| ACTIONS.into_iter().find(|action| *action == word)) {
        Some(action) => Ok(RulesAction::Do(action, confirm)),
        None if action == Some("words") => Ok(RulesAction::Words),
        None => Err(mistake("rules", {
            let wants = "wants up, down, status, print, confirm or words behind it";
            match action.map(|word| (word, near(word, ACTIONS))) {
                Some((word, Some(meant))) => format!("{wants}, not {word:?}; is it {meant}?"),
                Some((word, None)) => format!("{wants}, not {word:?}"),
                None => wants.to_owned(),
            }
        })),
    }
}

enum Asked {
    Config(Box<Config>),
    Other(Command),
}

/// Defaults, then the file, then the flags; with them the flags that are no settings, and the words behind all, as far
/// as some are allowed.
fn settings(
    words: Vec<String>,
    own: &[(&'static str, Kind)],
    extra: usize,
) -> Result<(Asked, Vec<Given>, Vec<String>), Vec<Mistake>> {
    let kept = words.clone();
    let Words { given, mistakes, rest } = argv::split(words, extra, &flags(own));
    let is_own = |given: &Given| own.iter().any(|(flag, _)| *flag == given.name);
    let (own, given): (Vec<Given>, Vec<Given>) = given.into_iter().partition(is_own);
    let mut draft = Draft::new();
    draft.mistakes = mistakes;
    let mut asked = None;
    for Given { name, value } in given.iter().filter(|g| is_switch(&g.name)) {
        let what = if name == "version" { Command::Version } else { Command::Help };
        if let Ok(on) = switch(value) {
            asked = on.then_some(what);
        }
    }
    if let (Some(command), true) = (asked, draft.mistakes.is_empty()) {
        return Ok((Asked::Other(command), own, rest));
    }
    let path = given.iter().rev().find(|g| g.name == FILE.0).map(|g| g.value.clone());
    let file = path.as_deref().map_or_else(File::default, file::read);
    draft.config.file = path;
    draft.read_keys(&file);
    for Given { name, value } in &given {
        if let (true, Err(why)) = (is_switch(name), switch(value)) {
            draft.wrong(format!("-{name}"), why);
        }
        draft.set(name, value, Place::new(format!("-{name}")), || format!("-{name}"));
    }
    draft.config.words = kept;
    draft.finish(&file).map(|config| (Asked::Config(Box::new(config)), own, rest))
}

/// A subcommand's own flags, and those that all have.
fn flags(own: &[(&'static str, Kind)]) -> Vec<(&'static str, Kind)> {
    let kind = |value: &str| if value.is_empty() { Kind::Switch } else { Kind::Value };
    let settings = SETTINGS.iter().map(|setting| (setting.name, kind(setting.value)));
    let switches = SWITCHES.iter().map(|(name, _)| (*name, Kind::Switch));
    own.iter().copied().chain(settings).chain([(FILE.0, Kind::Value)]).chain(switches).collect()
}

fn is_switch(name: &str) -> bool {
    SWITCHES.iter().any(|(switch, _)| *switch == name)
}

/// `CLIENT ORIGIN [NAME]`.
fn question(words: &[String]) -> Result<Question, Vec<Mistake>> {
    let (client, origin, name) = match words {
        [client, origin] => (client, origin, None),
        [client, origin, name] => (client, origin, Some(name)),
        _ => {
            let why = "wants CLIENT ORIGIN [NAME], such as 10.0.0.5 192.0.2.7:443 www.example.org".to_owned();
            return Err(vec![Mistake { given: "explain".to_owned(), why }]);
        }
    };
    let mut mistakes = Vec::new();
    let mut wrong = |given: &str, why: &str| mistakes.push(Mistake { given: given.to_owned(), why: why.to_owned() });
    let address = client.parse().ok().or_else(|| client.parse().ok().map(|addr: SocketAddr| addr.ip()));
    if address.is_none() {
        wrong(client, "no address of a client");
    }
    let origin_address: Option<SocketAddr> = origin.parse().ok();
    if origin_address.is_none() {
        wrong(origin, "no address with a port, such as 192.0.2.7:443 or [2001:db8::7]:443");
    }
    let host = name.and_then(|name| Host::parse(name.as_bytes()));
    if let (Some(name), None) = (name, &host) {
        wrong(name, "no valid host name");
    }
    match (address, origin_address) {
        (Some(client), Some(origin)) if mistakes.is_empty() => {
            Ok(Question { client: IpAddr::to_canonical(&client), origin, name: host })
        }
        _ => Err(mistakes),
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
