//! The access log in places of its own: one whole line for each session, whatever the disk, the journal, whoever
//! rotates files, and the upstream do.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::daemon::{Daemon, Launch};
use crate::support::folder::Folder;
use crate::support::journal::printable;
use crate::support::kind::Kind;
use crate::support::scene::Scene;
use crate::support::topology::{Topology, UPSTREAM, V4};
use crate::support::upstream::OPEN;
use crate::support::wire::Ending;
use crate::support::{PATIENCE, each_row, eventually};

/// What the log says when a place can be written again.
const AGAIN: &str = "is written again; lines lost: 0";

/// A scene with these lines in its configuration, whose folder is the test's.
fn scene(folder: &Folder, toml: &str) -> Scene {
    Scene::with(folder.launch(&config(toml)))
}

fn config(toml: &str) -> String {
    format!("upstream-proxy = '{UPSTREAM}'\n{toml}\n")
}

/// Plays a session to its good end; returns the client's address.
fn play(scene: &Scene) -> String {
    let (mut client, mut up) = scene.tunnel();
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
    client.address()
}

/// The lines of a file to which nobody writes now: all of them are whole.
fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line: {text}");
    text.lines().map(str::to_owned).collect()
}

/// The whole lines of a file so far: the end of the last one may be on its way.
fn whole(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n').map(str::to_owned)).collect()
}

/// Waits for the line of this client in a file.
fn line_of(file: &Path, client: &str) -> String {
    eventually(|| {
        let lines = whole(file);
        let found = lines.iter().find(|line| line.contains(client)).cloned();
        found.ok_or_else(|| format!("{}: {lines:?}", file.display()))
    })
}

/// Takes a line of JSON apart.
fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))
}

fn stop(mut gateway: Daemon) -> Daemon {
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.ends_within(Duration::from_secs(20)).is_some_and(|status| status.success()), "it still runs");
    gateway.log.wait_for_end();
    gateway
}

#[test]
fn text_in_a_file_has_the_time_and_the_keys_of_the_session_line() {
    let folder = Folder::new();
    let scene = scene(&folder, "access-log = 'logs/access.log'");
    let client = play(&scene);
    let file = PathBuf::from(folder.path()).join("logs/access.log");
    let line = line_of(&file, &client);
    let (time, rest) = line.split_once(" session id=1 end=done by=client ").expect("it begins so");
    assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert!(rest.starts_with(&format!("client={client} origin=203.0.113.9:22 ")), "{rest}");
    assert!(rest.contains(" up=1 down=1 chunks_up="), "{rest}");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o640);
    assert_eq!(scene.gateway.log.count(" session id="), 0, "it is logged as well");
}

#[test]
fn json_in_a_file_is_an_object_per_line() {
    let folder = Folder::new();
    let scene = scene(&folder, "access-log = 'access.log'\naccess-log-format = 'json'");
    let clients = [play(&scene), play(&scene)];
    let file = PathBuf::from(folder.path()).join("access.log");
    for (client, id) in clients.iter().zip(1..) {
        let line = json(&line_of(&file, client));
        assert_eq!(line["id"], id);
        assert_eq!(line["client"], client.as_str());
        assert_eq!((&line["end"], &line["by"], &line["status"]), (&"done".into(), &"client".into(), &200.into()));
        assert_eq!((&line["up"], &line["down"], &line["retries"]), (&1.into(), &1.into(), &0.into()));
        assert!(line["name"].is_null() && line["tls_ms"].is_null());
        assert!(line["started"].as_str() < line["ended"].as_str(), "{line}");
        assert!(line["duration_ms"].as_f64() > line["dial_ms"].as_f64(), "{line}");
    }
}

#[test]
fn stderr_gets_its_lines_whatever_the_level_and_off_gets_none() {
    let rows = [
        ("-access-log stderr -log-level off", true),
        ("-access-log stderr -log-level off -access-log-format json", true),
        ("-access-log stderr -log-level info", true),
        ("-access-log off -log-level info", false),
        ("-access-log log -log-level off", false),
    ];
    each_row(
        &rows,
        |row| row.0.to_owned(),
        |(flags, said)| {
            let net = Topology::new();
            net.redirect();
            let upstream = net.upstream.listen(UPSTREAM);
            let launch = Launch::new(&format!("-upstream-proxy {UPSTREAM} {flags}"));
            let gateway = launch.start_unheard(&net.gateway);
            let mut client = eventually(|| {
                let client = net.client.try_connect((V4, 443).into());
                client.map_err(|why| why.to_string())
            });
            let mut up = upstream.accept();
            up.connect_target();
            up.reply([OPEN, b"hi"].concat());
            client.expect("hi");
            client.fin();
            up.expect_end(Ending::Fin);
            up.fin();
            client.expect_end(Ending::Fin);
            let gateway = stop(gateway);
            let lines = gateway.log.lines();
            let ours: Vec<&String> = lines.iter().filter(|line| line.contains(&client.address())).collect();
            assert_eq!(ours.len(), usize::from(*said), "{lines:?}");
            if flags.contains("json") {
                assert_eq!(json(ours[0])["end"], "done");
            } else if *said {
                assert!(ours[0].contains("Z session id=1 end=done "), "{}", ours[0]);
            }
            if flags.contains("level off") {
                assert_eq!(lines.iter().filter(|line| !line.is_empty()).count(), ours.len(), "{lines:?}");
            }
        },
    );
}

#[test]
fn a_reload_changes_place_and_format() {
    let folder = Folder::new();
    let scene = scene(&folder, "access-log = 'one.log'");
    let file = |name: &str| PathBuf::from(folder.path()).join(name);
    let first = play(&scene);
    line_of(&file("one.log"), &first);
    // one that was open before the reload goes where lines go when it ends
    let (mut client, mut up) = scene.tunnel();

    folder.config(&config("access-log = 'two.log'\naccess-log-format = 'json'"));
    scene.gateway.reload();
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    assert_eq!(json(&line_of(&file("two.log"), &client.address()))["id"], 2);

    folder.config(&config("access-log = 'two.log'"));
    scene.gateway.reload();
    let third = play(&scene);
    assert!(line_of(&file("two.log"), &third).contains("Z session id=3 "));

    folder.config(&config(""));
    scene.gateway.reload();
    let fourth = play(&scene);
    scene.gateway.session_from(&fourth).expect("id=4 end=done");

    folder.config(&config("access-log = 'off'"));
    scene.gateway.reload();
    play(&scene);
    // its line belongs to who asks for it when it ends, which it may not have done yet
    eventually(|| {
        scene.gateway.signal(Signal::SIGUSR1);
        let ended = scene.gateway.log.count("state: 0 of 5 sessions open") > 0;
        if ended { Ok(()) } else { Err("the fifth session is open".to_owned()) }
    });
    folder.config(&config("access-log = 'one.log'"));
    scene.gateway.reload();
    let sixth = play(&scene);
    line_of(&file("one.log"), &sixth);
    assert_eq!((lines(&file("one.log")).len(), lines(&file("two.log")).len()), (2, 2));
}

#[test]
fn a_place_that_cannot_be_opened_is_told_once_and_its_lines_wait() {
    let folder = Folder::new();
    let scene = scene(&folder, "");
    let file = PathBuf::from(folder.write("stone", "no folder")).join("access.log");
    folder.config(&config("access-log = 'stone/access.log'"));
    scene.gateway.reload();
    let told = scene.gateway.log.wait_for(&format!("access log {}: ", file.display()));
    assert!(told.contains("ERROR") && told.contains("lines wait"), "{told}");
    let clients: Vec<String> = (0..3).map(|_| play(&scene)).collect();
    fs::remove_file(file.parent().expect("a folder")).expect("it is there");
    scene.gateway.log.wait_for(AGAIN);
    clients.iter().for_each(|client| drop(line_of(&file, client)));
    assert_eq!(lines(&file).len(), 3);
    assert_eq!(scene.gateway.log.count("lines wait"), 1);
}

#[test]
fn a_file_that_may_not_be_written_is_told_of_from_the_start() {
    let folder = Folder::new();
    let closed = PathBuf::from(folder.path()).join("closed");
    fs::create_dir(&closed).expect("a free name");
    std::os::unix::fs::chown(&closed, Some(65534), Some(65534)).expect("root may");
    // root without the right to write wherever it likes
    let launch = folder.launch(&config("access-log = 'closed/access.log'"));
    let scene = Scene::with(launch.wrapped("setpriv --bounding-set=-dac_override,-dac_read_search,-fowner"));
    let told = scene.gateway.log.wait_for("access log ");
    assert!(told.contains("Permission denied"), "{told}");
    let client = play(&scene);
    std::os::unix::fs::chown(&closed, Some(0), Some(0)).expect("root may");
    scene.gateway.log.wait_for(AGAIN);
    line_of(&closed.join("access.log"), &client);
}

#[test]
fn a_full_disk_tears_no_line_and_loses_none_while_there_is_room_in_memory() {
    let folder = Folder::new();
    let disk = PathBuf::from(folder.path()).join("disk");
    fs::create_dir(&disk).expect("a free name");
    let scene = Scene::with(folder.launch(&config("access-log = 'disk/access.log'")).with_tiny(&disk));
    let disk = scene.gateway.sees(&disk);
    let (file, filler) = (disk.join("access.log"), disk.join("filler"));
    let mut clients = vec![play(&scene)];
    line_of(&file, &clients[0]);
    let full = fs::write(&filler, vec![0; 128 * 1024]).expect_err("it is tiny");
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    // what is left of the page that the file has
    while scene.gateway.log.count("lines wait") == 0 {
        assert!(clients.len() < 1000, "the disk is never full");
        clients.push(play(&scene));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(scene.gateway.log.wait_for("lines wait").contains("No space left on device"));
    clients.extend((0..20).map(|_| play(&scene)));
    let before = whole(&file);
    assert!(before.len() < clients.len() - 19, "{} lines on a full disk", before.len());
    fs::remove_file(&filler).expect("it is there");
    scene.gateway.log.wait_for(AGAIN);
    clients.iter().for_each(|client| drop(line_of(&file, client)));
    let lines = lines(&file);
    assert_eq!(lines.len(), clients.len(), "each once");
    assert!(lines.iter().all(|line| line.contains("Z session id=") && line.contains(" duration_ms=")));
    assert_eq!(scene.gateway.log.count("lines wait"), 1);
}

#[test]
fn sighup_opens_a_rotated_file_anew_whatever_the_settings_are() {
    let folder = Folder::new();
    let scene = scene(&folder, "access-log = 'access.log'");
    let file = |name: &str| PathBuf::from(folder.path()).join(name);
    let first = play(&scene);
    line_of(&file("access.log"), &first);
    fs::rename(file("access.log"), file("access.log.1")).expect("it is there");
    scene.gateway.reload();
    let second = play(&scene);
    line_of(&file("access.log"), &second);
    fs::rename(file("access.log"), file("access.log.2")).expect("it is there");
    folder.config("no-such-key = 1");
    scene.gateway.signal(Signal::SIGHUP);
    scene.gateway.log.wait_for("reload refused: ");
    let third = play(&scene);
    line_of(&file("access.log"), &third);
    for name in ["access.log", "access.log.1", "access.log.2"] {
        assert_eq!(lines(&file(name)).len(), 1, "{name}");
    }
}

/// Plays sessions until a file is there; returns how many.
fn play_until(scene: &Scene, file: &Path) -> usize {
    let mut played = 0;
    eventually(|| {
        play(scene);
        played += 1;
        if file.exists() { Ok(()) } else { Err(format!("no {}", file.display())) }
    });
    played
}

#[test]
fn a_file_that_was_moved_or_deleted_without_a_word_is_noticed() {
    let folder = Folder::new();
    let scene = scene(&folder, "access-log = 'access.log'");
    let file = |name: &str| PathBuf::from(folder.path()).join(name);
    let mut played = play_until(&scene, &file("access.log"));
    fs::rename(file("access.log"), file("access.log.1")).expect("it is there");
    played += play_until(&scene, &file("access.log"));
    scene.gateway.log.wait_for("was moved or deleted; goes on in a new file");
    let all = || whole(&file("access.log")).len() + whole(&file("access.log.1")).len();
    eventually(|| if all() == played { Ok(()) } else { Err(format!("{} lines of {played}", all())) });
    fs::remove_file(file("access.log")).expect("it is there");
    play_until(&scene, &file("access.log"));
}

#[test]
fn an_upstream_cannot_write_into_the_access_log() {
    let long = "r".repeat(64 * 1024);
    let reasons: [&[u8]; 9] = [
        b"\x1b[2J\x1b[31mred",
        b"tab\tand bell\x07 and back\x08space",
        "\u{9b}31m \u{202e}right to left \u{2028}line\u{2029}".as_bytes(),
        b"\xff\xfe not UTF-8",
        b"\" end=done by=us error=\"",
        b"\",\"end\":\"done\",\"error\":\"",
        b"x\r2026-11-21T03:00:00.135Z session id=9 end=done client=1.2.3.4:5",
        b"\\\" \\",
        long.as_bytes(),
    ];
    for format in ["text", "json"] {
        let folder = Folder::new();
        let scene = scene(&folder, &format!("access-log = 'access.log'\naccess-log-format = '{format}'"));
        let file = PathBuf::from(folder.path()).join("access.log");
        let mut played = 0;
        each_row(
            &reasons,
            |reason| reason[..reason.len().min(40)].escape_ascii().to_string(),
            |reason| {
                for answer in [
                    [b"HTTP/1.1 403 ", *reason, b"\r\nContent-Length: 0\r\n\r\n"].concat(),
                    [b"HTTP/1.1 503 No\r\nX-Squid-Error: ", *reason, b"\r\nContent-Length: 0\r\n\r\n"].concat(),
                    [*reason, b"\r\n\r\n"].concat(),
                ] {
                    let (mut client, mut up) = Kind::Http.ask(&scene);
                    // it may have heard enough before the end
                    let _ = up.try_send(&answer);
                    client.receive_all();
                    drop(up);
                    played += 1;
                    let line = line_of(&file, &client.address());
                    assert!(line.len() < 2000 && line.bytes().all(|b| matches!(b, b' '..=b'~')), "{line}");
                    if format == "json" {
                        let line = json(&line);
                        assert!(["refused", "bad-reply"].contains(&line["end"].as_str().unwrap_or("?")), "{line}");
                        assert!(line["error"].as_str().is_some_and(|error| error.len() < 1000), "{line}");
                    } else {
                        assert!(line.contains(" end=refused ") || line.contains(" end=bad-reply "), "{line}");
                    }
                }
            },
        );
        assert_eq!(lines(&file).len(), played, "a line for each session");
        printable(&fs::read(&file).expect("a file"));
    }
}

/// What the journal gets.
struct FakeJournal {
    socket: UnixDatagram,
}

impl FakeJournal {
    fn listen(folder: &Path) -> Self {
        let path = folder.join("socket");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(path).expect("a free name");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { socket }
    }

    /// The fields of the next entry, `NAME=value`, those with lines in their value apart.
    fn entry(&self) -> Vec<String> {
        let mut bytes = vec![0; 1 << 16];
        let length = self.socket.recv(&mut bytes).expect("an entry");
        let text = String::from_utf8(bytes[..length].to_vec()).expect("text");
        assert!(text.ends_with('\n'), "{text}");
        text.lines().map(str::to_owned).collect()
    }
}

fn journal_folder(folder: &Folder) -> PathBuf {
    let path = PathBuf::from(folder.path()).join("journal");
    fs::create_dir(&path).expect("a free name");
    path
}

#[test]
fn the_journal_gets_a_field_for_each_fact_whatever_stderr_is() {
    let folder = Folder::new();
    let sockets = journal_folder(&folder);
    let journal = FakeJournal::listen(&sockets);
    let toml = config("access-log = 'journal'\nsniff-timeout = '5s'\nlog-level = 'error'");
    let net = Topology::new();
    net.redirect();
    let upstream = net.upstream.listen(UPSTREAM);
    let gateway = folder.launch(&toml).with_journal(&sockets).start_unheard(&net.gateway);
    let mut client = eventually(|| net.client.try_connect((V4, 443).into()).map_err(|why| why.to_string()));
    client.send(Kind::Tls.says());
    let mut up = upstream.accept();
    up.expect_connect("www.bench.example:443");
    up.reply("HTTP/1.1 403 No\x1b\r\nContent-Length: 0\r\n\r\n");
    client.receive_all();
    let entry = journal.entry();
    let address = client.address();
    let message = entry[0].strip_prefix("MESSAGE=session id=1 end=refused by=upstream client=").expect("the line");
    assert!(message.starts_with(&address), "{message}");
    for field in [
        "PRIORITY=4",
        "SYSLOG_IDENTIFIER=handyproxy",
        "HANDYPROXY_ID=1",
        "HANDYPROXY_END=refused",
        "HANDYPROXY_BY=upstream",
        &format!("HANDYPROXY_CLIENT={address}"),
        "HANDYPROXY_ORIGIN=203.0.113.9:443",
        "HANDYPROXY_NAME=www.bench.example",
        "HANDYPROXY_NAME_SOURCE=sni",
        "HANDYPROXY_TARGET=www.bench.example:443",
        "HANDYPROXY_UPSTREAM=10.2.0.2:3128",
        "HANDYPROXY_STAGE=connect",
        "HANDYPROXY_STATUS=403",
        "HANDYPROXY_UP=0",
    ] {
        assert!(entry.contains(&field.to_owned()), "no {field} in {entry:?}");
    }
    let has = |name: &str| entry.iter().any(|field| field.starts_with(&format!("HANDYPROXY_{name}=")));
    assert!(has("STARTED") && has("ENDED") && has("ERROR") && has("DURATION_MS") && has("SNIFF_MS"), "{entry:?}");
    assert!(!has("TLS_MS") && !has("RETRIES") && !has("VIA"), "{entry:?}");
    let gateway = stop(gateway);
    assert_eq!(gateway.log.count("session id="), 0, "it is logged as well");
}

#[test]
fn a_journal_that_is_missing_or_started_anew_is_told_once_and_found_again() {
    let folder = Folder::new();
    let sockets = journal_folder(&folder);
    let toml = config("access-log = 'journal'\naccess-log-format = 'json'");
    let scene = Scene::with(folder.launch(&toml).with_journal(&sockets));
    let told = scene.gateway.log.wait_for("access log to the journal: /run/systemd/journal/socket: ");
    assert!(told.contains("ERROR") && told.contains("lines wait"), "{told}");
    let mut early = [play(&scene), play(&scene)];
    early.sort();
    let journal = FakeJournal::listen(&sockets);
    scene.gateway.log.wait_for(AGAIN);
    // two that end at nearly the same time may be told in either order
    let mut told = early.each_ref().map(|_| {
        let entry = journal.entry();
        let line = json(entry[0].strip_prefix("MESSAGE=").expect("the line"));
        let client = line["client"].as_str().expect("an address").to_owned();
        assert!(entry.contains(&format!("HANDYPROXY_CLIENT={client}")), "{entry:?}");
        client
    });
    told.sort();
    assert_eq!(told, early);
    // one that is there again at once was never away
    drop(journal);
    let journal = FakeJournal::listen(&sockets);
    let third = play(&scene);
    assert!(journal.entry().contains(&format!("HANDYPROXY_CLIENT={third}")));
    assert_eq!(scene.gateway.log.count("lines wait"), 1);
    drop(journal);
    let fourth = play(&scene);
    scene.gateway.log.wait_for_times("lines wait", 2);
    let journal = FakeJournal::listen(&sockets);
    assert!(journal.entry().contains(&format!("HANDYPROXY_CLIENT={fourth}")));
    scene.gateway.log.wait_for_times(AGAIN, 2);
}

#[test]
fn every_session_has_its_line_those_that_a_stop_cuts_too() {
    let folder = Folder::new();
    let scene = scene(&folder, "access-log = 'access.log'\naccess-log-format = 'json'\ndrain-timeout = '0s'");
    let file = PathBuf::from(folder.path()).join("access.log");
    for _ in 0..20 {
        play(&scene);
    }
    for kind in Kind::ALL {
        let (mut client, mut up) = kind.ask(&scene);
        up.reply("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
        client.receive_all();
    }
    let open: Vec<_> = (0..50).map(|_| scene.tunnel()).collect();
    let Scene { gateway, .. } = scene;
    let gateway = stop(gateway);
    gateway.log.wait_for("stopped after serving 74 sessions");
    let lines: Vec<_> = lines(&file).iter().map(|line| json(line)).collect();
    let count = |end: &str| lines.iter().filter(|line| line["end"] == end).count();
    assert_eq!((count("done"), count("refused"), count("drained")), (20, 4, 50));
    let mut ids: Vec<u64> = lines.iter().map(|line| line["id"].as_u64().expect("a number")).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=74).collect::<Vec<u64>>());
    for (client, _) in &open {
        let address = client.address();
        assert!(lines.iter().any(|line| line["client"] == address.as_str()), "{address}");
    }
}

#[test]
fn a_killed_daemon_leaves_the_lines_of_all_that_ended() {
    let folder = Folder::new();
    let scene = scene(&folder, "access-log = 'access.log'");
    let file = PathBuf::from(folder.path()).join("access.log");
    let clients: Vec<String> = (0..10).map(|_| play(&scene)).collect();
    let _open = scene.tunnel();
    clients.iter().for_each(|client| drop(line_of(&file, client)));
    scene.gateway.signal(Signal::SIGKILL);
    scene.gateway.log.wait_for_end();
    assert_eq!(lines(&file).len(), 10);
}

#[test]
fn a_place_that_hangs_holds_neither_sessions_nor_the_stop_up() {
    let folder = Folder::new();
    // whoever opens a pipe that nobody reads does not come back
    let made = Command::new("mkfifo").arg(format!("{}/pipe", folder.path())).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo, of coreutils");
    let scene = scene(&folder, "access-log = 'pipe'");
    for _ in 0..20 {
        play(&scene);
    }
    let Scene { gateway, .. } = scene;
    let gateway = stop(gateway);
    let told = gateway.log.wait_for("its last lines are lost, it does not take them");
    assert!(told.contains("ERROR"), "{told}");
    gateway.log.wait_for("stopped after serving 20 sessions");
}
