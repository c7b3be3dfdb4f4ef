//! File systems, asked with a time limit: one whose server is gone would hold who asks for ever.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// How long an answer may take: something may have to be mounted first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Places that gave no answer: they are not asked again.
static SILENT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Asks something about a place.
///
/// # Errors
/// Those of the question, and that there is no answer in time.
pub(super) fn ask<T: Send + 'static>(place: &Path, question: fn(&Path) -> Result<T>) -> Result<T> {
    let late = || Error::new(ErrorKind::TimedOut, format!("no answer within {}s", PATIENCE.as_secs()));
    let silent = || SILENT.lock().unwrap_or_else(PoisonError::into_inner);
    if silent().contains(place) {
        return Err(late());
    }
    let (tell, told) = mpsc::channel();
    let asked = place.to_owned();
    // it ends with the process
    thread::spawn(move || tell.send(question(&asked)));
    told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        silent().insert(place.to_owned());
        Err(late())
    })
}
