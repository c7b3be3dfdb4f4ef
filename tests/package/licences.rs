//! The copyright file: every crate that is linked in, and every licence that it is used under.

use std::collections::BTreeSet;
use std::process::Command;

use super::succeeds;

#[test]
fn every_crate_and_every_licence_is_named() {
    for target in ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"] {
        let text = succeeds(Command::new("deploy/copyright").arg(target));
        let stanzas: Vec<&str> = text.split("\n\n").collect();
        let tree = ["tree", "--edges=normal,no-proc-macro", "--prefix=none", "--no-dedupe", "--target", target];
        let crates: BTreeSet<String> = succeeds(Command::new(env!("CARGO")).args(tree))
            .lines()
            .filter_map(|line| line.split_once(" v"))
            .map(|(name, version)| format!("{name} {}", version.split(' ').next().unwrap_or_default()))
            .collect();
        assert!(crates.len() > 50, "{crates:?}");
        for linked in crates.iter().filter(|linked| !linked.starts_with("handyproxy ")) {
            let (name, version) = linked.split_once(' ').expect("name and version");
            let stanza = stanzas.iter().find(|stanza| {
                stanza.starts_with(&format!("Files: {name}/*\n"))
                    && stanza.contains(&format!(" {version}, offered under"))
            });
            let stanza = stanza.unwrap_or_else(|| panic!("{linked} is not in it"));
            assert!(!stanza.contains("Copyright: \n"), "{stanza}");
        }
        let used = stanzas.iter().filter(|stanza| stanza.starts_with("Files: "));
        let used = used.filter_map(|stanza| stanza.lines().find_map(|line| line.strip_prefix("License: ")));
        let used: BTreeSet<&str> = used.flat_map(|names| names.split(" and ").flat_map(|n| n.split(" or "))).collect();
        assert!(used.contains("MIT") && used.contains("ISC"), "{used:?}");
        for licence in used {
            let own = stanzas.iter().find(|stanza| stanza.starts_with(&format!("License: {licence}\n ")));
            assert!(own.is_some_and(|stanza| stanza.lines().count() > 5), "the text of {licence} is missing");
        }
    }
}
