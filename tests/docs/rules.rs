//! handyproxy-rules(8), and `[rules]` of handyproxy.conf(5): what they say of the rules tool is what its --help says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use handyproxy::config;

use super::admin::Admin;
use super::examples::Examples;
use super::page::Page;
use super::{RULES, output, said};

pub(super) const MAN: &str = "man/handyproxy-rules.8";

/// The words of the tool that begin with a dash.
const SHORT: [(&str, &str); 2] = [("interfaces", "-i"), ("family", "-4")];

#[test]
fn the_page_has_every_option_of_the_tool_and_no_other() {
    let (documented, told) = (documented(), told());
    assert!(told.len() > 15, "{told:?}");
    assert_eq!(documented.keys().collect::<Vec<_>>(), told.keys().collect::<Vec<_>>());
}

#[test]
fn the_page_has_the_defaults_of_the_tool() {
    let documented = documented();
    let mut count = 0;
    for (option, default) in told() {
        let Some(default) = default else { continue };
        let page = documented[&option].as_deref().unwrap_or_else(|| panic!("the page gives no default for {option}"));
        let first = |text: &str| text.split([',', ';', ':', '.', ' ']).next().unwrap_or_default().to_owned();
        assert_eq!(first(page), first(&default), "{option}: the page says {page:?}, and --help {default:?}");
        count += 1;
    }
    assert!(count > 3, "{count} defaults");
}

#[test]
fn the_page_has_the_words_and_exit_statuses_of_the_tool() {
    let (page, usage) = (Page::read(MAN), usage());
    let text = page.section("DESCRIPTION").join("\n") + "\n" + &page.section("SYNOPSIS").join("\n") + "\n";
    for word in ["gateway", "local", "up", "down", "print", "status", "confirm"] {
        assert!(usage.contains(word), "--help has no {word}");
        assert!(text.contains(&format!("Cm {word}")) || text.contains(&format!("| {word}")), "the page has no {word}");
    }
    let (_, statuses) = usage.split_once("Exit status: ").expect("--help tells them");
    let told: BTreeSet<char> = statuses.chars().filter(char::is_ascii_digit).collect();
    let entries = page.section("EXIT STATUS");
    let documented: BTreeSet<char> =
        entries.iter().filter_map(|line| line.strip_prefix(".It ")?.chars().next()).collect();
    assert!(told.len() > 2, "{statuses}");
    assert_eq!(documented, told);
}

/// One after the other; the machine is that of the other page.
#[test]
fn every_command_of_the_page_works() {
    let mut admin = Admin::new(Examples::of(&Page::read(super::man::MAN).blocks()), Vec::new());
    Page::read(MAN).commands().iter().for_each(|command| _ = admin.run(command));
    assert!(admin.count() > 5, "{} commands", admin.count());
}

#[test]
fn every_key_of_rules_is_an_option_of_the_tool() {
    let told = told();
    let keys = config::keys().into_iter().filter(|(table, key)| *table == "rules" && *key != "mode");
    let mut count = 0;
    for (_, key) in keys {
        let short = SHORT.iter().find(|(name, _)| *name == key).map(|(_, option)| (*option).to_owned());
        let option = short.unwrap_or_else(|| format!("--{key}"));
        assert!(told.contains_key(&option), "{key}: the tool has no {option}");
        count += 1;
    }
    assert!(count > 8, "{count} keys");
}

/// What a file says by default is what the tool does by default.
#[test]
fn the_keys_of_rules_have_the_defaults_of_the_tool() {
    let told = told();
    let keys = Page::read(super::conf::MAN).items("RULES", "Cm");
    let mut count = 0;
    for key in keys {
        let Some(Some(default)) = told.get(&format!("--{}", key.name)) else { continue };
        // the file's mark and port are those of other keys
        let Some(own) = key.default() else { continue };
        let first = |text: &str| text.split([',', ';', ':', ' ']).next().unwrap_or_default().to_owned();
        assert_eq!(first(&own), first(default), "{}", key.name);
        count += 1;
    }
    assert!(count > 1, "{count} defaults");
}

/// Doctor finds what a file has loaded to be what it says, whatever it says.
#[test]
fn the_rules_of_every_file_of_the_pages_match_it() {
    let mut count = 0;
    for page in [super::man::MAN, super::conf::MAN] {
        let examples = Examples::of(&Page::read(page).blocks());
        for name in examples.names().iter().filter(|name| examples.text(name).contains("\n[rules]")) {
            let told = examples.examined_with_rules(name);
            assert!(told.contains("rules-match: all that is loaded is as the settings say"), "{page}: {name}: {told}");
            count += 1;
        }
    }
    assert!(count > 3, "{count} files with rules");
}

fn usage() -> String {
    let output = output(Command::new(RULES).arg("--help"));
    assert!(output.status.success());
    said(&output.stdout)
}

/// The options of --help, with their defaults.
fn told() -> BTreeMap<String, Option<String>> {
    let mut entries: Vec<String> = Vec::new();
    for line in usage().lines() {
        // an option, or what goes on about one
        match line.strip_prefix("  ") {
            Some(entry) if entry.starts_with('-') => entries.push(entry.to_owned()),
            Some(more) if more.starts_with("    ") => {
                if let Some(entry) = entries.last_mut() {
                    entry.push(' ');
                    entry.push_str(more.trim());
                }
            }
            _ => entries.push(String::new()),
        }
    }
    let mut options = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.is_empty()) {
        let default = entry.split_once("(default ").or_else(|| entry.split_once("; default "));
        let default = default.map(|(_, rest)| rest.trim_end_matches(')').to_owned());
        for name in names(entry) {
            options.insert(name, default.clone());
        }
    }
    options
}

/// `-4, -6  what` has two.
fn names(entry: &str) -> Vec<String> {
    let words = entry.split_whitespace();
    let names = words.take_while(|word| word.starts_with('-') || word.chars().all(|c| !c.is_lowercase()));
    names.filter(|word| word.starts_with('-')).map(|word| word.trim_end_matches(',').to_owned()).collect()
}

/// The options of the page, with their defaults.
fn documented() -> BTreeMap<String, Option<String>> {
    let items = Page::read(MAN).items("DESCRIPTION", "Fl");
    let mut options = BTreeMap::new();
    for item in items {
        // Fl 4 , Fl 6
        for name in item.head.split(" , Fl ").filter_map(|part| part.split(' ').next()) {
            options.insert(format!("-{name}"), item.default());
        }
    }
    options
}
