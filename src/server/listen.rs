//! The listener: one that systemd holds for us, the one that a former run left with systemd, or a new one.

use std::io;

use tokio::net::TcpListener;

use crate::config::{Capture, Config};
use crate::sys::listener::{self, Options};
use crate::sys::systemd::{self, Passed, STORED};

/// Where clients come in.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) options: Options,
    holder: Holder,
}

/// Who has a listener beside us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Nobody.
    Nobody,
    /// The store of systemd, since a former run.
    Store,
    /// A socket unit of systemd, which has made it.
    Unit,
}

/// Takes what was passed and fits, or listens.
///
/// # Errors
/// Why there is no listener, for a person.
pub(super) fn listen(config: &Config, passed: Vec<Passed>) -> Result<Listener, String> {
    let port = config.local_port;
    let options = Options { keepalive: config.keepalive, transparent: config.capture == Capture::Tproxy };
    let (mut stored, mut of_unit, mut stale) = (None, None, false);
    for Passed { name, socket } in passed {
        let wrong = |error: io::Error| format!("socket {name} that systemd passed: {error}");
        let socket = listener::adopt(socket, options).map_err(wrong)?;
        let at = socket.local_addr().map_err(wrong)?.port();
        match (&name[..], at == port) {
            (STORED, true) if stored.is_none() => stored = Some(socket),
            (STORED, _) => stale = true,
            (_, false) => {
                return Err(format!(
                    "socket {name} that systemd passed: it listens on port {at}, and local-port is {port}: give both the same"
                ));
            }
            (_, true) if of_unit.replace(socket).is_some() => {
                return Err(format!("systemd passed two sockets: one ListenStream={port} takes IPv4 and IPv6"));
            }
            (_, true) => {}
        }
    }
    stale |= of_unit.is_some() && stored.take().is_some();
    if stale {
        // one that is of use is stored again once we listen
        if let Err(error) = systemd::discard() {
            tracing::warn!("notify systemd: {error}");
        }
    }
    let (socket, holder) = match (of_unit, stored) {
        (Some(socket), _) => (socket, Holder::Unit),
        (None, Some(socket)) => (socket, if stale { Holder::Nobody } else { Holder::Store }),
        (None, None) => (open(port, options)?, Holder::Nobody),
    };
    Ok(Listener { socket, options, holder })
}

fn open(port: u16, options: Options) -> Result<TcpListener, String> {
    listener::listen(port, options).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("listen on port {port}: another program listens there already"),
        io::ErrorKind::PermissionDenied => {
            format!("listen on port {port}: not allowed, it needs root or CAP_NET_BIND_SERVICE")
        }
        _ => format!("listen on port {port}: {error}"),
    })
}

impl Listener {
    /// Leaves it with systemd too, so that clients wait instead of being refused while we restart.
    pub(super) fn store(&self) -> io::Result<()> {
        if self.holder == Holder::Nobody { systemd::store(&self.socket) } else { Ok(()) }
    }

    /// Whether clients may have come before its options were set.
    pub(super) fn was_foreign(&self) -> bool {
        self.holder == Holder::Unit
    }
}
