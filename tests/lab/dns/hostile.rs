//! Clients that mean no good, or whose programs do not.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use super::stub::{Stub, question};
use super::{ip, scene};
use crate::support::folder::Folder;
use crate::support::pace::Pace;
use crate::support::random::Random;

#[test]
fn noise_is_answered_harmlessly_or_not_at_all() {
    let (scene, stub) = scene("");
    let good = question("www.bench.example", 1);
    let mut random = Random::new(48);
    stub.patience(Duration::from_millis(1));
    for n in 0..3000 {
        let mut bytes = if n % 3 == 0 { random.bytes(n % 700) } else { good.clone() };
        if n % 3 != 0 {
            let noise = random.bytes(4);
            for pair in noise.chunks(2) {
                let at = usize::from(pair[0]) % bytes.len();
                bytes[at] = pair[1];
            }
            let end = usize::from(noise[0]) % (bytes.len() + 1);
            bytes.truncate(if n % 2 == 0 { end } else { bytes.len() });
        }
        stub.send(&bytes);
        if n % 20 == 0 {
            while let Some(answer) = stub.receive() {
                assert!(answer.len() <= 600 && answer[2] & 0x80 != 0, "{}", answer.escape_ascii());
            }
        }
    }
    // a datagram that is longer than any question
    stub.send(&vec![1; 9000]);
    while stub.receive().is_some() {}
    let other = || Stub::new(&scene.net.client, super::AT);
    assert_eq!(other().ask_again("1.0.18.198.in-addr.arpa", "PTR").code & !3, 0);
    assert!(other().ask_again("www.bench.example", "A").addr().is_ipv4());
}

#[test]
fn a_reply_gets_no_reply() {
    let (_scene, stub) = scene("");
    let mut reply = question("www.bench.example", 1);
    reply[2] |= 0x80;
    stub.send(&reply);
    stub.patience(Duration::from_millis(200));
    assert_eq!(stub.receive(), None);
}

#[test]
fn connections_that_say_nothing_end_and_keep_nobody_out_for_long() {
    let (scene, stub) = scene("");
    let idle: Vec<_> = (0..128).map(|_| stub.stream(&scene.net.client)).collect();
    let start = Pace::start();
    // datagrams are not kept waiting at all
    assert_eq!(stub.ask("a.example", "A").addr(), ip("198.18.0.1"));
    assert!(start.elapsed() < Duration::from_secs(1));
    // and it is let in before a step of a test has lasted too long
    let mut late = stub.stream(&scene.net.client);
    assert_eq!(Stub::ask_by_stream(&mut late, "a.example", "A").addr(), ip("198.18.0.1"));
    drop(idle);
    for bytes in [&b"\0\0"[..], b"\0\x05hello", b"\xff\xff", b"\0\x0c\0\0\x80\0\0\0\0\0\0\0\0\0"] {
        let mut stream = stub.stream(&scene.net.client);
        stream.write_all(bytes).expect("it listens");
        let mut rest = Vec::new();
        // closed without a word, whether by an end or by a reset
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"", "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_flood_of_names_costs_little_memory_and_disk_and_nobody_the_name_in_use() {
    let folder = Folder::new();
    let file = format!("{}/names", folder.path());
    let (scene, stub) = scene(&format!("-dns-state {file}"));
    let used = stub.ask("used.example", "A").addr();
    let client = scene.connect(used, 443);
    let mut up = scene.upstream.accept();
    up.expect_connect("used.example:443");
    drop((client, up));
    scene.gateway.session_line();
    let before = scene.gateway.rss_kib();
    let start = Instant::now();
    let filler = "x".repeat(50);
    let (mut sent, mut answered) = (0u32, 0u32);
    stub.patience(Duration::from_millis(100));
    while sent < 150_000 {
        for _ in 0..32 {
            stub.send(&question(&format!("n{sent}.{filler}.{filler}.example"), 1));
            sent += 1;
        }
        for _ in 0..32 {
            answered += u32::from(stub.receive().is_some());
        }
    }
    let took = start.elapsed();
    let grown = scene.gateway.rss_kib() - before;
    let disk = std::fs::metadata(&file).expect("a file").len();
    eprintln!("{answered} of {sent} names answered in {took:?}; {grown} KiB more memory, {disk} bytes of journal");
    assert!(answered > 140_000, "{answered} answers");
    // 65,535 names of 114 bytes
    assert!(grown < 40_000, "{grown} KiB");
    let most = (took.as_secs() + 2) * 2 * 512 * 140;
    assert!(disk < most, "{disk} bytes in {took:?}");
    stub.patience(crate::support::PATIENCE);
    while stub.ask("used.example", "A").addrs != [used] {
        assert!(start.elapsed() < took + Duration::from_secs(30), "its address went to the flood");
    }
}
