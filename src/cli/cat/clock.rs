//! Local time, as the TZ variable or the system says; UTC where neither is of use.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Writes times.
#[derive(Debug)]
pub(super) struct Clock {
    zone: TimeZone,
    /// The second that was asked for last, and its text.
    last: Option<(i64, String)>,
}

impl Clock {
    /// Of this place.
    pub(super) fn local() -> Clock {
        Clock::of(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    pub(super) fn of(zone: TimeZone) -> Clock {
        Clock { zone, last: None }
    }

    /// Nanoseconds since 1970, as `YYYY-MM-DD_HH:MM:SS`.
    pub(super) fn text(&mut self, at: u64) -> &str {
        let second = i64::try_from(at / 1_000_000_000).expect("a fraction of u64 fits");
        if self.last.as_ref().is_none_or(|(last, _)| *last != second) {
            // 2^64 ns end in 2554, which is in its range
            let time = Timestamp::from_second(second).unwrap_or_default().to_zoned(self.zone.clone());
            self.last = Some((second, time.strftime("%Y-%m-%d_%H:%M:%S").to_string()));
        }
        self.last.as_ref().map_or("", |(_, text)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_zone_and_months_are_months() {
        let at = 1_795_219_918_323_821_000;
        for (zone, wanted) in [("UTC0", "2026-11-21_00:11:58"), ("XXX-5:30", "2026-11-21_05:41:58")] {
            let mut clock = Clock::of(TimeZone::posix(zone).expect("a zone"));
            assert_eq!(clock.text(at), wanted);
            assert_eq!(clock.text(at + 1_000_000_000)[17..], *"59");
        }
        let mut berlin = Clock::of(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone"));
        assert_eq!(berlin.text(1_750_000_000 * 1_000_000_000), "2025-06-15_17:06:40");
        assert_eq!(berlin.text(at), "2026-11-21_01:11:58");
        assert_eq!(Clock::of(TimeZone::UTC).text(u64::MAX), "2554-07-21_23:34:33");
    }
}
