//! What is measured of every session, once, when it ends: times by stage and upstream, names by scanner, failures.
//!
//! Labels are words of ours or names of the settings, never what a client or an origin says: their number has a bound.
//! So has that of statuses, which the upstream chooses.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::addr::Source;
use crate::close::{By, Close, End, Stage, Weight};
use crate::flow::{Flow, Span};

/// Bounds of the buckets of all times, in seconds: a fast proxy next door, to the longest that anybody waits.
const BUCKETS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Statuses that stand for themselves; others are counted by their class.
const STATUSES: [(u16, &str); 22] = [
    (200, "200"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (407, "407"),
    (408, "408"),
    (410, "410"),
    (413, "413"),
    (414, "414"),
    (421, "421"),
    (429, "429"),
    (431, "431"),
    (451, "451"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (511, "511"),
];
/// Who ends sessions, in the order of their numbers.
const BYS: [By; 3] = [By::Client, By::Upstream, By::Us];

/// One word of ours.
type Word = [(&'static str, &'static str); 1];
/// The name of an upstream.
type Way = [(&'static str, String); 1];
type Times = Family<Way, Histogram, fn() -> Histogram>;

/// Everything that is measured.
#[derive(Clone, Debug)]
pub struct Metrics {
    closed: std::sync::Arc<[[AtomicU64; BYS.len()]; End::ALL.len()]>,
    sniffed: Family<Word, Counter>,
    sniff: Histogram,
    dial: Times,
    tls: Times,
    connect: Times,
    set_up: Times,
    failures: Family<[(&'static str, String); 4], Counter>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let times = || Times::new_with_constructor(histogram);
        let metrics = Metrics {
            closed: std::sync::Arc::default(),
            sniffed: Family::default(),
            sniff: histogram(),
            dial: times(),
            tls: times(),
            connect: times(),
            set_up: times(),
            failures: Family::default(),
        };
        // what has not happened is 0, not absent
        for source in [Source::Sni, Source::SniOuter, Source::HostField, Source::Authority, Source::Dns] {
            drop(metrics.sniffed.get_or_create(&[("scanner", scanner(Some(source)))]));
        }
        drop(metrics.sniffed.get_or_create(&[("scanner", scanner(None))]));
        metrics
    }
}

impl Metrics {
    /// Adds what is measured to what is told.
    pub fn register(&self, registry: &mut Registry) {
        let Metrics { closed: _, sniffed, sniff, dial, tls, connect, set_up, failures } = self.clone();
        let seconds = || Unit::Seconds;
        registry.register("sniffed", "Sessions by what told their name; none: first bytes without a name", sniffed);
        registry.register_with_unit("sniff", "From accept to the verdict on the first bytes", seconds(), sniff);
        registry.register_with_unit(
            "dial",
            "Time of connections to an upstream, or to an origin without one",
            seconds(),
            dial,
        );
        registry.register_with_unit("tls_handshake", "Time of TLS handshakes with an upstream", seconds(), tls);
        registry.register_with_unit("connect", "From CONNECT to its answer, a refusal included", seconds(), connect);
        registry.register_with_unit(
            "setup",
            "From accept to the open way, waiting for a name included",
            seconds(),
            set_up,
        );
        registry.register("failures", "Sessions that failed, by stage, end and status of the upstream", failures);
    }

    /// There is this upstream: what it has not done yet is 0, not absent.
    pub fn expect(&self, upstream: &str) {
        let way: Way = [("upstream", upstream.to_owned())];
        for times in [&self.dial, &self.tls, &self.connect, &self.set_up] {
            drop(times.get_or_create(&way));
        }
    }

    /// A session has ended, on its way through this upstream.
    pub fn observe(&self, flow: &Flow, close: &Close, upstream: &str) {
        self.closed[close.end as usize][close.by as usize].fetch_add(1, Ordering::Relaxed);
        let source = flow.name.as_ref().map(|name| name.source);
        if flow.sniff.is_some() || source.is_some() {
            self.sniffed.get_or_create(&[("scanner", scanner(source))]).inc();
        }
        if let Some(span) = flow.sniff {
            self.sniff.observe(span.seconds());
        }
        let way: Way = [("upstream", upstream.to_owned())];
        let shown = flow.shown.as_deref();
        let answered = flow.status.is_some() || flow.stage == Stage::Relay;
        for (times, seconds) in [
            (&self.dial, dialled(flow)),
            (&self.tls, flow.tls.map(Span::seconds)),
            (&self.connect, flow.connect.filter(|_| answered).map(Span::seconds)),
            (&self.set_up, shown.and_then(|shown| shown.set_up.get()).map(|span| span.seconds())),
        ] {
            if let Some(seconds) = seconds {
                times.get_or_create(&way).observe(seconds);
            }
        }
        if is_failure(close.end) {
            // before that no upstream was thought of
            let upstream = if flow.stage == Stage::Origin { "none" } else { upstream };
            let labels = [
                ("upstream", upstream.to_owned()),
                ("stage", flow.stage.to_string()),
                ("end", close.end.to_string()),
                ("status", status(flow.status).to_owned()),
            ];
            self.failures.get_or_create(&labels).inc();
        }
    }

    /// How many sessions ended in each way, by whom.
    pub fn closed(&self) -> Vec<(End, By, u64)> {
        let by = |end: End| BYS.map(|by| (end, by, self.closed[end as usize][by as usize].load(Ordering::Relaxed)));
        End::ALL.into_iter().flat_map(by).collect()
    }
}

/// How long the dial itself took, if it came to something.
fn dialled(flow: &Flow) -> Option<f64> {
    let is_connected = flow.upstream.is_some() || flow.stage == Stage::Relay;
    let began = flow.shown.as_ref().and_then(|shown| shown.dial_began.get()).map_or(0.0, |span| span.seconds());
    flow.dial.filter(|_| is_connected).map(|span| (span.seconds() - began).max(0.0))
}

/// Whether a client did not get what it came for, and did not give it up itself.
fn is_failure(end: End) -> bool {
    end.weight() != Weight::Info || matches!(end, End::Auth | End::BadRequest | End::Rejected)
}

/// A status as a label, of which there are few.
fn status(status: Option<u16>) -> &'static str {
    let Some(status) = status else { return "none" };
    let known = STATUSES.iter().find(|(known, _)| *known == status);
    known.map_or_else(
        || match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        },
        |(_, label)| label,
    )
}

fn scanner(source: Option<Source>) -> &'static str {
    match source {
        Some(Source::Sni) => "sni",
        Some(Source::SniOuter) => "sni-outer",
        Some(Source::HostField) => "host",
        Some(Source::Authority) => "authority",
        Some(Source::Dns) => "dns",
        None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Host, Name};
    use std::time::Duration;

    fn told(metrics: &Metrics) -> String {
        let mut registry = Registry::with_prefix("handyproxy");
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("memory");
        text
    }

    fn flow() -> Flow {
        let mut flow = Flow::new("192.0.2.1:1".parse().expect("an address"));
        flow.show_to_others();
        flow
    }

    fn span(millis: u64) -> Option<Span> {
        Some(Duration::from_millis(millis).into())
    }

    #[test]
    fn a_session_counts_once_in_each_family_that_concerns_it() {
        let metrics = Metrics::default();
        let mut flow = flow();
        flow.name = Host::parse(b"secret.example").map(|host| Name { host, source: Source::Sni });
        flow.upstream = "192.0.2.2:3128".parse().ok();
        (flow.sniff, flow.dial, flow.connect) = (span(20), span(30), span(400));
        flow.status = Some(200);
        let shown = flow.shown.as_ref().expect("somebody looks on");
        shown.dial_began.get_or_init(|| Duration::from_millis(20).into());
        flow.reach(Stage::Relay);
        metrics.observe(&flow, &Close::new(End::Done, By::Client), "corp");
        let text = told(&metrics);
        for line in [
            "handyproxy_sniffed_total{scanner=\"sni\"} 1",
            "handyproxy_sniffed_total{scanner=\"none\"} 0",
            "handyproxy_sniff_seconds_sum 0.02",
            // the dial waited for the name: that time is not the upstream's
            "handyproxy_dial_seconds_bucket{le=\"0.01\",upstream=\"corp\"} 1",
            "handyproxy_connect_seconds_sum{upstream=\"corp\"} 0.4",
            "handyproxy_setup_seconds_count{upstream=\"corp\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
        assert!(!text.contains("handyproxy_failures_total{"), "{text}");
        assert!(!text.contains("tls_handshake_seconds_count"), "{text}");
        assert!(!text.contains("secret"), "a name is no label");
        let closed: Vec<_> = metrics.closed().into_iter().filter(|(.., count)| *count > 0).collect();
        assert_eq!(closed, [(End::Done, By::Client, 1)]);
    }

    #[test]
    fn the_time_of_tls_is_its_own() {
        let metrics = Metrics::default();
        metrics.expect("corp");
        assert!(
            told(&metrics).contains("handyproxy_tls_handshake_seconds_count{upstream=\"corp\"} 0"),
            "0, not absent"
        );
        let mut flow = flow();
        (flow.dial, flow.tls) = (span(3), span(7));
        flow.reach(Stage::Relay);
        metrics.observe(&flow, &Close::new(End::Idle, By::Us), "corp");
        let text = told(&metrics);
        assert!(text.contains("handyproxy_tls_handshake_seconds_sum{upstream=\"corp\"} 0.007"), "{text}");
        assert!(text.contains("handyproxy_dial_seconds_sum{upstream=\"corp\"} 0.003"), "{text}");
    }

    #[test]
    fn a_dial_that_failed_says_nothing_about_how_long_dials_take() {
        let metrics = Metrics::default();
        let mut flow = flow();
        flow.dial = span(3);
        flow.reach(Stage::Dial);
        metrics.observe(&flow, &Close::because(End::Dial, By::Upstream, "refused"), "corp");
        let text = told(&metrics);
        assert!(!text.contains("handyproxy_dial_seconds_count"), "{text}");
        let line = "handyproxy_failures_total{upstream=\"corp\",stage=\"dial\",end=\"dial\",status=\"none\"} 1";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn no_upstream_can_make_labels_at_will() {
        let labels: std::collections::HashSet<_> = (0..=u16::MAX).map(|number| status(Some(number))).collect();
        assert_eq!(labels.len(), STATUSES.len() + 6);
        assert_eq!((status(Some(403)), status(Some(418)), status(Some(7))), ("403", "4xx", "other"));
        assert_eq!(status(None), "none");
    }

    #[test]
    fn failures_are_what_nobody_wanted() {
        let fine = [End::Done, End::Reset, End::Left, End::Idle, End::HalfClosed, End::Drained, End::Killed];
        for end in End::ALL {
            assert_eq!(is_failure(end), !fine.contains(&end), "{end}");
        }
    }
}
