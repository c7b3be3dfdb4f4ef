//! One `[[route]]`.

use super::super::file::Section;
use super::super::values::switch;
use super::super::{DialBy, Mistake, Route, Via};
use super::{mistake, patterns, text, unknown};
use crate::pattern::Pattern;

/// What may stand in it.
pub(in super::super) const KEYS: [&str; 5] = ["from", "to", "via", "dial", "verify-name"];

/// Reads one; `names` are those of the upstreams, in their order.
pub(super) fn read(section: &Section, names: &[&str], verify_name: bool) -> Result<Route, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let place = section.place.clone();
    let (from, to, dial) = (Vec::new(), Vec::new(), DialBy::Name);
    let mut route = Route { from, to, via: Via::Reject, dial, verify_name, place };
    let mut via = None;
    for key in &section.keys {
        let outcome = match key.name.as_str() {
            "from" => patterns(key, Pattern::parse_client).map(|from| route.from = from),
            "to" => patterns(key, Pattern::parse).map(|to| route.to = to),
            "via" => text(key).and_then(|text| leads(&text, names)).map(|to| via = Some(to)),
            "dial" => text(key).and_then(|text| dial_by(&text)).map(|by| route.dial = by),
            "verify-name" => text(key).and_then(|text| switch(&text)).map(|on| route.verify_name = on),
            name => Err(unknown(name, KEYS)),
        };
        if let Err(why) = outcome {
            mistakes.push(mistake(section, "route", key, why));
        }
    }
    match via {
        Some(via) => route.via = via,
        None if section.keys.iter().any(|key| key.name == "via") => {}
        None => {
            let why = "via is missing: the name of an upstream, direct or reject".to_owned();
            mistakes.push(Mistake { given: format!("{}: route", section.place), why });
        }
    }
    if mistakes.is_empty() { Ok(route) } else { Err(mistakes) }
}

fn leads(text: &str, names: &[&str]) -> Result<Via, String> {
    Ok(match text {
        "direct" => Via::Direct,
        "reject" => Via::Reject,
        name => match names.iter().position(|n| *n == name) {
            Some(number) => Via::Upstream(number),
            None => return Err(format!("{name:?} is not direct, not reject, and there is no [upstream.{name}]")),
        },
    })
}

fn dial_by(text: &str) -> Result<DialBy, String> {
    match text {
        "name" => Ok(DialBy::Name),
        "address" => Ok(DialBy::Address),
        _ => Err(format!("{text:?} is not name or address")),
    }
}
