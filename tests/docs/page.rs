//! A man page, as its source: sections, lists, displayed blocks and commands.

use std::fs;

/// Begins a block of commands or a file.
const INDENTED: &str = ".Bd -literal -offset indent";

/// The lines of a page, without their escapes.
pub(super) struct Page(Vec<String>);

/// An entry of a list.
pub(super) struct Item {
    /// The first word behind the macro.
    pub(super) name: String,
    /// All of them.
    pub(super) head: String,
    pub(super) body: Vec<String>,
}

impl Item {
    pub(super) fn default(&self) -> Option<String> {
        let line = self.body.iter().find_map(|line| line.strip_prefix("Default: "))?;
        Some(line.trim_end_matches('.').to_owned())
    }
}

impl Page {
    pub(super) fn read(path: &str) -> Page {
        let text = fs::read_to_string(path).expect("a man page");
        let text = text.replace("\\-", "-").replace("\\&", "").replace("\\(dq", "\"").replace("\\e", "\\");
        Page(text.lines().map(str::to_owned).collect())
    }

    pub(super) fn section(&self, name: &str) -> Vec<String> {
        between(&self.0, ".Sh ", name)
    }

    pub(super) fn subsection(&self, section: &str, name: &str) -> Vec<String> {
        between(&self.section(section), ".Ss ", name)
    }

    /// The entries of a section's lists that begin with this macro.
    pub(super) fn items(&self, section: &str, macro_name: &str) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        let mut open = false;
        for line in self.section(section) {
            if let Some(head) = line.strip_prefix(".It ") {
                open = head.split(' ').next() == Some(macro_name);
                if open {
                    let head = &head[macro_name.len() + 1..];
                    let name = head.split(' ').next().expect("split gives one at least").to_owned();
                    items.push(Item { name, head: head.to_owned(), body: Vec::new() });
                }
            } else if let (true, Some(item)) = (open, items.last_mut()) {
                item.body.push(line);
            }
        }
        assert!(!items.is_empty(), "no {macro_name} in {section}");
        items
    }

    /// Displayed blocks of lines, apart from pictures, which are not indented.
    pub(super) fn blocks(&self) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut block: Option<String> = None;
        for line in &self.0 {
            match (line.as_str(), &mut block) {
                (INDENTED, _) => block = Some(String::new()),
                (".Ed", _) => blocks.extend(block.take()),
                (line, Some(text)) => {
                    text.push_str(line);
                    text.push('\n');
                }
                _ => {}
            }
        }
        blocks
    }

    /// What the page shows and nobody is to type or to write: blocks that are not indented.
    pub(super) fn pictures(&self) -> Vec<String> {
        let mut pictures = Vec::new();
        let mut picture: Option<String> = None;
        for line in &self.0 {
            match (line.as_str(), &mut picture) {
                (".Bd -literal", _) => picture = Some(String::new()),
                (".Ed", _) => pictures.extend(picture.take()),
                (line, Some(text)) => {
                    text.push_str(line);
                    text.push('\n');
                }
                _ => {}
            }
        }
        pictures
    }

    /// Scripts that the page shows.
    pub(super) fn scripts(&self) -> Vec<String> {
        self.blocks().into_iter().filter(|block| block.starts_with("#!")).collect()
    }

    /// Displayed command lines in the order of the page.
    pub(super) fn commands(&self) -> Vec<String> {
        let mut blocks = self.blocks().into_iter();
        let of_line = |line: &String| match line.strip_prefix(".Dl ") {
            Some(command) => vec![command.to_owned()],
            None if line == INDENTED => block_commands(&blocks.next().expect("one for each beginning")),
            None => Vec::new(),
        };
        self.0.iter().flat_map(of_line).collect()
    }
}

/// The commands in a block, or in the file that it shows.
fn block_commands(block: &str) -> Vec<String> {
    match block.lines().next() {
        // a configuration file, a script, a part of a unit, or what was said
        Some(first) if ["# ", "#!", "[", "$ "].iter().any(|sign| first.starts_with(sign)) => Vec::new(),
        _ => block.lines().map(str::to_owned).collect(),
    }
}

/// The lines behind the one that begins with `heading` and is called `name`, up to the next such one.
fn between(lines: &[String], heading: &str, name: &str) -> Vec<String> {
    let wanted = format!("{heading}{name}");
    let behind = lines.iter().skip_while(|line| **line != wanted).skip(1);
    let found: Vec<String> = behind.take_while(|line| !line.starts_with(heading)).cloned().collect();
    assert!(!found.is_empty(), "the man page has no {wanted}");
    found
}
