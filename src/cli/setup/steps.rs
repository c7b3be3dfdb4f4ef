//! What changes this machine, in order: files, daemon, rules that go away by themselves, proof, confirmation, and only
//! then what outlives a reboot.
//!
//! The trap is the unit of the rules: the daemon's unit wants it, and it brings rules up that nobody has confirmed. So
//! it is masked until then, under /run, where a reboot forgets it. An instance that was there before has its file back
//! in its place while ours is on trial: after a reboot it is as it was.

use std::time::{Duration, Instant};

use super::console::Console;
use super::plan::Plan;
use super::proof::{self, Proof};
use super::room::{FILES, Room};
use super::trial::Goal;
use super::{machine, words};
use crate::cli::rules::TOOL;
use crate::config::Mode;

/// How long a daemon may take to listen.
const START: Duration = Duration::from_secs(10);
/// What is left of the time for an answer at least, after waiting for a client.
const TO_ANSWER: Duration = Duration::from_secs(20);
/// A confirmation that comes later than this before the end may be too late.
const MARGIN: Duration = Duration::from_secs(2);

/// How it is to be done.
pub(super) struct How<'a> {
    pub(super) plan: &'a Plan,
    pub(super) goal: &'a Goal,
    /// Nobody is asked.
    pub(super) quiet: bool,
    /// Why the upstream failed its test, if it did.
    pub(super) untested: Option<String>,
    /// The file only.
    pub(super) no_start: bool,
    pub(super) systemd: bool,
}

/// What it came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All is done.
    Done,
    /// The file is written, and nothing runs that could use it.
    Written,
}

impl How<'_> {
    /// Does it. What was changed is in the room, for whoever takes it back.
    ///
    /// # Errors
    /// The step that failed, and why.
    pub(super) fn run(&self, room: &Room, console: &mut Console) -> Result<End, String> {
        let plan = self.plan;
        self.begin(room)?;
        self.write(room, console)?;
        if self.no_start {
            room.note("done")?;
            return Ok(End::Done);
        }
        if self.systemd {
            self.start(room, console)?;
        } else if !machine::is_served(plan.local_port) {
            room.note("done")?;
            return Ok(End::Written);
        }
        console.go_on()?;
        let until = Instant::now() + plan.confirm;
        let proof = self.try_rules(room, console, until)?;
        console.say("");
        proof.lines.iter().for_each(|line| console.say(line));
        self.agree(&proof, console, until)?;
        machine::run(TOOL, &["confirm", "--name", &plan.name])?;
        console.say("  the rules are confirmed");
        self.keep(room, console)
    }

    /// Remembers what is there.
    fn begin(&self, room: &Room) -> Result<(), String> {
        if !self.systemd {
            return Ok(());
        }
        let (daemon, rules) = self.units();
        for (what, unit, line) in [
            ("is-enabled", &daemon, "was-enabled"),
            ("is-active", &daemon, "was-active"),
            ("is-active", &rules, "had-rules"),
        ] {
            if machine::asked("systemctl", &[what, unit])?.trim() == what.trim_start_matches("is-") {
                room.note(line)?;
            }
        }
        Ok(())
    }

    fn write(&self, room: &Room, console: &Console) -> Result<(), String> {
        let plan = self.plan;
        if let Some(password) = &plan.password {
            room.stage("password", &format!("{}\n", password.reveal()), 0o600, None)?;
        }
        room.stage("toml", &plan.text(), 0o640, machine::group())?;
        for kind in FILES {
            if room.has_staged(kind) {
                room.place(kind)?;
                console.say(&format!("  {} written", room.target(kind).display()));
            }
        }
        Ok(())
    }

    /// The daemon, without the rules that its unit wants.
    fn start(&self, room: &Room, console: &mut Console) -> Result<(), String> {
        console.go_on()?;
        let (daemon, rules) = self.units();
        room.note("mask")?;
        machine::run("systemctl", &["mask", "--runtime", &rules])?;
        if !machine::asked("systemctl", &["is-enabled", &rules])?.starts_with("masked") {
            return Err(format!("{rules} cannot be held back: is there one in /etc/systemd/system?"));
        }
        console.go_on()?;
        room.note("start")?;
        let started = machine::run("systemctl", &["restart", &daemon]);
        let limit = Instant::now() + START;
        while started.is_ok() && !machine::is_served(self.plan.local_port) {
            if Instant::now() > limit {
                return Err(format!("{daemon} does not listen on port {}", self.plan.local_port));
            }
            console.wait(Duration::from_millis(200))?;
        }
        started.map_err(|why| {
            let lines = machine::printed("journalctl", &["-q", "--no-pager", "-o", "cat", "-n", "5", "-u", &daemon]);
            let lines: String = lines.lines().map(|line| format!("\n    {line}")).collect();
            format!("{why}{lines}")
        })?;
        console.say(&format!("  {daemon} runs, on port {}", self.plan.local_port));
        Ok(())
    }

    fn try_rules(&self, room: &Room, console: &mut Console, until: Instant) -> Result<Proof, String> {
        let (plan, file) = (self.plan, self.plan.file());
        let time = format!("{}s", plan.confirm.as_secs());
        room.note("rules")?;
        machine::run_own(&["rules", "up", "-config", &file.to_string_lossy(), "-confirm", &time])?;
        console.say(&format!("  the rules are up, for {time} unless they are confirmed"));
        for kind in FILES {
            room.shelve(kind)?;
        }
        console.go_on()?;
        match plan.mode {
            Mode::Local => match proof::from_here(plan, self.goal) {
                // somebody is there to decide, or has decided already
                Err(why) if !self.quiet || self.untested.is_some() => {
                    Ok(Proof { whole: false, lines: vec![format!("not proven: {why}")] })
                }
                proof => proof,
            },
            Mode::Gateway if self.quiet => self.what_is_known(),
            Mode::Gateway => proof::from_client(plan, console, until - TO_ANSWER.min(plan.confirm / 2)),
        }
    }

    /// What can be said of a gateway without a client.
    fn what_is_known(&self) -> Result<Proof, String> {
        let plan = self.plan;
        if !machine::is_served(plan.local_port) || proof::captured(&plan.name).is_none() {
            return Err("the daemon does not listen, or the rules are not up".to_owned());
        }
        let opens = match &self.untested {
            None => format!("proven: the proxy opens tunnels, as seen above for {}", self.goal),
            Some(why) => format!("not proven: that the proxy opens tunnels: {why}"),
        };
        let known = "proven: the daemon listens, and the rules are up".to_owned();
        let file = plan.file();
        let unknown = format!(
            "not proven: that connections of clients arrive; open a page on one, and see whether they are caught:\n  \
             handyproxy rules status -config {}",
            file.display()
        );
        Ok(Proof { whole: false, lines: vec![opens, known, unknown] })
    }

    fn agree(&self, proof: &Proof, console: &mut Console, until: Instant) -> Result<(), String> {
        console.go_on()?;
        if self.quiet {
            return Ok(());
        }
        let left = (until - MARGIN).saturating_duration_since(Instant::now()).as_secs();
        let so = if proof.whole { "It works." } else { "The whole path is not proven." };
        let question = format!("\n{so} Keep it, yes or no? Without an answer within {left}s it is taken back");
        match console.ask(&question, None, Some(until - MARGIN), words::yes_or_no) {
            Ok(true) => Ok(()),
            Ok(false) => Err("not confirmed".to_owned()),
            Err(why) => Err(format!("not confirmed: {why}")),
        }
    }

    /// Makes it last.
    fn keep(&self, room: &Room, console: &mut Console) -> Result<End, String> {
        for kind in FILES {
            room.place(kind)?;
        }
        // those of an instance that was replaced, if they were of the other kind: `up` exchanges only its own kind
        let other = if self.plan.mode == Mode::Local { Mode::Gateway } else { Mode::Local };
        machine::run(TOOL, &[other.word(), "down", "--name", &self.plan.name])?;
        if self.systemd {
            let (daemon, rules) = self.units();
            machine::run("systemctl", &["unmask", "--runtime", &rules])?;
            room.note("enable")?;
            machine::run("systemctl", &["enable", &daemon])?;
            machine::run("systemctl", &["start", &rules])?;
            console.say(&format!("  {daemon} is enabled: it comes up at boot, with its rules"));
        }
        room.note("done")?;
        Ok(End::Done)
    }

    fn units(&self) -> (String, String) {
        let name = &self.plan.name;
        (format!("handyproxy@{name}.service"), format!("handyproxy-rules@{name}.service"))
    }
}
