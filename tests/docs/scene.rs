//! The machines that documents speak of, on which their commands are run.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::examples::Examples;
use super::help::parsed;
use super::lab::support::daemon::{Daemon, Launch};
use super::lab::support::netns::Netns;
use super::lab::support::topology::{PORT, Topology};
use super::{Folder, PROGRAM, RULES, SITE, output, said, succeeds};

/// A client, a gateway whose inner interface is eth0, and a world with a proxy and a site.
pub(super) struct Scene {
    pub(super) net: Topology,
    examples: Examples,
    folder: Folder,
    _world: World,
}

impl Scene {
    /// With these files on the gateway.
    pub(super) fn new(examples: Examples) -> Scene {
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
        Scene { net, examples, folder, _world: world }
    }

    /// Starts it on the gateway with just these flags, and waits until it listens.
    pub(super) fn handyproxy(&self, flags: &[&str]) -> Daemon {
        let flags = flags.iter().map(|word| self.examples.found(word)).collect::<Vec<_>>().join(" ");
        // the lab starts it on its own port, where the flags name none
        let launch = if flags.contains("-config") { Launch::words(&flags) } else { Launch::new(&flags) };
        let port = parsed(&format!("-local-port {PORT} {flags}")).local_port;
        let daemon = launch.with_file(&self.folder.0.join("hosts"), "/etc/hosts").start(&self.net.gateway);
        let line = daemon.log.wait_for("listening on");
        assert!(line.contains(&format!(":{port},")), "{line}");
        daemon
    }

    /// Runs a subcommand on the gateway; it succeeds and has something to say.
    pub(super) fn tell(&self, words: &[&str]) {
        assert_ne!(self.net.gateway.enter(|| self.examples.tells(words)), "", "{words:?}");
    }

    /// Runs the rules script on the gateway.
    pub(super) fn rules(&self, arguments: &[&str]) {
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
    pub(super) fn view(&self, place: &Netns, words: &[&str]) -> Output {
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

/// Runs `install SOURCE... TARGET` where /usr/local is empty, and checks that the files got there.
pub(super) fn installs(words: &[&str]) {
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
