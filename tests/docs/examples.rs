//! The configuration files that a document shows, written out together with the files that they name.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Folder, PROGRAM, RULES, output, said, succeeds};

/// Where documents keep such files.
const HOME: &str = "/etc/handyproxy/";

/// What documents take their proxy to be.
const HOSTS: &str = "127.0.0.1 localhost\n10.2.0.2 proxy.local proxy.corp.example\n";

/// The files of one document, each by its own name.
pub(super) struct Examples {
    folder: Folder,
    names: Vec<String>,
}

impl Examples {
    /// Takes the blocks that begin with `# NAME.toml` or `# /etc/handyproxy/NAME.toml`, and makes their passwords,
    /// keytabs and authorities.
    pub(super) fn of(blocks: &[String]) -> Examples {
        let folder = Folder::new();
        let mut names = Vec::new();
        for text in blocks {
            let Some(name) = file_name(text) else { continue };
            folder.write(&name, text);
            for (key, file) in files_named_in(text) {
                make(&folder.0.join(&file), key);
            }
            names.push(name);
        }
        assert!(!names.is_empty(), "the document shows no file");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name stands twice: {names:?}");
        Examples { folder, names }
    }

    /// A password that only a command names.
    pub(super) fn add_password(&mut self, name: &str) {
        make(&self.path(name), "password-file");
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// What stands in this file.
    pub(super) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// A word of a command, with the documents' folder replaced by ours.
    pub(super) fn found(&self, word: &str) -> String {
        match word.strip_prefix(HOME) {
            Some(name) if !name.is_empty() => {
                assert!(self.path(name).is_file(), "{word} is shown nowhere");
                self.path(name).to_string_lossy().into_owned()
            }
            _ => word.to_owned(),
        }
    }

    /// Runs `handyproxy check` or the like where these files are, without a network.
    pub(super) fn run(&self, words: &[&str]) -> Output {
        self.folder.write("hosts", HOSTS);
        let mut command = Command::new("unshare");
        command.args(["-n", "-m", "sh", "-c", r#"mount --bind hosts /etc/hosts && exec "$0" "$@""#, PROGRAM]);
        command.args(words.iter().map(|word| self.found(word)));
        output(command.current_dir(&self.folder.0).env_remove("CREDENTIALS_DIRECTORY"))
    }

    /// What doctor says of a file whose rules were loaded in a network of their own.
    pub(super) fn examined_with_rules(&self, name: &str) -> String {
        self.folder.write("hosts", HOSTS);
        let tool = self.path("handyproxy-rules");
        if !tool.exists() {
            symlink(fs::canonicalize(RULES).expect("it is there"), &tool).expect("our own folder");
        }
        let script = r#"mount --bind hosts /etc/hosts; mount -t tmpfs tmpfs /run; ip link set lo up
            { cat /etc/passwd; echo handyproxy:x:990:990::/:/bin/false; } >users; mount --bind users /etc/passwd
            PATH=$PWD:$PATH; "$0" rules up -config "$1" >&2 && "$0" doctor -no-net -config "$1" || :"#;
        let mut command = Command::new("unshare");
        command.args(["-n", "-m", "sh", "-c", script, PROGRAM, name]);
        let output = output(command.current_dir(&self.folder.0).env_remove("CREDENTIALS_DIRECTORY"));
        said(&output.stdout) + &said(&output.stderr)
    }

    /// The same, and it succeeds; what it printed.
    pub(super) fn tells(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output.stderr));
        said(&output.stdout)
    }
}

/// The name in a file's first line.
fn file_name(text: &str) -> Option<String> {
    let first = text.lines().next()?.strip_prefix("# ")?;
    let path = first.split([':', ' ']).next()?;
    let name = path.strip_prefix(HOME).unwrap_or(path);
    (name.ends_with(".toml") && !name.contains('/')).then(|| name.to_owned())
}

/// `key = "file"`, for keys that name files.
fn files_named_in(text: &str) -> Vec<(&str, String)> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let files = lines.filter_map(|(key, value)| Some((key.trim(), value.split('"').nth(1)?.to_owned())));
    files.filter(|(key, _)| ["password-file", "keytab", "ca"].contains(key)).collect()
}

fn make(path: &Path, key: &str) {
    if key == "ca" {
        let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout";
        let mut openssl = Command::new("openssl");
        openssl.args(make.split(' ')).arg(path.with_extension("key"));
        succeeds(openssl.arg("-out").arg(path));
        return;
    }
    // version 5.2 of the keytab format, without an entry
    let content = if key == "keytab" { &b"\x05\x02"[..] } else { b"secret\n" };
    fs::write(path, content).expect("our own folder");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
}
