//! Network namespaces, real packets through them, and what the script says.

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{Uid, geteuid, setfsuid};
use socket2::{Domain, Socket, Type};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What is tested.
pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/iptables/handyproxy-rules");
/// Both variants of iptables.
pub const BACKENDS: [&str; 2] = ["nft", "legacy"];
/// Each tool in its three forms, as the links in front of PATH are named.
pub const TOOLS: [&str; 7] =
    ["iptables", "iptables-restore", "iptables-save", "ip6tables", "ip6tables-restore", "ip6tables-save", "nft"];

/// A network namespace with a /run of its own (the xtables lock is there), and one backend's tools in front of its PATH.
pub struct Net {
    pub holder: Child,
    pub tools: PathBuf,
}

pub fn both() -> [Net; 2] {
    BACKENDS.map(Net::new)
}

impl Net {
    pub fn new(backend: &str) -> Net {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(geteuid().is_root(), "this test makes network namespaces: run it as root");
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c"])
            .arg("mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && exec cat >/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn unshare");
        expect_line(&mut holder, "ready");
        let unique = format!("rules-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let net = Net { holder, tools: Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique) };
        net.link_tools(backend);
        net
    }

    /// Puts the backend's own tools in front of PATH, in place of what [`Net::replace`] put there.
    pub fn link_tools(&self, backend: &str) {
        let _ = fs::remove_dir_all(&self.tools);
        fs::create_dir_all(&self.tools).expect("make the tools' directory");
        for tool in TOOLS {
            let (family, form) = tool.split_once('-').unwrap_or((tool, ""));
            let real = if tool == "nft" { tool.to_owned() } else { [family, backend, form].join("-") };
            let real = real.trim_end_matches('-');
            let found =
                ["/usr/sbin", "/sbin", "/usr/bin"].map(|d| Path::new(d).join(real)).into_iter().find(|p| p.exists());
            let found = found.unwrap_or_else(|| panic!("{real} is not installed: install the package iptables"));
            symlink(found, self.tools.join(tool)).expect("link a tool");
        }
    }

    pub fn replace(&self, tool: &str, script: &str) {
        fs::remove_file(self.tools.join(tool)).expect("remove the link");
        self.write_tool(tool, script);
    }

    fn write_tool(&self, tool: &str, script: &str) {
        let path = self.tools.join(tool);
        // written by a child: a descriptor of ours could be open in another test's fork and make the tool "busy"
        let mut write = Command::new("sh");
        write.args(["-ec", "printf %s \"$1\" >\"$2\"; chmod +x \"$2\"", "sh", script]).arg(path);
        Ran::of(write.output().expect("run sh")).ok();
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.id())).args(["--net", "--mount", "--", program]);
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", self.tools.display()));
        command.stdin(Stdio::null());
        command
    }

    pub fn script(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(SCRIPT);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn rules(&self, arguments: &str) -> Ran {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        Ran::of(self.script(&arguments).output().expect("run the script"))
    }

    pub fn sh(&self, script: &str) -> String {
        Ran::of(self.command("sh").args(["-ec", script]).output().expect("run sh")).ok().stdout
    }

    /// All tables of both families.
    pub fn saved(&self) -> String {
        without_comments(&self.sh("iptables-save; ip6tables-save"))
    }

    /// As [`Net::saved`], where the tables exist: iptables makes one when it is first used, and never removes it.
    pub fn saved_with_tables(&self) -> String {
        self.saved_apart(true).concat()
    }

    pub fn saved_apart(&self, make: bool) -> [String; 2] {
        ["iptables", "ip6tables"].map(|tool| {
            if make {
                self.sh(&format!("for t in nat filter; do {tool} -w -t $t -N MADE; {tool} -w -t $t -X MADE; done"));
            }
            without_comments(&self.sh(&format!("{tool}-save")))
        })
    }

    /// What a machine has without us: chains and comments that look like ours, rules in other tables.
    pub fn foreign_rules(&self) {
        self.sh("for t in iptables ip6tables; do $t-restore -w --noflush <<'EOF'
*nat
:DOCKER - [0:0]
:HANDYPROXY_GW_84 - [0:0]
:HANDYPROXY_GW_84430 - [0:0]
-A DOCKER -i docker0 -j RETURN
-A HANDYPROXY_GW_84430 -p tcp -j RETURN
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -p tcp -j HANDYPROXY_GW_84430
-A PREROUTING -p udp -m comment --comment \"as -p tcp -j HANDYPROXY_GW_8443\" -j ACCEPT
-A OUTPUT -p tcp -m comment --comment HANDYPROXY_LO_8444 -j DOCKER
-A POSTROUTING ! -o docker0 -j MASQUERADE
COMMIT
*mangle
-A OUTPUT -p tcp -j MARK --set-xmark 0x1/0x1
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
COMMIT
EOF
done");
    }

    /// What comes after our jumps in the same chains.
    pub fn later_foreign_rules(&self) {
        self.sh("for t in iptables ip6tables; do for c in PREROUTING OUTPUT; do
            $t -w -t nat -A $c -p tcp -m tcp --dport 7 -j RETURN; done; done");
    }

    /// Joins two namespaces by a pair of interfaces, each with an address of either family.
    pub fn link(&self, name: &str, addresses: [&str; 2], peer: &Net, peer_name: &str, peer_addresses: [&str; 2]) {
        self.sh(&format!("ip link add {name} type veth peer name {peer_name} netns {}", peer.holder.id()));
        for (net, name, addresses) in [(self, name, addresses), (peer, peer_name, peer_addresses)] {
            for address in addresses {
                net.sh(&format!("ip address add {address} dev {name} nodad"));
            }
            net.sh(&format!("ip link set {name} up"));
        }
    }

    pub fn default_routes(&self, v4: &str, v6: &str) {
        self.sh(&format!("ip route add default via {v4}; ip -6 route add default via {v6}"));
    }

    /// Runs `inside` on a thread of its own that has moved into this namespace.
    pub fn inside<T: Send + 'static>(&self, inside: impl FnOnce() -> T + Send + 'static) -> T {
        let net = File::open(format!("/proc/{}/ns/net", self.holder.id())).expect("the holder lives");
        let moved = thread::spawn(move || {
            setns(net, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
            inside()
        });
        moved.join().expect("the thread in the namespace ends well")
    }

    /// Answers every datagram to a port of an address with `banner`, until the test program ends. One socket for all
    /// addresses would answer from another one than was asked.
    pub fn serve_udp(&self, at: &str, banner: &'static str) {
        let at: SocketAddr = at.parse().expect("an address");
        let socket = self.inside(move || UdpSocket::bind(at).expect("bind in the namespace"));
        thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(banner.as_bytes(), from);
            }
        });
    }

    /// Answers every connection that TPROXY brings to `port` with the address that was dialled.
    pub fn serve_transparent(&self, port: u16) {
        let listener = self.inside(move || {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None).expect("make a socket");
            setsockopt(&socket, sockopt::IpTransparent, &true).expect("be transparent");
            socket.set_reuse_address(true).expect("reuse the address");
            socket.bind(&SocketAddr::from(([0; 8], port)).into()).expect("bind in the namespace");
            socket.listen(16).expect("listen");
            TcpListener::from(socket)
        });
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let origin = stream.local_addr().expect("it has an address");
                let origin = SocketAddr::new(origin.ip().to_canonical(), origin.port());
                let _ = write!(stream, "tproxy {origin}");
            }
        });
    }

    /// Who answers a datagram to `to`, or why nobody does.
    pub fn asks(&self, to: &str) -> Result<String, io::ErrorKind> {
        let to: SocketAddr = to.parse().expect("an address");
        self.inside(move || {
            let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
            let socket = UdpSocket::bind((any, 0)).expect("bind");
            socket.connect(to).map_err(|e| e.kind())?;
            // generous, so that a refusal is a refusal and not a guess
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set a timeout");
            let mut buffer = [0; 100];
            // a datagram, or a refusal, may get lost
            for _ in 0..4 {
                socket.send(b"?").map_err(|e| e.kind())?;
                match socket.recv(&mut buffer) {
                    Ok(read) => return Ok(String::from_utf8_lossy(&buffer[..read]).into_owned()),
                    Err(why) if why.kind() != ErrorKind::WouldBlock => return Err(why.kind()),
                    Err(_) => {}
                }
            }
            Err(ErrorKind::WouldBlock)
        })
    }

    /// All that the script may change: both variants of iptables, nft, and policy routing.
    /// A table of nft that goes away meanwhile is there by its name alone.
    pub fn everything(&self) -> String {
        // a table may go while they are told
        without_comments(&self.sh("for t in iptables ip6tables; do $t-nft-save; $t-legacy-save; done 2>&1
            nft list tables inet; for t in $(nft list tables inet | sed -n 's/table inet //p'); do nft list table inet $t || :; done
            for f in 4 6; do ip -$f rule; ip -$f route show table 26729 2>/dev/null || :; done"))
    }

    /// As [`Net::everything`], but for tables that hold nothing: iptables makes them and never removes them.
    pub fn what_counts(&self) -> String {
        let all = self.everything();
        all.lines()
            .filter(|l| l.starts_with("-A") || !(l.starts_with(['*', ':']) || *l == "COMMIT"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn until(&self, what: &str, so: impl Fn(&Net) -> bool) {
        let started = Instant::now();
        while !so(self) {
            assert!(started.elapsed() < Duration::from_secs(60), "{what}: not after 60 s: {}", self.everything());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// From now on whoever sleeps here sleeps until time passes again: what must come before an end of time cannot come too
    /// late, however busy the machine is.
    pub fn stop_time(&self) {
        let script = "#!/bin/sh\necho \"$1\" >>${0%/*}/slept\nwhile [ -d \"${0%/*}\" ] && [ ! -e \"${0%/*}/passed\" ]; do /bin/sleep 0.02; done\n";
        self.write_tool("sleep", script);
    }

    /// Lets time pass, and returns for how long everybody has slept.
    pub fn pass_time(&self) -> Vec<String> {
        File::create(self.tools.join("passed")).expect("our folder");
        let slept = fs::read_to_string(self.tools.join("slept")).unwrap_or_default();
        slept.lines().map(str::to_owned).collect()
    }

    /// Interfaces that merely exist.
    pub fn interfaces(&self, names: &str) {
        self.sh(&format!("for i in {names}; do ip link add $i type bridge; done"));
    }

    /// Answers every connection to `port` with `banner`, until the test program ends.
    pub fn serve(&self, port: u16, banner: &'static str) {
        let listener = self.inside(move || TcpListener::bind(("::", port)).expect("bind in the namespace"));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let _ = connection.and_then(|mut stream| stream.write_all(banner.as_bytes()));
            }
        });
    }

    /// The banner of who really answers a connection to `to`.
    pub fn hears(&self, to: &str, dial: Dial) -> String {
        let to: SocketAddr = to.parse().expect("an address");
        self.inside(move || {
            // holds for this thread alone, and ends with it
            setfsuid(Uid::from_raw(dial.uid));
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("make a socket");
            socket.set_mark(dial.mark).expect("mark the socket");
            if let Some(from) = dial.from {
                socket.bind(&SocketAddr::new(from, 0).into()).expect("bind to an address of the client");
            }
            socket.connect_timeout(&to.into(), Duration::from_secs(30)).expect("connect");
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set a timeout");
            let mut banner = String::new();
            stream.read_to_string(&mut banner).expect("read the banner");
            banner
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = fs::remove_dir_all(&self.tools);
    }
}

/// How a connection is made: 0 is no mark, and root.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dial {
    pub mark: u32,
    pub uid: u32,
    /// Where it comes from, if that matters.
    pub from: Option<IpAddr>,
}

impl Dial {
    pub fn mark(mark: u32) -> Dial {
        Dial { mark, ..Dial::default() }
    }

    pub fn uid(uid: u32) -> Dial {
        Dial { uid, ..Dial::default() }
    }
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn ok(self) -> Ran {
        self.exits(0)
    }

    #[track_caller]
    pub fn silent(self) {
        assert_eq!((self.stdout.as_str(), self.stderr.as_str()), ("", ""));
    }

    #[track_caller]
    pub fn says(&self, what: &str) {
        assert!(self.stderr.contains(what), "{what:?} is not in stderr: {}", self.stderr);
    }
}

/// The comments hold the time of day.
pub fn without_comments(saved: &str) -> String {
    saved.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

pub fn last_word(line: &str) -> String {
    line.rsplit(' ').next().unwrap_or(line).to_owned()
}

/// Waits for a child's first line: it is ready then.
#[track_caller]
pub fn expect_line(child: &mut Child, line: &str) {
    let mut read = String::new();
    let stdout = child.stdout.as_mut().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut read).expect("read a line");
    assert_eq!(read.trim_end(), line, "the child did not get ready");
}
