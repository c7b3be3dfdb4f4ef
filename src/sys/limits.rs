//! How many descriptors this process may hold, and what fits into them.

use std::io;

/// Raises the soft descriptor limit to the hard one and returns what is in force.
///
/// # Errors
/// The limit cannot be read.
pub fn raise_descriptors() -> io::Result<u64> {
    let (soft, hard) = rlimit::Resource::NOFILE.get()?;
    if soft < hard && rlimit::Resource::NOFILE.set(hard, hard).is_ok() {
        return Ok(hard);
    }
    Ok(soft)
}

/// The hard descriptor limit, to which a daemon started from here could raise its own.
///
/// # Errors
/// The limit cannot be read.
pub fn hard_descriptors() -> io::Result<u64> {
    Ok(rlimit::Resource::NOFILE.get()?.1)
}

/// How a descriptor limit is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Sessions that fit, two descriptors each.
    pub sessions: usize,
    /// Pipes that may exist at once, two descriptors each.
    pub pipes: usize,
}

impl Budget {
    /// Keeps a fifth back, 16 to 512, for what a daemon has open, pipes, name look-ups and dials that race; `taken` are
    /// for something else altogether.
    pub fn of(descriptors: u64, taken: usize) -> Budget {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX).min(1 << 20).saturating_sub(taken);
        let spare = (descriptors / 5).clamp(16, 512);
        Budget { sessions: (descriptors.saturating_sub(spare) / 2).max(1), pipes: spare / 4 }
    }
}

/// Keeps our memory, in which there are secrets, out of core dumps and away from other processes of our user (man 2
/// prctl, PR_SET_DUMPABLE).
pub fn forbid_core_dumps() {
    // the call cannot fail with this argument
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// The first and the last of the ports that connections are dialled from (man 7 ip, ip_local_port_range).
pub fn port_range() -> Option<[u16; 2]> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}

/// How many descriptors this process has open; `None`: the kernel does not tell.
pub fn open_descriptors() -> Option<u64> {
    const OWN: &str = "/proc/self/fd";
    // since Linux 6.2 the folder's size is their number (Documentation/filesystems/proc.rst, 3.12); counting them
    // opens one more
    let size = std::fs::metadata(OWN).ok()?.len();
    if size > 0 { Some(size) } else { Some(std::fs::read_dir(OWN).ok()?.count().saturating_sub(1) as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_descriptors_are_counted() {
        let before = open_descriptors().expect("there is /proc");
        let more: Vec<_> = (0..500).map(|_| std::fs::File::open("/dev/null").expect("a file")).collect();
        let now = open_descriptors().expect("there is /proc");
        // other tests open and close some
        assert!((before + 400..before + 600).contains(&now), "{before} and then {now}");
        drop(more);
    }

    #[test]
    fn a_budget_never_exceeds_its_descriptors() {
        for descriptors in [0, 3, 16, 200, 1024, 20_000, 1 << 30, u64::MAX] {
            let budget = Budget::of(descriptors, 0);
            assert!(budget.sessions >= 1);
            assert!(descriptors < 24 || (2 * (budget.sessions + budget.pipes)) as u64 <= descriptors, "{descriptors}");
        }
        assert_eq!(Budget::of(20_000, 0), Budget { sessions: 9744, pipes: 128 });
        assert_eq!(Budget::of(20_000, 192).sessions, 9648);
        assert_eq!(Budget::of(1024, 128), Budget::of(896, 0));
    }
}
