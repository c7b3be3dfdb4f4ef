//! Entries for systemd's journal with fields of our own, whatever stderr is connected to: the native protocol
//! (systemd.io/JOURNAL_NATIVE_PROTOCOL), one datagram per entry.
//!
//! The socket is looked up for each entry, so that a journal that comes back, or comes late, is found again.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::errno::Errno;

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// How long a journal that does not read may hold a writer up at a time.
const PATIENCE: Duration = Duration::from_secs(1);

/// How loud an entry is, as in syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// An error.
    Error = 3,
    /// A warning.
    Warning = 4,
    /// Information.
    Info = 6,
}

/// An entry.
#[derive(Debug)]
pub struct Entry {
    bytes: Vec<u8>,
}

impl Entry {
    /// An entry that says this.
    pub fn new(priority: Priority, message: &str) -> Entry {
        let mut entry = Entry { bytes: Vec::with_capacity(1024) };
        entry.field("MESSAGE", message);
        entry.field("PRIORITY", &(priority as u8).to_string());
        entry.field("SYSLOG_IDENTIFIER", "handyproxy");
        entry
    }

    /// Adds a field. Its name is of capital letters, digits and `_`, begins with a letter, and has 64 bytes at most.
    pub fn field(&mut self, name: &str, value: &str) {
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.bytes.push(b'\n');
            self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }

    /// As it is sent.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The way to the journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// Finds it.
    ///
    /// # Errors
    /// There is none.
    pub fn open() -> io::Result<Journal> {
        UnixDatagram::unbound()?.connect(SOCKET).map_err(named)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Journal { socket })
    }

    /// Sends an entry, and tells whether it was taken: one that is larger than a datagram never is.
    ///
    /// # Errors
    /// There is no journal now, or it does not read.
    pub fn send(&self, entry: &[u8]) -> io::Result<bool> {
        loop {
            let Err(error) = self.socket.send_to(entry, SOCKET) else { return Ok(true) };
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EINTR) => {}
                Some(Errno::EMSGSIZE) => return Ok(false),
                _ => return Err(named(error)),
            }
        }
    }
}

fn named(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{SOCKET}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lines_and_those_with_lines_in_them_have_a_length() {
        let mut entry = Entry::new(Priority::Warning, "session id=1");
        entry.field("HANDYPROXY_ERROR", "one\ntwo=2\n");
        entry.field("HANDYPROXY_VIA", "");
        let wanted = b"MESSAGE=session id=1\nPRIORITY=4\nSYSLOG_IDENTIFIER=handyproxy\n\
                       HANDYPROXY_ERROR\n\x0a\0\0\0\0\0\0\0one\ntwo=2\n\nHANDYPROXY_VIA=\n";
        assert_eq!(entry.into_bytes().escape_ascii().to_string(), wanted.escape_ascii().to_string());
    }
}
