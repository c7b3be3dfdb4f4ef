//! What handyproxy(8) tells an admin to write and to type.

use std::fs;

const PAGE: &str = "man/handyproxy.8";

/// The displays of one subsection, in their order: files, commands, and single lines.
pub(super) fn displays(subsection: &str) -> Vec<String> {
    let page = fs::read_to_string(PAGE).expect(PAGE);
    let text = page.split_once(&format!("\n.Ss {subsection}\n")).unwrap_or_else(|| panic!("no {subsection:?}")).1;
    let mut displays: Vec<String> = Vec::new();
    let mut is_inside = false;
    for line in text.lines().take_while(|line| !line.starts_with(".Ss ") && !line.starts_with(".Sh ")) {
        match line {
            _ if line.starts_with(".Bd -literal") => {
                displays.push(String::new());
                is_inside = true;
            }
            ".Ed" => is_inside = false,
            _ if line.starts_with(".Dl ") => displays.push(plain(&line[4..]) + "\n"),
            _ if is_inside => displays.last_mut().expect("one is open").push_str(&(plain(line) + "\n")),
            _ => {}
        }
    }
    displays
}

/// The file of a subsection: its path, from its first line, and its text.
pub(super) fn file(subsection: &str) -> (String, String) {
    let found = displays(subsection).into_iter().find(|display| display.starts_with("# /etc/handyproxy/"));
    let text = found.unwrap_or_else(|| panic!("{subsection:?} shows no file"));
    let path = text.lines().next().expect("one line").trim_start_matches("# ").to_owned();
    (path, text)
}

/// The one display with this command in it, as lines to type.
pub(super) fn commands(subsection: &str, with: &str) -> Vec<String> {
    let found = displays(subsection).into_iter().find(|display| display.lines().any(|line| line.contains(with)));
    let text = found.unwrap_or_else(|| panic!("{subsection:?} does not say {with:?}"));
    text.lines().map(str::to_owned).collect()
}

/// Without the escapes of mdoc(7).
fn plain(line: &str) -> String {
    line.replace("\\-", "-").replace("\\(dq", "\"").replace("\\&", "").replace("\\e", "\\")
}
