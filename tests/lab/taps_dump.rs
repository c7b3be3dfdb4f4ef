//! The dump taps on real tunnels: every byte of every session in a file of its own.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::daemon::Launch;
use crate::support::eventually;
use crate::support::folder::Folder;
use crate::support::random::Random;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{PORT, UPSTREAM, V4, V6};
use crate::support::wire::{Ending, Wire, carry};

const MB: usize = 1 << 20;

/// A file, once it ends so.
fn ending(path: &str, end: &[u8]) -> Vec<u8> {
    eventually(|| match fs::read(path) {
        Ok(bytes) if bytes.ends_with(end) => Ok(bytes),
        Ok(bytes) => Err(format!("{path} has {} bytes and another end", bytes.len())),
        Err(why) => Err(format!("{path}: {why}")),
    })
}

/// What `carry` sends.
fn carried(count: usize) -> Vec<u8> {
    Random::new(count as u64).bytes(count)
}

/// A tunnel with a megabyte and a bit each way, which ends.
fn talk(scene: &Scene, (mut client, mut up): (Wire, Wire)) {
    carry(&mut client, &mut up, MB + 1);
    carry(&mut up, &mut client, MB + 2);
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
    scene.gateway.session_of(&client);
}

fn said() -> [Vec<u8>; 2] {
    [[b"?".to_vec(), carried(MB + 1)].concat(), [b"!".to_vec(), carried(MB + 2)].concat()]
}

/// Takes a file of DumperProxy to pieces: the bytes of each direction, and the lines.
fn taken_apart(file: &[u8]) -> ([Vec<u8>; 2], Vec<String>) {
    let (mut bytes, mut lines) = ([Vec::new(), Vec::new()], Vec::new());
    let mut rest = file;
    while rest != b"END." {
        let line = rest.strip_prefix(b"\n").expect("a line feed before each line");
        let length = line.iter().position(|&b| b == b'\n').expect("a whole line");
        let text = String::from_utf8(line[..length].to_vec()).expect("text between the bytes");
        rest = &line[length + 1..];
        if text.ends_with(" are missing here]") {
            lines.push(text);
            continue;
        }
        let (client, forward) = text.split_once(" PROXY ").expect("a status line");
        let dir = if client.contains(">> [") { 0 } else { 1 };
        if dir == 0 || forward.contains(" <<*-") {
            let count = text.rsplit(' ').next().and_then(|column| column.strip_suffix('b')).expect("a column");
            let (read, behind) = rest.split_at(count.parse().expect("a number"));
            bytes[dir].extend_from_slice(read);
            rest = behind;
        }
        lines.push(text);
    }
    (bytes, lines)
}

#[test]
fn a_dump_has_every_byte_and_the_lines_of_dumper_proxy() {
    let folder = Folder::new();
    let scene = Scene::new(&format!("-tap dump:{}/dumps", folder.path()));
    for (number, origin) in [V4, V6].into_iter().enumerate() {
        let (client, up) = scene.tunnel_to(origin);
        let from = up.socket().peer_addr().expect("a connected socket").port();
        let address = client.address();
        talk(&scene, (client, up));
        let file = ending(&format!("{}/dumps/port_{PORT}_{:09}.dmp", folder.path(), number + 1), b"END.");
        let (bytes, lines) = taken_apart(&file);
        assert!(bytes == said(), "session {number}");
        let [c, f] = [2 * (number + 1), 2 * (number + 1) + 1];
        let destination = std::net::SocketAddr::new(origin, SERVER_FIRST);
        let line = |client: &str, forward: &str, column: &str| {
            format!("{address}  {client} [{PORT} PROXY {from}] {forward} {destination} {column}")
        };
        assert_eq!(lines[0], line(&format!("<-*-{c}->"), &format!("<-*-{f}->"), ""));
        assert_eq!(lines[1], line(&format!("--*-{c}>>"), &format!("--*-{f}--"), "1b"));
        assert_eq!(lines[2], line(&format!("--*-{c}--"), &format!("--*-{f}>>"), "1b"));
        let last = [
            line(&format!("--*-{c}>>"), &format!("--*-{f}--"), "0b"),
            line(&format!("----{c}--"), &format!("--*-{f}>>"), "0b"),
            line(&format!("----{c}--"), &format!("<<*-{f}--"), "0b"),
            line(&format!("----{c}--"), &format!("--*-{f}--"), "0b"),
            line(&format!("----{c}--"), &format!("----{f}--"), "lose 0b "),
        ];
        assert_eq!(lines[lines.len() - 5..], last);
    }
}

#[test]
fn raw_files_and_writefiles_have_every_byte() {
    let folder = Folder::new();
    let [raw, talks] = ["raw", "talks"].map(|name| format!("{}/{name}", folder.path()));
    let scene = Scene::new(&format!("-tap dump/raw:{raw} -tap dump/writefile:{talks}/talk"));
    let pid = scene.gateway.pid();
    for (id, origin, stem) in
        [(1, V4, "10.1.0.2_CLIENT-203.0.113.9_22-1"), (2, V6, "fd10.1.0.0.0.0.0.2_CLIENT-2001.db8.0.0.0.0.0.9_22-2")]
    {
        let (client, up) = scene.tunnel_to(origin);
        let port = client.socket().local_addr().expect("a connected socket").port();
        talk(&scene, (client, up));
        let stem = stem.replace("CLIENT", &port.to_string());
        for (bytes, kind) in said().iter().zip(["up", "down"]) {
            assert!(ending(&format!("{raw}/{stem}.{kind}"), &bytes[1..]) == *bytes, "{stem}.{kind}");
        }
        let name = if id == 1 { format!("{talks}/talk.{pid}.log") } else { format!("{talks}/talk.{pid}-{id}.log") };
        let [up, down] = said();
        let wanted = [b"?!", &up[1..], &down[1..]].concat();
        assert!(ending(&name, &down[1..]) == wanted, "{name}");
    }
    assert_eq!(fs::read_dir(&raw).expect("a folder").count(), 4);
    assert_eq!(fs::read_dir(&talks).expect("a folder").count(), 2);
}

#[test]
fn a_killed_daemon_leaves_all_that_was_said() {
    let folder = Folder::new();
    let flags = format!("-tap dump:{0} -tap dump/raw:{0} -tap dump/writefile:{0}/", folder.path());
    let mut scene = Scene::new(&flags);
    let (mut client, mut up) = scene.tunnel();
    carry(&mut client, &mut up, 1000);
    let port = client.socket().local_addr().expect("a connected socket").port();
    let names = [
        format!("10.1.0.2_{port}-203.0.113.9_22-1.down"),
        format!("10.1.0.2_{port}-203.0.113.9_22-1.up"),
        format!("handyproxy.{}.log", scene.gateway.pid()),
        format!("port_{PORT}_000000001.dmp"),
    ];
    let path = |name: &str| format!("{}/{name}", folder.path());
    for name in &names[1..3] {
        ending(&path(name), &carried(1000));
    }
    ending(&path(&names[3]), b" 1000b\n");
    scene.gateway.signal(Signal::SIGKILL);
    assert!(scene.gateway.ends_within(Duration::from_secs(20)).is_some());
    assert_eq!(folder.names(), names);
    assert_eq!(folder.read(&names[0]), b"!");
    assert!(folder.read(&names[1]) == [b"?", &carried(1000)[..]].concat());
    assert!(folder.read(&names[2]) == [b"?!", &carried(1000)[..]].concat());
    let (bytes, lines) = taken_apart(&[&folder.read(&names[3])[..], b"END."].concat());
    assert!(bytes == [[b"?", &carried(1000)[..]].concat(), b"!".to_vec()]);
    assert!(lines.last().is_some_and(|line| line.ends_with(" 1000b") && line.contains("--*-3>>")), "{lines:?}");
    // the next one takes none of these names
    let again = Scene::new(&flags);
    talk(&again, again.tunnel());
    ending(&path(&format!("port_{PORT}_000000002.dmp")), b"END.");
    // each tap takes its own time
    eventually(|| match folder.names() {
        names if names.len() == 8 => Ok(()),
        names => Err(format!("{names:?}")),
    });
}

/// A gateway that dumps into a folder of 256 KiB, and that folder as others see it.
fn small(folder: &Folder, form: &str) -> (Scene, PathBuf) {
    let script = folder.write("small", "mount -t tmpfs -o size=256k tmpfs \"$1\" || exit 1\nshift\nexec \"$@\"\n");
    let dumps = format!("{}/dumps", folder.path());
    fs::create_dir(&dumps).expect("our own folder");
    let flags = format!("-upstream-proxy {UPSTREAM} -tap {form}:{dumps}");
    let scene = Scene::with(Launch::new(&flags).wrapped(&format!("unshare -m sh {script} {dumps}")));
    let inside = PathBuf::from(format!("/proc/{}/root{dumps}", scene.gateway.pid()));
    (scene, inside)
}

/// The same with a filler in it, and a tunnel for which there was no room left.
fn full(folder: &Folder) -> (Scene, PathBuf, Wire, Wire) {
    let (scene, dumps) = small(folder, "dump");
    fs::write(dumps.join("filler"), vec![b'x'; 128 << 10]).expect("room for it");
    let (mut client, mut up) = scene.tunnel();
    carry(&mut client, &mut up, MB);
    scene.gateway.log.wait_for("what comes is not recorded");
    (scene, dumps, client, up)
}

#[test]
fn a_full_disk_costs_the_dump_and_not_the_session() {
    let folder = Folder::new();
    let (scene, dumps) = small(&folder, "dump/raw");
    let (mut client, mut up) = scene.tunnel();
    let port = client.socket().local_addr().expect("a connected socket").port();
    carry(&mut client, &mut up, MB);
    scene.gateway.log.wait_for("what comes is not recorded");
    assert_eq!(scene.gateway.log.count("No space left on device"), 1);
    carry(&mut up, &mut client, MB);
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    scene.gateway.session_of(&client).expect("end=done");
    let file = fs::read(dumps.join(format!("10.1.0.2_{port}-203.0.113.9_22-1.up"))).expect("a dump");
    let sent = [b"?".to_vec(), carried(MB)].concat();
    assert!(!file.is_empty() && sent.starts_with(&file), "{} bytes that were not sent in this order", file.len());
}

#[test]
fn a_session_that_ends_while_the_disk_is_full_has_its_end_when_there_is_room() {
    let folder = Folder::new();
    let (scene, dumps, mut client, mut up) = full(&folder);
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
    scene.gateway.session_of(&client);
    // what is left of the room goes too
    let mut filler = fs::OpenOptions::new().append(true).open(dumps.join("filler")).expect("our own file");
    while filler.write(&[b'x'; 4096]).is_ok_and(|wrote| wrote > 0) {}
    fs::remove_file(dumps.join("filler")).expect("our own file");
    drop(filler);
    let file = ending(&format!("{}/port_{PORT}_000000001.dmp", dumps.display()), b"END.");
    let (_, lines) = taken_apart(&file);
    let notes: Vec<_> = lines.iter().filter(|line| line.starts_with('[')).collect();
    assert!(notes.len() == 1 && notes[0].ends_with(" bytes are missing here]"), "{lines:?}");
    assert!(lines.last().is_some_and(|line| line.contains(" lose 0b ")), "{lines:?}");
}

#[test]
fn what_a_full_disk_cost_is_noted_when_there_is_room_again() {
    let folder = Folder::new();
    let (scene, dumps, mut client, mut up) = full(&folder);
    fs::remove_file(dumps.join("filler")).expect("our own file");
    // it is tried again every two seconds, when there is something to write
    eventually(|| {
        client.send("more");
        up.expect("more");
        std::thread::sleep(Duration::from_millis(100));
        let written = scene.gateway.log.count("is written again");
        if written > 0 { Ok(()) } else { Err("it is not written again".to_owned()) }
    });
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
    let file = ending(&format!("{}/port_{PORT}_000000001.dmp", dumps.display()), b"END.");
    let ([up, down], lines) = taken_apart(&file);
    let sent = [b"?".to_vec(), carried(MB)].concat();
    let kept = up.len() - up.rsplit(|b| !b"more".contains(b)).next().map_or(0, <[u8]>::len);
    assert!(kept > 1 && kept < MB && sent.starts_with(&up[..kept]), "{kept} bytes that were not sent in this order");
    assert!(up.ends_with(b"more") && down == b"!");
    let notes: Vec<_> = lines.iter().filter(|line| line.starts_with('[')).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].ends_with(" bytes are missing here]") && !notes[0].starts_with("[up to"), "{notes:?}");
}
