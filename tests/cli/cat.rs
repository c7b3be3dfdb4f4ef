//! `cat` from outside: proxcat's output to the byte, files that grow and go, captures, and sessions sent again.

use std::borrow::Cow;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};

use super::handyproxy;
use super::scratch::Scratch;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hexlog");
const LONG: Duration = Duration::from_secs(60);

fn golden(name: &str) -> Vec<u8> {
    fs::read(format!("{GOLDEN}/{name}")).expect("a golden file")
}

/// `cat` with these words, in UTC.
fn cat(words: &[&str]) -> Command {
    let mut command = handyproxy("cat");
    command.args(words).env("TZ", "UTC").env_remove("NO_COLOR").current_dir(GOLDEN);
    command
}

/// Exit code, stdout and stderr.
fn said(command: &mut Command) -> (Option<i32>, Vec<u8>, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    (status.code(), stdout, String::from_utf8_lossy(&stderr).into_owned())
}

/// What is printed where all is well.
fn shown(words: &[&str]) -> String {
    let (code, out, err) = said(&mut cat(words));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn every_option_prints_what_proxcat_prints() {
    for (words, file) in [
        (&[][..], "plain"),
        (&["-i"], "i"),
        (&["-o"], "o"),
        (&["-io"], "plain"),
        (&["-t"], "t"),
        (&["-x"], "x"),
        (&["-xt"], "xt"),
        (&["-xtc"], "xtc"),
        (&["-c", "-t"], "tc"),
        (&["-c"], "c"),
        (&["-l"], "l"),
        (&["-loxt"], "l"),
        (&["-xta", "10.0.0.6:50000"], "a"),
        (&["-x", "-a", "::ffff:10.0.0.6:50000", "-t"], "a"),
    ] {
        let words = [words, &["sample.log", "two.log"]].concat();
        let (code, out, err) = said(&mut cat(&words));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
        let wanted = golden(&format!("{file}.out"));
        assert!(out == wanted, "{words:?}:\n{}\nand not\n{}", out.escape_ascii(), wanted.escape_ascii());
    }
}

#[test]
fn times_are_those_of_the_zone() {
    for (zone, wanted) in
        [("UTC", "2026-11-21_00:11:58"), ("Europe/Berlin", "2026-11-21_01:11:58"), ("XXX3", "2026-11-20_21:11:58")]
    {
        let (_, out, _) = said(cat(&["-l", "sample.log"]).env("TZ", zone));
        assert_eq!(String::from_utf8_lossy(&out), format!("{wanted} 127.0.0.1:45484\n"), "{zone}");
    }
}

#[test]
fn files_are_read_in_order_and_a_dash_is_stdin() {
    let mut child =
        cat(&["-l", "two.log", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    child.stdin.take().expect("piped").write_all(&golden("sample.log")).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let clients = String::from_utf8_lossy(&output.stdout);
    let clients: Vec<&str> = clients.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(clients, ["10.0.0.5:41234", "10.0.0.6:50000", "127.0.0.1:45484"]);
}

#[test]
fn ipv6_is_found_with_brackets_and_without() {
    let scratch = Scratch::new("cat");
    let log = scratch.write("log", "1.0 [2001:db8::5]:80 i 61\n1.1 [2001:db8::6]:80 i 62\n1.2 10.0.0.5:81 i 63\n");
    for (address, wanted) in
        [("[2001:db8::5]:80", "a"), ("2001:db8::6:80", "b"), ("[::ffff:10.0.0.5]:81", "c"), ("10.0.0.5", "c")]
    {
        assert_eq!(shown(&["-a", address, &log]), wanted, "{address}");
    }
    assert_eq!(shown(&["-a", "10.0.0.5", "-a", "[2001:db8::5]", &log]), "ac");
}

#[test]
fn mistakes_are_named() {
    let (code, out, err) = said(&mut cat(&["-xq", "--speed", "x", "sample.log"]));
    assert_eq!((code, out.len()), (Some(2), 0));
    for given in ["-xq: unknown flag", "--speed: \"x\" is not a number", "usage: handyproxy cat "] {
        assert!(err.contains(given), "{given} in {err}");
    }
    let (code, out, err) = said(&mut cat(&["-i", "nowhere.log", ".", "sample.log"]));
    assert_eq!((code, out), (Some(1), b"abc\0\xff\n".to_vec()));
    assert!(err.contains("cat: nowhere.log: No such file") && err.contains("cat: .: Is a directory"), "{err}");
    let scratch = Scratch::new("cat");
    let log = scratch.write("log", "1.0 10.0.0.5:1 i 61\nwhat is this\n# 3 records, 9 bytes are missing here\n1.0 10.0.0.5:1 i 62\n1.0 10.0.0.5:1 i 636");
    let (code, out, err) = said(&mut cat(&[&log]));
    assert_eq!((code, out), (Some(1), b"abc".to_vec()));
    for line in ["line 2: does not begin with a time", "3 records, 9 bytes are missing here", "line 5: has no end"] {
        assert!(err.contains(&format!("cat: {log}: {line}")), "{line} in {err}");
    }
    let hostile = scratch.write("hostile", format!("# \x1b]0;{}\x07 missing here\n", "x".repeat(5000)));
    let (code, _, err) = said(&mut cat(&[&hostile]));
    assert_eq!((code, err.contains("\\x1b]0;xx")), (Some(0), true), "{err}");
    assert!(err.len() < hostile.len() + 200 && !err.trim_end().contains(char::is_control), "{err:?}");
    let many = scratch.write("many", format!("1.0 10.0.0.5:1 i 61\n{}", "x\n".repeat(30)));
    let (code, _, err) = said(&mut cat(&[&many]));
    assert_eq!((code, err.lines().count()), (Some(1), 11), "{err}");
    assert!(err.ends_with("and 20 more\n"), "{err}");
}

#[test]
fn a_file_that_is_no_record_of_ours_is_named_once() {
    let scratch = Scratch::new("cat");
    let neither = "is neither a hex log nor a pcapng capture";
    let pcap = [&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 400]].concat();
    let sample = shown(&["sample.log"]);
    for (name, content) in [
        ("text", "all sorts of things\n".repeat(1000).into_bytes()),
        ("short", b"one line\n".to_vec()),
        ("endless", b"no line feed".to_vec()),
        ("tiny", b"x".to_vec()),
        ("numbers", "12 13 14\n# a remark\n\n".repeat(3).into_bytes()),
        ("unended", b"hello\n12".to_vec()),
        ("old.pcap", pcap),
        ("text.zst", zstd::encode_all(&b"some text\n"[..], 1).expect("memory takes all")),
    ] {
        let file = scratch.write(name, &content);
        for words in [&[&*file][..], &["--json", &file], &["-l", &file]] {
            let (code, out, err) = said(&mut cat(words));
            assert_eq!(
                (code, out.len(), err),
                (Some(1), 0, format!("handyproxy: cat: {file}: {neither}\n")),
                "{words:?}"
            );
        }
        let (code, _, err) = said(cat(&["-"]).stdin(fs::File::open(&file).expect("a scratch file")));
        assert_eq!((code, err), (Some(1), format!("handyproxy: cat: stdin: {neither}\n")));
        let (code, out, err) = said(&mut cat(&[&file, "sample.log"]));
        assert_eq!(
            (code, String::from_utf8_lossy(&out)),
            (Some(1), sample.as_str().into()),
            "{name}: the next one is read all the same: {err}"
        );
    }
    // one that is followed must not wait for more of it
    let text = scratch.write("text", "all sorts of things\n".repeat(1000));
    let (code, _, err) = said(&mut cat(&["-f", &text]));
    assert_eq!((code, err), (Some(1), format!("handyproxy: cat: {text}: {neither}\n")));
    let (code, _, err) = said(&mut cat(&["--replay", "127.0.0.1:1", &text]));
    assert_eq!((code, err.matches(neither).count()), (Some(1), 1), "{err}");
    let empty = scratch.write("empty", "");
    assert_eq!(shown(&[&empty]), "", "nothing is wrong with nothing");
}

#[test]
fn a_log_whose_beginning_is_damaged_is_read_with_the_place_of_each_mistake() {
    let scratch = Scratch::new("cat");
    let good = "1.0 10.0.0.5:1 i 61\n";
    for (bad, good, code) in
        [("x\n".repeat(9), good, 1), ("1.0 10.0.0.5:1 i 6x\n".repeat(30), good, 1), ("x\n".repeat(9), "", 1)]
    {
        let log = scratch.write("log", format!("{bad}{good}"));
        let (seen, out, err) = said(&mut cat(&[&log]));
        assert_eq!((seen, out.len()), (Some(code), good.len() / 20), "{err}");
        let is_foreign = good.is_empty();
        assert_eq!(err.contains("is neither a hex log"), is_foreign, "{err}");
        assert_eq!(err.contains(&format!("cat: {log}: line 1: ")), !is_foreign, "{err}");
    }
    let torn = scratch.write("torn", "1795265118.32");
    let (code, _, err) = said(&mut cat(&[&torn]));
    assert_eq!((code, err), (Some(0), format!("handyproxy: cat: {torn}: line 1: is cut off\n")));
}

#[test]
fn what_gzip_has_compressed_is_named_with_the_way_to_read_it() {
    let scratch = Scratch::new("cat");
    let file = scratch.write("log.gz", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    let (code, out, err) = said(&mut cat(&[&file]));
    let wanted = format!("handyproxy: cat: {file}: is compressed with gzip: zcat {file} | handyproxy cat -\n");
    assert_eq!((code, out.len(), err), (Some(1), 0, wanted));
    let (code, _, err) = said(cat(&["-"]).stdin(fs::File::open(&file).expect("a scratch file")));
    assert_eq!(
        (code, err.as_str()),
        (Some(1), "handyproxy: cat: stdin: is compressed with gzip: put zcat before it\n")
    );
}

#[test]
fn a_reader_that_has_gone_away_is_no_failure() {
    let scratch = Scratch::new("cat");
    let line = format!("1.0 10.0.0.5:1 i {}\n", "61".repeat(60_000));
    let log = scratch.write("log", line.repeat(100));
    let mut child = cat(&[&log]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn there_are_colours_on_a_terminal_unless_they_are_not_wanted() {
    // script makes a terminal
    let on_terminal = |words: &str, no_color: &str| {
        let line = format!("{} cat {words} {GOLDEN}/sample.log", env!("CARGO_BIN_EXE_handyproxy"));
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env("NO_COLOR", no_color).stdin(Stdio::null());
        String::from_utf8_lossy(&said(&mut script).1).replace("\r\n", "\n")
    };
    assert_eq!(on_terminal("-i", ""), "\x1b[31mabc..\x1b[m\n");
    assert_eq!(on_terminal("-i", "1"), "abc..\n");
    assert_eq!(on_terminal("-i --colour never", ""), "abc..\n");
    assert_eq!(shown(&["-i", "--colour=always", "two.log"]).matches("\x1b[m").count(), 5);
}

/// A capture of one session with the given times, in seconds; its client sends two lines and is answered once.
fn capture(times: [u64; 4]) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).expect("memory takes all");
    let options = vec![InterfaceDescriptionOption::IfTsResol(0)];
    let interface = InterfaceDescriptionBlock { linktype: pcap_file::DataLink::RAW, snaplen: 0, options };
    writer.write_pcapng_block(interface).expect("memory takes all");
    let (client, origin) = ([10, 0, 0, 5], [192, 0, 2, 7]);
    let segment = |is_up: bool, is_syn: bool, bytes: &[u8]| {
        let (from, to) = if is_up { (client, origin) } else { (origin, client) };
        let (from_port, to_port) = if is_up { (41234, 443) } else { (443, 41234) };
        let tcp = PacketBuilder::ipv4(from, to, 64).tcp(from_port, to_port, 1, 1024);
        let tcp = if is_syn { tcp.syn() } else { tcp.ack(1) };
        let mut packet = Vec::new();
        tcp.write(&mut packet, bytes).expect("memory takes all");
        packet
    };
    let packets = [
        segment(true, true, b""),
        segment(true, false, b"one\n"),
        segment(false, false, b"answer\n"),
        segment(true, false, b"two\n"),
    ];
    for (time, data) in times.into_iter().zip(packets) {
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(time),
            original_len: data.len() as u32,
            data: Cow::Owned(data),
            options: Vec::new(),
        };
        writer.write_pcapng_block(block).expect("memory takes all");
    }
    writer.into_inner()
}

#[test]
fn captures_are_shown_as_logs_are_also_compressed() {
    let scratch = Scratch::new("cat");
    let capture = capture([1, 2, 3, 4]);
    let plain = scratch.write("a.pcapng", &capture);
    let packed = scratch.write("b.anything", zstd::encode_all(&*capture, 1).expect("memory takes all"));
    let log = scratch.write("c.zst", zstd::encode_all(&*golden("sample.log"), 1).expect("memory takes all"));
    for file in [&plain, &packed] {
        assert_eq!(shown(&[file]), "one\nanswer\ntwo\n");
        assert_eq!(shown(&["-l", file]), "1970-01-01_00:00:01 10.0.0.5:41234 192.0.2.7:443\n");
        let json = shown(&["--json", "-o", file]);
        let wanted = r#"{"time":3.000000,"session":1,"client":"10.0.0.5:41234","origin":"192.0.2.7:443","dir":"o","text":"answer\n"}"#;
        assert_eq!(json, format!("{wanted}\n"));
    }
    assert_eq!(shown(&["-i", &plain, &log]).as_bytes(), "one\ntwo\nabc\0\u{fffd}\n".as_bytes());
    let torn = scratch.write("torn.zst", &fs::read(&packed).expect("a scratch file")[..60]);
    let (code, _, err) = said(&mut cat(&[&torn]));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(&format!("cat: {torn}: ")), "{err}");
}

/// A `cat` that runs, and its lines as they come.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    fn start(words: &[&str]) -> Following {
        // whoever runs the tests in the background may have SIGINT ignored
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_handyproxy"), "cat"]).args(words);
        command.env("TZ", "UTC").env_remove("NO_COLOR").current_dir(GOLDEN);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Following { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(LONG).expect("a line")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of a log whose data are a line of text.
fn line(text: &str) -> String {
    let digits: String = text.bytes().chain([b'\n']).map(|byte| format!("{byte:02x}")).collect();
    format!("1.0 10.0.0.5:1 i {digits}\n")
}

#[test]
fn a_file_is_followed_while_it_grows_is_rotated_and_emptied() {
    let scratch = Scratch::new("cat");
    let log = scratch.write("log", "");
    let append = |text: &str| {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&log).expect("our file");
        file.write_all(text.as_bytes()).expect("a disk");
    };
    let following = Following::start(&["-f", &log]);
    append(&line("one"));
    assert_eq!(following.line(), "one");
    let (head, tail) = (&line("two")[..20], &line("two")[20..]);
    append(head);
    thread::sleep(Duration::from_millis(250));
    append(tail);
    assert_eq!(following.line(), "two");
    fs::rename(&log, format!("{log}.1")).expect("our file");
    let mut old = fs::OpenOptions::new().append(true).open(format!("{log}.1")).expect("our file");
    old.write_all(line("late").as_bytes()).expect("a disk");
    assert_eq!(following.line(), "late", "the old file is still written");
    append(&line("new, and longer"));
    assert_eq!(following.line(), "new, and longer");
    // shorter than it was, whether or not it is looked at in between
    fs::write(&log, "").expect("our file");
    append(&line("anew"));
    assert_eq!(following.line(), "anew");
}

#[test]
fn following_ends_with_its_reader_or_by_sigint() {
    let scratch = Scratch::new("cat");
    let log = scratch.write("log", line("one"));
    let mut child = cat(&["-f", &log]).stdout(Stdio::piped()).spawn().expect("the binary runs");
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0; 4]).expect("a line");
    drop(stdout);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let mut following = Following::start(&["--follow", &log]);
    assert_eq!(following.line(), "one");
    let pid = nix::unistd::Pid::from_raw(following.child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
    assert_eq!(following.child.wait().expect("it ends").signal(), Some(2));
}

/// A server that answers each line, and tells for each connection what it got, and how long after its own start it got
/// the last bytes.
struct Server {
    port: u16,
    told: mpsc::Receiver<(Vec<u8>, Duration)>,
}

impl Server {
    fn start(connections: usize) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (tell, told) = mpsc::channel();
        let started = Instant::now();
        for _ in 0..connections {
            let (listener, tell) = (listener.try_clone().expect("descriptors"), tell.clone());
            thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a client");
                let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
                let mut came = Duration::ZERO;
                loop {
                    let length = stream.read(&mut buffer).expect("a client that ends well");
                    if length == 0 {
                        break;
                    }
                    came = started.elapsed();
                    got.extend_from_slice(&buffer[..length]);
                    // how much is read at once is chance
                    let lines = buffer[..length].iter().filter(|byte| **byte == b'\n').count();
                    stream.write_all(&b"ANSWER\n".repeat(lines)).expect("a client that reads");
                }
                let _ = stream.shutdown(Shutdown::Both);
                let _ = tell.send((got, came));
            });
        }
        Server { port, told }
    }

    /// What each connection got, in alphabetical order.
    fn told(&self, count: usize) -> Vec<(String, Duration)> {
        let told = (0..count).map(|_| self.told.recv_timeout(LONG).expect("a connection that ends"));
        let mut told: Vec<_> = told.map(|(got, came)| (String::from_utf8_lossy(&got).into_owned(), came)).collect();
        told.sort();
        told
    }
}

const TWO_SESSIONS: &str = "100.0 10.0.0.5:1 i 610a\n100.1 10.0.0.6:1 i 780a\n100.2 10.0.0.5:1 o 0000\n\
                            101.0 10.0.0.5:1 i 620a\n101.5 10.0.0.6:1 i 790a\n";

#[test]
fn sessions_are_replayed_on_connections_of_their_own_with_their_timing() {
    let scratch = Scratch::new("cat");
    // at each speed the last bytes are due after a second or two
    for (speed, recorded) in [("1", 1), ("100", 100)] {
        let (one, other) = (100 + recorded, 101 + recorded);
        let lines = format!("{one}.0 10.0.0.5:1 i 620a\n{other}.0 10.0.0.6:1 i 790a\n");
        let log = scratch.write("log", format!("100.0 10.0.0.5:1 i 610a\n100.1 10.0.0.6:1 i 780a\n{lines}"));
        let server = Server::start(2);
        let (code, out, err) =
            said(&mut cat(&["--replay", &format!("127.0.0.1:{}", server.port), "--speed", speed, &log]));
        assert_eq!((code, out.len()), (Some(0), 0), "{err}");
        assert!(err.contains("2 sessions") && err.contains("8 bytes sent, 28 answered; 0 failed"), "{err}");
        let told = server.told(2);
        let got: Vec<&str> = told.iter().map(|(got, _)| got.as_str()).collect();
        assert_eq!(got, ["a\nb\n", "x\ny\n"]);
        for (got, came) in told {
            assert!((900..50_000).contains(&came.as_millis()), "{got:?} at {speed}: {came:?}");
        }
    }
}

#[test]
fn a_replay_shows_what_it_is_told_to() {
    let scratch = Scratch::new("cat");
    let files = [scratch.write("log", TWO_SESSIONS), scratch.write("a.pcapng", capture([100, 101, 102, 103]))];
    for (file, words, wanted) in [
        (&files[0], &["-i", "-a", "10.0.0.6:1"][..], "x\ny\n"),
        (&files[1], &["-i"], "one\ntwo\n"),
        (&files[1], &["-o"], "ANSWER\nANSWER\n"),
    ] {
        let server = Server::start(1);
        let target = format!("127.0.0.1:{}", server.port);
        let words = [&["--replay", &target, "--speed", "0", file], words].concat();
        let (code, out, err) = said(&mut cat(&words));
        assert_eq!(code, Some(0), "{err}");
        let out = String::from_utf8_lossy(&out).into_owned();
        assert_eq!(out, wanted, "{words:?}");
        assert_eq!(server.told(1).len(), 1);
    }
}

#[test]
fn a_replay_from_a_pipe_ends_too() {
    let server = Server::start(2);
    let mut child = cat(&["--replay", &format!("127.0.0.1:{}", server.port), "--speed=0", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("piped").write_all(TWO_SESSIONS.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.told(2).len(), 2);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let port = super::free_port();
    let (code, _, err) = said(&mut cat(&["--replay", &format!("127.0.0.1:{port}"), "sample.log"]));
    assert_eq!(code, Some(1), "{err}");
    let wanted = format!("cat: session 1 of 127.0.0.1:45484: connect to 127.0.0.1:{port}: Connection refused");
    assert!(err.contains(&wanted) && err.contains("1 failed"), "{err}");
}
