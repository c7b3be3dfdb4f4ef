//! What is wrong with the admin, and what it tells of taps.

use std::fs;

use super::each_is_named;
use super::stage::{Stage, Told};
use crate::support::eventually;
use crate::support::topology::PORT;
use crate::support::wire::Wire;

const ADMIN: &str = "admin = '127.0.0.1:9843'";

fn start(stage: &mut Stage, top: &str, more: &str) {
    let text = format!("{top}\n{}{more}\n", Stage::settings());
    stage.write(&text.replace("FOLDER", stage.folder.path()));
    stage.start();
}

fn other(stage: &Stage, flags: &str) -> Told {
    stage.examine(&format!("-no-net {flags}").replace("FOLDER", stage.folder.path()))
}

#[test]
fn an_admin_that_answers_is_well() {
    for admin in [ADMIN, "admin = '0.0.0.0:9843'\nadmin-remote = true", "admin = 'FOLDER/admin.sock'"] {
        let mut stage = Stage::well();
        start(&mut stage, admin, "");
        let told = stage.examine("-no-net");
        told.is_well();
        let found = told.of("admin");
        assert!(found.len() == 1 && found[0].seen.ends_with(" answers: ready"), "{}", told.text);
        stage.gateway = None;
        let told = stage.examine("-no-net");
        told.names(&["FAIL daemon"], "handyproxy -config");
        let found = told.of("admin");
        assert!(found.len() == 1 && found[0].seen.ends_with("since the daemon does not run"), "{}", told.text);
    }
}

#[test]
fn an_admin_that_does_not_answer_is_named() {
    each_is_named(&[
        ("nobody is there", |stage| other(stage, "-admin 127.0.0.1:9843"), &["FAIL admin"], "restart handyproxy"),
        ("no socket is there", |stage| other(stage, "-admin FOLDER/admin.sock"), &["FAIL admin"], "restart handyproxy"),
        (
            "a file is there",
            |stage| {
                stage.sh(&format!("touch {}/admin.sock", stage.folder.path()));
                other(stage, "-admin FOLDER/admin.sock")
            },
            &["FAIL admin"],
            "rm ",
        ),
        (
            "a socket at which nobody answers",
            |stage| {
                let path = format!("{}/admin.sock", stage.folder.path());
                let _mute = std::os::unix::net::UnixListener::bind(path).expect("a free name");
                let told = other(stage, "-admin FOLDER/admin.sock");
                assert!(told.of("admin")[0].seen.contains("gives no answer within 10s"), "{}", told.text);
                told
            },
            &["FAIL admin"],
            "restart handyproxy, or ",
        ),
        (
            "another program",
            |stage| {
                let mut web = Web::start(stage);
                let told = other(stage, "-admin 127.0.0.1:9844");
                web.ends();
                assert!(told.of("admin")[0].seen.contains("status 404"), "{}", told.text);
                told
            },
            &["FAIL admin"],
            "stop process",
        ),
        (
            "another instance",
            |stage| {
                start(stage, ADMIN, "");
                other(stage, &format!("-local-port {}", PORT + 1))
            },
            &["FAIL rules-match", "FAIL daemon", "FAIL admin"],
            "",
        ),
        (
            "all seats are taken",
            |stage| {
                start(stage, ADMIN, "");
                stage.write(&fs::read_to_string(&stage.file).expect("our own").replace("= 100", "= 1"));
                stage.start();
                let _client: Wire = stage.net.client.connect("203.0.113.9:443".parse().expect("an address"));
                eventually(|| {
                    let told = other(stage, "");
                    if told.of("admin")[0].status == "ok" { Err(told.text) } else { Ok(told) }
                })
            },
            &["warn admin"],
            "descriptors",
        ),
    ]);
}

/// As after a change of the port: whoever stopped it, or moved the admin, would mend nothing.
#[test]
fn the_admin_of_a_daemon_with_older_settings_is_taken_for_its_own() {
    for admin in [ADMIN, "admin = 'FOLDER/admin.sock'"] {
        let mut stage = Stage::well();
        start(&mut stage, admin, "");
        stage.write(&fs::read_to_string(&stage.file).expect("our own").replace(&PORT.to_string(), "8999"));
        let told = other(&stage, "");
        let pid = stage.gateway.as_ref().expect("it runs").pid();
        let found = told.of("admin")[0];
        assert!(found.seen.contains(&format!(" answers: ready; process {pid} has older settings")), "{}", told.text);
        assert_eq!((&found.status[..], &found.fix[..]), ("FAIL", "restart handyproxy"), "{}", told.text);
        let told = other(&stage, "-admin 127.0.0.1:9999");
        let found = told.of("admin")[0];
        let seen = format!("nobody listens at 127.0.0.1:9999, since process {pid} has older settings");
        assert_eq!((&found.status[..], &found.seen), ("note", &seen), "{}", told.text);
    }
}

#[test]
fn a_tap_that_fails_is_named_though_its_place_looks_well() {
    let mut stage = Stage::well();
    start(
        &mut stage,
        ADMIN,
        "[[tap]]\nkind = 'flow'\npath = '/dev/null'\n[[tap]]\nkind = 'hexlog'\npath = '/dev/full'\n",
    );
    let mut client = stage.net.client.connect("203.0.113.9:443".parse().expect("an address"));
    client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let told = eventually(|| {
        let told = other(&stage, "");
        if told.exit == 0 { Err(told.text) } else { Ok(told) }
    });
    told.names(&["FAIL taps"], "tells why");
    let failing: Vec<_> = told.of("taps").into_iter().filter(|found| found.status == "FAIL").collect();
    assert_eq!(failing[0].seen, "tap 2 (hexlog): the daemon cannot write it now");
}

#[test]
fn an_access_log_that_fails_is_named_though_its_place_looks_well() {
    let mut stage = Stage::well();
    start(&mut stage, &format!("{ADMIN}\naccess-log = '/dev/full'"), "");
    let told = eventually(|| {
        // its end is a line
        drop(stage.net.client.connect("203.0.113.9:443".parse().expect("an address")));
        let told = other(&stage, "");
        if told.exit == 0 { Err(told.text) } else { Ok(told) }
    });
    told.names(&["FAIL access-log"], "tells why");
}

/// A web server that is no admin.
struct Web(std::process::Child);

impl Web {
    fn start(stage: &Stage) -> Web {
        let script = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 9844), h.SimpleHTTPRequestHandler); \
                      print('up', flush=True); s.serve_forever()";
        let mut python = std::process::Command::new("python3");
        python.args(["-c", script]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut child = stage.net.gateway.enter(|| python.spawn()).expect("python3");
        let mut line = [0; 3];
        let out = child.stdout.as_mut().expect("piped");
        std::io::Read::read_exact(out, &mut line).expect("it listens");
        Web(child)
    }

    fn ends(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ends();
    }
}
