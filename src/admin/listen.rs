//! Where the admin is reached: an address, or a unix socket, which is a file that belongs to somebody.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::AdminAddr;
use crate::sys::listener;

/// Owner and group may come in.
const MODE: u32 = 0o660;

/// Where clients come in.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, File),
}

/// Who came in.
#[derive(Debug)]
pub(super) enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The file of a socket; it goes when this is dropped, unless it is another one by then.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    inode: (u64, u64),
}

impl Listener {
    /// Listens, on a runtime's thread.
    ///
    /// # Errors
    /// Why not, for a person.
    pub(super) fn open(addr: &AdminAddr) -> Result<Listener, String> {
        match addr {
            AdminAddr::Tcp(addr) => tcp(*addr).map(Listener::Tcp).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => format!("-admin {addr}: another program listens there already"),
                io::ErrorKind::AddrNotAvailable => format!("-admin {addr}: this machine has no such address"),
                _ => format!("-admin {addr}: {error}"),
            }),
            AdminAddr::Unix(path) => unix(path).map_err(|why| format!("-admin {}: {why}", path.display())),
        }
    }

    /// Waits for the next client. Nothing is lost when dropped.
    pub(super) async fn accept(&self) -> io::Result<Client> {
        match self {
            Listener::Tcp(listener) => listener.accept().await.map(|(client, _)| Client::Tcp(client)),
            Listener::Unix(listener, _) => listener.accept().await.map(|(client, _)| Client::Unix(client)),
        }
    }
}

fn tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn unix(path: &Path) -> Result<Listener, String> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err("is there and is no socket".to_owned());
        }
        match listener::is_served(path) {
            Ok(()) => return Err("another program listens there already".to_owned()),
            // nobody has it any more: it was left by a process that had no time to remove it
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|error| format!("remove the one that was left behind: {error}"))?;
            }
            Err(error) => return Err(format!("is there, and whether it is in use cannot be told: {error}")),
        }
    }
    let listener = listener::unix(path, MODE).and_then(UnixListener::from_std).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "its folder does not exist".to_owned(),
        _ => error.to_string(),
    })?;
    let prepare = || {
        // what the umask has taken away
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        fs::symlink_metadata(path)
    };
    let found = prepare().map_err(|error| error.to_string())?;
    Ok(Listener::Unix(listener, File { path: path.to_owned(), inode: (found.dev(), found.ino()) }))
}

impl Drop for File {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if is_ours {
            // whoever comes next finds that it was left behind
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(addr) => write!(f, "http://{addr}/"),
                Err(error) => write!(f, "an unknown address: {error}"),
            },
            Listener::Unix(_, file) => write!(f, "unix socket {}", file.path.display()),
        }
    }
}
