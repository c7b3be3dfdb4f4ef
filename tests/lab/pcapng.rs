//! Captures of real sessions, read by tshark: what clients and origins saw is in them, and no more is lost than was under
//! way when the daemon was killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::daemon::Launch;
use crate::support::folder::Folder;
use crate::support::in_time;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{UPSTREAM, V4, V6};
use crate::support::wire::{Ending, Wire};

/// How long it may take until tshark, which is slow to start, has seen all.
const TSHARK: Duration = Duration::from_secs(60);

/// A scene with a tap that has these keys.
fn scene(folder: &Folder, path: &str, keys: &str) -> Scene {
    let path = format!("{}/{path}", folder.path());
    Scene::with(folder.launch(&format!(
        "upstream-proxy = '{UPSTREAM}'\n[[tap]]\nkind = 'pcapng'\npath = '{path}'\nwhen-full = 'wait'\n{keys}\n"
    )))
}

fn tshark(file: &Path, args: &[&str]) -> Output {
    let strict = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-r"];
    Command::new("tshark").args(strict).arg(file).args(args).output().expect("tshark (tests/run installs it)")
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// These fields of all packets, with `|` between them; or why the file cannot be read, which may be that its last block is
/// on its way.
fn try_fields(file: &Path, fields: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let mut args = vec!["-T", "fields", "-E", "separator=|"];
    fields.iter().for_each(|field| args.extend(["-e", field]));
    let output = tshark(file, &args);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(lines(&output).iter().map(|line| line.split('|').map(str::to_owned).collect()).collect())
}

/// The same of a file that nobody writes.
fn fields(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    try_fields(file, fields).unwrap_or_else(|why| panic!("{why}"))
}

/// Streams, faults and comments of a file.
type Judged = (BTreeSet<String>, Vec<String>, Vec<String>);

/// Judges a file that may be written.
fn judge(file: &Path) -> Result<Judged, String> {
    let rows = try_fields(file, &["tcp.stream", "tcp.analysis.flags", "tcp.checksum.status", "frame.comment"])?;
    let faults = rows.iter().filter(|row| !row[1].is_empty() || row[2] != "1").map(|row| row.join("|")).collect();
    let streams = rows.iter().map(|row| row[0].clone()).collect();
    Ok((streams, faults, rows.iter().map(|row| row[3].clone()).filter(|text| !text.is_empty()).collect()))
}

/// The same of a file that nobody writes.
fn judged(file: &Path) -> Judged {
    judge(file).unwrap_or_else(|why| panic!("{why}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

/// What the origin sent from this port on, in the order of the packets.
fn downloaded(file: &Path) -> Vec<u8> {
    let output = tshark(file, &["-Y", "tcp.srcport == 22", "-T", "fields", "-e", "tcp.payload"]);
    lines(&output).iter().flat_map(|line| bytes(line)).collect()
}

fn finish(mut client: Wire, mut up: Wire) {
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
}

fn download(client: &mut Wire, up: &mut Wire, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for number in 0..count {
        let block: Vec<u8> = (0..30_000_usize).map(|at| (at * 7 + number * 13) as u8).collect();
        up.send(&block);
        client.expect(&block);
        all.extend(block);
    }
    all
}

#[test]
fn two_sessions_at_once_are_two_streams_and_ipv6_is_one_too() {
    let folder = Folder::new();
    let scene = scene(&folder, "cap.pcapng", "");
    let file = Path::new(folder.path()).join("cap.pcapng");
    let (mut one, mut one_up) = scene.tunnel();
    let (mut two, mut two_up) = scene.tunnel_to(V6);
    for _ in 0..3 {
        one.send("ping");
        one_up.expect("ping");
        two.send("other");
        two_up.expect("other");
        one_up.send("pong");
        one.expect("pong");
    }
    let addresses = [one.address(), two.address()];
    finish(one, one_up);
    two.reset();
    two_up.expect_end(Ending::Reset);
    in_time(TSHARK, || {
        let (streams, faults, comments) = judge(&file)?;
        assert_eq!(faults, [""; 0]);
        let ends = comments.iter().filter(|text| text.contains(" end=")).count();
        if ends < 2 {
            return Err(format!("{comments:?}"));
        }
        assert_eq!(streams.len(), 2);
        for (address, origin, end) in [(&addresses[0], V4, "done"), (&addresses[1], V6, "reset")] {
            let origin = std::net::SocketAddr::new(origin, SERVER_FIRST);
            let opening = comments.iter().find(|text| text.contains(&format!("client={address} origin={origin}")));
            let id = opening.and_then(|text| text.split(' ').nth(1)).expect("a number");
            assert!(comments.iter().any(|text| text.starts_with(&format!("session {id} end={end} by=client"))));
        }
        Ok(())
    });
    let rows = fields(&file, &["ip.src", "ipv6.src", "tcp.payload"]);
    let said = |who: &dyn Fn(&Vec<String>) -> bool| -> Vec<u8> {
        rows.iter().filter(|row| who(row)).flat_map(|row| bytes(&row[2])).collect()
    };
    let (v4, v6) = (V4.to_string(), V6.to_string());
    assert_eq!(said(&|row| row[0] == v4), b"!pongpongpong");
    assert_eq!(said(&|row| !row[0].is_empty() && row[0] != v4), b"?pingpingping");
    assert_eq!(said(&|row| !row[1].is_empty() && row[1] != v6), b"?otherotherother");
    let kept = fs::metadata(&file).expect("a file").len();
    drop(scene);
    assert_eq!(fs::metadata(&file).expect("a file").len(), kept, "all of it was written long ago");
}

#[test]
fn what_a_killed_daemon_leaves_is_read_and_written_on() {
    let folder = Folder::new();
    let file = Path::new(folder.path()).join("cap.pcapng");
    // no more than its queue is under way
    let Scene { mut gateway, upstream, net } = scene(&folder, "cap.pcapng", "queue = '1MiB'");
    let all = {
        let mut client = net.client.connect(std::net::SocketAddr::new(V4, SERVER_FIRST));
        let mut up = upstream.accept();
        up.expect_connect(&format!("{V4}:{SERVER_FIRST}"));
        up.reply(crate::support::upstream::OPEN);
        let all = download(&mut client, &mut up, 300);
        gateway.signal(Signal::SIGKILL);
        gateway.ends_within(Duration::from_secs(20)).expect("nothing survives SIGKILL");
        all
    };
    let output = tshark(&file, &["-Y", "tcp.analysis.flags"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || told.contains("cut short in the middle of a packet"), "{told}");
    assert_eq!(lines(&output), [""; 0]);
    let first = downloaded(&file);
    assert!(first.len() > all.len() / 2, "{} of {} bytes", first.len(), all.len());
    assert!(all.starts_with(&first));

    // another one writes on, whatever the end of the file is like
    let torn = fs::metadata(&file).expect("a file").len() - 5;
    fs::File::options().write(true).open(&file).and_then(|file| file.set_len(torn)).expect("a file");
    let config = format!("{}/gateway.toml", folder.path());
    let scene = Scene { gateway: Launch::new(&format!("-config {config}")).start(&net.gateway), upstream, net };
    scene.gateway.log.wait_for("no whole block: cut off");
    let (client, up) = scene.tunnel();
    finish(client, up);
    in_time(TSHARK, || {
        let (streams, faults, comments) = judge(&file)?;
        assert_eq!(faults, [""; 0]);
        if comments.iter().any(|text| text.contains("end=done")) && streams.len() == 2 {
            Ok(())
        } else {
            Err(format!("{streams:?} {comments:?}"))
        }
    });
    let out = Command::new("capinfos").arg(&file).output().expect("capinfos (tests/run installs it)");
    assert!(out.status.success(), "{out:?}");
}

#[test]
fn files_that_follow_each_other_are_compressed_and_hold_every_byte() {
    let folder = Folder::new();
    let mut scene = scene(&folder, "logs/", "rotate-size = '1MiB'\ncompress = true");
    let (mut client, mut up) = scene.tunnel();
    let mut all = b"!".to_vec();
    all.extend(download(&mut client, &mut up, 150));
    finish(client, up);
    let logs = Path::new(folder.path()).join("logs");
    let names = || {
        let entries = fs::read_dir(&logs).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        names.sort();
        names
    };
    in_time(TSHARK, || {
        let names = names();
        let plain = names.iter().filter(|path| path.extension().is_some_and(|kind| kind != "zst")).count();
        if names.len() >= 4 && plain == 1 { Ok(()) } else { Err(format!("{names:?}")) }
    });
    // what still waits is written at a stop, into a further file if need be
    scene.gateway.signal(Signal::SIGTERM);
    assert!(scene.gateway.ends_within(Duration::from_secs(30)).is_some(), "it still runs");
    let files: Vec<_> = names().into_iter().filter(|path| path.extension().is_none_or(|kind| kind != "tmp")).collect();
    let mut found = Vec::new();
    for (number, file) in files.iter().enumerate() {
        // tshark reads compressed files as they are
        let (streams, faults, comments) = judged(file);
        assert_eq!((streams.len(), faults.len()), (1, 0), "{faults:?}");
        let goes_on = format!("goes_on up=1 down={}", found.len());
        assert!(comments[0].contains(&goes_on) || number == 0, "{} and {}", comments[0], goes_on);
        found.extend(downloaded(file));
    }
    assert!(found == all, "{} and {} bytes", found.len(), all.len());
}

#[test]
fn a_capture_on_stdout_is_for_tshark_behind_a_pipe() {
    let scene = Scene::new("-tap pcapng");
    let (client, up) = scene.tunnel();
    let address = client.address();
    finish(client, up);
    let folder = Folder::new();
    let file = Path::new(folder.path()).join("stdout");
    in_time(TSHARK, || {
        fs::write(&file, scene.gateway.out.bytes()).expect("our own folder");
        let out = Command::new("tshark")
            .args(["-r", "-", "-T", "fields", "-e", "frame.comment", "-e", "tcp.payload"])
            .stdin(fs::File::open(&file).expect("our own file"))
            .output()
            .expect("tshark (tests/run installs it)");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let whole = text.contains(&format!("client={address}")) && text.contains("end=done") && text.contains("\t21\n");
        if whole { Ok(()) } else { Err(text) }
    });
}
