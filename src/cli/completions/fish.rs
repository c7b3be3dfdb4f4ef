//! For fish.

use super::names;
use crate::config::grammar::{Flag, Word};

const HEAD: &str = r#"# fish completion for handyproxy

# whether the first word is one of these
function __handyproxy_is
    set -l words (commandline -opc)
    contains -- "$words[2]" $argv
end

# whether only so many words stand before the one that is completed
function __handyproxy_behind
    test (count (commandline -opc)) -eq $argv[1]
end

complete -c handyproxy -f
"#;

/// The script.
pub(super) fn script(flags: &[Flag], words: &[Word]) -> String {
    let mut script = HEAD.to_owned();
    for word in words {
        script +=
            &format!("complete -c handyproxy -n '__handyproxy_behind 1' -a {} -d {}\n", word.name, quoted(word.about));
    }
    let bare = names(words, |word| !word.takes_settings).join(" ");
    for flag in flags {
        script += &line(&format!("not __handyproxy_is {bare}"), flag);
    }
    for word in words {
        for flag in &word.flags {
            script += &line(&format!("__handyproxy_is {}", word.name), flag);
        }
        if word.takes_files {
            script += &format!("complete -c handyproxy -n '__handyproxy_is {}' -F\n", word.name);
        }
        if !word.actions.is_empty() {
            let here = format!("__handyproxy_is {}; and __handyproxy_behind 2", word.name);
            script += &format!("complete -c handyproxy -n '{here}' -a '{}'\n", word.actions.join(" "));
        }
    }
    script
}

/// One flag, with either number of dashes.
fn line(condition: &str, Flag { name, value, words, about }: &Flag) -> String {
    let mut line = format!("complete -c handyproxy -n '{condition}' -o {name} -l {name}");
    if !about.is_empty() {
        line += &format!(" -d {}", quoted(about));
    }
    line += match *value {
        "" => "",
        "FILE" => " -r -F",
        _ => " -x",
    };
    if !words.is_empty() {
        line += &format!(" -a '{}'", words.join(" "));
    }
    line + "\n"
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
