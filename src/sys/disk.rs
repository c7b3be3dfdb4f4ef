//! How much room a file system has, and whether it takes anything at all.

use std::io;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

/// What statvfs(3) tells of the file system that holds a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Mounted so that nothing is written, be it here only.
    pub is_read_only: bool,
    /// All its bytes; 0 where it does not count them.
    pub total: u64,
    /// Bytes that are left for everybody.
    pub free: u64,
    /// Bytes that are left for root: some are kept for it.
    pub free_for_root: u64,
    /// Whether no further file can be made.
    pub is_out_of_files: bool,
}

impl Disk {
    /// The one that holds this file or folder.
    ///
    /// # Errors
    /// Those of statvfs(3).
    pub fn of(path: &Path) -> io::Result<Disk> {
        let told = statvfs(path)?;
        // their types are narrower on some machines
        let size = told.fragment_size() as u64;
        Ok(Disk {
            is_read_only: told.flags().contains(FsFlags::ST_RDONLY),
            total: (told.blocks() as u64).saturating_mul(size),
            free: (told.blocks_available() as u64).saturating_mul(size),
            free_for_root: (told.blocks_free() as u64).saturating_mul(size),
            is_out_of_files: told.files() > 0 && told.files_available() == 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_no_more_room_than_it_is_large() {
        let disk = Disk::of(Path::new("/dev/shm")).expect("Linux has it");
        assert!(disk.free <= disk.free_for_root && disk.free_for_root <= disk.total, "{disk:?}");
        assert!(Disk::of(Path::new("/nowhere/at/all")).is_err());
    }
}
