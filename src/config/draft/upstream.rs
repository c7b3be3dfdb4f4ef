//! One `[upstream.NAME]`, or the upstream without a name that the top level describes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::authorities::authorities;
use super::super::file::{File, Section};
use super::super::permissions;
use super::super::values::{addresses, plain_http, proxies, schemes, span};
use super::super::{Credentials, Mistake, NamedFile, Place, PlainHttp, Proxy, Scheme, Secret, Speaks};
use super::super::{UpstreamHost, UpstreamSettings};
use super::{mistake, mistake_at, text, unknown};

/// What may stand in it.
pub(in super::super) const KEYS: [&str; 10] =
    ["proxy", "auth", "user", "password", "password-file", "keytab", "ca", "plain-http", "probe", "source"];
/// What describes, on the top level, the upstream without a name.
pub(in super::super) const OWN_KEYS: [&str; 7] =
    ["auth", "user", "password-file", "keytab", "ca", "plain-http", "probe"];

/// What is known so far.
#[derive(Debug)]
pub(in super::super) struct UpstreamDraft {
    name: String,
    /// From where relative paths count that are set from now on.
    pub(in super::super) folder: PathBuf,
    /// The instance whose secrets may be under its own name there.
    pub(in super::super) instance: String,
    proxies: Vec<Proxy>,
    auth: Vec<Scheme>,
    user: String,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    keytab: Option<PathBuf>,
    ca: Option<PathBuf>,
    plain_http: PlainHttp,
    probe: Option<Duration>,
    source: Option<Vec<IpAddr>>,
    files: Vec<NamedFile>,
}

impl UpstreamDraft {
    pub(in super::super) fn new(name: &str) -> UpstreamDraft {
        UpstreamDraft {
            name: name.to_owned(),
            folder: PathBuf::new(),
            instance: String::new(),
            proxies: Vec::new(),
            auth: Vec::new(),
            user: String::new(),
            password: None,
            password_file: None,
            keytab: None,
            ca: None,
            plain_http: PlainHttp::Connect,
            probe: None,
            source: None,
            files: Vec::new(),
        }
    }

    /// One key, of which an empty text is none.
    pub(in super::super) fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        let path = |folder: &Path| (!text.is_empty()).then(|| folder.join(text));
        match key {
            "proxy" => self.proxies = proxies(text)?,
            "auth" => self.auth = schemes(text)?,
            "user" => text.clone_into(&mut self.user),
            "password" => self.password = Some(Secret::new(text.to_owned())),
            "password-file" => {
                self.password_file = (!text.is_empty()).then(|| permissions::find(text, &self.folder, &self.instance));
                self.note("password-file", self.password_file.clone(), Some(text));
            }
            "keytab" => {
                self.keytab = (!text.is_empty()).then(|| permissions::find(text, &self.folder, &self.instance));
                self.note("keytab", self.keytab.clone(), Some(text));
            }
            "ca" => {
                self.ca = path(&self.folder);
                self.note("ca", self.ca.clone(), None);
            }
            "plain-http" => self.plain_http = plain_http(text)?,
            "probe" => self.probe = span(text)?,
            "source" => self.source = Some(addresses(text)?),
            _ => return Err(unknown(key, KEYS)),
        }
        Ok(())
    }

    /// Keeps which file a key names, in place of what it named before; `secret` is its name as it was given, by which
    /// systemd may hand it over.
    fn note(&mut self, key: &'static str, path: Option<PathBuf>, secret: Option<&str>) {
        self.files.retain(|file| file.key != key);
        let credential = secret.filter(|name| !Path::new(name).is_absolute()).map(str::to_owned);
        self.files.extend(path.map(|path| NamedFile { key, path, credential }));
    }

    /// Reads a section; `exposed` says why a password must not stand in its file.
    pub(super) fn read(
        section: &Section,
        file: &File,
        exposed: Option<&str>,
        source: &[IpAddr],
    ) -> (Option<UpstreamSettings>, Vec<Mistake>) {
        let mut draft = UpstreamDraft::new(&section.name);
        draft.folder.clone_from(&file.folder);
        draft.instance.clone_from(&file.instance);
        let mut mistakes = Vec::new();
        if let Some(why) = bad_name(&section.name) {
            mistakes.push(Mistake { given: format!("{}: upstream.{}", section.place, section.name), why });
        }
        for key in &section.keys {
            let outcome = match (key.name.as_str(), exposed) {
                ("password", Some(why)) => Err(format!("{why}, or use password-file")),
                ("proxy" | "source", _) if key.texts == Ok(Vec::new()) => Err("an empty list".to_owned()),
                _ => text(key).and_then(|text| draft.set(&key.name, &text)),
            };
            if let Err(why) = outcome {
                mistakes.push(mistake(section, "upstream", key, why));
            }
        }
        let given = |name: &str| section.keys.iter().any(|key| key.name == name);
        if !given("proxy") {
            let why = "proxy is missing, such as proxy = \"proxy.example:3128\"".to_owned();
            mistakes.push(Mistake { given: format!("{}: upstream.{}", section.place, section.name), why });
        }
        if !mistakes.is_empty() {
            return (None, mistakes);
        }
        let (settings, whys) = draft.finish(section.place.clone(), source);
        for (name, why) in whys {
            let key = section.keys.iter().find(|key| key.name == name);
            mistakes.push(match key {
                Some(key) => mistake(section, "upstream", key, why),
                None => Mistake { given: format!("{}: upstream.{}", section.place, section.name), why },
            });
        }
        (Some(settings).filter(|_| mistakes.is_empty()), mistakes)
    }

    /// The upstream without a name: its proxies are those that `upstream-proxy` gives.
    pub(super) fn finish_own(
        mut self,
        given: &str,
        place: &Place,
        source: &[IpAddr],
        has_names: bool,
        place_of: impl Fn(&str) -> Option<Place>,
    ) -> Result<UpstreamSettings, Vec<Mistake>> {
        if has_names && !given.contains([':', '.', ',', '/']) && given != "localhost" {
            let why = format!("there is no [upstream.{given}]; a host of that name is written {given}:3128");
            return Err(vec![Mistake { given: mistake_at(place, "upstream-proxy"), why }]);
        }
        self.proxies = match proxies(given) {
            Ok(proxies) => proxies,
            Err(why) => {
                let looks_like_a_name = given.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
                let hint = if looks_like_a_name && !given.is_empty() { ", nor an [upstream] of that name" } else { "" };
                return Err(vec![Mistake { given: mistake_at(place, "upstream-proxy"), why: format!("{why}{hint}") }]);
            }
        };
        let (mut settings, whys) = self.finish(place.clone(), source);
        let shown: Vec<String> = settings.proxies.iter().map(short).collect();
        settings.name = shown.join(",");
        let mistakes: Vec<Mistake> = whys
            .into_iter()
            .map(|(name, why)| Mistake {
                given: place_of(name).map_or_else(|| format!("-{name}"), |place| mistake_at(&place, name)),
                why,
            })
            .collect();
        if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
    }

    /// Checks what belongs together and reads the files. Each mistake comes with the key that it is about.
    fn finish(self, place: Place, source: &[IpAddr]) -> (UpstreamSettings, Vec<(&'static str, String)>) {
        let mut whys = Vec::new();
        let speaks = |what| self.proxies.iter().any(|proxy| proxy.speaks == what);
        if speaks(Speaks::Socks5) {
            if self.auth.iter().any(|scheme| *scheme != Scheme::Basic) {
                whys.push(("auth", "a socks5 proxy takes user and password, which is basic".to_owned()));
            }
            if self.plain_http != PlainHttp::Connect {
                whys.push(("plain-http", "a socks5 proxy takes no requests, it only makes tunnels".to_owned()));
            }
        }
        if self.ca.is_some() && !speaks(Speaks::Https) {
            whys.push(("ca", "only a https:// proxy has a certificate, and there is none".to_owned()));
        }
        let ca = self.ca.as_deref().and_then(|path| {
            let read = std::fs::read(path).map_err(|error| permissions::unread(path, &error));
            let sound = read.and_then(|pem| authorities(&pem).map(|_| pem));
            sound.map_err(|why| whys.push(("ca", format!("{}: {why}", path.display())))).ok()
        });
        let credentials = self.credentials(&mut whys);
        let settings = UpstreamSettings {
            name: self.name,
            proxies: self.proxies,
            auth: self.auth,
            credentials,
            plain_http: self.plain_http,
            probe: self.probe,
            source: self.source.unwrap_or_else(|| source.to_vec()),
            ca,
            files: self.files,
            place,
        };
        (settings, whys)
    }

    fn credentials(&self, whys: &mut Vec<(&'static str, String)>) -> Credentials {
        let has = |scheme| self.auth.contains(&scheme);
        let by_password = self.auth.iter().any(|scheme| *scheme != Scheme::Negotiate);
        if self.password.is_some() && self.password_file.is_some() {
            whys.push(("password-file", "give either password or password-file".to_owned()));
        }
        if self.auth.is_empty() {
            for (key, given) in [
                ("user", !self.user.is_empty()),
                ("password", self.password.is_some()),
                ("password-file", self.password_file.is_some()),
                ("keytab", self.keytab.is_some()),
            ] {
                if given {
                    whys.push((key, "is of no use without auth, such as auth = \"basic\"".to_owned()));
                }
            }
            return Credentials::default();
        }
        if by_password && self.user.is_empty() {
            whys.push(("auth", "needs a user".to_owned()));
        }
        if has(Scheme::Basic) && self.user.contains(':') {
            whys.push(("user", "basic cannot carry a user with a colon in it (RFC 7617)".to_owned()));
        }
        if self.user.contains(|c: char| c.is_control()) {
            whys.push(("user", "has a control character in it".to_owned()));
        }
        if has(Scheme::Negotiate) && self.proxies.iter().any(|proxy| matches!(proxy.addr.host, UpstreamHost::Ip(_))) {
            whys.push(("auth", "negotiate needs the proxy by name: Kerberos knows it as HTTP/NAME".to_owned()));
        }
        if self.keytab.is_some() && !has(Scheme::Negotiate) {
            whys.push(("keytab", "is of use to negotiate only".to_owned()));
        }
        if let Some(keytab) = &self.keytab {
            match std::fs::File::open(keytab) {
                Ok(_) => whys.extend(permissions::exposed(keytab).map(|why| ("keytab", why))),
                Err(error) => {
                    let why = permissions::unread(keytab, &error);
                    whys.push(("keytab", format!("{}: {why}", keytab.display())));
                }
            }
        }
        let file = self.password_file.clone();
        let file = file.or_else(|| permissions::credential(&format!("{}.password", self.name)));
        let password = match (&self.password, file) {
            (Some(password), _) => Some(password.clone()),
            (None, Some(path)) => permissions::secret(&path).map_err(|why| whys.push(("password-file", why))).ok(),
            (None, None) => {
                if by_password {
                    whys.push(("auth", "needs a password: give password-file".to_owned()));
                }
                None
            }
        };
        Credentials { user: self.user.clone(), password, keytab: self.keytab.clone() }
    }
}

/// The shortest way to write a proxy.
fn short(proxy: &Proxy) -> String {
    match proxy.speaks {
        Speaks::Http => proxy.addr.to_string(),
        _ => proxy.to_string(),
    }
}

fn bad_name(name: &str) -> Option<String> {
    if matches!(name, "direct" | "reject") {
        return Some(format!("{name} means something else in a route, take another name"));
    }
    let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (!good).then(|| "a name consists of letters, digits, - and _".to_owned())
}
