//! A report as Prometheus text: which metric each figure is, and under which name, type, unit and labels.
//!
//! Names follow the Prometheus conventions: `handfast_` first, base units, `_total` behind counters. Values are those of one
//! report; nothing is kept between two of them, so there is no registry. What is not here: HTTP (control).

use super::identity::outcomes;
use super::report::{Figures, Stats, Values};
use super::text::endpoint;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

/// The media type of [`text`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels of a sample.
type Labels<'a> = &'a [(&'static str, &'a str)];

/// The report in the text format 0.0.4.
///
/// # Panics
///
/// If a family is without samples or a name: our own bug, the tests render every report.
pub fn text(stats: &Stats) -> String {
    let mut bytes = Vec::new();
    TextEncoder::new().encode(&families(stats), &mut bytes).expect("families with names and samples can be encoded");
    String::from_utf8(bytes).expect("the text format is UTF-8")
}

/// The families in the order in which they are shown.
fn families(stats: &Stats) -> Vec<MetricFamily> {
    let mut families = Families::default();
    about_the_server(stats, &mut families);
    for worker in &stats.workers {
        about_a_worker(&worker.queue.to_string(), &worker.figures, &mut families);
    }
    about_the_way_in(stats, &mut families);
    families.0
}

fn about_the_server(stats: &Stats, families: &mut Families) {
    let Stats { version, interface, mode, setting, .. } = stats;
    let names: Labels<'_> = &[("version", version), ("interface", interface), ("xdp", &mode.xdp), ("bind", &mode.bind)];
    families.gauge("handfast_info", "What serves what; always 1.", names, 1.0);
    families.gauge("handfast_uptime_seconds", "Seconds since the server serves.", &[], stats.uptime_s);
    let draining = f64::from(u8::from(stats.draining));
    families.gauge("handfast_draining", "1 while no new connection is accepted.", &[], draining);
    let queues = f64::from(setting.rx_queues);
    families.gauge("handfast_interface_rx_queues", "Receive queues of the interface, served or not.", &[], queues);
    for listener in &stats.listeners {
        let labels: Labels<'_> = &[("listener", &endpoint(listener)), ("service", &listener.service)];
        if let (Some(connections), Some(opened)) = (listener.connections, listener.opened) {
            let help = "Connections of the listener that live.";
            families.gauge("handfast_listener_connections", help, labels, number(connections));
            let help = "Connections that the listener opened.";
            families.counter("handfast_listener_opened_total", help, labels, number(opened));
        }
        if let (Some(half_open), Some(states)) = (listener.half_open, &listener.states) {
            let help = "Connections of the listener in the middle of the handshake.";
            families.gauge("handfast_listener_half_open", help, labels, number(half_open));
            let help = "Connections of the listener, by TCP state.";
            families.each(states, |families, state, count| {
                let labels = [labels, &[("state", state)]].concat();
                families.gauge("handfast_listener_state_connections", help, &labels, number(count));
            });
        }
    }
}

fn about_a_worker(queue: &str, figures: &Figures, families: &mut Families) {
    let labels: Labels<'_> = &[("queue", queue)];
    families.counters("engine", &figures.engine, labels);
    families.counters("port", &figures.port, labels);
    families.counters("xdp_socket", &figures.xdp_statistics, labels);
    families.counters("capture", &figures.capture, labels);
    let help = "Received frames that the engine dropped, by reason.";
    families.each(&figures.drops, |families, reason, count| {
        families.counter("handfast_dropped_frames_total", help, &[("queue", queue), ("reason", reason)], number(count));
    });
    let help = "Frames of packet memory, by the place where they are.";
    families.each(&figures.ledger, |families, place, count| {
        families.gauge("handfast_umem_frames", help, &[("queue", queue), ("place", place)], number(count));
    });
    let help = "Connections, by TCP state.";
    families.each(&figures.states, |families, state, count| {
        families.gauge("handfast_connections", help, &[("queue", queue), ("state", state)], number(count));
    });
    for (name, help, value) in [
        ("handfast_flows", "Connections in the flow table.", figures.flows),
        ("handfast_flows_capacity", "Connections that the flow table has room for.", figures.flows_capacity),
        ("handfast_half_open", "Connections in the middle of the handshake.", figures.half_open),
        ("handfast_half_open_limit", "Connections in the middle of the handshake at most.", figures.half_open_limit),
        ("handfast_timers", "Armed timers.", figures.timers),
    ] {
        families.gauge(name, help, labels, number(value));
    }
    let exhausted = "Turns that left something to send for the next one: the budget of frames was used up.";
    for (name, help, value) in [
        ("handfast_worker_turns_total", "Turns of the worker's loop.", figures.turns),
        ("handfast_worker_sleeps_total", "Times that the worker slept for want of work.", figures.sleeps),
        ("handfast_worker_emit_budget_exhausted_total", exhausted, figures.emit_budget_exhausted),
        ("handfast_worker_late_turns_total", "Turns that began more than 5 ms late.", figures.late_turns),
    ] {
        families.counter(name, help, labels, number(value));
    }
    let help = "Seconds spent in turns that had something to do.";
    families.counter("handfast_worker_busy_seconds_total", help, labels, seconds(figures.busy_ns));
    let help = "Seconds by which turns began late, those that began more than 5 ms late.";
    families.counter("handfast_worker_late_seconds_total", help, labels, seconds(figures.late_ns));
    let help = "The most that a turn began late since the start.";
    families.gauge("handfast_worker_longest_gap_seconds", help, labels, seconds(figures.longest_gap_ns));
    let help = "How old the worker's figures are.";
    families.gauge("handfast_worker_figures_age_seconds", help, labels, seconds(figures.age_ns));
}

fn about_the_way_in(stats: &Stats, families: &mut Families) {
    families.counters("interface", &stats.interface_counters, &[]);
    let outcomes: Values = outcomes(&stats.steering).map(|(name, count)| (name.to_owned(), count)).collect();
    let help = "Frames by what the steering program did with them.";
    families.each(&outcomes, |families, outcome, count| {
        families.counter("handfast_steering_frames_total", help, &[("outcome", outcome)], number(count));
    });
    let others = stats.steering.iter().filter(|(name, _)| outcomes.get(name).is_none());
    families.counters("steering", &others.map(|(name, count)| (name.to_owned(), count)).collect(), &[]);
    let help = "1 while the steering program answers SYNs with cookies.";
    families.gauge("handfast_syn_xdp", help, &[], number(u64::from(stats.syn_xdp.on)));
    let help = "Times that the steering program began to answer SYNs.";
    families.counter("handfast_syn_xdp_switched_on_total", help, &[], number(stats.syn_xdp.switched_on));
    for (book, file) in stats.capture.iter().flat_map(|capture| [("all", &capture.all), ("failed", &capture.failed)]) {
        let Some(file) = file else { continue };
        let labels: Labels<'_> = &[("file", book)];
        families.counter(
            "handfast_capture_file_frames_total",
            "Frames in a capture file.",
            labels,
            number(file.frames),
        );
        families.counter("handfast_capture_file_bytes_total", "Size of a capture file.", labels, number(file.bytes));
        let help =
            "Frames that were for a capture file and are not in it: its limit was reached, or it could not be written.";
        families.counter("handfast_capture_file_unwritten_total", help, labels, number(file.unwritten));
    }
    for identity in &stats.identities {
        let queue = identity.queue.map(|queue| queue.to_string()).unwrap_or_default();
        let labels: Labels<'_> = &[("identity", &identity.name), ("queue", &queue)];
        let help = "Left side less right side of an equation of the books.";
        families.gauge("handfast_books_difference", help, labels, signed(identity.difference));
        let help = "How large the difference can be that is under way between two readings.";
        families.gauge("handfast_books_tolerance", help, labels, number(identity.tolerance));
    }
}

/// The name of a counter: `bytes_sent` of the engine is `handfast_engine_sent_bytes_total`.
fn counter_name(group: &str, name: &str) -> String {
    let name = match (name.strip_prefix("bytes_"), name.strip_prefix("rx_"), name.strip_prefix("tx_")) {
        (Some(what), ..) => format!("{what}_bytes"),
        (_, Some(what), _) => format!("receive_{what}"),
        (_, _, Some(what)) => format!("transmit_{what}"),
        _ => name.to_owned(),
    };
    format!("handfast_{group}_{name}_total")
}

/// A count as a sample. Above 2^53 it is the nearest number that a sample can be.
#[expect(clippy::cast_precision_loss, reason = "samples are 64-bit floating-point numbers")]
fn number(count: u64) -> f64 {
    count as f64
}

/// As [`number`], with a sign.
#[expect(clippy::cast_precision_loss, reason = "samples are 64-bit floating-point numbers")]
fn signed(count: i64) -> f64 {
    count as f64
}

fn seconds(nanos: u64) -> f64 {
    number(nanos) / 1e9
}

/// Families under construction. Samples of one name go into one family.
#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl Families {
    fn counter(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = labelled(labels);
        metric.set_counter(counter);
        self.add(name, help, MetricType::COUNTER, metric);
    }

    fn gauge(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        self.add(name, help, MetricType::GAUGE, metric);
    }

    /// Every value as a counter of its own.
    fn counters(&mut self, group: &str, values: &Values, labels: Labels<'_>) {
        self.each(values, |families, name, count| {
            let help = format!("{name} of {group}; docs/operations.md says what it counts.");
            families.counter(&counter_name(group, name), &help, labels, number(count));
        });
    }

    fn each(&mut self, values: &Values, add: impl Fn(&mut Self, &str, u64)) {
        for (name, count) in values.iter() {
            add(self, name, count);
        }
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, metric: Metric) {
        let known = self.0.iter_mut().find(|family| family.name() == name);
        let family = match known {
            Some(family) => family,
            None => {
                let mut family = MetricFamily::default();
                family.set_name(name.to_owned());
                family.set_help(help.to_owned());
                family.set_field_type(kind);
                self.0.push(family);
                self.0.last_mut().expect("one was just added")
            }
        };
        family.mut_metric().push(metric);
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pair = |(name, value): &(&'static str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut metric = Metric::default();
    metric.set_label(labels.iter().map(pair).collect());
    metric
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
