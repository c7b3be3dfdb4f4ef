//! A terminal: tmux with a shell in it, on a socket of its own.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Tmux {
    socket: String,
}

impl Tmux {
    /// Of this size, with a shell whose prompt is `$ `.
    pub(super) fn new(width: u16, height: u16) -> Tmux {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let tmux = Tmux { socket: format!("handyproxy-top-{}-{number}", std::process::id()) };
        let (width, height) = (width.to_string(), height.to_string());
        let shell = ["env", "-u", "ENV", "-u", "NO_COLOR", "PS1=$ ", "sh"];
        tmux.run(&[&["new-session", "-d", "-x", &width, "-y", &height][..], &shell].concat());
        tmux.wait("a prompt", |screen| screen.starts_with("$"));
        tmux
    }

    /// Types a line and Enter.
    pub(super) fn line(&self, line: &str) {
        self.run(&["send-keys", "-l", line]);
        self.keys(&["Enter"]);
    }

    /// Presses keys, by tmux's names.
    pub(super) fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// What is seen.
    pub(super) fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Waits until the screen is as it should be; it is what is seen then.
    pub(super) fn wait(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what} does not come:\n{screen}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for a text.
    pub(super) fn sees(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// A format of tmux, such as `#{pane_title}`.
    pub(super) fn tells(&self, format: &str) -> String {
        self.run(&["display-message", "-p", format]).trim_end().to_owned()
    }

    pub(super) fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket, "-f", "/dev/null"]).args(words).env_remove("TMUX");
        let output = command.output().expect("tmux is installed");
        assert!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The terminal is as a shell wants it: its own screen, a cursor, lines that are edited and shown.
    pub(super) fn is_restored(&self) {
        self.line("stty -a");
        let screen = self.sees("icanon");
        assert!(!screen.contains("-icanon") && !screen.contains("-echo ") && !screen.contains("-isig"), "{screen}");
        assert_eq!(self.tells("#{alternate_on} #{cursor_flag}"), "0 1");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}
