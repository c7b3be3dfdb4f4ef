//! One `[[tap]]`, or one `-tap`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::file::{Key, Section};
use super::super::values::{bytes, number, span, switch};
use super::super::{Mistake, Place, TapForm, TapSettings, WhenFull};
use super::{mistake, patterns, text, unknown};
use crate::pattern::Pattern;

/// What may stand in it.
pub(in super::super) const KEYS: [&str; 13] = [
    "kind",
    "format",
    "path",
    "from",
    "to",
    "when-full",
    "queue",
    "append",
    "rotate-size",
    "rotate-time",
    "keep",
    "compress",
    "colour",
];

/// What waits to be written, at most, unless it is said.
const QUEUE: usize = 16 << 20;
/// Below this a queue holds hardly a read.
const LEAST_QUEUE: usize = 1 << 20;
const LEAST_FILE: u64 = 64 << 10;

/// A tap of which nothing is said but its form.
fn new(form: TapForm, place: Place) -> TapSettings {
    TapSettings {
        form,
        path: None,
        from: Vec::new(),
        to: Vec::new(),
        when_full: WhenFull::Drop,
        queue: QUEUE,
        append: form != TapForm::Hexlog,
        rotate_size: None,
        rotate_time: None,
        keep: 0,
        compress: false,
        colour: None,
        place,
    }
}

/// Reads `KIND[/FORMAT][:PATH]`.
pub(super) fn word(text: &str, folder: &Path, place: Place) -> Result<TapSettings, String> {
    let (what, path) = text.split_once(':').map_or((text, None), |(what, path)| (what, Some(path)));
    let (kind, format) = what.split_once('/').map_or((what, None), |(kind, format)| (kind, Some(format)));
    let mut tap = new(form(kind, format)?, place);
    tap.path = path.and_then(|path| self::path(path, folder));
    let wrong = against(&tap);
    if wrong.is_empty() { Ok(tap) } else { Err(wrong.join("; ")) }
}

/// Reads a section.
pub(super) fn read(section: &Section, folder: &Path) -> Result<TapSettings, Vec<Mistake>> {
    let wrong = |why: String| Mistake { given: format!("{}: tap", section.place), why };
    let mut mistakes = Vec::new();
    let form = match (word_of(section, "kind"), word_of(section, "format")) {
        (Ok(Some(kind)), Ok(format)) => form(&kind, format.as_deref()).map_err(wrong),
        (Ok(None), _) => Err(wrong("kind is missing: flow, dump, hexlog or pcapng".to_owned())),
        (Err(mistake), _) | (_, Err(mistake)) => Err(mistake),
    };
    let is_known = form.is_ok();
    // without its kind, the other keys can be looked at all the same
    let form = form.unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        TapForm::Flow
    });
    let mut tap = new(form, section.place.clone());
    for key in &section.keys {
        if let Err(why) = set(&mut tap, key, folder) {
            mistakes.push(mistake(section, "tap", key, why));
        }
    }
    if is_known {
        if let Some(key) = section.keys.iter().find(|key| key.name == "append").filter(|_| form.is_per_session()) {
            mistakes.push(mistake(section, "tap", key, "is of no use here: each session has a new file"));
        }
        mistakes.extend(against(&tap).into_iter().map(wrong));
    }
    if mistakes.is_empty() { Ok(tap) } else { Err(mistakes) }
}

/// What a key says, if it is there.
fn word_of(section: &Section, name: &str) -> Result<Option<String>, Mistake> {
    match section.keys.iter().find(|key| key.name == name) {
        Some(key) => text(key).map(Some).map_err(|why| mistake(section, "tap", key, why)),
        None => Ok(None),
    }
}

/// Whether two taps would write over each other in one file. In one folder, files of two kinds have two names.
pub(super) fn clash(one: &TapSettings, other: &TapSettings) -> bool {
    let pair = [one, other];
    if pair.iter().any(|tap| tap.form.is_per_session()) {
        return false;
    }
    match (&one.path, &other.path) {
        (Some(path), Some(again)) => {
            let is_same = path == again && (one.form.words().0 == other.form.words().0 || !is_folder(path));
            is_same || has(one, again) || has(other, path)
        }
        // lines can stand between lines, packets cannot
        (None, None) => pair.iter().any(|tap| tap.form == TapForm::Pcapng),
        _ => false,
    }
}

/// Whether this is a tap's file in its folder. The disk is asked only where the names agree: a file system whose server
/// is gone does not answer.
pub(super) fn has(tap: &TapSettings, file: &Path) -> bool {
    let (Some(path), Some(name)) = (&tap.path, tap.form.file_name()) else { return false };
    path.join(name) == file && is_folder(path)
}

fn is_folder(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir()
}

fn set(tap: &mut TapSettings, key: &Key, folder: &Path) -> Result<(), String> {
    match key.name.as_str() {
        "kind" | "format" => {}
        "path" => tap.path = path(&text(key)?, folder),
        "from" => tap.from = patterns(key, Pattern::parse_client)?,
        "to" => tap.to = patterns(key, Pattern::parse)?,
        "when-full" => {
            tap.when_full = match text(key)?.as_str() {
                "drop" => WhenFull::Drop,
                "wait" => WhenFull::Wait,
                other => return Err(format!("{other:?} is not drop or wait")),
            }
        }
        "queue" => {
            let size = usize::try_from(bytes(&text(key)?)?).unwrap_or(usize::MAX);
            if !(LEAST_QUEUE..=1 << 30).contains(&size) {
                return Err("is not between 1MiB and 1GiB".to_owned());
            }
            tap.queue = size;
        }
        "append" => tap.append = switch(&text(key)?)?,
        "rotate-size" => {
            let size = bytes(&text(key)?)?;
            if size != 0 && size < LEAST_FILE {
                return Err("is less than 64KiB".to_owned());
            }
            tap.rotate_size = (size != 0).then_some(size);
        }
        "rotate-time" => {
            let time = span(&text(key)?)?;
            if time.is_some_and(|time| time < Duration::from_secs(1)) {
                return Err("is less than 1s".to_owned());
            }
            tap.rotate_time = time;
        }
        "keep" => tap.keep = usize::try_from(number(&text(key)?)?).map_err(|_| "is less than 0".to_owned())?,
        "compress" => tap.compress = switch(&text(key)?)?,
        "colour" => tap.colour = Some(switch(&text(key)?)?),
        name => return Err(unknown(name, KEYS)),
    }
    Ok(())
}

/// What does not go together.
fn against(tap: &TapSettings) -> Vec<String> {
    let (kind, _) = tap.form.words();
    let rotates = tap.rotate_size.is_some() || tap.rotate_time.is_some();
    let keeps = tap.keep > 0 || tap.compress;
    let is_pcapng = tap.form == TapForm::Pcapng;
    let elsewhere = format!("{kind} files are not rotated here: logrotate(8) does it, and SIGHUP opens them anew");
    [
        ((rotates || keeps) && !is_pcapng).then_some(elsewhere),
        (is_pcapng && rotates && tap.path.is_none()).then(|| "stdout cannot be rotated: give path".to_owned()),
        (is_pcapng && keeps && !rotates)
            .then(|| "keep and compress are about rotated files: give rotate-size or rotate-time".to_owned()),
        (tap.form.is_per_session() && tap.path.is_none())
            .then(|| "writes a file per session: give path, the folder for them".to_owned()),
        (tap.colour.is_some() && tap.form != TapForm::Flow)
            .then(|| "colour is for kind = \"flow\", format = \"readable\"".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn form(kind: &str, format: Option<&str>) -> Result<TapForm, String> {
    let of_kind: Vec<_> = TapForm::ALL.into_iter().filter(|(_, k, _)| *k == kind).collect();
    let Some((first, ..)) = of_kind.first() else {
        return Err(format!("{kind:?} is not flow, dump, hexlog or pcapng"));
    };
    let Some(format) = format else { return Ok(*first) };
    let found = of_kind.iter().find(|(_, _, f)| *f == format).map(|(form, ..)| *form);
    let formats: Vec<_> = of_kind.iter().map(|(_, _, f)| *f).collect();
    found.ok_or_else(|| format!("{format:?} is no format of {kind}, which has {}", formats.join(", ")))
}

/// `-` and nothing are stdout.
fn path(text: &str, folder: &Path) -> Option<PathBuf> {
    (!matches!(text, "" | "-")).then(|| folder.join(text))
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
