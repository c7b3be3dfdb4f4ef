//! Negotiate (RFC 4559): Kerberos by the system's library. Its calls read files and ask the key distribution centre,
//! so they run where they may block.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::sys::gss::Context;

/// How many connections of an account may wait for the library at once: where no distribution centre answers, it
/// blocks for a long time, also when nobody wants to know any more, and threads are for all.
const AT_ONCE: usize = 16;

/// The threads that an account may block.
#[derive(Clone, Debug)]
pub(super) struct Threads(Arc<Semaphore>);

impl Default for Threads {
    fn default() -> Threads {
        Threads(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Threads {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let permit = self.0.clone().acquire_owned().await.expect("it is never closed");
        let work = move || {
            let outcome = work();
            drop(permit);
            outcome
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome.map_err(|why| format!("Kerberos: {why}")),
            Err(error) => Err(format!("Kerberos: {error}")),
        }
    }
}

/// A context that is being made.
pub(super) struct Negotiate {
    threads: Threads,
    /// Never shared; the lock makes the compiler see that.
    context: Mutex<Context>,
}

impl Negotiate {
    /// Begins with a service such as `HTTP@proxy.example`, as `principal` if that is not empty.
    pub(super) async fn begin(
        threads: &Threads,
        service: String,
        principal: String,
        keytab: Option<PathBuf>,
    ) -> Result<Negotiate, String> {
        let own = threads.clone();
        let begun = threads.run(move || {
            let context = Context::new(&service, &principal, keytab.as_deref())?;
            Ok(Negotiate { threads: own, context: Mutex::new(context) })
        });
        begun.await
    }

    /// The answer to a token; the first one answers nothing.
    pub(super) async fn step(mut self, token: Vec<u8>) -> Result<(Negotiate, Vec<u8>), String> {
        let threads = self.threads.clone();
        let step = threads.run(move || {
            // whether the proxy is who it says stays open: only its 407 would tell, and then there is no tunnel
            let (answer, _) = self.context.get_mut().unwrap_or_else(PoisonError::into_inner).step(&token)?;
            let answer = answer.ok_or("Negotiate: there is nothing more to say, and the proxy still asks")?;
            Ok((self, answer))
        });
        step.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn few_threads_are_blocked_however_many_wait_or_give_up() {
        static BLOCKED: AtomicUsize = AtomicUsize::new(0);
        let threads = Threads::default();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for _ in 0..3 * AT_ONCE {
            let wait = wait.clone();
            let work = threads.run(move || {
                BLOCKED.fetch_add(1, Ordering::Relaxed);
                let _ = wait.lock().unwrap_or_else(PoisonError::into_inner).recv();
                Ok(())
            });
            // they all give up, but the first ones block their threads
            assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
        }
        while BLOCKED.load(Ordering::Relaxed) < AT_ONCE {
            tokio::task::yield_now().await;
        }
        assert_eq!(BLOCKED.load(Ordering::Relaxed), AT_ONCE);
        drop(release);
        assert_eq!(threads.run(|| Ok(5)).await, Ok(5));
    }
}
