//! What lies beyond the gateway: deploy/demo/world.py, a proxy that opens tunnels by name, and a site behind it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use super::lab::support::eventually;
use super::lab::support::netns::Netns;
use super::lab::support::topology::Topology;
use super::scratch::Scratch;
use super::{output, said, succeeds};

pub(super) const SITE: &str = "www.example.org";
/// Where the clients take the site to be; the gateway has no way there, and only the proxy knows where it is.
const ADDRESS: &str = "203.0.113.10";

/// A client and a world with a proxy at 10.2.0.2:3128, killed when dropped.
pub(super) struct World {
    scratch: Scratch,
    process: Child,
    told: Arc<Mutex<String>>,
}

impl World {
    pub(super) fn new(net: &Topology) -> World {
        let scratch = Scratch::new();
        let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key -out ca";
        succeeds(
            Command::new("openssl")
                .args(make.split(' '))
                .args(["-subj", "/CN=site", "-addext", &format!("subjectAltName=DNS:{SITE}")])
                .current_dir(scratch.folder()),
        );
        let hosts = scratch.write("hosts", &format!("127.0.0.1 localhost\n127.0.0.1 {SITE}\n"));
        let mut command = Command::new("unshare");
        let line = r#"mount --bind "$0" /etc/hosts && exec setpriv --pdeathsig KILL python3 deploy/demo/world.py "$@""#;
        command.args(["-m", "sh", "-c", line]).arg(hosts).args([scratch.path("ca"), scratch.path("key")]);
        let mut process = net.upstream.enter(|| command.stdout(Stdio::piped()).spawn()).expect("unshare is there");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("ready"));
        let told = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&told);
        // it must never wait for somebody to read
        std::thread::spawn(move || {
            for line in lines {
                heard.lock().expect("nobody panics with it").push_str(&(line + "\n"));
            }
        });
        World { scratch, process, told }
    }

    /// A client that knows of no proxy looks at the site, over http or https, for so many seconds at most.
    pub(super) fn visit(&self, client: &Netns, scheme: &str, seconds: &str) -> Output {
        let port = if scheme == "http" { 80 } else { 443 };
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", seconds, "--noproxy", "*"]);
        command.args(["--resolve", &format!("{SITE}:{port}:{ADDRESS}")]);
        command.arg("--cacert").arg(self.scratch.path("ca")).arg(format!("{scheme}://{SITE}/"));
        client.enter(|| output(&mut command))
    }

    /// It does, and by name: the proxy was asked for it.
    pub(super) fn is_reached_by_name(&self, client: &Netns) {
        for (scheme, port) in [("http", 80), ("https", 443)] {
            self.told.lock().expect("nobody panics with it").clear();
            let page = self.visit(client, scheme, "60");
            assert_eq!(
                said(&page.stdout),
                format!("This is {SITE}, reached over {scheme}.\n"),
                "{}",
                said(&page.stderr)
            );
            let wanted = format!("proxy: CONNECT {SITE}:{port} HTTP/1.1 from 10.2.0.1: 200");
            eventually(|| {
                let told = self.told.lock().expect("nobody panics with it").clone();
                if told.contains(&wanted) { Ok(()) } else { Err(told) }
            });
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
