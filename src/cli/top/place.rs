//! Where the admin is: as the flags say, or the file, or the only instance of this machine that has one.

use crate::config::{self, AdminAddr, Mistake, Top};

const HOW: &str = "it is switched on by a line such as admin = \"/run/handyproxy/gateway/admin.sock\" or \
                   admin = \"127.0.0.1:9843\" in the instance's file (handyproxy.conf(5)), and a new start";

/// Why it was not found.
#[derive(Debug)]
pub(super) enum Lost {
    /// The file cannot be used.
    File(Vec<Mistake>),
    /// It is nowhere.
    Nowhere(String),
}

/// Finds it; `instances` are the files of this machine.
pub(super) fn find(how: &Top, instances: impl FnOnce() -> Vec<String>) -> Result<AdminAddr, Lost> {
    if let Some(addr) = &how.admin {
        return Ok(addr.clone());
    }
    if let Some(file) = &how.file {
        let addr = config::admin_of(file).map_err(Lost::File)?;
        return addr.ok_or_else(|| Lost::Nowhere(format!("{file} has no admin; {HOW}")));
    }
    let files = instances();
    let mut found = Vec::new();
    let mut unread = Vec::new();
    for file in &files {
        match config::admin_of(file) {
            Ok(addr) => found.extend(addr.map(|addr| (file, addr))),
            Err(mistakes) => unread.extend(mistakes.iter().map(|mistake| format!("; {mistake}"))),
        }
    }
    match &found[..] {
        [(_, addr)] => Ok(addr.clone()),
        [] if files.is_empty() => {
            Err(Lost::Nowhere(format!("say -admin ADDR or -config FILE: this machine has no instance; {HOW}")))
        }
        [] => Err(Lost::Nowhere(format!("no instance has an admin: {}{}; {HOW}", files.join(", "), unread.join("")))),
        _ => {
            let files: Vec<&str> = found.iter().map(|(file, _)| file.as_str()).collect();
            Err(Lost::Nowhere(format!("say which with -config FILE: {}", files.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_instance_with_an_admin_is_found() {
        let folder = std::env::temp_dir().join(format!("handyproxy-place-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let file = |name: &str, text: &str| {
            let path = folder.join(name).to_str().expect("plain").to_owned();
            std::fs::write(&path, text).expect("our folder");
            path
        };
        let with = file("with.toml", "admin = '/run/with.sock'\n");
        let other = file("other.toml", "admin = '127.0.0.1:1'\n");
        let without = file("without.toml", "local-port = 1\n");
        let find = |files: &[&String]| find(&Top::default(), || files.iter().copied().cloned().collect());
        assert_eq!(find(&[&without, &with]).expect("one has"), AdminAddr::Unix("/run/with.sock".into()));
        let why = |files: &[&String]| match find(files).expect_err("none is meant") {
            Lost::Nowhere(why) => why,
            Lost::File(mistakes) => panic!("{mistakes:?}"),
        };
        assert!(why(&[&with, &other]).contains(&format!("-config FILE: {with}, {other}")));
        assert!(why(&[&without]).contains("no instance has an admin") && why(&[&without]).contains("admin = \""));
        assert!(why(&[]).contains("-admin ADDR"));
        let said = |file: &str| super::find(&Top { file: Some(file.to_owned()), ..Top::default() }, Vec::new);
        assert_eq!(said(&other).expect("it has"), AdminAddr::Tcp("127.0.0.1:1".parse().expect("an address")));
        assert!(matches!(said(&without), Err(Lost::Nowhere(why)) if why.contains("has no admin")));
        assert!(matches!(said("/nowhere/at/all"), Err(Lost::File(_))));
        std::fs::remove_dir_all(&folder).expect("our folder");
    }
}
