//! The dialogue: questions on stdout, answers from stdin, and the signals that end it.
//!
//! Answers and signals come through one channel, so that a question that nobody answers can still be left. What is said
//! to a terminal that is gone is lost, and no reason to fail: taking back must go on without it.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _, stdin, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::sys::terminal;

/// What arrives.
enum Event {
    Line(String),
    End,
    Stop(&'static str),
}

/// Who is spoken to.
pub(super) struct Console {
    arriving: Receiver<Event>,
    sending: Sender<Event>,
    lines: VecDeque<String>,
    reads: bool,
    /// The input is over, or a signal came: why nothing more is asked.
    over: Option<String>,
}

impl Console {
    /// Nobody is asked anything yet; from now on signals are heard, and do not end the process.
    pub(super) fn new() -> Console {
        let (sending, arriving) = channel();
        let stops = sending.clone();
        std::thread::spawn(move || hear(&stops));
        Console { arriving, sending, lines: VecDeque::new(), reads: false, over: None }
    }

    /// Says something, on a line of its own.
    #[allow(clippy::unused_self, reason = "whoever speaks needs somebody to speak to")]
    pub(super) fn say(&self, text: &str) {
        super::super::say(&format!("{text}\n"));
    }

    /// Asks until the answer is one; an empty answer is the default, where there is one. After `until` it is too late.
    ///
    /// # Errors
    /// Nobody answers any more.
    pub(super) fn ask<T>(
        &mut self,
        question: &str,
        default: Option<&str>,
        until: Option<Instant>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        loop {
            let hint = default.map(|default| format!(" [{default}]")).unwrap_or_default();
            prompt(&format!("{question}{hint}: "));
            let line = self.line(until)?;
            if !stdin().is_terminal() {
                self.say(&line);
            }
            let answer = match (line.trim(), default) {
                ("", Some(default)) => default,
                ("", None) => {
                    self.say("  an answer is needed");
                    continue;
                }
                (answer, _) => answer,
            };
            match read(answer) {
                Ok(value) => return Ok(value),
                Err(why) => self.say(&format!("  not that: {why}")),
            }
        }
    }

    /// Asks for what must not be shown.
    ///
    /// # Errors
    /// Nobody answers any more.
    pub(super) fn ask_hidden(&mut self, question: &str) -> Result<String, String> {
        loop {
            // before it is asked: whoever answers at once must not be shown either
            let hidden = terminal::hide();
            prompt(&format!("{question} (not shown): "));
            let line = self.line(None);
            drop(hidden);
            self.say("");
            let line = line?;
            if !line.is_empty() {
                return Ok(line);
            }
            self.say("  an answer is needed");
        }
    }

    /// Fails if a signal came.
    pub(super) fn go_on(&mut self) -> Result<(), String> {
        self.wait(Duration::ZERO)
    }

    /// Waits, unless a signal comes.
    pub(super) fn wait(&mut self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        loop {
            match self.arriving.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Line(line)) => self.lines.push_back(line),
                // whoever asks will be told
                Ok(Event::End) => self.over = Some("the input has ended".to_owned()),
                Ok(Event::Stop(name)) => {
                    self.over = Some(format!("stopped by {name}"));
                    return Err(format!("stopped by {name}"));
                }
                Err(_) => return Ok(()),
            }
        }
    }

    /// Does something that takes its time, unless a signal comes: then it is left alone.
    pub(super) fn during<T: Send + 'static>(&mut self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        let (sending, done) = channel();
        std::thread::spawn(move || sending.send(work()));
        loop {
            self.go_on()?;
            match done.recv_timeout(Duration::from_millis(50)) {
                Ok(it) => return Ok(it),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("a bug: it broke off".to_owned()),
            }
        }
    }

    /// Whether somebody has pressed Enter, and nothing else, since.
    pub(super) fn was_entered(&mut self) -> bool {
        let entered = self.lines.front().is_some_and(|line| line.trim().is_empty());
        if entered {
            self.lines.pop_front();
        }
        entered
    }

    fn line(&mut self, until: Option<Instant>) -> Result<String, String> {
        if !std::mem::replace(&mut self.reads, true) {
            let lines = self.sending.clone();
            std::thread::spawn(move || {
                for line in stdin().lines().map_while(Result::ok) {
                    if lines.send(Event::Line(line)).is_err() {
                        return;
                    }
                }
                let _ = lines.send(Event::End);
            });
        }
        if let Some(line) = self.lines.pop_front() {
            return Ok(line);
        }
        if let Some(over) = &self.over {
            return Err(over.clone());
        }
        let event = match until {
            Some(until) => self.arriving.recv_timeout(until.saturating_duration_since(Instant::now())),
            None => self.arriving.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let over = match event {
            Ok(Event::Line(line)) => return Ok(line),
            Ok(Event::Stop(name)) => format!("stopped by {name}"),
            Err(RecvTimeoutError::Timeout) => {
                self.say("");
                return Err("no answer in time".to_owned());
            }
            Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => "the input has ended".to_owned(),
        };
        self.say("");
        self.over = Some(over.clone());
        Err(over)
    }
}

fn prompt(text: &str) {
    let _ = stdout().write_all(text.as_bytes());
    let _ = stdout().flush();
}

/// Waits for signals for as long as somebody wants to know of them.
fn hear(stops: &Sender<Event>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds.map(signal) else { return };
        loop {
            let name = tokio::select! {
                _ = int.recv() => "SIGINT",
                _ = term.recv() => "SIGTERM",
                _ = hup.recv() => "SIGHUP",
            };
            if stops.send(Event::Stop(name)).is_err() {
                return;
            }
        }
    });
}
