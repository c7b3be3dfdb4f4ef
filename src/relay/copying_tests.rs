//! The copying relay over loopback, with a plain upstream and with an encrypted one: the promises of the
//! spliced relay, and what TLS adds to them.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server;

use super::*;
use crate::close::{Close, End};
use crate::flow::Flow;
use crate::relay::{Copying, Limits};
use crate::stream::tests::{tcp_pair, tls_pair};

const NO_LIMITS: Limits = Limits { idle: None, half_closed: None };
const BOTH: [Kind; 2] = [Kind::Tcp, Kind::Tls];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp,
    Tls,
}

/// A peer of the relay.
trait Peer: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Peer for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Peer for server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

type AnyPeer = Box<dyn Peer>;

/// A tunnel between two peers: the client, the upstream, and the relay between them.
async fn tunnel(kind: Kind) -> (AnyPeer, AnyPeer, Copying) {
    let (client, client_side) = tcp_pair().await;
    let (upstream, upstream_side): (AnyPeer, Stream) = match kind {
        Kind::Tcp => {
            let (upstream, ours) = tcp_pair().await;
            (Box::new(upstream), Stream::Tcp(ours))
        }
        Kind::Tls => {
            let (ours, upstream) = tls_pair().await;
            (Box::new(upstream), ours)
        }
    };
    (Box::new(client), upstream, Copying::new(client_side, upstream_side, None))
}

fn flow() -> Flow {
    Flow::new("192.0.2.1:1".parse().expect("an address"))
}

fn relaying(mut relay: Copying, limits: Limits) -> tokio::task::JoinHandle<Close> {
    tokio::spawn(async move { relay.run(limits, &mut flow()).await })
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

async fn send_in_pieces(mut to: impl AsyncWrite + Unpin, bytes: Vec<u8>, piece: usize) {
    for chunk in bytes.chunks(piece) {
        to.write_all(chunk).await.expect("still read");
        to.flush().await.expect("still read");
    }
    to.shutdown().await.expect("still open");
}

/// An end of TLS without a close_notify is no clean end here.
async fn read_all(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await.expect("a clean end");
    bytes
}

async fn is_reset(mut peer: AnyPeer) -> bool {
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).await.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset)
}

fn reset(peer: AnyPeer) {
    socket::abort_on_close(peer.tcp());
}

/// Sends both ways at once and checks that each side got the other's bytes.
async fn exchange(kind: Kind, up: usize, down: usize, piece: usize, early: usize) {
    let (client, upstream, mut relay) = tunnel(kind).await;
    let (sent_up, sent_down) = (pattern(up, 3), pattern(down, 5));
    let (early_up, early_down) = (early.min(up), early.min(down));
    relay.early_up(sent_up[..early_up].to_vec(), false);
    relay.early_down(sent_down[..early_down].to_vec());
    let relaying = tokio::spawn(async move {
        let mut flow = flow();
        let close = relay.run(NO_LIMITS, &mut flow).await;
        (close, flow.up, flow.down)
    });
    let (client_read, client_write) = tokio::io::split(client);
    let (upstream_read, upstream_write) = tokio::io::split(upstream);
    let senders = [
        tokio::spawn(send_in_pieces(client_write, sent_up[early_up..].to_vec(), piece)),
        tokio::spawn(send_in_pieces(upstream_write, sent_down[early_down..].to_vec(), piece)),
    ];
    let (got_up, got_down) = tokio::join!(read_all(upstream_read), read_all(client_read));
    for sender in senders {
        sender.await.expect("sent all");
    }
    assert!(got_up == sent_up && got_down == sent_down, "bytes differ for {kind:?} {up} {down} {piece} {early}");
    let (close, counted_up, counted_down) = relaying.await.expect("no panic");
    assert_eq!((close.end, counted_up, counted_down), (End::Done, up as u64, down as u64));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn bulk_arrives_byte_for_byte() {
    for kind in BOTH {
        runtime().block_on(exchange(kind, 5_000_000, 3_000_001, 70_000, 100));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_sizes_and_pieces_arrive_whole(
        tls: bool, up in 0usize..200_000, down in 0usize..200_000, piece in 1usize..40_000, early in 0usize..20_000,
    ) {
        let kind = if tls { Kind::Tls } else { Kind::Tcp };
        runtime().block_on(exchange(kind, up, down, piece.max((up + down) / 2000), early));
    }
}

#[tokio::test]
async fn a_half_close_passes_through_and_the_answer_still_comes() {
    for (kind, client_first) in BOTH.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let (client, upstream, relay) = tunnel(kind).await;
        let relaying = relaying(relay, NO_LIMITS);
        let (mut first, mut second) = if client_first { (client, upstream) } else { (upstream, client) };
        first.write_all(b"all I say").await.expect("open");
        first.shutdown().await.expect("open");
        assert_eq!(read_all(&mut second).await, b"all I say");
        let (answer, got) = (pattern(1_000_000, 7), tokio::spawn(async move { read_all(first).await }));
        send_in_pieces(second, answer.clone(), 33_333).await;
        assert!(got.await.expect("read") == answer, "{kind:?}");
        let by = if client_first { By::Client } else { By::Upstream };
        assert_eq!(relaying.await.expect("no panic"), Close::new(End::Done, by));
    }
}

#[tokio::test]
async fn a_client_that_had_ended_early_is_passed_on() {
    for kind in BOTH {
        let (_client, upstream, mut relay) = tunnel(kind).await;
        relay.early_up(b"all of it".to_vec(), true);
        let relaying = relaying(relay, NO_LIMITS);
        let (mut read, mut write) = tokio::io::split(upstream);
        assert_eq!(read_all(&mut read).await, b"all of it");
        write.shutdown().await.expect("open");
        assert_eq!(relaying.await.expect("no panic"), Close::new(End::Done, By::Client));
    }
}

#[tokio::test]
async fn an_end_of_tls_without_a_close_notify_is_an_end() {
    let (mut client, mut upstream, relay) = tunnel(Kind::Tls).await;
    let relaying = relaying(relay, NO_LIMITS);
    upstream.write_all(b"the last words").await.expect("open");
    upstream.flush().await.expect("open");
    socket::finish(upstream.tcp());
    assert_eq!(read_all(&mut client).await, b"the last words");
    client.write_all(b"an answer").await.expect("half open");
    client.shutdown().await.expect("half open");
    assert_eq!(read_all(&mut upstream).await, b"an answer");
    assert_eq!(relaying.await.expect("no panic"), Close::new(End::Done, By::Upstream));
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other() {
    for (kind, client_first) in BOTH.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let (client, upstream, relay) = tunnel(kind).await;
        let relaying = relaying(relay, NO_LIMITS);
        let (mut first, second) = if client_first { (client, upstream) } else { (upstream, client) };
        first.write_all(b"x").await.expect("open");
        reset(first);
        assert!(is_reset(second).await, "{kind:?} {client_first}");
        let close = relaying.await.expect("no panic");
        assert_eq!((close.end, close.by), (End::Reset, if client_first { By::Client } else { By::Upstream }));
    }
}

#[tokio::test]
async fn garbage_instead_of_tls_is_a_reset_by_the_upstream() {
    let (client, upstream, relay) = tunnel(Kind::Tls).await;
    let relaying = relaying(relay, NO_LIMITS);
    upstream.tcp().try_write(b"no TLS record at all").expect("room");
    assert!(is_reset(client).await);
    let close = relaying.await.expect("no panic");
    assert_eq!((close.end, close.by), (End::Reset, By::Upstream));
}

#[tokio::test]
async fn what_was_sent_before_an_end_arrives_although_a_reset_follows() {
    for (kind, client_first) in BOTH.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let (client, upstream, relay) = tunnel(kind).await;
        let relaying = relaying(relay, NO_LIMITS);
        let (mut first, mut second) = if client_first { (client, upstream) } else { (upstream, client) };
        // more than the reader's socket takes at once, so that some of it is still with us when the reset comes
        socket2::SockRef::from(second.tcp()).set_recv_buffer_size(65536).expect("a size");
        let sent = pattern(600_000, 11);
        tokio::time::timeout(Duration::from_secs(30), first.write_all(&sent)).await.expect("room").expect("open");
        first.shutdown().await.expect("open");
        while crate::sys::queues::unacked(first.tcp()) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // closed for good: whatever comes now is answered with a reset
        drop(first);
        second.write_all(b"to nobody").await.expect("open");
        second.flush().await.expect("open");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let mut got = vec![0; sent.len()];
        second.read_exact(&mut got).await.expect("all that was sent");
        assert!(got == sent, "bytes differ for {kind:?} {client_first}");
        if client_first {
            let close = relaying.await.expect("no panic");
            assert_eq!((close.end, close.by), (End::Reset, By::Client), "{kind:?}");
        } else {
            second.write_all(b"more to nobody").await.expect("open");
            assert_eq!(read_all(second).await, b"");
            assert_eq!(relaying.await.expect("no panic"), Close::new(End::Done, By::Upstream), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_torn_stream_never_looks_like_a_whole_one() {
    for (kind, client_first) in BOTH.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let (mut client, mut upstream, relay) = tunnel(kind).await;
        let relaying = relaying(relay, NO_LIMITS);
        let mut byte = [0];
        client.write_all(b"a").await.expect("open");
        upstream.read_exact(&mut byte).await.expect("open");
        upstream.write_all(b"b").await.expect("open");
        client.read_exact(&mut byte).await.expect("open");
        // all of this before the relay runs again: bytes both ways, then a reset without an end
        let (mut first, mut second) = if client_first { (client, upstream) } else { (upstream, client) };
        let mut at_once = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut first).poll_write(&mut at_once, b"part of it").is_ready());
        assert!(Pin::new(&mut second).poll_write(&mut at_once, b"for nobody").is_ready());
        std::thread::sleep(Duration::from_millis(20));
        reset(first);
        std::thread::sleep(Duration::from_millis(20));
        assert!(is_reset(second).await, "a clean end, {kind:?}, client first: {client_first}");
        assert_eq!(relaying.await.expect("no panic").end, End::Reset);
    }
}

#[tokio::test]
async fn a_side_that_reads_nothing_stops_the_other_and_little_is_held() {
    for (kind, client_reads) in BOTH.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let (client, upstream, mut relay) = tunnel(kind).await;
        let (writer, reader) = if client_reads { (upstream, client) } else { (client, upstream) };
        // more than all kernels' queues
        let sent = pattern(16_000_000, 13);
        let (mut ends, writer) = tokio::io::split(writer);
        let sending = tokio::spawn(send_in_pieces(writer, sent.clone(), 100_000));
        // a close that leaves something unread would tear what was sent
        let ending = tokio::spawn(async move { read_all(&mut ends).await });
        let mut flow = flow();
        // until nothing more is taken, which is later on a busy machine
        let mut taken = u64::MAX;
        while taken != flow.up + flow.down || taken == 0 {
            taken = flow.up + flow.down;
            let running = relay.run(NO_LIMITS, &mut flow);
            assert!(tokio::time::timeout(Duration::from_millis(700), running).await.is_err(), "it does not end");
        }
        assert!(!sending.is_finished(), "{kind:?}: everything was taken");
        let lane = if client_reads { &relay.pair.down } else { &relay.pair.up };
        assert!(lane.held.capacity() <= CHUNK, "{kind:?} holds {}", lane.held.capacity());
        let course = relay.pair.course(if client_reads { By::Upstream } else { By::Client });
        assert!(course.holds, "{kind:?}: a reset must be looked for");
        if let (Kind::Tls, false) = (kind, client_reads) {
            // it was flushed before more was read, or it would have taken 64 KiB and refused the rest
            assert!(relay.pair.unflushed && relay.pair.up.held.is_empty(), "{relay:?}");
        }
        assert!(flow.up + flow.down > 0);
        let (mut read, mut write) = tokio::io::split(reader);
        // the last end is told by closing
        let running = async {
            let close = relay.run(NO_LIMITS, &mut flow).await;
            drop(relay);
            close
        };
        let shutting = async { write.shutdown().await.expect("open") };
        let (close, got, ()) = tokio::join!(running, read_all(&mut read), shutting);
        assert!(got == sent, "bytes differ for {kind:?}");
        assert_eq!((close.end, flow.up + flow.down), (End::Done, sent.len() as u64));
        sending.await.expect("sent all");
        assert_eq!(ending.await.expect("a clean end"), b"");
    }
}

#[tokio::test]
async fn a_tunnel_that_is_dropped_resets_both() {
    for kind in BOTH {
        let (client, upstream, relay) = tunnel(kind).await;
        drop(relay);
        assert!(is_reset(client).await && is_reset(upstream).await, "{kind:?}");
    }
}

#[tokio::test]
async fn what_is_quiet_too_long_ends_and_what_moves_does_not() {
    let limits = Limits { idle: Some(Duration::from_secs(2)), half_closed: Some(Duration::from_millis(100)) };
    for kind in BOTH {
        let (mut client, mut upstream, relay) = tunnel(kind).await;
        let quiet = relaying(relay, limits);
        let mut byte = [0];
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            client.write_all(b"x").await.expect("not idle");
            upstream.read_exact(&mut byte).await.expect("not idle");
        }
        assert!(is_reset(client).await);
        assert_eq!(quiet.await.expect("no panic"), Close::new(End::Idle, By::Us));

        let (mut client, _upstream, relay) = tunnel(kind).await;
        let quiet = relaying(relay, limits);
        client.shutdown().await.expect("open");
        assert_eq!(quiet.await.expect("no panic"), Close::new(End::HalfClosed, By::Us));
    }
}

#[tokio::test]
async fn an_idle_tunnel_is_small() {
    for kind in BOTH {
        let (mut client, mut upstream, mut relay) = tunnel(kind).await;
        assert!(size_of_val(&relay) <= 288, "{}", size_of_val(&relay));
        relay.early_up(pattern(9_000, 1), false);
        let mut flow = flow();
        let mut bytes = vec![0; 9_000];
        {
            let running = relay.run(NO_LIMITS, &mut flow);
            assert!(size_of_val(&running) <= 64, "{}", size_of_val(&running));
            let talk = async {
                upstream.read_exact(&mut bytes).await.expect("open");
                upstream.write_all(&bytes).await.expect("open");
                upstream.flush().await.expect("open");
                client.read_exact(&mut bytes).await.expect("open");
            };
            tokio::select! {
                close = running => panic!("{close:?}"),
                () = talk => {}
            }
        }
        assert!(tokio::time::timeout(Duration::from_millis(20), relay.run(NO_LIMITS, &mut flow)).await.is_err());
        assert_eq!((relay.pair.up.held.capacity(), relay.pair.down.held.capacity()), (0, 0), "{kind:?}");
    }
}
