//! README, man page, --help and the quick start, held to the program: what they say is so, and every command in them
//! works. Network commands run in namespaces of their own. Needs root, mandoc and what deploy/quickstart needs.

#[expect(dead_code, unreachable_pub, reason = "the lab's network and daemon serve here too, but not all of them")]
#[path = "lab"]
mod lab {
    pub(crate) mod support;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Cursor};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use handyproxy::addr::Source;
use handyproxy::close::{By, End, Stage, Weight};
use handyproxy::config::{self, Config};
use lab::support::daemon::{Daemon, Launch};
use lab::support::eventually;
use lab::support::journal::Journal;
use lab::support::netns::Netns;
use lab::support::topology::{PORT, Topology};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handyproxy");
const RULES: &str = "iptables/handyproxy-rules";
const MAN: &str = "man/handyproxy.8";
const QUICKSTART: &str = "deploy/quickstart";
/// Known to debug builds alone.
const DEBUG_FLAG: &str = "default-origin";
const SITE: &str = "www.example.org";

// ---- --help

#[test]
fn help_fits_the_terminal_and_a_hundred_columns_elsewhere() {
    for (columns, widest) in [(None, 100), (Some("100"), 100), (Some("80"), 80)] {
        let text = help(columns);
        let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > widest).collect();
        assert_eq!(long, [""; 0], "COLUMNS={columns:?}");
        assert!(text.lines().count() > 20, "{text}");
    }
}

#[test]
fn the_examples_of_the_originals_documentation_are_understood() {
    let plain = parsed("-local-port 8043 -upstream-proxy proxy.local -dial-timeout 25s");
    assert_eq!((plain.local_port, plain.dial_timeout.as_secs()), (8043, 25));
    assert_eq!((plain.upstream_proxy.to_string().as_str(), plain.sniff_timeout), ("proxy.local:3128", None));
    let sniffing = parsed(
        "-local-port 8043 -upstream-proxy proxy.local -dial-timeout 25s -sniff-max-bytes 16384 -sniff-timeout 2s",
    );
    assert_eq!((sniffing.sniff_max_bytes, sniffing.sniff_timeout.map(|t| t.as_secs())), (16384, Some(2)));
}

// ---- the man page

#[test]
fn mandoc_has_nothing_to_warn_of() {
    let output = output(Command::new("mandoc").args(["-T", "lint", "-W", "warning", MAN]));
    assert_eq!(said(&output.stdout), "");
    assert!(output.status.success());
}

#[test]
fn the_man_page_has_the_flags_of_help_and_their_defaults() {
    let man = Page::read();
    let documented: BTreeMap<String, Option<String>> =
        man.items("OPTIONS", "Fl").into_iter().map(|item| (item.name.clone(), item.default())).collect();
    assert_eq!(documented, flags());
    let synopsis = man.section("SYNOPSIS").join(" ");
    for flag in flags().keys() {
        let named = [format!("Fl {flag} "), format!("| {flag} "), format!("| {flag}")];
        assert!(named.iter().any(|n| synopsis.contains(n)), "{flag} is not in the synopsis");
    }
}

#[test]
fn the_man_page_has_the_options_of_the_rules_script() {
    let man = Page::read();
    let page = man.section("THE RULES").join("\n");
    let usage = said(&output(Command::new(RULES).arg("--help")).stdout);
    let words = usage.split(|c: char| c.is_whitespace() || "[],.()".contains(c));
    let options: BTreeSet<&str> =
        words.filter(|w| w.starts_with('-') && w.len() > 1 && !w.starts_with("-local") && *w != "-mark").collect();
    assert!(options.contains("--dports") && options.contains("-4"), "{options:?}");
    for option in options {
        assert!(page.contains(&format!("Fl {}", &option[1..])), "{option} is not in the man page");
    }
    for item in man.items("THE RULES", "Fl") {
        assert!(usage.contains(&format!("-{}", item.name)), "there is no -{}", item.name);
    }
}

#[test]
fn the_man_page_has_every_end_of_a_session_and_how_loud_it_is() {
    let man = Page::read();
    let mut weight = None;
    let mut documented = Vec::new();
    for line in man.subsection("LOG", "How a session ended") {
        weight = match line.split(',').next() {
            Some("Logged as info") => Some(Weight::Info),
            Some("Logged as warning") => Some(Weight::Warn),
            Some("Logged as error") => Some(Weight::Error),
            _ => weight,
        };
        if let Some(label) = line.strip_prefix(".It Cm ") {
            documented.push((label.to_owned(), weight));
        }
    }
    let mut wanted: Vec<_> = End::ALL.into_iter().map(|end| (end.label().to_owned(), Some(end.weight()))).collect();
    documented.sort_by(|a, b| a.0.cmp(&b.0));
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(documented, wanted);
}

#[test]
fn the_man_page_has_every_word_that_a_session_line_may_say() {
    let page = Page::read().subsection("LOG", "The session line").join("\n") + "\n";
    let stages = [Stage::Origin, Stage::Sniff, Stage::Dial, Stage::Connect, Stage::Relay].map(|s| s.to_string());
    let sources = [Source::Sni, Source::SniOuter, Source::HostField, Source::Authority].map(|s| s.to_string());
    let who = [By::Client, By::Upstream, By::Us].map(|by| by.to_string());
    for word in stages.iter().chain(&sources).chain(&who) {
        let named = [format!(".Cm {word} "), format!(".Cm {word}\n")];
        assert!(named.iter().any(|n| page.contains(n)), "{word}");
    }
}

#[test]
fn the_log_lines_in_the_man_page_stand_in_the_program() {
    let program = source(Path::new("src"));
    let lines = Page::read().items("LOG", "Qq");
    assert!(lines.len() > 5);
    for line in lines {
        assert!(program.contains(&line.head), "no {:?} in src", line.head);
    }
}

/// One after the other on one machine, as an administrator would.
#[test]
fn every_command_of_the_man_page_works() {
    let stage = Scene::new();
    let mut count = 0;
    for command in Page::read().commands() {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[0] {
            "handyproxy" => drop(stage.handyproxy(&words[1..])),
            "handyproxy-rules" | "+/usr/local/sbin/handyproxy-rules" => stage.rules(&words[1..]),
            "/usr/local/sbin/handyproxy" => drop(stage.handyproxy(&words[1..])),
            "iptables" | "ip6tables" => _ = stage.net.gateway.run(&command),
            "curl" => assert!(readme_commands().contains(&command), "{command}: run as a part of the README"),
            // these only look at, or start, a unit that the page shows
            "journalctl" | "systemctl" => assert!(command.contains("handyproxy") || command.contains("daemon-reload")),
            _ => panic!("no test runs this command of the man page: {command}"),
        }
        count += 1;
    }
    assert!(count > 20, "{count} commands");
}

// ---- README

#[test]
fn the_readme_has_the_flags_of_help_and_their_defaults() {
    let rows: BTreeMap<String, Option<String>> = readme()
        .lines()
        .filter_map(|line| {
            let (flag, rest) = line.strip_prefix("| `-")?.split_once("` | ")?;
            Some((flag.to_owned(), Some(rest.split(" |").next()?.to_owned())))
        })
        .collect();
    let mut wanted = flags();
    wanted.retain(|_, default| default.is_some());
    assert_eq!(rows, wanted);
}

#[test]
fn the_files_that_the_readme_links_to_are_there() {
    let text = readme();
    let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.contains(&"LICENSE-MIT") && links.contains(&"LICENSE-APACHE"), "{links:?}");
    for link in links.iter().filter(|link| !link.starts_with("https://")) {
        assert!(Path::new(link).is_file(), "{link}");
    }
}

/// One after the other, as they stand, on the machines that the README means.
#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let scene = Scene::new();
    let mut running = None;
    let commands = readme_commands();
    for command in &commands {
        let words: Vec<&str> = command.strip_prefix("sudo ").unwrap_or(command).split_whitespace().collect();
        match words[..] {
            // what it shows is checked by the tests of it
            [QUICKSTART] => {}
            // it runs this very test
            ["tests/run"] => assert!(is_executable("tests/run")),
            ["cargo", "build", "--release"] => succeeds(Command::new(env!("CARGO")).args(&words[1..])),
            ["install", ..] => installs(&words),
            ["handyproxy", ref flags @ ..] => {
                // one port, one program
                drop(running.take());
                running = Some(scene.handyproxy(flags));
            }
            [RULES, ref arguments @ ..] => scene.rules(arguments),
            ["curl", ..] => {
                let daemon = running.as_ref().expect("the README starts handyproxy before it looks at a site");
                for place in [&scene.net.client, &scene.net.gateway] {
                    let answer = said(&scene.view(place, &words).stdout);
                    assert!(answer.contains(" 200 "), "{answer}");
                    let session = daemon.session_line();
                    session.expect(&format!("end=done name={SITE} name_source=sni target={SITE}:443 status=200"));
                    assert_eq!(session.keys(), sample().keys(), "the README shows another line");
                    keys_are_documented(&session.keys());
                }
            }
            ["iptables", ..] => {
                let table = scene.net.gateway.run(&words.join(" "));
                let counts: Vec<&str> = table
                    .lines()
                    .filter(|line| line.contains("REDIRECT"))
                    .filter_map(|line| line.split_whitespace().next())
                    .collect();
                assert_eq!(counts, ["1", "1"], "one visit each for gateway and local\n{table}");
            }
            _ => panic!("no test runs this command of the README: {command}"),
        }
    }
    assert!(commands.len() > 10, "{commands:?}");
    let left = scene.net.gateway.run("iptables -t nat -S");
    assert!(!left.contains("HANDYPROXY"), "the README leaves rules behind: {left}");
}

// ---- deploy/quickstart

#[test]
fn the_quick_start_shows_every_hop_and_leaves_nothing() {
    let (pid, output) = ended(quickstart(PROGRAM).spawn().expect("it is executable"));
    let shown = said(&output.stdout);
    assert!(output.status.success(), "{shown}{}", said(&output.stderr));
    for words in [
        "curl: (7) Failed to connect",
        "rules       iptables REDIRECT caught it: 0 packets before, 1 after",
        "name=www.demo.example name_source=host target=www.demo.example:80",
        "name=www.demo.example name_source=sni target=www.demo.example:443",
        "origin=[2001:db8::10]:443",
        "upstream    CONNECT www.demo.example:443 HTTP/1.1 from 10.2.0.1: 200",
        "site        https GET / HTTP/1.1 for www.demo.example: 200",
        "client      got: This is www.demo.example, reached over https.",
        "\nIt works",
    ] {
        assert!(shown.contains(words), "no {words:?} in\n{shown}");
    }
    left_nothing(pid);
}

#[test]
fn a_quick_start_that_fails_names_the_hop_and_leaves_nothing() {
    let (pid, output) = ended(quickstart("/bin/true").spawn().expect("it is executable"));
    assert_eq!(output.status.code(), Some(1));
    let why = said(&output.stderr);
    assert!(why.contains("It does NOT work. It went wrong at the hop \"handyproxy\": it did not start"), "{why}");
    left_nothing(pid);
}

#[test]
fn a_quick_start_that_is_interrupted_leaves_nothing() {
    let mut child = quickstart(PROGRAM).spawn().expect("it is executable");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("The gateway is set up")), "it shows nothing");
    killpg(group(child.id()), Signal::SIGINT).expect("it runs");
    let (pid, output) = ended(child);
    assert_eq!(output.status.code(), Some(130), "{}", said(&output.stderr));
    left_nothing(pid);
}

#[test]
fn the_quick_start_says_that_it_needs_root() {
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", "/bin/sh", "-c"];
    // read by root: nobody may not be allowed to look into this folder
    let script = fs::read_to_string(QUICKSTART).expect(QUICKSTART);
    let output = output(Command::new("setpriv").args(nobody).args([&script, QUICKSTART]).current_dir("/"));
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output.stderr).contains("sudo deploy/quickstart"), "{}", said(&output.stderr));
}

#[test]
fn shellcheck_has_nothing_to_say_of_the_quick_start() {
    succeeds(Command::new("shellcheck").arg(QUICKSTART));
}

// ---- a stage for commands

/// A client, a gateway whose inner interface is eth0, and a world with a proxy and a site.
struct Scene {
    net: Topology,
    folder: Folder,
    _world: World,
}

impl Scene {
    fn new() -> Scene {
        let net = Topology::new();
        net.gateway.ip("link set lan down
             link set lan name eth0
             link set eth0 up
             link add nowhere type veth peer name nobody
             link set nobody up
             link set nowhere up
             route add default dev nowhere
             route add ::/0 dev nowhere
             ");
        net.upstream.ip("addr add 203.0.113.10/32 dev lo\n");
        let folder = Folder::new();
        // one address, so that one visit is one connection
        folder.write("hosts", &format!("127.0.0.1 localhost\n10.2.0.2 proxy.local\n203.0.113.10 {SITE}\n"));
        let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key -out ca";
        succeeds(
            Command::new("openssl")
                .args(make.split(' '))
                .args(["-subj", "/CN=site", "-addext", &format!("subjectAltName=DNS:{SITE}")])
                .current_dir(&folder.0),
        );
        let world = World::start(&net.upstream, &folder);
        Scene { net, folder, _world: world }
    }

    /// Starts it on the gateway with just these flags, and waits until it listens.
    fn handyproxy(&self, flags: &[&str]) -> Daemon {
        // the lab starts it on its own port, where the flags name none
        let port = parsed(&format!("-local-port {PORT} {}", flags.join(" "))).local_port;
        let launch = Launch::new(&flags.join(" ")).with_file(&self.folder.0.join("hosts"), "/etc/hosts");
        let daemon = launch.start(&self.net.gateway);
        let line = daemon.log.wait_for("listening on");
        assert!(line.contains(&format!(":{port},")), "{line}");
        daemon
    }

    /// Runs the rules script on the gateway.
    fn rules(&self, arguments: &[&str]) {
        // users that the page invents, or that come with a package
        let known = arguments.iter().map(|&word| match word {
            "handyproxy" | "cntlm" => "nobody",
            word => word,
        });
        let line = format!("{RULES} {}", known.collect::<Vec<_>>().join(" "));
        self.net.gateway.run(&line);
        let table = self.net.gateway.run("iptables -t nat -S");
        let chain = if line.contains("gateway") { "HANDYPROXY_GW_8043" } else { "HANDYPROXY_LO_8043" };
        assert_eq!(table.contains(chain), !line.contains(" down"), "after {line}:\n{table}");
    }

    /// Runs a command that looks at the site, there; it must succeed.
    fn view(&self, place: &Netns, words: &[&str]) -> Output {
        let mut command = seeing(&self.folder.0.join("hosts"), words);
        command.env("CURL_CA_BUNDLE", self.folder.0.join("ca"));
        let output = place.enter(|| output(&mut command));
        assert!(output.status.success(), "{words:?}: {}", said(&output.stderr));
        output
    }
}

/// deploy/demo/world.py, killed when dropped.
struct World(Child);

impl World {
    fn start(place: &Netns, folder: &Folder) -> World {
        let program = ["setpriv", "--pdeathsig", "KILL", "--", "python3", "deploy/demo/world.py"];
        let mut command = seeing(&folder.0.join("hosts"), &program);
        command.args([folder.0.join("ca"), folder.0.join("key")]).stdout(Stdio::piped());
        let mut child = place.enter(|| command.spawn()).expect("python3 is installed");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let world = World(child);
        assert_eq!(lines.next().and_then(Result::ok).as_deref(), Some("ready"));
        // it must never wait for somebody to read
        std::thread::spawn(move || lines.for_each(drop));
        world
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that resolves names by this file.
fn seeing(hosts: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#]).arg(hosts).args(words);
    command
}

/// A folder for files, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("handyproxy-docs-{}-{number}", std::process::id()));
        fs::create_dir(&folder).expect("a folder of our own");
        Folder(folder)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("our own folder");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `install SOURCE... TARGET` where /usr/local is empty, and checks that the files got there.
fn installs(words: &[&str]) {
    let folders = Path::new(PROGRAM).ancestors().nth(2).expect("target/debug/handyproxy");
    let words = words.iter().map(|word| match word.strip_prefix("target/") {
        // the README knows nothing of CARGO_TARGET_DIR
        Some(below) => folders.join(below).to_string_lossy().into_owned(),
        None => (*word).to_owned(),
    });
    let words: Vec<String> = words.collect();
    let room = r#"mount -t tmpfs none /usr/local && mkdir /usr/local/sbin && "$@" && find /usr/local -type f"#;
    let output = output(Command::new("unshare").args(["-m", "sh", "-c", room, "sh"]).args(&words));
    assert!(output.status.success(), "{words:?}: {}", said(&output.stderr));
    let there = said(&output.stdout);
    for file in words.iter().filter(|word| Path::new(word).is_file()) {
        let name = Path::new(file).file_name().expect("a file").to_string_lossy().into_owned();
        assert!(there.lines().any(|path| path.ends_with(&format!("/{name}"))), "{name} is not in {there}");
    }
    assert_ne!(there, "");
}

// ---- the quick start's ends

fn quickstart(program: &str) -> Command {
    // a run in the background may have been told to ignore ^C, and a shell cannot undo that
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", QUICKSTART]).env("HANDYPROXY_BIN", program).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended(child: Child) -> (u32, Output) {
    (child.id(), child.wait_with_output().expect("our child"))
}

fn left_nothing(pid: u32) {
    let own = format!("hpdemo-{pid}");
    let namespaces = said(&output(Command::new("ip").args(["netns", "list"])).stdout);
    assert!(!namespaces.contains(&own), "{namespaces}");
    let folders = fs::read_dir(std::env::temp_dir()).expect("a folder").filter_map(Result::ok);
    let left: Vec<_> = folders.map(|f| f.file_name()).filter(|f| f.to_string_lossy().starts_with(&own)).collect();
    assert!(left.is_empty(), "{left:?}");
    eventually(|| match living(pid) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("its processes still run: {left:?}")),
    });
}

/// The processes of a group, apart from dead ones that nobody has asked for.
fn living(group: u32) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("proc(5)").filter_map(Result::ok);
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    stats
        .filter(|stat| {
            // PID (NAME) STATE PARENT GROUP
            let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
            let fields: Vec<&str> = fields.split(' ').collect();
            fields.get(2) == Some(&group.to_string().as_str()) && fields[0] != "Z"
        })
        .collect()
}

fn group(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("pid_max is below 2^22"))
}

// ---- what is said where

/// What -h prints.
fn help(columns: Option<&str>) -> String {
    let mut command = Command::new(PROGRAM);
    command.arg("-h").env_remove("COLUMNS").stdin(Stdio::null());
    if let Some(columns) = columns {
        command.env("COLUMNS", columns);
    }
    let output = output(&mut command);
    assert!(output.status.success());
    said(&output.stdout)
}

/// Each flag of -h, and its default if it takes a value.
fn flags() -> BTreeMap<String, Option<String>> {
    let mut entries: Vec<String> = Vec::new();
    for line in help(None).lines() {
        match (line.strip_prefix("       -"), entries.last_mut()) {
            (Some(flag), _) => entries.push(flag.to_owned()),
            (None, Some(entry)) if line.starts_with("       ") => {
                entry.push(' ');
                entry.push_str(line.trim());
            }
            _ => {}
        }
    }
    let flags: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| {
            let name = entry.split_whitespace().next().expect("split never starts with nothing");
            let default = entry.split_once("[default: ").map(|(_, rest)| rest.trim_end_matches(']').to_owned());
            (name.to_owned(), default)
        })
        .filter(|(name, _)| name != DEBUG_FLAG)
        .collect();
    assert!(flags.len() > 10, "{flags:?}");
    flags
}

fn parsed(flags: &str) -> Config {
    match config::Command::parse(flags.split_whitespace().map(str::to_owned)) {
        Ok(config::Command::Run(config)) => *config,
        other => panic!("{flags}: {other:?}"),
    }
}

fn readme() -> String {
    fs::read_to_string("README.md").expect("README.md")
}

/// The lines of the README's blocks of commands.
fn readme_commands() -> Vec<String> {
    let text = readme();
    let mut commands = Vec::new();
    for (number, part) in text.split("```").enumerate() {
        // every other part is a block
        if number % 2 == 0 {
            continue;
        }
        let (language, lines) = part.split_once('\n').expect("a block has lines");
        match language {
            "sh" => commands.extend(lines.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned)),
            "text" => {}
            _ => panic!("a block is sh, and run, or text, and not {language:?}"),
        }
    }
    commands
}

/// The session line that the README shows.
fn sample() -> lab::support::journal::SessionLine {
    Journal::of(Cursor::new(readme().into_bytes())).take_session("a session in the README", |_| true)
}

fn keys_are_documented(keys: &[&str]) {
    let page = Page::read().subsection("LOG", "The session line");
    let documented = page.iter().filter_map(|line| line.strip_prefix(".It Cm "));
    // there is none in a line without a fault
    let documented: Vec<&str> = documented.filter(|key| *key != "error").collect();
    assert_eq!(documented, keys, "in the man page and in a session line");
}

/// The source of the man page, without its escapes.
struct Page(Vec<String>);

/// An entry of a list.
struct Item {
    /// The first word behind the macro.
    name: String,
    /// All of them.
    head: String,
    body: Vec<String>,
}

impl Item {
    fn default(&self) -> Option<String> {
        let line = self.body.iter().find_map(|line| line.strip_prefix("Default: "))?;
        Some(line.trim_end_matches('.').to_owned())
    }
}

impl Page {
    fn read() -> Page {
        let text = fs::read_to_string(MAN).expect(MAN).replace("\\-", "-").replace("\\&", "");
        Page(text.lines().map(str::to_owned).collect())
    }

    fn section(&self, name: &str) -> Vec<String> {
        between(&self.0, ".Sh ", name)
    }

    fn subsection(&self, section: &str, name: &str) -> Vec<String> {
        between(&self.section(section), ".Ss ", name)
    }

    /// The entries of a section's lists that begin with this macro.
    fn items(&self, section: &str, macro_name: &str) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        let mut open = false;
        for line in self.section(section) {
            if let Some(head) = line.strip_prefix(".It ") {
                open = head.split(' ').next() == Some(macro_name);
                if open {
                    let head = &head[macro_name.len() + 1..];
                    let name = head.split(' ').next().expect("split gives one at least").to_owned();
                    items.push(Item { name, head: head.to_owned(), body: Vec::new() });
                }
            } else if let (true, Some(item)) = (open, items.last_mut()) {
                item.body.push(line);
            }
        }
        assert!(!items.is_empty(), "no {macro_name} in {section}");
        items
    }

    /// Displayed command lines, and those of the unit.
    fn commands(&self) -> Vec<String> {
        let mut commands = Vec::new();
        let mut block: Option<Vec<&str>> = None;
        for line in &self.0 {
            match (line.as_str(), &mut block) {
                // blocks that are not indented are pictures
                (".Bd -literal -offset indent", _) => block = Some(Vec::new()),
                (".Ed", _) => commands.extend(block.take().map(|lines| block_commands(&lines)).unwrap_or_default()),
                (line, Some(lines)) => lines.push(line),
                (line, None) => commands.extend(line.strip_prefix(".Dl ").map(str::to_owned)),
            }
        }
        commands
    }
}

/// The commands in a block, or in the file that it shows.
fn block_commands(lines: &[&str]) -> Vec<String> {
    match lines.first() {
        Some(&"[Unit]") => {
            let exec = lines.iter().filter(|line| line.starts_with("Exec"));
            exec.filter_map(|line| line.split_once('=')).map(|(_, command)| command.to_owned()).collect()
        }
        // a file of cntlm's
        Some(first) if first.starts_with("Username ") => Vec::new(),
        _ => lines.iter().map(|line| (*line).to_owned()).collect(),
    }
}

/// The lines behind the one that begins with `heading` and is called `name`, up to the next such one.
fn between(lines: &[String], heading: &str, name: &str) -> Vec<String> {
    let wanted = format!("{heading}{name}");
    let behind = lines.iter().skip_while(|line| **line != wanted).skip(1);
    let found: Vec<String> = behind.take_while(|line| !line.starts_with(heading)).cloned().collect();
    assert!(!found.is_empty(), "the man page has no {wanted}");
    found
}

/// All of the program's source.
fn source(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("src is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            text.push_str(&source(&path));
        } else {
            text.push_str(&fs::read_to_string(&path).expect("source is text"));
        }
    }
    text
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|why| panic!("{:?}: {why}", command.get_program()))
}

fn succeeds(command: &mut Command) {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}{}", said(&output.stdout), said(&output.stderr));
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_executable(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
