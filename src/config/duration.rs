//! Durations as Go writes them (`1h2m3.5s`, `500ms`, `-1ns`, `0`), then in words (`2h 5min`, `1day`).

/// Reads a duration into signed nanoseconds. A number without a unit is an error, except 0.
///
/// # Errors
/// Why the text is no duration, for a person.
pub fn parse(text: &str) -> Result<i64, String> {
    if let Some(nanos) = go(text) {
        return Ok(nanos);
    }
    // humantime's M is a month, which nobody means here
    let words = if text.contains('M') { None } else { humantime::parse_duration(text).ok() };
    words.and_then(|d| i64::try_from(d.as_nanos()).ok()).ok_or_else(|| {
        let hint = if text.parse::<f64>().is_ok() { format!(", {text}s for seconds") } else { String::new() };
        format!("{text:?} is no duration: write it with units, such as 1h2m3.5s or 500ms{hint}")
    })
}

/// Go's `time.ParseDuration`: a sign, then numbers with a fraction and a unit each.
fn go(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let whole_end = digits(rest);
        let (whole, behind) = rest.split_at(whole_end);
        let (fraction, behind) = match behind.strip_prefix('.') {
            Some(behind) => behind.split_at(digits(behind)),
            None => ("", behind),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_end = behind.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let unit = nanos_per(unit)?;
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?.checked_add(part(fraction, unit))?;
        if total > 1 << 63 {
            return None;
        }
        rest = behind;
    }
    match negative {
        true => Some(total.wrapping_neg() as i64),
        false => i64::try_from(total).ok(),
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// A fraction of a unit, cut off below a nanosecond.
fn part(fraction: &str, unit: u64) -> u64 {
    let (mut value, mut scale) = (0u64, 1.0f64);
    for digit in fraction.bytes() {
        // what does not fit is far below a nanosecond
        let Some(next) = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0'))) else { break };
        if next > i64::MAX as u64 {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

fn nanos_per(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_durations_mean_what_they_mean_in_go() {
        for (text, wanted) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("1ns", 1),
            ("-1ns", -1),
            ("25s", 25_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("500ms", 500_000_000),
            ("-1s", -1_000_000_000),
            (".5s", 500_000_000),
            ("+1.s", 1_000_000_000),
            ("1us1\u{b5}s1\u{3bc}s", 3_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("1.00000000000000000001s", 1_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn words_are_understood_too() {
        assert_eq!(parse("1day"), Ok(86_400_000_000_000));
        assert_eq!(parse("2h 5min"), Ok(7_500_000_000_000));
    }

    #[test]
    fn what_is_no_duration_is_an_error() {
        for text in [
            "",
            "-",
            "2",
            "2.5",
            "-3",
            "s",
            ".",
            ".s",
            "1x",
            "1s-1s",
            "3M",
            "9223372036854775808ns",
            "300000h1e9s",
            "3000000h",
            "1 ",
            "\u{663}s",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse("2").expect_err("no unit").ends_with("2s for seconds"));
    }

    proptest! {
        #[test]
        fn whole_numbers_of_a_unit_are_exact(number in -9_000_000i64..9_000_000, unit in 0usize..5) {
            let (unit, nanos) = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000)][unit];
            prop_assert_eq!(parse(&format!("{number}{unit}")), Ok(number * nanos));
        }

        #[test]
        fn no_text_panics_or_hangs(text in ".{0,40}", near in "[+-]?([0-9]{0,25}\\.?[0-9]{0,25}(ns|us|\u{b5}s|ms|s|m|h|x)){0,5}") {
            let _ = (parse(&text), parse(&near));
        }
    }
}
