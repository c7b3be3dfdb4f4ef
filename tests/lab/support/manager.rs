//! The part of systemd that a service sees: the socket that it tells its state to, and the store for descriptors.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::PATIENCE;
use super::daemon::Launch;
use super::folder::Folder;

/// A service manager for one service.
pub struct Manager {
    socket: UnixDatagram,
    folder: Folder,
}

/// One message: its lines, and the descriptors that came with it.
#[derive(Debug)]
pub struct Told {
    /// `KEY=value` each.
    pub lines: Vec<String>,
    /// Descriptors.
    pub descriptors: Vec<OwnedFd>,
}

impl Manager {
    /// One that nobody has told anything.
    #[allow(clippy::new_without_default, reason = "what makes a folder is no default")]
    pub fn new() -> Self {
        let folder = Folder::new();
        let socket = UnixDatagram::bind(format!("{}/notify", folder.path())).expect("a short path");
        Self { socket, folder }
    }

    /// Lets a daemon tell us.
    pub fn hears(&self, launch: Launch) -> Launch {
        launch.variable("NOTIFY_SOCKET", &format!("{}/notify", self.folder.path()))
    }

    /// The next message.
    pub fn next(&self) -> Told {
        self.next_within(PATIENCE).expect("nothing was told")
    }

    /// The next message, if one comes in time.
    #[allow(unsafe_code, reason = "descriptors come as bare numbers")]
    pub fn next_within(&self, patience: Duration) -> Option<Told> {
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).expect("a socket");
        let mut bytes = vec![0; 4096];
        let mut room = nix::cmsg_space!([RawFd; 4]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut room), flags).ok()?;
        let mut descriptors = Vec::new();
        for control in message.cmsgs().expect("there is room for all") {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                // SAFETY: the kernel has just made them for us
                descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
        }
        let length = message.bytes;
        let text = String::from_utf8(bytes[..length].to_vec()).expect("words");
        Some(Told { lines: text.lines().map(str::to_owned).collect(), descriptors })
    }

    /// Everything that is told for so long.
    pub fn all_for(&self, time: Duration) -> Vec<Told> {
        let end = Instant::now() + time;
        let mut told = Vec::new();
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            told.extend(self.next_within(left));
        }
        told
    }

    /// Skips messages until one says this line, or a line that begins so.
    pub fn wait_for(&self, beginning: &str) -> Told {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Some(told) = self.next_within(end.saturating_duration_since(Instant::now())) {
            if told.says(beginning) {
                return told;
            }
            seen.push(told);
        }
        panic!("{beginning} was not told, but {seen:?}");
    }
}

impl Told {
    /// Whether a line is this or begins so.
    pub fn says(&self, beginning: &str) -> bool {
        self.lines.iter().any(|line| line.starts_with(beginning))
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> &str {
        let value = self.lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }
}
