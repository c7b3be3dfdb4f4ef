//! What is in the package, and what Debian's own judge says of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::scratch::Scratch;
use super::{PROGRAM, built, package, succeeds};

/// Path, mode, and whether it must have been packed with gzip.
const WANTED: [(&str, &str); 15] = [
    ("./usr/bin/handyproxy", "-rwxr-xr-x"),
    ("./usr/sbin/handyproxy-rules", "-rwxr-xr-x"),
    ("./etc/handyproxy/", "drwxr-x---"),
    ("./usr/lib/systemd/system/handyproxy@.service", "-rw-r--r--"),
    ("./usr/lib/systemd/system/handyproxy@.socket", "-rw-r--r--"),
    ("./usr/lib/systemd/system/handyproxy-rules@.service", "-rw-r--r--"),
    ("./usr/lib/sysusers.d/handyproxy.conf", "-rw-r--r--"),
    ("./usr/lib/sysctl.d/60-handyproxy.conf", "-rw-r--r--"),
    ("./usr/share/bash-completion/completions/handyproxy", "-rw-r--r--"),
    ("./usr/share/zsh/vendor-completions/_handyproxy", "-rw-r--r--"),
    ("./usr/share/fish/vendor_completions.d/handyproxy.fish", "-rw-r--r--"),
    ("./usr/share/doc/handyproxy/changelog.Debian.gz", "-rw-r--r--"),
    ("./usr/share/doc/handyproxy/copyright", "-rw-r--r--"),
    ("./usr/share/man/man8/handyproxy-rules.8.gz", "-rw-r--r--"),
    ("./etc/logrotate.d/handyproxy", "-rw-r--r--"),
];

#[test]
fn every_file_is_there_and_is_roots() {
    let listed = succeeds(Command::new("dpkg-deb").arg("--contents").arg(package()));
    let mut modes = BTreeMap::new();
    for line in listed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1], "root/root", "{line}");
        // drwxr-xr-x root/root 0 2026-11-21 09:00 ./usr/
        modes.insert(words[5].to_owned(), words[0].to_owned());
    }
    for (path, mode) in WANTED {
        assert_eq!(modes.get(path).map(String::as_str), Some(mode), "{path} in\n{listed}");
    }
    for page in files("man") {
        let section = page.rsplit_once('.').expect("a section").1;
        let path = format!("./usr/share/man/man{section}/{page}.gz");
        assert!(modes.contains_key(&path), "{path}");
    }
    for example in files("deploy/examples") {
        assert!(modes.contains_key(&format!("./usr/share/doc/handyproxy/examples/{example}")), "{example}");
    }
    for folder in ["grafana", "prometheus"] {
        for file in files(&format!("deploy/{folder}")) {
            let path = format!("./usr/share/handyproxy/{folder}/{file}");
            assert_eq!(modes.contains_key(&path), !file.contains("_test."), "{path}");
        }
    }
    let units = modes.keys().filter(|path| path.starts_with("./usr/lib/systemd/system/handyproxy")).count();
    assert_eq!(units, files("deploy/systemd").iter().filter(|name| name.contains("@.")).count());
}

#[test]
fn it_depends_on_the_libraries_of_the_program_and_has_the_crates_version() {
    let field = |name| succeeds(Command::new("dpkg-deb").arg("--field").arg(package()).arg(name)).trim_end().to_owned();
    let depends = field("Depends");
    assert!(depends.contains("libc6 (>= 2."), "{depends}");
    assert!(depends.contains("libgcc-s1"), "{depends}");
    assert_eq!(field("Version").split('-').next(), Some(env!("CARGO_PKG_VERSION")), "deploy/debian/changelog");
    let size = fs::metadata(package()).expect("it was built").len();
    eprintln!("the package has {} KiB, {} KiB when it is installed", size / 1024, field("Installed-Size"));
    assert!(size < 8 << 20, "{size} bytes");
}

#[test]
fn the_same_source_makes_the_same_package() {
    let first = fs::read(package()).expect("it was built");
    let scratch = Scratch::new();
    let kept = scratch.path("package.deb");
    fs::copy(package(), &kept).expect("our folder");
    // another time, another umask: neither counts
    assert_eq!(built("deploy/build-deb", &[]), package());
    assert!(first == fs::read(package()).expect("it was built"), "two builds differ");
}

#[test]
fn lintian_has_neither_errors_nor_warnings() {
    let output =
        super::output(Command::new("lintian").args(["--allow-root", "--fail-on", "error,warning"]).arg(package()));
    let told = super::said(&output.stdout);
    assert!(output.status.success(), "{told}{}", super::said(&output.stderr));
    assert!(!told.contains("E: ") && !told.contains("W: "), "{told}");
}

/// An upgrade asks before it replaces one that was changed.
#[test]
fn what_lies_in_etc_is_the_admins_to_change() {
    let scratch = Scratch::new();
    succeeds(Command::new("dpkg-deb").arg("--control").arg(package()).arg(scratch.path("control")));
    let listed = fs::read_to_string(scratch.path("control/conffiles")).expect("the package has some");
    assert_eq!(listed, "/etc/logrotate.d/handyproxy\n");
}

#[test]
fn nothing_is_said_to_the_kernel_unless_the_admin_does() {
    let text = fs::read_to_string("deploy/debian/sysctl.conf").expect("deploy/debian/sysctl.conf");
    let values: Vec<&str> = text.lines().filter(|line| line.starts_with("#net.") || line.starts_with("#fs.")).collect();
    assert!(values.len() > 4, "{values:?}");
    for line in text.lines() {
        assert!(line.is_empty() || line.starts_with('#'), "{line}");
    }
}

#[test]
fn the_user_of_sysusers_cannot_log_in() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path("etc")).expect("our folder");
    let conf = Path::new("deploy/debian/sysusers.conf").canonicalize().expect("it is there");
    let root = format!("--root={}", scratch.path("").display());
    succeeds(Command::new("systemd-sysusers").arg(root).arg(conf));
    let users = fs::read_to_string(scratch.path("etc/passwd")).expect("it makes one");
    let user = users.lines().find(|line| line.starts_with("handyproxy:")).expect("our user");
    assert!(user.ends_with(":/nonexistent:/usr/sbin/nologin"), "{user}");
}

#[test]
fn every_example_is_understood() {
    let scratch = Scratch::new();
    let examples = files("deploy/examples");
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        let text = fs::read_to_string(format!("deploy/examples/{example}")).expect("an example");
        let path = scratch.write(&example, &text);
        for line in text.lines().filter(|line| line.starts_with("password-file")) {
            let name = line.split('"').nth(1).expect("a name in quotes");
            succeeds(Command::new("install").args(["-m", "640", "/dev/null"]).arg(scratch.path(name)));
            fs::write(scratch.path(name), "secret\n").expect("our folder");
        }
        let on = |words: &[&str]| succeeds(Command::new(PROGRAM).args(words).arg("-config").arg(&path));
        assert!(on(&["check"]).contains("local-port = 80"), "{example}");
        let words = on(&["rules", "words"]);
        let name = example.strip_suffix(".toml").expect("a file of TOML");
        assert!(words.contains(&format!("--name {name} ")), "{example}: {words}");
    }
}

#[test]
fn shellcheck_has_nothing_to_say_of_the_scripts() {
    for script in ["deploy/build-deb", "deploy/build-static", "tests/package/debian-root"] {
        succeeds(Command::new("shellcheck").arg(script));
    }
    for script in ["postinst", "prerm", "postrm"] {
        succeeds(Command::new("shellcheck").arg(format!("deploy/debian/{script}")));
    }
}

/// The names in a folder of the repository.
fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|why| panic!("{folder}: {why}"));
    let names = entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert!(!names.is_empty(), "{folder} is empty");
    names
}
