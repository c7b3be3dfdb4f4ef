//! `handyproxy setup`: an instance, its unit and its rules, or the way back.

/// Does what the words behind `setup` ask for.
pub(super) fn run(_words: Vec<String>) -> Result<(), String> {
    Err("setup: not there yet".to_owned())
}
