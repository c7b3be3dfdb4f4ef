//! Settings while they are being collected: defaults first, then the file, then the flags. When all are there, what
//! belongs together is checked and becomes a [`Config`].

mod route;
mod rules;
mod tap;
mod upstream;

use std::path::PathBuf;

use super::file::{File, Key, Section};
use super::near::near;
use super::settings::SETTINGS;
use super::values::parts;
use super::{AccessLog, AdminAddr, Capture, Config, DialBy, DnsSettings, Mistake, Mode, Place, Route, Via};
use crate::pattern::Pattern;
pub(super) use route::KEYS as ROUTE_KEYS;
pub(super) use rules::KEYS as RULES_KEYS;
pub(super) use tap::KEYS as TAP_KEYS;
use upstream::UpstreamDraft;
pub(super) use upstream::{KEYS as UPSTREAM_KEYS, OWN_KEYS};

/// What rules put on packets that TPROXY takes, in the lower half of the mark; see handyproxy-rules(8).
const TPROXY_MARK: u32 = 0x6869;

/// Settings of which an array may be given.
const LISTS: [&str; 17] = [
    "tap",
    "admin-hosts",
    "upstream-proxy",
    "proxy",
    "auth",
    "source",
    "no-proxy",
    "sniff-http-ports",
    "sniff-tls-ports",
    "server-first-ports",
    "from",
    "to",
    "dns",
    "dns-forward",
    "interfaces",
    "dports",
    "exclude",
];

/// What is known so far.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    /// A name or proxies, as they were given.
    pub(super) upstream_proxy: String,
    /// The upstream that has no name.
    pub(super) own: UpstreamDraft,
    pub(super) no_proxy: Vec<Pattern>,
    pub(super) dns: DnsSettings,
    /// `KIND[/FORMAT][:PATH]` of each tap that is no section, with the folder that it counts from.
    pub(super) taps: Vec<(String, PathBuf)>,
    /// Where each of these stands.
    tap_places: Vec<Place>,
    /// From where relative paths count that are set from now on.
    pub(super) folder: PathBuf,
    /// Where each setting that was given stands.
    places: Vec<(&'static str, Place)>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Draft {
    /// The defaults.
    pub(super) fn new() -> Draft {
        let mut draft = Draft {
            config: Config::empty(),
            upstream_proxy: String::new(),
            own: UpstreamDraft::new("upstream-proxy"),
            no_proxy: Vec::new(),
            dns: DnsSettings::empty(),
            taps: Vec::new(),
            tap_places: Vec::new(),
            folder: PathBuf::new(),
            places: Vec::new(),
            mistakes: Vec::new(),
        };
        for setting in SETTINGS {
            (setting.set)(&mut draft, setting.default).expect("the defaults in the table are valid, a test reads them");
            draft.config.texts.push((setting.name, setting.default.to_owned()));
        }
        draft
    }

    /// One setting; `given` is how a mistake in it is named. An unknown name is the caller's to find.
    pub(super) fn set(&mut self, name: &str, text: &str, place: Place, given: impl FnOnce() -> String) {
        let Some((number, setting)) = SETTINGS.iter().enumerate().find(|(_, s)| s.name == name) else { return };
        match (setting.set)(self, text) {
            Ok(()) => {
                self.config.texts[number].1 = text.to_owned();
                self.places.retain(|(name, _)| *name != setting.name);
                self.tap_places.resize(self.taps.len(), place.clone());
                self.places.push((setting.name, place));
            }
            Err(why) => self.wrong(given(), why),
        }
    }

    /// What a file says, apart from its own sections.
    pub(super) fn read_keys(&mut self, file: &File) {
        self.mistakes.extend(file.mistakes.iter().cloned());
        self.own.folder.clone_from(&file.folder);
        self.own.instance.clone_from(&file.instance);
        self.folder.clone_from(&file.folder);
        for key in &file.keys {
            if !SETTINGS.iter().any(|s| s.name == key.name) {
                let known = SETTINGS.iter().map(|s| s.name).chain(["upstream", "route", "rules"]);
                self.wrong(format!("{}: {}", key.place, key.name), unknown(&key.name, known));
                continue;
            }
            match text(key) {
                Ok(text) => self.set(&key.name, &text, key.place.clone(), || format!("{}: {}", key.place, key.name)),
                Err(why) => self.wrong(format!("{}: {}", key.place, key.name), why),
            }
        }
        // what comes later is given by flags
        self.own.folder.clear();
        self.own.instance.clear();
        self.folder.clear();
    }

    /// Everything was given: makes it sound.
    pub(super) fn finish(mut self, file: &File) -> Result<Config, Vec<Mistake>> {
        let names: Vec<&str> = file.upstreams.iter().map(|section| section.name.as_str()).collect();
        for section in &file.upstreams {
            let exposed = file.exposed.as_deref();
            let (upstream, mistakes) = UpstreamDraft::read(section, file, exposed, &self.config.source);
            self.mistakes.extend(mistakes);
            self.config.upstreams.extend(upstream);
        }
        self.find_default(&names);
        if !self.no_proxy.is_empty() {
            let to = std::mem::take(&mut self.no_proxy);
            let place = self.place("no-proxy");
            let place = Place::new(format!("no-proxy at {place}"));
            let (via, dial) = (Via::Direct, DialBy::Address);
            self.config.routes.push(Route { from: Vec::new(), to, via, dial, verify_name: false, place });
        }
        for section in &file.routes {
            match route::read(section, &names, self.config.verify_name) {
                Ok(route) => self.config.routes.push(route),
                Err(mistakes) => self.mistakes.extend(mistakes),
            }
        }
        self.finish_taps(file);
        if let Some(section) = &file.rules {
            match rules::read(section) {
                Ok(rules) => self.config.rules = Some(rules),
                Err(mistakes) => self.mistakes.extend(mistakes),
            }
        }
        self.check_rules();
        self.check_admin();
        self.finish_dns();
        if self.mistakes.is_empty() { Ok(self.config) } else { Err(self.mistakes) }
    }

    /// Those in short first, then the sections.
    fn finish_taps(&mut self, file: &File) {
        let short = std::mem::take(&mut self.taps).into_iter().zip(std::mem::take(&mut self.tap_places));
        for ((text, folder), place) in short {
            match tap::word(&text, &folder, place.clone()) {
                Ok(tap) => self.config.taps.push(tap),
                Err(why) => self.wrong(mistake_at(&place, "tap"), format!("{text:?}: {why}")),
            }
        }
        for section in &file.taps {
            match tap::read(section, &file.folder) {
                Ok(tap) => self.config.taps.push(tap),
                Err(mistakes) => self.mistakes.extend(mistakes),
            }
        }
        for (number, tap) in self.config.taps.iter().enumerate() {
            let Some(first) = self.config.taps[..number].iter().find(|first| tap::clash(first, tap)) else { continue };
            let why = format!("writes where the tap at {} does: give it a path of its own", first.place);
            self.mistakes.push(Mistake { given: mistake_at(&tap.place, "tap"), why });
        }
        let AccessLog::File(log) = &self.config.access_log else { return };
        for tap in self.config.taps.iter().filter(|tap| tap.path.as_ref() == Some(log) || tap::has(tap, log)) {
            let why = format!("writes where access-log does, {}: give it a path of its own", log.display());
            self.mistakes.push(Mistake { given: mistake_at(&tap.place, "tap"), why });
        }
    }

    /// What netfilter can hand over in one way only.
    fn check_rules(&mut self) {
        let Some(rules) = &self.config.rules else { return };
        if (rules.mode, self.config.capture) == (Mode::Local, Capture::Tproxy) {
            let given = format!("{}: rules.mode", rules.place);
            self.wrong(given, "local goes with capture = \"redirect\": TPROXY takes what comes in from elsewhere");
        }
        if self.config.capture == Capture::Tproxy && self.config.mark & 0xffff == TPROXY_MARK {
            let mark = self.config.mark;
            self.wrong("mark".to_owned(), format!("{mark:#x} is what the rules of capture = \"tproxy\" mean by it"));
        }
    }

    /// There is no password: who reaches the admin is asked nothing.
    fn check_admin(&mut self) {
        let Some(AdminAddr::Tcp(addr)) = self.config.admin else { return };
        let given = mistake_at(&self.place("admin"), "admin");
        if !self.config.admin_remote && !addr.ip().to_canonical().is_loopback() {
            let why = format!("{addr} is not loopback, and there is no password: admin-remote = true allows it");
            self.wrong(given, why);
        } else if addr.port() == self.config.local_port {
            self.wrong(given, format!("{addr} is local-port: give the admin a port of its own"));
        }
    }

    /// The resolver is there if it has an address; what asks for it wants one.
    fn finish_dns(&mut self) {
        let dns = std::mem::replace(&mut self.dns, DnsSettings::empty());
        let rules = self.config.rules.as_ref().filter(|rules| rules.is_on("dns"));
        if let (true, Some(rules)) = (dns.listen.is_empty(), rules) {
            let given = format!("{}: rules.dns", rules.place);
            return self.wrong(given, "needs the resolver: set dns, such as dns = \"0.0.0.0:5353\"");
        }
        if let (Some(_), Some(at)) = (rules, dns.listen.iter().find(|at| at.port() == self.config.local_port)) {
            let why = format!("rules cannot tell {at} from local-port: give the resolver a port of its own");
            return self.wrong("dns".to_owned(), why);
        }
        self.config.dns = (!dns.listen.is_empty()).then(|| Box::new(dns));
    }

    /// What `upstream-proxy` means: a named upstream, or proxies of its own.
    fn find_default(&mut self, names: &[&str]) {
        let given = self.places.iter().any(|(name, _)| *name == "upstream-proxy");
        let place = self.place("upstream-proxy");
        let named = match names {
            [only] if !given => Some((*only).to_owned()),
            [_, _, ..] if !given => {
                let why = format!("name the upstream for what matches no route: {}", names.join(", "));
                return self.wrong("upstream-proxy".to_owned(), why);
            }
            _ => names.iter().find(|name| **name == self.upstream_proxy).map(|name| (*name).to_owned()),
        };
        let Some(name) = named else {
            if self.config.file.is_some() && !given {
                let proxy = &self.upstream_proxy;
                let note = format!("neither upstream-proxy nor an [upstream] is given: the proxy is {proxy}");
                self.config.notes.push(note);
            }
            let settings = std::mem::take(&mut self.upstream_proxy);
            self.config.default_upstream = self.config.upstreams.len();
            let own = std::mem::replace(&mut self.own, UpstreamDraft::new(""));
            match own.finish_own(&settings, &place, &self.config.source, !names.is_empty(), |name| {
                self.places.iter().find(|(n, _)| *n == name).map(|(_, place)| place.clone())
            }) {
                Ok(upstream) => self.config.upstreams.push(upstream),
                Err(mistakes) => self.mistakes.extend(mistakes),
            }
            return;
        };
        // a section that was refused has its mistake already
        self.config.default_upstream = self.config.upstreams.iter().position(|u| u.name == name).unwrap_or_default();
        let texts = &mut self.config.texts;
        texts.iter_mut().filter(|(n, _)| *n == "upstream-proxy").for_each(|(_, text)| text.clone_from(&name));
        let astray: Vec<String> = (self.places.iter())
            .filter(|(key, _)| OWN_KEYS.contains(key))
            .map(|(key, place)| mistake_at(place, key))
            .collect();
        for given in astray {
            self.wrong(given, format!("belongs into [upstream.{name}], which is what upstream-proxy names"));
        }
    }

    fn place(&self, name: &str) -> Place {
        let place = self.places.iter().find(|(n, _)| *n == name).map(|(_, place)| place.clone());
        place.unwrap_or_else(|| Place::new(format!("-{name}")))
    }

    pub(super) fn wrong(&mut self, given: String, why: impl Into<String>) {
        self.mistakes.push(Mistake { given, why: why.into() });
    }
}

/// How a mistake in a setting is named: by flag, or by line and key.
fn mistake_at(place: &Place, key: &str) -> String {
    let place = place.to_string();
    if place.starts_with('-') { place } else { format!("{place}: {key}") }
}

/// A key's value as one text.
fn text(key: &Key) -> Result<String, String> {
    let texts = key.texts.as_ref().map_err(Clone::clone)?;
    if key.is_array && !LISTS.contains(&key.name.as_str()) {
        return Err("takes one value, not a list".to_owned());
    }
    Ok(texts.join(","))
}

/// All entries of a list; an entry that is wrong is told with those before it.
fn patterns(key: &Key, parse: fn(&str) -> Result<Pattern, String>) -> Result<Vec<Pattern>, String> {
    let texts = key.texts.as_ref().map_err(Clone::clone)?;
    let entries = texts.iter().flat_map(|text| parts(text));
    let (good, bad): (Vec<_>, Vec<_>) = entries.map(parse).partition(Result::is_ok);
    if !bad.is_empty() {
        return Err(bad.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; "));
    }
    if good.is_empty() {
        // an empty list would match everything, which is hardly what an empty list means
        return Err("an empty list; leave the key out to match all".to_owned());
    }
    Ok(good.into_iter().filter_map(Result::ok).collect())
}

/// An unknown key, with where it belongs or the known one that it may have been meant to be.
fn unknown(name: &str, known: impl IntoIterator<Item = &'static str>) -> String {
    if SETTINGS.iter().any(|setting| setting.name == name) {
        return "unknown here; it belongs above the first [heading]".to_owned();
    }
    near(name, known).map_or("unknown key".to_owned(), |meant| format!("unknown key; is it {meant}?"))
}

/// What a section's key says about itself when it is wrong.
fn mistake(section: &Section, table: &str, key: &Key, why: impl Into<String>) -> Mistake {
    let dot = if table == "upstream" { format!("upstream.{}", section.name) } else { table.to_owned() };
    Mistake { given: format!("{}: {dot}.{}", key.place, key.name), why: why.into() }
}
