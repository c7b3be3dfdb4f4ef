//! Whether a loop still turns: it answers whoever asks while it waits for something else.

use std::pin::pin;

use tokio::sync::{mpsc, oneshot};

/// For the one who asks.
#[derive(Clone, Debug)]
pub(super) struct Finger(mpsc::Sender<oneshot::Sender<()>>);

/// For the loop.
#[derive(Debug)]
pub(super) struct Pulse(mpsc::Receiver<oneshot::Sender<()>>);

/// Both ends.
pub(super) fn pulse() -> (Finger, Pulse) {
    let (ask, asked) = mpsc::channel(1);
    (Finger(ask), Pulse(asked))
}

impl Finger {
    /// Waits until the loop answers: for ever if it hangs. `false`: it has ended.
    pub(super) async fn feel(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.is_ok() && answered.await.is_ok()
    }
}

impl Pulse {
    /// Waits, and answers meanwhile. What is waited for is dropped only together with this.
    pub(super) async fn beside<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            // not biased: a loop that always finds work answers too
            tokio::select! {
                done = &mut wait => return done,
                Some(asked) = self.0.recv() => {
                    let _ = asked.send(());
                }
            }
        }
    }
}
