//! `/sessions`: who is connected, who failed, the upstreams and the limits, as JSON.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::House;
use super::json::Object;
use crate::close::End;
use crate::flow::{Known, Moved, Shown};
use crate::stats::Ended;

/// Bytes of a session that is written, more or less.
const ROW: usize = 400;

/// Writes all of it.
pub(super) fn shown(house: &House) -> String {
    let gateway = &house.gateway;
    let setup = gateway.setup();
    let now = Clocks::read();
    let (open, ended) = gateway.watch.as_ref().map(|w| (w.live.sessions(), w.live.ended())).unwrap_or_default();
    let mut out = String::with_capacity(ROW * (open.len() + ended.len() + 8));
    let mut all = Object::begin(&mut out);
    all.text("version", Some(env!("CARGO_PKG_VERSION")));
    all.text("instance", setup.config.instance());
    all.seconds("now", unix(now.wall));
    all.seconds("started", unix(now.wall_of(gateway.stats.started())));
    all.list("open", open, |shown, row| {
        session(row, &shown, &shown.known(), shown.moved(), now.wall_of(shown.started));
    });
    all.list("ended", ended, |ended, row| {
        let Ended { shown, known, moved, at, close } = &*ended;
        let began = at.1.checked_sub(at.0.duration_since(shown.started)).unwrap_or(UNIX_EPOCH);
        session(row, shown, known, *moved, began);
        row.seconds("ended", unix(at.1));
        row.text("end", Some(close.end));
        row.text("by", Some(close.by));
        row.text("error", close.error.as_deref());
    });
    totals(all.object("totals"), house);
    let standings = setup
        .upstreams
        .iter()
        .flat_map(|upstream| upstream.standings().into_iter().map(|standing| (upstream.name(), standing)));
    all.list("upstreams", standings, |(name, standing), row| {
        row.text("name", Some(name));
        row.text("proxy", Some(&standing.proxy));
        row.plain("up", standing.up);
        row.seconds("held_s", standing.held.as_secs_f64());
        row.text("why", standing.why.as_deref());
    });
    let mut limits = all.object("limits");
    limits.plain("sessions", (house.seats)().count);
    limits.plain("descriptors", house.descriptors);
    drop(limits);
    drop(all);
    out.push('\n');
    out
}

fn session(row: &mut Object<'_>, shown: &Shown, known: &Known, moved: Moved, began: SystemTime) {
    row.plain("id", shown.id);
    row.seconds("started", unix(began));
    row.text("client", Some(shown.client));
    row.text("origin", known.origin);
    row.text("name", known.name.as_ref().map(|name| &name.host));
    row.text("name_source", known.name.as_ref().map(|name| name.source));
    row.text("target", known.target());
    row.text("via", known.led.as_ref().map(|led| &led.via));
    row.text("route", known.led.as_ref().and_then(|led| led.route.as_deref()));
    row.text("upstream", known.upstream);
    row.text("stage", Some(known.stage));
    match known.status {
        Some(status) => row.plain("status", status),
        None => row.text("status", None::<&str>),
    }
    row.plain("requests", moved.requests);
    row.plain("up", moved.up);
    row.plain("down", moved.down);
}

fn totals(mut totals: Object<'_>, house: &House) {
    let stats = &house.gateway.stats;
    // those that end meanwhile count as open still
    let ended = End::ALL.map(|end| (end, stats.ended(end)));
    let (opened, closed) = (stats.opened(), ended.iter().map(|(_, count)| count).sum());
    totals.plain("opened", opened);
    totals.plain("open", opened.saturating_sub(closed));
    let mut ends = totals.object("ended");
    for (end, count) in ended {
        ends.plain(end.label(), count);
    }
    drop(ends);
    let [up, down] = house.gateway.watch.as_ref().map(|watch| watch.live.bytes()).unwrap_or_default();
    totals.plain("up", up);
    totals.plain("down", down);
}

/// The time of an answer, by both clocks: the one on the wall may be set at any time.
pub(super) struct Clocks {
    at: Instant,
    wall: SystemTime,
}

impl Clocks {
    /// This moment.
    pub(super) fn read() -> Clocks {
        Clocks { at: Instant::now(), wall: SystemTime::now() }
    }

    /// When that was.
    pub(super) fn wall_of(&self, at: Instant) -> SystemTime {
        self.wall.checked_sub(self.at.saturating_duration_since(at)).unwrap_or(UNIX_EPOCH)
    }
}

/// Seconds since 1970.
pub(super) fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}
