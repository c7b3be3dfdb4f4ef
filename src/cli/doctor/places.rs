//! Where taps and the access log are written: whether that can be done, by whoever the daemon runs as.
//!
//! Nothing is opened, for that alone would end the wait of a FIFO's reader; modes, mounts and the room on the disk tell.

mod fifo;
mod patience;
mod reading;
mod sticky;
mod walk;
mod writer;

use std::fs::Metadata;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::super::tool;
use super::case::Case;
use super::finding::Finding;
use crate::config::{AccessLog, TapForm, TapSettings};
use crate::sys::account::{Account, SEARCH, WRITE};
use crate::sys::disk::Disk;
use crate::sys::journal;
use walk::Found;
use writer::Writer;

pub(super) use reading::check as unreadable;

/// Less than this, and less than a twentieth, is nearly nothing.
const LITTLE: u64 = 1 << 30;

/// These are others for each process, and lead nowhere from here.
const STREAMS: [&str; 4] = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self"];

/// Something that is written.
struct Place {
    check: &'static str,
    /// What it is called.
    what: String,
    path: PathBuf,
    /// Whether files are made in it; else it is one.
    is_folder: bool,
    /// How to have it somewhere else.
    elsewhere: String,
    /// The folder that its unit makes, and gives to the daemon.
    own: Option<PathBuf>,
}

/// Looks at all of them.
pub(super) fn check(case: &Case) -> Vec<Finding> {
    let config = case.config;
    if config.taps.is_empty() && !matches!(config.access_log, AccessLog::File(_) | AccessLog::Journal) {
        return Vec::new();
    }
    let writer = Writer::of(case);
    let mut findings = Vec::new();
    for (number, tap) in config.taps.iter().enumerate() {
        let what = name(number + 1, tap);
        findings.push(match &tap.path {
            Some(path) => of_tap(what, tap, path, &writer, case).judge(&writer),
            None => Finding::ok("taps", format!("{what} goes to stdout")),
        });
    }
    match &config.access_log {
        AccessLog::File(path) => {
            let folder = folder(case);
            let given = folder.as_deref().unwrap_or("FOLDER");
            // what it says already is no way out
            let file = if path.starts_with(given) { "FILE" } else { "access.log" };
            let place = Place {
                check: "access-log",
                what: "the access log".to_owned(),
                path: absolute(path),
                is_folder: false,
                elsewhere: case.set("access-log", &format!("\"{given}/{file}\"")),
                own: folder.map(PathBuf::from),
            };
            findings.push(place.judge(&writer));
        }
        AccessLog::Journal => findings.push(of_journal(&writer, case)),
        AccessLog::Log | AccessLog::Off | AccessLog::Stderr => {}
    }
    findings
}

/// What a tap is called, here and where the admin tells of it.
pub(super) fn name(number: usize, tap: &TapSettings) -> String {
    let (kind, format) = tap.form.words();
    if kind == format { format!("tap {number} ({kind})") } else { format!("tap {number} ({kind}/{format})") }
}

/// Where the unit lets an instance write.
fn folder(case: &Case) -> Option<String> {
    case.unit().and(case.name).map(|name| format!("/var/log/handyproxy/{name}"))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A folder is one by its name or because it is there; some taps want one, and some write beside it.
fn of_tap(what: String, tap: &TapSettings, path: &Path, writer: &Writer, case: &Case) -> Place {
    let given = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    let path = absolute(path);
    let is_there = matches!(walk::along(&path, writer), Found::There(_, facts) if facts.is_dir());
    let rotates = tap.rotate_size.is_some() || tap.rotate_time.is_some();
    let above = || path.parent().unwrap_or(&path).to_owned();
    let (path, is_folder) = match tap.form {
        TapForm::Dumper | TapForm::Raw => (path, true),
        TapForm::Writefile | TapForm::Pcapng if given || is_there => (path, true),
        TapForm::Writefile => (above(), true),
        TapForm::Pcapng if rotates => (above(), true),
        TapForm::Flow | TapForm::Informer | TapForm::Hexlog if given || is_there => {
            (path.join(format!("{}.log", tap.form.words().0)), false)
        }
        _ => (path, false),
    };
    let own = folder(case);
    let elsewhere = match (&own, case.unit()) {
        (Some(own), Some(unit)) if !path.starts_with(own) => {
            format!("{own}/ for the tap at {}, then systemctl reload {unit}", tap.place)
        }
        _ => format!("another path at {}", tap.place),
    };
    Place { check: "taps", what, path, is_folder, elsewhere, own: own.map(PathBuf::from) }
}

fn of_journal(writer: &Writer, case: &Case) -> Finding {
    match walk::along(Path::new(journal::SOCKET), writer) {
        Found::There(_, facts) if facts.file_type().is_socket() => {
            Finding::ok("access-log", format!("the journal takes it at {}", journal::SOCKET))
        }
        Found::Unseen(..) | Found::Barred(_) => {
            let seen = format!("whether there is a journal at {} cannot be seen", journal::SOCKET);
            Finding::warn("access-log", seen, "run handyproxy doctor as root")
        }
        _ => {
            let seen = format!("there is no journal at {}: lines wait, and then are lost", journal::SOCKET);
            Finding::fail("access-log", seen, case.set("access-log", "\"log\""))
        }
    }
}

impl Place {
    fn judge(&self, writer: &Writer) -> Finding {
        let shown = self.path.display();
        if STREAMS.iter().any(|stream| self.path.starts_with(stream)) {
            return self.judge_stream(writer);
        }
        if let Writer::Unit(_, unit) = writer
            && let Some(setting) = unit.forbids(&self.path)
        {
            let fix = format!("{}, or ReadWritePaths= in a drop-in of its unit", self.elsewhere);
            return self.fails(&format!("{shown}: its unit may not write there, by {setting}"), fix);
        }
        match walk::along(&self.path, writer) {
            Found::There(at, facts) if self.is_folder && !facts.is_dir() => {
                self.fails(&format!("{} is no folder", at.display()), self.elsewhere.clone())
            }
            Found::There(at, facts) if !self.is_folder && facts.is_dir() => {
                self.fails(&format!("{} is a folder", at.display()), self.elsewhere.clone())
            }
            Found::There(at, facts) => self.judge_file(&at, &facts, writer),
            Found::Missing(at, _) if writer.will_make(&self.path) && !writer.will_make(&at) => {
                self.is_well(&format!("{shown} is made when its unit starts"), writer)
            }
            Found::Missing(at, facts) => self.judge_file(&at, &facts, writer),
            Found::NoFolder(at) => {
                let at = at.display();
                self.fails(&format!("{shown} cannot be made: {at} is no folder"), self.elsewhere.clone())
            }
            Found::Barred(at) => self.barred(&at, "enter", writer),
            Found::Unseen(at, error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                let seen = format!("{}: {} cannot be seen", self.what, at.display());
                Finding::warn(self.check, seen, "run handyproxy doctor as root")
            }
            Found::Unseen(at, error) if error.kind() == std::io::ErrorKind::TimedOut => {
                let fix = format!("see to the file system of {} and its server, or {}", at.display(), self.elsewhere);
                self.fails(&format!("{}: {error}", at.display()), fix)
            }
            Found::Unseen(at, error) => self.fails(&format!("{}: {error}", at.display()), self.elsewhere.clone()),
        }
    }

    /// A descriptor that the daemon has, by a name: one that is a socket, as the journal's, cannot be opened by it.
    fn judge_stream(&self, writer: &Writer) -> Finding {
        let shown = self.path.display();
        let number = match self.path.to_str() {
            Some("/dev/stdout") => Some(1),
            Some("/dev/stderr") => Some(2),
            path => path.and_then(|path| path.rsplit('/').next()?.parse().ok()),
        };
        let facts = number.and_then(|number| writer.descriptor(number));
        if facts.is_some_and(|facts| facts.file_type().is_socket()) {
            let own = if self.check == "taps" { "path = \"-\" for stdout" } else { "access-log = \"stderr\"" };
            let fix = format!("{own}, or {}", self.elsewhere);
            return self.fails(&format!("{shown} is a socket, and cannot be opened by that name"), fix);
        }
        Finding::ok(self.check, format!("{} goes to {shown}, a stream of the daemon", self.what))
    }

    /// What there is to be written: a file, or the folder that a new one is made in.
    fn judge_file(&self, at: &Path, facts: &Metadata, writer: &Writer) -> Finding {
        let is_kept = facts.is_file() || facts.is_dir();
        let seen = walk::seen(at, writer.root());
        let disk = patience::ask(&seen, Disk::of).ok().filter(|_| is_kept);
        if disk.is_some_and(|disk| disk.is_read_only) {
            let fix = match writer {
                Writer::Running(..) | Writer::Unit(..) => {
                    format!("{}, or ReadWritePaths={} in a drop-in of its unit", self.elsewhere, at.display())
                }
                _ => format!("mount -o remount,rw the file system of {}, or {}", at.display(), self.elsewhere),
            };
            return self.fails(&format!("{} is on a file system that is read-only for the daemon", at.display()), fix);
        }
        let wanted = if facts.is_dir() { WRITE | SEARCH } else { WRITE };
        match writer.account() {
            Some(account) if !account.may(wanted, facts) => return self.barred(at, "write", writer),
            Some(account) => {
                if let Some(setting) = sticky::forbids(at, facts, account, writer.root()) {
                    let name = writer::name(account);
                    let seen =
                        format!("{name} may not open {}, another user's in such a folder, by {setting}", at.display());
                    return self.fails(&seen, format!("chown {name} {}, or {}", at.display(), self.elsewhere));
                }
            }
            None => {
                let seen =
                    format!("{}: whether the daemon's user may write {} cannot be seen", self.what, at.display());
                return Finding::warn(self.check, seen, "run handyproxy doctor as root");
            }
        }
        if facts.file_type().is_fifo() && fifo::has_reader(facts) == Some(false) {
            return self.unread(at, writer);
        }
        let free = disk.map(|disk| if self.has_reserve(writer) { disk.free_for_root } else { disk.free });
        match (disk, free) {
            (Some(disk), _) if disk.is_out_of_files && facts.is_dir() => {
                let fix = format!("df -i {}, and delete some of it; or {}", at.display(), self.elsewhere);
                self.fails(&format!("the disk of {} has no room for another file", self.path.display()), fix)
            }
            (Some(disk), Some(free)) if disk.total > 0 => self.judge_room(at, disk.total, free, writer),
            _ => self.is_well(&format!("{} can be written", self.path.display()), writer),
        }
    }

    fn judge_room(&self, at: &Path, total: u64, free: u64, writer: &Writer) -> Finding {
        let (shown, room) = (self.path.display(), size(free));
        let fix = format!("df -h {at}, and free some of it; or {}", self.elsewhere, at = at.display());
        if free == 0 {
            return self.fails(&format!("the disk of {shown} is full"), fix);
        }
        if free < LITTLE && free < total / 20 {
            let seen = format!("{}: the disk of {shown} is nearly full, {room} are left", self.what);
            return Finding::warn(self.check, seen, fix);
        }
        self.is_well(&format!("{shown} can be written, {room} are free"), writer)
    }

    /// Whoever writes may not do that with this file or folder.
    fn barred(&self, at: &Path, what: &str, writer: &Writer) -> Finding {
        let name = writer.account().map(writer::name).unwrap_or_default();
        let seen = format!("{}: {name} may not {what} {}", self.what, at.display());
        if matches!(writer, Writer::Asker(_)) {
            let fix = format!("start the daemon, or run handyproxy doctor as its user; else {}", self.elsewhere);
            return Finding::warn(self.check, format!("{seen}, and no daemon runs as somebody else"), fix);
        }
        if has_list(&walk::seen(at, writer.root())) {
            return Finding::note(self.check, format!("{seen} by its mode; it has a list of rights too"), "");
        }
        let group = writer.account().map(writer::group).unwrap_or_default();
        if let Some(fix) = self.given_back(&format!("{name}:{group}"), at, writer.root()) {
            return Finding::fail(self.check, seen, fix);
        }
        let fix = match self.given_to(&name, &group, at).filter(|_| what == "write") {
            Some(given) => format!("{given}, or {}", self.elsewhere),
            None => self.elsewhere.clone(),
        };
        Finding::fail(self.check, seen, fix)
    }

    /// How a place is made the daemon's again that its unit had given to it.
    fn given_back(&self, owner: &str, at: &Path, root: &Path) -> Option<String> {
        if !at.starts_with(self.own.as_ref()?) {
            return None;
        }
        let mode = if walk::seen(at, root).is_dir() { "0750" } else { "0640" };
        Some(format!("chown {owner} {at} && chmod {mode} {at}", at = at.display()))
    }

    /// How to give somebody this place, where it is nobody else's.
    fn given_to(&self, name: &str, group: &str, at: &Path) -> Option<String> {
        if at == self.path {
            return Some(format!("chown {name} {}", at.display()));
        }
        let folder = if self.is_folder { &self.path } else { self.path.parent()? };
        let make = || format!("install -d -o {name} -g {group} -m 0750 {}", folder.display());
        (folder != at && folder.starts_with(at)).then(make)
    }

    fn unread(&self, at: &Path, writer: &Writer) -> Finding {
        let seen = format!("{}: nobody reads the FIFO {}", self.what, at.display());
        if matches!(writer, Writer::Running(..)) {
            let seen = format!("{seen}: what is written waits, and then is lost");
            return Finding::warn(self.check, seen, format!("cat {} | PROGRAM", at.display()));
        }
        Finding::note(self.check, format!("{seen} yet"), "")
    }

    fn has_reserve(&self, writer: &Writer) -> bool {
        writer.account().is_some_and(Account::has_reserve)
    }

    fn fails(&self, why: &str, fix: String) -> Finding {
        Finding::fail(self.check, format!("{}: {why}", self.what), fix)
    }

    fn is_well(&self, how: &str, writer: &Writer) -> Finding {
        let seen = format!("{}: {how}", self.what);
        match writer {
            Writer::Asker(account) => {
                let seen = format!("{seen}, by {}, who asks: not seen at a running daemon", writer::name(account));
                Finding::note(self.check, seen, "")
            }
            _ => Finding::ok(self.check, seen),
        }
    }
}

/// Whether a file has a list of rights beside its mode (man 5 acl), which ls(1) marks.
fn has_list(path: &Path) -> bool {
    let Some(path) = path.to_str() else { return false };
    let said = tool::run("ls", &["-ld", "--", path]).said();
    said.and_then(|line| line.split_whitespace().next().map(|mode| mode.ends_with('+'))).unwrap_or(false)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}
