//! What `-h` prints.

use clap::{Arg, ArgAction};

use super::command::{FILE, SUBCOMMANDS, SWITCHES, Subcommand};
use super::settings::SETTINGS;

/// What `-h` prints.
pub fn help() -> String {
    let mut usage = "handyproxy [-flag value | -flag=value]...".to_owned();
    let mut after = "Instead of serving:\n".to_owned();
    for Subcommand { name, action, words, what, .. } in SUBCOMMANDS {
        // a line of the usage is never broken, so it must fit
        let is_long = action.len() > 20;
        let parts: [&str; 4] = match *name {
            "completions" | "setup" => [name, action, "", ""],
            "top" => [name, "[-admin ADDR | -config FILE] [-interval TIME] [-once]", "", ""],
            "cat" => [name, "[-flag]...", "", words],
            _ => [name, if is_long { "ACTION" } else { action }, "-config FILE [-flag value]...", words],
        };
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        usage += &format!("\n       handyproxy {}", parts.join(" "));
        let actions = if is_long { format!("; ACTION is {}", action.replace('|', ", ")) } else { String::new() };
        // what is broken further stays in its column
        after += &format!("  {name:11} {}\n", format!("{what}{actions}").replace("; ", "\n              "));
    }
    after += "\nTIME is written as 1h2m3.5s or 500ms. Exit codes: 0 fine, 1 could not start, 2 bad usage.\n\
              The file: man 5 handyproxy.conf. Netfilter rules: handyproxy-rules -h. Everything else: man 8 handyproxy.";
    let mut command = clap::Command::new("handyproxy")
        .about("Lets redirected TCP connections leave through an HTTP CONNECT proxy.")
        .override_usage(usage)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .max_term_width(100)
        .after_help(after);
    command = command.arg(Arg::new(FILE.0).long(FILE.0).value_name(FILE.1).help(FILE.2));
    for setting in SETTINGS {
        let mut arg = Arg::new(setting.name).long(setting.name).help(setting.help);
        arg = if setting.value.is_empty() { arg.action(ArgAction::SetTrue) } else { arg.value_name(setting.value) };
        if !(setting.default.is_empty() || setting.value.is_empty()) {
            arg = arg.default_value(setting.default);
        }
        command = command.arg(arg);
    }
    for (name, help) in SWITCHES {
        command = command.arg(Arg::new(name).long(name).help(help).action(ArgAction::SetTrue));
    }
    let mut text = command.render_help().to_string();
    for name in SETTINGS.iter().map(|s| s.name).chain([FILE.0]).chain(SWITCHES.map(|(name, _)| name)) {
        // as wide as before, so that columns stay columns
        text = text.replace(&format!(" --{name}"), &format!("  -{name}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_setting_with_one_dash() {
        let help = help();
        for setting in SETTINGS.iter().filter(|s| !s.value.is_empty()) {
            assert!(help.contains(&format!(" -{} <{}>", setting.name, setting.value)), "{}\n{help}", setting.name);
        }
        assert!(help.contains(" -verify-name ") && help.contains(" -config <FILE>"), "{help}");
        assert!(!help.contains(" --"), "{help}");
    }
}
