//! A directory for one test's files, removed with it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::User;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The directory; other users may read it, since proxies do not run as root.
pub(crate) struct Scratch {
    root: PathBuf,
}

impl Scratch {
    /// Makes an empty one.
    pub(crate) fn new() -> Self {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("handyproxy-peers-{}-{n}", std::process::id());
        let root = std::env::temp_dir().join(name);
        // a run that was interrupted may have left it
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).unwrap_or_else(|why| panic!("{}: {why}", root.display()));
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self { root }
    }

    /// The absolute path of a file in it, whether there is one or not.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where it is, for configuration files.
    pub(crate) fn root(&self) -> &str {
        self.root.to_str().expect("a plain path")
    }

    /// Writes a file, and makes the directories above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let above = path.parent().expect("a file in the directory");
        fs::create_dir_all(above).unwrap_or_else(|why| panic!("{}: {why}", above.display()));
        fs::write(&path, content).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        path
    }

    /// Reads a file that must be there.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    }

    /// Makes a directory and those above it.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        path
    }

    /// Makes a directory that belongs to a user of the system.
    pub(crate) fn dir_for(&self, name: &str, user: &str) -> PathBuf {
        let path = self.dir(name);
        let user = User::from_name(user)
            .expect("the user database is readable")
            .unwrap_or_else(|| panic!("no user {user}, which Debian's base-passwd makes"));
        chown(&path, Some(user.uid.as_raw()), None).expect("root may give a directory away");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // a program that was killed a moment ago may still be making a file: the second round takes it
        if fs::remove_dir_all(&self.root).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}
