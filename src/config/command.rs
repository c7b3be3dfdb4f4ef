//! The words behind the program's name: what is to be done, with which settings.

use std::net::{IpAddr, SocketAddr};

use super::argv::{self, Given, Kind, Words};
use super::draft::Draft;
use super::file::{self, File};
use super::settings::SETTINGS;
use super::values::switch;
use super::{Command, Config, Mistake, Place, Question};
use crate::addr::Host;

/// The flags that are no settings: what to print, instead of serving.
pub(super) const SWITCHES: [(&str, &str); 3] =
    [("version", "Print the version and exit"), ("help", "Print this help and exit"), ("h", "The same")];

/// The flag that names the file, with what its value is.
pub(super) const FILE: (&str, &str, &str) =
    ("config", "FILE", "Read settings, upstreams and routes from this file (handyproxy.conf(5)); flags win over it");

/// What can be asked for by a plain word: the word, what may follow the flags, what it does.
pub(super) const SUBCOMMANDS: [(&str, &str, &str); 3] = [
    ("check", "", "check all settings and print what is in force"),
    ("explain", "CLIENT ORIGIN [NAME]", "tell how a connection would be routed, and why"),
    ("reload", "", "check all settings, then tell the running daemon ($MAINPID) to read them"),
];

/// Reads the words.
pub(super) fn parse(words: Vec<String>) -> Result<Command, Vec<Mistake>> {
    let subcommand = words.first().and_then(|word| SUBCOMMANDS.iter().find(|(name, ..)| name == word));
    let Some((subcommand, ..)) = subcommand else {
        return match settings(words, 0)? {
            (Asked::Config(config), _) => Ok(Command::Run(config)),
            (Asked::Other(command), _) => Ok(command),
        };
    };
    let extra = if *subcommand == "explain" { 3 } else { 0 };
    let (config, words) = match settings(words[1..].to_vec(), extra)? {
        (Asked::Config(config), words) => (config, words),
        (Asked::Other(command), _) => return Ok(command),
    };
    Ok(match *subcommand {
        "check" => Command::Check(config),
        "reload" => Command::Reload(config),
        _ => Command::Explain(config, question(&words)?),
    })
}

enum Asked {
    Config(Box<Config>),
    Other(Command),
}

/// Defaults, then the file, then the flags; and the words behind them, as far as some are allowed.
fn settings(words: Vec<String>, extra: usize) -> Result<(Asked, Vec<String>), Vec<Mistake>> {
    let kept = words.clone();
    let Words { given, mistakes, rest } = argv::split(words, extra, kind);
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
        return Ok((Asked::Other(command), rest));
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
    draft.finish(&file).map(|config| (Asked::Config(Box::new(config)), rest))
}

fn kind(name: &str) -> Option<Kind> {
    if let Some(setting) = SETTINGS.iter().find(|s| s.name == name) {
        return Some(if setting.value.is_empty() { Kind::Switch } else { Kind::Value });
    }
    if name == FILE.0 {
        return Some(Kind::Value);
    }
    is_switch(name).then_some(Kind::Switch)
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
