//! The terminal that somebody types at.

use std::io::stdin;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// What is typed is not shown until this is dropped.
#[must_use = "what is typed is shown again once this is dropped"]
pub struct Hidden(Option<Termios>);

/// Stops showing what is typed, where stdin is a terminal; elsewhere there is nothing to hide.
pub fn hide() -> Hidden {
    let Ok(before) = tcgetattr(stdin()) else { return Hidden(None) };
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    // a terminal that refuses shows what is typed, which is no reason to stop
    let _ = tcsetattr(stdin(), SetArg::TCSANOW, &silent);
    Hidden(Some(before))
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, before);
        }
    }
}
