//! What a word that is not known was most likely meant to be.

/// The nearest of the words that are known, if one is near: capitals and underscores count for nothing, and one letter,
/// or two of a longer word, may be missing, too many, wrong or in the place of its neighbour. A short word begins alike,
/// and is more than a letter: too many are near to one. Else it is the only one that begins so.
pub fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let simple = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let word = simple(word);
    let distances = known.iter().filter_map(|&known| {
        let most = if known.len() < 6 { 1 } else { 2 };
        // of what is longer by more than that, too many letters are missing
        if known.len().abs_diff(word.len()) > most || known.len() < 2 || word.len() < 2 {
            return None;
        }
        let known_word = simple(known);
        if most == 1 && word.chars().next() != known_word.chars().next() {
            return None;
        }
        Some((strsim::osa_distance(&word, &known_word), known)).filter(|(distance, _)| *distance <= most)
    });
    let nearest = distances.min_by_key(|(distance, _)| *distance).map(|(_, known)| known);
    nearest.or_else(|| {
        let mut longer = known.into_iter().filter(|known| word.len() > 2 && simple(known).starts_with(&word));
        longer.next().filter(|_| longer.next().is_none())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_meant_or_none() {
        let known = ["sniff-timeout", "sniff-max-bytes", "idle-timeout", "dns", "tap", "h", "ca", "top"];
        for (word, wanted) in [
            ("sniff-timout", Some("sniff-timeout")),
            ("sniff-tmieuot", Some("sniff-timeout")),
            ("Sniff_Timeout", Some("sniff-timeout")),
            ("sniff-time", Some("sniff-timeout")),
            ("sniff", None),
            ("idle", Some("idle-timeout")),
            ("dsn", Some("dns")),
            ("taps", Some("tap")),
            ("cat", Some("ca")),
            ("stop", None),
            ("c", None),
            ("x", None),
            ("", None),
            ("d\u{e4}ns", None),
            ("no-such-thing", None),
        ] {
            assert_eq!(near(word, known), wanted, "{word}");
        }
    }
}
