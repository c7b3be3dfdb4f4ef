//! Text that fits: what others wrote made harmless, long words cut in the middle, numbers and times in four columns.

use std::fmt::Write as _;

/// More of one text is never shown.
const MOST: usize = 600;

/// Text without anything that a terminal would obey or a reader would not see: controls, directions, joiners are
/// written as what they are.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(MOST));
    for c in text.chars().take(MOST) {
        match c {
            '\'' | '"' | '\\' => clean.push(c),
            _ => clean.extend(c.escape_debug()),
        }
    }
    clean
}

/// As many columns of it as there are, both ends kept: `2001:db8:..:7:443`.
pub(super) fn middle(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    if width < 5 {
        return text.chars().take(width).collect();
    }
    let head = (width - 2).div_ceil(2);
    let tail = width - 2 - head;
    text.chars().take(head).chain("..".chars()).chain(text.chars().skip(count - tail)).collect()
}

/// A number in at most four columns: `999`, `1.2K`, `34M`.
pub(super) fn amount(number: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    let mut value = number as f64;
    let mut text = String::new();
    for unit in ["K", "M", "G", "T", "P", "E"] {
        value /= 1000.0;
        if value < 999.5 {
            let digits = usize::from(value < 9.95);
            let _ = write!(text, "{value:.digits$}{unit}");
            break;
        }
    }
    text
}

/// A time in at most four columns: `59s`, `3m`, `23h`, `365d`. Coarse, so that it seldom has to be drawn anew.
pub(super) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", (seconds / 86400).min(999)),
    }
}

/// Words in lines of this width; a word that is longer is broken.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("it begins with one line");
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= width {
                line.extend(std::iter::repeat_n(' ', gap).chain(word));
                break;
            }
            if word.len() > width && used + gap < width {
                let rest = word.split_off(width - used - gap);
                line.extend(std::iter::repeat_n(' ', gap).chain(std::mem::replace(&mut word, rest)));
            }
            lines.push(String::new());
            if width == 0 {
                break;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let hostile = "a\x1b[2J\u{9b}31m\r\n\t\x07\x7f\u{202e}gnp.exe\u{200b}\u{feff}\u{2028}b";
        let clean = clean(hostile);
        assert!(clean.chars().all(|c| (' '..='~').contains(&c)), "{clean}");
        assert_eq!(clean, "a\\u{1b}[2J\\u{9b}31m\\r\\n\\t\\u{7}\\u{7f}\\u{202e}gnp.exe\\u{200b}\\u{feff}\\u{2028}b");
        assert_eq!(super::clean("b\u{fc}ro 'x' \"y\" \\n"), "b\u{fc}ro 'x' \"y\" \\n");
        assert_eq!(super::clean(&"x".repeat(5000)).len(), MOST);
    }

    #[test]
    fn what_is_too_long_keeps_both_ends() {
        assert_eq!(middle("2001:db8:1:2:3:4:5:6", 15), "2001:db..:4:5:6");
        assert_eq!(middle("short", 5), "short");
        for width in 0..12 {
            assert!(middle("www.example.org", width).chars().count() <= width);
        }
    }

    #[test]
    fn numbers_and_times_fit_four_columns() {
        for (number, wanted) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0K"),
            (9949, "9.9K"),
            (9951, "10K"),
            (999_499, "999K"),
            (999_500, "1.0M"),
        ] {
            assert_eq!(amount(number), wanted);
        }
        for power in 0..64 {
            assert!((1..=4).contains(&amount(1 << power).len()), "{power}");
        }
        assert_eq!(amount(u64::MAX), "18E");
        for (seconds, wanted) in [(-1.0, "0s"), (59.9, "59s"), (60.0, "1m"), (7199.0, "1h"), (1e12, "999d")] {
            assert_eq!(span(seconds), wanted);
        }
    }

    #[test]
    fn lines_are_broken_between_words_where_that_is_possible() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("a bcdefghij", 4), ["a bc", "defg", "hij"]);
        assert_eq!(wrapped("", 4), [""]);
        for width in 0..5 {
            assert!(wrapped("a bcdefghij", width).iter().all(|line| line.len() <= width));
        }
    }
}
