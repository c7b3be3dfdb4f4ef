//! Where packets go, and how the files of a row are named.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Behind the time in a name.
const CLOSED: &str = ".pcapng";
const COMPRESSED: &str = ".pcapng.zst";
const HALF: &str = ".pcapng.zst.tmp";

/// Where packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To stdout.
    Stdout,
    /// To this file.
    File(PathBuf),
    /// To one file after the other.
    Series(Series),
}

/// Files `NAME-YYYYmmdd-HHMMSS.mmm.pcapng` of one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) folder: PathBuf,
    name: String,
}

/// What a file of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// As it was written, or is being written.
    Plain,
    /// Compressed.
    Compressed,
    /// Not yet compressed.
    Half,
}

impl Place {
    /// The place that the settings name: a path that ends with `/`, or is a folder, is for a row of files.
    pub(super) fn new(path: Option<&Path>, rotates: bool) -> Place {
        let Some(path) = path else { return Place::Stdout };
        if path.as_os_str().as_bytes().ends_with(b"/") || path.is_dir() {
            return Place::Series(Series { folder: path.to_path_buf(), name: "handyproxy".to_owned() });
        }
        if !rotates {
            return Place::File(path.to_path_buf());
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.strip_suffix(CLOSED).unwrap_or(&file).to_owned();
        Place::Series(Series { folder: path.parent().unwrap_or(Path::new("")).to_path_buf(), name })
    }
}

impl Series {
    /// The file that is begun now.
    pub(super) fn at(&self, now: SystemTime) -> PathBuf {
        let now = humantime::format_rfc3339_millis(now).to_string();
        let digits = now.trim_end_matches('Z').replace([':', '-'], "").replace('T', "-");
        self.folder.join(format!("{}-{digits}{CLOSED}", self.name))
    }

    /// The time in a name of this row, in which times have the order of their letters, and what the file is; `None`
    /// for a name that is none of ours to the letter.
    pub(super) fn read<'a>(&self, name: &'a OsStr) -> Option<(&'a str, State)> {
        let rest = name.to_str()?.strip_prefix(&self.name)?.strip_prefix('-')?;
        let (time, end) = rest.split_at_checked("YYYYmmdd-HHMMSS.mmm".len())?;
        let is_time = time.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'-',
            15 => byte == b'.',
            _ => byte.is_ascii_digit(),
        });
        let state = match end {
            CLOSED => State::Plain,
            COMPRESSED => State::Compressed,
            HALF => State::Half,
            _ => return None,
        };
        is_time.then_some((time, state))
    }

    /// The path of the file of that time.
    pub(super) fn path(&self, time: &str, state: State) -> PathBuf {
        let end = match state {
            State::Plain => CLOSED,
            State::Compressed => COMPRESSED,
            State::Half => HALF,
        };
        self.folder.join(format!("{}-{time}{end}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn series(path: &str) -> Series {
        match Place::new(Some(Path::new(path)), true) {
            Place::Series(series) => series,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_are_named_for_the_time_at_which_they_were_begun() {
        let time = UNIX_EPOCH + Duration::from_millis(1_795_219_918_023);
        for (given, wanted) in [
            ("/var/log/cap.pcapng", "/var/log/cap-20261121-001158.023.pcapng"),
            ("/var/log/cap", "/var/log/cap-20261121-001158.023.pcapng"),
            ("/var/log/cap.dat", "/var/log/cap.dat-20261121-001158.023.pcapng"),
            ("/nowhere/logs/", "/nowhere/logs/handyproxy-20261121-001158.023.pcapng"),
            ("/", "/handyproxy-20261121-001158.023.pcapng"),
            ("cap.pcapng", "cap-20261121-001158.023.pcapng"),
        ] {
            let series = series(given);
            let path = series.at(time);
            assert_eq!(path, Path::new(wanted));
            let name = path.file_name().expect("a name");
            assert_eq!(series.read(name), Some(("20261121-001158.023", State::Plain)));
            assert_eq!(series.path("20261121-001158.023", State::Plain), path);
        }
    }

    #[test]
    fn only_a_folder_and_rotation_make_a_row_of_files() {
        assert_eq!(Place::new(None, false), Place::Stdout);
        assert_eq!(Place::new(Some(Path::new("/a/b")), false), Place::File("/a/b".into()));
        assert!(matches!(Place::new(Some(Path::new("/a/b/")), false), Place::Series(_)));
        assert!(matches!(Place::new(Some(Path::new("/proc")), false), Place::Series(_)));
    }

    #[test]
    fn names_that_differ_in_a_letter_are_not_of_the_row() {
        let series = series("/x/cap.pcapng");
        let good = "cap-20261121-001158.023.pcapng";
        for (name, state) in [
            (good.to_owned(), State::Plain),
            (format!("{good}.zst"), State::Compressed),
            (format!("{good}.zst.tmp"), State::Half),
        ] {
            assert_eq!(series.read(OsStr::new(&name)), Some(("20261121-001158.023", state)));
        }
        for name in [
            "cap.pcapng",
            "cap-.pcapng",
            "Cap-20261121-001158.023.pcapng",
            "cap-20261121-001158.023.pcap",
            "cap-20261121-001158.023.pcapng.gz",
            "cap-20261121-001158.023.pcapng.tmp",
            "cap-20261121-001158.023.pcapng.zst.tmp~",
            "cap-20261121-001158-023.pcapng",
            "cap-20261121-001158.02x.pcapng",
            "cap-20261121 001158.023.pcapng",
            "cap-2-20261121-001158.023.pcapng",
            "cap2-20261121-001158.023.pcapng",
            "xcap-20261121-001158.023.pcapng",
            "cap-20261121-001158.0\u{e9}.pcapng",
        ] {
            assert_eq!(series.read(OsStr::new(name)), None, "{name}");
        }
    }
}
