//! Files with secrets: read by us, and by nobody else.

use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Secret;
use crate::sys::account::Account;

/// Why a file must not hold a secret: others than its owner and group may read or change it.
pub(super) fn exposed(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| format!("{} is open to others, run chmod o= on it", path.display()))
}

/// Why a file cannot be read, in one line: where a permission is missing, whose, and what gives it.
pub(super) fn unread(path: &Path, error: &Error) -> String {
    if error.kind() != ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let user = Account::of("self").map(|account| format!(" {}", account.uid)).unwrap_or_default();
    if fs::metadata(path).is_err() {
        return format!("user{user} may not enter its folder");
    }
    format!("user{user} may not read it: run chown root:GROUP on it, a group of that user's, and chmod 640")
}

/// Where a file with a secret is: a relative path among systemd's credentials first, then beside the configuration, at
/// last under the name from which handyproxy@.service loads the credential: `gateway.password` for `password`. So one
/// file says the same to the daemon and to whoever checks it from outside.
pub(super) fn find(name: &str, folder: &Path, instance: &str) -> PathBuf {
    let beside = folder.join(name);
    if Path::new(name).is_absolute() {
        return beside;
    }
    if let Some(credential) = credential(name) {
        return credential;
    }
    let own = folder.join(format!("{instance}.{name}"));
    let takes_own = !instance.is_empty() && !name.contains('/') && !beside.exists() && own.exists();
    if takes_own { own } else { beside }
}

/// A credential that systemd holds for this unit under this name (systemd.exec(5), LoadCredential).
pub(super) fn credential(name: &str) -> Option<PathBuf> {
    credentials_folder().map(|folder| folder.join(name)).filter(|path| path.exists())
}

fn credentials_folder() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// The first line of a file that nobody else may read.
pub(super) fn secret(path: &Path) -> Result<Secret, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let file = fs::metadata(path).map_err(|error| wrong(&unread(path, &error)))?;
    if !file.is_file() {
        return Err(wrong(&"not a file"));
    }
    if let Some(why) = exposed(path) {
        return Err(why);
    }
    let text = Zeroizing::new(fs::read(path).map_err(|error| wrong(&unread(path, &error)))?);
    let text = std::str::from_utf8(&text).map_err(|_| wrong(&"not UTF-8"))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line.to_owned())),
        _ => Err(wrong(&"its first line is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_be_under_the_name_of_its_instance() {
        let folder = std::env::temp_dir().join(format!("handyproxy-find-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let found = |instance| find("password", &folder, instance);
        assert_eq!(found("gateway"), folder.join("password"), "nothing is there");
        fs::write(folder.join("gateway.password"), "p").expect("our folder");
        assert_eq!(found("gateway"), folder.join("gateway.password"));
        for other in ["", "other"] {
            assert_eq!(found(other), folder.join("password"), "{other}");
        }
        fs::write(folder.join("password"), "p").expect("our folder");
        assert_eq!(found("gateway"), folder.join("password"), "what is named goes first");
        fs::remove_dir_all(&folder).expect("our folder");
    }

    #[test]
    fn a_secret_is_the_first_line_of_a_file_that_nobody_else_reads() {
        let path = std::env::temp_dir().join(format!("handyproxy-secret-{}", std::process::id()));
        fs::write(&path, "pass word\r\nmore\n").expect("a temporary file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our file");
        assert!(secret(&path).expect_err("open to others").ends_with("is open to others, run chmod o= on it"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("our file");
        assert_eq!(secret(&path).expect("closed").reveal(), "pass word");
        fs::write(&path, "\n").expect("our file");
        assert!(secret(&path).expect_err("nothing in it").contains("empty"));
        fs::remove_file(&path).expect("our file");
        assert!(secret(&path).expect_err("gone").contains("No such file"));
    }
}
