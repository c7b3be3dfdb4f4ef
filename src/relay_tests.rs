//! The relay over loopback sockets: bytes, ends, resets and clocks.

use super::*;
use crate::sys::{listener, pipe};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const NO_LIMITS: Limits = Limits { idle: None, half_closed: None };

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let addr = listener.local_addr().expect("bound");
    let (ours, theirs) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (ours.expect("listening"), theirs.expect("connected").0)
}

/// A tunnel between two peers: the client, the upstream, and the relay between them.
async fn tunnel() -> (TcpStream, TcpStream, Relay) {
    let (client, client_side) = pair().await;
    let (upstream, upstream_side) = pair().await;
    (client, upstream, Relay::new(client_side, upstream_side))
}

fn flow() -> Flow {
    Flow::new("192.0.2.1:1".parse().expect("an address"))
}

/// A stream of bytes in which a lost, doubled or swapped piece shows.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

async fn send_in_pieces(mut to: impl AsyncWriteExt + Unpin, bytes: Vec<u8>, piece: usize) {
    for chunk in bytes.chunks(piece) {
        to.write_all(chunk).await.expect("still read");
    }
    to.shutdown().await.expect("still open");
}

async fn read_all(mut from: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await.expect("a clean end");
    bytes
}

/// Sends both ways at once and checks that each side got the other's bytes.
async fn exchange(up: usize, down: usize, piece: usize, early: usize) {
    let (client, upstream, mut relay) = tunnel().await;
    let (sent_up, sent_down) = (pattern(up, 3), pattern(down, 5));
    let (early_up, early_down) = (early.min(up), early.min(down));
    relay.early_up(sent_up[..early_up].to_vec(), false);
    relay.early_down(sent_down[..early_down].to_vec());
    let relaying = tokio::spawn(async move {
        let mut flow = flow();
        let close = relay.run(NO_LIMITS, &mut flow).await;
        (close, flow.up, flow.down)
    });
    let (client_read, client_write) = client.into_split();
    let (upstream_read, upstream_write) = upstream.into_split();
    let senders = [
        tokio::spawn(send_in_pieces(client_write, sent_up[early_up..].to_vec(), piece)),
        tokio::spawn(send_in_pieces(upstream_write, sent_down[early_down..].to_vec(), piece)),
    ];
    let (got_up, got_down) = tokio::join!(read_all(upstream_read), read_all(client_read));
    for sender in senders {
        sender.await.expect("sent all");
    }
    assert!(got_up == sent_up && got_down == sent_down, "bytes differ for {up} {down} {piece} {early}");
    let (close, counted_up, counted_down) = relaying.await.expect("no panic");
    assert_eq!((close.end, counted_up, counted_down), (End::Done, up as u64, down as u64));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn bulk_goes_through_pipes_byte_for_byte() {
    pipe::allow(64);
    runtime().block_on(exchange(9_000_000, 5_000_001, 70_000, 100));
}

#[test]
fn bulk_without_pipes_is_copied_byte_for_byte() {
    // the limit is the process's: another test may lend pipes meanwhile, and both ways are right
    pipe::allow(0);
    runtime().block_on(exchange(3_000_000, 3_000_001, 50_000, 0));
    pipe::allow(64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_sizes_and_pieces_arrive_whole(up in 0usize..400_000, down in 0usize..400_000, piece in 1usize..40_000, early in 0usize..20_000) {
        pipe::allow(64);
        runtime().block_on(exchange(up, down, piece.max((up + down) / 2000), early));
    }
}

#[tokio::test]
async fn a_half_close_passes_through_and_the_answer_still_comes() {
    for client_first in [true, false] {
        let (client, upstream, mut relay) = tunnel().await;
        let relaying = tokio::spawn(async move { relay.run(NO_LIMITS, &mut flow()).await });
        let (mut first, mut second) = if client_first { (client, upstream) } else { (upstream, client) };
        first.write_all(b"all I say").await.expect("open");
        first.shutdown().await.expect("open");
        assert_eq!(read_all(&mut second).await, b"all I say");
        let (answer, got) = (pattern(1_000_000, 7), tokio::spawn(async move { read_all(first).await }));
        send_in_pieces(second, answer.clone(), 33_333).await;
        assert!(got.await.expect("read") == answer);
        let by = if client_first { By::Client } else { By::Upstream };
        assert_eq!(relaying.await.expect("no panic"), Close::new(End::Done, by));
    }
}

async fn is_reset(mut stream: TcpStream) -> bool {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
}

/// The end of the stream came first and was clean; the reset shows as the socket's error.
async fn is_reset_after_its_end(mut stream: TcpStream) -> bool {
    assert_eq!(read_all(&mut stream).await, b"");
    let error = stream.ready(tokio::io::Interest::ERROR);
    tokio::time::timeout(Duration::from_secs(30), error).await.is_ok()
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other() {
    for client_first in [true, false] {
        let (client, upstream, mut relay) = tunnel().await;
        let relaying = tokio::spawn(async move { relay.run(NO_LIMITS, &mut flow()).await });
        let (mut first, second) = if client_first { (client, upstream) } else { (upstream, client) };
        first.write_all(b"x").await.expect("open");
        socket::abort_on_close(&first);
        drop(first);
        assert!(is_reset(second).await);
        let close = relaying.await.expect("no panic");
        assert_eq!((close.end, close.by), (End::Reset, if client_first { By::Client } else { By::Upstream }));
    }
}

#[tokio::test]
async fn a_reset_is_seen_even_while_nothing_is_read_of_that_side() {
    let (client, mut upstream, mut relay) = tunnel().await;
    let relaying = tokio::spawn(async move { relay.run(NO_LIMITS, &mut flow()).await });
    upstream.shutdown().await.expect("open");
    tokio::time::sleep(Duration::from_millis(50)).await;
    socket::abort_on_close(&upstream);
    drop(upstream);
    assert_eq!(relaying.await.expect("no panic"), Close::new(End::Done, By::Upstream));
    drop(client);

    let (mut client, upstream, mut relay) = tunnel().await;
    let relaying = tokio::spawn(async move { relay.run(NO_LIMITS, &mut flow()).await });
    client.shutdown().await.expect("open");
    tokio::time::sleep(Duration::from_millis(50)).await;
    socket::abort_on_close(&client);
    drop(client);
    assert!(is_reset_after_its_end(upstream).await);
    let close = relaying.await.expect("no panic");
    assert_eq!((close.end, close.by), (End::Reset, By::Client));
}

#[tokio::test]
async fn what_was_sent_before_an_end_arrives_although_a_reset_follows() {
    for client_first in [true, false] {
        let (client, upstream, mut relay) = tunnel().await;
        let relaying = tokio::spawn(async move { relay.run(NO_LIMITS, &mut flow()).await });
        let (mut first, mut second) = if client_first { (client, upstream) } else { (upstream, client) };
        // more than the reader's socket takes at once, so that some of it is still with us when the reset comes
        socket2::SockRef::from(&second).set_recv_buffer_size(65536).expect("a size");
        let sent = pattern(600_000, 11);
        tokio::time::timeout(Duration::from_secs(30), first.write_all(&sent)).await.expect("room").expect("open");
        first.shutdown().await.expect("open");
        while crate::sys::queues::unacked(&first) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // closed for good: whatever comes now is answered with a reset
        drop(first);
        second.write_all(b"to nobody").await.expect("open");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let mut got = vec![0; sent.len()];
        second.read_exact(&mut got).await.expect("all that was sent");
        assert!(got == sent, "bytes differ");
        if client_first {
            let close = relaying.await.expect("no panic");
            assert_eq!((close.end, close.by), (End::Reset, By::Client));
        } else {
            second.write_all(b"more to nobody").await.expect("open");
            assert_eq!(read_all(second).await, b"");
            assert_eq!(relaying.await.expect("no panic"), Close::new(End::Done, By::Upstream));
        }
    }
}

#[tokio::test]
async fn a_torn_stream_never_looks_like_a_whole_one() {
    for client_first in [true, false] {
        let (mut client, mut upstream, mut relay) = tunnel().await;
        let relaying = tokio::spawn(async move { relay.run(NO_LIMITS, &mut flow()).await });
        let mut byte = [0];
        client.write_all(b"a").await.expect("open");
        upstream.read_exact(&mut byte).await.expect("open");
        upstream.write_all(b"b").await.expect("open");
        client.read_exact(&mut byte).await.expect("open");
        // all of this before the relay runs again: bytes both ways, then a reset without an end
        let (first, second) = if client_first { (client, upstream) } else { (upstream, client) };
        first.try_write(b"part of it").expect("room");
        second.try_write(b"for nobody").expect("room");
        std::thread::sleep(Duration::from_millis(20));
        socket::abort_on_close(&first);
        drop(first);
        std::thread::sleep(Duration::from_millis(20));
        assert!(is_reset(second).await, "a clean end, client first: {client_first}");
        assert_eq!(relaying.await.expect("no panic").end, End::Reset);
    }
}

#[tokio::test]
async fn urgent_data_stays_in_its_place_and_stops_nothing() {
    pipe::allow(64);
    for (before, after) in [(3, 3), (60_000, 60_000), (200_000, 1)] {
        let options = listener::Options { keepalive: None, transparent: false };
        let listener = listener::listen(0, options).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (client, accepted) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accept());
        let (mut client, client_side) = (client.expect("listening"), accepted.expect("connected").0);
        let (mut upstream, upstream_side) = pair().await;
        let mut relay = Relay::new(client_side, upstream_side);
        let relaying = tokio::spawn(async move { relay.run(NO_LIMITS, &mut flow()).await });
        let wanted = [pattern(before, 3), vec![b'!'], pattern(after, 5)].concat();
        // wait until the relay waits, then send all of it before the relay runs again
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.writable().await.expect("open");
        assert_eq!(client.try_write(&wanted[..before]).expect("room"), before);
        assert_eq!(socket2::SockRef::from(&client).send_out_of_band(b"!").expect("room"), 1);
        assert_eq!(client.try_write(&wanted[before + 1..]).expect("room"), after);
        std::thread::sleep(Duration::from_millis(30));
        let mut got = vec![0; wanted.len()];
        let reading = tokio::time::timeout(Duration::from_secs(30), upstream.read_exact(&mut got)).await;
        reading.expect("it does not stop at the mark").expect("open");
        assert!(got == wanted, "bytes differ for {before} {after}");
        client.shutdown().await.expect("open");
        assert_eq!(read_all(&mut upstream).await, b"");
        drop(upstream);
        assert_eq!(relaying.await.expect("no panic").end, End::Done);
    }
}

#[tokio::test]
async fn the_half_closed_clock_starts_at_the_end_of_a_side() {
    let limits = Limits { idle: Some(Duration::from_secs(60)), half_closed: Some(Duration::from_millis(1200)) };
    let (mut client, mut upstream, mut relay) = tunnel().await;
    let relaying = tokio::spawn(async move { relay.run(limits, &mut flow()).await });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let ended = std::time::Instant::now();
    client.shutdown().await.expect("open");
    assert_eq!(read_all(&mut upstream).await, b"");
    assert_eq!(relaying.await.expect("no panic"), Close::new(End::HalfClosed, By::Us));
    assert!(ended.elapsed() >= Duration::from_millis(1200), "it counted the silence before the end");
}

#[tokio::test]
async fn a_tunnel_that_is_dropped_resets_both() {
    let (client, upstream, relay) = tunnel().await;
    drop(relay);
    assert!(is_reset(client).await && is_reset(upstream).await);
}

#[tokio::test]
async fn what_is_quiet_too_long_ends_and_what_moves_does_not() {
    let limits = Limits { idle: Some(Duration::from_secs(2)), half_closed: Some(Duration::from_millis(100)) };
    let (mut client, mut upstream, mut relay) = tunnel().await;
    let relaying = tokio::spawn(async move { relay.run(limits, &mut flow()).await });
    let mut byte = [0];
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        client.write_all(b"x").await.expect("not idle");
        upstream.read_exact(&mut byte).await.expect("not idle");
    }
    assert!(is_reset(client).await);
    assert_eq!(relaying.await.expect("no panic"), Close::new(End::Idle, By::Us));

    let (mut client, upstream, mut relay) = tunnel().await;
    let relaying = tokio::spawn(async move { relay.run(limits, &mut flow()).await });
    client.shutdown().await.expect("open");
    assert_eq!(relaying.await.expect("no panic"), Close::new(End::HalfClosed, By::Us));
    assert!(is_reset_after_its_end(upstream).await);
}

#[tokio::test]
async fn an_idle_tunnel_is_small() {
    let (_client, _upstream, mut relay) = tunnel().await;
    assert!(std::mem::size_of_val(&relay) <= 256, "{}", std::mem::size_of_val(&relay));
    let mut flow = flow();
    let running = relay.run(NO_LIMITS, &mut flow);
    assert!(std::mem::size_of_val(&running) <= 64, "{}", std::mem::size_of_val(&running));
}
