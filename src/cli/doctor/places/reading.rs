//! The files that a daemon reads: its own, and those with passwords, keys and certificates. Whoever examines has read
//! them; whether the daemon's user may is told by their modes.

use std::path::Path;

use super::super::case::{self, Case};
use super::super::finding::Finding;
use super::walk::{self, Found};
use super::writer::{self, Writer};
use crate::sys::account::READ;

/// What is read, and by which name.
struct File<'a> {
    what: String,
    path: &'a Path,
}

/// Those that the daemon's user may not read.
pub(in super::super) fn check(case: &Case) -> Vec<Finding> {
    let writer = Writer::of(case);
    let name = match &writer {
        Writer::Running(account, _) | Writer::Unit(account, _) => writer::name(account),
        Writer::Asker(_) | Writer::Unknown => return Vec::new(),
    };
    let own = case.config.file.iter().map(|file| File { what: "the file".to_owned(), path: Path::new(file) });
    let named = case.config.upstreams.iter().flat_map(|upstream| {
        let read = upstream.files.iter().filter(|file| {
            let credential = file.credential.as_deref();
            !credential.is_some_and(|credential| writer.has_credential(credential))
        });
        read.map(|file| File { what: format!("{} of upstream {}", file.key, upstream.name), path: &file.path })
    });
    own.chain(named).filter_map(|file| file.judge(&name, &writer)).collect()
}

impl File<'_> {
    fn judge(&self, name: &str, writer: &Writer) -> Option<Finding> {
        let account = writer.account()?;
        match walk::along(&super::absolute(self.path), writer) {
            Found::There(at, facts) if facts.is_file() && !account.may(READ, &facts) => {
                // a list of rights may let him
                if super::has_list(&walk::seen(&at, writer.root())) {
                    return None;
                }
                let (at, group) = (at.display(), writer::group(account));
                let seen = format!("{}: {name} may not read {at}, so neither start nor reload works", self.what);
                Some(Finding::fail("settings", seen, format!("chown root:{group} {at} && chmod 640 {at}")))
            }
            Found::Barred(at) if !super::has_list(&walk::seen(&at, writer.root())) => {
                let seen = format!("{}: {name} may not enter {}", self.what, at.display());
                let fix = if Path::new(case::FOLDER).starts_with(&at) {
                    format!("chmod o+x {}", at.display())
                } else {
                    format!("mv {} {}/, and name that", self.path.display(), case::FOLDER)
                };
                Some(Finding::fail("settings", seen, fix))
            }
            _ => None,
        }
    }
}
