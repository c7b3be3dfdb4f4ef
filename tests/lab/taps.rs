//! Taps, whatever they write: they see every byte, and what they cannot write is nobody else's problem.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::daemon::Launch;
use crate::support::folder::Folder;
use crate::support::random::Random;
use crate::support::scene::{SERVER_FIRST, Scene};
use crate::support::topology::{UPSTREAM, V4, V6};
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, Wire, carry};
use crate::support::{eventually, in_time};

const MB: usize = 1 << 20;
/// How long it may take until some megabytes of a hex log were written and read.
const READ: Duration = Duration::from_secs(60);

/// A scene with these lines in its file, and the folder in which taps may write.
fn scene(folder: &Folder, toml: &str) -> Scene {
    Scene::with(folder.launch(&config(toml)))
}

fn config(toml: &str) -> String {
    format!("upstream-proxy = '{UPSTREAM}'\n{toml}\n")
}

fn hexlog(more: &str) -> String {
    format!("[[tap]]\nkind = 'hexlog'\npath = 'log'\n{more}\n")
}

fn log(folder: &Folder) -> PathBuf {
    Path::new(folder.path()).join("log")
}

/// What a hex log holds of each client and direction, in whole lines: the end of the last one may be on its way.
fn recorded(text: &str) -> BTreeMap<(String, char), Vec<u8>> {
    let mut all: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, client, dir, hex] = fields[..] else { panic!("{line:?} is no record") };
        let dir = dir.chars().next().expect("i or o");
        let digits = (0..hex.len()).step_by(2);
        let bytes = digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits"));
        all.entry((client.to_owned(), dir)).or_default().extend(bytes);
    }
    all
}

/// The bytes that a remark says are missing.
fn bytes_missing(remark: &str) -> usize {
    let (_, behind) = remark.split_once(" records, ").unwrap_or_else(|| panic!("{remark:?} is no remark of ours"));
    let (bytes, _) = behind.split_once(" bytes are missing here").unwrap_or_else(|| panic!("{remark:?} is no remark"));
    bytes.parse().expect("a number of bytes")
}

/// Waits until a file holds this of a client.
fn holds(file: &Path, client: &str, up: &[u8], down: &[u8]) {
    in_time(READ, || {
        let all = recorded(&fs::read_to_string(file).unwrap_or_default());
        let of = |dir| all.get(&(client.to_owned(), dir)).map_or(&[][..], Vec::as_slice);
        let seen = (of('i'), of('o'));
        if seen == (up, down) { Ok(()) } else { Err(format!("{} up, {} down", seen.0.len(), seen.1.len())) }
    });
}

/// Ends a tunnel from both sides.
fn end(client: &mut Wire, up: &mut Wire) {
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
}

#[test]
fn every_byte_is_seen_in_its_order_whatever_came_early() {
    let folder = Folder::new();
    let scene = scene(&folder, &format!("sniff-timeout = '5s'\n{}", hexlog("")));
    for origin in [V4, V6] {
        let mut client = scene.connect(origin, 80);
        let early = "GET / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n";
        client.send(early);
        let mut up = scene.upstream.accept();
        up.connect_target();
        // glued to the answer
        up.reply([OPEN, b"surplus"].concat());
        client.expect("surplus");
        up.expect(early);
        let (sent, got) = (Random::new(1).bytes(3 * MB), Random::new(2).bytes(MB));
        std::thread::scope(|scope| {
            let mut other = client.another();
            scope.spawn(|| client.send(&sent));
            let mut answer = up.another();
            scope.spawn(move || answer.send(Random::new(2).bytes(MB)));
            scope.spawn(|| up.expect(&sent));
            other.expect(&got);
        });
        end(&mut client, &mut up);
        holds(
            &log(&folder),
            &client.address(),
            &[early.as_bytes(), &sent].concat(),
            &[b"surplus".as_ref(), &got].concat(),
        );
        scene.gateway.session_of(&client).expect("end=done name=www.bench.example");
    }
}

#[test]
fn a_tap_takes_what_it_wants_and_the_rest_is_spliced() {
    let folder = Folder::new();
    let scene = scene(&folder, &hexlog("to = ['2000::/3', '*:7']"));
    let (mut client, mut up) = scene.tunnel_to(V4);
    carry(&mut client, &mut up, MB);
    end(&mut client, &mut up);
    let (mut wanted, mut other) = scene.tunnel_to(V6);
    end(&mut wanted, &mut other);
    holds(&log(&folder), &wanted.address(), b"?", b"!");
    let text = fs::read_to_string(log(&folder)).expect("it is there");
    assert!(!text.contains(&client.address()), "{text}");
}

#[test]
fn resets_and_half_closes_pass_a_tap() {
    let folder = Folder::new();
    let scene = scene(&folder, &hexlog(""));
    let (mut client, mut up) = scene.tunnel();
    client.fin();
    up.expect_end(Ending::Fin);
    carry(&mut up, &mut client, MB);
    up.fin();
    client.expect_end(Ending::Fin);
    scene.gateway.session_of(&client).expect("end=done by=client");
    let (client, mut up) = scene.tunnel();
    let address = client.address();
    client.reset();
    up.expect_end(Ending::Reset);
    scene.gateway.session_from(&address).expect("end=reset by=client");
    let (mut client, up) = scene.tunnel();
    up.reset();
    client.expect_end(Ending::Reset);
    scene.gateway.session_of(&client).expect("end=reset by=upstream");
}

#[test]
fn a_relayed_client_is_seen_as_it_speaks_and_no_credentials_are() {
    let folder = Folder::new();
    let more = "plain-http = 'relay'\nsniff-timeout = '5s'\nauth = 'basic'\nuser = 'us'\npassword = 'secret'\n";
    let file = folder.write("password", "secret\n");
    let more = more.replace("password = 'secret'", &format!("password-file = '{file}'"));
    let scene = scene(&folder, &format!("{more}{}", hexlog("")));
    let wish = "GET /chat HTTP/1.1\r\nHost: www.bench.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let mut client = scene.connect(V4, 80);
    client.send(wish);
    let mut up = scene.upstream.accept_asked();
    let head = up.expect_head("GET http://www.bench.example/chat HTTP/1.1");
    assert!(head.get("proxy-authorization").is_some(), "it was not sent at once, which is what this test is about");
    up.reply("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello");
    let mut got = client.receive_through(b"\r\n\r\n");
    got.extend(client.receive(5));
    carry(&mut client, &mut up, MB);
    end(&mut client, &mut up);
    let sent = [wish.as_bytes(), &Random::new(MB as u64).bytes(MB)].concat();
    holds(&log(&folder), &client.address(), &sent, &got);
}

#[test]
fn a_reader_that_stalls_costs_records_and_they_are_marked() {
    let folder = Folder::new();
    let pipe = log(&folder);
    mkfifo(&pipe, Mode::from_bits_truncate(0o600)).expect("our folder");
    let scene = scene(&folder, &hexlog("queue = '1MiB'"));
    let (mut client, mut up) = scene.tunnel();
    // nobody reads: neither this nor the end waits for it
    carry(&mut client, &mut up, 8 * MB);
    end(&mut client, &mut up);
    let line = scene.gateway.session_of(&client);
    line.expect("end=done");
    assert_eq!(line.number("up"), (8 * MB + 1) as f64);
    let mut text = String::new();
    let mut reader = File::open(&pipe).expect("it is written");
    scene.gateway.signal(Signal::SIGTERM);
    reader.read_to_string(&mut text).expect("text");
    // a small piece may find room between two that do not: there is more than one gap then
    let remarks: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    let missing: usize = remarks.iter().map(|remark| bytes_missing(remark)).sum();
    let there = recorded(&text).remove(&(client.address(), 'i')).expect("a beginning").len();
    assert_eq!(there + missing, 8 * MB + 1, "{remarks:?}");
    assert!(there < 4 * MB, "the queue held {there} bytes");
}

#[test]
fn a_session_waits_for_a_tap_that_wants_all_and_memory_stays_bounded() {
    let folder = Folder::new();
    let pipe = log(&folder);
    mkfifo(&pipe, Mode::from_bits_truncate(0o600)).expect("our folder");
    let scene = scene(&folder, &hexlog("queue = '1MiB'\nwhen-full = 'wait'"));
    let (mut client, mut up) = scene.tunnel();
    let taken = client.fill(Duration::from_millis(700));
    let rss = scene.gateway.rss_kib();
    assert!(taken < 48 * MB && rss < 64 * 1024, "{taken} bytes were taken, {rss} KiB are held");
    // others go on
    let (mut reader, mut text) = (File::open(&pipe).expect("it is written"), String::new());
    let reading = std::thread::spawn(move || reader.read_to_string(&mut text).map(|_| text));
    up.expect_filling(taken);
    end(&mut client, &mut up);
    scene.gateway.signal(Signal::SIGTERM);
    let text = reading.join().expect("no panic").expect("text");
    let all = recorded(&text);
    assert_eq!(all[&(client.address(), 'i')].len(), taken + 1, "something is missing");
    assert!(!text.contains('#'), "nothing may be left out");
}

#[test]
fn a_full_disk_is_told_once_and_written_again_later() {
    let folder = Folder::new();
    let tiny = Path::new(folder.path()).join("tiny");
    fs::create_dir(&tiny).expect("our folder");
    let text = config("[[tap]]\nkind = 'hexlog'\npath = 'tiny/log'\n");
    let scene = Scene::with(folder.launch(&text).with_tiny(&tiny));
    let (mut client, mut up) = scene.tunnel();
    carry(&mut client, &mut up, MB);
    carry(&mut up, &mut client, MB);
    let line = scene.gateway.log.wait_for("tap hexlog");
    assert!(line.contains("No space left on device") && line.contains("is not recorded"), "{line}");
    let file = scene.gateway.sees(&tiny.join("log"));
    // each try takes back what it could not write to its end
    eventually(|| {
        let whole = fs::read_to_string(&file).expect("what was written is there");
        if whole.is_empty() || whole.ends_with('\n') { Ok(()) } else { Err("a torn line".to_owned()) }
    });
    File::options().write(true).open(&file).and_then(|file| file.set_len(0)).expect("it can be emptied");
    eventually(|| {
        client.send("x");
        up.expect("x");
        let count = scene.gateway.log.count("is written again");
        if count == 1 { Ok(()) } else { Err(format!("{count} lines say so")) }
    });
    end(&mut client, &mut up);
    assert_eq!(scene.gateway.log.count("No space left"), 1, "it was told more than once");
    scene.gateway.session_of(&client).expect("end=done");
    eventually(|| {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let remarks = text.lines().filter(|line| line.starts_with('#')).count();
        if remarks == 1 && recorded(&text).len() == 1 { Ok(()) } else { Err(text) }
    });
}

#[test]
fn a_reload_opens_files_anew_and_adds_and_takes_taps() {
    let folder = Folder::new();
    let scene = scene(&folder, &hexlog(""));
    let (mut client, mut up) = scene.tunnel();
    holds(&log(&folder), &client.address(), b"?", b"!");
    let old = log(&folder).with_extension("1");
    fs::rename(log(&folder), &old).expect("our folder");
    scene.gateway.reload();
    client.send("new");
    up.expect("new");
    holds(&log(&folder), &client.address(), b"new", b"");
    holds(&old, &client.address(), b"?", b"!");
    // another queue is another tap, which goes on in the same file
    folder.config(&config(&hexlog("queue = '2MiB'")));
    scene.gateway.reload();
    let (mut next, mut next_up) = scene.tunnel();
    holds(&log(&folder), &next.address(), b"?", b"!");
    holds(&log(&folder), &client.address(), b"new", b"");
    // none is left for those who come now; those who were there keep theirs
    folder.config(&config(""));
    scene.gateway.reload();
    let (mut last, mut last_up) = scene.tunnel();
    next.send("more");
    next_up.expect("more");
    holds(&log(&folder), &next.address(), b"?more", b"!");
    for (client, up) in [(&mut client, &mut up), (&mut next, &mut next_up), (&mut last, &mut last_up)] {
        end(client, up);
    }
    assert!(!fs::read_to_string(log(&folder)).expect("it is there").contains(&last.address()));
}

#[test]
fn a_reload_that_is_refused_opens_files_anew_all_the_same() {
    let folder = Folder::new();
    let scene = scene(&folder, &hexlog(""));
    let (mut client, mut up) = scene.tunnel();
    holds(&log(&folder), &client.address(), b"?", b"!");
    let old = log(&folder).with_extension("1");
    fs::rename(log(&folder), &old).expect("our folder");
    folder.config("no-such-key = 1");
    scene.gateway.signal(Signal::SIGHUP);
    scene.gateway.log.wait_for("reload refused: ");
    client.send("new");
    up.expect("new");
    holds(&log(&folder), &client.address(), b"new", b"");
    holds(&old, &client.address(), b"?", b"!");
    end(&mut client, &mut up);
}

#[test]
fn the_last_records_are_written_at_a_stop_and_whole_lines_at_a_kill() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let folder = Folder::new();
        let mut scene = scene(&folder, &format!("drain-timeout = '0'\n{}", hexlog("")));
        let (mut client, mut up) = scene.tunnel();
        carry(&mut client, &mut up, 4 * MB);
        scene.gateway.signal(signal);
        assert!(scene.gateway.ends_within(Duration::from_secs(20)).is_some(), "it still runs");
        let text = fs::read_to_string(log(&folder)).expect("it is there");
        let there = recorded(&text).remove(&(client.address(), 'i')).unwrap_or_default();
        let sent = [b"?".to_vec(), Random::new(4 * MB as u64).bytes(4 * MB)].concat();
        assert!(sent.starts_with(&there), "other bytes");
        if signal == Signal::SIGTERM {
            assert_eq!(there.len(), sent.len(), "the last records are missing");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_told_and_stops_nobody() {
    let folder = Folder::new();
    let text =
        config("[[tap]]\nkind = 'hexlog'\npath = '/proc/none/log'\n[[tap]]\nkind = 'dump'\npath = '/proc/none/'\n");
    let scene = Scene::with(folder.launch(&text));
    let (mut client, mut up) = scene.tunnel();
    carry(&mut client, &mut up, MB);
    end(&mut client, &mut up);
    for kind in ["tap hexlog /proc/none/log: ", "tap dump /proc/none/: "] {
        scene.gateway.log.wait_for(kind);
        assert_eq!(scene.gateway.log.count(kind), 1);
    }
    scene.gateway.session_of(&client).expect("end=done");
}

#[test]
fn many_sessions_at_once_are_never_mixed_and_leave_nothing_behind() {
    let folder = Folder::new();
    let scene = Scene::with(Launch::new(&format!("-upstream-proxy {UPSTREAM} -tap hexlog:{}", log(&folder).display())));
    let before = scene.gateway.descriptors();
    let mut ends: Vec<_> = (0..40).map(|_| scene.tunnel()).collect();
    std::thread::scope(|scope| {
        for (number, (client, up)) in ends.iter_mut().enumerate() {
            scope.spawn(move || {
                for turn in 0..20 {
                    let bytes = Random::new((number * 100 + turn) as u64).bytes(700);
                    client.send(&bytes);
                    up.expect(&bytes);
                }
            });
        }
    });
    for (number, (client, up)) in ends.iter_mut().enumerate() {
        end(client, up);
        let turns = (0..20).flat_map(|turn| Random::new((number * 100 + turn) as u64).bytes(700));
        let sent: Vec<u8> = b"?".iter().copied().chain(turns).collect();
        holds(&log(&folder), &client.address(), &sent, b"!");
    }
    drop(ends);
    scene.gateway.settles_at(before);
}

#[test]
fn an_idle_tapped_tunnel_costs_no_time() {
    let folder = Folder::new();
    let scene = scene(&folder, &hexlog(""));
    let _tunnels: Vec<_> = (0..20).map(|_| scene.tunnel()).collect();
    eventually(|| {
        let before = scene.gateway.cpu_ticks();
        let start = Instant::now();
        std::thread::sleep(Duration::from_millis(300));
        let used = scene.gateway.cpu_ticks() - before;
        if used == 0 { Ok(()) } else { Err(format!("{used} ticks in {:?}", start.elapsed())) }
    });
    assert_eq!(SERVER_FIRST, 22, "nothing was sniffed, so nothing else was going on");
}
