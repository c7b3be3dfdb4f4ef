//! What a word that is not known was most likely meant to be.

/// The nearest of the words that are known, if one is near: capitals and underscores count for nothing, and one letter,
/// or two of a longer word, may be missing, too many, wrong or in the place of its neighbour. A short word begins alike,
/// and is more than a letter: too many are near to one.
pub fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let simple = |text: &str| text.to_ascii_lowercase().replace('_', "-").into_bytes();
    let word = simple(word);
    let distances = known.into_iter().filter_map(|known| {
        let most = if known.len() < 6 { 1 } else { 2 };
        // of what is longer by more than that, too many letters are missing
        if known.len().abs_diff(word.len()) > most || known.len() < 2 || word.len() < 2 {
            return None;
        }
        let known_word = simple(known);
        if most == 1 && word[0] != known_word[0] {
            return None;
        }
        Some((distance(&word, &known_word), known)).filter(|(distance, _)| *distance <= most)
    });
    distances.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// How many letters are to be added, taken away, changed or exchanged with their neighbour.
fn distance(one: &[u8], other: &[u8]) -> usize {
    // the row of the table that is made, and the two before it
    let mut rows = [vec![0; other.len() + 1], vec![0; other.len() + 1], (0..=other.len()).collect()];
    for i in 1..=one.len() {
        rows.rotate_left(1);
        let [before, last, row] = &mut rows;
        row[0] = i;
        for j in 1..=other.len() {
            let same = one[i - 1] == other[j - 1];
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + usize::from(!same));
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
    }
    rows[2][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (one, other, wanted) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "ab", 1),
            ("acb", "abc", 1),
            ("kitten", "sitting", 3),
            ("a", "b", 1),
        ] {
            assert_eq!(distance(one.as_bytes(), other.as_bytes()), wanted, "{one} {other}");
            assert_eq!(distance(other.as_bytes(), one.as_bytes()), wanted, "{other} {one}");
        }
    }

    #[test]
    fn the_nearest_word_is_meant_or_none() {
        let known = ["sniff-timeout", "sniff-max-bytes", "idle-timeout", "dns", "tap", "h", "ca", "top"];
        for (word, wanted) in [
            ("sniff-timout", Some("sniff-timeout")),
            ("sniff-tmieuot", Some("sniff-timeout")),
            ("Sniff_Timeout", Some("sniff-timeout")),
            ("sniff-time", None),
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
