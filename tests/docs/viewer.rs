//! Who follows what a document says of seeing: looks at what taps, the access log and the admin have written, and keeps
//! all that was shown, so that it can be compared with what the document shows.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use super::admin::{Admin, unit};
use super::lab::support::eventually;
use super::{Folder, SITE, said};

/// Where the package puts files of deploy/.
pub(super) const SHARED: &str = "/usr/share/handyproxy/";
const LOGS: &str = "deploy/logrotate/handyproxy";
/// Where the site is.
const AT: &str = "203.0.113.10:80";
/// A file that has not changed for so long holds all that is written for now.
const QUIET: Duration = Duration::from_millis(500);
/// The size of a terminal.
const SCREEN: [&str; 4] = ["-x", "80", "-y", "24"];

impl Admin {
    /// Runs a command that looks at something; it succeeds, and shows something.
    pub(super) fn looks(&mut self, command: &str) {
        let command = command.replace(SHARED, "deploy/");
        let is_file = command.contains("/var/log/");
        let (mut before, mut since) = (String::new(), Instant::now());
        let shown = eventually(|| {
            let output = self.scene.command_unjudged(&["sh", "-c", &command]);
            let (out, err) = (said(&output.stdout), said(&output.stderr));
            // what was written last may be on its way
            if out != before {
                (before, since) = (out.clone(), Instant::now());
            }
            let is_all = !is_file || since.elapsed() > QUIET;
            if output.status.success() && !out.is_empty() && is_all {
                Ok(out)
            } else {
                Err(format!("{command}: {out}{err}"))
            }
        });
        self.shown += &shown;
    }

    /// Looks at what a tap tells of a session when its file is followed.
    pub(super) fn follows(&mut self, file: &str) {
        self.shown += &eventually(|| {
            let text = self.scene.logged(file);
            if text.contains(" done by ") { Ok(text) } else { Err(text) }
        });
    }

    /// `handyproxy cat`; where it replays, somebody listens.
    pub(super) fn cat(&mut self, words: &[&str]) {
        if let Some(at) = words.iter().position(|word| *word == "--replay") {
            let heard = self.scene.net.gateway.enter(|| listens(words[at + 1]));
            self.scene.command(&[&["handyproxy", "cat"], words].concat());
            assert!(heard.join().expect("somebody listened") > 0, "nothing was replayed");
            return;
        }
        self.looks(&format!("handyproxy cat {}", words.join(" ")));
    }

    /// `handyproxy top`, while a session is open: as it is where it prints, else on a terminal.
    pub(super) fn top(&mut self, words: &[&str]) {
        let mut client = self.scene.net.client.connect(AT.parse().expect("an address"));
        // a head that never ends: the site waits for more
        client.send(format!("GET / HTTP/1.1\r\nHost: {SITE}\r\nX-Wait: "));
        let words = [&["handyproxy", "top"], words].concat();
        let shown = if words.contains(&"-once") {
            eventually(|| {
                let shown = said(&self.scene.command(&words).stdout);
                if shown.contains(SITE) { Ok(shown) } else { Err(shown) }
            })
        } else {
            self.screen(&words.iter().map(|word| self.scene.examples.found(word)).collect::<Vec<_>>().join(" "))
        };
        self.shown += &shown;
        let address = client.address();
        client.reset();
        if let Some(instance) = self.running.last().filter(|instance| !instance.is_quiet) {
            instance.daemon.session_from(&address);
        }
    }

    /// What a program shows in a terminal once our session is there.
    fn screen(&self, line: &str) -> String {
        let tmux = |words: &[&str]| {
            said(&self.scene.command(&[&["tmux", "-L", "docs", "-f", "/dev/null"], words].concat()).stdout)
        };
        tmux(&[&["new-session", "-d", "-s", "docs"][..], &SCREEN[..], &[line]].concat());
        let shown = eventually(|| {
            let shown = tmux(&["capture-pane", "-p", "-t", "docs"]);
            // the second look has rates
            if shown.contains(SITE) && !shown.contains("up - down -") { Ok(shown) } else { Err(shown) }
        });
        tmux(&["kill-server"]);
        shown
    }

    /// What passes through the running program's stdout into another one, once this has come by.
    pub(super) fn pipes(&mut self, viewer: &str, awaited: &str) {
        let bytes = &self.running.last().expect("it runs").daemon.out;
        self.shown += &eventually(|| {
            let mut command = self.scene.on_the_gateway(&["sh", "-c", viewer]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut child = command.spawn().expect("sh is there");
            // what it does not read is its own business
            let _ = child.stdin.take().expect("piped").write_all(&bytes.bytes());
            let shown = said(&child.wait_with_output().expect("our child").stdout);
            if shown.contains(awaited) { Ok(shown) } else { Err(shown) }
        });
    }

    /// `logrotate -f`, of the file that the package installs.
    pub(super) fn rotates(&self, conf: &str) {
        assert_eq!(conf, "/etc/logrotate.d/handyproxy");
        let text = std::fs::read_to_string(LOGS).expect(LOGS);
        let folder = Folder::new();
        // root's here, and nobody to tell
        let text = text.replace("su handyproxy handyproxy", "su root root");
        assert!(text.contains("systemctl kill"), "{text}");
        folder.write("conf", &text);
        let path = |name: &str| folder.0.join(name).to_str().expect("a plain path").to_owned();
        self.scene.command(&["logrotate", "-f", "-s", &path("state"), &path("conf")]);
    }

    /// The group of the unit, whom files belong to.
    pub(super) fn joins(group: &str) {
        assert!(unit("handyproxy@.service").contains(&format!("\nGroup={group}\n")), "{group}");
    }
}

/// Takes connections, and counts their bytes, until one has ended.
fn listens(at: &str) -> thread::JoinHandle<usize> {
    let listener = TcpListener::bind(at).unwrap_or_else(|why| panic!("{at}: {why}"));
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let (mut client, _) = listener.accept().expect("somebody replays");
        // a reset is an end too
        let _ = client.read_to_end(&mut bytes);
        bytes.len()
    })
}

/// Lines that a document shows, each of which must have been shown by the program in this form: digits differ, and how
/// much there is.
pub(super) fn are_shown(lines: &str, shown: &str) {
    let forms: std::collections::BTreeSet<String> = shown.lines().map(form).collect();
    let mut count = 0;
    for line in lines.lines().filter(|line| !line.trim().is_empty() && line.trim() != "...") {
        assert!(forms.contains(&form(line)), "nothing shows {line:?}, which is {:?}, in\n{shown}", form(line));
        count += 1;
    }
    assert!(count > 0, "nothing to compare");
}

/// A line without what differs from run to run: numbers, sizes and times with their units, names of days and months, who
/// was the first to end a session that both sides end, and blanks.
fn form(line: &str) -> String {
    let mut form = String::new();
    let mut in_number = false;
    for c in line.chars() {
        match c {
            '0'..='9' => {
                if !std::mem::replace(&mut in_number, true) {
                    form.push('0');
                }
            }
            '.' | ',' if in_number => {}
            c => {
                in_number = false;
                form.push(c);
            }
        }
    }
    for (unit, plain) in [("0 kB", "0 B"), ("0 MB", "0 B"), ("0 s", "0 ms"), ("0K", "0"), ("0M", "0")] {
        form = form.replace(unit, plain);
    }
    for by in ["done by ", r#""by":""#, r#"by=""#] {
        form = form.replace(&format!("{by}client"), &format!("{by}upstream"));
    }
    for day in ["Mon, 0", "Tue, 0", "Wed, 0", "Thu, 0", "Fri, 0", "Sat, 0", "Sun, 0"] {
        form = form.replace(day, "Day, 0");
    }
    for month in ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"] {
        form = form.replace(&format!("0 {month} 0"), "0 Month 0");
    }
    form.split_whitespace().collect::<Vec<_>>().join(" ")
}
