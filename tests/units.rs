//! The units in `deploy/systemd/`, as systemd itself judges them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd");
/// What `systemd-analyze security` may find at most, in tenths.
const EXPOSURE: u32 = 15;

fn analyze(words: &[&str]) -> (Output, String) {
    let output = Command::new("systemd-analyze").args(words).output().expect("systemd is installed");
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output, String::from_utf8_lossy(&text).into_owned())
}

/// A machine with systemd's own targets, our units and what they run; it goes when this is dropped.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("units-{name}-{}", std::process::id()));
        for folder in ["usr/bin", "usr/sbin", "etc/systemd/system"] {
            fs::create_dir_all(root.join(folder)).expect("cargo's directory for tests is writable");
        }
        for program in ["usr/bin/handyproxy", "usr/sbin/handyproxy-rules"] {
            fs::copy("/bin/true", root.join(program)).expect("a program");
        }
        let targets = fs::read_dir("/lib/systemd/system").expect("systemd is installed");
        let targets = targets.map(|entry| entry.expect("an entry").path());
        copy(targets.filter(|path| path.extension().is_some_and(|kind| kind == "target")), &root);
        copy(fs::read_dir(UNITS).expect("there are units").map(|entry| entry.expect("an entry").path()), &root);
        Root(root)
    }

    fn verify(&self) -> (bool, String) {
        let root = format!("--root={}", self.0.display());
        let units = ["handyproxy@gateway.service", "handyproxy@gateway.socket", "handyproxy-rules@gateway.service"];
        let (output, told) = analyze(&[&[&root[..], "--man=no", "verify"], &units[..]].concat());
        (output.status.success(), told)
    }
}

fn copy(units: impl Iterator<Item = PathBuf>, root: &Path) {
    for unit in units {
        let name = unit.file_name().expect("a file");
        fs::copy(&unit, root.join("etc/systemd/system").join(name)).expect("our folder");
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_units_have_no_mistake() {
    let root = Root::new("good");
    assert_eq!(root.verify(), (true, String::new()));
}

#[test]
fn a_mistake_in_a_unit_would_be_found() {
    let root = Root::new("bad");
    let path = root.0.join("etc/systemd/system/handyproxy@.service");
    let text = fs::read_to_string(&path).expect("our unit");
    fs::write(&path, text.replace("WatchdogSec=", "WatchdogSecs=")).expect("our unit");
    let (_, told) = root.verify();
    assert!(told.contains("WatchdogSecs"), "{told:?}");
}

#[test]
fn the_daemon_is_exposed_as_little_as_promised() {
    let unit = format!("{UNITS}/handyproxy@.service");
    let threshold = format!("--threshold={EXPOSURE}");
    let (output, told) = analyze(&["security", "--offline=yes", &threshold, &unit]);
    assert!(output.status.success(), "{told}");
    let score = told.lines().find_map(|line| line.split_once("exposure level for ")?.1.split(' ').nth(1)?.parse().ok());
    let score: f64 = score.unwrap_or_else(|| panic!("no score in {told}"));
    assert!(score > 0.0 && score * 10.0 <= f64::from(EXPOSURE), "{score}");
}

#[test]
fn the_socket_unit_has_the_default_port() {
    let port = handyproxy::config::Config::default().local_port;
    let unit = fs::read_to_string(format!("{UNITS}/handyproxy@.socket")).expect("our unit");
    assert!(unit.lines().any(|line| line == format!("ListenStream={port}")), "{port} in {unit}");
}
