//! `handyproxy rules`: hands `[rules]` of an instance's file to handyproxy-rules(8), which knows netfilter.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::config::{Config, RulesAction, rules_words};

pub(super) const TOOL: &str = "handyproxy-rules";
/// Where the tool may be, beside PATH: service managers leave these out.
const SBIN: &str = "/usr/local/sbin:/usr/sbin:/sbin";
/// Most letters of an instance's name, which stands in the name of a chain.
pub(super) const MAX_NAME: usize = 14;

/// Does it, and does not return if the tool can be run; else the text to print.
pub(super) fn run(config: &Config, action: RulesAction) -> Result<String, String> {
    let file = config.file.as_deref().ok_or("rules: -config FILE is missing: the file with the [rules]")?;
    let name = name(file)?;
    let Some(words) = rules_words(config, name) else {
        return Ok(format!("{file}: there is no [rules] section: nothing to do\n"));
    };
    let words = match action {
        RulesAction::Words => return Ok(words.join(" ") + "\n"),
        RulesAction::Do("up", None) => return up(words, name),
        RulesAction::Do(action @ ("up" | "print"), confirm) => {
            let mut words = words;
            words.insert(1, action.to_owned());
            words.extend(confirm.map(|time| format!("--confirm={}s", time.as_secs())));
            words
        }
        RulesAction::Do(action, _) => [action, "--name", name].map(str::to_owned).to_vec(),
    };
    Err(failed(&tool().args(words).exec()))
}

/// Loads them, and takes away what the file said before and says no longer: another mode, another family.
fn up(mut words: Vec<String>, name: &str) -> Result<String, String> {
    let mode = words[0].clone();
    let families = if words.iter().any(|word| word == "-4") {
        "4"
    } else if words.iter().any(|word| word == "-6") {
        "6"
    } else {
        "46"
    };
    words.insert(1, "up".to_owned());
    done(tool().args(words).status().map_err(|error| failed(&error))?);
    let status = tool().args(["status", "--porcelain", "--name", name]).output().map_err(|error| failed(&error))?;
    for (of, family) in loaded(&String::from_utf8_lossy(&status.stdout)) {
        if of != mode || !families.contains(family) {
            let family = format!("-{family}");
            let down = tool().args([of, "down", &family, "--name", name]).status();
            done(down.map_err(|error| failed(&error))?);
        }
    }
    Ok(String::new())
}

/// Mode and family of each line of `status --porcelain`.
fn loaded(status: &str) -> Vec<(&str, &str)> {
    status
        .lines()
        .filter_map(|line| {
            let of = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key));
            Some((of("mode=")?, of("family=")?))
        })
        .collect()
}

fn tool() -> Command {
    let mut tool = Command::new(TOOL);
    tool.env("PATH", path());
    tool
}

fn failed(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        return format!(
            "rules: run {TOOL}: it is not in PATH: the package installs it; \
             in the source it is iptables/{TOOL}, to be put into /usr/local/sbin"
        );
    }
    format!("rules: run {TOOL}: {error}")
}

/// The tool has said what is wrong; its exit status is ours.
fn done(status: std::process::ExitStatus) {
    if !status.success() {
        std::process::exit(status.code().unwrap_or(1));
    }
}

/// PATH, and where else tools are.
pub(super) fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:{SBIN}")
}

/// The instance that a file is for: `gateway` of `/etc/handyproxy/gateway.toml`.
pub(super) fn name(file: &str) -> Result<&str, String> {
    let name = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('-') || !name.bytes().all(fits) {
        return Err(format!(
            "rules: {file}: rules are named after the file, and {name:?} is not 1 to {MAX_NAME} letters, digits, - and _"
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_read_off_the_status() {
        let status = "name=x mode=gateway port=1 family=4 captured=0\nname=x mode=local port=1 family=6\nodd\n";
        assert_eq!(loaded(status), [("gateway", "4"), ("local", "6")]);
    }

    #[test]
    fn whoever_lacks_the_tool_hears_where_it_comes_from() {
        let missing = Command::new("no-such-tool-anywhere").status().expect_err("there is none");
        let told = failed(&missing);
        assert!(told.contains("iptables/handyproxy-rules, to be put into /usr/local/sbin"), "{told}");
        assert!(!failed(&std::io::ErrorKind::PermissionDenied.into()).contains("source"));
    }

    #[test]
    fn rules_are_named_after_the_file() {
        assert_eq!(name("/etc/handyproxy/gateway.toml"), Ok("gateway"));
        assert_eq!(name("a-1_B.toml"), Ok("a-1_B"));
        for file in ["", "/", "a b.toml", "-x.toml", "a.b.toml", "fifteen-letters.toml"] {
            assert!(name(file).is_err(), "{file}");
        }
    }
}
