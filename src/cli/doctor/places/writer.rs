//! As whom the daemon writes, and in which world of mounts: those of its process, those that its unit will have, or
//! those of whoever asks.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use super::super::super::tool;
use super::super::case::Case;
use super::super::daemon::Listener;
use super::super::machine;
use super::{patience, walk};
use crate::sys::account::Account;

/// As whom, and how that is known.
#[derive(Clone, Debug)]
pub(super) enum Writer {
    /// The daemon that runs, which sees the files below this folder as its own.
    Running(Account, PathBuf),
    /// The daemon that its unit will start.
    Unit(Account, Unit),
    /// Nothing runs, and there is no unit: whoever asks.
    Asker(Account),
    /// It cannot be seen.
    Unknown,
}

/// Which places a unit leaves its service (systemd.exec(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// Folders that it makes, and gives to the service.
    own: Vec<PathBuf>,
    /// Further ones that it may write.
    open: Vec<PathBuf>,
    is_strict: bool,
    has_no_home: bool,
    /// Names of secrets that systemd hands to the service.
    credentials: Vec<String>,
}

/// The account of a user.
fn named(name: &str) -> Option<Account> {
    let numbers = |flag: &str| {
        let told = tool::run("id", &[flag, "--", name]).said()?;
        told.split_whitespace().map(|id| id.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    let (uid, gid) = (*numbers("-u")?.first()?, *numbers("-g")?.first()?);
    Some(Account::new(uid, gid, numbers("-G")?))
}

/// The name of an account, or its number where it has none.
pub(super) fn name(account: &Account) -> String {
    let uid = account.uid.to_string();
    let told = tool::run("id", &["-un", "--", &uid]).said();
    told.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or(uid)
}

/// The name of the group that its files get, or the number.
pub(super) fn group(account: &Account) -> String {
    let gid = account.gid.to_string();
    let told = tool::run("getent", &["group", &gid]).said();
    let name = told.and_then(|line| line.split(':').next().map(str::to_owned));
    name.filter(|name| !name.is_empty()).unwrap_or(gid)
}

impl Writer {
    /// Finds out.
    pub(super) fn of(case: &Case) -> Writer {
        if let Some(pid) = case.listener.daemon() {
            let root = PathBuf::from(format!("/proc/{pid}/root/"));
            return match Account::of(&pid.to_string()) {
                Some(account) if fs::metadata(&root).is_ok() => Writer::Running(account, root),
                _ => Writer::Unknown,
            };
        }
        let shown = case.unit().and_then(|unit| shown(&unit));
        match shown.map(|shown| (user(&shown), Unit::parse(&shown))) {
            Some((Some(account), unit)) => Writer::Unit(account, unit),
            Some((None, _)) => Writer::Unknown,
            None if case.listener == Listener::Hidden => Writer::Unknown,
            None => Account::of("self").map_or(Writer::Unknown, Writer::Asker),
        }
    }

    /// Where that can be told.
    pub(super) fn account(&self) -> Option<&Account> {
        match self {
            Writer::Running(account, _) | Writer::Unit(account, _) | Writer::Asker(account) => Some(account),
            Writer::Unknown => None,
        }
    }

    /// Whether its unit makes this place when it starts.
    pub(super) fn will_make(&self, path: &Path) -> bool {
        matches!(self, Writer::Unit(_, unit) if unit.makes(path))
    }

    /// What one of its own descriptors leads to, where that can be seen.
    pub(super) fn descriptor(&self, number: u32) -> Option<Metadata> {
        let Writer::Running(_, root) = self else { return None };
        patience::ask(&root.with_file_name("fd").join(number.to_string()), |fd| fs::metadata(fd)).ok()
    }

    /// Whether systemd hands it a secret of this name.
    pub(super) fn has_credential(&self, name: &str) -> bool {
        match self {
            Writer::Running(_, root) => {
                let variables = machine::text(&root.with_file_name("environ").to_string_lossy()).unwrap_or_default();
                let folder = variables.split('\0').find_map(|word| word.strip_prefix("CREDENTIALS_DIRECTORY="));
                folder.is_some_and(|folder| walk::seen(&Path::new(folder).join(name), root).exists())
            }
            Writer::Unit(_, unit) => unit.credentials.iter().any(|credential| credential == name),
            Writer::Asker(_) | Writer::Unknown => false,
        }
    }

    /// Below which folder its files are seen here.
    pub(super) fn root(&self) -> &Path {
        match self {
            Writer::Running(_, root) => root,
            _ => Path::new("/"),
        }
    }
}

/// What systemd knows of a unit, if there is one.
fn shown(unit: &str) -> Option<String> {
    const KEYS: &str = "LoadState,User,ProtectSystem,ProtectHome,ReadWritePaths,LogsDirectory,StateDirectory,\
                        CacheDirectory,RuntimeDirectory";
    let shown = tool::run("systemctl", &["show", "-p", KEYS, &format!("{unit}.service")]).said()?;
    if value(&shown, "LoadState") != "loaded" {
        return None;
    }
    // not every systemd shows the credentials
    let text = tool::run("systemctl", &["cat", &format!("{unit}.service")]).said().unwrap_or_default();
    Some(format!("{shown}\n{text}"))
}

fn value<'a>(shown: &'a str, key: &str) -> &'a str {
    let of = |line: &'a str| line.split_once('=').filter(|(name, _)| *name == key).map(|(_, value)| value);
    shown.lines().find_map(of).unwrap_or_default()
}

fn user(shown: &str) -> Option<Account> {
    let name = value(shown, "User");
    named(if name.is_empty() { "root" } else { name })
}

impl Unit {
    fn parse(shown: &str) -> Unit {
        let below = |key: &str, folder: &str| -> Vec<PathBuf> {
            // NAME:LINK is a folder with a second name
            let names = value(shown, key).split_whitespace().filter_map(|name| name.split(':').next());
            names.map(|name| Path::new(folder).join(name)).collect()
        };
        let own = [
            below("LogsDirectory", "/var/log"),
            below("StateDirectory", "/var/lib"),
            below("CacheDirectory", "/var/cache"),
            below("RuntimeDirectory", "/run"),
        ];
        let open = value(shown, "ReadWritePaths").split_whitespace();
        let credential = |line: &str| {
            let (key, value) = line.split_once('=').filter(|(key, _)| !key.starts_with('#'))?;
            let is_one = key.trim_end().trim_end_matches("Encrypted").ends_with("Credential");
            is_one.then(|| value.trim().split(':').next().unwrap_or_default().to_owned())
        };
        Unit {
            own: own.concat(),
            open: open.map(|path| PathBuf::from(path.trim_start_matches(['-', '+']))).collect(),
            is_strict: value(shown, "ProtectSystem") == "strict",
            has_no_home: matches!(value(shown, "ProtectHome"), "yes" | "tmpfs" | "read-only"),
            credentials: shown.lines().filter_map(credential).collect(),
        }
    }

    /// Whether it makes this place, or the folder that it is in.
    fn makes(&self, path: &Path) -> bool {
        self.own.iter().any(|own| path.starts_with(own))
    }

    /// The setting by which it keeps its service from writing here.
    pub(super) fn forbids(&self, path: &Path) -> Option<&'static str> {
        let is_in = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        if self.makes(path) || self.open.iter().any(|open| path.starts_with(open)) {
            return None;
        }
        if self.has_no_home && is_in(&["/home", "/root", "/run/user"]) {
            return Some("ProtectHome");
        }
        // /tmp is one of its own, or everybody's
        (self.is_strict && !is_in(&["/dev", "/tmp", "/var/tmp"])).then_some("ProtectSystem=strict")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_known_by_name() {
        assert_eq!(
            named("root").map(|root| (root.uid, name(&root), group(&root))),
            Some((0, "root".into(), "root".into()))
        );
        assert_eq!(named("no-such-user-here"), None);
    }

    #[test]
    fn a_unit_keeps_its_service_from_what_it_does_not_give() {
        let shown = "LoadState=loaded\nUser=handyproxy\nProtectSystem=strict\nProtectHome=yes\nReadWritePaths=-/srv/taps\n\
                     LogsDirectory=handyproxy/gateway\nStateDirectory=\n# a.service\n#LoadCredential=x:y\nLoadCredential=password:/etc/a\n\
                     SetCredentialEncrypted=b.password: x\n";
        let unit = Unit::parse(shown);
        assert_eq!(unit.credentials, ["password", "b.password"]);
        for (path, forbidden) in [
            ("/var/log/handyproxy/gateway/a.pcapng", None),
            ("/var/log/handyproxy/gateway2/a", Some("ProtectSystem=strict")),
            ("/srv/taps/a", None),
            ("/srv/a", Some("ProtectSystem=strict")),
            ("/home/me/a", Some("ProtectHome")),
            ("/tmp/a", None),
        ] {
            assert_eq!(unit.forbids(Path::new(path)), forbidden, "{path}");
        }
        assert!(unit.makes(Path::new("/var/log/handyproxy/gateway")) && !unit.makes(Path::new("/srv/taps")));
        assert_eq!(Unit::default().forbids(Path::new("/srv/a")), None);
    }
}
