//! `handyproxy doctor`: where all is well it says so, and whatever is broken it names, with what to do.

mod admin;
mod firewall;
mod machine;
mod places;
mod proxies;
mod proxy;
mod same;
mod stage;

use std::process::{Command, Stdio};

use crate::support::each_row;
use crate::support::topology::{PORT, UPSTREAM};
use stage::{Stage, Told};

/// A way to break a stage on which all is well: what is done, what is wrong then, and what the fix says.
type Row = (&'static str, fn(&mut Stage) -> Told, &'static [&'static str], &'static str);

fn each_is_named(rows: &[Row]) {
    each_row(
        rows,
        |(what, ..)| (*what).to_owned(),
        |(_, break_it, wrong, fix)| {
            let mut stage = Stage::well();
            break_it(&mut stage).names(wrong, fix);
        },
    );
}

#[test]
fn where_all_is_well_it_says_so() {
    let stage = Stage::well();
    let told = stage.examine("");
    told.is_well();
    let checks = [
        "settings",
        "rules",
        "rules-match",
        "captured",
        "quic",
        "ipv6",
        "input",
        "loop",
        "forwarding",
        "conntrack",
        "ports",
        "pipes",
        "daemon",
        "descriptors",
        "route",
        "reach",
        "login",
        "connect-443",
        "connect-80",
        "by-address",
        "clock",
    ];
    for check in checks {
        let found = told.of(check);
        assert!(!found.is_empty() && found.iter().all(|f| f.status == "ok"), "{check}: {}", told.text);
    }
    let pid = stage.gateway.as_ref().expect("it runs").pid();
    assert!(told.of("daemon")[0].seen.contains(&format!("process {pid}")), "{}", told.text);
    // without its file, by its port
    let blank = stage.doctor(&format!("-local-port {PORT} -upstream-proxy {UPSTREAM} -sniff-timeout 1s"));
    blank.is_well();
    // each is told what it has
    let fixes = [&told, &blank].map(|told| told.of("client-dns")[0].fix.clone());
    assert!(fixes[0].contains("dns = true under [rules], dns = [") && fixes[0].contains(&stage.file), "{fixes:?}");
    assert_eq!(fixes[1], "if they have none: -dns THE ADDRESS THAT CLIENTS SEE");
    // nobody is asked
    let asked = stage.proxy.as_ref().expect("it runs").asked().len();
    let told = stage.examine("-no-net");
    told.is_well();
    assert!(told.of("connect-443").is_empty() && told.of("reach")[0].status == "note", "{}", told.text);
    assert_eq!(stage.proxy.as_ref().expect("it runs").asked().len(), asked);
}

#[test]
fn whoever_is_not_root_hears_what_cannot_be_seen() {
    let stage = Stage::well();
    let told = stage.told(
        "setpriv",
        &format!(
            "--reuid 65534 --regid 65534 --clear-groups -- {} doctor -local-port {PORT} -upstream-proxy {UPSTREAM}",
            env!("CARGO_BIN_EXE_handyproxy")
        ),
    );
    told.names(&["warn rules", "warn daemon"], "run handyproxy doctor as root");
    for check in ["rules", "loop", "daemon"] {
        let found = told.of(check)[0];
        assert!(found.status != "ok" && found.seen.contains("root"), "{}", told.text);
    }
}

#[test]
fn programs_read_it_as_json() {
    let stage = Stage::well();
    stage.rules("down");
    let told = stage.examine("-json");
    assert_eq!(told.exit, 1);
    let script = "import json,sys; found = json.load(sys.stdin); \
        assert all(set(f) == {'file', 'check', 'status', 'seen', 'fix'} for f in found), found; \
        print(*sorted(f['check'] for f in found if f['status'] in ('warn', 'fail')))";
    let mut python = Command::new("python3");
    let mut child = python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), told.text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "rules\n", "{}", told.text);
}

#[test]
fn mistakes_of_a_file_are_findings() {
    let stage = Stage::empty("local-prot = 1\nsniff-timeout = 'soon'\n");
    let told = stage.examine("-no-net");
    told.names(&["FAIL settings", "FAIL settings"], &format!("handyproxy check -config {}", stage.file));
    assert!(told.of("settings")[0].seen.contains(".toml:1: local-prot: "), "{}", told.text);
    let told = stage.examine("-json");
    let found: serde_json::Value = serde_json::from_str(&told.text).expect("JSON, and nothing else");
    let found = found.as_array().expect("an array");
    assert_eq!((told.exit, found.len()), (1, 2), "{}", told.text);
    assert!(found.iter().all(|f| f["check"] == "settings" && f["status"] == "fail" && f["file"] == stage.file));
    stage.write("upstream-proxy = 'nobody'\n[upstream.a]\n");
    assert_eq!(stage.examine("").exit, 1);
    // those of the command line are bad usage
    for flag in ["-sniff-timeout soon", "-target /", "-jsn", "word"] {
        let told = stage.examine(flag);
        assert_eq!((told.exit, told.of("settings").len()), (2, 0), "{flag}: {}", told.text);
    }
}

#[test]
fn without_settings_every_instance_of_the_machine_is_examined() {
    let stage = Stage::well();
    let etc = format!("{}/etc", stage.folder.path());
    stage.sh(&format!(
        "mkdir -p {etc}/handyproxy && cp -a /etc/alternatives {etc}/ && cp {} {etc}/handyproxy/ && echo 'local-prot = 1' >{etc}/handyproxy/bad.toml",
        stage.file
    ));
    let script = format!("mount --bind {etc} /etc && exec {} doctor -no-net", env!("CARGO_BIN_EXE_handyproxy"));
    let script = stage.folder.write("script", &script);
    let told = stage.told("unshare", &format!("-m sh {script}"));
    told.names(&["FAIL settings"], "handyproxy check -config /etc/handyproxy/bad.toml");
    let heads: Vec<&str> = told.text.lines().filter(|line| line.starts_with('/')).collect();
    assert_eq!(heads, ["/etc/handyproxy/bad.toml".to_owned(), format!("/etc/handyproxy/{}.toml", stage.name)]);
    assert!(told.of("rules")[0].status == "ok", "{}", told.text);
    // where there is none, it is said what is examined instead
    stage.sh(&format!("rm {etc}/handyproxy/*.toml"));
    let told = stage.told("unshare", &format!("-m sh {script}"));
    let wanted = "note  settings: no instance in /etc/handyproxy, and nothing given: the defaults are examined, port 8443 and localhost:3128\n      fix: handyproxy doctor -config FILE";
    assert!(told.text.starts_with(wanted), "{}", told.text);
    // whoever gives something knows what is examined
    let given = stage.doctor(&format!("-no-net -local-port {PORT}"));
    assert!(given.text.starts_with("ok    settings: no mistake: no file, so"), "{}", given.text);
}
