//! `handyproxy top`: the sessions of a running daemon, live; asks its admin, and changes nothing but to kill a session.

mod client;
mod columns;
mod desk;
mod events;
mod facts;
mod keys;
mod once;
mod pages;
mod place;
mod table;
mod terminal;
mod text;
mod view;

use std::process::ExitCode;
use std::time::Duration;

use super::{doctor, say, wait_for};
use crate::config::{AdminAddr, Top};
use client::Client;
use desk::Desk;
use events::{Event, Events};
use keys::Wish;
use place::Lost;
use terminal::Window;

/// How often to look, unless that is said.
const INTERVAL: Duration = Duration::from_secs(2);

/// Looks, once or until somebody has seen enough. 0 is fine, 1 could not, 2 bad usage.
pub(super) fn run(how: &Top) -> ExitCode {
    let outcome = match place::find(how, doctor::instances) {
        Ok(addr) if how.once => once(addr, how.interval),
        Ok(addr) => live(addr, how.interval.unwrap_or(INTERVAL)),
        Err(Lost::File(mistakes)) => {
            mistakes.iter().for_each(|mistake| eprintln!("handyproxy: top: {mistake}"));
            return ExitCode::from(2);
        }
        Err(Lost::Nowhere(why)) => Err(why),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("handyproxy: top: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Prints one look; with an interval a second one after it, so that rates are known.
fn once(addr: AdminAddr, interval: Option<Duration>) -> Result<(), String> {
    let client = Client::new(addr);
    let snapshot = wait_for(async {
        let first = client.sessions().await?;
        let Some(interval) = interval else { return Ok(first) };
        tokio::time::sleep(interval).await;
        let mut second = client.sessions().await?;
        second.compare(&first);
        Ok::<_, String>(second)
    })??;
    say(&once::text(&snapshot));
    Ok(())
}

fn live(addr: AdminAddr, interval: Duration) -> Result<(), String> {
    let client = Client::new(addr);
    let mut desk = Desk::new(client.place());
    let mut window = Window::open()?;
    let events = Events::start(client, interval)?;
    loop {
        window.draw(&mut desk)?;
        for event in events.next() {
            let wish = match event {
                Event::Key(key) => desk.press(key),
                Event::Paste(text) => {
                    desk.paste(&text);
                    Wish::Nothing
                }
                Event::Size => Wish::Nothing,
                Event::Answer(answer, _place) => {
                    desk.take(*answer);
                    Wish::Nothing
                }
                Event::Killed(note) => {
                    desk.note = Some(note);
                    Wish::Nothing
                }
                Event::Stop(signal) => return Err(format!("stopped by {signal}")),
                Event::End(why) => return Err(why),
            };
            match wish {
                Wish::Nothing => {}
                Wish::Quit => return Ok(()),
                Wish::Redraw => window.forget()?,
                Wish::Pause(paused) => events.pause(paused),
                Wish::Kill(session) => events.kill(session.id),
            }
        }
    }
}
