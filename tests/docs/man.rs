//! handyproxy(8): its flags, commands, log lines and ends are the program's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use handyproxy::addr::Source;
use handyproxy::close::{By, End, Stage, Weight};

use super::admin::Admin;
use super::examples::Examples;
use super::help::{defaults, flags, help, subcommands};
use super::page::Page;
use super::{PROGRAM, output, said, source};

pub(super) const MAN: &str = "man/handyproxy.8";

#[test]
fn mandoc_has_nothing_to_warn_of() {
    let output =
        output(Command::new("mandoc").args(["-T", "lint", "-W", "warning", MAN, super::conf::MAN, super::rules::MAN]));
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
fn the_man_page_has_the_flags_of_setup_and_their_defaults() {
    let told = said(&output(Command::new(PROGRAM).args(["setup", "-h"])).stdout);
    let flags: BTreeMap<String, Option<String>> = (told.lines().filter_map(|line| line.strip_prefix("  -")))
        .map(|line| {
            let name = line.split_whitespace().next().expect("a flag has a name").to_owned();
            let default = match line.split_once("(default)") {
                // the first word of what is meant: `<VALUE> ...: gateway for other machines (default)`
                Some((what, _)) => what.rsplit(['>', ':', ',']).next().and_then(|what| what.split_whitespace().next()),
                None => line.split_once("(default").map(|(_, rest)| rest.trim_start_matches([':', ' '])),
            };
            (name, default.map(|rest| rest.trim_end_matches(')').to_owned()))
        })
        .collect();
    assert!(flags.len() > 10, "{told}");
    let mut documented = BTreeMap::new();
    for item in Page::read(MAN).items("SETTING UP", "Fl") {
        // Fl help , Fl h
        for name in item.head.split(" , Fl ").filter_map(|part| part.split(' ').next()) {
            documented.insert(name.to_owned(), item.default());
        }
    }
    assert_eq!(documented, flags);
}

/// The flags that belong to one subcommand, which -h mentions with it.
#[test]
fn the_man_page_has_the_flags_of_subcommands() {
    let commands = Page::read(MAN).section("COMMANDS").join("\n") + "\n";
    let (_, told) =
        help(None).split_once("Instead of serving:\n").map(|(a, b)| (a.to_owned(), b.to_owned())).expect("-h");
    let (told, _) = told.split_once("\n\n").expect("more of -h");
    let flags = told.split_whitespace().filter_map(|word| word.strip_prefix('-'));
    let flags: BTreeSet<&str> = flags.map(|flag| flag.trim_end_matches([',', ';', '.'])).collect();
    assert!(flags.contains("json") && flags.contains("confirm"), "{flags:?}");
    // what setup has is listed elsewhere
    for flag in flags.iter().filter(|flag| **flag != "h") {
        assert!(commands.contains(&format!("Fl {flag} ")) || commands.contains(&format!("Fl {flag}\n")), "-{flag}");
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
    let sources =
        [Source::Sni, Source::SniOuter, Source::HostField, Source::Authority, Source::Dns].map(|s| s.to_string());
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
fn the_man_page_has_the_variables_that_the_program_reads() {
    // those of libraries: sd_notify(3) and sd_listen_fds(3), Kerberos, the help, tzset(3)
    const OTHERS: [&str; 9] = [
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "KRB5CCNAME",
        "KRB5_CONFIG",
        "COLUMNS",
        "TZ",
    ];
    let program = source(Path::new("src"));
    let calls = ["var(\"", "var_os(\""].iter().flat_map(|call| program.split(call).skip(1));
    let names = calls.filter_map(|rest| rest.split('"').next());
    let capital = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let mut read: BTreeSet<&str> = names.filter(capital).collect();
    assert!(read.contains("MAINPID"), "{read:?}");
    read.extend(OTHERS);
    let items = Page::read(MAN).items("ENVIRONMENT", "Ev");
    let documented: BTreeSet<&str> = items.iter().flat_map(|item| item.head.split(" , Ev ")).collect();
    assert_eq!(documented, read);
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
    let mut admin = Admin::new(examples, page.scripts());
    let visits = page.commands().iter().filter_map(|command| admin.run(command)).count();
    assert!(admin.count() > 60 && visits > 3, "{} commands, {visits} visits", admin.count());
    admin.ends();
}

#[test]
fn the_units_of_the_man_page_are_those_that_are_installed() {
    let page = Page::read(MAN);
    let units = fs::read_dir("deploy/systemd").expect("units").map(|entry| entry.expect("it can be read").file_name());
    let units: BTreeSet<String> = units.map(|name| name.to_string_lossy().into_owned()).collect();
    let documented: BTreeSet<String> = page.items("SYSTEMD", "Pa").into_iter().map(|item| item.name).collect();
    assert_eq!(documented, units);
    let files = page.section("FILES").join("\n");
    for unit in units {
        assert!(files.contains(&unit), "{unit} is not in FILES");
    }
}

/// Which checks there are, and no other.
#[test]
fn the_man_page_has_what_doctor_looks_at() {
    let page = Page::read(MAN);
    let documented: Vec<String> = page
        .subsection("TROUBLESHOOTING", "What doctor looks at")
        .iter()
        .filter_map(|line| line.strip_prefix(".It Cm "))
        .map(str::to_owned)
        .collect();
    let program = fs::read_to_string("src/cli/doctor/finding.rs").expect("doctor's table of checks");
    let (_, table) = program.split_once("const CHECKS").expect("the table");
    let (table, _) = table.split_once("];").expect("its end");
    let rows = table.lines().filter_map(|line| line.trim().strip_prefix("(\""));
    let names: Vec<String> = rows.filter_map(|row| row.split('"').nth(2)).map(str::to_owned).collect();
    assert!(names.len() > 10, "{names:?}");
    assert_eq!(documented, names);
    // and each of them is the answer to a symptom
    let symptoms = page.section("TROUBLESHOOTING").join("\n");
    let (_, symptoms) = symptoms.split_once("\n.El\n").expect("the list ends");
    for name in names {
        let told = [format!(".Cm {name} "), format!(".Cm {name}\n"), format!("Cm {name} .")];
        assert!(told.iter().any(|told| symptoms.contains(told)), "no symptom leads to {name}");
    }
}

#[test]
fn the_man_page_has_every_key_that_the_program_writes_and_no_other() {
    let page = documented_keys();
    let program = fs::read_to_string("src/session/access/line.rs").expect("the session line is written there");
    let told = program.split("tell(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let written: Vec<&str> = std::iter::once("id").chain(told).collect();
    assert!(program.contains("session id={}") && written.contains(&"duration_ms"), "{written:?}");
    assert_eq!(page, written);
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
    let items = page.iter().filter_map(|line| line.strip_prefix(".It Cm "));
    items.flat_map(|item| item.split(" , ")).map(str::to_owned).collect()
}
