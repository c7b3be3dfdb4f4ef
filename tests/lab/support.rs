//! What a test of the lab is written with: one small file for each thing on the stage.
//!
//! Every step that waits has a deadline, so that no test can hang: a step that is not over in `PATIENCE` fails its test.

pub mod challenge;
pub mod daemon;
pub mod folder;
pub mod head;
pub mod hello;
pub mod journal;
pub mod kind;
pub mod manager;
pub mod netns;
pub mod pace;
pub mod random;
pub mod scene;
pub mod topology;
pub mod upstream;
pub mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The longest that any single step of a test may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What "at once" means, by the [`pace`] of the machine; the timeouts that it is told from are seconds.
pub const AT_ONCE: Duration = Duration::from_millis(900);

/// Waits for something that has no event of its own, such as a descriptor count; until then it says what it sees instead.
pub fn eventually<T>(look: impl FnMut() -> Result<T, String>) -> T {
    in_time(PATIENCE, look)
}

/// The same for what takes longer than a step of a test, such as the start of a large program.
pub fn in_time<T>(patience: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(it) => return it,
            Err(seen) => assert!(start.elapsed() < patience, "after {patience:?}: {seen}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a check for every row of a table and names each row that fails, not only the first. After three it stops: what is
/// broken for all rows would take the deadline of each.
pub fn each_row<R>(rows: &[R], name: impl Fn(&R) -> String, mut check: impl FnMut(&R)) {
    assert!(!rows.is_empty(), "a table without rows proves nothing");
    let mut failed = Vec::new();
    for row in rows {
        if failed.len() == 3 {
            break;
        }
        if catch_unwind(AssertUnwindSafe(|| check(row))).is_err() {
            eprintln!("^ row: {}", name(row));
            failed.push(name(row));
        }
    }
    assert!(failed.is_empty(), "rows failed: {}", failed.join(" | "));
}
