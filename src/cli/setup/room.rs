//! What setup remembers, so that all of it can be taken back, after a crash too: a folder `.NAME.setup` beside the
//! instance, with a journal of what was begun, and the files that are not in their place.
//!
//! A step is noted before it is taken, and taking it back is harmless where it was not. Files change places by rename
//! alone, so that an instance's file is always a whole one, and no password is copied about.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::machine;

/// The files of an instance, by the ends of their names.
pub(super) const FILES: [&str; 2] = ["toml", "password"];

/// What setup remembers of one instance.
#[derive(Debug)]
pub(super) struct Room {
    etc: PathBuf,
    name: String,
}

/// What was done with a file that is taken back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// There was nothing of ours.
    Nothing,
    /// Ours is gone.
    Removed,
    /// The older one is back.
    Restored,
    /// Somebody had edited ours: it is kept here. Whether an older one is back.
    Kept(PathBuf, bool),
}

impl Room {
    /// The one of an instance, whether it is there or not.
    pub(super) fn of(etc: &Path, name: &str) -> Room {
        let room = Room { etc: etc.to_owned(), name: name.to_owned() };
        room.mend();
        room
    }

    /// The instance.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where an instance's file is.
    pub(super) fn target(&self, kind: &str) -> PathBuf {
        self.etc.join(format!("{}.{kind}", self.name))
    }

    /// Whether there is something to take back.
    pub(super) fn exists(&self) -> bool {
        self.folder("").is_dir()
    }

    /// Makes it, around the one of an earlier setup of the same instance.
    pub(super) fn make(&self) -> Result<(), String> {
        let wrong = |error: std::io::Error| format!("make {}: {error}", self.folder("").display());
        let made = !self.etc.exists();
        if made {
            fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.etc).map_err(wrong)?;
            // whatever the umask is: the daemon reads its file there
            fs::set_permissions(&self.etc, Permissions::from_mode(0o750)).map_err(wrong)?;
            if let Some(group) = machine::group() {
                chown(&self.etc, None, Some(group)).map_err(wrong)?;
            }
        }
        let begun = self.folder(".new");
        fs::DirBuilder::new().mode(0o700).create(&begun).map_err(wrong)?;
        if self.exists() {
            fs::rename(self.folder(""), begun.join("previous")).map_err(wrong)?;
        }
        fs::rename(&begun, self.folder("")).map_err(wrong)?;
        let noted = self.note("setup 1").and_then(|()| if made { self.note("folder") } else { Ok(()) });
        if noted.is_err() {
            // what was there before must not be taken for ours
            let _ = self.forget();
        }
        noted
    }

    /// Writes down what is about to be done.
    pub(super) fn note(&self, line: &str) -> Result<(), String> {
        let path = self.folder("").join("journal");
        let write = || {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| format!("write {}: {error}", path.display()))
    }

    /// Whether something was noted.
    pub(super) fn has(&self, line: &str) -> bool {
        self.journal().lines().any(|noted| noted == line)
    }

    /// Writes a file that is not in its place yet.
    pub(super) fn stage(&self, kind: &str, text: &str, mode: u32, group: Option<u32>) -> Result<(), String> {
        let path = self.folder("").join(format!("new.{kind}"));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            file.write_all(text.as_bytes())?;
            // whatever the umask is
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
            chown(&path, None, group)?;
            file.sync_all()
        };
        write().map_err(|error| format!("write {}: {error}", path.display()))?;
        let old = stamp(&self.target(kind));
        let new = stamp(&path).ok_or_else(|| format!("{}: it is gone", path.display()))?;
        self.note(&format!("file {kind} {new} {}", old.as_deref().unwrap_or("-")))
    }

    /// Whether a file of ours waits for its place.
    pub(super) fn has_staged(&self, kind: &str) -> bool {
        self.kept("new", kind).exists()
    }

    /// Whether there was an older file in its place.
    pub(super) fn replaces(&self, kind: &str) -> bool {
        self.kept("old", kind).exists()
    }

    /// Puts our file into its place, and keeps the older one.
    pub(super) fn place(&self, kind: &str) -> Result<(), String> {
        self.swap(kind, "new", "old")
    }

    /// Puts the older file back for a while, and keeps ours.
    pub(super) fn shelve(&self, kind: &str) -> Result<(), String> {
        if self.kept("old", kind).exists() { self.swap(kind, "old", "new") } else { Ok(()) }
    }

    /// What is in the place is kept under the one name, what is kept under the other goes there.
    fn swap(&self, kind: &str, from: &str, to: &str) -> Result<(), String> {
        let (target, from, to) = (self.target(kind), self.kept(from, kind), self.kept(to, kind));
        if !from.exists() {
            return Ok(());
        }
        let swap = || {
            if target.exists() {
                fs::hard_link(&target, &to)?;
            }
            fs::rename(&from, &target)?;
            File::open(&self.etc)?.sync_all()
        };
        swap().map_err(|error| format!("put {} into its place: {error}", target.display()))
    }

    /// Takes a file back.
    pub(super) fn restore(&self, kind: &str) -> Result<Fate, String> {
        let journal = self.journal();
        let noted = journal.lines().find_map(|line| line.strip_prefix(&format!("file {kind} ")));
        let Some((new, old)) = noted.and_then(|stamps| stamps.split_once(' ')) else { return Ok(Fate::Nothing) };
        let (target, kept) = (self.target(kind), self.kept("old", kind));
        let wrong = |error: std::io::Error| format!("put {} back: {error}", target.display());
        let back = |fate: fn(bool) -> Fate| {
            if kept.exists() {
                fs::rename(&kept, &target).map_err(wrong)?;
            }
            Ok(fate(target.exists()))
        };
        let there = stamp(&target);
        match there.as_deref() {
            None => back(|is_back| if is_back { Fate::Restored } else { Fate::Nothing }),
            Some(stamp) if stamp == new && kept.exists() => back(|_| Fate::Restored),
            Some(stamp) if stamp == new => fs::remove_file(&target).map(|()| Fate::Removed).map_err(wrong),
            Some(stamp) if stamp == old => Ok(Fate::Nothing),
            Some(_) => {
                let saved = self.saved(kind);
                fs::rename(&target, &saved).map_err(wrong)?;
                match back(|is_back| if is_back { Fate::Restored } else { Fate::Nothing })? {
                    Fate::Restored => Ok(Fate::Kept(saved, true)),
                    _ => Ok(Fate::Kept(saved, false)),
                }
            }
        }
    }

    /// Forgets this setup; one before it can be taken back then.
    pub(super) fn forget(&self) -> Result<(), String> {
        let made = self.has("folder");
        let wrong = |error: std::io::Error| format!("remove {}: {error}", self.folder("").display());
        if self.exists() {
            fs::rename(self.folder(""), self.folder(".old")).map_err(wrong)?;
            self.mend();
        }
        if made {
            // somebody may have put something else there
            let _ = fs::remove_dir(&self.etc);
        }
        Ok(())
    }

    /// Ends what a crash has left between two renames.
    fn mend(&self) {
        let (begun, here, over) = (self.folder(".new"), self.folder(""), self.folder(".old"));
        if begun.join("previous").exists() && !here.exists() {
            let _ = fs::rename(begun.join("previous"), &here);
        }
        let _ = fs::remove_dir_all(&begun);
        if over.join("previous").exists() && !here.exists() {
            let _ = fs::rename(over.join("previous"), &here);
        }
        let _ = fs::remove_dir_all(&over);
    }

    fn folder(&self, end: &str) -> PathBuf {
        self.etc.join(format!(".{}.setup{end}", self.name))
    }

    fn kept(&self, which: &str, kind: &str) -> PathBuf {
        self.folder("").join(format!("{which}.{kind}"))
    }

    fn journal(&self) -> String {
        fs::read_to_string(self.folder("").join("journal")).unwrap_or_default()
    }

    /// A name for an edited file that nothing has yet.
    fn saved(&self, kind: &str) -> PathBuf {
        let first = self.etc.join(format!("{}.{kind}.saved", self.name));
        let more = (2..).map(|number| self.etc.join(format!("{}.{kind}.saved.{number}", self.name)));
        std::iter::once(first).chain(more).find(|path| !path.exists()).expect("numbers do not end")
    }
}

/// What changes when a file is edited: its size, and when it was written.
fn stamp(path: &Path) -> Option<String> {
    let file = fs::symlink_metadata(path).ok()?;
    Some(format!("{}:{}.{:09}", file.size(), file.mtime(), file.mtime_nsec()))
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
