//! `[rules]`: what netfilter is to hand over, as the words of handyproxy-rules(8) that say the same.

use super::{Capture, Config, Place};

/// The netfilter rules that belong to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whose connections they catch.
    pub mode: Mode,
    /// Each other key with its values, in the order of the file.
    pub options: Vec<(&'static str, Vec<String>)>,
    /// Where they stand.
    pub place: Place,
}

/// Whose connections are caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those of other machines.
    Gateway,
    /// Those of this machine.
    Local,
}

impl Mode {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Gateway => "gateway",
            Mode::Local => "local",
        }
    }
}

impl Rules {
    /// The values of a key, none where it is not given.
    pub fn values(&self, key: &str) -> &[String] {
        self.options.iter().find(|(name, _)| *name == key).map_or(&[], |(_, values)| values)
    }

    /// Whether a switch is on.
    pub fn is_on(&self, key: &str) -> bool {
        self.values(key) == ["true"]
    }
}

/// The words of handyproxy-rules(8) for what the settings say, without the action; `None` without `[rules]`.
pub fn words(config: &Config, name: &str) -> Option<Vec<String>> {
    let rules = config.rules.as_ref()?;
    let mut words = vec![rules.mode.word().to_owned(), "--name".to_owned(), name.to_owned()];
    let option = |words: &mut Vec<String>, name: &str, value: &str| {
        words.extend([format!("--{name}"), value.to_owned()]);
    };
    option(&mut words, "port", &config.local_port.to_string());
    if rules.mode == Mode::Local {
        option(&mut words, "mark", &format!("{:#x}", config.mark));
    }
    if config.capture == Capture::Tproxy {
        option(&mut words, "capture", "tproxy");
    }
    for (key, values) in &rules.options {
        match *key {
            "interfaces" => values.iter().for_each(|value| words.extend(["-i".to_owned(), value.clone()])),
            "from" | "exclude" => values.iter().for_each(|value| option(&mut words, key, value)),
            "dports" if values != &["*"] => option(&mut words, key, &values.join(",")),
            "quic" | "backend" | "uid" => option(&mut words, key, &values.join(",")),
            // switches, below
            _ => {}
        }
    }
    if let Some(dns) = &config.dns {
        option(&mut words, "dns-pool", &dns.pool.to_string());
        option(&mut words, "dns-pool", &dns.pool6.to_string());
        if let (true, Some(listen)) = (rules.is_on("dns"), dns.listen.first()) {
            option(&mut words, "dns", &listen.port().to_string());
        }
    }
    if rules.is_on("private") {
        words.push("--private".to_owned());
    }
    match rules.values("family") {
        [family] if family == "4" => words.push("-4".to_owned()),
        [family] if family == "6" => words.push("-6".to_owned()),
        _ => {}
    }
    Some(words)
}
