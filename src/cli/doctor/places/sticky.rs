//! Files of others in a folder where everybody makes some, such as /tmp: the kernel lets nobody open those with O_CREAT,
//! as everything that is written is opened, not even root (fs.protected_regular and fs.protected_fifos of proc(5)).

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::super::machine;
use super::{patience, walk};
use crate::sys::account::Account;

/// Bits of a folder's mode.
const STICKY: u32 = 0o1000;
const FOR_ALL: u32 = 0o2;
const FOR_GROUP: u32 = 0o20;

/// The setting by which this account may not open a file, whatever its mode says.
pub(super) fn forbids(at: &Path, file: &Metadata, account: &Account, root: &Path) -> Option<&'static str> {
    let setting = match file.file_type() {
        kind if kind.is_file() => "fs.protected_regular",
        kind if kind.is_fifo() => "fs.protected_fifos",
        _ => return None,
    };
    let level = machine::number(&format!("/proc/sys/{}", setting.replace('.', "/")))?;
    let folder = patience::ask(&walk::seen(at.parent()?, root), |folder| fs::symlink_metadata(folder)).ok()?;
    let is_others = file.uid() != account.uid && file.uid() != folder.uid();
    let open_to = |bits: u32| folder.mode() & bits != 0;
    let is_shared = (level >= 1 && open_to(FOR_ALL)) || (level >= 2 && open_to(FOR_GROUP));
    (is_others && open_to(STICKY) && is_shared).then_some(setting)
}
