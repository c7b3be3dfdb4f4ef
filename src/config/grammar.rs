//! The flags and words of the command line as a shell has to know them to complete them.

use super::argv::Kind;
use super::command::{FILE, SUBCOMMANDS, SWITCHES};
use super::settings::SETTINGS;

/// A flag, its name without dashes.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Its name.
    pub name: &'static str,
    /// What its value is, such as `FILE`; a switch has none.
    pub value: &'static str,
    /// The words that its value is one of, if it is.
    pub words: Vec<&'static str>,
    /// What it does, in a few words.
    pub about: &'static str,
}

/// A subcommand.
#[derive(Clone, Debug)]
pub struct Word {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// The words of which one follows it.
    pub actions: Vec<&'static str>,
    /// The flags that only it has.
    pub flags: Vec<Flag>,
    /// Whether it takes the file and all settings too.
    pub takes_settings: bool,
    /// Whether its words are files.
    pub takes_files: bool,
}

/// Values that are words; of those of `auth` several may be given, `access-log` may also be a file, and a path may follow
/// those of `tap`.
const WORDS: [(&str, &[&str]); 7] = [
    ("access-log", &["log", "off", "stderr", "journal"]),
    ("access-log-format", &["text", "json"]),
    ("auth", &["none", "basic", "digest", "ntlm", "negotiate"]),
    ("capture", &["redirect", "tproxy"]),
    ("log-level", &["off", "error", "warn", "info", "debug", "trace"]),
    ("plain-http", &["connect", "relay", "auto"]),
    ("tap", &["flow", "flow/informer", "dump", "dump/raw", "dump/writefile", "hexlog", "pcapng"]),
];

impl Flag {
    /// From its name, what its value is (words with `|` between them if it is one of those), and its help.
    pub fn new(name: &'static str, value: &'static str, help: &'static str) -> Flag {
        let words = match WORDS.iter().find(|(flag, _)| *flag == name) {
            Some((_, words)) if !value.is_empty() => words.to_vec(),
            _ if value.contains('|') => value.split('|').collect(),
            _ => Vec::new(),
        };
        Flag { name, value, words, about: brief(help) }
    }
}

/// The flag for the file, and those of all settings.
pub fn settings() -> Vec<Flag> {
    let file = Flag::new(FILE.0, FILE.1, FILE.2);
    std::iter::once(file).chain(SETTINGS.iter().map(|s| Flag::new(s.name, s.value, s.help))).collect()
}

/// The flags that print something, instead of serving.
pub fn switches() -> Vec<Flag> {
    SWITCHES.map(|(name, help)| Flag::new(name, "", help)).into()
}

/// All subcommands.
pub fn words() -> Vec<Word> {
    let words = SUBCOMMANDS.iter().map(|sub| Word {
        name: sub.name,
        about: brief(sub.what),
        actions: sub.action.split('|').filter(|action| !action.is_empty()).collect(),
        flags: sub.flags.iter().map(|&(name, kind)| own(name, kind)).collect(),
        takes_settings: !matches!(sub.name, "setup" | "cat" | "top" | "completions"),
        takes_files: sub.words == "FILE...",
    });
    words.collect()
}

fn own(name: &'static str, kind: Kind) -> Flag {
    // one that takes no settings may yet have some of them
    if let Some(flag) = settings().into_iter().find(|flag| flag.name == name) {
        return flag;
    }
    Flag::new(name, if kind == Kind::Switch { "" } else { "VALUE" }, "")
}

/// The first clause of a help text.
fn brief(help: &'static str) -> &'static str {
    let end = [": ", "; ", ", such as", " ("].iter().filter_map(|stop| help.find(stop)).min();
    &help[..end.unwrap_or(help.len())]
}

#[cfg(test)]
mod tests {
    use super::super::{Command, TapForm};
    use super::*;

    #[test]
    fn every_flag_with_words_takes_each_of_them() {
        for (name, words) in WORDS {
            let setting = SETTINGS.iter().find(|setting| setting.name == name);
            let setting = setting.unwrap_or_else(|| panic!("{name} is no setting"));
            for word in words {
                let mut draft = super::super::draft::Draft::new();
                assert_eq!((setting.set)(&mut draft, word), Ok(()), "{name} {word}");
            }
        }
    }

    #[test]
    fn every_form_of_a_tap_is_offered() {
        let (_, words) = WORDS.into_iter().find(|(name, _)| *name == "tap").expect("taps are offered");
        let config = |word: &str| Command::parse(["-tap".to_owned(), format!("{word}:/x")]);
        let forms = words.iter().map(|word| match config(word) {
            Ok(Command::Run(config)) => config.taps[0].form,
            other => panic!("{word}: {other:?}"),
        });
        assert_eq!(forms.collect::<Vec<_>>(), TapForm::ALL.map(|(form, ..)| form));
    }
}
