//! One entry of a list, read: what stands before the port, and the port.

use super::{Pattern, Ports, Subject, net};
use crate::addr::Host;

/// What a bare name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// This name only.
    Exact,
    /// This name and every name below it, as curl and Go read NO_PROXY.
    AndBelow,
}

/// Reads an entry; errors quote it.
pub(super) fn entry(text: &str, names: Names) -> Result<Pattern, String> {
    let text = text.trim();
    let quoted = |why: String| format!("{text:?} {why}");
    let (negated, rest) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    match rest {
        "" => return Err(quoted("is empty".into())),
        _ if rest.starts_with('!') => return Err(quoted("has two exclamation marks".into())),
        _ if rest.contains("://") => return Err(quoted("is a URL; write the name or the address alone".into())),
        _ => {}
    }
    let (what, ports) = split(rest).map_err(quoted)?;
    let ports = ports.map(Ports::one).transpose().map_err(quoted)?;
    let subject = subject(what, names).map_err(quoted)?;
    Ok(Pattern { negated, subject, ports })
}

/// Splits the port off.
fn split(text: &str) -> Result<(What<'_>, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inside, behind)) = rest.split_once(']') else { return Err("lacks the closing bracket".into()) };
        if !inside.contains(':') {
            return Err("has something other than IPv6 in brackets".into());
        }
        return match behind.strip_prefix(':') {
            Some(ports) => Ok((What::V6(inside), Some(ports))),
            None if behind.is_empty() => Ok((What::V6(inside), None)),
            None if behind.starts_with('/') => {
                let network = format!("[{inside}{}]", behind.trim_end());
                Err(format!("has the prefix length behind the bracket, write {}", network.escape_debug()))
            }
            None => Err(format!("has {behind:?} behind the bracket where only a port may stand")),
        };
    }
    match text.split_once(':') {
        None => Ok((What::Other(text), None)),
        Some((_, behind)) if behind.contains(':') => Ok((What::V6(text), None)),
        Some((what, ports)) => Ok((What::Other(what.trim_end()), Some(ports))),
    }
}

/// An entry without its port.
#[derive(Clone, Copy)]
enum What<'a> {
    /// Two colons at least, or brackets.
    V6(&'a str),
    /// No colon.
    Other(&'a str),
}

fn subject(what: What<'_>, names: Names) -> Result<Subject, String> {
    let text = match what {
        What::V6(text) => return net::v6(text).map(Subject::Nets),
        What::Other(text) => text,
    };
    if text == "*" {
        return Ok(Subject::Any);
    }
    if let Some(nets) = net::v4(text) {
        return nets.map(Subject::Nets);
    }
    if let Some(below) = text.strip_prefix('.') {
        return name(below).map(Subject::Suffix);
    }
    if let Some(below) = text.strip_prefix("*.") {
        // pasted lists have it; what it leaves out there, the name itself, is not worth a mistake
        return match (names, name(below)?) {
            (Names::AndBelow, host) => Ok(Subject::Suffix(host)),
            (Names::Exact, host) => Err(format!("has a star in it, write .{host} for {host} and all names below it")),
        };
    }
    let host = name(text)?;
    Ok(if names == Names::AndBelow { Subject::Suffix(host) } else { Subject::Host(host) })
}

fn name(text: &str) -> Result<Host, String> {
    if let Some(host) = Host::parse(text.as_bytes()) {
        return Ok(host);
    }
    Err(match text {
        "" => "has no name in it".into(),
        "<local>" => "is for names without a dot, which cannot be matched; list them".into(),
        _ if !text.is_ascii() => "is no name: write it as punycode (xn--…)".into(),
        _ if text.contains('*') => "has a star in it, which can only stand alone".into(),
        _ if text.contains('/') => "is no name and no network".into(),
        _ if text.contains(|c: char| c.is_whitespace() || c == ',' || c == ';') => {
            "looks like several entries; put a comma between them, or make it a list".into()
        }
        _ => "is no name and no address".into(),
    })
}
