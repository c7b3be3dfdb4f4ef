//! The file of a running gateway: read again by SIGHUP, whole or not at all, while open sessions go on.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::challenge::demand;
use crate::support::daemon::Launch;
use crate::support::each_row;
use crate::support::folder::Folder;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{PORT, Topology, UPSTREAM, V4};
use crate::support::upstream::{OPEN, Upstream};
use crate::support::wire::{Ending, Wire};

/// A gateway with one upstream, `corp`, at this address.
fn at(address: &str) -> String {
    format!("upstream-proxy = 'corp'\n[upstream.corp]\nproxy = '{address}'\n")
}

/// A gateway and its file; 10.2.0.3 is a second proxy.
fn scene(folder: &Folder, text: &str) -> (Scene, Upstream) {
    let net = Topology::new();
    let second = net.proxy(3);
    (Scene::on(net, folder.launch(text)), second)
}

/// A byte each way.
fn carries(client: &mut Wire, up: &mut Wire) {
    client.send("?");
    up.expect("?");
    up.send("!");
    client.expect("!");
}

#[test]
fn a_reload_changes_the_upstream_of_new_sessions_and_leaves_the_open_ones() {
    let folder = Folder::new();
    let (scene, second) = scene(&folder, &at("10.2.0.2"));
    let (mut client, mut up) = scene.tunnel();
    let path = folder.config(&at("10.2.0.3"));
    let line = scene.gateway.reload();
    assert!(line.contains(&format!("reloaded {path}: 1 upstream")) && line.contains(" INFO "), "{line}");
    let (mut other_client, mut other_up) = scene.tunnel_by(&second, V4);
    carries(&mut client, &mut up);
    carries(&mut other_client, &mut other_up);
    scene.upstream.expect_no_connection(Duration::ZERO);
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    scene.gateway.session_of(&client).expect("end=done via=corp upstream=10.2.0.2:3128");
    other_client.fin();
    other_up.fin();
    scene.gateway.session_of(&other_client).expect("end=done via=corp upstream=10.2.0.3:3128");
    // and back, by the same file
    folder.config(&at("10.2.0.2"));
    scene.gateway.reload();
    scene.tunnel();
}

#[test]
fn a_session_that_is_being_opened_keeps_what_it_started_with() {
    let folder = Folder::new();
    let (scene, second) = scene(&folder, &at("10.2.0.2"));
    let mut client = scene.connect(V4, SERVER_FIRST);
    let mut up = scene.upstream.accept();
    up.expect_connect("203.0.113.9:22");
    folder.config(&at("10.2.0.3"));
    scene.gateway.reload();
    up.reply(OPEN);
    carries(&mut client, &mut up);
    second.expect_no_connection(Duration::ZERO);
}

#[test]
fn a_reload_changes_routes() {
    let folder = Folder::new();
    let (scene, second) = scene(&folder, &at("10.2.0.2"));
    let (mut client, mut up) = scene.tunnel();
    let routed = format!(
        "{}[upstream.other]\nproxy = '10.2.0.3'\n[[route]]\nto = '203.0.113.10'\nvia = 'other'\n\
         [[route]]\nto = '*:22'\nvia = 'reject'\n",
        at("10.2.0.2")
    );
    let path = folder.config(&routed);
    let line = scene.gateway.reload();
    assert!(line.contains(&format!("reloaded {path}: 2 upstreams, 2 routes")), "{line}");
    let _rejected = scene.net.client.try_connect((V4, SERVER_FIRST).into());
    scene.gateway.session_line().expect(&format!("end=rejected by=us via=reject route={}", folder.line(9)));
    scene.tunnel_by(&second, [203, 0, 113, 10].into());
    carries(&mut client, &mut up);
    folder.config(&at("10.2.0.2"));
    scene.gateway.reload();
    scene.tunnel();
}

#[test]
fn a_reload_names_the_taps_and_the_access_log_that_change() {
    let folder = Folder::new();
    let tap = |kind: &str, more: &str| format!("[[tap]]\nkind = '{kind}'\npath = '{}/{kind}'\n{more}", folder.path());
    let text = |top: &str, taps: &[String]| format!("{top}\n{}{}", at("10.2.0.2"), taps.concat());
    let (scene, _second) = scene(&folder, &text("", &[tap("flow", ""), tap("hexlog", "")]));
    let at = folder.path();
    let access = format!("access-log = '{at}/access'\naccess-log-format = 'json'");
    let path = folder.config(&text(&access, &[tap("flow", ""), tap("hexlog", "queue = '2MiB'\n"), tap("pcapng", "")]));
    let told = |line: &str| line.split_once(&format!("reloaded {path}: ")).map(|(_, rest)| rest.to_owned());
    let wanted = format!(
        "1 upstream, 0 routes, 3 taps; tap hexlog {at}/hexlog begins anew, tap pcapng {at}/pcapng begins, \
         access log: {at}/access, access log as json"
    );
    assert_eq!(told(&scene.gateway.reload()), Some(wanted));
    assert_eq!(told(&scene.gateway.reload()).as_deref(), Some("1 upstream, 0 routes, 3 taps"));
    folder.config(&text(&access, &[tap("flow", "")]));
    let wanted = format!("1 upstream, 0 routes, 1 tap; tap hexlog {at}/hexlog ends, tap pcapng {at}/pcapng ends");
    assert_eq!(told(&scene.gateway.reload()), Some(wanted));
}

#[test]
fn a_bad_file_changes_nothing_and_every_mistake_is_named() {
    let folder = Folder::new();
    let (scene, second) = scene(&folder, &at("10.2.0.2"));
    let (mut client, mut up) = scene.tunnel();
    let log = &scene.gateway.log;
    let bad = format!("{}usr = 'x'\n[[route]]\nvia = 'nowhere'\n", at("10.2.0.3"));
    let files =
        [(bad, vec![4, 6]), ("upstream-proxy = \n".to_owned(), vec![1]), ("local-port = 'x'\n".to_owned(), vec![1])];
    each_row(
        &files,
        |(text, _)| text.clone(),
        |(text, lines)| {
            folder.config(text);
            let before = log.count("reload refused: ");
            scene.gateway.signal(Signal::SIGHUP);
            let last = log.wait_for_times("reload refused: ", before + lines.len());
            assert!(last.contains(" ERROR "), "{last}");
            for line in lines {
                log.wait_for(&format!("reload refused: {}: ", folder.line(*line)));
            }
            carries(&mut client, &mut up);
            scene.tunnel();
        },
    );
    // gone altogether
    let path = folder.config("");
    fs::remove_file(&path).expect("it was there");
    scene.gateway.signal(Signal::SIGHUP);
    log.wait_for(&format!("reload refused: {path}: "));
    scene.tunnel();
    assert_eq!(log.count("reloaded "), 0);
    second.expect_no_connection(Duration::ZERO);
    // a good one is taken after all that
    folder.config(&at("10.2.0.3"));
    scene.gateway.reload();
    scene.tunnel_by(&second, V4);
}

#[test]
fn a_flag_wins_over_the_file_at_each_reload() {
    let folder = Folder::new();
    let path = folder.config("upstream-proxy = '10.2.0.3'\n");
    let net = Topology::new();
    let second = net.proxy(3);
    let scene = Scene::on(net, Launch::new(&format!("-config {path} -upstream-proxy {UPSTREAM}")));
    scene.tunnel();
    folder.config("upstream-proxy = '10.2.0.3'\nmark = 0\n");
    scene.gateway.reload();
    scene.tunnel();
    second.expect_no_connection(Duration::ZERO);
}

#[test]
fn the_port_stays_until_a_restart_and_the_rest_changes() {
    let folder = Folder::new();
    let net = Topology::new();
    let second = net.proxy(3);
    let path = folder.config(&format!("local-port = {PORT}\n{}", at("10.2.0.2")));
    let scene = Scene::on(net, Launch::words(&format!("-config {path}")));
    scene.tunnel();
    folder.config(&format!("local-port = {}\n{}", PORT + 1, at("10.2.0.3")));
    scene.gateway.reload();
    let line = scene.gateway.log.wait_for("reload: -local-port needs a restart, 8043 stays");
    assert!(line.contains(" WARN "), "{line}");
    scene.tunnel_by(&second, V4);
}

#[test]
fn max_sessions_goes_up_and_down_while_sessions_are_open() {
    let folder = Folder::new();
    let limit = |most: usize| format!("max-sessions = {most}\n{}", at("10.2.0.2"));
    let (scene, _second) = scene(&folder, &limit(2));
    let mut open = vec![scene.tunnel(), scene.tunnel()];
    let quiet = Duration::from_millis(200);
    let waiting = [scene.connect(V4, SERVER_FIRST), scene.connect(V4, SERVER_FIRST)];
    scene.upstream.expect_no_connection(quiet);
    let serve = |client: Wire| {
        let mut up = scene.upstream.accept();
        up.expect_connect("203.0.113.9:22");
        up.reply(OPEN);
        let mut client = client;
        carries(&mut client, &mut up);
        (client, up)
    };
    // up: whoever waits is served, in turn, and no more of them
    folder.config(&limit(3));
    scene.gateway.reload();
    let [first, second] = waiting;
    open.push(serve(first));
    scene.upstream.expect_no_connection(quiet);
    // down: nobody is cut, and nobody is let in before there is room again
    folder.config(&limit(1));
    scene.gateway.reload();
    for (client, up) in &mut open {
        carries(client, up);
    }
    for left in [3, 2] {
        assert_eq!(open.len(), left);
        drop(open.pop());
        scene.gateway.session_line();
        scene.upstream.expect_no_connection(quiet);
    }
    drop(open.pop());
    let last = serve(second);
    let _waits = scene.connect(V4, SERVER_FIRST);
    scene.upstream.expect_no_connection(quiet);
    // as many as the descriptors allow
    folder.config(&limit(0));
    scene.gateway.reload();
    scene.upstream.accept();
    drop(last);
}

#[test]
fn taps_that_a_reload_brings_take_their_descriptors_from_those_of_sessions() {
    let folder = Folder::new();
    let text = format!("max-sessions = 700\n{}", at("10.2.0.2"));
    let scene = Scene::with(folder.launch(&text).descriptors(2000));
    let fit = "fit under the limit of 2000 descriptors";
    assert_eq!(scene.gateway.log.count(fit), 0, "800 fit");
    folder.config(&format!("{text}{}", "[[tap]]\nkind = 'dump'\npath = 'dumps/'\n".repeat(2)));
    scene.gateway.reload();
    scene.gateway.log.wait_for("-max-sessions 700: only 698 fit under the limit of 2000 descriptors");
    folder.config(&text);
    scene.gateway.reload();
    assert_eq!(scene.gateway.log.count(fit), 1, "800 fit again");
    scene.tunnel();
}

/// A gateway whose upstream `corp` has this password, and more of the file.
fn with_password(password: &str, more: &str) -> String {
    format!("{more}{}auth = 'basic'\nuser = 'me'\npassword = '{password}'\n", at("10.2.0.2"))
}

/// A session whose credentials are refused, or that is not let near the proxy because they were.
fn is_held(scene: &Scene) {
    let _client = scene.net.client.try_connect((V4, SERVER_FIRST).into());
    let line = scene.gateway.session_line();
    line.expect("end=auth by=upstream");
    assert!(line.get("error").is_some_and(|error| error.contains("held for")), "{line:?}");
    scene.upstream.expect_no_byte();
}

#[test]
fn what_is_known_of_an_upstream_outlives_a_reload_that_does_not_change_it() {
    let folder = Folder::new();
    let (scene, _second) = scene(&folder, &with_password("wrong", ""));
    let client = scene.connect(V4, SERVER_FIRST);
    let mut up = scene.upstream.accept();
    up.expect_credentials("203.0.113.9:22");
    up.reply(demand(&["Basic realm=\"lab\""]));
    scene.gateway.session_of(&client).expect("end=auth");
    is_held(&scene);
    folder.config(&with_password("wrong", "mark = 0x68\nidle-timeout = '1h'\n"));
    scene.gateway.reload();
    is_held(&scene);
    folder.config(&with_password("right", ""));
    scene.gateway.reload();
    let mut client = scene.connect(V4, SERVER_FIRST);
    let mut up = scene.upstream.accept();
    // me:right
    assert_eq!(up.expect_credentials("203.0.113.9:22"), "Basic bWU6cmlnaHQ=");
    up.reply(OPEN);
    carries(&mut client, &mut up);
}

#[test]
fn sighup_without_a_file_harms_nobody() {
    let scene = Scene::new("");
    let (mut client, mut up) = scene.tunnel();
    scene.gateway.signal(Signal::SIGHUP);
    carries(&mut client, &mut up);
    scene.tunnel();
}

#[test]
fn many_reloads_under_load_lose_no_session_and_leave_nothing_behind() {
    let folder = Folder::new();
    let (scene, second) = scene(&folder, &at("10.2.0.2"));
    drop(scene.tunnel());
    scene.gateway.session_line();
    let start = scene.gateway.descriptors();
    for round in 0..20 {
        let (address, upstream) = if round % 2 == 0 { ("10.2.0.3", &second) } else { ("10.2.0.2", &scene.upstream) };
        folder.config(&at(address));
        scene.gateway.reload();
        drop(scene.tunnel_by(upstream, V4));
        scene.gateway.session_line();
    }
    scene.gateway.settles_at(start);
    assert_eq!(scene.gateway.log.sessions().len(), 21);
}

#[test]
fn the_reload_command_checks_first_and_then_signals() {
    let folder = Folder::new();
    let (scene, second) = scene(&folder, &at("10.2.0.2"));
    let pid = scene.gateway.pid().to_string();
    let reload = |path: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_handyproxy"))
            .args(["reload", "-config", path])
            .env("MAINPID", &pid)
            .stdin(Stdio::null())
            .output();
        let output = output.expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let path = folder.config("local-port = 'x'\n");
    let (code, told) = reload(&path);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains(&format!("{}: local-port: ", folder.line(1))), "{told}");
    let path = folder.config(&at("10.2.0.3"));
    assert_eq!(reload(&path), (Some(0), String::new()));
    scene.gateway.log.wait_for("reloaded ");
    assert_eq!(scene.gateway.log.count("reload refused"), 0, "it was not signalled for the bad file");
    scene.tunnel_by(&second, V4);
}

#[test]
fn passwords_come_from_systemds_credentials_too() {
    let folder = Folder::new();
    let credentials = Folder::new();
    credentials.write("corp.password", "from-systemd\n");
    credentials.write("upstream-proxy.password", "unnamed\n");
    credentials.write("other", "by-its-name\n");
    folder.write("other", "beside\n");
    let named = |more: &str| format!("{}auth = 'basic'\nuser = 'me'\n{more}", at("10.2.0.2"));
    let unnamed = "upstream-proxy = '10.2.0.2'\nauth = 'basic'\nuser = 'me'\n".to_owned();
    let rows = [
        ("by the upstream's name", named(""), "Basic bWU6ZnJvbS1zeXN0ZW1k"),
        (
            "by the name of the file, before one beside the configuration",
            named("password-file = 'other'\n"),
            "Basic bWU6YnktaXRzLW5hbWU=",
        ),
        ("what stands in the file goes first", named("password = 'inline'\n"), "Basic bWU6aW5saW5l"),
        ("of an upstream without a name", unnamed, "Basic bWU6dW5uYW1lZA=="),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(_, text, wanted)| {
            let scene = Scene::with(folder.launch(text).variable("CREDENTIALS_DIRECTORY", credentials.path()));
            let _client = scene.connect(V4, SERVER_FIRST);
            let mut up = scene.upstream.accept();
            assert_eq!(up.expect_credentials("203.0.113.9:22"), *wanted);
        },
    );
}
