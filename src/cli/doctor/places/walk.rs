//! A path as the daemon would go along it: link by link, in its own world of mounts, and no further than it may.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::patience;
use super::writer::Writer;
use crate::sys::account::{Account, SEARCH};

/// As many links as the kernel follows (man 7 path_resolution).
const LINKS: usize = 40;

/// Where a path leads. Each place is one of the daemon's world, without links.
#[derive(Debug)]
pub(super) enum Found {
    /// To something that is there.
    There(PathBuf, Metadata),
    /// To nothing: this folder is the last of it that is there.
    Missing(PathBuf, Metadata),
    /// To something that should be a folder, on the way.
    NoFolder(PathBuf),
    /// To a folder that may not be entered.
    Barred(PathBuf),
    /// To where it cannot be seen from here.
    Unseen(PathBuf, std::io::Error),
}

/// Goes along a path that begins at the root.
pub(super) fn along(path: &Path, writer: &Writer) -> Found {
    let mut walk = Walk { root: writer.root(), account: writer.account(), at: PathBuf::from("/"), links: 0 };
    walk.go(path)
}

/// The place where something of the daemon's world is seen here.
pub(super) fn seen(path: &Path, root: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

struct Walk<'a> {
    root: &'a Path,
    account: Option<&'a Account>,
    at: PathBuf,
    links: usize,
}

impl Walk<'_> {
    fn go(&mut self, path: &Path) -> Found {
        // the next name is the last one
        let mut names = names(path);
        let mut facts = match self.facts(&self.at) {
            Ok(facts) => facts,
            Err(error) => return Found::Unseen(self.at.clone(), error),
        };
        while let Some(name) = names.pop() {
            if !facts.is_dir() {
                return Found::NoFolder(self.at.clone());
            }
            if self.account.is_some_and(|account| !account.may(SEARCH, &facts)) {
                return Found::Barred(self.at.clone());
            }
            let next =
                if name == ".." { self.at.parent().unwrap_or(Path::new("/")).to_owned() } else { self.at.join(name) };
            let found = match self.facts(&next) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NotFound => return Found::Missing(self.at.clone(), facts),
                Err(error) => return Found::Unseen(next, error),
            };
            if !found.is_symlink() {
                (self.at, facts) = (next, found);
                continue;
            }
            self.links += 1;
            let target = match patience::ask(&seen(&next, self.root), |link| fs::read_link(link)) {
                Ok(target) if self.links <= LINKS => target,
                Ok(_) => return Found::Unseen(next, std::io::Error::other("links lead in a circle")),
                Err(error) => return Found::Unseen(next, error),
            };
            if target.is_absolute() {
                self.at = PathBuf::from("/");
                match self.facts(&self.at) {
                    Ok(root) => facts = root,
                    Err(error) => return Found::Unseen(self.at.clone(), error),
                }
            }
            names.extend(self::names(&target));
        }
        Found::There(self.at.clone(), facts)
    }

    fn facts(&self, path: &Path) -> std::io::Result<Metadata> {
        patience::ask(&seen(path, self.root), |place| fs::symlink_metadata(place))
    }
}

/// The names in a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn walk(root: &Path, path: &str) -> Found {
        Walk { root, account: None, at: PathBuf::from("/"), links: 0 }.go(Path::new(path))
    }

    #[test]
    fn links_lead_within_the_world_of_the_daemon() {
        let root = std::env::temp_dir().join(format!("handyproxy-walk-{}", std::process::id()));
        fs::create_dir_all(root.join("var/log")).expect("a folder");
        fs::write(root.join("var/file"), "").expect("a file");
        for (target, link) in [("/var/log", "logs"), ("../var/log/none", "var/up"), ("round", "round")] {
            symlink(target, root.join(link)).expect("a link");
        }
        let place = |found: Found| match found {
            Found::There(path, _) => format!("there {}", path.display()),
            Found::Missing(path, _) => format!("missing in {}", path.display()),
            Found::NoFolder(path) => format!("no folder {}", path.display()),
            other => format!("{other:?}"),
        };
        for (path, wanted) in [
            ("/", "there /"),
            ("/logs", "there /var/log"),
            ("/logs/a/b", "missing in /var/log"),
            ("/logs/../file", "there /var/file"),
            ("/var/up", "missing in /var/log"),
            ("/var/file/a", "no folder /var/file"),
        ] {
            assert_eq!(place(walk(&root, path)), wanted, "{path}");
        }
        assert!(matches!(walk(&root, "/round"), Found::Unseen(..)));
        fs::remove_dir_all(&root).expect("our own folder");
    }
}
