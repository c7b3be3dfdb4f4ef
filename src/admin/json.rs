//! JSON that is written as it is made: thousands of sessions are not to be built in memory first.

use std::fmt::{self, Display, Write};

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut String,
    is_empty: bool,
}

impl<'a> Object<'a> {
    /// Begins one; it ends when dropped.
    pub(super) fn begin(out: &'a mut String) -> Object<'a> {
        out.push('{');
        Object { out, is_empty: true }
    }

    /// A text, or null.
    pub(super) fn text(&mut self, key: &str, text: Option<impl Display>) {
        let out = self.key(key);
        let Some(text) = text else { return out.push_str("null") };
        out.push('"');
        write!(Escaped(out), "{text}").expect("a String takes all");
        out.push('"');
    }

    /// A number, or a truth value.
    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        write!(self.key(key), "{value}").expect("a String takes all");
    }

    /// Seconds, to the millisecond.
    pub(super) fn seconds(&mut self, key: &str, seconds: f64) {
        // whole numbers are written much faster than broken ones
        let millis = (seconds * 1e3).round() as u64;
        write!(self.key(key), "{}.{:03}", millis / 1000, millis % 1000).expect("a String takes all");
    }

    /// An object within.
    pub(super) fn object(&mut self, key: &str) -> Object<'_> {
        Object::begin(self.key(key))
    }

    /// A list of objects.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(T, &mut Object<'_>),
    ) {
        let out = self.key(key);
        out.push('[');
        for (number, item) in items.into_iter().enumerate() {
            if number > 0 {
                out.push(',');
            }
            write(item, &mut Object::begin(out));
        }
        out.push(']');
    }

    fn key(&mut self, key: &str) -> &mut String {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
        self.out
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        self.out.push('}');
    }
}

/// Writes what stands in a JSON string (RFC 8259 section 7). What could steer a terminal is escaped too.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\') {
            self.0.push_str(text);
            return Ok(());
        }
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                c if c.is_control() => write!(self.0, "\\u{:04x}", u32::from(c))?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_written_reads_back_as_it_was() {
        let hostile = "\"},{\"id\":7 \\ \r\n\t\0\u{7f}\u{9b}31m \u{202e} </script> b\u{fc}cher \u{1f980}";
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        object.text("text", Some(hostile));
        object.text("none", None::<&str>);
        object.plain("number", u64::MAX);
        object.plain("truth", true);
        object.seconds("time", 1_795_219_918.323_4);
        object.object("empty");
        object.list("list", [1, 2], |number, item| item.plain("n", number));
        drop(object);
        let read: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
        let wanted = json!({
            "text": hostile, "none": null, "number": u64::MAX, "truth": true, "time": 1_795_219_918.323,
            "empty": {}, "list": [{"n": 1}, {"n": 2}],
        });
        assert_eq!(read, wanted);
        assert!(!out.contains(char::is_control), "{out:?}");
    }
}
