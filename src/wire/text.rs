//! Hostile text made fit for a log line: printable ASCII, bounded.

/// How many bytes of a foreign text are shown.
const SHOWN: usize = 100;

/// Shows foreign bytes; control bytes, quotes and everything beyond ASCII are escaped.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = bytes[..bytes.len().min(SHOWN)].escape_ascii().to_string();
    if bytes.len() > SHOWN {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_are_escaped_and_length_is_bounded() {
        assert_eq!(shown(b"Forbidden\r\n\x1b[31m\xff"), "Forbidden\\r\\n\\x1b[31m\\xff");
        assert_eq!(shown(&[b'a'; 500]).len(), SHOWN + 3);
    }
}
