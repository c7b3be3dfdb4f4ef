//! Whose a process is, and what the kernel lets it do (man 5 proc, man 7 capabilities).

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;

/// Bits of CapEff (linux/capability.h).
const DAC_OVERRIDE: u32 = 1;
const DAC_READ_SEARCH: u32 = 2;
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const SYS_ADMIN: u32 = 21;
const SYS_RESOURCE: u32 = 24;

/// What somebody wants of a file or folder: bits of a mode.
pub const READ: u32 = 0o4;
/// To write it, or to make files in it.
pub const WRITE: u32 = 0o2;
/// To reach what is in a folder.
pub const SEARCH: u32 = 0o1;

/// A user in his groups, with capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The number of the user.
    pub uid: u32,
    /// The number of the group that its files get.
    pub gid: u32,
    groups: Vec<u32>,
    capabilities: u64,
}

impl Account {
    /// That of a process, by its number or `self`.
    pub fn of(process: &str) -> Option<Account> {
        Account::parse(&fs::read_to_string(format!("/proc/{process}/status")).ok()?)
    }

    /// That of a user, who has no capability unless it is root.
    pub fn new(uid: u32, gid: u32, groups: Vec<u32>) -> Account {
        Account { uid, gid, groups, capabilities: if uid == 0 { u64::MAX } else { 0 } }
    }

    fn parse(status: &str) -> Option<Account> {
        let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        // real, effective, saved, and the one that counts for files, which follows the effective one
        let last = |key: &str| -> Option<u32> { value(key)?.split_whitespace().nth(3)?.parse().ok() };
        let mut groups: Vec<u32> = value("Groups:")?.split_whitespace().filter_map(|id| id.parse().ok()).collect();
        let gid = last("Gid:")?;
        groups.push(gid);
        let capabilities = u64::from_str_radix(value("CapEff:")?.trim(), 16).ok()?;
        Some(Account { uid: last("Uid:")?, gid, groups, capabilities })
    }

    fn has(&self, bit: u32) -> bool {
        self.capabilities & (1 << bit) != 0
    }

    /// Whether it may mark its sockets, and take connections that are not for this machine.
    pub fn may_mark(&self) -> bool {
        self.has(NET_ADMIN) || self.has(NET_RAW)
    }

    /// Whether the soft limits of pipes are nothing to it.
    pub fn has_free_pipes(&self) -> bool {
        self.has(SYS_ADMIN) || self.has(SYS_RESOURCE)
    }

    /// Whether what is kept back on a disk is for it.
    pub fn has_reserve(&self) -> bool {
        self.has(SYS_RESOURCE)
    }

    /// Whether it sees the rules of the kernel, and all processes.
    pub fn sees_all(&self) -> bool {
        self.uid == 0 && self.has(NET_ADMIN)
    }

    /// Whether the mode of a file lets it.
    pub fn may(&self, wanted: u32, file: &Metadata) -> bool {
        let only_looks = wanted == READ || (wanted == SEARCH && file.is_dir());
        if self.has(DAC_OVERRIDE) || (self.has(DAC_READ_SEARCH) && only_looks) {
            return true;
        }
        let shift = match file {
            file if file.uid() == self.uid => 6,
            file if self.groups.contains(&file.gid()) => 3,
            _ => 0,
        };
        file.mode() >> shift & wanted == wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t0\t998\t0\t997\nGid:\t1\t2\t3\t996\nGroups:\t4 5 \nCapPrm:\tffffffffff\n";

    fn with(capabilities: &str) -> Account {
        Account::parse(&format!("{STATUS}CapEff:\t{capabilities}\n")).expect("proc(5)")
    }

    #[test]
    fn rights_are_those_in_force() {
        let account = with("0000000000003000");
        assert_eq!((account.uid, account.gid, &account.groups[..]), (997, 996, &[4, 5, 996][..]));
        assert!(account.may_mark() && !account.has_free_pipes() && !account.has_reserve() && !account.sees_all());
        assert!(!with("0000000000000000").may_mark());
        let root = STATUS.replace("998\t0\t997", "0\t0\t0") + "CapEff:\t000001ffffffffff\n";
        let root = Account::parse(&root).expect("proc(5)");
        assert!(root.sees_all() && root.has_free_pipes() && root.has_reserve() && root.may_mark());
        assert_eq!(Account::parse(STATUS), None);
        assert!(Account::of("self").is_some());
    }

    #[test]
    fn an_account_may_what_modes_allow() {
        let account = with("0000000000000000");
        // of root's, and nobody else may write it
        let etc = fs::metadata("/etc").expect("a folder");
        assert!(account.may(SEARCH, &etc) && !account.may(WRITE, &etc));
        let tmp = fs::metadata("/tmp").expect("a folder");
        assert!(account.may(WRITE | SEARCH, &tmp));
        assert!(with("0000000000000002").may(WRITE, &etc));
        assert!(!with("0000000000000004").may(WRITE, &etc));
        assert!(Account::new(0, 0, vec![0]).may(WRITE, &etc));
    }
}
