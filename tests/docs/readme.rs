//! README: its flags, links, commands and files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use super::admin::Admin;
use super::examples::Examples;
use super::help::{SWITCHES, defaults};
use super::lab::support::journal::{Journal, SessionLine};
use super::man::keys_are_documented;
use super::viewer::are_shown;

pub(super) const QUICKSTART: &str = "deploy/quickstart";

#[test]
fn the_readme_has_the_flags_of_help_and_their_defaults() {
    let rows: BTreeMap<String, Option<String>> = readme()
        .lines()
        .filter_map(|line| {
            let (flag, rest) = line.strip_prefix("| `-")?.split_once("` |")?;
            let default = rest.split('|').next()?.trim();
            Some((flag.to_owned(), (!default.is_empty()).then(|| default.to_owned())))
        })
        .collect();
    assert_eq!(rows, defaults(&SWITCHES));
}

#[test]
fn the_files_that_the_readme_links_to_are_there() {
    let text = readme();
    let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.contains(&"LICENSE-MIT") && links.contains(&"LICENSE-APACHE"), "{links:?}");
    for link in links.iter().filter(|link| !link.starts_with("https://")) {
        assert!(Path::new(link).is_file(), "{link}");
    }
}

/// One after the other, as they stand, on the machines that the README means.
#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let mut admin = Admin::new(Examples::of(&blocks("toml")), Vec::new());
    let mut visits = 0;
    for command in commands() {
        if let Some(session) = admin.run(&command) {
            assert_eq!(session.keys(), sample().keys(), "the README shows another line");
            keys_are_documented(&session.keys());
            visits += 1;
        }
    }
    assert!(admin.count() > 10 && visits > 0, "{} commands, {visits} visits", admin.count());
    if std::env::var_os("HANDYPROXY_SHOWN").is_some() {
        println!("{}", admin.shown);
    }
    let transcripts = transcripts();
    assert!(transcripts.len() > 5, "{transcripts:?}");
    transcripts.iter().for_each(|transcript| are_shown(transcript, &admin.shown));
    admin.ends();
}

/// What commands show in the section about that.
fn transcripts() -> Vec<String> {
    let text = readme();
    let (_, section) = text.split_once("\n## See what passes\n").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("another one");
    section.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

fn readme() -> String {
    fs::read_to_string("README.md").expect("README.md")
}

/// The README's blocks in this language.
fn blocks(wanted: &str) -> Vec<String> {
    let text = readme();
    let mut blocks = Vec::new();
    for (number, part) in text.split("```").enumerate() {
        // every other part is a block
        if number % 2 == 0 {
            continue;
        }
        let (language, lines) = part.split_once('\n').expect("a block has lines");
        assert!(["sh", "text", "toml"].contains(&language), "a block is sh, and run, or toml, and checked, or text");
        if language == wanted {
            blocks.push(lines.to_owned());
        }
    }
    blocks
}

/// The lines of the README's blocks of commands.
fn commands() -> Vec<String> {
    let blocks = blocks("sh");
    let lines = blocks.iter().flat_map(|block| block.lines());
    lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The session line that the README shows.
fn sample() -> SessionLine {
    Journal::of(Cursor::new(readme().into_bytes())).take_session("a session in the README", |_| true)
}
