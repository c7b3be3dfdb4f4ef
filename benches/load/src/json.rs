//! One JSON object on one line of standard output: numbers, texts and one level of numbers below.

use std::fmt::Write as _;
use std::io::{self, Write as _};

#[derive(Default)]
pub struct Json {
    fields: String,
}

impl Json {
    pub fn number(mut self, key: &str, value: f64) -> Self {
        self.key(key);
        let _ = write!(self.fields, "{value}");
        self
    }

    pub fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.fields.push('"');
        for c in value.chars() {
            match c {
                '"' | '\\' => self.fields.extend(['\\', c]),
                c if c.is_control() => self.fields.push(' '),
                c => self.fields.push(c),
            }
        }
        self.fields.push('"');
        self
    }

    pub fn numbers(mut self, key: &str, pairs: &[(String, f64)]) -> Self {
        let below = pairs.iter().fold(Self::default(), |json, (key, value)| json.number(key, *value));
        self.key(key);
        let _ = write!(self.fields, "{{{}}}", below.fields);
        self
    }

    pub fn print(self) {
        let mut out = io::stdout().lock();
        // a reader that has gone needs no line
        let _ = writeln!(out, "{{{}}}", self.fields);
        let _ = out.flush();
    }

    fn key(&mut self, key: &str) {
        if !self.fields.is_empty() {
            self.fields.push(',');
        }
        let _ = write!(self.fields, "\"{key}\":");
    }
}
