//! Sends what came from the clients again: a connection per session, at the times of the record, or faster.
//!
//! A connection is begun with its session. It is half-closed when the client did that, where the file tells, or when
//! nothing more of the session is recorded and as much was answered as then; a server that answers less is given some
//! seconds. The trap: of a log from a pipe it is not known what comes, so its connections stay open to the end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::show::{Session, Show};
use super::source::{self, Source};
use super::words::{Replay, Wishes};
use super::{Complaints, Sessions};
use crate::format::{Dir, Entry, Item, Told};
use crate::sys::limits;

/// How long a connection may take to be open.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may take nothing.
const STALL: Duration = Duration::from_secs(30);
/// How long a server may say nothing before its connection is half-closed, and then before it is closed.
const QUIET: Duration = Duration::from_secs(5);
/// Records of a session that wait to be sent.
const WAITING: usize = 64;
/// Nothing is waited for any longer: a clock has an end.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Replays the files; whether all went well.
///
/// # Errors
/// Stdout cannot be written.
pub(super) fn run<W: Write + Send + 'static>(wishes: &Wishes, replay: &Replay, show: Show<W>) -> io::Result<bool> {
    // with what the soft limit allows, sessions that overlap may be too many
    let _ = limits::raise_descriptors();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("handyproxy: cat: start the runtime: {error}");
            return Ok(false);
        }
    };
    let stage = Arc::new(Stage {
        replay: replay.clone(),
        shown: [Dir::Up, Dir::Down].map(|dir| wishes.wants(dir)),
        show: Mutex::new((show, None)),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    });
    let well = runtime.block_on(play(wishes, &stage));
    runtime.shutdown_background();
    let mut shown = stage.show.lock().unwrap_or_else(PoisonError::into_inner);
    match shown.1.take() {
        Some(error) => Err(error),
        None => shown.0.flush().map(|()| well),
    }
}

/// What all connections share.
struct Stage<W: Write> {
    replay: Replay,
    /// Whether what is sent is shown, and what is answered.
    shown: [bool; 2],
    /// With why it does not work any more.
    show: Mutex<(Show<W>, Option<io::Error>)>,
    sent: AtomicU64,
    received: AtomicU64,
    failed: AtomicU64,
}

/// For a connection.
enum Piece {
    Bytes(Vec<u8>),
    /// Nothing more is sent. So much was answered until then.
    End(u64),
}

/// What was answered.
#[derive(Debug, Default)]
struct Heard {
    bytes: u64,
    ended: bool,
    error: Option<io::Error>,
}

/// A connection that is fed.
struct Lane {
    pieces: mpsc::Sender<Piece>,
    /// Bytes that the server had sent when this was recorded.
    answered: u64,
}

/// Reads all files, and feeds their sessions when it is time; whether all went well.
async fn play<W: Write + Send + 'static>(wishes: &Wishes, stage: &Arc<Stage<W>>) -> bool {
    let mut left = count(wishes);
    let mut lanes: HashMap<u64, Lane> = HashMap::new();
    let mut over = HashSet::new();
    let mut tasks = JoinSet::new();
    let mut sessions = Sessions::default();
    let mut begin = None;
    let mut well = true;
    for name in &wishes.files {
        let mut reading = Reading::open(name, Complaints::default());
        while let Some(entry) = reading.next() {
            if !wishes.names(entry.client) {
                continue;
            }
            let (session, _) = sessions.of(&entry);
            if over.contains(&session.number) {
                continue;
            }
            let (first, start) = *begin.get_or_insert((entry.at, Instant::now()));
            sleep_until(start + stage.replay.after(entry.at.saturating_sub(first))).await;
            if stage.is_gone() {
                return well;
            }
            let lane = lanes.entry(session.number).or_insert_with(|| {
                let (pieces, fed) = mpsc::channel(WAITING);
                tasks.spawn(stage.clone().lane(session, fed));
                Lane { pieces, answered: 0 }
            });
            let mut is_over = false;
            match entry.what {
                // of a lane that has failed it was told why
                Told::Bytes(Dir::Up, bytes) => drop(lane.pieces.send(Piece::Bytes(bytes)).await),
                Told::Bytes(Dir::Down, bytes) => lane.answered += bytes.len() as u64,
                Told::Ended(dir) => is_over = dir == Dir::Up,
                Told::Opened { .. } => {}
            }
            if let Some(left) = left.as_mut().and_then(|left| left.get_mut(&session.number)) {
                *left -= 1;
                is_over |= *left == 0;
            }
            if is_over {
                over.insert(session.number);
                end(lanes.remove(&session.number)).await;
            }
        }
        well &= reading.complaints.end(source::called(name));
    }
    let unfinished = lanes.len();
    for (_, lane) in lanes {
        end(Some(lane)).await;
    }
    while tasks.join_next().await.is_some() {}
    stage.report(over.len() + unfinished);
    well && stage.failed.load(Ordering::Relaxed) == 0
}

async fn end(lane: Option<Lane>) {
    if let Some(Lane { pieces, answered }) = lane {
        let _ = pieces.send(Piece::End(answered)).await;
    }
}

/// How many entries each session has, where all files can be read twice.
fn count(wishes: &Wishes) -> Option<HashMap<u64, u64>> {
    let again = |name: &String| name != "-" && fs::metadata(name).is_ok_and(|it| it.is_file());
    if !wishes.files.iter().all(again) {
        return None;
    }
    let mut sessions = Sessions::default();
    let mut counts = HashMap::new();
    for name in &wishes.files {
        let mut reading = Reading::open(name, Complaints::silent());
        while let Some(entry) = reading.next() {
            if wishes.names(entry.client) {
                *counts.entry(sessions.of(&entry).0.number).or_insert(0) += 1;
            }
        }
    }
    Some(counts)
}

/// A file, entry by entry.
struct Reading<'a> {
    name: &'a str,
    source: Option<Source>,
    /// What it told of its end.
    last: VecDeque<Item>,
    buffer: Vec<u8>,
    complaints: Complaints,
}

impl Reading<'_> {
    fn open(name: &str, mut complaints: Complaints) -> Reading<'_> {
        let source = Source::open(name);
        let name = source::called(name);
        let source = source.inspect_err(|error| complaints.unreadable(name, error)).ok();
        Reading { name, source, last: VecDeque::new(), buffer: Vec::new(), complaints }
    }

    fn next(&mut self) -> Option<Entry> {
        loop {
            let item = match &mut self.source {
                Some(source) => source.next(),
                None => Some(self.last.pop_front()?),
            };
            if let Some(item) = item {
                match self.complaints.sift(self.name, item) {
                    Some(entry) => return Some(entry),
                    None if self.complaints.is_foreign => return None,
                    None => continue,
                }
            }
            let source = self.source.as_mut()?;
            let more = source.fill(&mut self.buffer);
            let more = more.unwrap_or_else(|error| {
                self.complaints.unreadable(self.name, &error);
                false
            });
            if !more {
                self.last = source.finish().into();
                self.source = None;
            }
        }
    }
}

impl Replay {
    /// When that is due which was recorded so many nanoseconds behind the first record.
    fn after(&self, nanos: u64) -> Duration {
        if self.speed == 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(nanos as f64 / 1e9 / self.speed).unwrap_or(FOREVER).min(FOREVER)
    }
}

impl<W: Write + Send + 'static> Stage<W> {
    /// A connection, from its beginning to its end.
    async fn lane(self: Arc<Self>, session: Session, pieces: mpsc::Receiver<Piece>) {
        if let Err(why) = self.talk(session, pieces).await {
            self.failed.fetch_add(1, Ordering::Relaxed);
            eprintln!("handyproxy: cat: session {} of {}: {why}", session.number, session.client);
        }
    }

    async fn talk(self: &Arc<Self>, session: Session, mut pieces: mpsc::Receiver<Piece>) -> Result<(), String> {
        let Replay { host, port, .. } = &self.replay;
        let connected = match timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let stream = connected.map_err(|error| format!("connect to {host}:{port}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (from, mut to) = stream.into_split();
        let (tell, mut heard) = watch::channel(Heard::default());
        let listener = tokio::spawn(self.clone().listen(session, from, tell));
        let outcome = self.send(session, &mut to, &mut pieces, &mut heard).await;
        let answered = match outcome {
            Ok(answered) => {
                quiet(&mut heard, |_| false).await;
                Ok(answered)
            }
            failed => failed,
        };
        listener.abort();
        let heard = heard.borrow();
        match (&heard.error, answered) {
            // once all is said a reset is how some servers hang up
            (Some(error), Ok(answered)) if heard.bytes < answered => Err(format!("read the answer: {error}")),
            (_, outcome) => outcome.map(drop),
        }
    }

    /// Sends what is to be sent, then the end; returns how much was to be answered.
    async fn send(
        &self,
        session: Session,
        to: &mut OwnedWriteHalf,
        pieces: &mut mpsc::Receiver<Piece>,
        heard: &mut watch::Receiver<Heard>,
    ) -> Result<u64, String> {
        while let Some(piece) = pieces.recv().await {
            let bytes = match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::End(answered) => {
                    quiet(heard, |heard| heard.bytes >= answered).await;
                    // a server that has gone away needs no end
                    let _ = to.shutdown().await;
                    return Ok(answered);
                }
            };
            self.show(session, Dir::Up, &bytes);
            match timeout(STALL, to.write_all(&bytes)).await {
                Ok(wrote) => wrote.map_err(|error| format!("send: {error}"))?,
                Err(_) => return Err(format!("send: the server took nothing for {} s", STALL.as_secs())),
            }
            self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(0)
    }

    /// Reads answers until there are no more.
    async fn listen(self: Arc<Self>, session: Session, mut from: OwnedReadHalf, tell: watch::Sender<Heard>) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).await;
            let length = *read.as_ref().unwrap_or(&0);
            self.show(session, Dir::Down, &buffer[..length]);
            self.received.fetch_add(length as u64, Ordering::Relaxed);
            tell.send_modify(|heard| {
                heard.bytes += length as u64;
                heard.ended = length == 0;
                heard.error = read.err();
            });
            if length == 0 {
                return;
            }
        }
    }

    /// Shows what has just passed, if that is wished.
    fn show(&self, session: Session, dir: Dir, bytes: &[u8]) {
        if bytes.is_empty() || !self.shown[usize::from(dir == Dir::Down)] {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut shown = self.show.lock().unwrap_or_else(PoisonError::into_inner);
        let (show, gone) = &mut *shown;
        if gone.is_none() {
            *gone = show.record(at, session, dir, bytes).and_then(|()| show.flush()).err();
        }
    }

    fn is_gone(&self) -> bool {
        self.show.lock().unwrap_or_else(PoisonError::into_inner).1.is_some()
    }

    fn report(&self, sessions: usize) {
        let Replay { host, port, .. } = &self.replay;
        let [sent, received, failed] = [&self.sent, &self.received, &self.failed].map(|it| it.load(Ordering::Relaxed));
        eprintln!(
            "handyproxy: cat: {sessions} sessions to {host}:{port}: {sent} bytes sent, {received} answered; {failed} failed"
        );
    }
}

/// Waits until that holds, the answer has ended, or nothing has come for a while.
async fn quiet(heard: &mut watch::Receiver<Heard>, enough: impl Fn(&Heard) -> bool) {
    loop {
        let is_over = {
            let heard = heard.borrow_and_update();
            heard.ended || enough(&heard)
        };
        if is_over || !matches!(timeout(QUIET, heard.changed()).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_file_and_the_speed_say_there_is_a_clock_for_it() {
        let after = |speed: f64, nanos: u64| Replay { host: String::new(), port: 1, speed }.after(nanos);
        assert_eq!(after(2.0, 3_000_000_000), Duration::from_millis(1500));
        assert_eq!(after(0.0, u64::MAX), Duration::ZERO);
        for (speed, nanos) in [(f64::MIN_POSITIVE, 1), (1e-9, u64::MAX), (1.0, u64::MAX)] {
            assert!(after(speed, nanos) <= FOREVER);
            // would panic if it were too late for it
            let _ = Instant::now() + after(speed, nanos);
        }
    }
}
