//! A test's own folder: configuration and passwords, with the modes that they need.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::daemon::Launch;

/// The file that `-config` names.
const CONFIG: &str = "gateway.toml";

/// A folder that nobody else uses; it goes when this is dropped.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes an empty one.
    #[allow(clippy::new_without_default, reason = "what makes a folder is no default")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("folder-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("cargo's directory for tests is writable");
        Self { path }
    }

    /// Writes a file that only its owner may read; returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        self.write_as(name, text, 0o600)
    }

    /// Writes a file with this mode.
    pub fn write_as(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.path.join(name);
        fs::write(&path, text).expect("cargo's directory for tests is writable");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our own file");
        path.to_str().expect("a plain path").to_owned()
    }

    /// Writes the configuration.
    pub fn config(&self, text: &str) -> String {
        self.write(CONFIG, text)
    }

    /// A run with this configuration, on the lab's port.
    pub fn launch(&self, text: &str) -> Launch {
        Launch::new(&format!("-config {}", self.config(text)))
    }

    /// How the log and the mistakes name a line of the configuration.
    pub fn line(&self, number: usize) -> String {
        format!("{}:{number}", self.path.join(CONFIG).display())
    }

    /// The names of the files in it, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).expect("our own folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The bytes of a file in it.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path.join(name)).unwrap_or_else(|why| panic!("{name}: {why}; there are {:?}", self.names()))
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        self.path.to_str().expect("a plain path")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
