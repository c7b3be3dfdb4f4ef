//! `handyproxy setup` on a machine of its own: what it asks, does, proves and takes back.

mod back;
mod proxy;
mod stage;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::hello::Hello;
use crate::support::topology::{UPSTREAM, V4};
use proxy::Policy;
use stage::Stage;

/// Names the proxy, and what a test asks it for.
const PROXY: &str = "-upstream 10.2.0.2:3128 -target www.bench.example";
const BASIC: Policy = Policy { credentials: Some("Basic Q09SUFxqYW5lOnMzY3JldA=="), refuses_plain: false };

fn gateway() -> String {
    format!("-yes -interfaces lan {PROXY}")
}

fn contains(text: &str, parts: &[&str]) {
    assert!(!parts.is_empty());
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

/// A client opens a page, and leaves.
fn browse(stage: &Stage) {
    let mut client = stage.net.client.connect(SocketAddr::new(V4, 443));
    client.send(Hello::to("www.bench.example").bytes());
    client.expect([22, 3, 3]);
    client.fin();
}

/// A setup of this machine that asks only whether to do and to keep it.
fn local() -> String {
    format!("-name gateway -mode local -ports 443 -local-port 8443 -auth none {PROXY}")
}

/// The same for a gateway.
fn with_questions() -> String {
    format!("-name gateway -mode gateway -interfaces lan -ports 443 -local-port 8443 -dns no -auth none {PROXY}")
}

#[test]
fn a_gateway_is_set_up_in_a_dialogue_that_ends_with_a_clients_trace() {
    let stage = Stage::new(Policy::default());
    let mut setup = stage.setup("-target www.bench.example -confirm 90s");
    // name, proxy (wrong, then right), mode, interfaces (wrong, then the default), ports, port, dns, auth
    setup.answer("\nftp://x\n10.2.0.2:3128\n\nno-such0\n\n\n\nperhaps\n\n\n");
    setup.hears("Do this, yes or no");
    let before = setup.text();
    contains(
        &before,
        &["Name of the instance [gateway]", "not that: ", "clients arrive, or all [lan]", "is not yes or no"],
    );
    contains(&before, &["10.2.0.2:3128 opens a tunnel to www.bench.example:443 (200)", "interfaces = [\"lan\"]"]);
    assert_eq!((stage.tree(), stage.rules().len()), (vec![], 0));
    setup.answer("yes\n").hears("Open a web page on a client now");
    assert!(!stage.is_enabled() && stage.is_active(), "{}", setup.text());
    browse(&stage);
    setup.hears("Keep it");
    contains(
        &setup.text(),
        &["proven: a client's connection", "www.bench.example (from sni)", "client    10.1.0.2:", "status    200"],
    );
    assert!(!stage.is_enabled(), "not before it is confirmed");
    let (code, said) = setup.answer("yes\n").ends();
    assert_eq!(code, Some(0), "{said}");
    assert!(stage.is_enabled() && !stage.rules().is_empty());
    thread::sleep(Duration::from_millis(500));
    browse(&stage);
    let check = stage.start(&format!("handyproxy check -config {}", stage.path("etc/gateway.toml").display())).ends();
    assert_eq!(check.0, Some(0), "{}", check.1);
}

#[test]
fn without_a_question_a_gateway_says_what_is_proven_and_undo_takes_it_back() {
    let stage = Stage::new(Policy { refuses_plain: true, ..Policy::default() });
    let (code, said) = stage.done(&gateway());
    assert_eq!(code, Some(0), "{said}");
    contains(&said, &["proven: the proxy opens tunnels", "not proven: that connections of clients arrive", "Done."]);
    contains(&stage.read("etc/gateway.toml"), &["plain-http = \"auto\"", "upstream-proxy = \"10.2.0.2:3128\""]);
    assert!(stage.is_enabled() && stage.is_active() && !stage.rules().is_empty());
    browse(&stage);
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    contains(&said, &["rules taken down", "daemon stopped", "unit disabled", "gateway.toml removed"]);
    stage.is_clean();
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    contains(&said, &["nothing to take back"]);
    stage.is_clean();
}

#[test]
fn an_instance_of_the_other_kind_takes_its_rules_with_it() {
    let stage = Stage::new(Policy::default());
    let kinds = || ["_GW_", "_LO_", "gateway4_", "local4_"].map(|part| stage.ruleset().contains(part));
    std::fs::remove_dir(stage.path("etc")).expect("it is empty");
    let setup = format!("umask 077; exec handyproxy setup -etc {} {}", stage.path("etc").display(), gateway());
    let (code, said) = stage.start_words(&["sh", "-c", &setup]).ends();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(stage.mode("etc"), 0o750, "the daemon reads there");
    let before = kinds();
    assert!(before[0] || before[2], "{}", stage.ruleset());
    let (code, said) = stage.done(&format!("-yes -replace -mode local {PROXY}"));
    assert_eq!(code, Some(0), "{said}");
    let [gw, lo, gateway, local] = kinds();
    assert!(!gw && !gateway && (lo || local), "{}", stage.ruleset());
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(kinds(), before, "{said}");
}

#[test]
fn this_machine_is_proven_by_a_connection_of_its_own() {
    let stage = Stage::new(BASIC);
    stage.write("secret", "s3cret\n");
    let flags = format!(
        "-yes -mode local {PROXY} -auth basic -user CORP\\jane -password-file {}",
        stage.path("secret").display()
    );
    let (code, said) = stage.done(&flags);
    assert_eq!(code, Some(0), "{said}");
    contains(&said, &["proven: a connection of this machine to www.bench.example:443", "answered the TLS hello"]);
    contains(&said, &["origin    203.0.113.9:443", "www.bench.example (from sni)", "status    200"]);
    assert!(!said.contains("s3cret"), "{said}");
    assert_eq!((stage.mode("etc/gateway.password"), stage.read("etc/gateway.password").as_str()), (0o600, "s3cret\n"));
    assert_eq!(stage.mode("etc/gateway.toml"), 0o640);
    contains(
        &stage.read("etc/gateway.toml"),
        &["user = 'CORP\\jane'", "password-file = \"password\"", "mode = \"local\""],
    );
    assert!(!stage.read("etc/gateway.toml").contains("s3cret"));
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    stage.is_clean();
}

#[test]
fn a_proxy_that_fails_its_test_ends_it_and_nothing_was_changed() {
    let stage = Stage::new(BASIC);
    stage.write("wrong", "wrong\n");
    let wrong = format!("-auth basic -user me -password-file {}", stage.path("wrong").display());
    let before = (stage.tree(), stage.ruleset());
    for (flags, why) in [
        (format!("-yes -upstream {UPSTREAM}"), "407"),
        (format!("-yes -upstream {UPSTREAM} {wrong}"), "credentials refused"),
        ("-yes -upstream 10.2.0.2:9".to_owned(), "refused"),
        ("-yes -upstream no-such-proxy.example".to_owned(), "no-such-proxy.example"),
    ] {
        let (code, said) = stage.done(&format!("{flags} -target www.bench.example"));
        assert_eq!(code, Some(1), "{flags}: {said}");
        contains(&said, &[why, "nothing was changed"]);
        assert_eq!((stage.tree(), stage.ruleset()), before, "{flags}");
    }
    assert_eq!(stage.read("systemctl.log").lines().filter(|line| !line.starts_with("is-")).count(), 0);
    let (code, said) = stage.done("-yes -force -no-start -upstream 10.2.0.2:9 -target www.bench.example");
    assert_eq!(code, Some(0), "{said}");
    contains(&said, &["failed: ", "nothing was started"]);
    assert!(stage.path("etc/gateway.toml").exists() && stage.rules().is_empty() && !stage.is_active());
    assert_eq!(stage.done("-undo").0, Some(0));
    stage.is_clean();
}

#[test]
fn credentials_are_asked_for_when_the_proxy_wants_them() {
    let stage = Stage::new(BASIC);
    let mut setup = stage.setup(&format!("-mode local -ports 443 -local-port 8443 -no-start -auth none {PROXY}"));
    setup.answer("\n").hears("it wants credentials");
    // yes, scheme, user, a wrong password; yes, and all of it again
    setup.answer("\nbasic\nCORP\\jane\nwrong\n").hears("credentials refused");
    setup.answer("yes\nbasic\nCORP\\jane\ns3cret\n").hears("Do this");
    let (code, said) = setup.answer("\n").ends();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("s3cret") && !said.contains("wrong\n"), "{said}");
    assert_eq!(stage.read("etc/gateway.password"), "s3cret\n");
    assert_eq!(stage.done("-undo").0, Some(0));
    stage.is_clean();
}

#[test]
fn a_password_is_not_shown_on_a_terminal() {
    let stage = Stage::new(BASIC);
    let words = format!(
        "handyproxy setup -etc {} -name gateway -mode local -ports 443 -local-port 8443 -no-start -auth basic {PROXY}",
        stage.path("etc").display()
    );
    let mut setup = stage.start_words(&["script", "-qefc", &words, "/dev/null"]);
    setup.hears("User").answer("CORP\\jane\n").hears("Password").hears("(not shown)");
    setup.answer("s3cret\n").hears("Do this").answer("no\n");
    let (code, said) = setup.ends();
    assert_eq!(code, Some(1), "{said}");
    contains(&said, &["CORP\\jane", "opens a tunnel", "not accepted; nothing was changed"]);
    assert!(!said.contains("s3cret"), "{said}");
    stage.is_clean();
}

#[test]
fn clients_without_dns_are_asked_for() {
    let stage = Stage::new(Policy::default());
    let (code, said) = stage.done(&format!("{} -dns yes", gateway()));
    assert_eq!(code, Some(0), "{said}");
    let status = stage.start("handyproxy-rules status --porcelain --name gateway").ends().1;
    contains(&status, &["dns=5300"]);
    assert_eq!(stage.done("-undo").0, Some(0));
    stage.is_clean();
}

#[test]
fn without_systemd_the_file_is_written_and_the_rest_is_told() {
    let stage = Stage::new(Policy::default()).without_systemd();
    let (code, said) = stage.done(&gateway());
    assert_eq!(code, Some(3), "{said}");
    contains(&said, &["There is no systemd here", "nothing was started. These would:", "handyproxy rules up -config"]);
    assert!(stage.rules().is_empty());
    // by hand, and what the file says then takes away what it said before
    let file = stage.path("etc/gateway.toml");
    let up = format!("handyproxy rules up -config {}", file.display());
    assert_eq!(stage.start(&up).ends().0, Some(0));
    let kinds = || ["_GW_", "_LO_", "gateway4_", "local4_"].map(|part| stage.ruleset().contains(part));
    assert!(kinds()[0] || kinds()[2], "{}", stage.ruleset());
    let text = std::fs::read_to_string(&file).expect("it was written");
    std::fs::write(&file, text.replace("\"gateway\"\n", "\"local\"\n").replace("interfaces", "# interfaces"))
        .expect("ours");
    let (code, said) = stage.start(&up).ends();
    assert_eq!(code, Some(0), "{said}");
    let [gw, lo, gateway, local] = kinds();
    assert!(!gw && !gateway && (lo || local), "{}", stage.ruleset());
    std::fs::write(&file, text).expect("ours");
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    contains(&said, &["rules that were loaded by hand taken down"]);
    assert!(stage.rules().is_empty(), "{}", stage.ruleset());
}

#[test]
fn what_cannot_be_is_said_before_anything_is_asked_of_the_proxy() {
    let stage = Stage::new(Policy::default());
    let _taken = stage.net.gateway.listen("[::]:8043");
    for (flags, why) in [
        (format!("{} -local-port 8043", gateway()), "port 8043 is taken"),
        (format!("-yes -interfaces eth9 {PROXY}"), "\"eth9\" is not up here; there are lan, wan"),
        ("-yes".to_owned(), "-upstream is missing"),
        (format!("{} -auth ntlm -user me", gateway()), "-password-file is missing"),
        (format!("-yes -mode local -interfaces lan {PROXY}"), "-interfaces: belongs to -mode gateway"),
        (format!("-yes -mode local -ports 80 {PROXY}"), "port 443 is not among -ports 80"),
        (format!("-yes -mode local -capture tproxy {PROXY}"), "the answers do not go together"),
    ] {
        let (code, said) = stage.done(&flags);
        assert_eq!(code, Some(1), "{flags}: {said}");
        contains(&said, &[why, "nothing was changed"]);
        stage.is_clean();
    }
    assert_eq!(stage.asked(), [""; 0]);
    let (code, said) = stage.done("-nope -mode x");
    assert_eq!(code, Some(2), "{said}");
    contains(&said, &["-nope: unknown flag", "-mode: ", "usage: "]);
    let (code, said) = stage.done("-h");
    assert_eq!(code, Some(0));
    contains(&said, &["-undo", "-interfaces <LIST>"]);
}

#[test]
fn only_root_may() {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--clear-groups", env!("CARGO_BIN_EXE_handyproxy"), "setup", "-yes"]);
    let Ok(output) = command.stdin(Stdio::null()).output() else { panic!("setpriv of util-linux is installed") };
    // a user who may not even run it says nothing of setup
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("only root may do this"), "{output:?}");
}

#[test]
fn a_proxy_that_is_dead_can_be_forced_and_is_not_called_proven() {
    let stage = Stage::new(Policy::default());
    for mode in ["-mode local", "-interfaces lan"] {
        let (code, said) = stage.done(&format!("-yes -force {mode} -upstream 10.2.0.2:9 -target www.bench.example"));
        assert_eq!(code, Some(0), "{said}");
        contains(&said, &["not proven: ", "Done."]);
        assert!(!said.contains("went through the proxy") && !said.contains("proven: the proxy opens"), "{said}");
        assert_eq!(stage.done("-undo").0, Some(0));
        stage.is_clean();
    }
}

#[test]
fn without_systemd_rules_come_up_for_a_daemon_that_listens() {
    let stage = Stage::new(Policy::default()).without_systemd();
    assert_eq!(stage.done(&format!("{} -no-start", gateway())).0, Some(0));
    let first = stage.read("etc/gateway.toml");
    let mut daemon = stage.start(&format!("handyproxy -config {}", stage.path("etc/gateway.toml").display()));
    daemon.hears("listening on");
    let (code, said) = stage.done(&format!("{} -mode local -replace", gateway().replace("-interfaces lan", "")));
    assert_eq!(code, Some(0), "{said}");
    contains(
        &said,
        &["proven: a connection of this machine", "its trace is not in the journal", "must be started anew"],
    );
    assert!(!stage.rules().is_empty());
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((stage.rules().len(), stage.read("etc/gateway.toml")), (0, first));
}
