//! Rules that are up, and a file that says the same or something else.

use std::os::unix::fs::symlink;

use super::stage::Stage;
use crate::support::each_row;

const TOP: &str = "upstream-proxy = '10.2.0.2:3128'\nlocal-port = 8443\n";
/// What is said where everything is the same.
const ALL: &str = "all that is loaded is as the settings say";
const DNS: &str = "dns = ['127.0.0.1:5353']\n";

/// What the instance's own check says: its status, and what it has seen.
fn found(stage: &Stage) -> (String, String) {
    let told = stage.examine("-no-net");
    let found = told.of("rules-match");
    assert_eq!(found.len(), 1, "{}", told.text);
    (found[0].status.clone(), found[0].seen.clone())
}

/// A stage on which the machine's own iptables is that of the old tables.
fn legacy() -> Stage {
    let stage = Stage::empty("");
    for tool in ["iptables", "ip6tables"] {
        for form in ["", "-save", "-restore"] {
            let link = format!("{}/{tool}{form}", stage.folder.path());
            symlink(format!("/usr/sbin/{tool}-legacy{form}"), link).expect("our own folder");
        }
    }
    stage
}

#[test]
fn what_was_loaded_from_the_file_is_the_same() {
    let lists =
        "dports = ['443', '80', '8000-8999']\nexclude = ['203.0.113.0/24', '192.0.2.7', 'fd00::/8', 'FD01::1']\n";
    let mut settings = Vec::new();
    for capture in ["redirect", "tproxy"] {
        for (top, rules) in [
            ("", ""),
            (DNS, "dns = true\nquic = 'leave'\nprivate = true\n"),
            ("", "interfaces = ['wlan+', 'lan', 'eth0.7']\nfrom = ['10.1.0.0/16', 'fd10::/16']\nfamily = 'both'\n"),
            ("", "interfaces = ['+']\nfrom = ['10.1.7.7/16']\n"),
            (DNS, lists),
            ("", "family = '4'\ndports = ['*']\n"),
            ("", "family = '6'\ndports = ['80-80']\n"),
        ] {
            settings.push((format!("{top}capture = '{capture}'\n"), format!("mode = 'gateway'\n{rules}")));
        }
    }
    for (top, rules) in [
        ("", ""),
        ("mark = 7\n", lists),
        ("mark = 0\n", "uid = 'nobody'\n"),
        (DNS, "uid = '65534'\nprivate = true\ndns = true\nfamily = '4'\n"),
    ] {
        settings.push((top.to_owned(), format!("mode = 'local'\n{rules}")));
    }
    each_row(
        &[("iptables", false), ("iptables", true), ("nft", false)],
        |(backend, old)| format!("{backend} {old}"),
        |(backend, old)| {
            let stage = if *old { legacy() } else { Stage::empty("") };
            for (top, rules) in &settings {
                let file = format!("{TOP}{top}[rules]\n{rules}backend = '{backend}'\n");
                stage.write(&file);
                stage.rules("up");
                assert_eq!(found(&stage), ("ok".to_owned(), ALL.to_owned()), "{file}");
            }
        },
    );
}

/// A key, and two ways to set it at the top level and under `[rules]`.
type Row = (&'static str, [(&'static str, &'static str); 2]);

const GATEWAY: [Row; 11] = [
    ("dports", [("", ""), ("", "dports = ['443']")]),
    ("dports", [("", "dports = ['80', '443']"), ("", "dports = ['443']")]),
    ("from", [("", ""), ("", "from = ['10.1.0.0/16', 'fd10::/16']")]),
    ("exclude", [("", "exclude = ['192.0.2.0/24']"), ("", "exclude = ['192.0.2.0/25']")]),
    ("exclude", [("", ""), ("", "exclude = ['fd00::/8']")]),
    ("private", [("", "private = true"), ("", "")]),
    ("interfaces", [("", "interfaces = ['lan']"), ("", "interfaces = ['lan', 'wan']")]),
    ("family", [("", "family = 'both'"), ("", "family = '4'")]),
    ("family", [("", "family = '4'"), ("", "family = '6'")]),
    ("backend", [("", "backend = 'nft'"), ("", "backend = 'iptables'")]),
    ("dns-pool", [(DNS, ""), ("dns = ['127.0.0.1:5353']\ndns-pool = '198.18.0.0/16'\n", "")]),
];
const LOCAL: [Row; 3] = [
    ("mark", [("mark = 7\n", ""), ("", "")]),
    ("uid", [("", ""), ("", "uid = 'nobody'")]),
    ("uid", [("", "uid = 'root'"), ("", "uid = 'nobody'")]),
];

#[test]
fn each_setting_that_was_changed_is_named() {
    let rows: Vec<(&str, &Row)> =
        GATEWAY.iter().map(|row| ("gateway", row)).chain(LOCAL.iter().map(|row| ("local", row))).collect();
    each_row(
        // the sums do not depend on the backend: it need not be all of them twice
        &[("iptables", 1), ("nft", 4)],
        |(backend, _)| (*backend).to_owned(),
        |(backend, each)| {
            let stage = Stage::empty("");
            for (mode, (key, ways)) in rows.iter().step_by(*each) {
                let file = |(top, rules): (&str, &str)| {
                    let backend = if *key == "backend" { String::new() } else { format!("backend = '{backend}'\n") };
                    format!("{TOP}{top}[rules]\nmode = '{mode}'\n{backend}{rules}\n")
                };
                for [loaded, said] in [*ways, [ways[1], ways[0]]] {
                    stage.write(&file(loaded));
                    stage.rules("up");
                    stage.write(&file(said));
                    let (status, seen) = found(&stage);
                    let names = seen
                        .split("; ")
                        .all(|part| part.starts_with(&format!("{key} ")) || part.starts_with(&format!("{key}:")));
                    assert!(status == "FAIL" && names, "{loaded:?} {said:?}: {status} {seen}");
                }
                stage.rules("down");
            }
        },
    );
}

/// Those of a version that kept no sums are compared as far as they show themselves.
#[test]
fn rules_without_sums_are_compared_as_far_as_they_can_be() {
    let stage = Stage::empty(&format!("{TOP}[rules]\nmode = 'gateway'\nbackend = 'iptables'\n"));
    stage.rules("up");
    stage.sh("for t in iptables ip6tables; do $t-save | grep -q sums=; \
         $t-save | sed 's/ sums=[^\"]*//' | $t-restore; ! $t-save | grep sums= || exit 1; done");
    stage.write(&format!("{TOP}[rules]\nmode = 'gateway'\nbackend = 'iptables'\ndports = ['443']\n"));
    let (status, seen) = found(&stage);
    assert!(status == "ok" && seen.ends_with("the rest is unknown, an older handyproxy-rules loaded it"), "{seen}");
    stage.write(&format!("{TOP}[rules]\nmode = 'gateway'\nbackend = 'nft'\nquic = 'leave'\n"));
    let (status, seen) = found(&stage);
    assert!(status == "FAIL" && seen.contains("quic reject") && seen.contains("backend iptables"), "{seen}");
}

/// Rules of our own words, which a hand typed in another order and another way.
#[test]
fn rules_that_were_typed_are_the_same_whatever_their_order() {
    let stage = Stage::empty(&format!(
        "{TOP}[rules]\nmode = 'gateway'\ndports = ['80', '443', '9-10']\ninterfaces = ['lan', 'wan']\n\
         from = ['10.1.0.1', 'fd10::1', '10.2.0.0/16']\nexclude = ['fd01::/16', '192.0.2.0/24']\n"
    ));
    let up = format!("handyproxy-rules gateway up --name {} --dports 9:10,443,80,80", stage.name);
    let way = "-i wan --exclude 192.0.2.0/24 -i lan --from FD10::1/128 --from 10.2.0.0/16 --from 10.1.0.1/32 --exclude fd01::/16";
    stage.sh(&format!("{up} {way}"));
    assert_eq!(found(&stage), ("ok".to_owned(), ALL.to_owned()));
    stage.sh(&format!("{up} {way} --exclude 192.0.3.0/24"));
    assert_eq!(found(&stage).1, "exclude not as the settings say (fd01::/16,192.0.2.0/24)");
}
