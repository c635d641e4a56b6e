//! A profile as an HTML page: a frame's way through the stages, the whole period, batches, and what links have for a frame.

use super::text::{number, sampling, size, spoken};
use super::{Budget, Part, ProfileReport, Profiled, float};
use crate::observe::chart::{Bar, BarChart};
use crate::observe::number::{fixed, short};
use crate::observe::page::{Cell, Colour, count, document, escape, figure, measure, paragraph, section, table};
use crate::profile::Stage;

/// The page.
pub fn page(report: &ProfileReport) -> String {
    let total = &report.total;
    let mut body = header(report);
    let stages = figure(
        "Nanoseconds of each stage for a received frame. Blue is the engine; profiling is what the readings of the clock took, \
         and the other stages are without it.",
        &stage_chart(total).svg(),
    );
    let added = format!(
        "The stages add up to {} % of the length of the turns, which is taken by readings of its own.",
        fixed(total.attributed_percent, 2)
    );
    body.push_str(&section(
        "stages",
        "A frame's way through a turn",
        &(stages + &paragraph(&added) + &stage_table(total, "/total")),
    ));
    body.push_str(&section("budgets", "What links have for a frame", &budgets(report)));
    body.push_str(&section("period", "The whole period", &period(total)));
    body.push_str(&section("batches", "Frames a turn", &batches(total)));
    body.push_str(&section("times", "Turns, completions, calls of the kernel", &times(total)));
    if report.workers.len() > 1 {
        for (i, worker) in report.workers.iter().enumerate() {
            let (id, at) = (format!("queue-{}", worker.queue), format!("/workers/{i}"));
            let heading = format!("Queue {} on core {}", worker.queue, worker.core);
            body.push_str(&section(&id, &heading, &stage_table(&worker.profiled, &at)));
        }
    }
    document(&format!("handfast profile of {}", report.interface), &body, &crate::observe::json::line(report))
}

fn header(report: &ProfileReport) -> String {
    let ProfileReport { version, interface, duration_s, every, clock, total, .. } = report;
    let about = format!(
        "handfast {version}, {} queue(s), profiled for {duration_s} s; {} ({} % of the frames). Clock: {clock}, {} GHz, a reading takes {} ns.",
        report.workers.len(),
        sampling(*every),
        fixed(total.sampled_percent, 1),
        fixed(total.clock_ghz, 3),
        fixed(total.clock_read_ns, 1)
    );
    let verdict = match total.ns_per_frame {
        Some(ns) => format!("{} ns a frame", fixed(ns, 1)),
        None => "No frame was received in a turn that was timed stage by stage".to_owned(),
    };
    let longest = total.stages.iter().max_by(|a, b| a.ns.total_cmp(&b.ns));
    let longest =
        longest.map(|part| format!("The longest stage is {}: {} % of a turn.", part.name, fixed(part.percent, 1)));
    format!(
        "<header>\n<h1>Where a frame's time goes on {}</h1>\n<p class=\"under\">{}</p>\n\
         <div class=\"verdict blue\"><strong>{}</strong>{}</div></header>\n",
        escape(interface),
        escape(&about),
        escape(&verdict),
        paragraph(&longest.unwrap_or_default())
    )
}

/// The colour of a stage.
fn colour(name: &str) -> Colour {
    match Stage::ALL.into_iter().find(|stage| stage.name() == name) {
        Some(stage) if stage.is_engine() => Colour::Blue,
        Some(Stage::Kick) => Colour::Amber,
        Some(_) => Colour::Green,
        None => Colour::Grey,
    }
}

fn stage_chart(total: &Profiled) -> BarChart {
    let bar = |part: &Part| Bar {
        name: spoken(&part.name),
        value: part.ns_per_frame.unwrap_or(0.0),
        spread: None,
        text: number(part.ns_per_frame, 1),
        colour: colour(&part.name),
    };
    BarChart {
        title: "Nanoseconds of each stage for a received frame".to_owned(),
        summary: format!("Of {} ns in all.", number(total.turn.ns_per_frame, 1)),
        label: "ns a frame".to_owned(),
        bars: total.stages.iter().map(bar).collect(),
    }
}

fn part_row(part: &Part, at: &str) -> Vec<Cell> {
    let optional = |field: &str, value: Option<f64>, decimals| match value {
        Some(value) => Cell::Number(measure(&format!("{at}/{field}"), value, decimals)),
        None => Cell::Number("–".to_owned()),
    };
    vec![
        Cell::text(spoken(&part.name)),
        optional("ns_per_frame", part.ns_per_frame, 1),
        optional("cycles_per_frame", part.cycles_per_frame, 0),
        Cell::Number(measure(&format!("{at}/percent"), part.percent, 2)),
    ]
}

fn stage_table(profiled: &Profiled, at: &str) -> String {
    let stages = profiled.stages.iter().enumerate();
    let mut rows: Vec<_> = stages.map(|(i, part)| part_row(part, &format!("{at}/stages/{i}"))).collect();
    rows.push(part_row(&profiled.turn, &format!("{at}/turn")));
    table(&["stage", "ns a frame", "cycles a frame", "% of a turn"], &rows)
}

fn budgets(report: &ProfileReport) -> String {
    let Some(ns) = report.total.ns_per_frame else { return paragraph("No frame was timed stage by stage.") };
    let row = |(i, budget): (usize, &Budget)| {
        let times = budget.times.unwrap_or(f64::NAN);
        vec![
            Cell::text(&budget.link),
            Cell::Number(measure(&format!("/budgets/{i}/ns_per_frame"), budget.ns_per_frame, 2)),
            Cell::Number(measure(&format!("/budgets/{i}/times"), times, 2)),
        ]
    };
    let rows: Vec<_> = report.budgets.iter().enumerate().map(row).collect();
    let about = format!("A frame takes {} ns of a worker. A full link of frames of 64 bytes has:", fixed(ns, 1));
    paragraph(&about) + &table(&["link", "ns a frame", "times as much here"], &rows)
}

fn period(total: &Profiled) -> String {
    let bar = |part: &Part| Bar {
        name: spoken(&part.name),
        value: part.percent,
        spread: None,
        text: format!("{} %", fixed(part.percent, 2)),
        colour: if part.name.starts_with("idle") { Colour::Grey } else { Colour::Blue },
    };
    let chart = BarChart {
        title: "Shares of the whole period".to_owned(),
        summary: "Turns with something to do, and what lies between them.".to_owned(),
        label: "% of the period".to_owned(),
        bars: total.period.iter().map(bar).collect(),
    };
    let rows: Vec<_> =
        total.period.iter().enumerate().map(|(i, part)| part_row(part, &format!("/total/period/{i}"))).collect();
    let head = ["period", "ns a frame", "cycles a frame", "% of all time"];
    figure("Turns with something to do, and what lies between them.", &chart.svg()) + &table(&head, &rows)
}

fn batches(total: &Profiled) -> String {
    let bar = |batch: &super::Batch| Bar {
        name: format!("{} frame{}", size(batch), if batch.most == 1 { "" } else { "s" }),
        value: float(batch.turns),
        spread: None,
        text: short(float(batch.turns)),
        colour: Colour::Green,
    };
    let chart = BarChart {
        title: "Turns by the frames that they received".to_owned(),
        summary: "Turns with something to do; 64 frames are a full burst.".to_owned(),
        label: "turns".to_owned(),
        bars: total.batches.iter().map(bar).collect(),
    };
    figure("Turns with something to do by the frames that they received; 64 are a full burst.", &chart.svg())
}

fn times(total: &Profiled) -> String {
    let spread = |name: &str, key: &str, spread: &super::Spread| {
        let measured = |field: &str, value: f64| Cell::Number(measure(&format!("/total/{key}/{field}"), value, 1));
        vec![
            Cell::text(name),
            Cell::Number(count(&format!("/total/{key}/count"), spread.count)),
            measured("p50", spread.p50),
            measured("p90", spread.p90),
            measured("p99", spread.p99),
            measured("max", spread.max),
        ]
    };
    let spreads = [
        spread("length of a turn", "turn_us", &total.turn_us),
        spread("until frames are back", "completion_lag_us", &total.completion_lag_us),
    ];
    let spreads = table(&["microseconds", "timed", "p50", "p90", "p99", "longest"], &spreads);
    let kernel = &total.kernel;
    let counted = |name: &str, at: &str, value: u64| vec![Cell::text(name), Cell::Number(count(at, value))];
    let mut rows = vec![
        counted("frames received", "/total/frames/received", total.frames.received),
        counted("frames sent", "/total/frames/sent", total.frames.sent),
        counted("calls to have the kernel send", "/total/kernel/kicks", kernel.kicks),
        counted("of these, with work left", "/total/kernel/kicks_again", kernel.kicks_again),
        counted("calls to have it receive", "/total/kernel/rx_wakeups", kernel.rx_wakeups),
        counted("sleeps", "/total/kernel/sleeps", kernel.sleeps),
        counted("publications", "/total/kernel/publications", kernel.publications),
    ];
    let shares = [
        ("frames for each call to send", "/total/kernel/frames_per_kick", kernel.frames_per_kick),
        ("calls for each received frame", "/total/kernel/per_frame", kernel.per_frame),
    ];
    for (name, at, value) in shares {
        rows.extend(value.map(|value| vec![Cell::text(name), Cell::Number(measure(at, value, 3))]));
    }
    spreads + &table(&[], &rows)
}
