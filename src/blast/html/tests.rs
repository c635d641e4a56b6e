//! What a page says of reports of all kinds. How it looks in a browser is tests/page.rs's.

use super::super::report::{Connections, Latencies, Sample, SearchStep, tests::example};
use super::super::tally::{Phase, Tally};
use super::*;

/// The report that a page carries.
fn embedded(page: &str) -> serde_json::Value {
    let (_, json) = page.split_once("id=\"report\">").unwrap();
    serde_json::from_str(json.split_once("</script>").unwrap().0).unwrap()
}

/// Where the figures of a page stand in the JSON, their exact values, and what is shown.
fn figures(page: &str) -> Vec<(String, f64, String)> {
    let figures = page.split("<data value=\"").skip(1).map(|figure| {
        let (exact, rest) = figure.split_once("\" data-json=\"").unwrap();
        let (pointer, rest) = rest.split_once("\">").unwrap();
        (pointer.to_owned(), exact.parse().unwrap(), rest.split_once("</data>").unwrap().0.to_owned())
    });
    figures.collect()
}

/// The page of a report, after checks that hold for every report.
fn checked(report: &BlastReport) -> String {
    let page = page(report);
    for wrong in ["NaN", "inf\"", "<script src", "http:", "https:", "<link", "<img"] {
        assert!(!page.contains(wrong), "{wrong} in {page}");
    }
    assert_eq!(page.matches("<section").count(), page.matches("</section>").count());
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    page
}

#[test]
fn every_figure_of_the_page_is_the_one_of_the_json() {
    let mut report = example();
    report.search = Some(search());
    report.connections_per_second = 123_456.789;
    let page = checked(&report);
    let json = embedded(&page);
    assert_eq!(json, serde_json::to_value(&report).unwrap());
    let figures = figures(&page);
    assert!(figures.len() > 40, "{}", figures.len());
    for (pointer, exact, shown) in figures {
        let value = json.pointer(&pointer).unwrap_or_else(|| panic!("{pointer} is not in the JSON"));
        // The failures stand in the JSON by reason only.
        let by_reason = |reasons: &serde_json::Map<String, serde_json::Value>| {
            reasons.values().filter_map(serde_json::Value::as_f64).sum()
        };
        let value = value.as_f64().or_else(|| value.as_object().map(by_reason)).unwrap();
        assert_eq!(exact.to_bits(), value.to_bits(), "{pointer}");
        let shown: f64 = shown.replace(',', "").parse().unwrap();
        assert!((shown - value).abs() <= 0.5, "{pointer}: {shown} is not {value}");
    }
}

fn search() -> SearchReport {
    let step =
        |rate: f64, failed| SearchStep { rate, offered: rate, completed: rate - 1.0, failed, passed: failed == 0 };
    SearchReport { rate: 1_000.0, steps: vec![step(500.0, 0), step(1_000.0, 0), step(2_000.0, 7)] }
}

#[test]
fn a_search_has_its_own_section_and_verdict() {
    let mut report = example();
    assert!(!checked(&report).contains("id=\"search\""));
    report.search = Some(search());
    let page = checked(&report);
    assert!(page.contains("<section id=\"search\"") && page.contains("1,000 connections/s without loss."), "{page}");
    report.search = Some(SearchReport::default());
    assert!(checked(&report).contains("No rate was without loss."));
}

#[test]
fn what_came_from_outside_is_escaped_everywhere() {
    let evil = "<script>alert('\"&')</script>";
    let mut report = example();
    for text in [
        &mut report.version,
        &mut report.interface,
        &mut report.engine,
        &mut report.plan.close,
        &mut report.plan.source,
        &mut report.generator.mode,
    ] {
        *text = evil.into();
    }
    report.generator.bottleneck = Some(evil.into());
    report.generator.limits = [(evil.to_owned(), 1)].into();
    report.connections.failed = [(evil.to_owned(), 2)].into();
    let page = checked(&report);
    assert_eq!(page.matches("<script").count(), 1, "the JSON's only");
    assert_eq!(page.matches("</script").count(), 1);
    assert_eq!(embedded(&page), serde_json::to_value(&report).unwrap());
    assert!(figures(&page).iter().any(|(pointer, ..)| pointer.starts_with("/connections/failed/&lt;script&gt;")));
}

#[test]
fn a_run_without_failures_says_so() {
    let mut report = example();
    report.connections.failed.clear();
    report.connections.completed = report.connections.attempted;
    report.generator.bottleneck = None;
    let page = checked(&report);
    assert!(page.contains("No connection failed, of 1,003."), "{page}");
    assert!(page.contains("<p>No connection failed.</p>") && !page.contains("Failed connections by reason"));
    assert!(page.contains("Nothing in the generator held the run back."));
}

#[test]
fn the_verdict_names_the_commonest_failure_and_what_held_the_run_back() {
    let mut report = example();
    let (colour, verdict_with, detail) = verdict(&report);
    assert_eq!(verdict_with, "Not the target's limit: the generator: its core was busy.");
    assert_eq!(detail, "3 of 1,003 connections failed (0.3 %).");
    assert_eq!(colour, Colour::Amber);
    report.generator.bottleneck = None;
    let (_, failures, cause) = verdict(&report);
    assert_eq!(failures, "3 of 1,003 connections failed (0.3 %).");
    assert_eq!(cause, "Most of them: refused, nothing listens there, or its backlog is full.");
    report.connections.failed = [("handshake_timeout".to_owned(), 3)].into();
    let cause = verdict(&report).2;
    assert!(
        cause.starts_with("All of them: handshake_timeout, no SYN-ACK came") && cause.ends_with("sources?"),
        "{cause}"
    );
    report.connections = Connections::default();
    assert_eq!(verdict(&report).1, "No connection was attempted.");
}

#[test]
fn an_empty_series_is_said_and_not_drawn() {
    let page = checked(&BlastReport { series: Vec::new(), ..example() });
    assert!(page.contains("No sample was taken") && !page.contains("Rate over time."), "{page}");
}

#[test]
fn a_series_of_one_sample_at_the_start_is_drawn() {
    for t_s in [0.0, 0.001, 1.0] {
        let report = BlastReport { series: vec![Sample { t_s, attempted: 5, ..Sample::default() }], ..example() };
        assert!(checked(&report).contains("Open connections over time"));
    }
}

#[test]
fn few_failures_get_a_chart_of_their_own_and_many_do_not() {
    let series = |failed| vec![Sample { t_s: 1.0, attempted: 1_000, completed: 990, failed, ..Sample::default() }];
    let page = |failed| checked(&BlastReport { series: series(failed), ..example() });
    assert!(page(10).contains("Failures over time"));
    assert!(!page(500).contains("Failures over time") && page(500).contains(">failed</text>"));
    assert!(!page(0).contains("Failures over time") && !page(0).contains(">failed</text>"));
}

/// A report with these latencies in nanoseconds for every phase.
fn with_latencies(latencies: &[u64]) -> BlastReport {
    let mut tally = Tally::default();
    for ns in latencies {
        Phase::ALL.into_iter().for_each(|phase| tally.measured(phase, *ns));
    }
    BlastReport { latency_us: Latencies::of(&tally), ..example() }
}

#[test]
fn latencies_of_every_kind_are_drawn() {
    for latencies in [&[1_500][..], &[0, 0, 0], &[u64::MAX, 1], &[5; 1_000]] {
        let page = checked(&with_latencies(latencies));
        assert!(page.contains("Latency percentiles by phase") && page.contains(">first byte</text>"), "{latencies:?}");
    }
    let zero = BlastReport {
        latency_us: Latencies { total: Latency { count: 3, ..Latency::default() }, ..Latencies::default() },
        ..example()
    };
    let page = checked(&zero);
    assert!(page.contains(">total</text>") && !page.contains(">handshake</text>"), "{page}");
    assert!(checked(&with_latencies(&[])).contains("No latency was measured."));
}

#[test]
fn huge_counts_are_drawn() {
    let mut report = example();
    let most = u64::MAX;
    report.connections =
        Connections { attempted: most, established: most, completed: 0, failed: [("lost".into(), most)].into() };
    report.series =
        vec![Sample { t_s: 1e-9, attempted: most, completed: most, failed: most, open: most, established: most }];
    report.connections_per_second = 1e300;
    assert!(checked(&report).contains("18,446,744,073,709,551,615"));
}
