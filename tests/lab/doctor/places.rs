//! What is wrong with the places that taps and the access log are written to.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::each_is_named;
use super::stage::{Stage, Told};
use crate::support::daemon::Launch;
use crate::support::topology::PORT;
use crate::support::{each_row, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_handyproxy");

/// A stage on which all is well, where a line of shell was run in its folder, and taps and the like were set then.
fn set(stage: &mut Stage, shell: &str, top: &str, taps: &str) {
    let folder = stage.folder.path().to_owned();
    stage.sh(&format!("cd {folder} && {shell}"));
    let text = format!("{top}\n{}{taps}\n", Stage::settings());
    stage.write(&text.replace("FOLDER", &folder));
    // modes count for it as for everybody
    start_by(stage, "setpriv --bounding-set -dac_override,-dac_read_search,-sys_resource");
}

fn start_by(stage: &mut Stage, wrapper: &str) {
    let launch = Launch::words(&format!("-config {}", stage.file)).wrapped(wrapper);
    stage.start_as(launch);
}

fn examine(stage: &mut Stage, shell: &str, top: &str, taps: &str) -> Told {
    set(stage, shell, top, taps);
    stage.examine("-no-net")
}

/// Has the daemon, and nobody else, see such a file system in `FOLDER/disk`.
fn mount(stage: &mut Stage, options: &str, taps: &str) {
    set(stage, "mkdir -p disk", "", taps);
    let folder = stage.folder.path();
    let script =
        format!("mount -t tmpfs -o {options} none {folder}/disk && exec setpriv --bounding-set -sys_resource \"$@\"");
    let script = stage.folder.write("mount", &script);
    start_by(stage, &format!("unshare -m sh {script}"));
}

/// A file of the daemon's world.
fn fill(stage: &Stage, kib: usize) {
    let gateway = stage.gateway.as_ref().expect("it runs");
    let path = gateway.sees(Path::new(&format!("{}/disk/fill", stage.folder.path())));
    let written = fs::write(path, vec![0; kib << 10]);
    assert_eq!(written.is_err(), kib > 1024, "{written:?}");
}

#[test]
fn places_that_can_be_written_are_well_and_are_not_touched() {
    let mut stage = Stage::well();
    let taps = "[[tap]]\nkind = 'flow'\npath = 'FOLDER/logs/'\n[[tap]]\nkind = 'dump'\npath = 'FOLDER/deep/er'\n\
                [[tap]]\nkind = 'pcapng'\npath = 'FOLDER/link'\nrotate-time = '1h'\n[[tap]]\nkind = 'flow'\npath = '/dev/stderr'\n";
    set(&mut stage, "mkdir real logs && ln -s real link", "access-log = 'FOLDER/access.log'", taps);
    let folder = stage.folder.path().to_owned();
    eventually(|| Path::new(&format!("{folder}/deep/er")).exists().then_some(()).ok_or("no folder yet".to_owned()));
    // what the daemon would make anew
    stage.sh(&format!("rm -r {folder}/deep {folder}/access.log"));
    let told = stage.examine("-no-net");
    told.is_well();
    let seen: Vec<&str> = told.of("taps").iter().map(|finding| finding.seen.as_str()).collect();
    for (seen, wanted) in seen.iter().zip(["tap 1 (flow/readable): ", "tap 2 (dump/dumper): ", "tap 3 (pcapng): "]) {
        assert!(seen.starts_with(wanted) && seen.contains(" can be written, "), "{}", told.text);
    }
    assert_eq!((seen.len(), told.of("access-log").len()), (4, 1), "{}", told.text);
    assert!(!Path::new(&format!("{folder}/deep")).exists(), "doctor made it");
    // nobody runs whose rights could be told
    stage.gateway = None;
    let told = stage.examine("-no-net");
    told.names(&["FAIL daemon"], "handyproxy -config");
    // the fourth goes to a stream, whoever writes
    let found = [&told.of("taps")[..3], &told.of("access-log")].concat();
    assert_eq!(found.len(), 4, "{}", told.text);
    assert!(
        found.iter().all(|f| f.status == "note" && f.seen.contains("not seen at a running daemon")),
        "{}",
        told.text
    );
}

#[test]
fn places_that_the_daemon_cannot_write_are_named() {
    each_is_named(&[
        (
            "a file where a folder should be",
            |stage| examine(stage, "touch file", "", "[[tap]]\nkind = 'dump'\npath = 'FOLDER/file'"),
            &["FAIL taps"],
            "another path at ",
        ),
        (
            "a file on the way",
            |stage| examine(stage, "touch file", "", "[[tap]]\nkind = 'flow'\npath = 'FOLDER/file/flow.log'"),
            &["FAIL taps"],
            "another path at ",
        ),
        (
            "a folder of somebody else's",
            |stage| {
                let shell = "mkdir a && chown 65534 a && chmod 555 a";
                examine(stage, shell, "", "[[tap]]\nkind = 'pcapng'\npath = 'FOLDER/a/b/cap.pcapng'")
            },
            &["FAIL taps"],
            "install -d -o root -g root -m 0750 ",
        ),
        (
            "a folder that may not be entered",
            |stage| {
                let shell = "mkdir -p a/b && chown 65534 a && chmod 700 a";
                examine(stage, shell, "", "[[tap]]\nkind = 'hexlog'\npath = 'FOLDER/a/b/'")
            },
            &["FAIL taps"],
            "another path at ",
        ),
        (
            "a file of somebody else's, by the folder's name",
            |stage| {
                let shell = "mkdir a && touch a/hexlog.log && chown 65534 a/hexlog.log && chmod 600 a/hexlog.log";
                examine(stage, shell, "", "[[tap]]\nkind = 'hexlog'\npath = 'FOLDER/a'")
            },
            &["FAIL taps"],
            "chown root ",
        ),
        (
            "an access log that is somebody else's",
            |stage| {
                let shell = "touch log && chown 65534 log && chmod 640 log";
                examine(stage, shell, "access-log = 'FOLDER/log'", "")
            },
            &["FAIL access-log"],
            "chown root ",
        ),
        (
            "an access log that is a folder",
            |stage| examine(stage, "mkdir log", "access-log = 'FOLDER/log'", ""),
            &["FAIL access-log"],
            "access-log = \"FOLDER/access.log\" in ",
        ),
        (
            "a FIFO without a reader",
            |stage| examine(stage, "mkfifo pipe", "", "[[tap]]\nkind = 'flow'\npath = 'FOLDER/pipe'"),
            &["warn taps"],
            "cat ",
        ),
        (
            "a journal that is not there",
            |stage| {
                let empty = format!("{}/empty", stage.folder.path());
                set(stage, "mkdir empty", "access-log = 'journal'", "");
                let launch = Launch::words(&format!("-config {}", stage.file)).with_journal(Path::new(&empty));
                stage.start_as(launch);
                stage.examine("-no-net")
            },
            &["FAIL access-log"],
            "access-log = \"log\"",
        ),
    ]);
}

#[test]
fn disks_are_looked_at_in_the_world_of_the_daemon() {
    const TAP: &str = "[[tap]]\nkind = 'pcapng'\npath = 'FOLDER/disk/'";
    each_is_named(&[
        (
            "read-only",
            |stage| {
                mount(stage, "ro", TAP);
                stage.examine("-no-net")
            },
            &["FAIL taps"],
            "another path at ",
        ),
        (
            "full",
            |stage| {
                mount(stage, "size=1m", TAP);
                fill(stage, 1025);
                stage.examine("-no-net")
            },
            &["FAIL taps"],
            "df -h ",
        ),
        (
            "nearly full",
            |stage| {
                mount(stage, "size=1m", TAP);
                fill(stage, 1000);
                stage.examine("-no-net")
            },
            &["warn taps"],
            "df -h ",
        ),
        (
            "without room for a file",
            |stage| {
                mount(stage, "size=1m,nr_inodes=2", TAP);
                stage.examine("-no-net")
            },
            &["FAIL taps"],
            "df -i ",
        ),
    ]);
}

#[test]
fn a_stream_that_is_a_socket_has_no_name_by_which_it_could_be_opened() {
    for (top, taps, failing) in [
        ("", "[[tap]]\nkind = 'flow'\npath = '/dev/stdout'", "FAIL taps"),
        ("access-log = '/proc/self/fd/1'", "[[tap]]\nkind = 'flow'", "FAIL access-log"),
    ] {
        let mut stage = Stage::well();
        set(&mut stage, "true", top, taps);
        // as under systemd, whose journal is behind a socket
        let script = "import os, socket, sys\nours, other = socket.socketpair()\nos.dup2(ours.fileno(), 1)\n\
                      os.execvp(sys.argv[1], sys.argv[1:])\n";
        let script = stage.folder.write("behind_a_socket", script);
        start_by(&mut stage, &format!("python3 {script}"));
        let told = stage.examine("-no-net");
        told.names(&[failing], if top.is_empty() { "path = \"-\"" } else { "access-log = \"stderr\"" });
    }
}

#[test]
fn a_fifo_with_a_reader_is_well() {
    let mut stage = Stage::well();
    let folder = stage.folder.path().to_owned();
    stage.sh(&format!("mkfifo {folder}/pipe"));
    let mut reader = Command::new("cat").arg(format!("{folder}/pipe")).stdout(Stdio::null()).spawn().expect("cat");
    set(&mut stage, "true", "", "[[tap]]\nkind = 'flow'\npath = 'FOLDER/pipe'");
    // both wait for each other to open it
    eventually(|| {
        let told = stage.examine("-no-net");
        if told.of("taps")[0].status == "ok" { Ok(()) } else { Err(told.text) }
    });
    assert!(reader.try_wait().expect("our child").is_none(), "doctor has ended its wait");
    stage.gateway = None;
    let _ = reader.kill();
    let _ = reader.wait();
}

/// The kernel keeps even root from them, but not those who own the folder or the file.
#[test]
fn files_of_others_in_a_folder_for_everybody_are_named() {
    each_row(
        &[
            ("-m 1777", "touch f && chown nobody f", "protected_regular", "1", true),
            ("-m 1777", "mkfifo -m 666 f && chown nobody f", "protected_fifos", "2", true),
            ("-m 1775", "touch f && chown nobody f", "protected_regular", "2", true),
            ("-m 1775", "touch f && chown nobody f", "protected_regular", "1", false),
            ("-m 1777", "touch f && chown nobody f", "protected_regular", "0", false),
            ("-m 1777", "touch f", "protected_regular", "2", false),
            ("-m 777", "touch f && chown nobody f", "protected_regular", "2", false),
            ("-m 1777", "touch f && chown nobody f .", "protected_regular", "2", false),
        ],
        |row| format!("{row:?}"),
        |(mode, make, setting, level, is_wrong)| {
            let mut stage = Stage::well();
            stage.gateway = None;
            let folder = stage.folder.path();
            stage.sh(&format!("mkdir {mode} {folder}/all && cd {folder}/all && {make}"));
            stage.write(&format!("{}[[tap]]\nkind = 'flow'\npath = '{folder}/all/f'\n", Stage::settings()));
            let told = stage.examine_with(&format!("/proc/sys/fs/{setting}"), &format!("{level}\n"));
            let found = told.of("taps")[0];
            assert_eq!(found.status, if *is_wrong { "FAIL" } else { "note" }, "{}", told.text);
            assert_eq!(found.seen.ends_with(&format!("by fs.{setting}")), *is_wrong, "{}", told.text);
        },
    );
}

/// As one of NFS whose server is gone: whatever is asked of it waits for ever.
#[test]
fn a_file_system_that_does_not_answer_is_named_and_not_waited_for() {
    let mut stage = Stage::well();
    stage.gateway = None;
    let taps = "[[tap]]\nkind = 'flow'\npath = 'FOLDER/flow.log'\n[[tap]]\nkind = 'dump'\npath = 'FOLDER/dead/deep'\n\
                [[tap]]\nkind = 'hexlog'\npath = 'FOLDER/dead/hex.log'\n";
    let text = format!("access-log = 'FOLDER/dead/access.log'\n{}{taps}", Stage::settings());
    stage.write(&text.replace("FOLDER", stage.folder.path()));
    stage.sh(&format!("mkdir {}/dead", stage.folder.path()));
    // the server is whoever has the descriptor, and nobody reads it
    // not every /dev has it
    let script = "import ctypes, os, stat, sys; fuse = '/dev/fuse'; \
                  fuse = fuse if os.path.exists(fuse) else sys.argv[1] + '.fuse'; \
                  os.path.exists(fuse) or os.mknod(fuse, stat.S_IFCHR | 0o600, os.makedev(10, 229)); \
                  fd = os.open(fuse, os.O_RDWR); os.set_inheritable(fd, True); \
                  how = f'fd={fd},rootmode=40000,user_id=0,group_id=0'.encode(); \
                  assert ctypes.CDLL(None).mount(b'dead', sys.argv[1].encode(), b'fuse.dead', 0, how) == 0; \
                  os.execv(sys.argv[2], sys.argv[2:])";
    let script = stage.folder.write("dead.py", &script.replace("; ", "\n"));
    let folder = stage.folder.path();
    let told = stage.told(
        "timeout",
        &format!(
            "-s KILL 300 unshare -m python3 {script} {folder}/dead {PROGRAM} doctor -no-net -config {}",
            stage.file
        ),
    );
    let bad: Vec<_> = [told.of("taps"), told.of("access-log")].concat();
    let bad: Vec<_> = bad.into_iter().filter(|found| found.status == "FAIL").collect();
    assert_eq!(bad.len(), 3, "{}", told.text);
    let seen = format!("{folder}/dead: no answer within 10s");
    assert!(bad.iter().all(|found| found.seen.contains(&seen) && found.fix.contains("its server")), "{}", told.text);
}

#[test]
fn whoever_is_not_root_hears_that_places_cannot_be_judged() {
    let mut stage = Stage::well();
    set(&mut stage, "mkdir -m 700 a", "", "[[tap]]\nkind = 'flow'\npath = '/dev/null'");
    stage.sh(&format!("chmod 644 {}", stage.file));
    let told = stage.told(
        "setpriv",
        &format!(
            "--reuid 65534 --regid 65534 --clear-groups -- {PROGRAM} doctor -no-net -local-port {PORT} -tap flow:/dev/null"
        ),
    );
    let found = told.of("taps");
    assert!(found.len() == 1 && found[0].status == "warn" && found[0].fix.contains("as root"), "{}", told.text);
}

#[test]
fn a_unit_that_does_not_run_is_asked_where_it_lets_its_service_write() {
    each_row(
        &[
            ("/var/log/handyproxy/NAME/flow.log", "ok", "is made when its unit starts", ""),
            ("/srv/taps/flow.log", "FAIL", "ProtectSystem=strict", "/var/log/handyproxy/NAME/ for the tap at "),
            ("/var/log/closed/flow.log", "FAIL", "nobody may not write ", "/var/log/handyproxy/NAME/ for the tap at "),
        ],
        |(path, ..)| (*path).to_owned(),
        |(path, status, seen, fix)| {
            let mut stage = Stage::well();
            let settings = format!("{}[[tap]]\nkind = 'flow'\npath = '{path}'\n", Stage::settings());
            let told = of_unit(&mut stage, &settings, "mkdir -m 755 /var/log/closed");
            let found = told.of("taps");
            assert_eq!(found.len(), 1, "{}", told.text);
            assert_eq!(found[0].status, *status, "{}", told.text);
            let fix = fix.replace("NAME", &stage.name);
            assert!(found[0].seen.contains(seen) && found[0].fix.contains(&fix), "{}", told.text);
        },
    );
}

/// As after `cd /etc/handyproxy`.
#[test]
fn the_unit_is_asked_too_where_the_file_is_named_from_its_folder() {
    let mut stage = Stage::well();
    let settings = format!("{}[[tap]]\nkind = 'flow'\npath = '/var/log/closed/flow.log'\n", Stage::settings());
    let shell = format!(
        "mkdir -m 755 /var/log/closed && cd /etc/handyproxy && exec {PROGRAM} doctor -no-net -config ./NAME.toml"
    );
    let told = of_unit(&mut stage, &settings, &shell);
    let found = told.of("taps");
    assert!(found.len() == 1 && found[0].seen.contains("nobody may not write "), "{}", told.text);
    let fix = format!("systemctl enable handyproxy@{0} && systemctl restart handyproxy@{0}", stage.name);
    assert_eq!(told.of("daemon")[0].fix, fix, "{}", told.text);
}

/// What the doctor says of an instance whose unit is there and does not run, where a line of shell was run in a world
/// with an empty `/var/log`; `NAME` is the instance's.
fn of_unit(stage: &mut Stage, settings: &str, shell: &str) -> Told {
    stage.gateway = None;
    let named = |text: &str| text.replace("NAME", &stage.name);
    let etc = format!("{}/etc", stage.folder.path());
    stage.write(&named(settings));
    stage.sh(&format!(
        "mkdir -p {etc}/handyproxy && cp -a /etc/alternatives /etc/passwd /etc/group /etc/nsswitch.conf {etc}/; \
         cp {} {etc}/handyproxy/; chmod 644 {etc}/handyproxy/*",
        stage.file
    ));
    let systemctl = named(
        "#!/bin/sh\n[ $1 = cat ] && echo LoadCredential=password:/etc/handyproxy/NAME.password && exit\nprintf 'LoadState=loaded\\nUser=nobody\\nProtectSystem=strict\\nProtectHome=yes\\n\
         LogsDirectory=handyproxy/NAME\\nReadWritePaths=-/var/log/closed\\n'\n",
    );
    stage.folder.write_as("systemctl", &systemctl, 0o755);
    let shell = named(shell);
    let script =
        format!("mount --bind {etc} /etc && mount -t tmpfs none /var/log && {shell} && exec {PROGRAM} doctor -no-net");
    let script = stage.folder.write("script", &script);
    stage.told("unshare", &format!("-m sh {script}"))
}

#[test]
fn the_folder_of_a_unit_is_given_back_to_its_user() {
    const FOLDER: &str = "/var/log/handyproxy/NAME";
    const BACK: &str = "chown nobody:nogroup FOLDER && chmod 0750 FOLDER";
    each_row(
        &[("750", "flow.log"), ("755", "flow.log"), ("755", "")],
        |row| format!("{row:?}"),
        |(mode, file)| {
            let mut stage = Stage::well();
            let taps = format!("tap = ['flow:{FOLDER}/{file}', 'dump:{FOLDER}/dumps', 'pcapng:{FOLDER}/']");
            let settings = format!("access-log = '{FOLDER}/access.log'\n{taps}\n{}", Stage::settings());
            let told = of_unit(&mut stage, &settings, &format!("mkdir -p {FOLDER} && chmod {mode} {FOLDER}"));
            let found = [told.of("taps"), told.of("access-log")].concat();
            assert_eq!(found.len(), 4, "{}", told.text);
            let fix = BACK.replace("FOLDER", &FOLDER.replace("NAME", &stage.name));
            assert!(found.iter().all(|finding| finding.status == "FAIL" && finding.fix == fix), "{}", told.text);
        },
    );
}

#[test]
fn no_fix_says_what_is_there_already() {
    let mut stage = Stage::well();
    let folder = "/var/log/handyproxy/NAME";
    let settings =
        format!("access-log = '{folder}/access.log'\ntap = ['flow:{folder}/flow.log']\n{}", Stage::settings());
    let told = of_unit(&mut stage, &settings, &format!("mkdir -p {folder}/access.log {folder}/flow.log/flow.log"));
    let folder = folder.replace("NAME", &stage.name);
    let found = [told.of("taps")[0], told.of("access-log")[0]];
    assert!(found.iter().all(|finding| finding.status == "FAIL"), "{}", told.text);
    assert!(
        found[0].fix.starts_with("another path at ") && found[1].fix.contains(&format!("\"{folder}/FILE\"")),
        "{}",
        told.text
    );
}

#[test]
fn files_that_the_user_of_a_unit_may_not_read_are_named() {
    each_row(
        &[
            ("password-file = '/etc/handyproxy/p'", "root:root 600", "may not read /etc/handyproxy/p"),
            ("password-file = 'p'", "root:root 600", "may not read /etc/handyproxy/p"),
            ("password-file = 'p'", "root:nogroup 640", ""),
            ("password-file = 'p'", "nobody:root 600", ""),
            // systemd reads it
            ("password-file = 'password'", "root:root 600", ""),
        ],
        |row| format!("{row:?}"),
        |(key, rights, seen)| {
            let mut stage = Stage::well();
            let settings = Stage::settings()
                .replace("sniff-timeout", &format!("auth = 'basic'\nuser = 'u'\n{key}\nsniff-timeout"));
            stage.write(&settings);
            let (owner, mode) = rights.split_once(' ').expect("two words");
            let make = |file: &str| {
                format!(
                    "echo secret >/etc/handyproxy/{file} && chown {owner} /etc/handyproxy/{file} && chmod {mode} /etc/handyproxy/{file}"
                )
            };
            let told = of_unit(&mut stage, &settings, &format!("{} && {}", make("p"), make("NAME.password")));
            let found = told.of("settings");
            assert_eq!(found.len(), 1, "{}", told.text);
            if seen.is_empty() {
                assert_eq!(found[0].status, "ok", "{}", told.text);
                return;
            }
            assert!(found[0].status == "FAIL" && found[0].seen.contains(seen), "{}", told.text);
            let fix = "chown root:nogroup /etc/handyproxy/p && chmod 640 /etc/handyproxy/p";
            assert_eq!(found[0].fix, fix, "{}", told.text);
        },
    );
}

#[test]
fn files_that_the_running_daemon_may_not_read_are_named() {
    let mut stage = Stage::well();
    set(&mut stage, "true", "", "");
    assert_eq!(stage.examine("-no-net").of("settings")[0].status, "ok");
    stage.sh(&format!("chown 65534 {file} && chmod 600 {file}", file = stage.file));
    let fix = format!("chown root:root {file} && chmod 640 {file}", file = stage.file);
    let told = stage.examine("-no-net");
    told.names(&["FAIL settings"], &fix);
}

#[test]
fn whoever_may_not_read_a_password_hears_who_that_is() {
    let stage = Stage::empty(&Stage::settings());
    let file = stage.folder.write_as("p", "secret\n", 0o600);
    stage.sh(&format!("chmod 711 {}", stage.folder.path()));
    let words = format!("-local-port {PORT} -upstream-proxy 10.9.0.1:1 -auth basic -user u -password-file {file}");
    let told = stage.told("setpriv", &format!("--reuid 65534 --regid 65534 --clear-groups -- {PROGRAM} check {words}"));
    assert!(told.text.contains(&format!("{file}: user 65534 may not read it: run chown root:GROUP")), "{}", told.text);
    assert_eq!(told.exit, 2, "{}", told.text);
}
