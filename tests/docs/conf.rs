//! handyproxy.conf(5): every key of the file and no other, every file that it shows, and what it shows of the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use handyproxy::config;

use super::examples::Examples;
use super::help::{DEBUG_FLAG, SWITCHES, defaults};
use super::page::Page;
use super::source;

pub(super) const MAN: &str = "man/handyproxy.conf.5";
/// The tables of the file, and the sections that describe their keys.
const TABLES: [(&str, &str); 5] =
    [("", "TOP LEVEL"), ("rules", "RULES"), ("upstream", "UPSTREAMS"), ("route", "ROUTES"), ("tap", "TAPS")];

#[test]
fn the_page_has_every_key_of_the_file_and_no_other() {
    let page = Page::read(MAN);
    for (table, section) in TABLES {
        let documented = page.items(section, "Cm").into_iter().map(|item| item.name);
        let wanted = config::keys().into_iter().filter(|(of, key)| *of == table && *key != DEBUG_FLAG);
        let wanted = wanted.map(|(_, key)| key.to_owned());
        let (documented, wanted): (BTreeSet<String>, BTreeSet<String>) = (documented.collect(), wanted.collect());
        assert!(wanted.len() > 3, "{table:?}: {wanted:?}");
        assert_eq!(documented, wanted, "in {section}");
    }
    let known: BTreeSet<&str> = config::keys().into_iter().map(|(table, _)| table).collect();
    assert_eq!(known, TABLES.iter().map(|(table, _)| *table).collect(), "a table is not described");
}

#[test]
fn every_flag_is_a_key_of_the_top_level_with_its_default() {
    let described = Page::read(MAN).items("TOP LEVEL", "Cm");
    let described: BTreeMap<String, Option<String>> =
        described.into_iter().map(|item| (item.name.clone(), item.default())).collect();
    assert_eq!(described, defaults(&[&SWITCHES[..], &["config"]].concat()));
}

#[test]
fn what_a_tap_does_by_default_is_what_the_page_says() {
    let config = |words: &str| match config::Command::parse(["-tap".to_owned(), words.to_owned()]) {
        Ok(config::Command::Run(config)) => config::shown(&config, |_| String::new()),
        other => panic!("{words}: {other:?}"),
    };
    let shown = |words: &str, key: &str| {
        let text = config(words);
        let (_, tap) = text.split_once("[[tap]]").unwrap_or_else(|| panic!("{text}"));
        tap.lines()
            .find_map(|line| line.strip_prefix(&format!("{key} = ")))
            .map(|value| value.trim_matches('"').to_owned())
    };
    let defaults =
        Page::read(MAN).items("TAPS", "Cm").into_iter().filter_map(|item| Some((item.default()?, item.name)));
    let mut count = 0;
    for (default, name) in defaults {
        let told = match name.as_str() {
            // the first one
            "format" => {
                assert_eq!(
                    [shown("flow", "format"), shown("dump:/x", "format")].map(Option::unwrap_or_default),
                    ["readable", "dumper"]
                );
                continue;
            }
            // what is off is not shown, what goes with it neither
            "rotate-size" | "rotate-time" | "keep" | "compress" => {
                assert_eq!(
                    (shown("pcapng:/x", &name), matches!(default.as_str(), "0" | "false")),
                    (None, true),
                    "{name}"
                );
                continue;
            }
            name => shown("pcapng:/x", name).unwrap_or_else(|| panic!("{name} is not shown")),
        };
        assert!(default == told || default.starts_with(&format!("{told}, ")), "{name}: {default} is not {told}");
        count += 1;
    }
    assert_eq!((count, shown("hexlog:/x", "append").as_deref()), (3, Some("false")));
}

#[test]
fn every_file_of_the_page_is_understood() {
    let examples = Examples::of(&Page::read(MAN).blocks());
    assert!(examples.names().len() > 5, "{:?}", examples.names());
    for name in examples.names() {
        let told = examples.tells(&["check", "-config", name]);
        assert!(!told.contains("secret"), "{name}: a password is shown: {told}");
    }
}

/// Those that come with the package.
#[test]
fn the_files_to_copy_are_understood() {
    let files = fs::read_dir("deploy/examples").expect("examples").map(|entry| entry.expect("it can be read").path());
    let blocks: Vec<String> = files
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            format!("# {name}\n{}", fs::read_to_string(&path).expect("it is text"))
        })
        .collect();
    let examples = Examples::of(&blocks);
    assert!(examples.names().len() > 3, "{:?}", examples.names());
    for name in examples.names() {
        examples.tells(&["check", "-config", name]);
        let words = examples.tells(&["rules", "words", "-config", name]);
        assert!(words.contains(" --name "), "{name} has no [rules]: {words}");
    }
}

/// `$ command`, and what it prints.
#[test]
fn the_dialogues_of_the_page_are_those_of_the_program() {
    let page = Page::read(MAN);
    let examples = Examples::of(&page.blocks());
    let mut count = 0;
    for block in page.blocks() {
        for dialogue in block.split("$ handyproxy ").skip(1) {
            let (command, shown) = dialogue.split_once('\n').expect("a line");
            let told = examples.tells(&command.split_whitespace().collect::<Vec<_>>());
            assert!(is_shown(&told, shown), "{command} tells\n{told}\nand not\n{shown}");
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn the_mistakes_of_the_page_stand_in_the_program() {
    let program = source(Path::new("src"));
    let page = Page::read(MAN).section("DIAGNOSTICS");
    let mistakes: Vec<&str> = page.iter().filter_map(|line| line.strip_prefix(".It ")).collect();
    let mut count = 0;
    for mistake in mistakes {
        // capital letters stand for something
        for part in mistake.split(|c: char| c.is_uppercase()).filter(|part| part.len() > 3) {
            assert!(program.contains(part), "no {part:?} in src, of {mistake:?}");
            count += 1;
        }
    }
    assert!(count > 1);
}

/// Whether this was told; three dots stand for lines that are left out.
fn is_shown(told: &str, shown: &str) -> bool {
    let parts: Vec<&str> = shown.split("...\n").collect();
    let [first, middle @ .., last] = &parts[..] else { return told == shown };
    let Some(mut rest) = told.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
    for part in middle {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    true
}
