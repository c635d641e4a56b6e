//! The comparison as one HTML page: rates as bars with their spread, one chart an engine, and the tables. Every figure is one of
//! the report's, which is embedded as JSON.

use super::report::{BenchReport, ContenderReport, Measured, PacketCeiling, Ratio};
use crate::observe::chart::{Bar, BarChart};
use crate::observe::number;
use crate::observe::page::{Cell, Colour, document, escape, figure, measure, paragraph, section, table};
use std::fmt::Write as _;

/// The engines of the generator, each with what a rate means under it.
const ENGINES: [(&str, &str); 2] = [
    ("afxdp", "As fast as the generator over AF_XDP goes, 512 connections in progress"),
    ("xdp", "The highest rate without loss, offered from below the socket"),
];

/// The whole page.
pub(super) fn page(report: &BenchReport) -> String {
    let mut body = header(report);
    for (engine, meaning) in ENGINES {
        let bars = bars(report, engine);
        if bars.is_empty() {
            continue;
        }
        let chart = BarChart {
            title: format!("Connections a second under the engine {engine}"),
            summary: format!("{meaning}. Medians over {} rounds with least and most.", report.rounds),
            label: "connections a second".to_owned(),
            bars,
        };
        let heading = format!("Connections a second, engine {engine}");
        let caption = format!("{meaning}. Medians over the rounds; whiskers from the least to the most.");
        body.push_str(&section(&format!("rate-{engine}"), &heading, &figure(&caption, &chart.svg())));
    }
    body.push_str(&section("ratios", "Ratios, pair by pair", &ratios(&report.ratios)));
    body.push_str(&section("contenders", "Contenders", &contenders(&report.contenders)));
    if !report.packet_ceilings.is_empty() {
        body.push_str(&section("frames", "Frames alone", &frames(&report.packet_ceilings)));
    }
    body.push_str(&section("commands", "The commands of each contender", &commands(&report.contenders)));
    document("handfast bench", &body, &crate::observe::json::line(report))
}

fn header(report: &BenchReport) -> String {
    let BenchReport { version, date, machine, wire, .. } = report;
    let machine = format!("handfast {version}, {date}: Linux {}, {}", machine.kernel, machine.cpu);
    let wire = format!(
        "One veth pair with {} queue(s); server on core {} ({}), generator on core {} ({}). {} rounds of {} s a contender, in turn.",
        wire.queues,
        report.machine.server_core,
        wire.server_xdp_mode,
        report.machine.generator_core,
        wire.client_xdp_mode,
        report.rounds,
        report.duration_s
    );
    let notes: String = report.notes.iter().map(|note| paragraph(note)).collect();
    format!(
        "<header>\n<h1>The kernel's listener, handfast, and the ceiling</h1>\n<p class=\"under\">{}</p>\n{}{notes}</header>\n",
        escape(&machine),
        paragraph(&wire)
    )
}

/// The colour of a contender, the same in every chart.
fn colour(name: &str) -> Colour {
    match name {
        "kernel" => Colour::Amber,
        "ceiling" => Colour::Grey,
        "handfast close" => Colour::Green,
        _ => Colour::Blue,
    }
}

/// The contenders under one engine.
fn bars(report: &BenchReport, engine: &str) -> Vec<Bar> {
    let bar = |contender: &ContenderReport| {
        let measured = contender.by_engine().find(|measured| measured.engine == engine)?;
        Some(Bar {
            name: contender.name.clone(),
            value: measured.connections_per_second,
            spread: Some((measured.min, measured.max)),
            text: number::fixed(measured.connections_per_second, 0),
            colour: colour(&contender.name),
        })
    };
    report.contenders.iter().filter_map(bar).collect()
}

fn ratios(ratios: &[Ratio]) -> String {
    let row = |(i, ratio): (usize, &Ratio)| {
        let at = |field: &str| format!("/ratios/{i}/{field}");
        vec![
            Cell::text(&ratio.name),
            Cell::text(&ratio.engine),
            Cell::Number(measure(&at("ratio"), ratio.ratio, 2)),
            Cell::Number(measure(&at("min"), ratio.min, 2)),
            Cell::Number(measure(&at("max"), ratio.max, 2)),
        ]
    };
    let rows: Vec<Vec<Cell>> = ratios.iter().enumerate().map(row).collect();
    table(&["ratio", "engine", "median", "least", "most"], &rows)
}

fn contenders(contenders: &[ContenderReport]) -> String {
    let mut rows = Vec::new();
    let about: String = contenders.iter().map(|one| paragraph(&format!("{}: {}.", one.name, one.about))).collect();
    for (i, contender) in contenders.iter().enumerate() {
        for measured in contender.by_engine() {
            let place = if std::ptr::eq(measured, &contender.measured) { "" } else { "/second" };
            rows.push(contender_row(contender, measured, &format!("/contenders/{i}{place}")));
        }
    }
    let head = [
        "contender",
        "engine",
        "rate, 1/s",
        "least",
        "most",
        "handshake p50, us",
        "server core, us",
        "generator core, us",
        "failed",
    ];
    let cores = "Core times are those of a whole core, softirqs too, for one connection; a search has none.";
    about + &paragraph(cores) + &table(&head, &rows)
}

fn contender_row(contender: &ContenderReport, measured: &Measured, at: &str) -> Vec<Cell> {
    let number = |field: &str, value: f64, decimals| Cell::Number(measure(&format!("{at}/{field}"), value, decimals));
    let core = |field: &str, value: Option<f64>| match value {
        Some(value) => number(field, value, 2),
        None => Cell::Number(String::new()),
    };
    vec![
        Cell::text(&contender.name),
        Cell::text(&measured.engine),
        number("connections_per_second", measured.connections_per_second, 0),
        number("min", measured.min, 0),
        number("max", measured.max, 0),
        number("handshake_p50_us", measured.handshake_p50_us, 1),
        core("server_cpu_us_per_connection", measured.server_cpu_us_per_connection),
        core("generator_cpu_us_per_connection", measured.generator_cpu_us_per_connection),
        Cell::Number(crate::observe::page::count(&format!("{at}/failed"), measured.failed)),
    ]
}

fn frames(ceilings: &[PacketCeiling]) -> String {
    let bar = |ceiling: &PacketCeiling| Bar {
        name: format!("{}: {}", ceiling.name, ceiling.about),
        value: ceiling.mpps,
        spread: Some((ceiling.min, ceiling.max)),
        text: number::fixed(ceiling.mpps, 3),
        colour: Colour::Grey,
    };
    let chart = BarChart {
        title: "Millions of frames a second".to_owned(),
        summary: "What the wire does with frames of 64 bytes and no connections.".to_owned(),
        label: "million frames a second".to_owned(),
        bars: ceilings.iter().map(bar).collect(),
    };
    figure("What the wire does with frames of 64 bytes and no connections.", &chart.svg())
}

fn commands(contenders: &[ContenderReport]) -> String {
    let mut html = paragraph("Each can be repeated by hand in a lab (handfast lab up).");
    for contender in contenders {
        for measured in contender.by_engine() {
            let _ = writeln!(
                html,
                "<p><strong>{}, {}</strong><br><code>{}</code><br><code>{}</code></p>",
                escape(&contender.name),
                escape(&measured.engine),
                escape(&measured.server_command),
                escape(&measured.generator_command)
            );
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(engine: &str, rate: f64) -> Measured {
        Measured {
            engine: engine.into(),
            connections_per_second: rate,
            min: rate * 0.9,
            max: rate * 1.1,
            server_cpu_us_per_connection: (engine == "afxdp").then_some(5.25),
            server_command: "handfast serve <here>".into(),
            ..Measured::default()
        }
    }

    #[test]
    fn the_page_has_every_contender_under_each_engine_and_its_figures_are_the_jsons() {
        let contender = |name: &str, rate| ContenderReport {
            name: name.into(),
            about: "what it is".into(),
            measured: measured("afxdp", rate),
            second: Some(measured("xdp", rate * 1.5)),
        };
        let report = BenchReport {
            contenders: vec![contender("kernel", 64_000.0), contender("handfast discard", 196_000.0)],
            notes: vec!["a note & more".into()],
            ..BenchReport::default()
        };
        let page = page(&report);
        for part in ["id=\"rate-afxdp\"", "id=\"rate-xdp\"", "196,000", "294,000", "a note &amp; more", "&lt;here&gt;"]
        {
            assert!(page.contains(part), "{part}");
        }
        assert!(page.contains("data-json=\"/contenders/1/second/connections_per_second\""));
        assert!(!page.contains("id=\"frames\""), "there were none");
    }

    #[test]
    fn an_engine_that_was_not_used_has_no_chart() {
        let contender =
            ContenderReport { name: "kernel".into(), measured: measured("afxdp", 1.0), ..Default::default() };
        let page = page(&BenchReport { contenders: vec![contender], ..BenchReport::default() });
        assert!(page.contains("id=\"rate-afxdp\"") && !page.contains("id=\"rate-xdp\""));
    }
}
