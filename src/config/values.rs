//! Values as they are written: numbers, times, words, addresses of proxies.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::{
    AccessFormat, AccessLog, AdminAddr, Capture, LogLevel, PlainHttp, Proxy, Scheme, Speaks, UpstreamAddr,
    UpstreamHost, duration,
};
use crate::addr::Host;

/// A duration of which nothing and less than nothing means: none.
pub(super) fn span(text: &str) -> Result<Option<Duration>, String> {
    let nanos = duration::parse(text)?;
    Ok(u64::try_from(nanos).ok().filter(|&n| n > 0).map(Duration::from_nanos))
}

/// A whole number as Go writes it: `0x68`, `0o17`, `017`, `0b11`, `1_000`.
pub(super) fn number(text: &str) -> Result<i64, String> {
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

/// A port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    let number = number(text)?;
    u16::try_from(number).ok().filter(|&p| p > 0).ok_or_else(|| format!("{text:?} is no port, which is 1 to 65535"))
}

/// Go's words for a switch.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// The words of a level.
pub(super) fn level(text: &str) -> Result<LogLevel, String> {
    Ok(match text {
        "off" => LogLevel::Off,
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => return Err(format!("{text:?} is not off, error, warn, info, debug or trace")),
    })
}

/// A number of bytes: `64KiB`, `100MiB`, `1GiB`, or a whole number of them.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size, such as 100MiB");
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit.trim() {
        "" | "B" => 1,
        "K" | "KiB" | "k" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(bad)
}

/// `log`, `off`, `stderr`, `journal` or a file.
pub(super) fn access_log(text: &str, folder: &Path) -> Result<AccessLog, String> {
    Ok(match text {
        "log" => AccessLog::Log,
        "off" => AccessLog::Off,
        "stderr" => AccessLog::Stderr,
        "journal" => AccessLog::Journal,
        "" => return Err("is empty; off writes none".to_owned()),
        file => AccessLog::File(folder.join(file)),
    })
}

/// `text` or `json`.
pub(super) fn access_format(text: &str) -> Result<AccessFormat, String> {
    match text {
        "text" => Ok(AccessFormat::Text),
        "json" => Ok(AccessFormat::Json),
        _ => Err(format!("{text:?} is not text or json")),
    }
}

/// An address with a port, or the path of a unix socket; nothing is none.
pub(super) fn admin(text: &str) -> Result<Option<AdminAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('/') {
        // man 7 unix: sun_path has 108 bytes, the last of which ends it
        return if text.len() < 108 {
            Ok(Some(AdminAddr::Unix(text.into())))
        } else {
            Err(format!("{text:?} is too long for a socket, 107 bytes at most"))
        };
    }
    let addr = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    match addr.parse::<SocketAddr>() {
        Ok(addr) if addr.port() > 0 => Ok(Some(AdminAddr::Tcp(addr))),
        _ => Err(format!("{text:?} is no address with a port, such as 127.0.0.1:9843, and no path that begins with /")),
    }
}

/// Host names.
pub(super) fn hosts(text: &str) -> Result<Vec<Host>, String> {
    parts(text)
        .map(|part| Host::parse(part.as_bytes()).ok_or_else(|| format!("{part:?} is no valid host name")))
        .collect()
}

/// `redirect` or `tproxy`.
pub(super) fn capture(text: &str) -> Result<Capture, String> {
    match text {
        "redirect" => Ok(Capture::Redirect),
        "tproxy" => Ok(Capture::Tproxy),
        _ => Err(format!("{text:?} is not redirect or tproxy")),
    }
}

/// `connect`, `relay` or `auto`.
pub(super) fn plain_http(text: &str) -> Result<PlainHttp, String> {
    Ok(match text {
        "connect" => PlainHttp::Connect,
        "relay" => PlainHttp::Relay,
        "auto" => PlainHttp::Auto,
        _ => return Err(format!("{text:?} is not connect, relay or auto")),
    })
}

/// The parts of a list, which are separated by commas.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Schemes in order of preference; `none` is none.
pub(super) fn schemes(text: &str) -> Result<Vec<Scheme>, String> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let mut schemes = Vec::new();
    for part in parts(text) {
        let scheme = match part {
            "basic" => Scheme::Basic,
            "digest" => Scheme::Digest,
            "ntlm" => Scheme::Ntlm,
            "negotiate" => Scheme::Negotiate,
            _ => return Err(format!("{part:?} is not none, basic, digest, ntlm or negotiate")),
        };
        if !schemes.contains(&scheme) {
            schemes.push(scheme);
        }
    }
    if schemes.is_empty() { Err("names no scheme; none is written as none".to_owned()) } else { Ok(schemes) }
}

/// Addresses of this machine.
pub(super) fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    parts(text).map(|part| part.parse().map_err(|_| format!("{part:?} is no address"))).collect()
}

/// Proxies in order of preference.
pub(super) fn proxies(text: &str) -> Result<Vec<Proxy>, String> {
    let proxies = parts(text).map(proxy).collect::<Result<Vec<_>, _>>()?;
    // each has one place in the order, one state, and one row in what the admin tells
    if let Some((_, again)) = proxies.iter().enumerate().find(|(at, proxy)| proxies[..*at].contains(proxy)) {
        return Err(format!("{again} is named twice: name each proxy once"));
    }
    if proxies.is_empty() { Err(format!("{text:?}: no valid host name or address")) } else { Ok(proxies) }
}

/// `host[:port]`, in which an IPv6 address stands in brackets if a port follows, or a URL of it.
fn proxy(text: &str) -> Result<Proxy, String> {
    let bad = |why: &str| format!("{text:?}: {why}");
    let (speaks, port, rest) = match text.split_once("://") {
        None => (Speaks::Http, 3128, text),
        Some((scheme, rest)) => {
            let (speaks, port) = match scheme.to_ascii_lowercase().as_str() {
                "http" => (Speaks::Http, 3128),
                "https" => (Speaks::Https, 443),
                "socks5" | "socks5h" => (Speaks::Socks5, 1080),
                _ => return Err(bad("the scheme is not http, https or socks5")),
            };
            (speaks, port, rest.strip_suffix('/').unwrap_or(rest))
        }
    };
    if rest.contains('@') {
        // never show what may be a password
        return Err("give user and password by their own settings, not in the proxy's address".to_owned());
    }
    addr(rest, port).map(|addr| Proxy { speaks, addr }).map_err(bad)
}

fn addr(text: &str, default_port: u16) -> Result<UpstreamAddr, &'static str> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(UpstreamAddr { host: UpstreamHost::Ip(ip), port: default_port });
    }
    let (host, port_text) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port = match port_text {
        Some(text) => text.parse().ok().filter(|&p| p > 0).ok_or("the port is not 1 to 65535")?,
        None => default_port,
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = match bracketed.unwrap_or(host).parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv6() == bracketed.is_some() => UpstreamHost::Ip(ip),
        Ok(_) => return Err("write an IPv6 address with a port as [ADDRESS]:PORT"),
        Err(_) => UpstreamHost::Name(Host::parse(host.as_bytes()).ok_or("no valid host name or address")?),
    };
    Ok(UpstreamAddr { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_in_every_spelling() {
        for (text, wanted) in [
            ("proxy", "http://proxy:3128"),
            ("Proxy.Local.:80", "http://proxy.local:80"),
            ("10.0.0.1", "http://10.0.0.1:3128"),
            ("10.0.0.1:8080", "http://10.0.0.1:8080"),
            ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
            ("[2001:db8::1]", "http://[2001:db8::1]:3128"),
            ("2001:db8::1", "http://[2001:db8::1]:3128"),
            ("http://proxy:8080/", "http://proxy:8080"),
            ("HTTPS://proxy", "https://proxy:443"),
            ("socks5://10.0.0.1", "socks5://10.0.0.1:1080"),
        ] {
            let proxies = proxies(text).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(proxies.iter().map(Proxy::to_string).collect::<Vec<_>>(), [wanted], "{text}");
        }
        assert_eq!(proxies("a, https://b ,socks5://c:1").map(|p| p.len()), Ok(3));
        for text in [
            "",
            ":3128",
            "proxy:",
            "proxy:0",
            "proxy:x",
            "a b",
            "ftp://proxy:3128",
            "[10.0.0.1]:1",
            "[::1",
            "1.2.3:80",
            "2001:db8::1:99999",
            "[]:80",
            "http://",
            "http://proxy/path",
            "a,b c",
        ] {
            assert!(proxies(text).is_err(), "{text}");
        }
        for text in ["10.0.0.1,10.0.0.1", "Proxy.:3128,b,http://proxy/", "[2001:db8::1]:3128,2001:db8:0::1"] {
            assert!(proxies(text).is_err_and(|why| why.contains(" is named twice")), "{text}");
        }
        assert_eq!(proxies("a:80,https://a:80,b:80,a:81").map(|p| p.len()), Ok(4));
        assert!(!proxies("http://me:geheim@proxy").expect_err("a password").contains("geheim"));
    }

    #[test]
    fn schemes_are_read_in_order_of_preference() {
        assert_eq!(schemes("none"), Ok(vec![]));
        assert_eq!(schemes("ntlm, basic,ntlm"), Ok(vec![Scheme::Ntlm, Scheme::Basic]));
        assert!(schemes("").is_err() && schemes("kerberos").is_err() && schemes("basic none").is_err());
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
}
