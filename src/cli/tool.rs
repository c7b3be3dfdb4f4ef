//! The tools of the system, each asked with a time limit: a lock that somebody holds must not hold who asks.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::rules;

/// How long a tool may take where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// It ended by itself.
    Ended {
        /// Its exit status; -1 where a signal ended it.
        status: i32,
        stdout: String,
        stderr: String,
    },
    /// There is no such program.
    Missing,
    /// It could not be run, or took too long.
    Failed(String),
}

impl Ran {
    /// What it printed, where all went well.
    pub(super) fn said(self) -> Option<String> {
        match self {
            Ran::Ended { status: 0, stdout, .. } => Some(stdout),
            _ => None,
        }
    }
}

/// A program of PATH, or of where administrators' programs are; a Ctrl-C at the terminal does not reach it.
pub(super) fn command(program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", rules::path()).args(words).stdin(Stdio::null()).process_group(0);
    command
}

/// A command as somebody would type it.
pub(super) fn line(program: &str, words: &[&str]) -> String {
    let name = Path::new(program).file_name().map_or(program.into(), |name| name.to_string_lossy());
    format!("{name} {}", words.join(" "))
}

/// Runs a program, for its words in English.
pub(super) fn run(program: &str, words: &[&str]) -> Ran {
    run_within(PATIENCE, program, words)
}

/// The same, with another time limit.
pub(super) fn run_within(patience: Duration, program: &str, words: &[&str]) -> Ran {
    let mut command = command(program, words);
    let spawned = command.env("LC_ALL", "C").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ran::Missing,
        Err(error) => return Ran::Failed(format!("run {program}: {error}")),
    };
    let (tell, told) = mpsc::channel();
    let pipes = (child.stdout.take(), child.stderr.take());
    // both at once, or a full pipe would stop it
    let errors = thread::spawn(move || read(pipes.1));
    thread::spawn(move || {
        let stdout = read(pipes.0);
        let _ = tell.send((stdout, errors.join().unwrap_or_default()));
    });
    let said = told.recv_timeout(patience);
    if said.is_err() {
        let _ = child.kill();
    }
    match (said, child.wait()) {
        (Ok((stdout, stderr)), Ok(status)) => Ran::Ended { status: status.code().unwrap_or(-1), stdout, stderr },
        (Err(_), _) => Ran::Failed(format!("{}: no end within {}s", line(program, words), patience.as_secs())),
        (_, Err(error)) => Ran::Failed(format!("{program}: {error}")),
    }
}

fn read(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_heard_or_missing() {
        let ran = run("sh", &["-c", "echo out; echo err >&2; exit 3"]);
        assert_eq!(ran, Ran::Ended { status: 3, stdout: "out\n".to_owned(), stderr: "err\n".to_owned() });
        assert_eq!(ran.said(), None);
        assert_eq!(run("no-such-program-here", &[]), Ran::Missing);
        let ran = run_within(Duration::ZERO, "sleep", &["1000"]);
        assert_eq!(ran, Ran::Failed("sleep 1000: no end within 0s".to_owned()));
        assert_eq!(run("sh", &["-c", "echo well"]).said().as_deref(), Some("well\n"));
    }
}
