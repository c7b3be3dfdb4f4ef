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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    /// Set where the panic is wanted.
    const PANICS: &str = "HANDYPROXY_TEST_PANICS";

    fn tmux(socket: &str, words: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", socket, "-f", "/dev/null"]).args(words).output();
        String::from_utf8_lossy(&output.expect("tmux is installed").stdout).into_owned()
    }

    #[test]
    fn a_panic_leaves_a_terminal_that_can_be_read() {
        if std::env::var_os(PANICS).is_some() {
            let mut window = Window::open().expect("tmux is a terminal");
            window.draw(&mut Desk::new("nobody".to_owned())).expect("it is drawn");
            let threads_too = std::thread::spawn(|| panic!("on purpose"));
            let _ = threads_too.join();
            unreachable!("the panic ends all of it");
        }
        let socket = format!("handyproxy-panic-{}", std::process::id());
        let program = std::env::current_exe().expect("we run");
        let test = "cli::top::terminal::tests::a_panic_leaves_a_terminal_that_can_be_read";
        let line = format!("{PANICS}=1 {} --exact {test} --nocapture; echo ended $?; stty -a", program.display());
        tmux(&socket, &["new-session", "-d", "-x", "100", "-y", "50", "sh", "-c", &format!("{line}; exec sleep 60")]);
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut seen = String::new();
        while !seen.contains("icanon") && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            seen = tmux(&socket, &["capture-pane", "-p"]);
        }
        let state = tmux(&socket, &["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        tmux(&socket, &["kill-server"]);
        assert!(seen.contains("on purpose") && seen.contains("ended 101"), "{seen}");
        assert!(seen.contains(" icanon") && seen.contains(" echo ") && !seen.contains("-icanon"), "{seen}");
        assert_eq!(state.trim(), "0 1", "the first screen, with a cursor");
    }
}
