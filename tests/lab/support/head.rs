//! Heads of HTTP messages, taken apart just enough to ask for a field.

use super::wire::Wire;

/// The head of a request or an answer.
#[derive(Debug)]
pub struct Head {
    /// Its first line.
    pub line: String,
    fields: Vec<(String, String)>,
}

impl Wire {
    /// Receives a head, and not a byte of what is behind it.
    pub fn head(&mut self) -> Head {
        let bytes = self.receive_through(b"\r\n\r\n");
        let text = String::from_utf8(bytes).expect("a head of a test is ASCII");
        let mut lines = text.strip_suffix("\r\n\r\n").expect("it ends so").split("\r\n");
        let line = lines.next().expect("split gives one at least").to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?} in {text:?}"));
            (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
        };
        Head { line, fields: lines.map(field).collect() }
    }

    /// Receives a head that begins with this line.
    pub fn expect_head(&mut self, line: &str) -> Head {
        let head = self.head();
        assert_eq!(head.line, line, "{head:?}");
        head
    }

    /// Receives the head of an answer with this status.
    pub fn expect_status(&mut self, status: u16) -> Head {
        let head = self.head();
        assert!(head.line.starts_with(&format!("HTTP/1.1 {status}")), "wanted {status}: {head:?}");
        head
    }

    /// Receives one chunk (RFC 9112 section 7.1), however it was cut on its way; empty is the last one.
    pub fn chunk(&mut self) -> Vec<u8> {
        let line = self.receive_through(b"\r\n");
        let text = String::from_utf8_lossy(&line).into_owned();
        let size = text.split([';', '\r']).next().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.unwrap_or_else(|| panic!("no size of a chunk: {text:?}"));
        let bytes = self.receive(size);
        if size > 0 {
            self.expect("\r\n");
        }
        bytes
    }

    /// Receives a body of chunks and the trailers behind it, as they stand.
    pub fn chunked(&mut self) -> (Vec<u8>, String) {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk();
            if chunk.is_empty() {
                break;
            }
            body.extend(chunk);
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.receive_through(b"\r\n");
            if line == b"\r\n" {
                return (body, String::from_utf8_lossy(&trailers).into_owned());
            }
            trailers.extend(line);
        }
    }
}

impl Head {
    /// A field's value, if it stands there once.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} stands there twice: {self:?}");
        all.first().copied()
    }

    /// The values of all fields of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The names of the fields, in small letters.
    pub fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Checks a field; `None`: it must be absent.
    pub fn expect(&self, name: &str, value: Option<&str>) {
        assert_eq!(self.get(name), value, "{name} in {self:?}");
    }
}
