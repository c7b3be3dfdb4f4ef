//! Every byte, both ways at once, in pieces of any size.
//!
//! `HANDYPROXY_TEST_BYTES` says how many bytes in all; a gibibyte if it does not.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::Launch;
use crate::support::random::Random;
use crate::support::scene::Scene;
use crate::support::topology::{UPSTREAM, V4, V6};
use crate::support::wire::{Ending, Wire};

const BLOCK: usize = 1 << 20;
const PAGE: usize = 4096;

/// An endless stream of bytes that both ends can make: a random block again and again, each page of each repetition marked
/// with its place, so that no two pages are alike and a lost, doubled or moved one shows.
struct Stream {
    block: Vec<u8>,
    /// marks of the block as it was made
    marks: Vec<u64>,
    number: u64,
    at: usize,
}

impl Stream {
    fn new(seed: u64) -> Self {
        let block = Random::new(seed).bytes(BLOCK);
        let marks =
            block.chunks(PAGE).map(|page| u64::from_le_bytes(page[..8].try_into().expect("eight bytes"))).collect();
        Self { block, marks, number: 0, at: 0 }
    }

    /// The next bytes of the stream, at most `count`.
    fn next(&mut self, count: usize) -> &[u8] {
        if self.at == BLOCK {
            self.number += 1;
            self.at = 0;
            for (page, mark) in self.block.chunks_mut(PAGE).zip(&self.marks) {
                page[..8].copy_from_slice(&(mark ^ self.number).to_le_bytes());
            }
        }
        let end = BLOCK.min(self.at + count);
        let bytes = &self.block[self.at..end];
        self.at = end;
        bytes
    }
}

/// Sends so many bytes of a stream in random pieces, most of them small, with a pause now and then.
fn send(wire: &mut Wire, seed: u64, total: usize) {
    let mut stream = Stream::new(seed);
    let mut random = Random::new(!seed);
    let mut left = total;
    while left > 0 {
        let piece = stream.next(random.size(20).min(left));
        wire.send(piece);
        left -= piece.len();
        if random.below(2000) == 0 {
            thread::sleep(Duration::from_millis(random.below(20) as u64));
        }
    }
}

/// Receives a stream in random pieces and compares every byte.
fn receive(wire: &mut Wire, seed: u64, total: usize) {
    let mut stream = Stream::new(seed);
    let mut random = Random::new(seed.rotate_left(32));
    let mut buffer = vec![0; BLOCK];
    let mut got = 0;
    while got < total {
        let size = random.size(20).max(1 + random.below(64 * 1024));
        let read = wire.read(&mut buffer[..size.min(BLOCK)], Instant::now() + crate::support::PATIENCE);
        let n = read.unwrap_or_else(|why| panic!("after {got} of {total} bytes: {why}"));
        assert_ne!(n, 0, "it ended after {got} of {total} bytes");
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            let want = stream.next(rest.len());
            let (head, tail) = rest.split_at(want.len());
            assert!(head == want, "wrong bytes between {got} and {} of {total}", got + want.len());
            got += want.len();
            rest = tail;
        }
        if random.below(2000) == 0 {
            thread::sleep(Duration::from_millis(random.below(20) as u64));
        }
    }
}

/// Moves `total` bytes, half of them in each direction, at once, and ends the tunnel in order.
fn exchange(client: &mut Wire, up: &mut Wire, seed: u64, total: usize) {
    let half = total / 2;
    let (client_reads, up_reads) = (client.another(), up.another());
    thread::scope(|scope| {
        let sender = |wire: &mut Wire, seed| {
            send(wire, seed, half);
            wire.fin();
        };
        let receiver = |mut wire: Wire, seed| {
            receive(&mut wire, seed, half);
            assert_eq!(wire.ending_within(crate::support::PATIENCE), Ending::Fin);
        };
        scope.spawn(move || sender(client, seed));
        scope.spawn(move || sender(up, seed + 1));
        scope.spawn(move || receiver(up_reads, seed));
        scope.spawn(move || receiver(client_reads, seed + 1));
    });
}

fn seed() -> u64 {
    let seed = env::var("HANDYPROXY_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121);
    eprintln!("HANDYPROXY_TEST_SEED={seed}");
    seed
}

#[test]
fn a_gibibyte_in_random_pieces_arrives_byte_for_byte_both_ways_at_once() {
    let total = env::var("HANDYPROXY_TEST_BYTES")
        .ok()
        .map_or(1 << 30, |n| n.parse().expect("HANDYPROXY_TEST_BYTES: a number of bytes"));
    let scene = Scene::new("");
    let start = scene.gateway.descriptors();
    let (mut client, mut up) = scene.tunnel();
    let since = Instant::now();
    exchange(&mut client, &mut up, seed(), total);
    eprintln!("{total} bytes in {:?}", since.elapsed());
    let line = scene.gateway.session_of(&client);
    line.expect("end=done stage=relay");
    assert_eq!(line.number("up"), (total / 2 + 1) as f64);
    assert_eq!(line.number("down"), (total / 2 + 1) as f64);
    scene.gateway.settles_at(start);
}

#[test]
fn many_tunnels_at_once_do_not_mix_their_bytes() {
    let scene = Scene::new("");
    exchange_in_tunnels(&scene, 12);
}

#[test]
fn bulk_that_finds_no_pipe_arrives_byte_for_byte() {
    // descriptors for eight tunnels and hardly a pipe
    let scene = Scene::with(Launch::new(&format!("-upstream-proxy {UPSTREAM}")).descriptors(40));
    exchange_in_tunnels(&scene, 8);
}

fn exchange_in_tunnels(scene: &Scene, count: usize) {
    let start = scene.gateway.descriptors();
    let seed = seed();
    let mut tunnels: Vec<_> = (0..count).map(|i| scene.tunnel_to(if i % 2 == 0 { V4 } else { V6 })).collect();
    thread::scope(|scope| {
        for (i, (client, up)) in tunnels.iter_mut().enumerate() {
            scope.spawn(move || exchange(client, up, seed + 100 * i as u64, 4 << 20));
        }
    });
    drop(tunnels);
    scene.gateway.settles_at(start);
}
