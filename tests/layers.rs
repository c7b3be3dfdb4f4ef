//! Imports point down only: the table of floors in `src/lib.rs` against every `crate::` path in `src/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module to floor, read from lib.rs.
fn floors() -> BTreeMap<String, u32> {
    let table = fs::read_to_string(src().join("lib.rs")).expect("src/lib.rs");
    let mut floors = BTreeMap::new();
    for line in table.lines().filter_map(|l| l.strip_prefix("//! ")) {
        let mut words = line.split_whitespace();
        let Some(Ok(floor)) = words.next().map(str::parse) else { continue };
        // the second word is the floor's name
        for module in words.skip(1) {
            floors.insert(module.to_owned(), floor);
        }
    }
    floors
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file with the module at the top of its path.
fn files() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![src()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(src()).expect("below src").with_extension("");
            let top = below.iter().next().expect("a name").to_string_lossy().into_owned();
            found.push((top.trim_end_matches("_tests").to_owned(), path));
        }
    }
    found
}

/// The code of a file: no comments, no tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let code = text.split("#[cfg(test)]\nmod tests").next().expect("at least one part");
    code.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The top modules that a file names as `crate::module` or `crate::{a, b::c}`.
fn named(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => modules.push(word(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in group.char_indices() {
                    if start && depth == 0 && c.is_alphabetic() {
                        modules.push(word(&group[at..]));
                        start = false;
                    }
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' => start = true,
                        _ => {}
                    }
                }
            }
        }
    }
    modules
}

#[test]
fn imports_point_down_only() {
    let floors = floors();
    let mut looked_at = 0;
    for (top, path) in files() {
        if top == "lib" || top == "main" {
            continue;
        }
        let floor = floors.get(&top).unwrap_or_else(|| panic!("{top} has no floor in src/lib.rs"));
        for module in named(&code(&path)) {
            let Some(below) = floors.get(&module) else { panic!("{path:?}: crate::{module} has no floor") };
            looked_at += 1;
            assert!(module == top || below < floor, "{path:?} on floor {floor} names {module} on floor {below}");
        }
    }
    assert!(looked_at > 30, "only {looked_at} paths found");
}

#[test]
fn only_sys_talks_to_the_kernel_and_facts_know_no_runtime() {
    let floors = floors();
    let mut kernel = 0;
    for (top, path) in files() {
        // tests may do what they like with a socket
        if path.to_string_lossy().ends_with("_tests.rs") {
            continue;
        }
        let code = code(&path);
        // tokio has a module named unix
        let calls = code.replace("unix::", "");
        let calls = ["nix::", "libc::", "socket2::", "rlimit::", "sd_notify::"].iter().any(|c| calls.contains(c));
        kernel += usize::from(calls);
        assert!(!calls || top == "sys", "{path:?} talks to the kernel by itself");
        let low = floors.get(&top).is_some_and(|floor| *floor <= 2);
        assert!(!(low && top != "sys" && code.contains("tokio")), "{path:?} mentions tokio");
        let excused = ["sys/queues.rs", "sys/gss.rs", "sys/systemd.rs"].iter().any(|file| path.ends_with(file));
        assert!(excused || !code.contains("unsafe"), "{path:?} is unsafe");
    }
    assert!(kernel > 2, "no kernel calls were found at all");
}

#[test]
fn every_floor_has_its_rooms_and_no_room_is_a_lumber_room() {
    let floors = floors();
    let tops: Vec<String> = files().into_iter().map(|(top, _)| top).collect();
    for module in floors.keys() {
        assert!(tops.contains(module), "{module} is in the table of src/lib.rs only");
    }
    for (_, path) in files() {
        let name = path.file_stem().expect("a name").to_string_lossy();
        let lumber = ["mod", "util", "utils", "helper", "helpers", "common", "types", "manager", "core", "error"];
        assert!(!lumber.contains(&&*name), "{path:?}");
    }
}
