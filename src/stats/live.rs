//! The table of sessions: those that are open, and the last that did not end well.
//!
//! It is in parts with a lock each, so that whoever reads all of it holds nobody up. Bytes of a session are moved from
//! the open to the ended under its part's lock: their sum never falls.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::task::AbortHandle;

use crate::close::{Close, End};
use crate::flow::{Flow, Known, Moved, Shown};

/// So many locks.
const PARTS: usize = 16;
/// So many sessions that ended badly are remembered.
const REMEMBERED: usize = 200;

/// The table.
#[derive(Debug, Default)]
pub struct Live {
    parts: [Mutex<Part>; PARTS],
    ended: Mutex<VecDeque<Arc<Ended>>>,
}

#[derive(Debug, Default)]
struct Part {
    open: HashMap<u64, Open>,
    /// Bytes of those that have ended.
    up: u64,
    down: u64,
}

#[derive(Debug)]
struct Open {
    shown: Arc<Shown>,
    task: Option<AbortHandle>,
}

/// A session that did not end well.
#[derive(Debug)]
pub struct Ended {
    /// What was shown of it last.
    pub shown: Arc<Shown>,
    /// What was known of it at the end.
    pub known: Known,
    /// What it had moved.
    pub moved: Moved,
    /// When it ended: by the clock that only goes on, and by the one on the wall.
    pub at: (Instant, SystemTime),
    /// How.
    pub close: Close,
}

impl Live {
    /// A session begins.
    pub fn open(&self, flow: &mut Flow) {
        let shown = flow.show_to_others();
        self.part(flow.id).open.insert(flow.id, Open { shown, task: None });
    }

    /// Its task runs, and may be over by now.
    pub fn bind(&self, id: u64, task: AbortHandle) {
        if let Some(open) = self.part(id).open.get_mut(&id) {
            // somebody may have been faster
            if open.shown.is_killed() {
                task.abort();
            }
            open.task = Some(task);
        }
    }

    /// A session has ended.
    pub fn close(&self, flow: &Flow, close: &Close) {
        let mut part = self.part(flow.id);
        let open = part.open.remove(&flow.id);
        part.up += flow.up;
        part.down += flow.down;
        drop(part);
        let Some(open) = open.filter(|_| close.end != End::Done) else { return };
        let ended = Ended {
            shown: open.shown,
            known: flow.known(),
            moved: Moved { requests: flow.requests, up: flow.up, down: flow.down },
            at: (Instant::now(), SystemTime::now()),
            close: close.clone(),
        };
        let mut all = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        all.truncate(REMEMBERED - 1);
        all.push_front(Arc::new(ended));
    }

    /// Cuts a session; whether there is one of this number.
    pub fn kill(&self, id: u64) -> bool {
        let part = self.part(id);
        let Some(open) = part.open.get(&id) else { return false };
        open.shown.kill();
        if let Some(task) = &open.task {
            task.abort();
        }
        true
    }

    /// Those that are open, in the order in which they began.
    pub fn sessions(&self) -> Vec<Arc<Shown>> {
        let mut all: Vec<Arc<Shown>> = Vec::new();
        for part in &self.parts {
            all.extend(lock(part).open.values().map(|open| open.shown.clone()));
        }
        all.sort_unstable_by_key(|shown| shown.id);
        all
    }

    /// The last that did not end well, newest first.
    pub fn ended(&self) -> Vec<Arc<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// All bytes so far, up and down.
    pub fn bytes(&self) -> [u64; 2] {
        let mut bytes = [0; 2];
        for part in &self.parts {
            let part = lock(part);
            bytes[0] += part.up;
            bytes[1] += part.down;
            for open in part.open.values() {
                let moved = open.shown.moved();
                bytes[0] += moved.up;
                bytes[1] += moved.down;
            }
        }
        bytes
    }

    fn part(&self, id: u64) -> MutexGuard<'_, Part> {
        lock(&self.parts[(id % PARTS as u64) as usize])
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::{By, Stage};
    use std::time::Duration;

    fn session(live: &Live) -> Flow {
        let mut flow = Flow::new("192.0.2.1:1".parse().expect("an address"));
        live.open(&mut flow);
        flow
    }

    #[test]
    fn bytes_count_while_a_session_lasts_and_afterwards_once() {
        let live = Live::default();
        let (mut one, mut other) = (session(&live), session(&live));
        one.moved(5, 7);
        other.moved(1, 1);
        assert_eq!(live.bytes(), [6, 8]);
        one.moved(6, 9);
        live.close(&one, &Close::new(End::Done, By::Client));
        assert_eq!(live.bytes(), [7, 10]);
        other.moved(2, 1);
        assert_eq!(live.bytes(), [8, 10]);
        assert_eq!(live.sessions().len(), 1);
        assert!(live.ended().is_empty(), "it ended well");
    }

    #[test]
    fn the_sum_never_falls_while_sessions_end() {
        let live = Arc::new(Live::default());
        let ending = live.clone();
        let thread = std::thread::spawn(move || {
            for _ in 0..2000 {
                let mut flow = session(&ending);
                flow.moved(3, 4);
                ending.close(&flow, &Close::new(End::Idle, By::Us));
            }
        });
        let mut last = [0; 2];
        while !thread.is_finished() {
            let now = live.bytes();
            assert!(now[0] >= last[0] && now[1] >= last[1], "{last:?} and then {now:?}");
            last = now;
        }
        thread.join().expect("it has ended");
        assert_eq!(live.bytes(), [6000, 8000]);
    }

    #[test]
    fn the_last_that_ended_badly_are_remembered_newest_first() {
        let live = Live::default();
        let mut last = 0;
        for _ in 0..REMEMBERED + 50 {
            let mut flow = session(&live);
            flow.reach(Stage::Dial);
            last = flow.id;
            live.close(&flow, &Close::because(End::Dial, By::Upstream, "as asked"));
        }
        let ended = live.ended();
        assert_eq!(ended.len(), REMEMBERED);
        assert_eq!(ended[0].shown.id, last);
        assert!(ended[1].shown.id < last);
        assert_eq!(ended[0].known.stage, Stage::Dial);
        assert!(live.sessions().is_empty());
    }

    #[tokio::test]
    async fn a_session_is_cut_whether_its_task_is_known_by_then_or_not() {
        let live = Live::default();
        for early in [true, false] {
            let flow = session(&live);
            let task = tokio::spawn(tokio::time::sleep(Duration::from_secs(3600)));
            if early {
                assert!(live.kill(flow.id));
            }
            live.bind(flow.id, task.abort_handle());
            if !early {
                assert!(live.kill(flow.id));
            }
            assert!(task.await.expect_err("it was cut").is_cancelled());
            assert!(flow.is_killed());
        }
        assert!(!live.kill(u64::MAX), "there is none of this number");
    }
}
