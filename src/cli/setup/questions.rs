//! From wishes to a plan: what no flag says is asked for, or taken by default with `-yes`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::console::Console;
use super::machine;
use super::plan::Plan;
use super::trial::Goal;
use super::words::{self, Wishes};
use crate::config::{Command, Mode, Scheme, Secret};
use crate::pattern::Ports;

/// How long rules stay up without a confirmation, unless told.
const CONFIRM: Duration = Duration::from_secs(60);
/// From where on ports are tried for the daemon, and for its resolver.
const PORTS: [u16; 2] = [8443, 5300];
/// What a test asks for, unless told.
const HOST: &str = "example.com";
const SCHEMES: [Scheme; 4] = [Scheme::Basic, Scheme::Digest, Scheme::Ntlm, Scheme::Negotiate];

/// Who is asked: somebody, or nobody at all.
pub(super) struct Asker<'a> {
    pub(super) console: &'a mut Console,
    pub(super) quiet: bool,
}

impl Asker<'_> {
    /// What was given if that will do, else the answer, which is the default where nobody is asked.
    pub(super) fn get<T>(
        &mut self,
        (flag, question): (&str, &str),
        given: Option<&str>,
        default: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        match given.map(&read) {
            Some(Ok(value)) => return Ok(value),
            Some(Err(why)) if self.quiet => return Err(format!("-{flag}: {why}")),
            Some(Err(why)) => self.console.say(&format!("-{flag}: {why}")),
            None => {}
        }
        match default {
            Some(default) if self.quiet => read(default).map_err(|why| format!("-{flag}: {why}")),
            None if self.quiet => Err(format!("-{flag} is missing, and -yes asks nothing")),
            _ => self.console.ask(question, default, None, read),
        }
    }

    /// Yes or no; where nobody is asked, the default.
    pub(super) fn agrees(&mut self, question: &str, default: bool) -> Result<bool, String> {
        let default = if default { "yes" } else { "no" };
        self.get(("", question), None, Some(default), words::yes_or_no)
    }
}

/// Asks for all that the wishes leave open. `own_port` is one that may be in use: that of the instance to be replaced.
pub(super) fn plan(
    asker: &mut Asker<'_>,
    wishes: &Wishes,
    name: String,
    own_port: Option<u16>,
) -> Result<Plan, String> {
    let upstream = asker.get(
        ("upstream", "Proxy of your network, HOST:PORT, or a URL with http, https or socks5"),
        wishes.upstream.as_deref(),
        None,
        |text| setting("upstream-proxy", text),
    )?;
    let question = "Whose connections: gateway (other machines), local (this one)";
    let mode = wishes.mode.map(Mode::word);
    let mode = asker.get(("mode", question), mode, Some("gateway"), words::mode)?;
    let interfaces = match (mode, &wishes.interfaces) {
        (Mode::Gateway, given) => {
            let found = machine::client_interfaces().join(",");
            let default = if found.is_empty() { "all" } else { &found };
            let question = "Interfaces at which clients arrive, or all";
            asker.get(("interfaces", question), given.as_deref(), Some(default), interfaces)?
        }
        (Mode::Local, None) => Vec::new(),
        (Mode::Local, Some(_)) => return Err("-interfaces: belongs to -mode gateway".to_owned()),
    };
    let question = "Destination ports to catch, * for all";
    let ports = asker.get(("ports", question), wishes.ports.as_deref(), Some("80,443"), ports)?;
    let free = own_port.or_else(|| machine::free_port(PORTS[0])).map(|port| port.to_string());
    let local_port =
        asker.get(("local-port", "Port of the daemon"), wishes.local_port.as_deref(), free.as_deref(), |text| {
            local_port(text, own_port)
        })?;
    let dns = match (mode, wishes.dns) {
        (Mode::Local, Some(true)) => return Err("-dns yes: belongs to -mode gateway".to_owned()),
        (Mode::Local, _) => None,
        (Mode::Gateway, given) => {
            let given = given.map(|yes| if yes { "yes" } else { "no" });
            let question = "Resolve names for clients, which cannot do so themselves";
            let wanted = asker.get(("dns", question), given, Some("no"), words::yes_or_no)?;
            machine::free_port(PORTS[1]).filter(|_| wanted)
        }
    };
    let capture = wishes.capture.clone().unwrap_or_else(|| "redirect".to_owned());
    let capture = setting("capture", &capture).map_err(|why| format!("-capture: {why}"))?;
    let plain_http = wishes.plain_http.clone().unwrap_or_else(|| "connect".to_owned());
    let plain_http = setting("plain-http", &plain_http).map_err(|why| format!("-plain-http: {why}"))?;
    let mut plan = Plan {
        name,
        etc: wishes.etc.clone(),
        upstream,
        auth: "none".to_owned(),
        user: String::new(),
        password: None,
        mode,
        interfaces,
        ports,
        plain_http,
        local_port,
        dns,
        capture,
        confirm: wishes.confirm.unwrap_or(CONFIRM),
    };
    let auth = wishes.auth.clone().or_else(|| wishes.user.is_some().then(|| "basic".to_owned()));
    credentials(asker, &mut plan, auth.as_deref(), wishes.user.as_deref(), wishes.password_file.as_deref())?;
    Ok(plan)
}

/// Asks who we are to the proxy.
pub(super) fn credentials(
    asker: &mut Asker<'_>,
    plan: &mut Plan,
    auth: Option<&str>,
    user: Option<&str>,
    password_file: Option<&Path>,
) -> Result<(), String> {
    let question = "How to prove who we are: none, basic, digest, ntlm, negotiate";
    plan.auth = asker.get(("auth", question), auth, Some("none"), schemes)?;
    (plan.user, plan.password) = (String::new(), None);
    if plan.auth == "none" {
        let stray = user.map(|_| "user").or_else(|| password_file.map(|_| "password-file"));
        return stray.map_or(Ok(()), |flag| Err(format!("-{flag}: is of no use without -auth")));
    }
    let by_password = plan.auth != "negotiate";
    if by_password || user.is_some() {
        let read = |text: &str| if text.is_empty() { Err("a user is needed".to_owned()) } else { Ok(text.to_owned()) };
        plan.user = asker.get(("user", "User, for ntlm as DOMAIN\\user"), user, None, read)?;
    }
    plan.password = match (password_file, by_password) {
        (Some(file), _) => Some(first_line(file)?),
        (None, false) => None,
        (None, true) if asker.quiet => return Err("-password-file is missing, and -yes asks nothing".to_owned()),
        (None, true) => Some(Secret::new(asker.console.ask_hidden("Password")?)),
    };
    Ok(())
}

/// What a test asks for: something that the rules catch, since it ends with a connection of that kind.
pub(super) fn goal(given: Option<&str>, plan: &Plan) -> Result<Goal, String> {
    let ports = Ports::parse(&plan.ports)?;
    let is_caught = |port| plan.ports == "*" || ports.contains(port);
    if let Some(text) = given {
        let goal = Goal::read(text).map_err(|why| format!("-target: {why}"))?;
        if plan.mode == Mode::Local && !is_caught(goal.port()) {
            return Err(format!("-target: port {} is not among -ports {}", goal.port(), plan.ports));
        }
        return Ok(goal);
    }
    let port =
        [443, 80].into_iter().find(|port| is_caught(*port)).or_else(|| ports.ranges().map(|(first, _)| first).next());
    Goal::read(&format!("{HOST}:{}", port.unwrap_or(443)))
}

/// The text, if a setting would take it.
fn setting(name: &str, text: &str) -> Result<String, String> {
    match Command::parse([format!("-{name}"), text.to_owned()]) {
        Ok(_) => Ok(text.to_owned()),
        Err(mistakes) => Err(mistakes.into_iter().next().map(|mistake| mistake.why).unwrap_or_default()),
    }
}

fn schemes(text: &str) -> Result<String, String> {
    let known = |part: &str| SCHEMES.iter().any(|scheme| scheme.to_string() == part);
    match text.split(',').map(str::trim).find(|part| !known(part)) {
        Some("none") if text == "none" => Ok(text.to_owned()),
        Some(part) => Err(format!("{part:?} is not none, basic, digest, ntlm or negotiate")),
        None => Ok(text.to_owned()),
    }
}

fn ports(text: &str) -> Result<String, String> {
    let ports = Ports::parse(text)?;
    match ports.ranges().map(|(first, _)| first).min() {
        None => Err("names no port; * is all".to_owned()),
        Some(0) if text != "*" => Err("0 is no port; * is all".to_owned()),
        Some(_) => Ok(text.to_owned()),
    }
}

fn interfaces(text: &str) -> Result<Vec<String>, String> {
    if text == "all" {
        return Ok(Vec::new());
    }
    let names: Vec<String> = text.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let there = machine::interfaces();
    // one with a + stands for all that begin so
    match names.iter().find(|name| !name.ends_with('+') && !there.contains(name)) {
        Some(name) => Err(format!("{name:?} is not up here; there are {}", there.join(", "))),
        None if names.is_empty() => Err("names no interface; all is written as all".to_owned()),
        None => Ok(names),
    }
}

fn local_port(text: &str, own: Option<u16>) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("{text:?} is no port"))?;
    // who listens there may be the daemon, started in some other way
    let usable = own == Some(port) || machine::is_free(port) || !machine::has_systemd();
    if usable { Ok(port) } else { Err(format!("port {port} is taken: another program listens there")) }
}

fn first_line(file: &Path) -> Result<Secret, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("-password-file: {}: {why}", file.display());
    let text = fs::read_to_string(file).map(Secret::new).map_err(|error| wrong(&error))?;
    match text.reveal().lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line.to_owned())),
        _ => Err(wrong(&"its first line is empty")),
    }
}

/// The port of the daemon in an instance's file, if that can be read.
pub(super) fn port_of(file: PathBuf) -> Option<u16> {
    let words = ["-config".to_owned(), file.into_os_string().into_string().ok()?];
    match Command::parse(words) {
        Ok(Command::Run(config)) => Some(config.local_port),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_or_told_why_not() {
        for good in ["none", "basic", "ntlm,digest", "negotiate, ntlm"] {
            assert!(schemes(good).is_ok(), "{good}");
        }
        for bad in ["", "magic", "basic,none", "Basic"] {
            assert!(schemes(bad).is_err(), "{bad}");
        }
        assert!(setting("upstream-proxy", "proxy.example:3128").is_ok());
        assert!(setting("upstream-proxy", "gopher://x").expect_err("no proxy").contains("scheme"));
        assert!(ports("80,8000-8999").is_ok() && ports("*").is_ok());
        assert!(ports("").is_err() && ports("0").is_err() && ports("http").is_err());
        assert_eq!(interfaces("all"), Ok(Vec::new()));
        assert!(interfaces("no-such0").is_err() && interfaces(",").is_err());
        assert!(local_port("0", None).is_err() && local_port("x", None).is_err());
    }
}
