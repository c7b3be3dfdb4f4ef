//! For zsh.

use crate::config::grammar::{Flag, Word};

/// The script.
pub(super) fn script(flags: &[Flag], words: &[Word]) -> String {
    let mut script = "#compdef handyproxy\n\n_handyproxy() {\n    local -a settings=(\n".to_owned();
    for flag in flags {
        script += &format!("        {}\n", spec(flag));
    }
    script += "    )\n    local -a commands=(\n";
    for word in words {
        script += &format!("        {}\n", quoted(&format!("{}:{}", word.name, escaped(word.about))));
    }
    script += "    )\n    if (( CURRENT == 2 )) && [[ $PREFIX != -* ]]; then\n        _describe -t commands command commands\n";
    script += "        return\n    fi\n    case $words[2] in\n";
    for word in words {
        script += &format!("        ({})\n            shift words\n            (( CURRENT-- ))\n", word.name);
        script += "            _arguments";
        if word.takes_settings {
            script += " $settings";
        }
        for flag in &word.flags {
            script += &format!(" {}", spec(flag));
        }
        if word.takes_files {
            script += " '*:file:_files'";
        }
        if !word.actions.is_empty() {
            script += &format!(" {}", quoted(&format!("1:action:({})", word.actions.join(" "))));
        }
        script += "\n            ;;\n";
    }
    script + "        (*) _arguments $settings ;;\n    esac\n}\n\n_handyproxy \"$@\"\n"
}

/// One flag, with either number of dashes, for `_arguments`.
fn spec(Flag { name, value, words, about }: &Flag) -> String {
    let equals = if value.is_empty() { "" } else { "=" };
    let values = match *value {
        "" => String::new(),
        "FILE" => ":FILE:_files".to_owned(),
        _ if words.is_empty() => format!(":{}: ", escaped(value)),
        _ => format!(":{}:({})", escaped(value), words.join(" ")),
    };
    let about = if about.is_empty() { String::new() } else { format!("[{}]", escaped(about)) };
    format!("'(-{name} --{name})'{{-{name}{equals},--{name}{equals}}}{}", quoted(&format!("{about}{values}")))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '\\' | ':' | '[' | ']') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
