//! What is to be: an instance, the text of its file, and the commands that make it run. Pure: nothing is done here.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Mode, Secret};

/// An instance to be.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) etc: PathBuf,
    pub(super) upstream: String,
    /// Schemes as they are written, or `none`.
    pub(super) auth: String,
    pub(super) user: String,
    pub(super) password: Option<Secret>,
    pub(super) mode: Mode,
    /// Where clients arrive; none: everywhere.
    pub(super) interfaces: Vec<String>,
    pub(super) ports: String,
    pub(super) plain_http: String,
    pub(super) local_port: u16,
    /// Where names are resolved for clients without DNS: not 53, which a resolver of this machine may have.
    pub(super) dns: Option<u16>,
    pub(super) capture: String,
    pub(super) confirm: Duration,
}

impl Plan {
    /// The instance's file.
    pub(super) fn file(&self) -> PathBuf {
        self.etc.join(format!("{}.toml", self.name))
    }

    /// Its password's file.
    pub(super) fn password_file(&self) -> PathBuf {
        self.etc.join(format!("{}.password", self.name))
    }

    /// The text of its file.
    pub(super) fn text(&self) -> String {
        let (name, file) = (&self.name, self.file());
        let mut lines = vec![
            format!("# {}, written by handyproxy setup. Every key: man 5 handyproxy.conf", file.display()),
            format!("# After a change: handyproxy check -config {}", file.display()),
            format!("# then: systemctl reload handyproxy@{name}"),
            format!("# and for [rules]: systemctl reload handyproxy-rules@{name}"),
            String::new(),
            "# the port to which the rules hand connections over".to_owned(),
            format!("local-port = {}", self.local_port),
        ];
        if self.capture != "redirect" {
            lines.push(format!("capture = {}", quoted(&self.capture)));
        }
        lines.push("\n# several with commas, in order of preference".to_owned());
        lines.push(format!("upstream-proxy = {}", quoted(&self.upstream)));
        if self.auth != "none" {
            lines.push(format!("auth = {}", quoted(&self.auth)));
            if !self.user.is_empty() {
                lines.push(format!("user = {}", quoted(&self.user)));
            }
        }
        if self.password.is_some() {
            lines.push(format!(
                "# the password is in {name}.password, which only root reads; the unit passes it on when it"
            ));
            lines.push(format!("# starts, so after a change: systemctl restart handyproxy@{name}"));
            lines.push("password-file = \"password\"".to_owned());
        }
        lines.push("# HTTP without TLS: connect, relay, or auto where the proxy refuses tunnels for it".to_owned());
        lines.push(format!("plain-http = {}", quoted(&self.plain_http)));
        lines.push("\n# look for names in first bytes, so that the proxy is asked by name; -1s does not".to_owned());
        lines.push("sniff-timeout = \"2s\"".to_owned());
        lines.push("# what goes to no proxy: no-proxy = \"localhost,.corp.example,10.0.0.0/8\"".to_owned());
        if let Some(port) = self.dns {
            lines.push("\n# clients without DNS: names of a zone of yours go to its own server with".to_owned());
            lines.push("# dns-forward = [\"corp.example=10.0.0.53\"]".to_owned());
            lines.push(format!("dns = [\"0.0.0.0:{port}\", \"[::]:{port}\"]"));
        }
        lines.push("\n[rules]".to_owned());
        lines.push(format!("mode = \"{}\"", self.mode.word()));
        if !self.interfaces.is_empty() {
            lines.push(format!("interfaces = {}", list(self.interfaces.iter().map(String::as_str))));
        } else if self.mode == Mode::Gateway {
            lines.push("# interfaces = [\"eth1\"] catches what arrives there, and nothing else".to_owned());
        }
        if self.ports != "*" {
            lines.push(format!(
                "dports = {}",
                list(self.ports.split(',').map(str::trim).filter(|part| !part.is_empty()))
            ));
        }
        lines.push(
            "# exclude = [\"192.0.2.0/24\"] leaves destinations alone; private ones are left alone anyway".to_owned(),
        );
        if self.dns.is_some() {
            lines.push("dns = true".to_owned());
        }
        lines.join("\n") + "\n"
    }

    /// What is going to be run, for people.
    pub(super) fn commands(&self, systemd: bool) -> Vec<String> {
        let (name, file, time) = (&self.name, self.file(), self.confirm.as_secs());
        let up = format!("handyproxy rules up -config {} -confirm {time}s", file.display());
        let confirm = format!("handyproxy-rules confirm --name {name}");
        if !systemd {
            return vec![up, confirm];
        }
        vec![
            format!("systemctl mask --runtime handyproxy-rules@{name}.service    (until confirmed)"),
            format!("systemctl restart handyproxy@{name}.service"),
            up,
            confirm,
            format!("systemctl unmask --runtime handyproxy-rules@{name}.service"),
            format!("systemctl enable handyproxy@{name}.service"),
            format!("systemctl start handyproxy-rules@{name}.service"),
        ]
    }
}

fn list<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", parts.map(quoted).collect::<Vec<_>>().join(", "))
}

/// A string of TOML: a literal one where there is something to escape and nothing against it.
fn quoted(text: &str) -> String {
    if text.contains(['\\', '"']) && !text.contains(|c: char| c == '\'' || c.is_control()) {
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
mod tests {
    use super::*;
    use crate::config::Command;
    use std::os::unix::fs::PermissionsExt as _;

    fn plan() -> Plan {
        Plan {
            name: "gateway".to_owned(),
            etc: PathBuf::from("/etc/handyproxy"),
            upstream: "proxy.example:3128".to_owned(),
            auth: "none".to_owned(),
            user: String::new(),
            password: None,
            mode: Mode::Gateway,
            interfaces: vec!["eth1".to_owned()],
            ports: "80,443".to_owned(),
            plain_http: "auto".to_owned(),
            local_port: 8443,
            dns: None,
            capture: "redirect".to_owned(),
            confirm: Duration::from_secs(60),
        }
    }

    /// Reads the text as the daemon does.
    fn read(plan: &Plan) -> crate::config::Config {
        let folder = std::env::temp_dir().join(format!(
            "handyproxy-plan-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let file = folder.join("gateway.toml");
        std::fs::write(&file, plan.text()).expect("our folder");
        let password = folder.join("gateway.password");
        std::fs::write(&password, plan.password.as_ref().map_or("", Secret::reveal)).expect("our folder");
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).expect("our file");
        let words = ["-config".to_owned(), file.to_str().expect("a plain path").to_owned()];
        let read = Command::parse(words);
        std::fs::remove_dir_all(&folder).expect("our folder");
        match read {
            Ok(Command::Run(config)) => *config,
            other => panic!("{other:?} of {}", plan.text()),
        }
    }

    #[test]
    fn every_plan_makes_a_file_that_means_it() {
        for user in ["me", "CORP\\jane", "it's\\me", "say \"hi\"", "o'neil", "n\u{e9}e", "#"] {
            let mut plan = plan();
            (plan.auth, plan.user) = ("ntlm,digest".to_owned(), user.to_owned());
            plan.password = Some(Secret::new("p # \\ \" '".to_owned()));
            let credentials = read(&plan).upstreams.remove(0).credentials;
            assert_eq!((credentials.user.as_str(), credentials.password), (user, plan.password));
        }
        let rules = read(&plan()).rules.expect("rules");
        assert_eq!((rules.values("interfaces"), rules.values("dports").len()), (&["eth1".to_owned()][..], 2));
        let local = Plan { mode: Mode::Local, interfaces: Vec::new(), ports: "*".to_owned(), ..plan() };
        assert_eq!(read(&local).rules.map(|rules| rules.mode), Some(Mode::Local));
        let dns = read(&Plan { dns: Some(5300), interfaces: Vec::new(), ..plan() });
        assert_eq!(dns.dns.map(|dns| dns.listen.len()), Some(2));
        assert!(dns.rules.is_some_and(|rules| rules.is_on("dns")));
        let tproxy =
            read(&Plan { capture: "tproxy".to_owned(), upstream: "https://p.example,q.example".to_owned(), ..plan() });
        assert_eq!(tproxy.upstreams[0].proxies.len(), 2);
    }

    #[test]
    fn backslashes_stand_as_they_are_typed() {
        assert_eq!(quoted("CORP\\jane"), "'CORP\\jane'");
        assert_eq!(quoted("it's\\me"), "\"it's\\\\me\"");
        assert_eq!(quoted("a\nb"), "\"a\\u000Ab\"");
    }
}
