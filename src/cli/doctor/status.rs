//! What `handyproxy-rules status --porcelain` says: one line of `key=value` for each instance and family.

use super::super::tool::{self, Ran};

/// Who is asked.
pub(super) const TOOL: &str = "handyproxy-rules";
/// Its exit status where nothing is up.
const NOTHING: i32 = 3;

/// Rules that are up, of one instance and family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    words: Vec<(String, String)>,
}

impl Line {
    fn parse(line: &str) -> Line {
        let words = line.split_whitespace().filter_map(|word| word.split_once('='));
        Line { words: words.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
    }

    /// The value of a key, empty where it is missing.
    pub(super) fn get(&self, key: &str) -> &str {
        self.words.iter().find(|(word, _)| word == key).map_or("", |(_, value)| value)
    }

    pub(super) fn is_six(&self) -> bool {
        self.get("family") == "6"
    }

    pub(super) fn is_local(&self) -> bool {
        self.get("mode") == "local"
    }

    pub(super) fn is_tproxy(&self) -> bool {
        self.get("capture") == "tproxy"
    }

    /// Packets that a counter of the kernel has seen.
    pub(super) fn count(&self, key: &str) -> u64 {
        self.get(key).parse().unwrap_or_default()
    }

    /// The interfaces whose clients are captured; `None`: all.
    pub(super) fn interfaces(&self) -> Option<Vec<&str>> {
        match self.get("interfaces") {
            "" | "all" => None,
            names => Some(names.split(',').collect()),
        }
    }
}

/// The rules of handyproxy-rules on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Those that are up, of all instances.
    Up(Vec<Line>),
    /// The tool is not there.
    NoTool,
    /// Why it cannot be told.
    Unseen(String),
}

/// Asks the tool.
pub(super) fn ask() -> Status {
    match tool::run(TOOL, &["status", "--porcelain"]) {
        Ran::Ended { status: 0, stdout, .. } => Status::Up(lines(&stdout)),
        Ran::Ended { status: NOTHING, .. } => Status::Up(Vec::new()),
        Ran::Ended { status, stderr, .. } => Status::Unseen(format!("{TOOL} status ended with {status}: {stderr}")),
        Ran::Missing => Status::NoTool,
        Ran::Failed(why) => Status::Unseen(why),
    }
}

/// Lines of it, as they are printed.
pub(super) fn lines(text: &str) -> Vec<Line> {
    text.lines().map(Line::parse).filter(|line| !line.get("port").is_empty()).collect()
}

/// Those of an instance: of its name, or else those that lead to its port.
pub(super) fn of_instance(lines: &[Line], name: Option<&str>, port: u16) -> Vec<Line> {
    let of =
        |key: &str, value: &str| -> Vec<Line> { lines.iter().filter(|line| line.get(key) == value).cloned().collect() };
    let named = name.map(|name| of("name", name)).unwrap_or_default();
    if named.is_empty() { of("port", &port.to_string()) } else { named }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A line as the tool writes it, with other values for some keys.
    pub(in super::super) fn line(changes: &str) -> Line {
        let usual = "name=gateway mode=gateway port=8443 capture=redirect backend=nft family=4 interfaces=lan \
                     captured=12 quic=reject quic_rejected=4 dns=no dns_captured=0 sums=unknown confirm=no";
        let changes = Line::parse(changes);
        let mut line = Line::parse(usual);
        for (key, value) in &mut line.words {
            if changes.words.iter().any(|(changed, _)| changed == key) {
                changes.get(key).clone_into(value);
            }
        }
        line
    }

    #[test]
    fn an_instance_is_found_by_its_name_or_else_by_its_port() {
        let all = [line(""), line("name=other port=8444"), line("name=other port=8444 family=6")];
        assert_eq!(of_instance(&all, Some("other"), 1).len(), 2);
        assert_eq!(of_instance(&all, None, 8443), [line("")]);
        assert_eq!(of_instance(&all, Some("renamed"), 8443), [line("")]);
        assert_eq!(of_instance(&all, Some("renamed"), 1), []);
    }
}
