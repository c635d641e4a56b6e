//! The report of a run as one HTML page: what it says in words and tables. The charts are in `charts`, the frame of the
//! page in [`crate::observe::page`].
//!
//! Every figure is one of the report's, so that page and JSON cannot differ; shares in percent are all that is computed here.

mod charts;

use super::report::{BlastReport, Connections, GeneratorReport, Latency, PlanReport, SearchReport, float, hint};
use crate::observe::chart::{Bar, BarChart};
use crate::observe::number::{self, share};
use crate::observe::page::{Cell, Colour, count, document, escape, figure, measure, paragraph, section, table};
use crate::observe::text::grouped;
use std::fmt::Write as _;

/// The whole page.
pub fn page(report: &BlastReport) -> String {
    let mut body = header(report);
    let columns = section("summary", "Summary", &summary(report)) + &section("plan", "Plan", &plan(&report.plan));
    let _ = writeln!(body, "<div class=\"columns\">\n{columns}</div>");
    if let Some(search) = &report.search {
        body.push_str(&section("search", "Search for the highest rate without loss", &search_steps(search)));
    }
    body.push_str(&section("rate", "Rate over time", &charts::over_time(report)));
    body.push_str(&section("latency", "Latency by phase", &latency(report)));
    body.push_str(&section("failures", "Failures by reason", &failures(report)));
    body.push_str(&section("generator", "The generator itself", &generator(&report.generator)));
    let title = format!("{}: handfast blast", report.target);
    document(&title, &body, &crate::observe::json::line(report))
}

/// The phases with something measured: name, colour, place in the JSON.
fn phases(report: &BlastReport) -> Vec<(&'static str, Colour, &'static str, &Latency)> {
    let latency = &report.latency_us;
    let phases = [
        ("handshake", Colour::Blue, "handshake", Some(&latency.handshake)),
        ("first byte", Colour::Amber, "first_byte", latency.first_byte.as_ref()),
        ("teardown", Colour::Purple, "teardown", Some(&latency.teardown)),
        ("total", Colour::Ink, "total", Some(&latency.total)),
    ];
    let measured = phases.into_iter().filter_map(|(name, colour, key, latency)| Some((name, colour, key, latency?)));
    measured.filter(|(.., latency)| latency.count > 0).collect()
}

fn header(report: &BlastReport) -> String {
    let BlastReport { target, interface, engine, version, .. } = report;
    let under = format!("from {interface} by {engine}, handfast {version}: {}", plan_in_words(&report.plan));
    let (colour, verdict, detail) = verdict(report);
    let detail = if detail.is_empty() { detail } else { paragraph(&detail) };
    format!(
        "<header>\n<h1>Load on {target}</h1>\n<p class=\"under\">{}</p>\n\
         <div class=\"verdict {}\" id=\"verdict\" role=\"note\"><strong>{}</strong>{detail}</div>\n</header>\n",
        escape(&under),
        colour.class(),
        escape(&verdict),
    )
}

/// What there is to say first, in a sentence, and what belongs to it. Colour never says more than the words do.
fn verdict(report: &BlastReport) -> (Colour, String, String) {
    let (attempted, failed) = (report.connections.attempted, report.connections.failed_total());
    let failures = match failed {
        0 => format!("No connection failed, of {}.", grouped(attempted)),
        _ => {
            let share = share(float(failed), float(attempted));
            format!("{} of {} connections failed ({share}).", grouped(failed), grouped(attempted))
        }
    };
    let bottleneck = report.generator.bottleneck.as_deref();
    match &report.search {
        _ if attempted == 0 => (Colour::Red, "No connection was attempted.".to_owned(), String::new()),
        Some(search) if search.rate > 0.0 => {
            let verdict = format!("{} connections/s without loss.", number::fixed(search.rate, 0));
            let limit = bottleneck.map_or_else(String::new, |limit| format!(" The generator's limit: {limit}."));
            (Colour::Green, verdict, format!("Found after {} rates.{limit}", search.steps.len()))
        }
        Some(search) => {
            let detail = format!("{} rates were tried. {failures}", search.steps.len());
            (Colour::Red, "No rate was without loss.".to_owned(), detail)
        }
        None => match bottleneck {
            Some(limit) => (Colour::Amber, format!("Not the target's limit: {limit}."), failures),
            None if failed == 0 => (Colour::Green, failures, String::new()),
            None => (Colour::Red, failures, commonest(&report.connections)),
        },
    }
}

/// The commonest failure, with what it means.
fn commonest(connections: &Connections) -> String {
    let Some((reason, _)) = connections.failed.iter().max_by_key(|(_, count)| **count) else { return String::new() };
    let which = if connections.failed.len() == 1 { "All" } else { "Most" };
    match hint(reason) {
        "" => format!("{which} of them: {reason}."),
        hint => format!("{which} of them: {reason}, {hint}{}", if hint.ends_with('?') { "" } else { "." }),
    }
}

/// The load in one sentence.
fn plan_in_words(plan: &PlanReport) -> String {
    let mut words = Vec::new();
    words.extend(plan.rate.map(|rate| format!("{} connections/s", grouped(rate))));
    words.extend(plan.concurrency.map(|most| format!("at most {} at once", grouped(most))));
    words.extend(plan.connections.map(|all| format!("{} in all", grouped(all))));
    words.push(format!("for {} s", number::trimmed(plan.duration_s, 3)));
    words.join(", ")
}

fn summary(report: &BlastReport) -> String {
    let connections = &report.connections;
    let of_attempted = |count: u64| share(float(count), float(connections.attempted));
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String, note: String| {
        rows.push(vec![Cell::text(name), Cell::Number(value), Cell::Number(note)]);
    };
    row("attempted", count("/connections/attempted", connections.attempted), String::new());
    row(
        "established",
        count("/connections/established", connections.established),
        of_attempted(connections.established),
    );
    row("completed", count("/connections/completed", connections.completed), of_attempted(connections.completed));
    let failed = connections.failed_total();
    row("failed", count("/connections/failed", failed), of_attempted(failed));
    row("connections/s", measure("/connections_per_second", report.connections_per_second, 0), String::new());
    row("frames/s received", measure("/packets_per_second/rx", report.packets_per_second.rx, 0), String::new());
    row("frames/s sent", measure("/packets_per_second/tx", report.packets_per_second.tx, 0), String::new());
    row("duration, s", measure("/duration_s", report.duration_s, 2), String::new());
    table(&["", "", "of attempted"], &rows)
}

fn plan(plan: &PlanReport) -> String {
    let limit = |value: Option<u64>, none: &str| value.map_or_else(|| none.to_owned(), grouped);
    let seconds = |value: f64| format!("{} s", number::trimmed(value, 3));
    let [first, last] = plan.ports;
    let request = match plan.request_bytes {
        0 => "none".to_owned(),
        bytes => format!("{} bytes", grouped(bytes)),
    };
    let hold = match plan.hold_s {
        None => "as long as the other limits have it".to_owned(),
        Some(0.0) => "not at all".to_owned(),
        Some(hold) => seconds(hold),
    };
    let rows = [
        ("rate", plan.rate.map_or_else(|| "no schedule".to_owned(), |rate| format!("{} connections/s", grouped(rate)))),
        ("at once, at most", limit(plan.concurrency, "no limit")),
        ("connections in all", limit(plan.connections, "no limit")),
        ("duration", seconds(plan.duration_s)),
        ("ramp", if plan.ramp_s > 0.0 { seconds(plan.ramp_s) } else { "none".to_owned() }),
        ("each is held", hold),
        ("request", request),
        ("closed by", plan.close.clone()),
        ("source addresses", plan.source.clone()),
        ("source ports", format!("{first} to {last}")),
    ];
    table(&[], &rows.map(|(name, value)| vec![Cell::text(name), Cell::text(value)]))
}

fn latency(report: &BlastReport) -> String {
    let phases = phases(report);
    if phases.is_empty() {
        return paragraph("No latency was measured.");
    }
    let mut head = vec!["µs"];
    head.extend(phases.iter().map(|(name, ..)| *name));
    type Take = fn(&Latency) -> f64;
    let percentiles: [(&str, &str, Take); 5] = [
        ("50 %", "p50", |latency| latency.p50),
        ("90 %", "p90", |latency| latency.p90),
        ("99 %", "p99", |latency| latency.p99),
        ("99.9 %", "p999", |latency| latency.p999),
        ("max", "max", |latency| latency.max),
    ];
    let row = |(name, field, take): (&str, &str, Take)| {
        let mut row = vec![Cell::text(name)];
        row.extend(phases.iter().map(|(_, _, key, latency)| {
            Cell::Number(measure(&format!("/latency_us/{key}/{field}"), take(latency), 1))
        }));
        row
    };
    let mut rows: Vec<Vec<Cell>> = percentiles.map(row).into();
    let mut counts = vec![Cell::text("measured")];
    counts.extend(
        phases
            .iter()
            .map(|(_, _, key, latency)| Cell::Number(count(&format!("/latency_us/{key}/count"), latency.count))),
    );
    rows.push(counts);
    let meaning = "Handshake: from the intended start to ESTABLISHED, so that a start that was late counts as waiting. \
                   First byte: from ESTABLISHED to the first byte of the answer. Teardown: from the first FIN until both \
                   are acknowledged. Total: from the intended start to the end, without the time of a hold.";
    charts::percentiles(&phases) + &table(&head, &rows) + &paragraph(meaning)
}

fn failures(report: &BlastReport) -> String {
    let connections = &report.connections;
    if connections.failed_total() == 0 {
        return paragraph("No connection failed.");
    }
    let mut failed: Vec<(&String, u64)> = connections.failed.iter().map(|(reason, count)| (reason, *count)).collect();
    failed.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let bar = |(reason, count): &(&String, u64)| Bar {
        name: reason.to_string(),
        value: float(*count),
        spread: None,
        text: grouped(*count),
        colour: Colour::Red,
    };
    let chart = BarChart {
        title: "Failed connections by reason".into(),
        summary: commonest(connections),
        label: "connections".into(),
        bars: failed.iter().map(bar).collect(),
    };
    let row = |(reason, failed): &(&String, u64)| {
        // A JSON pointer writes ~ and / in a key like this.
        let key = reason.replace('~', "~0").replace('/', "~1");
        vec![
            Cell::Noted(reason.to_string(), hint(reason).to_owned()),
            Cell::Number(count(&format!("/connections/failed/{key}"), *failed)),
            Cell::Number(share(float(*failed), float(connections.attempted))),
        ]
    };
    let rows: Vec<Vec<Cell>> = failed.iter().map(row).collect();
    figure("Failed connections by reason.", &chart.svg())
        + &table(&["reason, and what it means", "connections", "of attempted"], &rows)
}

fn generator(generator: &GeneratorReport) -> String {
    let number = |name: &str, html: String| vec![Cell::text(name), Cell::Number(html)];
    let rows = vec![
        number("workers, one a queue", count("/generator/workers", generator.workers)),
        number("XDP mode", escape(&generator.mode)),
        number("busiest worker, % of the time", measure("/generator/busy_percent", generator.busy_percent, 1)),
        number("in progress at once, at most", count("/generator/most_in_progress", generator.most_in_progress)),
        number("starts more than 1 ms late", count("/generator/late", generator.late)),
        number("latest start, µs late", measure("/generator/most_late_us", generator.most_late_us, 1)),
    ];
    let limit = |(name, times): (&String, &u64)| {
        let key = name.replace('~', "~0").replace('/', "~1");
        vec![Cell::text(name.as_str()), Cell::Number(count(&format!("/generator/limits/{key}"), *times))]
    };
    let limits: Vec<Vec<Cell>> = generator.limits.iter().map(limit).collect();
    let limits = if limits.is_empty() {
        paragraph("No limit of the generator was reached.")
    } else {
        table(&["limit", "times reached"], &limits)
    };
    let bottleneck = match &generator.bottleneck {
        Some(bottleneck) => format!("What held the run back, if it was not the target: {bottleneck}."),
        None => "Nothing in the generator held the run back.".to_owned(),
    };
    let bottleneck = paragraph(&bottleneck);
    format!("{bottleneck}<div class=\"columns\">\n{}<div>{limits}</div>\n</div>\n", table(&[], &rows))
}

fn search_steps(search: &SearchReport) -> String {
    let row = |(i, step): (usize, &super::report::SearchStep)| {
        let at = |field: &str, value: f64| measure(&format!("/search/steps/{i}/{field}"), value, 0);
        vec![
            Cell::Number(at("rate", step.rate)),
            Cell::Number(at("offered", step.offered)),
            Cell::Number(at("completed", step.completed)),
            Cell::Number(count(&format!("/search/steps/{i}/failed"), step.failed)),
            Cell::text(if step.passed { "passed" } else { "failed" }),
        ]
    };
    let rows: Vec<Vec<Cell>> = search.steps.iter().enumerate().map(row).collect();
    let found =
        format!("<p>Highest rate without loss: {} connections/s.</p>\n", measure("/search/rate", search.rate, 0));
    let chart = figure("Each rate that was tried: what was offered and what was completed.", &charts::search(search));
    found + &chart + &table(&["rate asked for", "offered/s", "completed/s", "failed", "verdict"], &rows)
}

#[cfg(test)]
mod tests;
