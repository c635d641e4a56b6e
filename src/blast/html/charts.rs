//! The charts of a run: rates and open connections over time, latency percentiles, the search's steps. What becomes a point
//! of which series is decided here; how it is drawn is [`crate::observe::chart`]'s.

use super::super::report::{BlastReport, Latency, Sample, SearchReport, float};
use crate::observe::chart::{Axis, Line, LineChart, Look};
use crate::observe::number;
use crate::observe::page::{Colour, figure, paragraph};

/// Most points of a series: more than a screen has room for, and a page of a long run stays small.
const MOST_POINTS: usize = 400;

/// A failure rate below this part of the highest rate would be a flat line beside it, and gets a chart of its own.
const TOO_LOW_TO_SEE: f64 = 0.05;

/// The charts over time.
pub fn over_time(report: &BlastReport) -> String {
    let samples = thinned(&report.series);
    let Some(end) = samples.last().map(|sample| sample.t_s) else {
        return paragraph("No sample was taken: the run was over too soon.");
    };
    let attempted = rates(&samples, |sample| sample.attempted);
    let completed = rates(&samples, |sample| sample.completed);
    let failed = rates(&samples, |sample| sample.failed);
    let (top, top_failed) = (highest(&attempted).max(highest(&completed)), highest(&failed));
    let line = |name: &str, colour, look, points| Line { name: name.into(), colour, look, points };
    let chart = |title: &str, label: &str, lines: Vec<Line>, height, steps| {
        let top = lines.iter().map(|line| highest(&line.points)).fold(0.0, f64::max);
        let summary = format!("At most {} {label}.", number::short(top));
        let x = Axis::linear("seconds since the start", 0.0, end, |seconds| number::trimmed(seconds, 3));
        let y = Axis::from_zero(label, top, steps, number::short);
        LineChart { title: title.into(), summary, x, y, lines, height, room: ["0.00k", "completed"] }.svg()
    };
    let apart = top_failed < top * TOO_LOW_TO_SEE;
    let mut lines = vec![
        line("attempted", Colour::Grey, Look::Area, attempted),
        line("completed", Colour::Green, Look::Steps, completed),
    ];
    let failed = line("failed", Colour::Red, Look::Steps, failed);
    if !apart {
        lines.push(failed.clone());
    }
    let caption = "Connections attempted, completed and failed in each second of the run.";
    let mut charts = figure(caption, &chart("Rate over time", "connections/s", lines, 230.0, 5));
    if apart && top_failed > 0.0 {
        let caption = "Failures on a scale of their own: beside the rates above they would be a flat line.";
        charts.push_str(&figure(caption, &chart("Failures over time", "failed connections/s", vec![failed], 90.0, 2)));
    }
    let points = std::iter::once((0.0, 0.0)).chain(samples.iter().map(|sample| (sample.t_s, float(sample.open))));
    let open = line("open", Colour::Ink, Look::Line, points.collect());
    charts
        + &figure(
            "Connections that were established and not closing, at the end of each second.",
            &chart("Open connections over time", "open connections", vec![open], 90.0, 2),
        )
}

/// The highest value of a series.
fn highest(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|(_, y)| *y).filter(|y| y.is_finite()).fold(0.0, f64::max)
}

/// At most [`MOST_POINTS`] samples. Counts go on growing, so leaving samples out makes longer intervals and loses no
/// connection; of those left out, the most open connections are kept. A last interval of less than half the usual length is
/// joined with the one before: a few connections over a few milliseconds are no rate.
fn thinned(series: &[Sample]) -> Vec<Sample> {
    let every = series.len().div_ceil(MOST_POINTS).max(1);
    let mut samples: Vec<Sample> = Vec::new();
    for group in series.chunks(every) {
        let open = group.iter().map(|sample| sample.open).max().unwrap_or(0);
        samples.extend(group.last().map(|last| Sample { open, ..*last }));
    }
    if let [.., before, short, last] = samples[..] {
        let usual = short.t_s - before.t_s;
        if last.t_s - short.t_s < usual / 2.0 {
            samples.remove(samples.len() - 2);
        }
    }
    samples
}

/// A count as rates: for each interval its end and the rate in it.
fn rates(samples: &[Sample], count: impl Fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    let mut before = (0.0, 0);
    let mut rates = Vec::new();
    for sample in samples {
        let (t_s, now) = (sample.t_s, count(sample));
        if t_s > before.0 {
            rates.push((t_s, float(now.saturating_sub(before.1)) / (t_s - before.0)));
            before = (t_s, now);
        }
    }
    rates
}

/// Latency over the percentile scale, a line for each phase, and the longest at its right end.
pub fn percentiles(phases: &[(&'static str, Colour, &'static str, &Latency)]) -> String {
    let finite = |latency: &Latency| -> Vec<(f64, f64)> {
        let shares = latency.percentiles.iter().filter(|(share, _)| *share < 1.0);
        shares.map(|(share, us)| (Axis::tail(*share), *us)).collect()
    };
    let tails = phases.iter().flat_map(|(.., latency)| finite(latency));
    let last = tails.map(|(tail, _)| tail).fold(1.0, f64::max);
    let line = |(name, colour, _, latency): &(&'static str, Colour, &'static str, &Latency)| {
        let mut points = finite(latency);
        points.push((Axis::beyond(last), latency.max));
        Line { name: (*name).into(), colour: *colour, look: Look::Line, points }
    };
    let lines: Vec<Line> = phases.iter().map(line).collect();
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|(_, us)| *us)).filter(|us| *us > 0.0);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let summaries = phases.iter().map(|(name, _, _, latency)| {
        format!("{name}: half within {}, all within {}", number::time(latency.p50), number::time(latency.max))
    });
    let chart = LineChart {
        title: "Latency percentiles by phase".into(),
        summary: summaries.collect::<Vec<_>>().join("; ") + ".",
        x: Axis::percentiles("share of connections, %", last),
        y: Axis::log("latency", low, high, number::time),
        lines,
        height: 320.0,
        room: ["", ""],
    };
    figure(
        "How long each part of a connection took at most, for a share of the connections. Both scales are logarithmic: each \
         further nine is as wide as the one before.",
        &chart.svg(),
    )
}

/// What was completed over what was offered, for each step of a search.
pub fn search(search: &SearchReport) -> String {
    let of = |passed: bool| -> Vec<(f64, f64)> {
        let steps = search.steps.iter().filter(|step| step.passed == passed);
        steps.map(|step| (step.offered, step.completed)).collect()
    };
    let most = search.steps.iter().map(|step| step.offered.max(step.completed)).filter(|most| most.is_finite());
    let most = most.fold(0.0, f64::max);
    let line = |name: &str, colour, look, points| Line { name: name.into(), colour, look, points };
    let chart = LineChart {
        title: "Offered and completed rates".into(),
        summary: format!("The highest rate without loss is {} connections/s.", number::fixed(search.rate, 0)),
        x: Axis::from_zero("offered, connections/s", most, 8, number::short),
        y: Axis::from_zero("completed, connections/s", most, 5, number::short),
        lines: vec![
            line("offered", Colour::Grey, Look::Dashed, vec![(0.0, 0.0), (most, most)]),
            line("passed", Colour::Green, Look::Dots, of(true)),
            line("failed", Colour::Red, Look::Crosses, of(false)),
        ],
        height: 240.0,
        room: ["", ""],
    };
    chart.svg()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(t_s: f64, completed: u64, open: u64) -> Sample {
        Sample { t_s, completed, open, ..Sample::default() }
    }

    #[test]
    fn rates_are_differences_over_time() {
        let samples = [sample(1.0, 100, 0), sample(3.0, 500, 0), sample(3.0, 500, 0), sample(3.5, 500, 0)];
        assert_eq!(rates(&samples, |sample| sample.completed), [(1.0, 100.0), (3.0, 200.0), (3.5, 0.0)]);
        assert_eq!(rates(&[sample(0.0, 5, 0)], |sample| sample.completed), []);
    }

    #[test]
    fn a_short_last_interval_joins_the_one_before() {
        let samples = thinned(&[sample(1.0, 10, 0), sample(2.0, 20, 0), sample(2.01, 21, 0)]);
        assert_eq!(samples, [sample(1.0, 10, 0), sample(2.01, 21, 0)]);
        let even = [sample(1.0, 10, 0), sample(2.0, 20, 0), sample(2.6, 21, 0)];
        assert_eq!(thinned(&even), even);
        assert_eq!(thinned(&even[..1]), even[..1]);
        assert_eq!(thinned(&[]), []);
    }

    #[test]
    fn a_long_series_is_thinned_and_loses_no_connection_and_no_peak() {
        let series: Vec<Sample> = (1..=3_600).map(|t| sample(float(t), t * 10, u64::from(t == 5) * 99)).collect();
        let samples = thinned(&series);
        assert!(samples.len() <= MOST_POINTS && samples.len() > MOST_POINTS / 2, "{}", samples.len());
        assert_eq!(samples.last(), series.last());
        assert_eq!(samples[0].open, 99);
        let rates = rates(&samples, |sample| sample.completed);
        assert!(rates.iter().all(|(_, rate)| (rate - 10.0).abs() < 1e-9));
    }
}
