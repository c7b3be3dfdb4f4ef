//! What a tunnel holds when its bytes are not taken, and when there are none.

use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::support::random::Random;
use crate::support::scene::Scene;
use crate::support::topology::V4;
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, carry};

const MB: usize = 1 << 20;
/// When nothing was taken for so long, all buffers are full.
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn a_reader_that_does_not_read_stalls_the_writer_in_bounded_memory() {
    let scene = Scene::new("");
    for down in [true, false] {
        let (client, up) = scene.tunnel();
        let (mut writer, mut reader) = if down { (up, client) } else { (client, up) };
        let before = scene.gateway.rss_kib();
        let taken = writer.fill(QUIET);
        let grown = scene.gateway.rss_kib().saturating_sub(before);
        eprintln!("down {down}: stalls at {} KiB, RSS +{grown} KiB", taken / 1024);
        assert!(taken < 64 * MB, "it took {} MiB", taken / MB);
        assert!(grown < 2048, "RSS +{grown} KiB");
        // the other direction is not disturbed
        reader.send("hello");
        writer.expect("hello");
        // and nothing was lost
        reader.expect_filling(taken);
    }
}

#[test]
fn a_client_that_pours_before_the_answer_is_stalled_in_bounded_memory() {
    let scene = Scene::new("-sniff-timeout 5s");
    let mut client = scene.connect(V4, 80);
    let mut up = scene.upstream.accept();
    let before = scene.gateway.rss_kib();
    client.send("POST / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n");
    up.expect_connect("www.bench.example:80");
    let taken = client.fill(QUIET);
    let grown = scene.gateway.rss_kib().saturating_sub(before);
    assert!(taken < 64 * MB, "it took {} MiB", taken / MB);
    assert!(grown < 1024, "RSS +{grown} KiB");
    up.expect_silence(Duration::from_millis(1));
    up.reply(OPEN);
    up.expect("POST / HTTP/1.1\r\nHost: www.bench.example\r\n\r\n");
    up.expect_filling(taken);
}

#[test]
fn small_pieces_for_a_reader_that_does_not_read_are_all_kept() {
    let scene = Scene::new("");
    for down in [true, false] {
        let (client, up) = scene.tunnel();
        let (mut writer, mut reader) = if down { (up, client) } else { (client, up) };
        SockRef::from(reader.socket()).set_recv_buffer_size(4096).expect("an open socket");
        let bytes = Random::new(6).bytes(8 * MB);
        thread::scope(|scope| {
            scope.spawn(|| {
                // small enough, and far enough apart, to be moved one by one
                for piece in bytes.chunks(1400) {
                    writer.send(piece);
                    thread::sleep(Duration::from_micros(50));
                }
            });
            thread::sleep(Duration::from_secs(1));
            reader.expect(&bytes);
        });
    }
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let scene = Scene::new("");
    let (mut client, mut up) = scene.tunnel();
    SockRef::from(client.socket()).set_recv_buffer_size(4096).expect("an open socket");
    let bytes = Random::new(5).bytes(MB);
    thread::scope(|scope| {
        scope.spawn(|| {
            up.send(&bytes);
            up.fin();
        });
        for piece in bytes.chunks(16 * 1024) {
            client.expect(piece);
            thread::sleep(Duration::from_millis(2));
        }
        client.expect_end(Ending::Fin);
    });
}

#[test]
fn an_idle_tunnel_holds_two_descriptors_and_no_pipe() {
    let scene = Scene::new("");
    let start = scene.gateway.descriptors();
    let mut tunnels: Vec<_> = (0..50).map(|_| scene.tunnel()).collect();
    for (client, up) in &mut tunnels {
        carry(up, client, MB);
        carry(client, up, MB);
    }
    let mut idle = start;
    idle.sockets += 2 * tunnels.len();
    scene.gateway.settles_at(idle);
    drop(tunnels);
    scene.gateway.settles_at(start);
}

#[test]
fn a_stalled_tunnel_does_not_hold_up_another() {
    let scene = Scene::new("");
    let mut stalled: Vec<_> = (0..8).map(|_| scene.tunnel()).collect();
    for (client, up) in &mut stalled {
        up.fill(QUIET / 10);
        client.fill(QUIET / 10);
    }
    let (mut client, mut up) = scene.tunnel();
    carry(&mut client, &mut up, 4 * MB);
    carry(&mut up, &mut client, 4 * MB);
}

#[test]
fn both_directions_at_once_do_not_deadlock_when_both_are_full() {
    let scene = Scene::new("");
    let (mut client, mut up) = scene.tunnel();
    let sent_up = client.fill(QUIET);
    let sent_down = up.fill(QUIET);
    assert!(sent_up > 0 && sent_down > 0);
    client.expect_filling(sent_down);
    up.expect_filling(sent_up);
    client.send("ping");
    up.expect("ping");
}
