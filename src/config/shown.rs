//! The settings in force, written as a file that says the same; secrets as stars.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::settings::SETTINGS;
use super::{AccessLog, Config, DialBy, Proxy, Route, TapForm, TapSettings, UpstreamSettings, Via, WhenFull};
use crate::pattern::Pattern;

/// Settings that describe the upstream without a name, or are shown elsewhere.
const ELSEWHERE: [&str; 9] =
    ["tap", "auth", "user", "password-file", "keytab", "ca", "plain-http", "probe", "default-origin"];

/// Writes them; `remark` says what is to stand behind a proxy.
pub fn shown(config: &Config, remark: impl Fn(&Proxy) -> String) -> String {
    let mut text = String::new();
    for (name, value) in config.texts.iter().filter(|(name, _)| !ELSEWHERE.contains(name)) {
        let setting = SETTINGS.iter().find(|s| s.name == *name);
        let is_switch = setting.is_some_and(|s| s.value.is_empty());
        let value = match *name {
            // an upstream without a name gets one, so that what is shown is whole
            "upstream-proxy" => quoted(shown_name(&config.upstreams[config.default_upstream])),
            "access-log" => match &config.access_log {
                AccessLog::File(path) => quoted(&whole(path)),
                _ => quoted(value),
            },
            _ if is_switch => super::values::switch(value).unwrap_or_default().to_string(),
            _ if super::values::number(value).is_ok() => value.clone(),
            _ => quoted(value),
        };
        let _ = writeln!(text, "{name} = {value}");
    }
    for upstream in &config.upstreams {
        section(&mut text, upstream, &remark);
    }
    // the first one stands for no-proxy, which is shown as such
    for route in config.routes.iter().filter(|route| !route.is_no_proxy()) {
        let _ = write!(text, "\n[[route]] # {}\n{}", route.place, route_shown(route, config));
    }
    for tap in &config.taps {
        tap_shown(&mut text, tap);
    }
    if let Some(rules) = &config.rules {
        let _ = write!(text, "\n[rules] # {}\nmode = {}\n", rules.place, quoted(rules.mode.word()));
        for (key, values) in &rules.options {
            let _ = match values.as_slice() {
                [switch] if switch == "true" || switch == "false" => writeln!(text, "{key} = {switch}"),
                [value] => writeln!(text, "{key} = {}", quoted(value)),
                values => writeln!(text, "{key} = {}", list(values.iter().cloned())),
            };
        }
    }
    text
}

/// What stands in one route, as it would in a file.
pub fn route_shown(route: &Route, config: &Config) -> String {
    let mut text = String::new();
    for (name, patterns) in [("from", &route.from), ("to", &route.to)] {
        if !patterns.is_empty() {
            let _ = writeln!(text, "{name} = {}", list(patterns.iter().map(Pattern::to_string)));
        }
    }
    let _ = writeln!(text, "via = {}", quoted(via(route.via, config)));
    if route.dial == DialBy::Address && route.via != Via::Direct {
        text += "dial = \"address\"\n";
    }
    if route.verify_name != config.verify_name {
        let _ = writeln!(text, "verify-name = {}", route.verify_name);
    }
    text
}

/// The word for where a route leads.
pub fn via(via: Via, config: &Config) -> &str {
    match via {
        Via::Upstream(number) => &config.upstreams[number].name,
        Via::Direct => "direct",
        Via::Reject => "reject",
    }
}

fn section(text: &mut String, upstream: &UpstreamSettings, remark: impl Fn(&Proxy) -> String) {
    let _ = writeln!(text, "\n[upstream.{}] # {}", shown_name(upstream), upstream.place);
    let _ = writeln!(text, "proxy = [");
    for proxy in &upstream.proxies {
        let _ = writeln!(text, "    {}, # {}", quoted(&proxy.to_string()), remark(proxy));
    }
    text.push_str("]\n");
    if !upstream.auth.is_empty() {
        let _ = writeln!(text, "auth = {}", list(upstream.auth.iter().map(ToString::to_string)));
    }
    let credentials = &upstream.credentials;
    if !credentials.user.is_empty() {
        let _ = writeln!(text, "user = {}", quoted(&credentials.user));
    }
    if credentials.password.is_some() {
        text.push_str("password = \"***\"\n");
    }
    if let Some(keytab) = &credentials.keytab {
        let _ = writeln!(text, "keytab = {}", quoted(&keytab.to_string_lossy()));
    }
    if upstream.ca.is_some() {
        text.push_str("# its certificate is checked against authorities of its own\n");
    }
    let _ = writeln!(text, "plain-http = {}", quoted(&upstream.plain_http.to_string()));
    if let Some(probe) = upstream.probe {
        let _ = writeln!(text, "probe = {}", quoted(&span(probe)));
    }
    if !upstream.source.is_empty() {
        let _ = writeln!(text, "source = {}", list(upstream.source.iter().map(IpAddr::to_string)));
    }
}

fn tap_shown(text: &mut String, tap: &TapSettings) {
    let (kind, format) = tap.form.words();
    let _ = write!(text, "\n[[tap]] # {}\nkind = {}\n", tap.place, quoted(kind));
    if kind != format {
        let _ = writeln!(text, "format = {}", quoted(format));
    }
    let _ = writeln!(text, "path = {}", quoted(&tap.shown_path()));
    for (name, patterns) in [("from", &tap.from), ("to", &tap.to)] {
        if !patterns.is_empty() {
            let _ = writeln!(text, "{name} = {}", list(patterns.iter().map(Pattern::to_string)));
        }
    }
    let when = match tap.when_full {
        WhenFull::Drop => "drop",
        WhenFull::Wait => "wait",
    };
    let _ = writeln!(text, "when-full = {}\nqueue = {}", quoted(when), quoted(&size(tap.queue as u64)));
    if !tap.form.is_per_session() {
        let _ = writeln!(text, "append = {}", tap.append);
    }
    if let Some(bytes) = tap.rotate_size {
        let _ = writeln!(text, "rotate-size = {}", quoted(&size(bytes)));
    }
    if let Some(time) = tap.rotate_time {
        let _ = writeln!(text, "rotate-time = {}", quoted(&span(time)));
    }
    if tap.rotate_size.is_some() || tap.rotate_time.is_some() {
        let _ = writeln!(text, "keep = {}\ncompress = {}", tap.keep, tap.compress);
    }
    if let Some(colour) = tap.colour.filter(|_| tap.form == TapForm::Flow) {
        let _ = writeln!(text, "colour = {colour}");
    }
}

/// Its name, or one for what has none.
fn shown_name(upstream: &UpstreamSettings) -> &str {
    if upstream.is_named() { &upstream.name } else { "upstream-proxy" }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(|item| quoted(&item)).collect::<Vec<_>>().join(", "))
}

/// A path that means the same wherever the file stands.
pub(super) fn whole(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).to_string_lossy().into_owned()
}

/// In the largest unit that fits exactly.
fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

fn span(time: Duration) -> String {
    humantime::format_duration(time).to_string().replace(' ', "")
}

/// A TOML string.
fn quoted(text: &str) -> String {
    if !text.contains('\'') && !text.contains(char::is_control) && text.contains(['"', '\\']) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
#[path = "shown_tests.rs"]
mod tests;
