//! The command line, as plain facts.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::cpu::Watch;
use crate::wire::{Form, Talk};

/// What was asked for; absent options have the defaults of the usage text's scenarios.
pub struct Options {
    pub ports: Vec<u16>,
    pub to: Option<SocketAddrV4>,
    pub conns: usize,
    pub count: Option<u64>,
    pub size: usize,
    pub talk: Talk,
    pub form: Form,
    /// requests on a connection; 0 is no limit
    pub each: usize,
    pub watch: Watch,
    seconds: Option<f64>,
}

impl Options {
    /// Reads `--key value` pairs and bare ports.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            ports: Vec::new(),
            to: None,
            conns: 1,
            count: None,
            size: 64,
            talk: Talk::Tls,
            form: Form::Origin,
            each: 0,
            watch: Watch::default(),
            seconds: None,
        };
        while let Some(word) = words.next() {
            let Some(key) = word.strip_prefix("--") else {
                options.ports.push(number(&word)?);
                continue;
            };
            let value = words.next().ok_or_else(|| format!("--{key}: no value"))?;
            match key {
                "to" => options.to = Some(number(&value)?),
                "conns" => options.conns = number(&value)?,
                "count" => options.count = Some(number(&value)?),
                "size" => options.size = number(&value)?,
                "seconds" => options.seconds = Some(number(&value)?),
                "talk" => options.talk = Talk::named(&value)?,
                "form" => options.form = Form::named(&value)?,
                "each" => options.each = number(&value)?,
                "watch" => options.watch.add(&value)?,
                _ => return Err(format!("--{key}: no such option")),
            }
        }
        if options.conns == 0 || options.size == 0 {
            return Err("--conns and --size must be at least 1".to_owned());
        }
        Ok(options)
    }

    /// The origin that the client connects to.
    pub fn target(&self) -> Result<SocketAddrV4, String> {
        self.to.ok_or_else(|| "--to ADDR:PORT is missing".to_owned())
    }

    /// How long to run, or `default`.
    pub fn seconds_or(&self, default: f64) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(default).clamp(0.0, 86400.0))
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text}: not understood"))
}
