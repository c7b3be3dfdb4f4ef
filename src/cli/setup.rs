//! `handyproxy setup`: an instance, its unit and its rules, or the way back.
//!
//! Asks, tests the upstream, shows what it is about to do, and changes nothing before that is accepted. From then on
//! every step is noted before it is taken; whatever fails, is not confirmed or is interrupted is taken back.

mod back;
mod console;
mod machine;
mod plan;
mod proof;
mod questions;
mod room;
mod steps;
mod trace;
mod trial;
mod words;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::rules::TOOL;
use crate::config::{Command, Config, Secret};
use console::Console;
use plan::Plan;
use questions::Asker;
use room::Room;
use steps::{End, How};
use trial::Goal;
pub(super) use words::FLAGS;
use words::{Asked, Wishes};

/// The file is written, and nothing runs.
const WRITTEN: u8 = 3;

/// Does what the words behind `setup` ask for. 0 done, 1 failed and taken back, 2 bad usage, 3 written and not started.
pub(super) fn run(words: Vec<String>) -> ExitCode {
    let outcome = match words::read(words) {
        Ok(Asked::Help) => {
            super::say(&words::help());
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Undo { name, etc }) => undo(&name, &etc).map(|()| End::Done),
        Ok(Asked::Setup(wishes)) => setup(&wishes),
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("handyproxy: setup: {mistake}");
            }
            eprintln!("usage: handyproxy setup [-flag value]...; handyproxy setup -h tells all flags");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Written) => ExitCode::from(WRITTEN),
        Err(why) => {
            eprintln!("handyproxy: setup: {why}");
            ExitCode::FAILURE
        }
    }
}

fn undo(name: &str, etc: &Path) -> Result<(), String> {
    may()?;
    let console = Console::new();
    let room = Room::of(etc, name);
    if !room.exists() {
        console.say(&format!("nothing to take back: setup has made no {}", room.target("toml").display()));
        return Ok(());
    }
    console.say(&format!("Taking back what setup did for {name}:"));
    let again = |why| format!("{why}; the rest is taken back, try -undo again");
    back::by_hand(&room, &|line| console.say(line))
        .map_err(|why| format!("{why}; the rest is still there, try -undo again"))?;
    back::run(&room, &|line| console.say(line)).map_err(again)?;
    console.say("all of it is taken back");
    Ok(())
}

fn setup(wishes: &Wishes) -> Result<End, String> {
    may()?;
    if machine::find("nft").or_else(|| machine::find("iptables")).is_none() {
        return Err("neither nft nor iptables is here: install nftables or iptables".to_owned());
    }
    let unchanged = |why: String| format!("{why}; nothing was changed");
    let mut console = Console::new();
    let systemd = machine::has_systemd();
    let mut asker = Asker { console: &mut console, quiet: wishes.yes };
    let read = |text: &str| words::name(text).map(|()| text.to_owned());
    let name = asker.get(("name", "Name of the instance"), wishes.name.as_deref(), Some("gateway"), read);
    let name = name.map_err(unchanged)?;
    let room = Room::of(&wishes.etc, &name);
    let own_port = may_replace(&mut asker, &room, wishes, systemd).map_err(unchanged)?;
    let mut plan = questions::plan(&mut asker, wishes, name, own_port).map_err(unchanged)?;
    let goal = questions::goal(wishes.target.as_deref(), &plan).map_err(unchanged)?;
    let untested = test(&mut asker, &mut plan, &goal, wishes).map_err(unchanged)?;
    summary(asker.console, &plan, wishes, systemd);
    if !asker.agrees("\nDo this, yes or no", true).map_err(unchanged)? {
        return Err(unchanged("not accepted".to_owned()));
    }
    console.say("");
    room.make().map_err(unchanged)?;
    let (quiet, no_start) = (wishes.yes, wishes.no_start);
    let how = How { plan: &plan, goal: &goal, quiet, untested, no_start, systemd };
    match how.run(&room, &mut console) {
        Ok(end) => {
            done(&console, &plan, &end, wishes);
            Ok(end)
        }
        Err(why) => {
            console.say(&format!("\n{why}\nTaking back what was done:"));
            match back::run(&room, &|line| console.say(line)) {
                Ok(()) => Err(format!("{why}; all of it was taken back")),
                Err(left) => {
                    Err(format!("{why}; not all could be taken back, try setup -undo -name {}: {left}", plan.name))
                }
            }
        }
    }
}

/// Whether this can be done at all.
fn may() -> Result<(), String> {
    if !machine::is_root() {
        return Err("only root may do this, try sudo".to_owned());
    }
    if machine::find(TOOL).is_none() {
        return Err(format!("{TOOL} is missing: it comes with the package, in /usr/sbin"));
    }
    Ok(())
}

/// An instance of that name is replaced only if somebody says so. Its port, if it runs and may thus be in use.
fn may_replace(asker: &mut Asker<'_>, room: &Room, wishes: &Wishes, systemd: bool) -> Result<Option<u16>, String> {
    let name = room.name();
    if room.exists() && !room.has("done") {
        return Err(format!("an earlier setup has broken off: handyproxy setup -undo -name {name} takes it back"));
    }
    let file = room.target("toml");
    if !file.exists() {
        return Ok(None);
    }
    let question = format!("{} is there already. Replace it, yes or no", file.display());
    if !wishes.replace && !asker.agrees(&question, false)? {
        return Err(format!("{} is there already, and is replaced only with -replace", file.display()));
    }
    let unit = format!("handyproxy@{name}.service");
    let runs = !systemd || machine::printed("systemctl", &["is-active", &unit]).trim() == "active";
    Ok(if runs { questions::port_of(file) } else { None })
}

/// Tests the upstream, for as long as somebody has better answers. Why it failed, where it is to be used nevertheless.
fn test(asker: &mut Asker<'_>, plan: &mut Plan, goal: &Goal, wishes: &Wishes) -> Result<Option<String>, String> {
    loop {
        let config = Draft::of(plan)?.config()?;
        asker.console.say(&format!("\nTesting the proxy {}:", plan.upstream));
        let goal = goal.clone();
        let outcome = asker.console.during(move || trial::test(config, &goal))??;
        outcome.seen.iter().for_each(|line| asker.console.say(&format!("  {line}")));
        if let Some(why) = &outcome.failed {
            asker.console.say(&format!("  failed: {why}"));
            if asker.quiet && !wishes.force {
                return Err(format!("the proxy {} fails its test, -force would go on: {why}", plan.upstream));
            }
            if !asker.quiet && outcome.wants_credentials && asker.agrees("Give other credentials, yes or no", true)? {
                questions::credentials(asker, plan, None, None, None)?;
                continue;
            }
            if !asker.quiet && !asker.agrees("Go on nevertheless, yes or no", false)? {
                return Err(format!("the proxy {} fails its test: {why}", plan.upstream));
            }
        }
        let may_relay = wishes.plain_http.is_none() && plan.plain_http == "connect";
        if outcome.refuses_plain && may_relay {
            let question = "It makes no tunnels for HTTP without TLS. Hand such requests to it one by one (plain-http = auto), yes or no";
            if asker.agrees(question, true)? {
                "auto".clone_into(&mut plan.plain_http);
                asker.console.say("  plain-http = \"auto\": requests without TLS are handed to the proxy one by one");
                Draft::of(plan)?.config()?;
            }
        }
        return Ok(outcome.failed);
    }
}

fn summary(console: &Console, plan: &Plan, wishes: &Wishes, systemd: bool) {
    console.say(&format!("\nThis is going to be {}:\n", plan.file().display()));
    plan.text().lines().for_each(|line| console.say(format!("  {line}").trim_end()));
    if plan.file().exists() {
        console.say("\nIt replaces the file that is there, which -undo puts back.");
    }
    if plan.password.is_some() {
        console.say(&format!("\nThe password goes to {}, which only root reads.", plan.password_file().display()));
    }
    if wishes.no_start {
        console.say("\nNothing is started.");
        return;
    }
    console.say(if systemd {
        "\nThese are going to be run:\n"
    } else {
        "\nThere is no systemd here: these are going to be run only if a daemon listens on that port already:\n"
    });
    plan.commands(systemd).iter().for_each(|line| console.say(&format!("  {line}")));
    if plan.mode == crate::config::Mode::Gateway && !machine::forwards() {
        console.say("\nnote: net.ipv4.ip_forward is 0, so what is not caught goes nowhere; see sysctl.d(5)");
    }
}

fn done(console: &Console, plan: &Plan, end: &End, wishes: &Wishes) {
    let (name, file) = (&plan.name, plan.file());
    let file = file.display();
    if *end == End::Written || wishes.no_start {
        console.say(&format!("\n{file} is written, and nothing was started. These would:"));
        if machine::has_systemd() {
            console.say(&format!("  systemctl enable --now handyproxy@{name}.service"));
        } else {
            console.say(&format!("  handyproxy -config {file}\n  handyproxy rules up -config {file} -confirm 60s\n  handyproxy rules confirm -config {file}"));
        }
    } else {
        console.say("\nDone.");
        if !machine::has_systemd() {
            console.say(
                "There is no systemd here: the daemon that listens must be started anew to read the file, and after a",
            );
            console.say("reboot, daemon and rules must be brought up again.");
        }
    }
    console.say(&format!("Whether all is well: handyproxy doctor -config {file}"));
    let etc = if wishes.etc == Path::new("/etc/handyproxy") {
        String::new()
    } else {
        format!(" -etc {}", wishes.etc.display())
    };
    console.say(&format!("All of it is taken back by: handyproxy setup -undo -name {name}{etc}"));
}

/// The instance as it is going to be, where nothing looks for it: read by the code that will read it.
struct Draft {
    folder: PathBuf,
    name: String,
}

impl Draft {
    fn of(plan: &Plan) -> Result<Draft, String> {
        let memory = Path::new("/run");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = base.join(format!("handyproxy-setup-{}", std::process::id()));
        let wrong = |error: std::io::Error| format!("write a draft below {}: {error}", base.display());
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(wrong)?;
        let draft = Draft { folder, name: plan.name.clone() };
        draft.write("toml", &plan.text()).map_err(wrong)?;
        draft.write("password", plan.password.as_ref().map_or("", Secret::reveal)).map_err(wrong)?;
        Ok(draft)
    }

    fn write(&self, kind: &str, text: &str) -> std::io::Result<()> {
        let path = self.folder.join(format!("{}.{kind}", self.name));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes())
    }

    /// Its settings, if they go together.
    fn config(&self) -> Result<Config, String> {
        let file = self.folder.join(format!("{}.toml", self.name)).to_string_lossy().into_owned();
        match Command::parse(["-config".to_owned(), file]) {
            Ok(Command::Run(config)) => Ok(*config),
            Ok(_) => Err("the draft is no instance".to_owned()),
            Err(mistakes) => {
                let place = format!("{}/", self.folder.display());
                let mistakes: Vec<String> =
                    mistakes.iter().map(|mistake| mistake.to_string().replace(&place, "")).collect();
                Err(format!("the answers do not go together: {}", mistakes.join("; ")))
            }
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
