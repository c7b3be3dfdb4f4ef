//! What happens: keys, answers, signals, all through one channel.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ratatui::crossterm::event::{self, KeyEvent, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::client::Client;
use super::facts::Snapshot;

/// Something that happened.
pub(super) enum Event {
    Key(KeyEvent),
    Paste(String),
    /// The terminal has another size.
    Size,
    /// With the place that it takes until somebody has looked at it.
    Answer(Box<Result<Snapshot, String>>, OwnedSemaphorePermit),
    /// What became of a kill, for people.
    Killed(String),
    /// By this signal.
    Stop(&'static str),
    /// Why nothing more can be typed.
    End(String),
}

/// Who asks the daemon, and hears keys and signals.
pub(super) struct Events {
    arriving: Receiver<Event>,
    kills: mpsc::UnboundedSender<u64>,
    pause: watch::Sender<bool>,
}

impl Events {
    /// Asks at once, and again after each interval.
    ///
    /// # Errors
    /// There is no runtime.
    pub(super) fn start(client: Client, interval: Duration) -> Result<Events, String> {
        let (sending, arriving) = channel();
        let (kills, killed) = mpsc::unbounded_channel();
        let (pause, paused) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("start the runtime: {error}"))?;
        let (keys, soon) = (sending.clone(), Arc::new(Notify::new()));
        std::thread::spawn(move || type_on(&keys));
        std::thread::spawn(move || {
            runtime.spawn(hear(sending.clone()));
            runtime.spawn(kill(client.clone(), killed, Arc::clone(&soon), sending.clone()));
            runtime.block_on(look(client, interval, paused, &soon, sending));
        });
        Ok(Events { arriving, kills, pause })
    }

    /// Waits for something to happen; then all that has happened since.
    pub(super) fn next(&self) -> Vec<Event> {
        let first = self.arriving.recv().unwrap_or_else(|_| Event::End("nobody listens any more".to_owned()));
        std::iter::once(first).chain(self.arriving.try_iter()).collect()
    }

    /// Kills a session; what became of it arrives later.
    pub(super) fn kill(&self, id: u64) {
        let _ = self.kills.send(id);
    }

    /// Asks no more, or at once.
    pub(super) fn pause(&self, paused: bool) {
        let _ = self.pause.send(paused);
    }
}

fn type_on(events: &Sender<Event>) {
    loop {
        let event = match event::read() {
            Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => Event::Key(key),
            Ok(event::Event::Paste(text)) => Event::Paste(text),
            Ok(event::Event::Resize(..)) => Event::Size,
            Ok(_) => continue,
            Err(error) => {
                let _ = events.send(Event::End(format!("read the terminal: {error}")));
                return;
            }
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

async fn look(
    client: Client,
    interval: Duration,
    mut paused: watch::Receiver<bool>,
    soon: &Notify,
    events: Sender<Event>,
) {
    // a terminal that takes nothing, as over a connection that hangs, must not let answers pile up
    let places = Arc::new(Semaphore::new(1));
    loop {
        let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
        let answer = client.sessions().await;
        if events.send(Event::Answer(Box::new(answer), place)).is_err() {
            return;
        }
        // going on after a pause, and what we did ourselves, are reasons to ask at once
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = soon.notified() => {}
            _ = paused.wait_for(|paused| *paused) => {}
        }
        if paused.wait_for(|paused| !*paused).await.is_err() {
            return;
        }
    }
}

async fn kill(client: Client, mut kills: mpsc::UnboundedReceiver<u64>, soon: Arc<Notify>, events: Sender<Event>) {
    while let Some(id) = kills.recv().await {
        let note = client.kill(id).await.unwrap_or_else(|why| format!("session {id} was not killed: {why}"));
        if events.send(Event::Killed(note)).is_err() {
            return;
        }
        soon.notify_one();
    }
}

async fn hear(events: Sender<Event>) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds.map(signal) else { return };
    let name = tokio::select! {
        _ = int.recv() => "SIGINT",
        _ = term.recv() => "SIGTERM",
        _ = hup.recv() => "SIGHUP",
    };
    let _ = events.send(Event::Stop(name));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::AdminAddr;

    #[tokio::test]
    async fn no_answer_is_asked_for_before_the_last_one_was_looked_at() {
        let admin = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let client = Client::new(AdminAddr::Tcp(admin.local_addr().expect("bound")));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = admin.accept().await.expect("it is asked");
                count.fetch_add(1, Ordering::Relaxed);
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").await;
            }
        });
        let (sending, arriving) = channel();
        let (_pause, paused) = watch::channel(false);
        tokio::spawn(async move { look(client, Duration::from_millis(5), paused, &Notify::new(), sending).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1, "nobody looks");
        while asked.load(Ordering::Relaxed) < 4 {
            drop(arriving.try_recv());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
