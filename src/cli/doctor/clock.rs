//! The clock: certificates are good from and until, and Kerberos takes five minutes at most.

use std::time::{Duration, SystemTime};

use super::finding::Finding;

/// What Kerberos forgives (RFC 4120 section 8.2).
const SKEW: Duration = Duration::from_secs(300);
/// 2025-01-01: no clock that is right shows less.
const SANE: Duration = Duration::from_secs(1_735_689_600);
const FIX: &str = "timedatectl set-ntp true, or date -s by hand";

/// The clock of a proxy, and ours at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    proxy: String,
    theirs: SystemTime,
    ours: SystemTime,
}

impl Reading {
    /// From the Date field of an answer that has just come.
    pub(super) fn new(proxy: String, date: Option<&str>) -> Option<Reading> {
        let theirs = httpdate::parse_http_date(date?.trim()).ok()?;
        Some(Reading { proxy, theirs, ours: SystemTime::now() })
    }
}

/// Judges our clock by those of the proxies.
pub(super) fn check(readings: &[Reading]) -> Finding {
    judge(SystemTime::now(), readings)
}

fn judge(now: SystemTime, readings: &[Reading]) -> Finding {
    if now < SystemTime::UNIX_EPOCH + SANE {
        return Finding::fail("clock", format!("it is {} here", httpdate::fmt_http_date(now)), FIX);
    }
    let skew = |reading: &Reading| {
        let late = reading.theirs.duration_since(reading.ours);
        late.map_or_else(|early| (early.duration(), "ahead of"), |late| (late, "behind"))
    };
    let Some((reading, (skew, side))) = readings.iter().map(|r| (r, skew(r))).max_by_key(|(_, (skew, _))| *skew) else {
        let seen = format!("{}; no proxy said what it has", httpdate::fmt_http_date(now));
        return Finding::ok("clock", seen);
    };
    let seen = format!("{} s {side} that of {}", skew.as_secs(), reading.proxy);
    if skew > SKEW {
        return Finding::warn(
            "clock",
            format!("{seen}: certificates and Kerberos fail where it is this machine's fault"),
            FIX,
        );
    }
    Finding::ok("clock", seen)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status::{Fail, Ok, Warn};
    use super::*;

    #[test]
    fn five_minutes_are_forgiven() {
        let now = SystemTime::UNIX_EPOCH + SANE + Duration::from_secs(1000);
        let reading = |theirs| Reading { proxy: "http://p:1".to_owned(), theirs, ours: now };
        assert_eq!(judge(now, &[]).status, Ok);
        for (seconds, status) in [(0, Ok), (300, Ok), (301, Warn)] {
            let skew = Duration::from_secs(seconds);
            for theirs in [now + skew, now - skew] {
                assert_eq!(judge(now, &[reading(now), reading(theirs)]).status, status, "{seconds}");
            }
        }
        assert!(judge(now, &[reading(now + SKEW * 2)]).seen.contains("600 s behind that of http://p:1"));
        assert_eq!(judge(SystemTime::UNIX_EPOCH, &[reading(now)]).status, Fail);
    }

    #[test]
    fn dates_are_read_as_http_has_them() {
        let read = Reading::new("p".to_owned(), Some("Sun, 06 Nov 1994 08:49:37 GMT")).expect("a date");
        assert_eq!(read.theirs, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
        assert_eq!(Reading::new("p".to_owned(), Some("yesterday")), None);
    }
}
