//! Which sessions are written down, by which taps.

use std::sync::Arc;

use tokio::net::TcpStream;

use crate::config::{Config, DialBy, Route, TapSettings, Via};
use crate::flow::Flow;
use crate::format::Facts;
use crate::route::Routes;
use crate::tap::{Sink, Tapped};

/// The taps of the settings.
#[derive(Debug, Default)]
pub(super) struct Taps(Vec<Tap>);

#[derive(Debug)]
struct Tap {
    sink: Arc<Sink>,
    /// Leads directly what it wants.
    wanted: Routes,
}

impl Taps {
    /// Those that the settings describe; opens nothing. One of `old` that writes the same goes on.
    pub(super) fn new(config: &Config, old: Option<&Taps>) -> Taps {
        let mut taps: Vec<Tap> = Vec::with_capacity(config.taps.len());
        for settings in &config.taps {
            let written = old.into_iter().flat_map(|old| &old.0).map(|tap| &tap.sink);
            // two that write the same stay two: one that both want would have each record twice
            let is_free = |sink: &&Arc<Sink>| !taps.iter().any(|tap| Arc::ptr_eq(&tap.sink, sink));
            let same = written.clone().filter(is_free).find(|sink| is_as(sink.settings(), settings)).cloned();
            let sink = same.unwrap_or_else(|| {
                // what was written until now is not to be emptied by a reload
                let goes_on = written.map(|sink| sink.settings()).any(|old| old.path == settings.path);
                Arc::new(Sink::new(TapSettings { append: settings.append || goes_on, ..settings.clone() }))
            });
            taps.push(Tap { sink, wanted: wanted(settings) });
        }
        Taps(taps)
    }

    /// Who writes.
    pub(super) fn sinks(&self) -> impl Iterator<Item = &Arc<Sink>> {
        self.0.iter().map(|tap| &tap.sink)
    }

    /// Tells those who want the session that it begins; `stream` is its connection to the outside, if it has one.
    pub(super) fn open(&self, flow: &Flow, stream: Option<&TcpStream>, local_port: u16) -> Option<Tapped> {
        if self.0.is_empty() {
            return None;
        }
        let origin = flow.origin?;
        let name = flow.name.as_ref().map(|name| &name.host);
        let wants = |tap: &&Tap| tap.wanted.decide(flow.client.ip(), origin, name).via == Via::Direct;
        let sinks: Vec<_> = self.0.iter().filter(wants).map(|tap| tap.sink.clone()).collect();
        if sinks.is_empty() {
            return None;
        }
        let facts = Facts {
            id: flow.id,
            client: flow.client,
            origin,
            name: flow.name.clone(),
            target: flow.target().map(|target| target.to_string()).unwrap_or_default(),
            via: flow.led.as_ref().map(|led| led.via.clone()),
            upstream: flow.upstream,
            from_port: stream.and_then(|stream| stream.local_addr().ok()).map(|addr| addr.port()),
            local_port,
        };
        Some(Tapped::open(facts, sinks))
    }
}

/// Whether it would write the same; whom it wants may change while it writes.
fn is_as(one: &TapSettings, other: &TapSettings) -> bool {
    let TapSettings { from, to, place, append, .. } = one.clone();
    *one == TapSettings { from, to, place, append, ..other.clone() }
}

fn wanted(settings: &TapSettings) -> Routes {
    let route = Route {
        from: settings.from.clone(),
        to: settings.to.clone(),
        via: Via::Direct,
        dial: DialBy::Name,
        verify_name: false,
        place: settings.place.clone(),
    };
    Routes::new(&[route], Via::Reject, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Command;

    #[test]
    fn two_taps_that_write_the_same_stay_two_when_settings_are_read_again() {
        let words = "-upstream-proxy 192.0.2.1:3128 -tap dump:/nowhere/ -tap dump:/nowhere/ -tap hexlog:/nowhere/log";
        let config = match Command::parse(words.split(' ').map(str::to_owned)) {
            Ok(Command::Run(config)) => *config,
            other => panic!("{other:?}"),
        };
        let old = Taps::new(&config, None);
        let new = Taps::new(&config, Some(&old));
        assert_eq!(new.0.len(), 3);
        let goes_on = |(old, new): (&Tap, &Tap)| Arc::ptr_eq(&old.sink, &new.sink);
        assert!(old.0.iter().zip(&new.0).all(goes_on), "each goes on");
        assert!(!Arc::ptr_eq(&new.0[0].sink, &new.0[1].sink));
    }
}
