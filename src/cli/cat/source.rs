//! A file, or stdin: what it is, and its bytes, also while it grows, is emptied, or another takes its name.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek as _};
use std::os::unix::fs::MetadataExt;

use crate::format::{Item, capture, hexlog};

/// Most that is read at once.
const READ: usize = 256 * 1024;
/// With what a file begins that zstd has compressed.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// And one of gzip, which is not read.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file that is read.
pub(super) struct Source {
    name: String,
    input: Input,
    decoder: Decoder,
    /// What was read of the file that is followed.
    position: u64,
    /// Another file has the name now: the old one is read to its end first.
    moved: bool,
}

enum Input {
    /// A file that may be followed.
    File(File),
    /// Anything else, which ends where it ends.
    Stream(Box<dyn Read + Send>),
}

enum Decoder {
    /// Too few bytes have been seen.
    Unknown(Vec<u8>),
    Hexlog(hexlog::Reader),
    Capture(Box<capture::Reader>),
}

impl Source {
    /// Opens a file; `-` is stdin.
    ///
    /// # Errors
    /// Those of open(2) and read(2), and that the file is compressed in a way that is not read.
    pub(super) fn open(name: &str) -> io::Result<Source> {
        let mut file: Box<dyn Read + Send> = Box::new(io::stdin());
        let mut regular = None;
        if name != "-" {
            let opened = File::open(name)?;
            regular = opened.metadata()?.is_file().then(|| opened.try_clone()).transpose()?;
            file = Box::new(opened);
        }
        let mut head = Vec::new();
        file.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
        if head.starts_with(&GZIP) {
            let then =
                if name == "-" { "put zcat before it".to_owned() } else { format!("zcat {name} | handyproxy cat -") };
            return Err(io::Error::other(format!("is compressed with gzip: {then}")));
        }
        let position = head.len() as u64;
        let input = match regular {
            _ if head == ZSTD => {
                let whole = Cursor::new(std::mem::take(&mut head)).chain(file);
                Input::Stream(Box::new(zstd::stream::read::Decoder::new(whole)?))
            }
            Some(regular) => Input::File(regular),
            None => Input::Stream(file),
        };
        let mut decoder = Decoder::Unknown(Vec::new());
        decoder.push(&head);
        Ok(Source { name: called(name).to_owned(), input, decoder, position, moved: false })
    }

    /// Its name, for people.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a read may have to wait for somebody.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.input, Input::Stream(_))
    }

    /// What it tells, as far as it was read.
    pub(super) fn next(&mut self) -> Option<Item> {
        match &mut self.decoder {
            Decoder::Unknown(_) => None,
            Decoder::Hexlog(reader) => reader.item(),
            Decoder::Capture(reader) => reader.item(),
        }
    }

    /// Reads on; whether there was something.
    ///
    /// # Errors
    /// Those of read(2), and what zstd cannot understand.
    pub(super) fn fill(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        buffer.resize(READ, 0);
        let read = loop {
            let read = match &mut self.input {
                Input::File(file) => file.read(buffer),
                Input::Stream(stream) => stream.read(buffer),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.position += read as u64;
        self.decoder.push(&buffer[..read]);
        Ok(read > 0)
    }

    /// What is to be told of its end.
    pub(super) fn finish(&mut self) -> Vec<Item> {
        match std::mem::replace(&mut self.decoder, Decoder::Unknown(Vec::new())) {
            Decoder::Unknown(head) => {
                let mut reader = hexlog::Reader::new();
                reader.push(&head);
                reader.finish()
            }
            Decoder::Hexlog(mut reader) => reader.finish(),
            Decoder::Capture(mut reader) => reader.finish(),
        }
    }

    /// A file that is followed is at its end: if it was emptied, or another has its name, that is read from its
    /// beginning, and what is to be told of the old end is returned. Whatever cannot be followed has ended: `None`.
    ///
    /// # Errors
    /// Those of open(2) and read(2).
    pub(super) fn look(&mut self) -> io::Result<Option<Vec<Item>>> {
        let Input::File(file) = &mut self.input else { return Ok(None) };
        let ours = file.metadata()?;
        let other = match fs::metadata(&self.name) {
            Ok(it) => (it.dev(), it.ino()) != (ours.dev(), ours.ino()),
            // it was moved away, and the next one is not there yet
            Err(_) => false,
        };
        if other && !std::mem::replace(&mut self.moved, true) {
            return Ok(Some(Vec::new()));
        }
        if other {
            *file = File::open(&self.name)?;
        } else if ours.len() < self.position {
            file.rewind()?;
        } else {
            return Ok(Some(Vec::new()));
        }
        (self.position, self.moved) = (0, false);
        Ok(Some(self.finish()))
    }
}

/// What a file is called, for people.
pub(super) fn called(name: &str) -> &str {
    if name == "-" { "stdin" } else { name }
}

impl Decoder {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Decoder::Hexlog(reader) => reader.push(bytes),
            Decoder::Capture(reader) => reader.push(bytes),
            Decoder::Unknown(head) => {
                head.extend_from_slice(bytes);
                if head.len() < capture::MAGIC.len() {
                    return;
                }
                let head = std::mem::take(head);
                *self = if head.starts_with(&capture::MAGIC) {
                    Decoder::Capture(Box::default())
                } else {
                    Decoder::Hexlog(hexlog::Reader::new())
                };
                self.push(&head);
            }
        }
    }
}
