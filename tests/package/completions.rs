//! `handyproxy completions`, asked in the shells themselves.

use std::collections::BTreeSet;
use std::process::Command;

use super::scratch::Scratch;
use super::{PROGRAM, succeeds};

/// What is typed, and what must be offered for its last word, among other things.
const OFFERED: [(&str, &[&str]); 21] = [
    ("handyproxy ", &["check", "rules", "doctor", "setup", "cat", "completions"]),
    ("handyproxy -loc", &["-local-port"]),
    ("handyproxy --loc", &["--local-port"]),
    ("handyproxy check -upstream-p", &["-upstream-proxy"]),
    ("handyproxy -log-level d", &["debug"]),
    ("handyproxy check --plain-http ", &["connect", "relay", "auto"]),
    ("handyproxy -tap ", &["flow", "flow/informer", "dump", "dump/raw", "dump/writefile", "hexlog", "pcapng"]),
    ("handyproxy check -access-log-format ", &["text", "json"]),
    ("handyproxy -access-log j", &["journal"]),
    ("handyproxy -admin-r", &["-admin-remote"]),
    ("handyproxy cat --rep", &["--replay"]),
    ("handyproxy rules ", &["up", "down", "status", "print", "confirm", "words"]),
    ("handyproxy rules up -conf", &["-config", "-confirm"]),
    ("handyproxy doctor -js", &["-json"]),
    ("handyproxy top -", &["-admin", "-config", "-interval", "-once"]),
    ("handyproxy cat -", &["-x", "-follow", "-replay"]),
    ("handyproxy cat --colour n", &["never"]),
    ("handyproxy cat Cargo.t", &["Cargo.toml"]),
    ("handyproxy setup -u", &["-user", "-upstream", "-undo"]),
    ("handyproxy setup -dns ", &["yes", "no"]),
    ("handyproxy setup --mode l", &["local"]),
];
/// What is typed, and what must not be offered.
const NOT_OFFERED: [(&str, &str); 7] = [
    ("handyproxy -local-port ", "check"),
    ("handyproxy check -js", "-json"),
    ("handyproxy completions -", "-config"),
    ("handyproxy top -", "-sniff-timeout"),
    ("handyproxy cat -", "-sniff-timeout"),
    ("handyproxy check ", "rules"),
    ("handyproxy setup -", "-sniff-timeout"),
];

#[test]
fn bash_completes_flags_values_and_subcommands() {
    tried("bash", |script, typed| {
        // what readline would hand over: it takes "=" for a word of its own
        let ask = r#"
            . "$1"
            compopt() { :; }
            read -ra COMP_WORDS <<<"$2"
            [[ $2 != *' ' ]] || COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _handyproxy handyproxy "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        succeeds(Command::new("bash").args(["-uc", ask, "bash", script, typed]))
    });
}

#[test]
fn bash_completes_values_behind_an_equals_sign() {
    let scratch = Scratch::new();
    let script = scratch.write("script", &succeeds(Command::new(PROGRAM).args(["completions", "bash"])));
    for (word, before) in [("de", "="), ("=", "-log-level")] {
        let last = if word == "=" { "" } else { "de" };
        let ask = format!(
            r#". "$0"; compopt() {{ :; }}; COMP_WORDS=(handyproxy check -log-level = {last}); COMP_CWORD={};
            _handyproxy handyproxy '{word}' '{before}'; printf '%s\n' "${{COMPREPLY[@]}}""#,
            if last.is_empty() { 3 } else { 4 }
        );
        assert!(succeeds(Command::new("bash").arg("-c").arg(ask).arg(&script)).contains("debug"), "{word}");
    }
}

#[test]
fn fish_completes_flags_values_and_subcommands() {
    tried("fish", |script, typed| {
        let ask = format!("source {script}; complete -C {typed:?}");
        let lines = succeeds(Command::new("fish").args(["--no-config", "-c", &ask]));
        lines.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned() + "\n").collect()
    });
}

#[test]
fn zsh_completes_flags_values_and_subcommands() {
    // completion works at a terminal only: a shell in one types, and tells what compadd is given
    const ASK: &str = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        say() { zpty -w shell "$1" }
        say 'PS1=; unsetopt zle_bracketed_paste; stty -echo'
        say "autoload -Uz compinit; compinit -C -d ${1:h}/dump"
        say "source $1; compdef _handyproxy handyproxy"
        say 'compadd() {
            local -a offered
            [[ ${@[(i)-O]} -gt $# && ${@[(i)-D]} -gt $# && ${@[(i)-A]} -gt $# ]] || { builtin compadd "$@"; return }
            builtin compadd -O offered "$@"
            print -rl -- ${offered/#/offer:} >>$OUT
            builtin compadd "$@"
        }'
        say 'over() { print OVER >>$OUT }; zle -N over; bindkey "^G" over; bindkey "^I" complete-word'
        say 'LISTMAX=10000; print READY >>$OUT'
        until grep -q READY $OUT; do sleep 0.01; done
        zpty -w -n shell "$2"$'\t\a'
        until grep -q OVER $OUT; do zpty -rt shell ignored '*'; sleep 0.01; done
        sed -n 's/^offer://p' $OUT
        zpty -d shell"#;
    tried("zsh", |script, typed| {
        let scratch = Scratch::new();
        let told = scratch.write("told", "");
        let mut command = Command::new("timeout");
        command.args(["120", "zsh", "-f", "-c", ASK, "zsh", script, typed]).env("OUT", told).env("TERM", "dumb");
        succeeds(&mut command).replace('=', "")
    });
}

#[test]
fn an_unknown_shell_is_told_which_there_are() {
    let output = super::output(Command::new(PROGRAM).args(["completions", "csh"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(super::said(&output.stderr).contains("bash, zsh or fish"));
}

/// Holds both tables to what a shell offers; it is given the script and the line, and tells one offer in each line.
fn tried(shell: &str, ask: impl Fn(&str, &str) -> String) {
    let scratch = Scratch::new();
    let script = scratch.write("script", &succeeds(Command::new(PROGRAM).args(["completions", shell])));
    let script = script.to_str().expect("a path of ours");
    succeeds(Command::new(shell).arg("-n").arg(script));
    let offers = |typed: &str| -> BTreeSet<String> { ask(script, typed).lines().map(str::to_owned).collect() };
    for (typed, wanted) in OFFERED {
        let offers = offers(typed);
        for word in wanted {
            assert!(offers.contains(*word), "{shell}: {typed:?} offers {offers:?}");
        }
    }
    for (typed, unwanted) in NOT_OFFERED {
        let offers = offers(typed);
        assert!(!offers.contains(unwanted), "{shell}: {typed:?} offers {offers:?}");
    }
}
