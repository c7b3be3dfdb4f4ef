//! README, man pages, --help and the quick start, held to the program: what they say is so, every command in them works,
//! and every file in them is understood. Network commands run in namespaces of their own. Needs root, mandoc,
//! shellcheck and what deploy/quickstart needs.

#[expect(dead_code, unreachable_pub, reason = "the lab's network and daemon serve here too, but not all of them")]
#[path = "../lab"]
mod lab {
    pub(crate) mod support;
}

mod admin;
mod conf;
mod examples;
mod help;
mod man;
mod page;
mod quickstart;
mod readme;
mod rules;
mod scene;
mod taps;
mod viewer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_handyproxy");
const RULES: &str = "iptables/handyproxy-rules";
const SITE: &str = "www.example.org";

/// A folder for files, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("handyproxy-docs-{}-{number}", std::process::id()));
        // a run that was interrupted may have left it
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder of our own");
        Folder(folder)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("our own folder");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// All of the program's source, without tests that have files of their own.
fn source(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("src is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            text.push_str(&source(&path));
        } else if !path.to_string_lossy().ends_with("_tests.rs") {
            text.push_str(&fs::read_to_string(&path).expect("source is text"));
        }
    }
    text
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|why| panic!("{:?}: {why}", command.get_program()))
}

fn succeeds(command: &mut Command) {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}{}", said(&output.stdout), said(&output.stderr));
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
