//! Sets of destination ports: `80,443,8000-8999`, `*` for all, nothing for none.

use std::fmt;
use std::ops::RangeInclusive;

/// A set of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    /// Reads a list.
    ///
    /// # Errors
    /// Names the part that is no port and no range.
    pub fn parse(text: &str) -> Result<Ports, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(range).collect::<Result<_, _>>().map(Ports)
    }

    /// Reads one port or one range, as it stands behind a name or an address.
    pub(super) fn one(text: &str) -> Result<Ports, String> {
        let number = |text: &str| {
            let text = text.trim();
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse::<u16>().ok())
                .flatten()
                .filter(|port| *port > 0)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Ports(vec![first..=last])),
            (Some(first), Some(last)) => Err(format!("has ports that count down, write {last}-{first}")),
            _ => Err(format!("has {text:?} where a port or a range such as 8000-8999 should stand")),
        }
    }

    /// The ranges that it consists of, as they were written.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> {
        self.0.iter().map(|range| (*range.start(), *range.end()))
    }

    /// Whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

impl fmt::Display for Ports {
    /// Writes it so that [`Ports::parse`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            match (first, last) {
                (0, u16::MAX) => f.write_str("*")?,
                _ if first == last => first.fmt(f)?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn range(part: &str) -> Result<RangeInclusive<u16>, String> {
    if part == "*" {
        return Ok(0..=u16::MAX);
    }
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err(format!("{part:?} is no port, no range such as 8000-8999, and not *")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ranges_and_the_star_are_read() {
        let ports = Ports::parse("80, 443,8000-8999").expect("a list");
        for (port, wanted) in [(80, true), (443, true), (8000, true), (8999, true), (81, false), (9000, false)] {
            assert_eq!(ports.contains(port), wanted, "{port}");
        }
        assert!(Ports::parse("*").expect("all").contains(1));
        assert_eq!(Ports::parse("").expect("none"), Ports::default());
        assert!(!Ports::default().contains(0));
    }

    #[test]
    fn what_is_printed_reads_back() {
        for text in ["", "*", "80", "80,443,8000-8999", "0-1"] {
            let ports = Ports::parse(text).expect("a list");
            assert_eq!(ports.to_string(), text);
        }
    }

    #[test]
    fn a_bad_part_is_named() {
        for text in ["x", "80,70000", "9-8", "80-", "-1", "80;81"] {
            assert!(Ports::parse(text).is_err(), "{text}");
        }
        assert!(Ports::parse("80,x").expect_err("x is no port").starts_with("\"x\""));
    }
}
