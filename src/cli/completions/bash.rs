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
        case $flag in
"#;

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
    let own = words.iter().flat_map(|word| &word.flags);
    let valued: Vec<&Flag> = flags.iter().chain(own).filter(|flag| !flag.value.is_empty()).collect();
    let mut script = HEAD.replace("@SETTINGS@", &listed(flags));
    let files: Vec<&str> = valued.iter().filter(|flag| flag.value == "FILE").map(|flag| flag.name).collect();
    script += &format!("            {})\n", files.join(" | "));
    script += "                compopt -o filenames\n";
    script += "                mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n";
    script += "                return\n                ;;\n";
    for flag in valued.iter().filter(|flag| !flag.words.is_empty()) {
        script += &format!("            {})\n", flag.name);
        script +=
            &format!("                mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\")\n", flag.words.join(" "));
        script += "                return\n                ;;\n";
    }
    let others = valued.iter().filter(|flag| flag.value != "FILE" && flag.words.is_empty());
    let others: Vec<&str> = others.map(|flag| flag.name).collect();
    script += &format!("            {}) return ;;\n        esac\n    fi\n", others.join(" | "));
    script += "    case $command in\n";
    for word in words {
        let settings = if word.takes_settings { "$settings " } else { "" };
        script += &format!("        {})\n            flags=\"{settings}{}\"\n", word.name, listed(&word.flags));
        if !word.actions.is_empty() {
            script += &format!("            ((COMP_CWORD > 2)) || words='{}'\n", word.actions.join(" "));
        }
        script += "            ;;\n";
    }
    script += "        *)\n            flags=$settings\n";
    script += &format!("            ((COMP_CWORD > 1)) || words='{}'\n", names(words, |_| true).join(" "));
    script += "            ;;\n";
    script + TAIL
}

fn listed(flags: &[Flag]) -> String {
    flags.iter().map(|flag| flag.name).collect::<Vec<_>>().join(" ")
}
