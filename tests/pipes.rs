//! The pool of pipes. Its limit is the process's, so it has a process, and one test, of its own.

use std::time::{Duration, Instant};

use handyproxy::sys::pipe::{Pipe, allow};

fn pipe_ends() -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").expect("proc");
    let links = fds.filter_map(|fd| std::fs::read_link(fd.expect("an entry").path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
}

#[tokio::test]
async fn pipes_are_limited_used_again_and_closed_when_nobody_needs_them() {
    let before = pipe_ends();
    assert!(Pipe::lend().is_none(), "lent although nothing was allowed");
    allow(2);
    let first = Pipe::lend().expect("one of two");
    let second = Pipe::lend().expect("two of two");
    assert!(Pipe::lend().is_none(), "lent more than allowed");
    first.give_back();
    Pipe::lend().expect("the one given back").give_back();
    drop(second);
    assert_eq!(pipe_ends(), before + 2);
    let start = Instant::now();
    while pipe_ends() > before {
        assert!(start.elapsed() < Duration::from_secs(60), "kept although nobody needs it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
