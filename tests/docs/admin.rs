//! Who follows a document: runs each of its commands as it stands, on a machine that has what they need. Units are
//! "started" by running what they would run; files go to a root of their own; nothing of this machine is touched.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::examples::Examples;
use super::lab::support::daemon::Daemon;
use super::lab::support::journal::SessionLine;
use super::scene::Scene;
use super::viewer::SHARED;
use super::{Folder, PROGRAM, SITE, output, said, succeeds};

const UNITS: &str = "deploy/systemd";
/// A proxy that is there, for `setup` where the document lets it ask.
const PROXY: &str = "proxy.local";

/// Somebody with root's rights.
pub(super) struct Admin {
    pub(super) scene: Scene,
    /// Scripts that the document shows.
    scripts: Vec<String>,
    /// What is installed, by its path.
    root: Folder,
    /// Those that run, the last one started last.
    pub(super) running: Vec<Instance>,
    /// All that commands have shown so far.
    pub(super) shown: String,
    count: usize,
}

/// A program that runs.
pub(super) struct Instance {
    /// Of its unit; empty: it was started by hand.
    name: String,
    pub(super) daemon: Daemon,
    /// It tells of sessions elsewhere.
    pub(super) is_quiet: bool,
    /// What reads its stdout.
    viewer: Option<String>,
}

impl Admin {
    pub(super) fn new(examples: Examples, scripts: Vec<String>) -> Admin {
        let root = Folder::new();
        for folder in
            ["usr/bin", "usr/sbin", "etc/systemd/system", "etc/handyproxy", "etc/init.d", "etc/prometheus", "root"]
        {
            fs::create_dir_all(root.0.join(folder)).expect("our own folder");
        }
        Admin { scene: Scene::new(examples), scripts, root, running: Vec::new(), shown: String::new(), count: 0 }
    }

    /// How many commands were run.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Runs a command; of one that looks at the site, the session line.
    pub(super) fn run(&mut self, command: &str) -> Option<SessionLine> {
        self.count += 1;
        let words = split(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = words.strip_prefix(&["sudo"]).unwrap_or(&words);
        match *words {
            // tests of their own run these, or they run this one
            ["deploy/quickstart" | "deploy/build-deb" | "deploy/build-static" | "tests/run"] => {
                assert!(is_executable(words[0]), "{}", words[0]);
            }
            ["apt", ref of @ ..] => apt(of),
            ["install", ref of @ ..] => self.install(of),
            ["editor", file] => self.edits(file),
            ["chmod", mode, file] => self.set_mode(file, mode),
            ["useradd", .., user] | ["chgrp", user, "/etc/handyproxy"] => {
                assert!(unit("handyproxy@.service").contains(&format!("\nUser={user}\n")), "{command}");
            }
            ["/etc/init.d/handyproxy", "enable"] => {}
            ["/etc/init.d/handyproxy", "start"] => self.starts_script(),
            ["systemctl", ref of @ ..] => self.systemctl(of),
            ["journalctl", "-u", unit, ..] => _ = self.instance(unit),
            // there is no process to tell here; tests/lab has one
            ["handyproxy", "reload", ref flags @ ..] => self.scene.tell(&[&["check"], flags].concat()),
            ["handyproxy", "check" | "explain", ..] => self.scene.tell(&words[1..]),
            ["handyproxy", "completions", shell] => {
                assert!(
                    said(&output(Command::new(PROGRAM).args(["completions", shell])).stdout).contains("handyproxy")
                );
            }
            ["handyproxy", "rules", ..] => _ = self.scene.tool(&words[1..]),
            ["handyproxy", "doctor", ref flags @ ..] => self.doctor(flags),
            ["handyproxy", "setup", ref flags @ ..] => self.setup(flags),
            ["handyproxy", "cat", "-h"] => self.looks(command),
            ["handyproxy", "cat", ref of @ ..] => self.cat(of),
            ["handyproxy", "top", ref of @ ..] => self.top(of),
            // what a shell makes of the end of a line is its own business
            ["handyproxy", ref flags @ ..] => {
                let flags: Vec<&str> =
                    flags.iter().copied().filter(|word| *word != "&" && !word.starts_with("2>")).collect();
                let flags: Vec<&str> = flags.into_iter().take_while(|word| *word != "|").collect();
                let viewer = command.split_once(" | ").map(|(_, viewer)| viewer.to_owned());
                self.stops_all();
                let is_quiet = flags.contains(&"-access-log");
                let daemon = self.scene.handyproxy(&flags);
                self.running.push(Instance { name: String::new(), daemon, is_quiet, viewer });
            }
            ["tail", "-f", file] => self.follows(file),
            ["ls" | "capinfos" | "tshark" | "grep" | "promtool", ..] => self.looks(command),
            ["logrotate", "-f", conf] => self.rotates(conf),
            ["adduser", _, group] => Admin::joins(group),
            ["handyproxy-rules" | super::RULES, ref arguments @ ..] => self.scene.rules(arguments),
            ["iptables" | "ip6tables" | "ip", ..] => _ = self.scene.net.gateway.run(&words.join(" ")),
            ["sysctl", "-w", setting] => {
                let (key, _) = setting.split_once('=').expect("KEY=VALUE");
                assert!(Path::new("/proc/sys").join(key.replace('.', "/")).exists(), "{key}");
            }
            ["pidof", "handyproxy"] | ["kill", "-HUP", "PID"] => {}
            ["getent", ..] => {
                let answer = said(&self.scene.view_from(true, self.is_on("dns"), words).stdout);
                assert!(answer.starts_with("198.18."), "{answer}");
            }
            ["curl", ..] if !command.contains(SITE) => self.looks(command),
            ["curl", ..] => return self.visit(words),
            _ => panic!("no test runs this command of the document: {command}"),
        }
        None
    }

    /// Everything that the document has started has been stopped, or is stopped now; no rule is left.
    pub(super) fn ends(mut self) {
        self.stops_all();
        let left = self.scene.instances();
        assert!(left.is_empty(), "the document leaves rules behind: {left:?}");
    }

    fn stops_all(&mut self) {
        while let Some(instance) = self.running.last() {
            let name = instance.name.clone();
            self.stop(&name);
        }
    }

    fn is_on(&self, name: &str) -> bool {
        self.running.iter().any(|instance| instance.name == name)
    }

    /// Looks at the site from where connections are caught.
    fn visit(&mut self, words: &[&str]) -> Option<SessionLine> {
        let Instance { name, daemon, is_quiet, viewer } =
            self.running.last().expect("something runs before a site is looked at");
        let text = self.scene.examples.text(&format!("{name}.toml"));
        let answer = said(&self.scene.view_from(!text.contains("\"local\""), name == "dns", words).stdout);
        assert!(answer.contains(" 200 "), "{answer}");
        if let Some(viewer) = viewer.clone() {
            self.pipes(&viewer, "Client Hello");
        } else if *is_quiet && name.is_empty() {
            daemon.out.wait_for("done by");
            self.shown += &(daemon.out.lines().join("\n") + "\n");
        }
        let Instance { name, daemon, is_quiet, .. } = self.running.last().expect("it runs still");
        if *is_quiet {
            if let Some(path) = access_log(&text) {
                let line = self.scene.logged(&path);
                assert!(line.contains(SITE) && line.contains("done"), "{line}");
                self.shown += &line;
            }
            return None;
        }
        let session = daemon.session_line();
        let source = if name == "dns" { "dns" } else { "sni" };
        session.expect(&format!("end=done name={SITE} name_source={source} target={SITE}:443 status=200"));
        Some(session)
    }

    // ---- units

    /// The instance of a unit, which the document shows.
    fn instance<'a>(&self, name: &'a str) -> &'a str {
        let (template, rest) = name.split_once('@').unwrap_or_else(|| panic!("{name} is no instance"));
        let (instance, kind) = rest.split_once('.').unwrap_or((rest, "service"));
        assert!(Path::new(&format!("{UNITS}/{template}@.{kind}")).is_file(), "there is no {template}@.{kind}");
        assert!(self.scene.examples.path(&format!("{instance}.toml")).is_file(), "{instance}.toml is shown nowhere");
        instance
    }

    fn systemctl(&mut self, of: &[&str]) {
        match *of {
            ["daemon-reload"] => {}
            ["enable", "--now", name] if name.ends_with(".socket") => _ = self.instance(name),
            ["enable", "--now", name] => {
                let instance = self.instance(name).to_owned();
                self.start(&instance);
            }
            ["disable", "--now", name] => {
                let instance = self.instance(name).to_owned();
                self.stop(&instance);
            }
            ["status" | "edit" | "reload" | "restart", ref names @ ..] => {
                for name in names {
                    assert!(
                        !of[0].starts_with("rel") || unit_of(name).contains("\nExecReload="),
                        "{name} has no reload"
                    );
                    self.instance(name);
                }
            }
            _ => panic!("no test knows systemctl {of:?}"),
        }
    }

    /// Runs what the units would run for this instance.
    fn start(&mut self, instance: &str) {
        let port = |scene: &Scene, name: &str| {
            let text = scene.examples.text(&format!("{name}.toml"));
            text.lines().find(|line| line.starts_with("local-port")).map(str::to_owned)
        };
        // one port, one program
        let own = port(&self.scene, instance);
        let names = self.running.iter().map(|instance| instance.name.clone());
        let names: Vec<String> = names.filter(|name| name.is_empty() || port(&self.scene, name) == own).collect();
        for name in names {
            self.stop(&name);
        }
        let daemon = exec("handyproxy@.service", "ExecStart", instance);
        let flags: Vec<&str> = daemon[1..].iter().map(String::as_str).collect();
        for (kept, key) in [("log", "LogsDirectory"), ("run", "RuntimeDirectory")] {
            assert!(unit("handyproxy@.service").contains(&format!("\n{key}=handyproxy/%i\n")), "{key}");
            self.scene.makes(kept, &format!("handyproxy/{instance}"));
        }
        let is_quiet = access_log(&self.scene.examples.text(&format!("{instance}.toml"))).is_some();
        let daemon = self.scene.handyproxy(&flags);
        self.running.push(Instance { name: instance.to_owned(), daemon, is_quiet, viewer: None });
        self.rules_unit("ExecStart", instance);
        let up = self.scene.instances();
        assert!(up.contains(&instance.to_owned()), "{up:?} are up, and {instance} is not");
    }

    fn stop(&mut self, instance: &str) {
        self.running.retain(|running| running.name != instance);
        if !instance.is_empty() {
            self.rules_unit("ExecStop", instance);
            assert!(!self.scene.instances().contains(&instance.to_owned()), "the rules of {instance} are still up");
        }
    }

    fn rules_unit(&self, key: &str, instance: &str) {
        let words = exec("handyproxy-rules@.service", key, instance);
        self.scene.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// What the document's script starts, where nothing of OpenWrt is but a stand-in for procd.
    fn starts_script(&mut self) {
        self.stops_all();
        let [script] = &self.scripts[..] else { panic!("one script is shown: {:?}", self.scripts) };
        assert_eq!(self.mode("/etc/init.d/handyproxy"), 0o755, "rc.common runs it only then");
        let file = self.root.0.join("etc/init.d/handyproxy");
        fs::write(
            &file,
            script.replace("/etc/handyproxy/gateway.toml", &self.scene.examples.found("/etc/handyproxy/gateway.toml")),
        )
        .expect("our own folder");
        succeeds(Command::new("shellcheck").args(["-s", "sh", "-e", "SC2034"]).arg(&file));
        let procd = r#"
            procd_set_param() { [ "$1" != command ] || { shift; echo "$*"; }; }
            for name in open_instance close_instance send_signal; do
                eval "procd_$name() { echo $name >&2; }"
            done
            . "$0" && "$@""#;
        let call = |function: &str| {
            let script = file.to_str().expect("a plain path");
            said(&self.scene.command(&["sh", "-c", procd, script, function]).stdout)
        };
        let started = call("start_service");
        let words: Vec<&str> = started.lines().next().expect("a command").split_whitespace().collect();
        let [program, flags @ ..] = &words[..] else { panic!("no command: {started}") };
        assert_eq!(*program, "/usr/bin/handyproxy");
        assert!(self.scene.instances().contains(&"gateway".to_owned()), "no rules");
        drop(self.scene.handyproxy(flags));
        call("reload_service");
        call("stop_service");
        assert!(!self.scene.instances().contains(&"gateway".to_owned()), "rules are left");
    }

    // ---- files

    /// `install`, below a root of its own.
    fn install(&self, of: &[&str]) {
        let words: Vec<String> = of
            .iter()
            .map(|word| match *word {
                // a user that the package makes
                "handyproxy" => "nogroup".to_owned(),
                "/dev/null" => "/dev/null".to_owned(),
                word if word.starts_with("target/") => PROGRAM.to_owned(),
                word if word.starts_with(SHARED) => word.replace(SHARED, "deploy/"),
                word if word.starts_with('/') => self.below(word).to_string_lossy().into_owned(),
                word => word.to_owned(),
            })
            .collect();
        succeeds(Command::new("install").args(&words));
    }

    fn edits(&self, file: &str) {
        let mode = self.mode(file);
        assert_eq!(mode & 0o007, 0, "{file} was not made with the rights of a password: {mode:o}");
        fs::write(self.below(file), "secret\n").expect("our own folder");
    }

    fn set_mode(&self, file: &str, mode: &str) {
        let path = self.below(file);
        if !path.exists() {
            fs::write(&path, "").expect("our own folder");
        }
        let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
    }

    fn mode(&self, file: &str) -> u32 {
        let facts = fs::metadata(self.below(file)).unwrap_or_else(|why| panic!("{file} was not made before: {why}"));
        facts.permissions().mode() & 0o777
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.0.join(path.trim_start_matches('/'))
    }

    // ---- commands of handyproxy

    /// It reports, and finds something or not.
    fn doctor(&self, flags: &[&str]) {
        let output = self.scene.command_unjudged(&[&[PROGRAM, "doctor"], flags].concat());
        let report = said(&output.stdout);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{report}{}", said(&output.stderr));
        assert!(report.contains("\nok ") || report.starts_with("ok "), "{report}{}", said(&output.stderr));
    }

    /// Writes the instance that the flags ask for, where the document lets it ask, and starts nothing.
    fn setup(&self, flags: &[&str]) {
        if flags == ["-h"] {
            let help = said(&self.scene.command(&[PROGRAM, "setup", "-h"]).stdout);
            assert!(help.contains("-upstream "), "{help}");
            return;
        }
        let etc = self.below("etc/setup");
        let etc = etc.to_str().expect("a plain path");
        let mut words: Vec<String> = [PROGRAM, "setup"].map(str::to_owned).to_vec();
        words.extend(flags.iter().map(|word| match word.strip_prefix("/root/") {
            Some(_) => self.below(word).to_string_lossy().into_owned(),
            None => (*word).to_owned(),
        }));
        words.extend(["-etc", etc].map(str::to_owned));
        let name = flags.iter().position(|flag| *flag == "-name").map_or("gateway", |at| flags[at + 1]);
        let file = format!("{etc}/{name}.toml");
        if flags.contains(&"-undo") {
            words.push("-yes".to_owned());
            self.scene.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(!Path::new(&file).exists(), "{file} is still there");
            return;
        }
        // each is the first one on its machine
        let _ = fs::remove_dir_all(etc);
        words.extend(["-no-start", "-force"].map(str::to_owned));
        for (flag, value) in [("-yes", None), ("-upstream", Some(PROXY))] {
            if !flags.contains(&flag) {
                words.extend([Some(flag), value].into_iter().flatten().map(str::to_owned));
            }
        }
        self.scene.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        succeeds(Command::new(PROGRAM).args(["check", "-config", &file]).stdout(Stdio::null()));
    }
}

/// `apt install ./FILE`, of a package that deploy/build-deb makes, and the ways back.
fn apt(of: &[&str]) {
    match *of {
        ["install", file] => {
            let build = fs::read_to_string("deploy/build-deb").expect("deploy/build-deb");
            let name = file.rsplit('/').next().expect("split gives one at least");
            assert_eq!(name, "handyproxy_*.deb");
            assert!(build.contains("/debian/handyproxy_${version}_$arch.deb"), "it makes another file");
        }
        ["remove" | "purge", "handyproxy"] => {}
        _ => panic!("no test knows apt {of:?}"),
    }
}

/// The file in which a file of settings has sessions told of.
fn access_log(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("access-log "))?;
    line.split('"').nth(1).filter(|path| path.starts_with('/')).map(str::to_owned)
}

/// The text of a unit.
pub(super) fn unit(file: &str) -> String {
    fs::read_to_string(format!("{UNITS}/{file}")).unwrap_or_else(|why| panic!("{UNITS}/{file}: {why}"))
}

/// The unit of an instance.
fn unit_of(name: &str) -> String {
    let (template, rest) = name.split_once('@').expect("an instance");
    unit(&format!("{template}@.{}", rest.split_once('.').map_or("service", |(_, kind)| kind)))
}

/// The command behind a key, for this instance; its program is found in PATH.
fn exec(file: &str, key: &str, instance: &str) -> Vec<String> {
    let text = unit(file);
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
    let line = line.unwrap_or_else(|| panic!("{file} has no {key}"));
    let mut words: Vec<String> = line.split_whitespace().map(|word| word.replace("%i", instance)).collect();
    let installed = ["/usr/bin/handyproxy", "/usr/sbin/handyproxy-rules"];
    assert!(installed.contains(&words[0].as_str()), "{line}");
    words[0] = words[0].rsplit('/').next().expect("split gives one at least").to_owned();
    words
}

/// The words of a line, as a shell takes quotes.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "a quote is open: {line}");
    words.extend(word);
    words
}

fn is_executable(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
