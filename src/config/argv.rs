//! The Go way of writing flags: one or two dashes, `-flag value` or `-flag=value`; a value is the next
//! word whatever it begins with; a switch takes a value only with `=`; reading stops at the first word
//! without a dash, at `-`, and behind `--`.

use super::Mistake;
use super::near::near;

/// A flag as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its name, without dashes.
    pub name: String,
    /// Its value; a switch without one says `true`.
    pub value: String,
}

/// What kind of flag a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Takes a value.
    Value,
    /// On or off.
    Switch,
}

/// What a command line consists of.
#[derive(Debug, Default)]
pub struct Words {
    /// Its flags.
    pub given: Vec<Given>,
    /// What is wrong with it.
    pub mistakes: Vec<Mistake>,
    /// The words behind the flags.
    pub rest: Vec<String>,
}

/// Splits words into flags and at most `extra` words behind them; these flags are known. Mistakes are collected
/// and reading goes on behind them.
pub fn split(words: impl IntoIterator<Item = String>, extra: usize, known: &[(&str, Kind)]) -> Words {
    let kind = |name: &str| known.iter().find(|(flag, _)| *flag == name).map(|(_, kind)| *kind);
    let mut given = Vec::new();
    let mut mistakes = Vec::new();
    let mut rest = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let mut wrong = |why: &str| mistakes.push(Mistake { given: word.clone(), why: why.to_owned() });
        if word == "--" {
            rest.extend(words);
            break;
        }
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|_| word != "-") else {
            rest.push(word);
            if extra > 0 {
                rest.extend(words);
            }
            break;
        };
        if flag.is_empty() || flag.starts_with(['-', '=']) {
            wrong("not a flag");
            continue;
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let value = match (kind(name), value) {
            (None, value) => {
                let meant = near(name, known.iter().map(|(flag, _)| *flag));
                let meant = meant.map(|meant| format!("; is it -{meant}?")).unwrap_or_default();
                wrong(&format!("unknown flag{meant}"));
                // most likely its value
                if value.is_none() {
                    words.next_if(|next| !next.starts_with('-'));
                }
                continue;
            }
            (_, Some(value)) => value,
            (Some(Kind::Switch), None) => "true".to_owned(),
            (Some(Kind::Value), None) => match words.next() {
                Some(value) => value,
                None => {
                    wrong("needs a value");
                    continue;
                }
            },
        };
        given.push(Given { name: name.to_owned(), value });
    }
    mistakes.extend(rest.iter().skip(extra).cloned().map(unexpected));
    rest.truncate(extra);
    Words { given, mistakes, rest }
}

fn unexpected(word: String) -> Mistake {
    let why = if word.contains(['/', '.']) {
        "unexpected word; a file is given as -config FILE"
    } else {
        "unexpected word; a command stands in front, and flags begin with a dash (handyproxy -h tells all of both)"
    };
    Mistake { given: word, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [(&str, Kind); 3] = [("port", Kind::Value), ("time", Kind::Value), ("version", Kind::Switch)];

    fn run(line: &str) -> (Vec<(String, String)>, Vec<String>) {
        let words = line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned);
        let Words { given, mistakes, .. } = split(words, 0, &KNOWN);
        let given = given.into_iter().map(|g| (g.name, g.value)).collect();
        (given, mistakes.into_iter().map(|m| m.given).collect())
    }

    #[test]
    fn dashes_and_equals_signs_are_all_the_same() {
        for line in ["-port 1 -time -1s", "--port=1 -time=-1s", "--port 1 --time -1s"] {
            let wanted = vec![("port".into(), "1".into()), ("time".into(), "-1s".into())];
            assert_eq!(run(line), (wanted, vec![]), "{line}");
        }
        assert_eq!(run("-port -version").0, vec![("port".into(), "-version".into())]);
        assert_eq!(
            run("-version=false -port=").0,
            vec![("version".into(), "false".into()), ("port".into(), "".into())]
        );
    }

    #[test]
    fn every_mistake_is_named() {
        assert_eq!(run("-nope 5 -port 1 --nix=3 -time").1, ["-nope", "--nix=3", "-time"]);
        assert_eq!(run("---port 1 -=x").1, ["---port", "1"]);
        assert_eq!(run("-port 1 word -port 2"), (vec![("port".into(), "1".into())], vec!["word".into()]));
        assert_eq!(run("-- a b").1, ["a", "b"]);
        assert_eq!(run("-").1, ["-"]);
    }

    #[test]
    fn a_flag_that_is_near_is_suggested() {
        let why = |line: &str| split([line.to_owned()], 0, &KNOWN).mistakes[0].why.clone();
        assert_eq!(why("-prot=1"), "unknown flag; is it -port?");
        assert_eq!(why("--versoin"), "unknown flag; is it -version?");
        assert_eq!(why("-nope"), "unknown flag");
    }
}
