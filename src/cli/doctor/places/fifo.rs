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
            let is_it = fs::metadata(fd.path()).is_ok_and(|it| (it.dev(), it.ino()) == (fifo.dev(), fifo.ino()));
            let info = entry.path().join("fdinfo").join(fd.file_name());
            if is_it && info.to_str().and_then(machine::text).is_some_and(|info| reads(&info)) {
                return Some(true);
            }
        }
    }
    is_seen.then_some(false)
}

fn reads(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & HOW != WRITES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_only_write_do_not_read() {
        for (flags, wanted) in [("0100000", true), ("0102001", false), ("0100002", true), ("x", false)] {
            assert_eq!(reads(&format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t9\n")), wanted, "{flags}");
        }
    }
}
