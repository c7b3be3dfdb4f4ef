//! `/metrics`: what is read when it is asked for, beside what was measured of sessions as they ended.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{House, sessions};
use crate::config::TapSettings;
use crate::session::AccessCounts;
use crate::sys::{limits, pipe, process};

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// OpenMetrics 1.0.
    Open,
    /// The text format of Prometheus before that, 0.0.4.
    Classic,
}

impl Form {
    /// What an Accept field asks for: the old format only if it does not take the new one.
    pub(super) fn wanted(accept: Option<&str>) -> Form {
        match accept {
            Some(accept) if accept.contains("text/plain") && !accept.contains("application/openmetrics-text") => {
                Form::Classic
            }
            _ => Form::Open,
        }
    }

    /// Its content type.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Form::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Form::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Writes all metrics of now.
    pub(super) fn write(self, house: &House, registry: &Registry) -> String {
        if let Some(watch) = &house.gateway.watch {
            house.gateway.setup().upstreams.iter().for_each(|upstream| watch.metrics.expect(upstream.name()));
        }
        let mut out = String::with_capacity(32 << 10);
        text::encode(&mut out, registry).expect("a String takes all");
        if self == Form::Open { out } else { classic(&out) }
    }
}

/// Everything that there is to be told.
pub(super) fn registry(house: &Arc<House>) -> Registry {
    let mut registry = Registry::with_prefix("handyproxy");
    if let Some(watch) = &house.gateway.watch {
        watch.metrics.register(&mut registry);
    }
    registry.register_collector(Box::new(Scrape(house.clone())));
    registry
}

/// What is read when it is asked for.
#[derive(Debug)]
struct Scrape(Arc<House>);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut told = Told(encoder);
        self.sessions(&mut told)?;
        self.limits(&mut told)?;
        self.upstreams(&mut told)?;
        self.taps(&mut told)?;
        self.access(&mut told)?;
        self.process(&mut told)
    }
}

impl Scrape {
    fn sessions(&self, told: &mut Told<'_>) -> fmt::Result {
        let Some(watch) = &self.0.gateway.watch else { return Ok(()) };
        // those that end meanwhile count as open still: the sum is always right
        let closed = watch.metrics.closed();
        let opened = self.0.gateway.stats.opened();
        let open = opened.saturating_sub(closed.iter().map(|(.., count)| count).sum());
        told.counter("sessions_opened", "Sessions that began", None, opened)?;
        told.gauge("sessions_open", "Sessions that are open", None, open)?;
        let closed = closed.iter().map(|(end, by, count)| ([("end", end.label()), ("by", by.label())], *count));
        told.counters("sessions_closed", "Sessions that ended, by how and by whom", None, closed)?;
        let [up, down] = watch.live.bytes();
        let bytes = [([("direction", "up")], up), ([("direction", "down")], down)];
        told.counters("relayed", "Bytes that were handed on, those of open sessions included", Some(Unit::Bytes), bytes)
    }

    fn limits(&self, told: &mut Told<'_>) -> fmt::Result {
        let seats = (self.0.seats)();
        let (help, pauses) = (
            "Times that clients had to wait before they were accepted",
            [([("reason", "seats")], seats.full), ([("reason", "accept")], seats.failed)],
        );
        told.counters("accept_pauses", help, None, pauses)?;
        told.gauge("accept_paused", "1 while clients wait before they are accepted", None, u64::from(seats.is_short))?;
        told.gauge("sessions_limit", "Sessions that there is room for", None, seats.count as u64)?;
        if let Some(open) = limits::open_descriptors() {
            told.gauge("descriptors_open", "Descriptors that are open", None, open)?;
        }
        told.gauge("descriptors_limit", "Descriptors that may be open", None, self.0.descriptors)?;
        let pipes = pipe::counts();
        told.gauge("pipes_open", "Pipes that exist for splice(2), lent or kept", None, pipes.open as u64)?;
        told.gauge("pipes_kept", "Pipes that wait to be lent", None, pipes.kept as u64)?;
        told.gauge("pipes_limit", "Pipes that may exist; beyond that bytes are copied", None, pipes.limit as u64)?;
        let help = "Sessions that found all local ports towards an address taken";
        told.counter("out_of_ports", help, None, self.0.gateway.stats.found_no_port())?;
        if let Some([first, last]) = limits::port_range() {
            let ports = u64::from(last.saturating_sub(first)) + 1;
            told.gauge("local_ports", "Ports that connections to one address can be dialled from", None, ports)?;
        }
        let Some(resolver) = &self.0.gateway.resolver else { return Ok(()) };
        let (names, room) = resolver.count();
        told.gauge("dns_names", "Names for which an address stands", None, names as u64)?;
        told.gauge("dns_names_limit", "Names for which there are addresses", None, room as u64)
    }

    fn upstreams(&self, told: &mut Told<'_>) -> fmt::Result {
        let setup = self.0.gateway.setup();
        let standings: Vec<_> = (setup.upstreams.iter())
            .flat_map(|upstream| {
                upstream.standings().into_iter().map(|standing| (upstream.name().to_string(), standing))
            })
            .map(|(name, standing)| ([("upstream", name), ("proxy", standing.proxy.clone())], standing))
            .collect();
        let up = standings.iter().map(|(labels, standing)| (labels.clone(), u64::from(standing.up)));
        told.gauges("upstream_up", "Whether a proxy worked when it was last used", None, up)?;
        let held = standings.iter().map(|(labels, standing)| (labels.clone(), standing.held.as_secs_f64()));
        let help = "How much longer a proxy, or the credentials for it, is left alone";
        told.gauges("upstream_held", help, Some(Unit::Seconds), held)
    }

    fn taps(&self, told: &mut Told<'_>) -> fmt::Result {
        let setup = self.0.gateway.setup();
        let taps: Vec<_> = (told_apart(setup.taps().map(|sink| sink.settings())).into_iter())
            .zip(setup.taps())
            .map(|(labels, sink)| (labels, sink.counts(), sink.settings().queue))
            .collect();
        let written = taps.iter().map(|(labels, counts, _)| (labels.clone(), counts.written));
        told.counters("tap_records_written", "Records that a tap wrote", None, written)?;
        let missed = taps.iter().map(|(labels, counts, _)| (labels.clone(), counts.missed));
        told.counters("tap_records_missed", "Records for which a tap had no room", None, missed)?;
        let missed = taps.iter().map(|(labels, counts, _)| (labels.clone(), counts.missed_bytes));
        told.counters("tap_missed", "Bytes of the records for which a tap had no room", Some(Unit::Bytes), missed)?;
        let queued = taps.iter().map(|(labels, counts, _)| (labels.clone(), counts.queued as u64));
        told.gauges("tap_queue", "Memory of records that wait to be written", Some(Unit::Bytes), queued)?;
        let limit = taps.iter().map(|(labels, _, limit)| (labels.clone(), *limit as u64));
        told.gauges("tap_queue_limit", "Most memory of records that wait", Some(Unit::Bytes), limit)?;
        let failing = taps.iter().map(|(labels, counts, _)| (labels.clone(), u64::from(counts.failing)));
        told.gauges("tap_failing", "1 while a tap cannot write", None, failing)
    }

    fn access(&self, told: &mut Told<'_>) -> fmt::Result {
        let AccessCounts { lost, queued, room, failing } = self.0.gateway.access.counts();
        told.counter(
            "access_log_lines_lost",
            "Lines that could not be written, and for which there was no room",
            None,
            lost,
        )?;
        let bytes = || Some(Unit::Bytes);
        told.gauge("access_log_queue", "Memory of lines that wait to be written", bytes(), queued as u64)?;
        told.gauge("access_log_queue_limit", "Most memory of lines that wait", bytes(), room as u64)?;
        told.gauge("access_log_failing", "1 while the access log cannot be written", None, u64::from(failing))
    }

    fn process(&self, told: &mut Told<'_>) -> fmt::Result {
        let usage = process::usage();
        if let Some(bytes) = usage.resident {
            told.gauge("resident_memory", "Memory in use", Some(Unit::Bytes), bytes)?;
        }
        if let Some(seconds) = usage.cpu {
            told.counter("cpu", "Processor time", Some(Unit::Seconds), seconds)?;
        }
        let started = sessions::unix(self.0.gateway.stats.born());
        told.gauge("start_time", "When the daemon started, since 1970", Some(Unit::Seconds), started)?;
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        let mut build = told.family("build", "What this is", None, MetricType::Info)?;
        build.encode_info(&labels)
    }
}

/// The labels of taps: what they are, not where they stand, which the next settings may change. Some may be alike in
/// all of it, as two that write a file per session into one folder; they are counted from 1.
fn told_apart<'a>(taps: impl Iterator<Item = &'a TapSettings>) -> Vec<[(&'static str, String); 4]> {
    let mut all: Vec<[(&'static str, String); 4]> = Vec::new();
    for tap in taps {
        let (kind, format) = tap.form.words();
        let what = [("kind", kind.to_owned()), ("format", format.to_owned()), ("path", tap.shown_path())];
        let number = 1 + all.iter().filter(|other| other.starts_with(&what)).count();
        let [kind, format, path] = what;
        all.push([kind, format, path, ("number", number.to_string())]);
    }
    all
}

/// What was told so far.
struct Told<'a>(DescriptorEncoder<'a>);

impl Told<'_> {
    /// Begins a family; sentences end as those of the registry do.
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, &format!("{help}."), unit, kind)
    }

    fn counter(&mut self, name: &str, help: &str, unit: Option<Unit>, value: impl EncodeCounterValue) -> fmt::Result {
        let mut metric = self.family(name, help, unit.as_ref(), MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric = self.family(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: impl EncodeGaugeValue) -> fmt::Result {
        self.family(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric = self.family(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

/// The same in the format before OpenMetrics: there a counter's family is named as its samples are, and there are
/// neither units nor infos nor an end.
fn classic(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    let mut help = "";
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), _, text) => help = text.unwrap_or_default(),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    kind => ("", kind),
                };
                let _ = writeln!(out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_format_is_for_those_who_do_not_take_the_new_one() {
        // what Prometheus 2.42 and 3 say
        let modern = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, wanted) in [
            (None, Form::Open),
            (Some("*/*"), Form::Open),
            (Some(modern), Form::Open),
            (Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"), Form::Classic),
            (Some("text/plain"), Form::Classic),
        ] {
            assert_eq!(Form::wanted(accept), wanted, "{accept:?}");
        }
    }

    #[test]
    fn the_old_format_names_families_as_their_samples() {
        let open = "# HELP a_b Of a.\n# TYPE a_b counter\n# UNIT a_b b\na_b_total{x=\"# y\"} 1\n\
                    # HELP build What.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n\
                    # HELP g G.\n# TYPE g gauge\ng 2\n# EOF\n";
        let wanted = "# HELP a_b_total Of a.\n# TYPE a_b_total counter\na_b_total{x=\"# y\"} 1\n\
                      # HELP build_info What.\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n\
                      # HELP g G.\n# TYPE g gauge\ng 2\n";
        assert_eq!(classic(open), wanted);
    }
}
