//! `[rules]`.

use ipnet::IpNet;

use super::super::file::{Key, Section};
use super::super::values::{parts, switch};
use super::super::{Mistake, Mode, Rules};
use super::{mistake, text, unknown};
use crate::pattern::Ports;

/// What may stand in it.
pub(in super::super) const KEYS: [&str; 11] =
    ["mode", "interfaces", "from", "dports", "exclude", "private", "quic", "dns", "family", "backend", "uid"];

/// Reads it.
pub(super) fn read(section: &Section) -> Result<Rules, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut mode = None;
    let mut options = Vec::new();
    for key in &section.keys {
        let Some(name) = KEYS.into_iter().find(|name| *name == key.name) else {
            mistakes.push(mistake(section, "rules", key, unknown(&key.name, KEYS)));
            continue;
        };
        match values(name, key) {
            Ok(values) if name == "mode" => {
                mode = Some(if values == ["local"] { Mode::Local } else { Mode::Gateway });
            }
            Ok(values) => options.push((name, values)),
            Err(why) => mistakes.push(mistake(section, "rules", key, why)),
        }
    }
    if mode.is_none() && !section.keys.iter().any(|key| key.name == "mode") {
        let why = "mode is missing: gateway for other machines, local for this one".to_owned();
        mistakes.push(Mistake { given: format!("{}: rules", section.place), why });
    }
    for key in &section.keys {
        let why = match (key.name.as_str(), mode) {
            ("interfaces" | "from", Some(Mode::Local)) => "belongs to mode = \"gateway\"",
            ("uid", Some(Mode::Gateway)) => "belongs to mode = \"local\": what is forwarded has no user",
            _ => continue,
        };
        mistakes.push(mistake(section, "rules", key, why));
    }
    match mode {
        Some(mode) if mistakes.is_empty() => Ok(Rules { mode, options, place: section.place.clone() }),
        _ => Err(mistakes),
    }
}

/// A key's values, each checked.
fn values(name: &str, key: &Key) -> Result<Vec<String>, String> {
    let text = text(key)?;
    let one_of = |words: &[&str]| match words.iter().find(|word| **word == text) {
        Some(word) => Ok(vec![(*word).to_owned()]),
        None => Err(format!("{text:?} is not {}", words.join(" or "))),
    };
    match name {
        "mode" => one_of(&["gateway", "local"]),
        "quic" => one_of(&["reject", "leave"]),
        "family" => one_of(&["both", "4", "6"]),
        "backend" => one_of(&["auto", "iptables", "nft"]),
        "private" | "dns" => switch(&text).map(|on| vec![on.to_string()]),
        "uid" if text.is_empty() || text.starts_with('-') => Err(format!("{text:?} is no user")),
        "uid" => Ok(vec![text]),
        "dports" => Ports::parse(&text).and_then(|_| list(&text, |part| Ok(part.to_owned()))),
        "interfaces" => list(&text, |part| {
            let fits = part.len() < 16 && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b));
            if fits && !part.starts_with('-') { Ok(part.to_owned()) } else { Err(format!("{part:?} is no interface")) }
        }),
        _ => list(&text, |part| {
            let net = part.parse::<IpNet>().or_else(|_| part.parse().map(|addr: std::net::IpAddr| addr.into()));
            net.map(|net| net.trunc().to_string()).map_err(|_| format!("{part:?} is no network"))
        }),
    }
}

fn list(text: &str, read: impl Fn(&str) -> Result<String, String>) -> Result<Vec<String>, String> {
    let values = parts(text).map(read).collect::<Result<Vec<_>, _>>()?;
    if values.is_empty() { Err("an empty list; leave the key out".to_owned()) } else { Ok(values) }
}
