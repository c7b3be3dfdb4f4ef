//! For bash. The trap: readline has parted `-flag=value` into three words.

use super::names;
use crate::config::grammar::{Flag, Word};

const HEAD: &str = r#"# bash completion for handyproxy
_handyproxy() {
    local cur=$2 flag=$3 command='' dash flags='' words=''
    local settings='@SETTINGS@'
    if [[ $cur == = ]]; then
        cur=''
    elif [[ $flag == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if ((COMP_CWORD > 1)); then
        command=${COMP_WORDS[1]}
        case $flag in
            --*) flag=${flag#--} ;;
            -*) flag=${flag#-} ;;
            *) flag='' ;;
        esac
        case $command/$flag in
"#;

const FILES: &str = "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return";

const TAIL: &str = r#"    esac
    if [[ $cur == -* ]]; then
        dash=-
        [[ $cur != --* ]] || dash=--
        mapfile -t COMPREPLY < <(compgen -P "$dash" -W "$flags" -- "${cur#"$dash"}")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
}
complete -F _handyproxy handyproxy
"#;

/// The script.
pub(super) fn script(flags: &[Flag], words: &[Word]) -> String {
    let mut script = HEAD.replace("@SETTINGS@", &listed(flags));
    // a subcommand's own flags first: one may have the name of a setting
    for word in words {
        script += &values(word.name, &word.flags);
    }
    script += &values("*", flags);
    script += "        esac\n    fi\n";
    script += "    case $command in\n";
    for word in words {
        let settings = if word.takes_settings { "$settings " } else { "" };
        script += &format!("        {})\n            flags=\"{settings}{}\"\n", word.name, listed(&word.flags));
        if !word.actions.is_empty() {
            script += &format!("            ((COMP_CWORD > 2)) || words='{}'\n", word.actions.join(" "));
        }
        if word.takes_files {
            script += &format!("            [[ $cur == -* ]] || {{ {FILES}; }}\n");
        }
        script += "            ;;\n";
    }
    script += "        *)\n            flags=$settings\n";
    script += &format!("            ((COMP_CWORD > 1)) || words='{}'\n", names(words, |_| true).join(" "));
    script += "            ;;\n";
    script + TAIL
}

/// The branches that complete the values of a subcommand's flags.
fn values(command: &str, flags: &[Flag]) -> String {
    let mut branches = String::new();
    for Flag { name, value, words, .. } in flags.iter().filter(|flag| !flag.value.is_empty()) {
        let then = match *value {
            "FILE" => FILES.to_owned(),
            _ if words.is_empty() => "return".to_owned(),
            _ => format!("mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\"); return", words.join(" ")),
        };
        branches += &format!("            {command}/{name}) {then} ;;\n");
    }
    branches
}

fn listed(flags: &[Flag]) -> String {
    flags.iter().map(|flag| flag.name).collect::<Vec<_>>().join(" ")
}
