//! `handyproxy completions`: what completes commands in a shell.

use crate::config::Shell;

/// What is to be printed.
pub(super) fn run(_shell: Shell) -> String {
    String::new()
}
