//! deploy/quickstart: what it shows, how it fails, and that it leaves nothing.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::lab::support::eventually;
use super::readme::QUICKSTART;
use super::{PROGRAM, output, said, succeeds};

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
    // another one's number may begin with ours
    let (own, folder) = (format!("hpdemo-{pid}-"), format!("hpdemo-{pid}."));
    let namespaces = said(&output(Command::new("ip").args(["netns", "list"])).stdout);
    assert!(!namespaces.contains(&own), "{namespaces}");
    let folders = fs::read_dir(std::env::temp_dir()).expect("a folder").filter_map(Result::ok);
    let left: Vec<_> = folders.map(|f| f.file_name()).filter(|f| f.to_string_lossy().starts_with(&folder)).collect();
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
