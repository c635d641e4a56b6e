//! Names, types and samples of the metrics, read by another parser; and that the dashboard and the manual name what there is.

use super::*;
use crate::observe::identity::{self, Readings, identities};
use crate::observe::report::tests::example;
use crate::port::{FrameLedger, KernelStatistics, PortCounters};
use crate::stats::counters::Counters;
use crate::tcp::state::State;
use prometheus_parse::{Scrape, Value};
use std::collections::BTreeSet;

const DASHBOARD: &str = include_str!("../../../docs/grafana.json");
const MANUAL: &str = include_str!("../../../docs/operations.md");

/// A report with every counter that there is.
fn whole() -> Stats {
    let mut stats = example();
    let outcomes = crate::steer::SteerCounter::ALL.iter().map(|counter| counter.name());
    stats.steering = outcomes.map(|name| (name, 1)).collect();
    for worker in &mut stats.workers {
        let figures = &mut worker.figures;
        figures.set_counters(&Counters::new());
        figures.port = PortCounters::default().named().collect();
        figures.ledger = FrameLedger::default().named().collect();
        figures.xdp_statistics = KernelStatistics::default().named().collect();
        figures.states = State::ALL.iter().map(|state| (state.name(), 0)).collect();
    }
    stats.interface_counters = ["packets", "bytes", "errors", "dropped"]
        .iter()
        .flat_map(|what| [format!("rx_{what}"), format!("tx_{what}")])
        .map(|name| (name, 0))
        .collect();
    stats.identities = identities(&stats, &Readings::default());
    stats
}

fn scraped(stats: &Stats) -> Scrape {
    Scrape::parse(text(stats).lines().map(|line| Ok(line.to_owned()))).unwrap()
}

/// Every name that begins with `handfast_` in a text; those in capitals at one place are patterns.
fn named(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_name(c)).filter(|word| word.starts_with("handfast_")).map(str::to_owned).collect()
}

fn names() -> BTreeSet<String> {
    families(&whole()).iter().map(|family| family.name().to_owned()).collect()
}

#[test]
fn counters_are_named_by_group_unit_and_kind() {
    for (group, name, metric) in [
        ("engine", "bytes_sent", "handfast_engine_sent_bytes_total"),
        ("port", "rx_bytes", "handfast_port_receive_bytes_total"),
        ("interface", "tx_packets", "handfast_interface_transmit_packets_total"),
        ("engine", "passive_opens", "handfast_engine_passive_opens_total"),
    ] {
        assert_eq!(counter_name(group, name), metric);
    }
}

#[test]
fn another_parser_reads_types_labels_and_values() {
    let scrape = scraped(&example());
    let sample = |name: &str, labels: &[(&str, &str)]| {
        let fits = |sample: &&prometheus_parse::Sample| {
            sample.metric == name && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value))
        };
        let found: Vec<_> = scrape.samples.iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].value.clone()
    };
    let reason = [("queue", "1"), ("reason", "bad_tcp_checksum")];
    assert_eq!(sample("handfast_dropped_frames_total", &reason), Value::Counter(1.0));
    assert_eq!(sample("handfast_flows", &[("queue", "0")]), Value::Gauge(2.0));
    assert_eq!(sample("handfast_worker_busy_seconds_total", &[("queue", "0")]), Value::Counter(41.75));
    assert_eq!(sample("handfast_books_difference", &[("identity", "program_to_rings")]), Value::Gauge(2.0));
    let info = [("version", "0.1.0"), ("interface", "hf-server"), ("xdp", "native"), ("bind", "copy")];
    assert_eq!(sample("handfast_info", &info), Value::Gauge(1.0));
    assert_eq!(
        sample("handfast_listener_opened_total", &[("listener", "80"), ("service", "http")]),
        Value::Counter(3.0)
    );
    let listener = [("listener", "80"), ("service", "http"), ("state", "ESTABLISHED")];
    assert_eq!(sample("handfast_listener_half_open", &listener[..2]), Value::Gauge(1.0));
    assert_eq!(sample("handfast_listener_state_connections", &listener), Value::Gauge(1.0));
    assert_eq!(sample("handfast_capture_captured_total", &[("queue", "0")]), Value::Counter(600.0));
    assert_eq!(sample("handfast_capture_file_frames_total", &[("file", "all")]), Value::Counter(1_200.0));
}

#[test]
fn no_sample_is_said_twice_and_counters_end_in_total() {
    let scrape = scraped(&whole());
    let mut seen = BTreeSet::new();
    for sample in &scrape.samples {
        let mut labels: Vec<_> = sample.labels.iter().collect();
        labels.sort();
        assert!(seen.insert(format!("{} {labels:?}", sample.metric)), "{sample:?}");
        let is_counter = matches!(sample.value, Value::Counter(_));
        assert_eq!(is_counter, sample.metric.ends_with("_total"), "{sample:?}");
    }
    assert!(seen.len() > 2 * 100, "{} samples", seen.len());
    let said: BTreeSet<_> = scrape.samples.iter().filter_map(|sample| sample.labels.get("identity")).collect();
    assert_eq!(said, identity::NAMES.into_iter().collect());
}

#[test]
fn the_dashboard_is_json_and_asks_for_metrics_that_there_are() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    let (asked, known) = (named(DASHBOARD), names());
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let graphs = panels.iter().filter(|panel| panel["type"] == "timeseries");
    assert!(graphs.clone().all(|panel| !panel["targets"].as_array().unwrap().is_empty()));
    assert!(graphs.count() > 10);
}

#[test]
fn the_manual_explains_every_metric_and_no_other() {
    // A pattern like handfast_engine_NAME_total stands for the counters of a group, which have a table of their own.
    let (patterns, literal): (BTreeSet<_>, BTreeSet<_>) =
        named(MANUAL).into_iter().partition(|name| name.contains("NAME"));
    let by_pattern = |name: &String| {
        patterns.iter().any(|pattern| {
            let (before, behind) = pattern.split_once("NAME").unwrap();
            name.starts_with(before) && name.ends_with(behind)
        })
    };
    let all = names();
    let unexplained: Vec<_> = all.iter().filter(|name| !literal.contains(*name) && !by_pattern(name)).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
    let unknown: Vec<_> = literal.iter().filter(|name| !all.contains(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(patterns.len(), 6, "{patterns:?}");
    assert!(
        patterns.iter().all(|pattern| all.iter().any(|name| name.starts_with(pattern.split("NAME").next().unwrap())))
    );
}
