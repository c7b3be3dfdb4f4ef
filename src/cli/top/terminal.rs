//! The terminal: raw and on its other screen for as long as we have it, and as it was on every way out.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write, stdout};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{cursor, execute, queue};

use super::desk::Desk;
use super::view;

/// The terminal while it is ours.
pub(super) struct Window {
    // one write per picture: over ssh each is a packet
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    colours: bool,
}

impl Window {
    /// Takes the terminal.
    ///
    /// # Errors
    /// There is none, or it knows no cursor.
    pub(super) fn open() -> Result<Window, String> {
        let hint = "handyproxy top -once prints a table";
        if !stdout().is_terminal() {
            return Err(format!("stdout is no terminal; {hint}"));
        }
        if std::env::var("TERM").is_ok_and(|term| term == "dumb") {
            return Err(format!("the terminal says of itself that it is dumb (TERM); {hint}"));
        }
        let wrong = |error: io::Error| format!("prepare the terminal: {error}; {hint}");
        restore_on_panic();
        enable_raw_mode().map_err(wrong)?;
        let backend = CrosstermBackend::new(BufWriter::with_capacity(1 << 16, stdout()));
        let taken =
            execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste).and_then(|()| Terminal::new(backend));
        match taken {
            Ok(terminal) => {
                Ok(Window { terminal, colours: std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()) })
            }
            Err(error) => {
                restore();
                Err(wrong(error))
            }
        }
    }

    /// Draws what has changed.
    pub(super) fn draw(&mut self, desk: &mut Desk) -> Result<(), String> {
        let drawn = self.terminal.draw(|frame| view::draw(frame, desk, self.colours));
        drawn.map(drop).map_err(|error| format!("write to the terminal: {error}"))
    }

    /// Draws all of it the next time.
    pub(super) fn forget(&mut self) -> Result<(), String> {
        self.terminal.clear().map_err(|error| format!("write to the terminal: {error}"))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        restore();
    }
}

/// As it was; a terminal that is gone needs nothing.
fn restore() {
    let _ = disable_raw_mode();
    let mut out = stdout().lock();
    let _ = queue!(out, DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
    let _ = out.flush();
}

/// A panic in any thread ends all, with words that can be read.
fn restore_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        before(info);
        std::process::exit(101);
    }));
}
