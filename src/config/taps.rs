//! `[[tap]]`: what of the traffic is written down, how, and where.

use std::path::PathBuf;
use std::time::Duration;

use super::Place;
use super::shown::whole;
use crate::pattern::Pattern;

/// Files that a tap of kind dump holds open at most.
pub const DUMP_FILES: usize = 128;

/// One tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapSettings {
    /// What is written.
    pub form: TapForm,
    /// The file, or the folder where it writes a file per session; `None` is stdout.
    pub path: Option<PathBuf>,
    /// Clients; empty is all.
    pub from: Vec<Pattern>,
    /// Origins and names; empty is all.
    pub to: Vec<Pattern>,
    /// What becomes of records when the file does not keep up.
    pub when_full: WhenFull,
    /// Most memory of records that wait to be written, in bytes.
    pub queue: usize,
    /// Whether a file that is there is written on, not emptied.
    pub append: bool,
    /// A file is closed, and a new one begun, when it is this large.
    pub rotate_size: Option<u64>,
    /// The same, when it is this old.
    pub rotate_time: Option<Duration>,
    /// Closed files that are kept; 0 is all.
    pub keep: usize,
    /// Whether closed files are compressed (zstd).
    pub compress: bool,
    /// Whether there are colours; `None`: on a terminal.
    pub colour: Option<bool>,
    /// Where it stands.
    pub place: Place,
}

/// What a tap writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapForm {
    /// A line per event, for people.
    Flow,
    /// The same as InformerProxy wrote it.
    Informer,
    /// A file per session as DumperProxy wrote it.
    Dumper,
    /// A file per session and direction.
    Raw,
    /// A file per session with both directions in the order of their arrival.
    Writefile,
    /// A line of hexadecimal digits per read, as prox.py wrote it.
    Hexlog,
    /// Packets, for Wireshark.
    Pcapng,
}

/// What becomes of records for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// They are counted, and not written.
    Drop,
    /// The session waits.
    Wait,
}

impl TapSettings {
    /// Its path as a text that means the same wherever it is read; `-` is stdout.
    pub fn shown_path(&self) -> String {
        self.path.as_deref().map_or("-".to_owned(), whole)
    }
}

impl TapForm {
    /// All of them: the kind, the format within it, and what it is. The first format of a kind is its default.
    pub const ALL: [(TapForm, &'static str, &'static str); 7] = [
        (TapForm::Flow, "flow", "readable"),
        (TapForm::Informer, "flow", "informer"),
        (TapForm::Dumper, "dump", "dumper"),
        (TapForm::Raw, "dump", "raw"),
        (TapForm::Writefile, "dump", "writefile"),
        (TapForm::Hexlog, "hexlog", "hexlog"),
        (TapForm::Pcapng, "pcapng", "pcapng"),
    ];

    /// Its kind and its format, as they are written.
    pub fn words(self) -> (&'static str, &'static str) {
        let found = TapForm::ALL.into_iter().find(|(form, ..)| *form == self);
        found.map(|(_, kind, format)| (kind, format)).expect("the table has them all, a test counts")
    }

    /// What its only file is called in a folder, where it has but one.
    pub fn file_name(self) -> Option<&'static str> {
        match self {
            TapForm::Flow | TapForm::Informer => Some("flow.log"),
            TapForm::Hexlog => Some("hexlog.log"),
            TapForm::Dumper | TapForm::Raw | TapForm::Writefile | TapForm::Pcapng => None,
        }
    }

    /// Whether it writes a file, or two, per session.
    pub fn is_per_session(self) -> bool {
        matches!(self, TapForm::Dumper | TapForm::Raw | TapForm::Writefile)
    }
}
