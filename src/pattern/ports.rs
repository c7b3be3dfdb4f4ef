//! Sets of destination ports: `80,443,8000-8999`, `*` for all, nothing for none.

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

    /// Whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
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
    fn a_bad_part_is_named() {
        for text in ["x", "80,70000", "9-8", "80-", "-1", "80;81"] {
            assert!(Ports::parse(text).is_err(), "{text}");
        }
        assert!(Ports::parse("80,x").expect_err("x is no port").starts_with("\"x\""));
    }
}
