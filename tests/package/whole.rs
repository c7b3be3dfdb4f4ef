//! The static program: it needs nothing but a kernel.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::lab::support::eventually;
use super::lab::support::topology::{PORT, Topology, V4};
use super::scratch::Scratch;
use super::{built, said, succeeds};

fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("deploy/build-static", &[]))
}

#[test]
fn it_asks_for_no_library_and_its_licences_lie_beside_it() {
    let headers = succeeds(Command::new("readelf").args(["--wide", "--program-headers", "--dynamic"]).arg(program()));
    assert!(headers.contains("LOAD"), "{headers}");
    assert!(!headers.contains("INTERP") && !headers.contains("NEEDED"), "{headers}");
    let licences = fs::read_to_string(program().with_file_name("copyright")).expect("it lies beside it");
    assert!(licences.contains("Files: musl/*") && licences.contains("Files: tokio/*"));
}

#[test]
fn it_runs_where_there_is_nothing_else() {
    let root = root("");
    let told = succeeds(Command::new("chroot").arg(root.folder()).args(["/handyproxy", "-version"]));
    assert_eq!(told, format!("HandyProxy {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn it_opens_tunnels_where_there_is_nothing_else() {
    let net = Topology::new();
    net.redirect();
    let upstream = net.upstream.listen("10.2.0.2:3128");
    let root = root("upstream-proxy = \"10.2.0.2\"\n");
    let _daemon = Daemon::start(&net, &root);
    let mut client = net.client.connect(SocketAddr::new(V4, 443));
    let mut wire = upstream.accept_asked();
    wire.expect_connect("203.0.113.9:443");
    wire.reply("HTTP/1.1 200 OK\r\n\r\nhello");
    client.expect(b"hello");
}

/// dlopen(3) of a static program opens nothing: the words must not send an admin to look for a package.
#[test]
fn negotiate_says_that_a_static_program_cannot() {
    let net = Topology::new();
    net.redirect();
    let _upstream = net.upstream.listen("10.2.0.2:3128");
    let text = "upstream-proxy = \"corp\"\n[upstream.corp]\nproxy = \"proxy.corp.example\"\nauth = \"negotiate\"\n";
    let root = root(text);
    let daemon = Daemon::start(&net, &root);
    let _client = net.client.connect(SocketAddr::new(V4, 443));
    let line = daemon.waits_for("a static build of handyproxy cannot open libgssapi_krb5.so.2");
    assert!(line.contains("no credentials for") || line.contains("end=auth"), "{line}");
}

/// An empty folder with the program in it, and what it reads.
fn root(settings: &str) -> Scratch {
    let root = Scratch::new();
    // by a child: a descriptor of ours could be open in another test's fork and make the program "busy"
    succeeds(Command::new("cp").arg(program()).arg(root.path("handyproxy")));
    root.write("settings.toml", &format!("local-port = {PORT}\nmark = 0\n{settings}"));
    fs::create_dir(root.path("etc")).expect("our folder");
    root.write("etc/hosts", "10.2.0.2 proxy.corp.example\n");
    root
}

/// The program in its folder, killed when dropped.
struct Daemon {
    process: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(net: &Topology, root: &Scratch) -> Daemon {
        let log = root.write("log", "");
        let file = fs::File::create(&log).expect("our folder");
        let mut command = Command::new("chroot");
        command.arg(root.folder()).args(["/handyproxy", "-config", "/settings.toml"]).stdin(Stdio::null());
        let process =
            net.gateway.enter(|| command.stdout(Stdio::null()).stderr(file).spawn()).expect("chroot is there");
        let daemon = Daemon { process, log };
        daemon.waits_for("listening on");
        daemon
    }

    fn waits_for(&self, words: &str) -> String {
        eventually(|| {
            let log = said(&fs::read(&self.log).expect("our folder"));
            log.lines().find(|line| line.contains(words)).map(str::to_owned).ok_or(log)
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
