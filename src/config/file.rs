//! The configuration file, read into keys with their places: `file:line`. What the keys mean is decided elsewhere.
//!
//! Reading goes on behind a mistake, so that all of them are told at once.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{Mistake, Place, permissions};

/// A file that was read, mistakes and all.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Keys of the top level.
    pub(super) keys: Vec<Key>,
    /// Each `[upstream.NAME]`.
    pub(super) upstreams: Vec<Section>,
    /// Each `[[route]]`.
    pub(super) routes: Vec<Section>,
    /// Each `[[tap]]`.
    pub(super) taps: Vec<Section>,
    /// `[rules]`.
    pub(super) rules: Option<Section>,
    /// The folder from which relative paths count.
    pub(super) folder: PathBuf,
    /// The instance that it is for: its name without what is behind the dot.
    pub(super) instance: String,
    /// Why a password must not stand in it, if it must not.
    pub(super) exposed: Option<String>,
    /// What is no TOML, or stands where it cannot.
    pub(super) mistakes: Vec<Mistake>,
}

/// A table with a name of its own.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) keys: Vec<Key>,
    pub(super) place: Place,
}

/// One `key = value`.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    /// The value's elements as text: one, unless it is an array.
    pub(super) texts: Result<Vec<String>, String>,
    pub(super) is_array: bool,
    pub(super) place: Place,
}

/// Reads a file.
pub(super) fn read(path: &str) -> File {
    let mut file = File { folder: folder(path), instance: instance(path), ..File::default() };
    let text = match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            let at = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count();
            file.mistakes.push(Mistake { given: format!("{path}:{line}"), why: "not UTF-8".to_owned() });
            return file;
        }
        Err(error) => {
            file.mistakes.push(Mistake { given: path.to_owned(), why: permissions::unread(Path::new(path), &error) });
            return file;
        }
    };
    file.exposed = permissions::exposed(Path::new(path));
    let source = Source { path, text: &text };
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        let place = source.place(error.span().map_or(0, |span| span.start));
        let mut why = error.message().replace('\n', ", ");
        if why.starts_with("missing escaped value") {
            // CORP\gateway
            why.push_str("; a text with a backslash goes between single quotes");
        }
        file.mistakes.push(Mistake { given: place.to_string(), why });
    }
    source.top(table.get_ref(), &mut file);
    file
}

fn folder(path: &str) -> PathBuf {
    Path::new(path).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn instance(path: &str) -> String {
    Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

type Entry<'t, 'i> = (&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>);

impl Source<'_> {
    fn place(&self, at: usize) -> Place {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        Place::new(format!("{}:{line}", self.path))
    }

    fn top(&self, table: &DeTable<'_>, file: &mut File) {
        for (name, value) in in_order(table) {
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("upstream", DeValue::Table(upstreams)) => {
                    for (name, value) in in_order(upstreams) {
                        match value.get_ref() {
                            DeValue::Table(keys) => file.upstreams.push(self.section(name.get_ref(), name, keys)),
                            _ => file.mistakes.push(self.wrong("upstream", name, "not a table, [upstream.NAME]")),
                        }
                    }
                }
                ("route", DeValue::Array(routes)) => {
                    for route in routes.iter() {
                        match route.get_ref() {
                            DeValue::Table(keys) => file.routes.push(self.section("route", route, keys)),
                            _ => file.mistakes.push(self.wrong("", name, "not a list of tables, [[route]]")),
                        }
                    }
                }
                // words in a list are taps too, in short
                ("tap", DeValue::Array(taps))
                    if !taps.iter().all(|tap| matches!(tap.get_ref(), DeValue::String(_))) =>
                {
                    for tap in taps.iter() {
                        match tap.get_ref() {
                            DeValue::Table(keys) => file.taps.push(self.section("tap", tap, keys)),
                            _ => file.mistakes.push(self.wrong("", name, "not a list of tables, [[tap]]")),
                        }
                    }
                }
                ("rules", DeValue::Table(keys)) => file.rules = Some(self.section("rules", name, keys)),
                ("rules", _) => file.mistakes.push(self.wrong("", name, "not a table, [rules]")),
                ("upstream", _) => file.mistakes.push(self.wrong("", name, "not tables, [upstream.NAME]")),
                ("route", _) => file.mistakes.push(self.wrong("", name, "not a list of tables, [[route]]")),
                _ => file.keys.push(self.key(name, value)),
            }
        }
    }

    fn section<T>(&self, name: &str, at: &Spanned<T>, keys: &DeTable<'_>) -> Section {
        let keys = in_order(keys).into_iter().map(|(name, value)| self.key(name, value)).collect();
        Section { name: name.to_owned(), keys, place: self.place(at.span().start) }
    }

    fn key(&self, name: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> Key {
        let (texts, is_array) = match value.get_ref() {
            DeValue::Array(elements) => (elements.iter().map(|e| scalar(e.get_ref())).collect(), true),
            value => (scalar(value).map(|text| vec![text]), false),
        };
        let place = self.place(name.span().start);
        Key { name: name.get_ref().to_string(), texts, is_array, place }
    }

    fn wrong(&self, table: &str, name: &Spanned<DeString<'_>>, why: &str) -> Mistake {
        let dot = if table.is_empty() { "" } else { "." };
        let place = self.place(name.span().start);
        Mistake { given: format!("{place}: {table}{dot}{}", name.get_ref()), why: why.to_owned() }
    }
}

/// A table's entries as they stand in the file.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<Entry<'t, 'i>> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Boolean(yes) => Ok(yes.to_string()),
        other => Err(format!("{} is no value here", other.type_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> File {
        let mut file = File::default();
        let source = Source { path: "f", text };
        let (table, errors) = DeTable::parse_recoverable(text);
        file.mistakes.extend(errors.iter().map(|e| Mistake { given: String::new(), why: e.message().to_owned() }));
        source.top(table.get_ref(), &mut file);
        file
    }

    #[test]
    fn keys_come_with_their_lines_in_the_order_of_the_file() {
        let file = parsed(
            "z = 1\n\nmark = 0x68\na = [\"x\", 22]\n[upstream.corp]\nproxy = 'p'\n[[route]]\nvia='a'\n[[route]]\n",
        );
        let keys: Vec<_> = file.keys.iter().map(|k| (k.name.as_str(), k.place.to_string())).collect();
        assert_eq!(keys, [("z", "f:1".to_owned()), ("mark", "f:3".to_owned()), ("a", "f:4".to_owned())]);
        assert_eq!(file.keys[1].texts, Ok(vec!["0x68".to_owned()]));
        assert_eq!(file.keys[2].texts, Ok(vec!["x".to_owned(), "22".to_owned()]));
        assert_eq!((file.upstreams[0].name.as_str(), file.upstreams[0].place.to_string()), ("corp", "f:5".to_owned()));
        assert_eq!(file.routes.iter().map(|r| r.place.to_string()).collect::<Vec<_>>(), ["f:7", "f:9"]);
    }

    #[test]
    fn what_is_no_toml_and_what_stands_wrong_is_told_at_once() {
        let file = parsed("a = \nroute = 1\nupstream = 2\nb = 1.5\nc = {}\n");
        assert_eq!(file.mistakes.len(), 3, "{:?}", file.mistakes);
        assert!(file.keys.iter().filter(|k| k.texts.is_err()).count() >= 2, "{:?}", file.keys);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}|([a-z\\[\\]=\"#\n. {}]{0,60})") {
            parsed(&text);
        }
    }
}
