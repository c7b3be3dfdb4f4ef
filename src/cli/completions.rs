//! `handyproxy completions`: what completes commands in a shell.
//!
//! Written here and not by clap_complete, which knows of no flag with one dash: behind one, what it makes for fish
//! completes nothing any more. Each script has the flags once, however many subcommands take them.

mod bash;
mod fish;
mod zsh;

use super::{cat, setup};
use crate::config::Shell;
use crate::config::grammar::{self, Flag};

/// What is to be printed.
pub(super) fn run(shell: Shell) -> String {
    let script = match shell {
        Shell::Bash => bash::script,
        Shell::Zsh => zsh::script,
        Shell::Fish => fish::script,
    };
    let mut words = grammar::words();
    // these have tables of their own
    for (name, flags) in [("setup", setup::FLAGS), ("cat", cat::FLAGS)] {
        for word in words.iter_mut().filter(|word| word.name == name) {
            word.flags = flags.iter().map(|(name, value, help)| Flag::new(name, value, help)).collect();
        }
    }
    script(&[grammar::settings(), grammar::switches()].concat(), &words)
}

/// The names of subcommands for which something holds.
fn names(words: &[grammar::Word], holds: impl Fn(&grammar::Word) -> bool) -> Vec<&'static str> {
    words.iter().filter(|word| holds(word)).map(|word| word.name).collect()
}
