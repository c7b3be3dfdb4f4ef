//! What deploy/ makes: the Debian package, the static program and the images, tried as their users would.
//!
//! Needs root, debootstrap, lintian, the shells whose completions are tried, and the packages that tests/run names. The
//! Debian that the package is installed into is made once and kept below the target folder; each test lays a folder of its
//! own over it, in namespaces of its own.

#[expect(dead_code, unreachable_pub, reason = "the lab's network serves here too, but not all of it")]
#[path = "../lab"]
mod lab {
    pub(crate) mod support;
}

mod appliance;
mod completions;
mod contents;
mod images;
mod licences;
mod life;
mod logs;
mod machine;
mod manual;
mod scratch;
mod whole;
mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handyproxy");
/// The version before this one, made of the same files.
const OLDER: &str = "0.0.9-1";

/// The package of this source.
fn package() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("deploy/build-deb", &[]))
}

/// The same, as an earlier version.
fn older_package() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    package();
    BUILT.get_or_init(|| built("deploy/build-deb", &["--version", OLDER]))
}

/// Runs a script of deploy/, which tells what it has built.
fn built(script: &str, words: &[&str]) -> PathBuf {
    let mut command = Command::new(script);
    command.args(words).env("CARGO_TARGET_DIR", target());
    PathBuf::from(succeeds(&mut command).trim_end())
}

/// The folder of all that is built.
fn target() -> &'static Path {
    Path::new(PROGRAM).ancestors().nth(2).expect("target/debug/handyproxy")
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|why| panic!("{:?}: {why}", command.get_program()))
}

/// Runs it to its end, which must be a good one, and returns what it printed.
fn succeeds(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
