//! A queue at its bound, a file that fails, and the end.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::scribe::Scribe;
use super::super::{Chunk, Tapped};
use super::writer::{PLACES, RETRY, Writer};
use super::*;
use crate::close::{By, End};
use crate::config::Place;
use crate::format::{Dir, Ending, Facts};

/// What a scribe was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Opened,
    Bytes(Vec<u8>),
    Closed,
    Missed(u64, u64),
    Reopened,
}

/// A scribe that waits before each record until it may go on, and fails when it is told to.
struct Fake {
    told: Sender<Told>,
    may: Receiver<io::Result<()>>,
    writes: u64,
}

impl Fake {
    fn tell(&mut self, told: Told) {
        self.writes += 1;
        self.told.send(told).expect("the test listens");
    }
}

impl Scribe for Fake {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        let outcome = self.may.recv().unwrap_or(Ok(()));
        if let Err(error) = outcome {
            assert_ne!(error.kind(), io::ErrorKind::Other, "as the test wants it");
            return Err(error);
        }
        let told = match &record.what {
            What::Opened => Told::Opened,
            What::Read(_, chunk) => Told::Bytes(chunk.to_vec()),
            What::Closed(_) => Told::Closed,
            _ => return Ok(()),
        };
        self.tell(told);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn forget(&mut self) -> u64 {
        0
    }

    fn missed(&mut self, records: u64, bytes: u64) -> io::Result<()> {
        self.tell(Told::Missed(records, bytes));
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.tell(Told::Reopened);
        Ok(())
    }

    fn writes(&self) -> u64 {
        self.writes
    }
}

/// A tap whose thread writes to a fake.
struct Rig {
    sink: Arc<Sink>,
    told: Receiver<Told>,
    go: Sender<io::Result<()>>,
    thread: JoinHandle<()>,
}

fn rig(when_full: WhenFull, queue: usize) -> Rig {
    let sink = Arc::new(Sink::new(TapSettings {
        form: TapForm::Hexlog,
        path: None,
        from: Vec::new(),
        to: Vec::new(),
        when_full,
        queue,
        append: false,
        rotate_size: None,
        rotate_time: None,
        keep: 0,
        compress: false,
        colour: None,
        place: Place::new("here"),
    }));
    let (tell, told) = channel();
    let (go, may) = channel();
    let shared = sink.0.clone();
    let thread = std::thread::spawn(move || {
        let scribe: Option<Box<dyn Scribe>> = Some(Box::new(Fake { told: tell, may, writes: 0 }));
        Writer::new(&shared, scribe).run();
    });
    Rig { sink, told, go, thread }
}

fn session(sink: &Arc<Sink>) -> Tapped {
    let addr = |text: &str| text.parse().expect("an address");
    let facts = Facts {
        id: 7,
        client: addr("10.0.0.5:1000"),
        origin: addr("192.0.2.7:443"),
        name: None,
        target: "192.0.2.7:443".to_owned(),
        via: None,
        upstream: None,
        from_port: None,
        local_port: 8443,
    };
    Tapped::open(facts, vec![sink.clone()])
}

fn ending() -> Ending {
    Ending { end: End::Done, by: By::Client, error: None, up: 0, down: 0, lasted: Duration::ZERO }
}

impl Rig {
    fn next(&self) -> Told {
        self.told.recv_timeout(Duration::from_secs(30)).expect("a record")
    }

    fn end(self) -> Vec<Told> {
        drop(self.go);
        drop(self.sink);
        self.thread.join().expect("it has not panicked");
        self.told.iter().collect()
    }
}

#[test]
fn what_does_not_fit_is_counted_and_marked_where_it_is_missing() {
    let rig = rig(WhenFull::Drop, FACTS + 3 * RECORD + 10);
    let tapped = session(&rig.sink);
    tapped.copied(Dir::Up, b"first");
    tapped.copied(Dir::Up, b"too long, and so left out");
    tapped.copied(Dir::Up, b"me too");
    // the begin and the end of a session are no bytes that could fill a queue
    tapped.close(ending());
    let counts = rig.sink.counts();
    assert_eq!((counts.missed, counts.missed_bytes), (2, 31), "{counts:?}");
    drop(tapped);
    let told = rig.end();
    assert_eq!(told, [Told::Opened, Told::Bytes(b"first".into()), Told::Missed(2, 31), Told::Closed]);
}

#[test]
fn a_session_waits_for_room_and_is_woken_by_it() {
    let rig = rig(WhenFull::Wait, FACTS + 4 * RECORD);
    let tapped = session(&rig.sink);
    let (count, waker) = futures_count();
    let mut cx = Context::from_waker(&waker);
    assert!(tapped.poll_room(&mut cx).is_ready());
    for _ in 0..8 {
        tapped.copied(Dir::Up, b"x");
    }
    assert!(tapped.poll_room(&mut cx).is_pending());
    assert_eq!(count.load(Ordering::Relaxed), 0);
    let told = {
        let Rig { sink, told, go, thread } = rig;
        drop(go);
        eventually(|| count.load(Ordering::Relaxed) > 0);
        assert!(tapped.poll_room(&mut cx).is_ready());
        drop((sink, tapped));
        thread.join().expect("it has not panicked");
        told.iter().collect::<Vec<_>>()
    };
    assert_eq!(told.len(), 9, "nothing was left out: {told:?}");
}

#[test]
fn a_file_that_fails_costs_records_and_nothing_else() {
    let rig = rig(WhenFull::Drop, 1 << 20);
    let tapped = session(&rig.sink);
    rig.go.send(Ok(())).expect("it waits");
    assert_eq!(rig.next(), Told::Opened);
    // the second one is not tried before its time
    tapped.copied(Dir::Up, b"lost");
    tapped.copied(Dir::Up, b"lost too");
    rig.go.send(Err(io::ErrorKind::StorageFull.into())).expect("it waits");
    eventually(|| rig.sink.counts().failing);
    eventually(|| rig.sink.counts().missed == 2);
    std::thread::sleep(RETRY);
    tapped.copied(Dir::Up, b"kept");
    rig.go.send(Ok(())).expect("it waits");
    assert_eq!([rig.next(), rig.next()], [Told::Missed(2, 12), Told::Bytes(b"kept".into())]);
    eventually(|| !rig.sink.counts().failing);
    eventually(|| rig.sink.counts().written == 2);
    eventually(|| rig.sink.counts().queued == 0);
    drop(tapped);
    rig.end();
}

#[test]
fn what_a_file_has_cost_is_noted_at_the_end_without_waiting_for_the_next_try() {
    let rig = rig(WhenFull::Drop, 1 << 20);
    let tapped = session(&rig.sink);
    rig.go.send(Ok(())).expect("it waits");
    assert_eq!(rig.next(), Told::Opened);
    tapped.copied(Dir::Up, b"lost");
    rig.go.send(Err(io::ErrorKind::StorageFull.into())).expect("it waits");
    eventually(|| rig.sink.counts().failing);
    drop(tapped);
    assert_eq!(rig.end(), [Told::Missed(1, 4)]);
}

#[test]
fn what_did_not_fit_is_noted_where_no_further_record_comes() {
    let rig = rig(WhenFull::Drop, FACTS + 2 * RECORD + 10);
    let tapped = session(&rig.sink);
    tapped.copied(Dir::Up, &[b'x'; 100]);
    // the thread has not gone on yet
    assert_eq!(rig.sink.counts().missed, 1);
    rig.go.send(Ok(())).expect("it waits");
    assert_eq!([rig.next(), rig.next()], [Told::Opened, Told::Missed(1, 100)]);
    // and this one comes when it waits
    tapped.copied(Dir::Up, &[b'x'; 1000]);
    drop(tapped);
    assert_eq!(rig.end(), [Told::Missed(1, 1000)]);
}

#[test]
fn a_burst_leaves_no_memory_behind() {
    let rig = rig(WhenFull::Drop, 1 << 30);
    let tapped = session(&rig.sink);
    let places = || rig.sink.0.queue().entries.capacity();
    for _ in 0..100_000 {
        tapped.ended(Dir::Up);
    }
    assert!(places() > 50_000);
    for _ in 0..100_001 {
        rig.go.send(Ok(())).expect("it waits");
    }
    eventually(|| rig.sink.counts().queued == 0);
    eventually(|| places() <= 2 * PLACES);
    drop(tapped);
    rig.end();
}

#[test]
fn a_file_that_fails_for_long_hides_nothing_of_what_it_has_cost() {
    // the kernel's disk that is always full
    let rig = rig(WhenFull::Drop, 1 << 20);
    let settings = TapSettings { path: Some("/dev/full".into()), ..rig.sink.settings().clone() };
    rig.end();
    let sink = Arc::new(Sink::new(settings));
    sink.start().expect("a thread");
    let tapped = session(&sink);
    for missed in [1, 2] {
        tapped.copied(Dir::Up, b"lost");
        eventually(|| sink.counts().missed == missed);
        assert_eq!(sink.counts().written, 1, "its beginning needs no line");
        std::thread::sleep(RETRY);
    }
}

#[test]
fn where_sessions_wait_a_record_is_tried_until_it_is_written() {
    let rig = rig(WhenFull::Wait, 1 << 20);
    let tapped = session(&rig.sink);
    rig.go.send(Ok(())).expect("it waits");
    assert_eq!(rig.next(), Told::Opened);
    tapped.copied(Dir::Up, b"kept");
    rig.go.send(Err(io::ErrorKind::StorageFull.into())).expect("it waits");
    rig.go.send(Ok(())).expect("it waits");
    assert_eq!(rig.next(), Told::Bytes(b"kept".into()));
    assert_eq!(rig.sink.counts().missed, 0);
    drop(tapped);
    rig.end();
}

#[test]
fn where_sessions_wait_for_a_file_that_fails_it_can_be_opened_anew() {
    // a busy machine may hold one up
    assert!((0..5).any(|_| opened_anew() < RETRY), "it is tried at once");
}

/// How long it takes until a file that fails is opened anew, and the record written.
fn opened_anew() -> Duration {
    let rig = rig(WhenFull::Wait, 1 << 20);
    let tapped = session(&rig.sink);
    rig.go.send(Ok(())).expect("it waits");
    assert_eq!(rig.next(), Told::Opened);
    tapped.copied(Dir::Up, b"kept");
    rig.go.send(Err(io::ErrorKind::StorageFull.into())).expect("it waits");
    eventually(|| rig.sink.counts().failing);
    let start = Instant::now();
    rig.sink.reopen();
    assert_eq!(rig.next(), Told::Reopened);
    rig.go.send(Ok(())).expect("it waits");
    assert_eq!(rig.next(), Told::Bytes(b"kept".into()));
    let took = start.elapsed();
    drop(tapped);
    assert_eq!(rig.end(), []);
    took
}

#[test]
fn a_disk_that_hangs_costs_no_more_than_so_much_memory() {
    let most = (1 << 20) + SURPLUS;
    for when_full in [WhenFull::Drop, WhenFull::Wait] {
        let rig = rig(when_full, 1 << 20);
        let sessions = 2 * most / (2 * RECORD + FACTS);
        let (count, waker) = futures_count();
        for _ in 0..sessions {
            let tapped = session(&rig.sink);
            let _ = tapped.poll_room(&mut Context::from_waker(&waker));
            tapped.copied(Dir::Up, b"early");
            tapped.close(ending());
        }
        let counts = rig.sink.counts();
        assert!(counts.queued <= most && counts.missed > 0, "{counts:?}");
        let queue = rig.sink.0.queue();
        assert!(queue.missed.of.is_empty() && queue.waiting.is_empty(), "they are over");
        drop(queue);
        assert_eq!(count.load(Ordering::Relaxed), 0);
        let told = rig.end();
        let opened = told.iter().filter(|told| **told == Told::Opened).count();
        assert!(0 < opened && opened < sessions, "{opened}");
    }
}

#[test]
fn nobody_waits_for_a_thread_that_has_died() {
    let Rig { sink, told: _told, go, thread } = rig(WhenFull::Wait, 1 << 20);
    let tapped = session(&sink);
    tapped.copied(Dir::Up, &[0; 1 << 20]);
    let (count, waker) = futures_count();
    let mut cx = Context::from_waker(&waker);
    assert!(tapped.poll_room(&mut cx).is_pending());
    go.send(Err(io::Error::other("die"))).expect("it waits");
    assert!(thread.join().is_err());
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert!(tapped.poll_room(&mut cx).is_ready());
    tapped.copied(Dir::Up, b"nobody sees it");
    let counts = sink.counts();
    assert!(counts.failing && counts.queued == 0 && counts.missed_bytes >= 14, "{counts:?}");
}

#[test]
fn a_large_read_is_handed_over_and_a_small_one_copied() {
    let mut buffer = vec![7; 64 * 1024].into_boxed_slice();
    let before = buffer.as_ptr();
    let small = Chunk::take(&mut buffer, 100);
    assert_eq!((buffer.as_ptr(), &small[..]), (before, &[7; 100][..]));
    let large = Chunk::take(&mut buffer, 50_000);
    assert_eq!((large.as_ptr(), large.len()), (before, 50_000));
    assert_eq!(buffer.len(), 64 * 1024, "another one took its place");
    buffer.fill(9);
    assert!(large.iter().all(|byte| *byte == 7));
}

fn eventually(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not come about");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A waker that counts.
fn futures_count() -> (Arc<AtomicU64>, Waker) {
    struct Count(Arc<AtomicU64>);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let count = Arc::new(AtomicU64::new(0));
    (count.clone(), Arc::new(Count(count)).into())
}

#[test]
fn a_file_that_can_be_written_again_is_so_without_a_further_record() {
    let rig = rig(WhenFull::Drop, 1 << 20);
    let tapped = session(&rig.sink);
    rig.go.send(Err(io::ErrorKind::StorageFull.into())).expect("it waits");
    eventually(|| rig.sink.counts().failing);
    eventually(|| !rig.sink.counts().failing);
    assert_eq!(rig.next(), Told::Missed(1, 0), "what is missing is noted at once");
    drop(tapped);
    rig.end();
}
