//! The result as one HTML page: honest completion and handshake latency over the flood's rate, a line for each contender, and
//! the tables. Every figure is one of the report's, which is embedded as JSON.

use std::fmt::Write as _;

use super::report::{DefenceReport, DefenderReport, Peak, StepReport};
use crate::observe::chart::{Axis, Bar, BarChart, Line, LineChart, Look};
use crate::observe::number;
use crate::observe::page::{Cell, Colour, count, document, escape, figure, measure, paragraph, section, table};

/// The colours of the contenders, in their order.
const COLOURS: [Colour; 6] = [Colour::Amber, Colour::Red, Colour::Purple, Colour::Blue, Colour::Green, Colour::Ink];

/// Height of each chart's plot.
const HEIGHT: f64 = 260.0;
/// Round steps of the horizontal axis.
const STEPS: u32 = 8;

/// The whole page.
pub fn page(report: &DefenceReport) -> String {
    let mut body = header(report);
    body.push_str(&section("honest", "Honest connections under a flood", &charts(report)));
    body.push_str(&section("steps", "Every step", &steps(&report.contenders)));
    body.push_str(&section("after", "After the flood", &after(&report.contenders)));
    if !report.peaks.is_empty() {
        body.push_str(&section("peaks", "SYNs answered a second at full flood", &peaks(&report.peaks)));
    }
    body.push_str(&section("commands", "The commands of each contender", &commands(&report.contenders)));
    document("handfast bench flood", &body, &crate::observe::json::line(report))
}

fn header(report: &DefenceReport) -> String {
    let DefenceReport { machine, wire, .. } = report;
    let what = format!(
        "handfast {}, {}, Linux {}, {}. {} honest connections a second for {} s at each step, each given up after {} s, while \
         forged SYNs arrive; runs: {}, of which each step is the median one by SYNs answered. Server on core {} ({}), flood and honest connections on core {}.",
        report.version,
        report.date,
        machine.kernel,
        machine.cpu,
        report.honest_rate,
        report.duration_s,
        report.honest_timeout_s,
        report.runs,
        machine.server_core,
        wire.server_xdp_mode,
        machine.generator_core
    );
    let notes: String = report.notes.iter().map(|note| paragraph(note)).collect();
    format!("<header>\n<h1>handfast bench flood</h1>\n{}{notes}</header>\n", paragraph(&what))
}

/// One line for each contender; `value` is what stands over the flood's rate.
fn lines(report: &DefenceReport, value: fn(&StepReport) -> f64) -> Vec<Line> {
    let line = |(contender, colour): (&DefenderReport, Colour)| {
        let mut points: Vec<(f64, f64)> =
            contender.steps.iter().map(|step| (step.flood_per_second, value(step))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { name: contender.name.clone(), colour, look: Look::Line, points }
    };
    report.contenders.iter().zip(COLOURS.into_iter().cycle()).map(line).collect()
}

fn charts(report: &DefenceReport) -> String {
    let steps = || report.contenders.iter().flat_map(|contender| &contender.steps);
    let most = steps().map(|step| step.flood_per_second).fold(0.0, f64::max);
    let rate = || Axis::from_zero("forged SYNs a second", most, STEPS, number::short);
    // Where nothing was established there is no latency.
    let p99 =
        |step: &StepReport| if step.honest.handshake_us[1] > 0.0 { step.honest.handshake_us[1] } else { f64::NAN };
    let latencies: Vec<f64> = steps().map(p99).filter(|us| us.is_finite()).collect();
    let (least, longest) =
        (latencies.iter().copied().fold(f64::INFINITY, f64::min), latencies.iter().copied().fold(0.0, f64::max));
    let completed = LineChart {
        title: "Honest connections completed".to_owned(),
        summary: "In percent of those started, over the rate of the flood.".to_owned(),
        x: rate(),
        y: Axis::from_zero("completed, percent", 100.0, 5, number::short),
        lines: lines(report, |step| step.honest.completed_percent),
        height: HEIGHT,
        room: ["100 ms", "kernel cookies"],
    };
    let latency = LineChart {
        title: "99th percentile of the handshake".to_owned(),
        summary:
            "From the intended start over retransmissions, of those that were established, over the rate of the flood."
                .to_owned(),
        x: rate(),
        y: Axis::log("handshake, 99th percentile", least, longest, number::time),
        lines: lines(report, p99),
        height: HEIGHT,
        room: ["100 ms", "kernel cookies"],
    };
    figure("Honest connections completed, in percent of those started.", &completed.svg())
        + &figure(
            "The 99th percentile of the handshake, from the intended start over retransmissions, of those that were established.",
            &latency.svg(),
        )
}

fn steps(contenders: &[DefenderReport]) -> String {
    let mut rows = Vec::new();
    for (i, contender) in contenders.iter().enumerate() {
        let all = contender.steps.iter().enumerate();
        rows.extend(all.map(|(j, step)| step_row(contender, step, &format!("/contenders/{i}/steps/{j}"))));
    }
    let about: String = contenders.iter().map(|one| paragraph(&format!("{}: {}.", one.name, one.about))).collect();
    let head = [
        "contender",
        "flood",
        "sent, 1/s",
        "answered, 1/s",
        "started",
        "completed",
        "failed",
        "completed, %",
        "least, %",
        "most, %",
        "p50, us",
        "p99, us",
        "server core, %",
        "flood's core, %",
    ];
    about + &table(&head, &rows)
}

fn step_row(contender: &DefenderReport, step: &StepReport, at: &str) -> Vec<Cell> {
    let number = |field: &str, value: f64, decimals| Cell::Number(measure(&format!("{at}/{field}"), value, decimals));
    let counted = |field: &str, value| Cell::Number(count(&format!("{at}/honest/{field}"), value));
    let honest = &step.honest;
    vec![
        Cell::text(&contender.name),
        // As a number: text may be broken within a word.
        Cell::Number(escape(&step.flood)),
        number("flood_per_second", step.flood_per_second, 0),
        number("answered_per_second", step.answered_per_second, 0),
        counted("started", honest.started),
        counted("completed", honest.completed),
        counted("failed", honest.failed),
        number("honest/completed_percent", honest.completed_percent, 2),
        number("completed_percent_spread/0", step.completed_percent_spread[0], 2),
        number("completed_percent_spread/1", step.completed_percent_spread[1], 2),
        number("honest/handshake_us/0", honest.handshake_us[0], 0),
        number("honest/handshake_us/1", honest.handshake_us[1], 0),
        number("server_core_percent", step.server_core_percent, 0),
        number("generator_core_percent", step.generator_core_percent, 0),
    ]
}

fn after(contenders: &[DefenderReport]) -> String {
    let row = |(i, contender): (usize, &DefenderReport)| {
        let at = |field: &str| format!("/contenders/{i}/after/{field}");
        let after = &contender.after;
        let maybe = |field: &str, value: Option<u64>| {
            Cell::Number(value.map_or_else(|| "–".to_owned(), |value| count(&at(field), value)))
        };
        vec![
            Cell::text(&contender.name),
            Cell::Number(match after.ordinary_after_s {
                Some(seconds) => measure(&at("ordinary_after_s"), seconds, 1),
                None => "never".to_owned(),
            }),
            maybe("half_open_at_end", after.half_open_at_end),
            maybe("half_open_later", after.half_open_later),
            Cell::Number(measure(&at("half_open_later_s"), after.half_open_later_s, 0)),
            Cell::Number(count(&at("rss_kib/0"), after.rss_kib[0])),
            Cell::Number(count(&at("rss_kib/1"), after.rss_kib[1])),
        ]
    };
    let rows: Vec<Vec<Cell>> = contenders.iter().enumerate().map(row).collect();
    let head = [
        "contender",
        "ordinary service after, s",
        "half-open at the end",
        "half-open later",
        "asked after, s",
        "memory before, KiB",
        "memory after, KiB",
    ];
    table(&head, &rows)
}

fn peaks(peaks: &[Peak]) -> String {
    let bar = |peak: &Peak| Bar {
        name: peak.name.clone(),
        value: peak.answered_per_second,
        spread: None,
        text: number::fixed(peak.answered_per_second, 0),
        colour: Colour::Blue,
    };
    let most = peaks.iter().map(|peak| peak.answered_per_second).fold(0.0, f64::max);
    let chart = BarChart {
        title: "SYNs answered a second at full flood".to_owned(),
        summary: format!("The most is {}.", number::fixed(most, 0)),
        label: "SYNs answered a second".to_owned(),
        bars: peaks.iter().map(bar).collect(),
    };
    let row = |(i, peak): (usize, &Peak)| {
        let at = |field: &str| format!("/peaks/{i}/{field}");
        let ratio = |field: &str, value: Option<f64>| {
            Cell::Number(value.map_or_else(|| "–".to_owned(), |value| measure(&at(field), value, 2)))
        };
        vec![
            Cell::text(&peak.name),
            Cell::Number(measure(&at("answered_per_second"), peak.answered_per_second, 0)),
            Cell::Number(measure(&at("sent_per_second"), peak.sent_per_second, 0)),
            ratio("over_kernel_cookies", peak.over_kernel_cookies),
            ratio("over_reflector", peak.over_reflector),
            ratio("over_reflector_spread/0", peak.over_reflector_spread.map(|[least, _]| least)),
            ratio("over_reflector_spread/1", peak.over_reflector_spread.map(|[_, most]| most)),
        ]
    };
    let rows: Vec<Vec<Cell>> = peaks.iter().enumerate().map(row).collect();
    figure("Forged SYNs that a SYN-ACK came for, each counted once.", &chart.svg())
        + &table(
            &["contender", "answered, 1/s", "sent, 1/s", "over kernel cookies", "over the reflector", "least", "most"],
            &rows,
        )
}

fn commands(contenders: &[DefenderReport]) -> String {
    let mut html = paragraph(
        "Each can be repeated by hand in a lab (handfast lab up), the honest connections on an interface that the flood does not use.",
    );
    for contender in contenders {
        let _ = write!(html, "<p><strong>{}</strong>", escape(&contender.name));
        let settings = contender.settings.iter().map(|setting| format!("sysctl -w {setting}"));
        let commands = [&contender.server_command, &contender.honest_command, &contender.flood_command];
        for command in settings.chain(commands.into_iter().cloned()) {
            let _ = write!(html, "<br><code>{}</code>", escape(&command));
        }
        html.push_str("</p>\n");
    }
    html
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;
    use super::*;

    #[test]
    fn the_page_has_every_contender_and_its_figures_are_the_jsons() {
        let page = page(&example());
        for part in [
            "id=\"honest\"",
            "id=\"steps\"",
            "id=\"after\"",
            "id=\"peaks\"",
            "kernel cookies",
            "65,536",
            "something to know",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for pointer in
            ["/contenders/1/steps/2/honest/completed", "/contenders/0/after/rss_kib/1", "/peaks/2/over_kernel_cookies"]
        {
            assert!(page.contains(&format!("data-json=\"{pointer}\"")), "{pointer}");
        }
    }

    #[test]
    fn without_a_full_flood_there_are_no_peaks() {
        let report = DefenceReport { peaks: Vec::new(), ..example() };
        assert!(!page(&report).contains("id=\"peaks\""));
    }

    #[test]
    fn a_contender_that_nobody_got_through_to_has_no_latency_there() {
        let mut report = example();
        report.contenders[1].steps[2].honest.handshake_us = [0.0, 0.0];
        let drawn = lines(&report, |step| step.honest.handshake_us[1]);
        assert_eq!(drawn.len(), 2);
        assert!(page(&report).contains("99th percentile"));
    }
}
