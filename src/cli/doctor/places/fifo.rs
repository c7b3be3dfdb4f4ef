//! Who reads a FIFO: told by the descriptors of all processes, since opening it would wake those who wait for it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;

use super::super::machine;

/// O_ACCMODE and O_WRONLY of open(2), as fdinfo has them.
const HOW: u32 = 0o3;
const WRITES: u32 = 0o1;

/// Whether somebody has it open to read from; `None`: only root may see that.
pub(super) fn has_reader(fifo: &Metadata) -> Option<bool> {
    let mut is_seen = true;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Ok(open) = fs::read_dir(entry.path().join("fd")) else {
            // it may have ended, too
            is_seen &= !entry.path().exists();
            continue;
        };
        for fd in open.flatten() {
            let info = entry.path().join("fdinfo").join(fd.file_name());
            // first what asks no file system: that of a server which is gone would not answer
            let may_be = info.to_str().and_then(machine::text).is_some_and(|info| reads(&info, fifo.ino()));
            let is_it = |it: Metadata| (it.dev(), it.ino()) == (fifo.dev(), fifo.ino());
            if may_be && fs::metadata(fd.path()).is_ok_and(is_it) {
                return Some(true);
            }
        }
    }
    is_seen.then_some(false)
}

/// Whether a descriptor is for reading, and may be of this inode: Linux before 5.14 does not tell which one it is of.
fn reads(info: &str, inode: u64) -> bool {
    let value = |key: &str| info.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let flags = value("flags:").and_then(|flags| u32::from_str_radix(flags, 8).ok());
    flags.is_some_and(|flags| flags & HOW != WRITES) && value("ino:").is_none_or(|ino| ino.parse() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_only_write_do_not_read() {
        for (flags, wanted) in [("0100000", true), ("0102001", false), ("0100002", true), ("x", false)] {
            let info = format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t9\n");
            assert_eq!(reads(&info, 7), wanted, "{flags}");
            assert_eq!(reads(&format!("{info}ino:\t7\n"), 7), wanted, "{flags}");
            assert!(!reads(&format!("{info}ino:\t77\n"), 7), "{flags}");
        }
    }
}
