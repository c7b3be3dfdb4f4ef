//! The machines that documents speak of, on which their commands are run.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::examples::Examples;
use super::help::parsed;
use super::lab::support::daemon::{Daemon, Launch};
use super::lab::support::eventually;
use super::lab::support::netns::Netns;
use super::lab::support::topology::{PORT, Topology};
use super::{Folder, PROGRAM, RULES, SITE, output, said, succeeds};

/// How names are resolved on the machines.
const MACHINES: [(&str, &str); 2] = [("hosts", "/etc/hosts"), ("no-resolv.conf", "/etc/resolv.conf")];
/// What is kept on the gateway: where the rules tool keeps what is to be taken back, sockets, and logs.
const KEPT: [(&str, &str); 2] = [("run", "/run"), ("log", "/var/log")];

/// A client, a gateway whose inner interface is eth1, and a world with a proxy and a site.
pub(super) struct Scene {
    pub(super) net: Topology,
    pub(super) examples: Examples,
    folder: Folder,
    _world: World,
}

impl Scene {
    /// With these files on the gateway.
    pub(super) fn new(examples: Examples) -> Scene {
        let net = Topology::new();
        net.gateway.ip("link set lan down
             link set lan name eth1
             link set eth1 up
             link add nowhere type veth peer name nobody
             link set nobody up
             link set nowhere up
             route add default dev nowhere
             route add ::/0 dev nowhere
             ");
        net.upstream.ip("addr add 203.0.113.10/32 dev lo\n");
        let folder = Folder::new();
        let machines = "127.0.0.1 localhost\n10.2.0.2 proxy.local proxy.corp.example\n";
        // one address, so that one visit is one connection
        folder.write("hosts", &format!("{machines}203.0.113.10 {SITE}\n"));
        folder.write("hosts-without-site", machines);
        // whoever it is, the rules lead to us
        folder.write("resolv.conf", "nameserver 203.0.113.53\n");
        // so that nobody waits for the servers of this machine
        folder.write("no-resolv.conf", "nameserver 127.0.0.1\n");
        for name in ["bin", "run", "log"] {
            fs::create_dir(folder.0.join(name)).expect("our own folder");
        }
        for (name, program) in [("handyproxy", Path::new(PROGRAM)), ("handyproxy-rules", Path::new(RULES))] {
            let program = program.canonicalize().expect("it is built");
            symlink(program, folder.0.join("bin").join(name)).expect("our own folder");
        }
        let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key -out ca";
        succeeds(
            Command::new("openssl")
                .args(make.split(' '))
                .args(["-subj", "/CN=site", "-addext", &format!("subjectAltName=DNS:{SITE}")])
                .current_dir(&folder.0),
        );
        let world = World::start(&net.upstream, &folder);
        Scene { net, examples, folder, _world: world }
    }

    /// Starts it on the gateway with just these flags, and waits until it listens.
    pub(super) fn handyproxy(&self, flags: &[&str]) -> Daemon {
        let flags = flags.iter().map(|word| self.examples.found(word)).collect::<Vec<_>>().join(" ");
        // the lab starts it on its own port, where the flags name none
        let has_file = flags.contains("-config");
        let launch = if has_file { Launch::words(&flags) } else { Launch::new(&flags) };
        let port = parsed(&if has_file { flags } else { format!("-local-port {PORT} {flags}") }).local_port;
        let launch = launch.with_file(&self.folder.0.join("hosts"), "/etc/hosts");
        let launch =
            KEPT.iter().fold(launch, |launch, (ours, theirs)| launch.with_file(&self.folder.0.join(ours), theirs));
        let daemon = launch.start(&self.net.gateway);
        let line = daemon.log.wait_for("listening on");
        assert!(line.contains(&format!(":{port},")), "{line}");
        daemon
    }

    /// Makes a folder of an instance below /var/log or /run, as its unit would.
    pub(super) fn makes(&self, kept: &str, name: &str) {
        fs::create_dir_all(self.folder.0.join(kept).join(name)).expect("our own folder");
    }

    /// What is in a file below /var/log of the gateway, as soon as there is something.
    pub(super) fn logged(&self, path: &str) -> String {
        let file = self.folder.0.join("log").join(path.strip_prefix("/var/log/").expect("a log"));
        eventually(|| match fs::read_to_string(&file) {
            Ok(text) if !text.is_empty() => Ok(text),
            other => Err(format!("{path}: {other:?}")),
        })
    }

    /// Runs a subcommand on the gateway; it succeeds and has something to say.
    pub(super) fn tell(&self, words: &[&str]) {
        assert_ne!(self.net.gateway.enter(|| self.examples.tells(words)), "", "{words:?}");
    }

    /// Runs `handyproxy` with these words on the gateway, together with the rules tool.
    pub(super) fn tool(&self, words: &[&str]) -> String {
        said(&self.command(&[&[PROGRAM], words].concat()).stdout)
    }

    /// Runs the rules script on the gateway.
    pub(super) fn rules(&self, arguments: &[&str]) {
        // users that the page invents, or that come with a package
        let known = arguments.iter().map(|&word| match word {
            "handyproxy" | "cntlm" => "nobody",
            word => word,
        });
        let words: Vec<&str> = ["handyproxy-rules"].into_iter().chain(known).collect();
        let output = self.command_unjudged(&words);
        let is_done = match (output.status.code(), arguments) {
            // nothing is up
            (Some(3), ["status", ..]) => true,
            (code, _) => code == Some(0),
        };
        assert!(is_done, "{words:?}: {}{}", said(&output.stdout), said(&output.stderr));
        let value = |option| arguments.iter().position(|word| *word == option).map(|at| arguments[at + 1].to_owned());
        if let (Some(name), true) = (value("--name").or_else(|| value("--port")), !arguments.contains(&"confirm")) {
            assert_eq!(
                self.instances().contains(&name),
                !arguments.contains(&"down"),
                "after handyproxy-rules {arguments:?}"
            );
        }
    }

    /// The names of the rules that are up on the gateway.
    pub(super) fn instances(&self) -> Vec<String> {
        let output = self.command_unjudged(&["handyproxy-rules", "status", "--porcelain"]);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", said(&output.stderr));
        let lines = said(&output.stdout);
        let words = lines.lines().filter_map(|line| line.split(' ').find_map(|word| word.strip_prefix("name=")));
        words.map(str::to_owned).collect()
    }

    /// Runs a command on the gateway; it succeeds.
    pub(super) fn command(&self, words: &[&str]) -> Output {
        let output = self.command_unjudged(words);
        assert!(output.status.success(), "{words:?}: {}{}", said(&output.stdout), said(&output.stderr));
        output
    }

    /// The same, however it ends.
    pub(super) fn command_unjudged(&self, words: &[&str]) -> Output {
        let mut command = self.on_the_gateway(words);
        self.net.gateway.enter(|| output(&mut command))
    }

    /// A command that sees what is on the gateway, to be run there.
    pub(super) fn on_the_gateway(&self, words: &[&str]) -> Command {
        let words: Vec<String> = words.iter().map(|word| self.examples.found(word)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = seeing(&self.folder, &[&MACHINES[..], &KEPT[..]].concat(), &words);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", self.folder.0.join("bin").display()))
            .env("TMUX_TMPDIR", &self.folder.0)
            .env_remove("CREDENTIALS_DIRECTORY");
        command
    }

    /// Runs a command that looks at the site, from the client or from the gateway itself; it must succeed. With our own DNS
    /// it knows no address by itself.
    pub(super) fn view_from(&self, is_client: bool, with_dns: bool, words: &[&str]) -> Output {
        let place = if is_client { &self.net.client } else { &self.net.gateway };
        let with = [("hosts-without-site", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")];
        let words = [&["timeout", "120"], words].concat();
        let mut command = seeing(&self.folder, if with_dns { &with } else { &MACHINES }, &words);
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
        let mut command = seeing(folder, &MACHINES, &program);
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

/// A command that sees these files of a folder in the place of others.
fn seeing(folder: &Folder, mounts: &[(&str, &str)], words: &[&str]) -> Command {
    let mount =
        |(ours, theirs): &(&str, &str)| format!("mount --bind '{}' {theirs} && ", folder.0.join(ours).display());
    let mounts: String = mounts.iter().map(mount).collect();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &format!(r#"{mounts}exec "$@""#), "sh"]).args(words);
    command
}
