//! What the files of sessions are called, and that no two sessions ever share one: a file is made, never found. Where
//! a name is taken, by an earlier run or by another process, the next number is tried.
//!
//! A folder is read once for each kind of name, not for each session.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::super::output;
use crate::format::Facts;

/// Names that are taken one after the other before the folder is read again.
const TRIES: u64 = 16;
/// What the names of writefile begin with where none is given.
const STEM: &str = "handyproxy";

/// Where the files of a tap are, and the numbers that are taken.
#[derive(Debug)]
pub(super) struct Names {
    folder: PathBuf,
    /// What the names of writefile begin with.
    stem: String,
    /// The last number that was taken, by what stands before it.
    last: HashMap<String, u64>,
}

/// A file, and its name.
pub(super) type Made = (PathBuf, File);

impl Names {
    /// In a folder, which is made when it is needed.
    pub(super) fn in_folder(path: &Path) -> Names {
        Names { folder: path.to_owned(), stem: STEM.to_owned(), last: HashMap::new() }
    }

    /// In `path` if it is a folder; else beside it, with names that begin with its own.
    pub(super) fn with_stem(path: &Path) -> Names {
        let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir();
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) if !is_folder => {
                Names { stem: name.to_string_lossy().into_owned(), ..Names::in_folder(folder) }
            }
            _ => Names::in_folder(path),
        }
    }

    /// Makes the folder, unless it is there.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub(super) fn prepare(&self) -> io::Result<()> {
        output::folder(&self.folder)
    }

    /// Makes `port_<local port>_<number>.dmp`, as DumperProxy named it: nine digits, one more than the highest there.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) fn dumper(&mut self, facts: &Facts) -> io::Result<Made> {
        let before = format!("port_{}_", facts.local_port);
        self.numbered(&before, |number| format!("{number:09}.dmp"))
    }

    /// Makes `NAME.<pid>.log`, as tcpproxy(1) named it, and `NAME.<pid>-<number>.log` for further sessions.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) fn writefile(&mut self) -> io::Result<Made> {
        let before = format!("{}.{}", self.stem, std::process::id());
        let further = |number| format!("-{number}.log");
        if !self.last.contains_key(&before) {
            let first = self.make(&format!("{before}.log"));
            match &first {
                Ok(_) => self.last.insert(before, 1),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let last = self.highest(&before, &further)?.max(1);
                    self.last.insert(before.clone(), last);
                    return self.numbered(&before, further);
                }
                Err(_) => None,
            };
            return first;
        }
        self.numbered(&before, further)
    }

    /// Makes `<client>-<origin>-<id>.up` and `.down`, each with its port behind `_`, and the colons of IPv6 as dots.
    ///
    /// # Errors
    /// Those of open(2); neither is there then.
    pub(super) fn raw(&mut self, facts: &Facts) -> io::Result<[Made; 2]> {
        let stem = format!("{}-{}-{}", address(facts.client), address(facts.origin), facts.id);
        let mut number = 0_u64;
        loop {
            // an id comes again after a restart
            number += 1;
            let stem = if number == 1 { stem.clone() } else { format!("{stem}-{number}") };
            let up = match self.make(&format!("{stem}.up")) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                up => up?,
            };
            match self.make(&format!("{stem}.down")) {
                Ok(down) => return Ok([up, down]),
                Err(error) => {
                    fs::remove_file(&up.0)?;
                    if error.kind() != ErrorKind::AlreadyExists {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn numbered(&mut self, before: &str, behind: impl Fn(u64) -> String) -> io::Result<Made> {
        let mut tries = 0;
        loop {
            tries += 1;
            let last = match self.last.get(before) {
                Some(last) if tries % TRIES != 0 => *last,
                // another process takes numbers too
                last => self.highest(before, &behind)?.max(last.copied().unwrap_or(0)),
            };
            let made = self.make(&format!("{before}{}", behind(last + 1)));
            if made.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::AlreadyExists) {
                self.last.insert(before.to_owned(), last + 1);
            }
            match made {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => return made,
            }
        }
    }

    /// The highest number in the folder, of names that we could have made.
    fn highest(&self, before: &str, behind: &impl Fn(u64) -> String) -> io::Result<u64> {
        self.prepare()?;
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        let mut highest = 0;
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(before)) else { continue };
            let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
            let number = digits.parse().unwrap_or(0);
            if number > highest && number < u64::MAX && behind(number) == rest {
                highest = number;
            }
        }
        Ok(highest)
    }

    fn make(&self, name: &str) -> io::Result<Made> {
        let path = self.folder.join(name);
        let make = || OpenOptions::new().create_new(true).append(true).mode(0o640).open(&path);
        let file = match make() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // a link to nowhere is there already, and yet is no folder
                self.prepare().map_err(io::Error::other)?;
                make()?
            }
            file => file?,
        };
        Ok((path, file))
    }
}

/// An address in a name: `192.0.2.1_443`, `2001.db8.0.0.0.0.0.1_443`. In full, for `::1` would be a hidden file.
fn address(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.segments().map(|group| format!("{group:x}")).join("."),
    };
    format!("{ip}_{}", address.port())
}
