//! README: its flags, links, commands and files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::examples::Examples;
use super::help::{SWITCHES, defaults};
use super::lab::support::journal::{Journal, SessionLine};
use super::man::keys_are_documented;
use super::scene::{Scene, installs};
use super::{RULES, SITE, said, succeeds};

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
    let scene = Scene::new(Examples::of(&blocks("toml")));
    let mut running = None;
    let commands = commands();
    for command in &commands {
        let words: Vec<&str> = command.strip_prefix("sudo ").unwrap_or(command).split_whitespace().collect();
        match words[..] {
            // what it shows is checked by the tests of it
            [QUICKSTART] => {}
            // it runs this very test
            ["tests/run"] => assert!(is_executable("tests/run")),
            ["cargo", "build", "--release"] => succeeds(Command::new(env!("CARGO")).args(&words[1..])),
            ["install", ..] => installs(&words),
            ["handyproxy", "check" | "explain", ..] => scene.tell(&words[1..]),
            ["handyproxy", ref flags @ ..] => {
                // one port, one program
                drop(running.take());
                running = Some(scene.handyproxy(flags));
            }
            [RULES, ref arguments @ ..] => scene.rules(arguments),
            ["curl", ..] => {
                let daemon = running.as_ref().expect("the README starts handyproxy before it looks at a site");
                for place in [&scene.net.client, &scene.net.gateway] {
                    let answer = said(&scene.view(place, &words).stdout);
                    assert!(answer.contains(" 200 "), "{answer}");
                    let session = daemon.session_line();
                    session.expect(&format!("end=done name={SITE} name_source=sni target={SITE}:443 status=200"));
                    assert_eq!(session.keys(), sample().keys(), "the README shows another line");
                    keys_are_documented(&session.keys());
                }
            }
            ["iptables", ..] => {
                let table = scene.net.gateway.run(&words.join(" "));
                let counts: Vec<&str> = table
                    .lines()
                    .filter(|line| line.contains("REDIRECT"))
                    .filter_map(|line| line.split_whitespace().next())
                    .collect();
                assert_eq!(counts, ["1", "1"], "one visit each for gateway and local\n{table}");
            }
            _ => panic!("no test runs this command of the README: {command}"),
        }
    }
    assert!(commands.len() > 10, "{commands:?}");
    let left = scene.net.gateway.run("iptables -t nat -S");
    assert!(!left.contains("HANDYPROXY"), "the README leaves rules behind: {left}");
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
pub(super) fn commands() -> Vec<String> {
    let blocks = blocks("sh");
    let lines = blocks.iter().flat_map(|block| block.lines());
    lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The session line that the README shows.
fn sample() -> SessionLine {
    Journal::of(Cursor::new(readme().into_bytes())).take_session("a session in the README", |_| true)
}

fn is_executable(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
