//! handyproxy(8): its flags, commands, log lines and ends are the program's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use handyproxy::addr::Source;
use handyproxy::close::{By, End, Stage, Weight};

use super::examples::Examples;
use super::help::{defaults, flags, subcommands};
use super::page::Page;
use super::scene::Scene;
use super::{RULES, output, readme, said, source};

const MAN: &str = "man/handyproxy.8";

#[test]
fn mandoc_has_nothing_to_warn_of() {
    let output = output(Command::new("mandoc").args(["-T", "lint", "-W", "warning", MAN, super::conf::MAN]));
    assert_eq!(said(&output.stdout), "");
    assert!(output.status.success());
}

#[test]
fn the_man_page_has_the_flags_of_help_and_their_defaults() {
    let man = Page::read(MAN);
    let documented: BTreeMap<String, Option<String>> =
        man.items("OPTIONS", "Fl").into_iter().map(|item| (item.name.clone(), item.default())).collect();
    assert_eq!(documented, defaults(&[]));
    let synopsis = man.section("SYNOPSIS").join(" ");
    for flag in flags().iter().map(|flag| &flag.name) {
        let named = [format!("Fl {flag} "), format!("| {flag} "), format!("| {flag}")];
        assert!(named.iter().any(|n| synopsis.contains(n)), "{flag} is not in the synopsis");
    }
}

#[test]
fn the_man_page_has_the_options_of_the_rules_script() {
    let man = Page::read(MAN);
    let page = man.section("THE RULES").join("\n");
    let usage = said(&output(Command::new(RULES).arg("--help")).stdout);
    let words = usage.split(|c: char| c.is_whitespace() || "[],.()".contains(c));
    let options: BTreeSet<&str> =
        words.filter(|w| w.starts_with('-') && w.len() > 1 && !w.starts_with("-local") && *w != "-mark").collect();
    assert!(options.contains("--dports") && options.contains("-4"), "{options:?}");
    for option in options {
        assert!(page.contains(&format!("Fl {}", &option[1..])), "{option} is not in the man page");
    }
    for item in man.items("THE RULES", "Fl") {
        assert!(usage.contains(&format!("-{}", item.name)), "there is no -{}", item.name);
    }
}

#[test]
fn the_man_page_has_every_end_of_a_session_and_how_loud_it_is() {
    let man = Page::read(MAN);
    let mut weight = None;
    let mut documented = Vec::new();
    for line in man.subsection("LOG", "How a session ended") {
        weight = match line.split(',').next() {
            Some("Logged as info") => Some(Weight::Info),
            Some("Logged as warning") => Some(Weight::Warn),
            Some("Logged as error") => Some(Weight::Error),
            _ => weight,
        };
        if let Some(label) = line.strip_prefix(".It Cm ") {
            documented.push((label.to_owned(), weight));
        }
    }
    let mut wanted: Vec<_> = End::ALL.into_iter().map(|end| (end.label().to_owned(), Some(end.weight()))).collect();
    documented.sort_by(|a, b| a.0.cmp(&b.0));
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(documented, wanted);
}

#[test]
fn the_man_page_has_every_word_that_a_session_line_may_say() {
    let page = Page::read(MAN).subsection("LOG", "The session line").join("\n") + "\n";
    let stages = [Stage::Origin, Stage::Sniff, Stage::Dial, Stage::Connect, Stage::Relay].map(|s| s.to_string());
    let sources = [Source::Sni, Source::SniOuter, Source::HostField, Source::Authority].map(|s| s.to_string());
    let who = [By::Client, By::Upstream, By::Us].map(|by| by.to_string());
    for word in stages.iter().chain(&sources).chain(&who) {
        let named = [format!(".Cm {word} "), format!(".Cm {word}\n")];
        assert!(named.iter().any(|n| page.contains(n)), "{word}");
    }
}

#[test]
fn the_log_lines_in_the_man_page_stand_in_the_program() {
    let program = source(Path::new("src"));
    let lines = Page::read(MAN).items("LOG", "Qq");
    assert!(lines.len() > 5);
    for line in lines {
        assert!(program.contains(&line.head), "no {:?} in src", line.head);
    }
}

#[test]
fn the_man_page_has_the_subcommands() {
    let page = Page::read(MAN);
    let documented: Vec<String> = page.items("COMMANDS", "Cm").into_iter().map(|item| item.name).collect();
    assert_eq!(documented, subcommands());
    let synopsis = page.section("SYNOPSIS");
    for command in documented {
        assert!(synopsis.contains(&format!(".Cm {command}")), "{command}");
    }
}

#[test]
fn the_files_of_the_man_page_are_understood() {
    let examples = Examples::of(&Page::read(MAN).blocks());
    for name in examples.names() {
        examples.tells(&["check", "-config", name]);
    }
}

/// One after the other on one machine, as an administrator would.
#[test]
fn every_command_of_the_man_page_works() {
    let page = Page::read(MAN);
    let mut examples = Examples::of(&page.blocks());
    examples.add_password("corp.password");
    let stage = Scene::new(examples);
    let mut count = 0;
    for command in page.commands() {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            // there is no process to tell here; tests/lab has one
            [_, "reload", ref flags @ ..] => stage.tell(&[&["check"], flags].concat()),
            ["handyproxy", "check" | "explain", ..] => stage.tell(&words[1..]),
            ["handyproxy" | "/usr/local/sbin/handyproxy", ref flags @ ..] => drop(stage.handyproxy(flags)),
            ["handyproxy-rules" | "+/usr/local/sbin/handyproxy-rules", ref arguments @ ..] => stage.rules(arguments),
            ["iptables" | "ip6tables", ..] => _ = stage.net.gateway.run(&command),
            ["curl", ..] => assert!(readme::commands().contains(&command), "{command}: run as a part of the README"),
            // these only look at, or start, a unit that the page shows
            ["journalctl" | "systemctl", ..] => {
                assert!(command.contains("handyproxy") || command.contains("daemon-reload"));
            }
            _ => panic!("no test runs this command of the man page: {command}"),
        }
        count += 1;
    }
    assert!(count > 20, "{count} commands");
}

#[test]
fn the_man_page_has_every_key_that_the_program_writes_and_no_other() {
    let page = documented_keys();
    let program = fs::read_to_string("src/session/report.rs").expect("the session line is written there");
    // `key={`, and whatever stands in front of it
    let pieces: Vec<&str> = program.split("={").collect();
    let written = pieces[..pieces.len() - 1].iter().map(|piece| {
        let start = piece.rfind(|c: char| !(c.is_ascii_lowercase() || c == '_')).map_or(0, |at| at + 1);
        piece[start..].to_owned()
    });
    let written: BTreeSet<String> = written.filter(|key| !key.is_empty()).collect();
    assert!(written.contains("route") && written.contains("duration_ms"), "{written:?}");
    for key in &written {
        assert!(page.contains(key), "{key} is not in the man page");
    }
    for key in page {
        let named = [format!("{key}="), format!("(\"{key}\", flow")];
        assert!(named.iter().any(|n| program.contains(n)), "the program never writes {key}");
    }
}

/// The README's session line has keys of the page, in their order.
pub(super) fn keys_are_documented(keys: &[&str]) {
    let documented = documented_keys();
    let places: Vec<_> = keys.iter().map(|key| documented.iter().position(|name| name == key)).collect();
    assert!(places.iter().all(Option::is_some), "{keys:?} are not all in {documented:?}");
    assert!(places.is_sorted(), "{keys:?} stand in another order than {documented:?}");
}

fn documented_keys() -> Vec<String> {
    let page = Page::read(MAN).subsection("LOG", "The session line");
    page.iter().filter_map(|line| line.strip_prefix(".It Cm ")).map(str::to_owned).collect()
}
