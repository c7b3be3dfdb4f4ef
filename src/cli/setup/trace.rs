//! The trace of one session, read from the line that the daemon has logged when it ended.

/// The fields of a session's line.
#[derive(Debug)]
pub(super) struct Trace {
    fields: Vec<(String, String)>,
}

impl Trace {
    /// Reads a line of the log; `None` if it is not a session's.
    pub(super) fn read(line: &str) -> Option<Trace> {
        let (_, mut rest) = line.split_once("session id=").map(|(before, rest)| (before, format!("id={rest}")))?;
        let mut fields = Vec::new();
        while let Some((key, after)) = rest.split_once('=') {
            let end = match after.strip_prefix('"') {
                Some(quoted) => closing(quoted)? + 2,
                None => after.find(' ').unwrap_or(after.len()),
            };
            fields.push((key.trim().to_owned(), after[..end].to_owned()));
            rest = after[end..].trim_start().to_owned();
        }
        Some(Trace { fields })
    }

    /// A field's value.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The trace for people: client, origin, name, upstream, status, times.
    pub(super) fn lines(&self) -> Vec<String> {
        let get = |key| self.get(key);
        let with = |what: Option<&str>, before: &str, more: Option<&str>, after: &str| {
            let more = more.map(|more| format!("{before}{more}{after}")).unwrap_or_default();
            what.map(|what| format!("{what}{more}"))
        };
        let time = |key, what: &str| get(key).map(|ms| format!("{what} {ms} ms"));
        let times = [
            time("sniff_ms", "name seen after"),
            time("dial_ms", "proxy connected after"),
            time("connect_ms", "it answered in"),
            time("duration_ms", "over after"),
        ];
        let times: Vec<String> = times.into_iter().flatten().collect();
        let parts = [
            ("client", get("client").map(str::to_owned)),
            ("origin", get("origin").map(str::to_owned)),
            ("name", with(get("name"), " (from ", get("name_source"), ")")),
            ("upstream", with(get("upstream"), ", asked for ", get("target"), "")),
            ("status", get("status").map(str::to_owned)),
            ("error", get("error").map(str::to_owned)),
            ("times", (!times.is_empty()).then(|| times.join(", "))),
            ("bytes", with(get("up"), " up, ", get("down"), " down")),
            ("end", with(get("end"), ", by ", get("by"), "")),
        ];
        parts.into_iter().filter_map(|(what, value)| Some(format!("  {what:9} {}", value?))).collect()
    }
}

/// Where a quoted value ends.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_becomes_a_trace() {
        let line = "2026-01-01T00:00:00Z  INFO session id=7 end=done by=client client=10.1.0.2:4 origin=203.0.113.9:443 \
                    name=www.example.com name_source=sni target=www.example.com:443 upstream=10.2.0.2:3128 stage=relay \
                    status=200 error=\"a \\\"b\\\" c=d\" sniff_ms=0.1 dial_ms=1.2 connect_ms=3.4 up=5 down=6 duration_ms=7.8";
        let trace = Trace::read(line).expect("a session");
        assert_eq!(trace.get("error"), Some("\"a \\\"b\\\" c=d\""));
        assert_eq!(trace.get("duration_ms"), Some("7.8"));
        let text = trace.lines().join("\n");
        for part in [
            "www.example.com (from sni)",
            "10.2.0.2:3128, asked for www.example.com:443",
            "5 up, 6 down",
            "done, by client",
            "it answered in 3.4 ms",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(Trace::read("INFO listening on [::]:8443").is_none());
        assert!(Trace::read("session id=\"never").is_none());
    }
}
