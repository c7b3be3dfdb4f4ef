//! The table of all settings: name, default, what it means, and how its text becomes a value.
//!
//! Flags come from here, and so will the keys of the file: both hand text to the same `set`.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Arg, ArgAction};

use super::argv::{self, Given, Kind};
use super::{Command, Config, LogLevel, Mistake, UpstreamAddr, UpstreamHost, duration};
use crate::addr::Host;
use crate::pattern::Ports;

/// One setting.
struct Setting {
    name: &'static str,
    /// What its value is, in help.
    value: &'static str,
    default: &'static str,
    help: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

const DIAL_TIMEOUT: Duration = Duration::from_secs(180);
const SNIFF_MAX_BYTES: usize = 8192;
const UPSTREAM_PORT: u16 = 3128;

static SETTINGS: &[Setting] = &[
    Setting {
        name: "local-port",
        value: "PORT",
        default: "8443",
        help: "Port to listen on, on all interfaces: the one that netfilter rules redirect to",
        set: |c, text| port(text).map(|port| c.local_port = port),
    },
    Setting {
        name: "upstream-proxy",
        value: "HOST[:PORT]",
        default: "localhost:3128",
        help: "HTTP proxy that opens the tunnels; port 3128 if left out, an IPv6 address in brackets",
        set: |c, text| upstream(text).map(|upstream| c.upstream_proxy = upstream),
    },
    Setting {
        name: "dial-timeout",
        value: "TIME",
        default: "3m",
        help: "Longest time from accept to the open tunnel, sniffing apart: resolve, connect, and the answer to CONNECT; 0 or less is 3m",
        set: |c, text| span(text).map(|span| c.dial_timeout = span.unwrap_or(DIAL_TIMEOUT)),
    },
    Setting {
        name: "sniff-timeout",
        value: "TIME",
        default: "-1ns",
        help: "Longest time to look for a host name in the client's first bytes; less than 0 does not look, 0 is 1s",
        set: |c, text| {
            c.sniff_timeout = match duration::parse(text)? {
                0 => Some(Duration::from_secs(1)),
                nanos => u64::try_from(nanos).ok().map(Duration::from_nanos),
            };
            Ok(())
        },
    },
    Setting {
        name: "sniff-max-bytes",
        value: "BYTES",
        default: "8192",
        help: "Most bytes to hold while looking for a name; 0 or less is 8192",
        set: |c, text| {
            let bytes = number(text)?;
            c.sniff_max_bytes = usize::try_from(bytes).ok().filter(|&b| b > 0).unwrap_or(SNIFF_MAX_BYTES);
            Ok(())
        },
    },
    Setting {
        name: "sniff-http-ports",
        value: "PORTS",
        default: "*",
        help: "Destination ports on which to look for an HTTP Host, such as 80,8000-8999; * is all",
        set: |c, text| Ports::parse(text).map(|ports| c.sniff_http_ports = ports),
    },
    Setting {
        name: "sniff-tls-ports",
        value: "PORTS",
        default: "*",
        help: "Destination ports on which to look for a TLS server name",
        set: |c, text| Ports::parse(text).map(|ports| c.sniff_tls_ports = ports),
    },
    Setting {
        name: "server-first-ports",
        value: "PORTS",
        default: "21,22,25,110,143,587,3306",
        help: "Destination ports whose servers speak first: nothing is waited for",
        set: |c, text| Ports::parse(text).map(|ports| c.server_first_ports = ports),
    },
    Setting {
        name: "idle-timeout",
        value: "TIME",
        default: "0",
        help: "End a tunnel in which nothing has moved for this long; 0 never does",
        set: |c, text| span(text).map(|span| c.idle_timeout = span),
    },
    Setting {
        name: "half-closed-timeout",
        value: "TIME",
        default: "10m",
        help: "End a tunnel of which one side has ended and in which nothing has moved for this long; 0 never does",
        set: |c, text| span(text).map(|span| c.half_closed_timeout = span),
    },
    Setting {
        name: "keepalive",
        value: "TIME",
        default: "15s",
        help: "Idle time before a TCP keepalive probe, and between two; a peer that misses 9 is gone; 0 sends none",
        set: |c, text| {
            let span = span(text)?;
            // the kernel counts in seconds, 32767 at most (man 7 tcp)
            if span.is_some_and(|s| s < Duration::from_secs(1) || s > Duration::from_secs(32767)) {
                return Err(format!("{text:?} is not between 1s and 32767s"));
            }
            c.keepalive = span;
            Ok(())
        },
    },
    Setting {
        name: "max-sessions",
        value: "NUMBER",
        default: "0",
        help: "Most sessions at once, further clients wait; 0 is as many as the descriptor limit allows",
        set: |c, text| {
            let bad = |_| format!("{text:?} is less than 0");
            c.max_sessions = usize::try_from(number(text)?).map_err(bad)?;
            Ok(())
        },
    },
    Setting {
        name: "drain-timeout",
        value: "TIME",
        default: "5s",
        help: "How long open sessions may go on after SIGTERM or SIGINT",
        set: |c, text| span(text).map(|span| c.drain_timeout = span.unwrap_or_default()),
    },
    Setting {
        name: "mark",
        value: "MARK",
        default: "0x68",
        help: "Firewall mark on connections to the upstream, so that rules can leave them alone; 0 sets none",
        set: |c, text| {
            let bad = |_| format!("{text:?} is no mark of 32 bits");
            c.mark = u32::try_from(number(text)?).map_err(bad)?;
            Ok(())
        },
    },
    Setting {
        name: "log-level",
        value: "LEVEL",
        default: "info",
        help: "Least important lines to log: off, error, warn, info, debug or trace",
        set: |c, text| {
            c.log_level = match text {
                "off" => LogLevel::Off,
                "error" => LogLevel::Error,
                "warn" => LogLevel::Warn,
                "info" => LogLevel::Info,
                "debug" => LogLevel::Debug,
                "trace" => LogLevel::Trace,
                _ => return Err(format!("{text:?} is not off, error, warn, info, debug or trace")),
            };
            Ok(())
        },
    },
    #[cfg(debug_assertions)]
    Setting {
        name: "default-origin",
        value: "ADDR:PORT",
        default: "",
        help: "Debug builds only: take every connection to be redirected from here, and need no rules",
        set: |c, text| {
            let bad = |_| format!("{text:?} is no address with a port");
            c.default_origin = if text.is_empty() { None } else { Some(text.parse().map_err(bad)?) };
            Ok(())
        },
    },
];

/// The flags that are no settings: what to print, instead of serving.
const SWITCHES: [(&str, &str); 3] =
    [("version", "Print the version and exit"), ("help", "Print this help and exit"), ("h", "The same")];

/// Reads the words behind the program's name.
pub(super) fn parse(words: impl IntoIterator<Item = String>) -> Result<Command, Vec<Mistake>> {
    let (given, mut mistakes) = argv::split(words, kind);
    let mut config = Config::default();
    let mut asked = None;
    for Given { name, value } in given {
        let outcome = match (name.as_str(), SETTINGS.iter().find(|s| s.name == name)) {
            (_, Some(setting)) => (setting.set)(&mut config, &value),
            ("version", _) => switch(&value).map(|on| asked = on.then_some(Command::Version)),
            _ => switch(&value).map(|on| asked = on.then_some(Command::Help)),
        };
        if let Err(why) = outcome {
            mistakes.push(Mistake { given: format!("-{name}"), why });
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(asked.unwrap_or_else(|| Command::Run(Box::new(config))))
}

fn kind(name: &str) -> Option<Kind> {
    if SETTINGS.iter().any(|s| s.name == name) {
        return Some(Kind::Value);
    }
    SWITCHES.iter().any(|(switch, _)| *switch == name).then_some(Kind::Switch)
}

/// What `-h` prints.
pub fn help() -> String {
    let mut command = clap::Command::new("handyproxy")
        .about("Lets redirected TCP connections leave through an HTTP CONNECT proxy.")
        .override_usage("handyproxy [-flag value | -flag=value]...")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .max_term_width(100)
        .after_help(
            "TIME is written as 1h2m3.5s or 500ms. Exit codes: 0 fine, 1 could not start, 2 bad usage.\n\
             Netfilter rules: handyproxy-rules -h. Everything else: man 8 handyproxy.",
        );
    for setting in SETTINGS {
        let mut arg = Arg::new(setting.name).long(setting.name).value_name(setting.value).help(setting.help);
        if !setting.default.is_empty() {
            arg = arg.default_value(setting.default);
        }
        command = command.arg(arg);
    }
    for (name, help) in SWITCHES {
        command = command.arg(Arg::new(name).long(name).help(help).action(ArgAction::SetTrue));
    }
    let mut text = command.render_help().to_string();
    for name in SETTINGS.iter().map(|s| s.name).chain(SWITCHES.map(|(name, _)| name)) {
        // as wide as before, so that columns stay columns
        text = text.replace(&format!(" --{name}"), &format!("  -{name}"));
    }
    text
}

impl Default for Config {
    fn default() -> Config {
        let mut config = Config {
            local_port: 0,
            upstream_proxy: UpstreamAddr { host: UpstreamHost::Ip(IpAddr::from([127, 0, 0, 1])), port: 0 },
            dial_timeout: Duration::ZERO,
            sniff_timeout: None,
            sniff_max_bytes: 0,
            sniff_http_ports: Ports::default(),
            sniff_tls_ports: Ports::default(),
            server_first_ports: Ports::default(),
            idle_timeout: None,
            half_closed_timeout: None,
            keepalive: None,
            max_sessions: 0,
            drain_timeout: Duration::ZERO,
            mark: 0,
            log_level: LogLevel::Info,
            #[cfg(debug_assertions)]
            default_origin: None,
        };
        for setting in SETTINGS {
            (setting.set)(&mut config, setting.default)
                .expect("the defaults in the table are valid, a test reads them");
        }
        config
    }
}

/// A duration of which nothing and less than nothing means: none.
fn span(text: &str) -> Result<Option<Duration>, String> {
    let nanos = duration::parse(text)?;
    Ok(u64::try_from(nanos).ok().filter(|&n| n > 0).map(Duration::from_nanos))
}

/// A whole number as Go writes it: `0x68`, `0o17`, `017`, `0b11`, `1_000`.
fn number(text: &str) -> Result<i64, String> {
    let bad = || format!("{text:?} is no whole number");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    // an underscore may follow a prefix, not open a number
    if digits.starts_with(['-', '+'])
        || (radix == 10 && digits.starts_with('_'))
        || digits.ends_with('_')
        || digits.contains("__")
    {
        return Err(bad());
    }
    i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix).map_err(|_| bad())
}

fn port(text: &str) -> Result<u16, String> {
    let number = number(text)?;
    u16::try_from(number).ok().filter(|&p| p > 0).ok_or_else(|| format!("{text:?} is no port, which is 1 to 65535"))
}

/// Go's words for a switch.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// `host`, `host:port`, `1.2.3.4:port`, `[::1]:port`, and a bare IPv6 address.
fn upstream(text: &str) -> Result<UpstreamAddr, String> {
    let bad = |why: &str| format!("{text:?}: {why}");
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(UpstreamAddr { host: UpstreamHost::Ip(ip), port: UPSTREAM_PORT });
    }
    if text.contains("://") {
        return Err(bad("give the proxy as HOST:PORT, without a scheme"));
    }
    let (host, port_text) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port = match port_text {
        Some(text) => text.parse().ok().filter(|&p| p > 0).ok_or_else(|| bad("the port is not 1 to 65535"))?,
        None => UPSTREAM_PORT,
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = match bracketed.unwrap_or(host).parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv6() == bracketed.is_some() => UpstreamHost::Ip(ip),
        Ok(_) => return Err(bad("write an IPv6 address with a port as [ADDRESS]:PORT")),
        Err(_) => UpstreamHost::Name(Host::parse(host.as_bytes()).ok_or_else(|| bad("no valid host name or address"))?),
    };
    Ok(UpstreamAddr { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Command, Vec<Mistake>> {
        parse(line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned))
    }

    fn config(line: &str) -> Config {
        match words(line) {
            Ok(Command::Run(config)) => *config,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_of_the_original() {
        let config = config("");
        assert_eq!(config.local_port, 8443);
        assert_eq!(config.upstream_proxy.to_string(), "localhost:3128");
        assert_eq!(config.dial_timeout, Duration::from_secs(180));
        assert_eq!(config.sniff_timeout, None);
        assert_eq!(config.sniff_max_bytes, 8192);
        assert_eq!(config.mark, 0x68);
        assert!(config.server_first_ports.contains(25) && !config.server_first_ports.contains(443));
    }

    #[test]
    fn the_original_documented_lines_run_unchanged() {
        let one = config("-local-port 8043 -upstream-proxy proxy.local -dial-timeout 25s");
        assert_eq!((one.local_port, one.dial_timeout), (8043, Duration::from_secs(25)));
        assert_eq!(one.upstream_proxy.to_string(), "proxy.local:3128");
        let two = config(
            "-local-port 8043 -upstream-proxy proxy.local -dial-timeout 25s -sniff-max-bytes 16384 -sniff-timeout 2s",
        );
        assert_eq!((two.sniff_max_bytes, two.sniff_timeout), (16384, Some(Duration::from_secs(2))));
    }

    #[test]
    fn special_values_mean_what_the_original_means() {
        assert_eq!(config("-sniff-timeout 0").sniff_timeout, Some(Duration::from_secs(1)));
        assert_eq!(config("-sniff-timeout -1s").sniff_timeout, None);
        assert_eq!(config("-sniff-timeout=1ns").sniff_timeout, Some(Duration::from_nanos(1)));
        assert_eq!(config("-sniff-max-bytes -5").sniff_max_bytes, 8192);
        assert_eq!(config("-dial-timeout 0").dial_timeout, DIAL_TIMEOUT);
        assert_eq!(config("--local-port=1 -local-port 0x1F90").local_port, 8080);
        assert_eq!(config("-idle-timeout 0").idle_timeout, None);
    }

    #[test]
    fn upstreams_are_read_in_every_spelling() {
        for (text, wanted) in [
            ("proxy", "proxy:3128"),
            ("Proxy.Local.:80", "proxy.local:80"),
            ("10.0.0.1", "10.0.0.1:3128"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("[2001:db8::1]:8080", "[2001:db8::1]:8080"),
            ("[2001:db8::1]", "[2001:db8::1]:3128"),
            ("2001:db8::1", "[2001:db8::1]:3128"),
        ] {
            assert_eq!(upstream(text).map(|u| u.to_string()), Ok(wanted.to_owned()), "{text}");
        }
        for text in [
            "",
            ":3128",
            "proxy:",
            "proxy:0",
            "proxy:x",
            "a b",
            "http://proxy:3128",
            "[10.0.0.1]:1",
            "[::1",
            "1.2.3:80",
            "2001:db8::1:99999",
            "[]:80",
        ] {
            assert!(upstream(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_mistake_is_named_with_its_flag() {
        let mistakes = words("-local-port 0 -nope -dial-timeout 2 --sniff-max-bytes=x -log-level loud -version=maybe")
            .expect_err("all wrong");
        let given: Vec<_> = mistakes.iter().map(|m| m.given.as_str()).collect();
        assert_eq!(given, ["-nope", "-local-port", "-dial-timeout", "-sniff-max-bytes", "-log-level", "-version"]);
        for line in [
            "-keepalive 1ms",
            "-keepalive 40000s",
            "-mark -1",
            "-mark 0x100000000",
            "-max-sessions -1",
            "-sniff-tls-ports a",
            "-local-port 65536",
        ] {
            assert_eq!(words(line).expect_err(line).len(), 1, "{line}");
        }
    }

    #[test]
    fn help_and_version_are_asked_for_with_one_dash_or_two() {
        assert!(matches!(words("-version"), Ok(Command::Version)));
        assert!(matches!(words("--h"), Ok(Command::Help)));
        assert!(matches!(words("-help -local-port 1"), Ok(Command::Help)));
        assert!(matches!(words("-version=false"), Ok(Command::Run(_))));
    }

    #[test]
    fn numbers_are_read_as_in_go() {
        for (text, wanted) in
            [("0x1f", 31), ("0b11", 3), ("010", 8), ("0o10", 8), ("1_000", 1000), ("-5", -5), ("+5", 5), ("0", 0)]
        {
            assert_eq!(number(text), Ok(wanted), "{text}");
        }
        for text in ["", "-", "1.5", "0x", "1__0", "_", "--1", "1_", "a", "09", "_1"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn help_lists_every_setting_with_one_dash() {
        let help = help();
        for setting in SETTINGS {
            assert!(help.contains(&format!(" -{} <{}>", setting.name, setting.value)), "{}\n{help}", setting.name);
        }
        assert!(!help.contains(" --"), "{help}");
    }
}
