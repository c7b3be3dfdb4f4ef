//! `-h`, and what the other documents compare themselves with.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use handyproxy::config::{self, Config};

use super::{PROGRAM, output, said};

/// Flags that are no settings.
pub(super) const SWITCHES: [&str; 3] = ["version", "help", "h"];
/// Known to debug builds alone.
pub(super) const DEBUG_FLAG: &str = "default-origin";

/// A flag of -h.
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) default: Option<String>,
}

#[test]
fn help_fits_the_terminal_and_a_hundred_columns_elsewhere() {
    for (columns, widest) in [(None, 100), (Some("100"), 100), (Some("80"), 80)] {
        let text = help(columns);
        let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > widest).collect();
        assert_eq!(long, [""; 0], "COLUMNS={columns:?}");
        assert!(text.lines().count() > 20, "{text}");
    }
}

#[test]
fn the_examples_of_the_originals_documentation_are_understood() {
    let plain = parsed("-local-port 8043 -upstream-proxy proxy.local -dial-timeout 25s");
    assert_eq!((plain.local_port, plain.dial_timeout.as_secs()), (8043, 25));
    let upstream = &plain.upstreams[plain.default_upstream];
    assert_eq!((upstream.name.as_str(), plain.sniff_timeout), ("proxy.local:3128", None));
    let sniffing = parsed(
        "-local-port 8043 -upstream-proxy proxy.local -dial-timeout 25s -sniff-max-bytes 16384 -sniff-timeout 2s",
    );
    assert_eq!((sniffing.sniff_max_bytes, sniffing.sniff_timeout.map(|t| t.as_secs())), (16384, Some(2)));
}

/// What -h prints.
pub(super) fn help(columns: Option<&str>) -> String {
    let mut command = Command::new(PROGRAM);
    command.arg("-h").env_remove("COLUMNS").stdin(Stdio::null());
    if let Some(columns) = columns {
        command.env("COLUMNS", columns);
    }
    let output = output(&mut command);
    assert!(output.status.success());
    said(&output.stdout)
}

/// Every flag of -h.
pub(super) fn flags() -> Vec<Flag> {
    let mut entries: Vec<String> = Vec::new();
    for line in help(None).lines() {
        match (line.strip_prefix("       -"), entries.last_mut()) {
            (Some(flag), _) => entries.push(flag.to_owned()),
            (None, Some(entry)) if line.starts_with("       ") => {
                entry.push(' ');
                entry.push_str(line.trim());
            }
            _ => {}
        }
    }
    let flags = entries.iter().map(|entry| Flag {
        name: entry.split_whitespace().next().expect("split never starts with nothing").to_owned(),
        default: entry.split_once("[default: ").map(|(_, rest)| rest.trim_end_matches(']').to_owned()),
    });
    let flags: Vec<Flag> = flags.filter(|flag| flag.name != DEBUG_FLAG).collect();
    assert!(flags.len() > 10);
    flags
}

/// The flags apart from some, and their defaults.
pub(super) fn defaults(but: &[&str]) -> BTreeMap<String, Option<String>> {
    let flags = flags().into_iter().filter(|flag| !but.contains(&flag.name.as_str()));
    flags.map(|flag| (flag.name, flag.default)).collect()
}

/// The words that may stand in front of flags.
pub(super) fn subcommands() -> Vec<String> {
    let text = help(None);
    let (_, behind) = text.split_once("Instead of serving:\n").expect("-h lists them");
    let lines = behind.lines().take_while(|line| !line.is_empty());
    // further in stands what goes on about the last one
    let lines = lines.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let words: Vec<String> = lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(words.len() > 1, "{text}");
    words
}

/// What the program makes of flags.
pub(super) fn parsed(flags: &str) -> Config {
    match config::Command::parse(flags.split_whitespace().map(str::to_owned)) {
        Ok(config::Command::Run(config)) => *config,
        other => panic!("{flags}: {other:?}"),
    }
}
