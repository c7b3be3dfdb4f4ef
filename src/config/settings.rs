//! The table of all settings: name, default, what it means, and how its text becomes a value.
//!
//! Flags and the keys of the file's top level come from here: both hand text to the same `set`.

use std::time::Duration;

use super::draft::Draft;
use super::values::{
    access_format, access_log, addresses, admin, capture, hosts, level, number, parts, port, span, switch,
};
use super::{dns, duration};
use crate::pattern::{Pattern, Ports};

/// One setting.
pub(super) struct Setting {
    pub(super) name: &'static str,
    /// What its value is, in help; a switch has none.
    pub(super) value: &'static str,
    pub(super) default: &'static str,
    pub(super) help: &'static str,
    pub(super) set: fn(&mut Draft, &str) -> Result<(), String>,
}

const DIAL_TIMEOUT: Duration = Duration::from_secs(180);
const SNIFF_MAX_BYTES: usize = 8192;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "local-port",
        value: "PORT",
        default: "8443",
        help: "Port to listen on, on all interfaces: the one that netfilter rules redirect to",
        set: |d, text| port(text).map(|port| d.config.local_port = port),
    },
    Setting {
        name: "capture",
        value: "HOW",
        default: "redirect",
        help: "How rules hand connections over: redirect, or tproxy, which needs CAP_NET_ADMIN",
        set: |d, text| capture(text).map(|capture| d.config.capture = capture),
    },
    Setting {
        name: "upstream-proxy",
        value: "PROXY",
        default: "localhost:3128",
        help: "Proxy that opens the tunnels: HOST[:PORT], port 3128 if left out, or a URL with http, https or socks5; several with commas, in order of preference; or the name of an [upstream.NAME] of the file",
        set: |d, text| {
            d.upstream_proxy = text.to_owned();
            Ok(())
        },
    },
    Setting {
        name: "auth",
        value: "SCHEMES",
        default: "none",
        help: "How to prove to the upstream who we are: none, or basic, digest, ntlm, negotiate; several with commas, in order of preference",
        set: |d, text| d.own.set("auth", text),
    },
    Setting {
        name: "user",
        value: "USER",
        default: "",
        help: "Who we are to the upstream, such as 'DOMAIN\\user'",
        set: |d, text| d.own.set("user", text),
    },
    Setting {
        name: "password-file",
        value: "FILE",
        default: "",
        help: "File whose first line is the password; nobody but its owner and group may read it",
        set: |d, text| d.own.set("password-file", text),
    },
    Setting {
        name: "keytab",
        value: "FILE",
        default: "",
        help: "Keytab for negotiate; without one the system's ticket cache is used",
        set: |d, text| d.own.set("keytab", text),
    },
    Setting {
        name: "ca",
        value: "FILE",
        default: "",
        help: "Certificates, in PEM, of the authorities that a https proxy is checked against, in place of the system's",
        set: |d, text| d.own.set("ca", text),
    },
    Setting {
        name: "plain-http",
        value: "HOW",
        default: "connect",
        help: "What becomes of HTTP without TLS: connect makes a tunnel of it, relay hands each request to the proxy, auto does that where the proxy refuses a tunnel; the latter two need sniffing",
        set: |d, text| d.own.set("plain-http", text),
    },
    Setting {
        name: "probe",
        value: "TIME",
        default: "0",
        help: "How often to see whether the proxies of the upstream are alive; 0 learns it from sessions only",
        set: |d, text| d.own.set("probe", text),
    },
    Setting {
        name: "source",
        value: "ADDRS",
        default: "",
        help: "Addresses of this machine to dial from, in turn: each adds some 28,000 ports; empty leaves it to the kernel",
        set: |d, text| addresses(text).map(|addrs| d.config.source = addrs),
    },
    Setting {
        name: "no-proxy",
        value: "LIST",
        default: "",
        help: "What to connect to directly, before all routes: names with all below them, addresses, networks, such as localhost,.corp,10.0.0.0/8",
        set: |d, text| {
            d.no_proxy = parts(text).map(Pattern::parse_no_proxy).collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Setting {
        name: "verify-name",
        value: "",
        default: "false",
        help: "Believe a name only if it resolves to the address that the client went to, else go on by address",
        set: |d, text| switch(text).map(|on| d.config.verify_name = on),
    },
    Setting {
        name: "dial-timeout",
        value: "TIME",
        default: "3m",
        help: "Longest time from accept to the open tunnel, sniffing apart: resolve, connect, and the answer to CONNECT; 0 or less is 3m",
        set: |d, text| span(text).map(|span| d.config.dial_timeout = span.unwrap_or(DIAL_TIMEOUT)),
    },
    Setting {
        name: "sniff-timeout",
        value: "TIME",
        default: "-1ns",
        help: "Longest time to look for a host name in the client's first bytes; less than 0 does not look, 0 is 1s",
        set: |d, text| {
            d.config.sniff_timeout = match duration::parse(text)? {
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
        set: |d, text| {
            let bytes = number(text)?;
            d.config.sniff_max_bytes = usize::try_from(bytes).ok().filter(|&b| b > 0).unwrap_or(SNIFF_MAX_BYTES);
            Ok(())
        },
    },
    Setting {
        name: "sniff-http-ports",
        value: "PORTS",
        default: "*",
        help: "Destination ports on which to look for an HTTP Host, such as 80,8000-8999; * is all",
        set: |d, text| Ports::parse(text).map(|ports| d.config.sniff_http_ports = ports),
    },
    Setting {
        name: "sniff-tls-ports",
        value: "PORTS",
        default: "*",
        help: "Destination ports on which to look for a TLS server name",
        set: |d, text| Ports::parse(text).map(|ports| d.config.sniff_tls_ports = ports),
    },
    Setting {
        name: "server-first-ports",
        value: "PORTS",
        default: "21,22,25,110,143,587,3306",
        help: "Destination ports whose servers speak first: nothing is waited for",
        set: |d, text| Ports::parse(text).map(|ports| d.config.server_first_ports = ports),
    },
    Setting {
        name: "idle-timeout",
        value: "TIME",
        default: "0",
        help: "End a tunnel in which nothing has moved for this long; 0 never does",
        set: |d, text| span(text).map(|span| d.config.idle_timeout = span),
    },
    Setting {
        name: "half-closed-timeout",
        value: "TIME",
        default: "10m",
        help: "End a tunnel of which one side has ended and in which nothing has moved for this long; 0 never does",
        set: |d, text| span(text).map(|span| d.config.half_closed_timeout = span),
    },
    Setting {
        name: "keepalive",
        value: "TIME",
        default: "15s",
        help: "Idle time before a TCP keepalive probe, and between two; a peer that misses 9 is gone; 0 sends none",
        set: |d, text| {
            let span = span(text)?;
            // the kernel counts in seconds, 32767 at most (man 7 tcp)
            if span.is_some_and(|s| s < Duration::from_secs(1) || s > Duration::from_secs(32767)) {
                return Err(format!("{text:?} is not between 1s and 32767s"));
            }
            d.config.keepalive = span;
            Ok(())
        },
    },
    Setting {
        name: "max-sessions",
        value: "NUMBER",
        default: "0",
        help: "Most sessions at once, further clients wait; 0 is as many as the descriptor limit allows",
        set: |d, text| {
            let bad = |_| format!("{text:?} is less than 0");
            d.config.max_sessions = usize::try_from(number(text)?).map_err(bad)?;
            Ok(())
        },
    },
    Setting {
        name: "drain-timeout",
        value: "TIME",
        default: "5s",
        help: "How long open sessions may go on after SIGTERM or SIGINT",
        set: |d, text| span(text).map(|span| d.config.drain_timeout = span.unwrap_or_default()),
    },
    Setting {
        name: "mark",
        value: "MARK",
        default: "0x68",
        help: "Firewall mark on connections to the upstream, so that rules can leave them alone; 0 sets none",
        set: |d, text| {
            let bad = |_| format!("{text:?} is no mark of 32 bits");
            d.config.mark = u32::try_from(number(text)?).map_err(bad)?;
            Ok(())
        },
    },
    Setting {
        name: "dns",
        value: "ADDRS",
        default: "",
        help: "Addresses at which to answer DNS, port 53 if left out: every name gets an address of our own, which stands for it; empty answers none",
        set: |d, text| dns::servers(text).map(|addrs| d.dns.listen = addrs),
    },
    Setting {
        name: "dns-forward",
        value: "LIST",
        default: "",
        help: "Names, with all below them, that other servers answer: NAME=SERVER[:PORT], several with commas, such as corp.example=10.0.0.53",
        set: |d, text| dns::zones(text).map(|zones| d.dns.forward = zones),
    },
    Setting {
        name: "dns-pool",
        value: "NET",
        default: "198.18.0.0/15",
        help: "Network from which names get addresses, used for nothing else; /8 to /29",
        set: |d, text| dns::pool(text).map(|net| d.dns.pool = net),
    },
    Setting {
        name: "dns-pool6",
        value: "NET",
        default: "fd68:616e:6479::/112",
        help: "The same for IPv6; /8 to /112",
        set: |d, text| dns::pool6(text).map(|net| d.dns.pool6 = net),
    },
    Setting {
        name: "dns-aaaa",
        value: "",
        default: "false",
        help: "Give names IPv6 addresses too; without, names have none",
        set: |d, text| switch(text).map(|on| d.dns.aaaa = on),
    },
    Setting {
        name: "dns-ttl",
        value: "TIME",
        default: "1m",
        help: "How long clients may keep an answer; whole seconds, 1s to 1d",
        set: |d, text| {
            let ttl = span(text)?.unwrap_or_default();
            if !(1..=86_400).contains(&ttl.as_secs()) {
                return Err(format!("{text:?} is not between 1s and 24h"));
            }
            d.dns.ttl = ttl;
            Ok(())
        },
    },
    Setting {
        name: "dns-state",
        value: "FILE",
        default: "",
        help: "File in which names keep their addresses over a restart; empty: dns-names in the unit's state directory, or nowhere",
        set: |d, text| {
            d.dns.state = (!text.is_empty()).then(|| d.folder.join(text));
            Ok(())
        },
    },
    Setting {
        name: "tap",
        value: "KIND[:PATH]",
        default: "",
        help: "Write down what passes: flow, dump, hexlog or pcapng, a format of it behind a slash, and the file or folder, stdout if left out; given again it adds another one",
        set: |d, text| {
            if !text.is_empty() {
                d.taps.extend(parts(text).map(|text| (text.to_owned(), d.folder.clone())));
            }
            Ok(())
        },
    },
    Setting {
        name: "access-log",
        value: "WHERE",
        default: "log",
        help: "Where the line of each session goes: log is beside all other lines, off, stderr, journal, or a FILE, which SIGHUP opens anew",
        set: |d, text| access_log(text, &d.folder).map(|log| d.config.access_log = log),
    },
    Setting {
        name: "access-log-format",
        value: "FORMAT",
        default: "text",
        help: "How that line is written: text or json",
        set: |d, text| access_format(text).map(|format| d.config.access_log_format = format),
    },
    Setting {
        name: "admin",
        value: "ADDR",
        default: "",
        help: "Where to serve metrics, health, sessions and settings over HTTP: an address of loopback with a port, or the path of a unix socket; empty serves none",
        set: |d, text| admin(text).map(|admin| d.config.admin = admin),
    },
    Setting {
        name: "admin-remote",
        value: "",
        default: "false",
        help: "Let -admin be an address that other machines reach; there is no password",
        set: |d, text| switch(text).map(|on| d.config.admin_remote = on),
    },
    Setting {
        name: "admin-hosts",
        value: "NAMES",
        default: "",
        help: "Names by which -admin may be asked for, beside localhost and addresses",
        set: |d, text| hosts(text).map(|hosts| d.config.admin_hosts = hosts),
    },
    Setting {
        name: "log-level",
        value: "LEVEL",
        default: "info",
        help: "Least important lines to log: off, error, warn, info, debug or trace",
        set: |d, text| level(text).map(|level| d.config.log_level = level),
    },
    #[cfg(debug_assertions)]
    Setting {
        name: "default-origin",
        value: "ADDR:PORT",
        default: "",
        help: "Debug builds only: take every connection to be redirected from here, and need no rules",
        set: |d, text| {
            let bad = |_| format!("{text:?} is no address with a port");
            d.config.default_origin = if text.is_empty() { None } else { Some(text.parse().map_err(bad)?) };
            Ok(())
        },
    },
];
