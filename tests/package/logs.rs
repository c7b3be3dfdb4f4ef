//! deploy/logrotate: Debian's logrotate takes it, and does to the files of instances what the manual says.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::scratch::Scratch;
use super::{output, said};

const FILE: &str = "deploy/logrotate/handyproxy";
/// Where the unit's LogsDirectory is, for all instances.
const LOGS: &str = "/var/log/handyproxy/";

/// The file, for logs below another folder, which are root's here; and that folder.
fn moved(scratch: &Scratch) -> (std::path::PathBuf, std::path::PathBuf) {
    let text = fs::read_to_string(FILE).expect(FILE);
    let unit = fs::read_to_string("deploy/systemd/handyproxy@.service").expect("our unit");
    for line in ["User=handyproxy", "Group=handyproxy", "LogsDirectory=handyproxy/%i"] {
        assert!(unit.lines().any(|own| own == line), "{line} is not in the unit");
    }
    assert!(text.contains(&format!("\n{LOGS}*/*.log {{")) && text.contains("    su handyproxy handyproxy\n"), "{text}");
    let folder = scratch.path("logs");
    for name in ["gateway/dumps", "host"] {
        fs::create_dir_all(folder.join(name)).expect("our folder");
    }
    let text =
        text.replace(LOGS, &format!("{}/", folder.display())).replace("su handyproxy handyproxy", "su root root");
    (scratch.write("logrotate.conf", &text), folder)
}

fn logrotate(scratch: &Scratch, how: &str, conf: &Path) -> String {
    let output = output(Command::new("logrotate").arg(how).arg("-s").arg(scratch.path("state")).arg(conf));
    let told = said(&output.stdout) + &said(&output.stderr);
    assert!(output.status.success() && !told.contains("error:"), "{told}");
    told
}

#[test]
fn logrotate_has_nothing_to_say_against_it() {
    let scratch = Scratch::new();
    let (conf, folder) = moved(&scratch);
    fs::write(folder.join("gateway/access.log"), "a line\n").expect("our folder");
    let told = logrotate(&scratch, "-d", &conf);
    assert!(told.contains("gateway/access.log"), "{told}");
    let warnings: Vec<&str> = told.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert!(matches!(warnings[..], [only] if only.contains("debug mode")), "{told}");
    // and it would say it
    let text = fs::read_to_string(&conf).expect("our file").replace("daily", "dayly");
    let bad = scratch.write("bad.conf", &text);
    let told = said(&output(Command::new("logrotate").arg("-d").arg(bad)).stderr);
    assert!(told.contains("dayly"), "{told}");
}

#[test]
fn lines_are_rotated_and_what_belongs_to_a_session_is_not() {
    let scratch = Scratch::new();
    let (conf, folder) = moved(&scratch);
    for name in ["gateway/access.log", "gateway/hexlog.log", "host/flow.log", "gateway/dumps/NAME.7.log"] {
        fs::write(folder.join(name), "a line\n").expect("our folder");
    }
    fs::write(folder.join("gateway/handyproxy-20261121-130000.000.pcapng"), "packets").expect("our folder");
    logrotate(&scratch, "-f", &conf);
    let names = |below: &str| {
        let entries = fs::read_dir(folder.join(below)).expect("our folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("it can be read").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("gateway"), ["access.log.1", "dumps", "handyproxy-20261121-130000.000.pcapng", "hexlog.log.1"]);
    assert_eq!((names("host"), names("gateway/dumps")), (vec!["flow.log.1".into()], vec!["NAME.7.log".into()]));
    // the next time they are made small
    fs::write(folder.join("host/flow.log"), "another line\n").expect("our folder");
    logrotate(&scratch, "-f", &conf);
    assert_eq!(names("host"), ["flow.log.1", "flow.log.2.gz"]);
}
