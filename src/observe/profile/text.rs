//! A profile as a page of text.

use super::{Batch, Part, ProfileReport, Profiled, Spread};
use crate::observe::number::{fixed, share, time};
use crate::observe::text::grouped;
use std::fmt::Write as _;

/// The page: each queue, and all of them together if there are several.
pub fn page(report: &ProfileReport) -> String {
    let ProfileReport { version, interface, duration_s, every, clock, .. } = report;
    let mut page = format!("handfast {version} on {interface}, profiled for {duration_s} s; {}\n", sampling(*every));
    for worker in &report.workers {
        let _ = writeln!(page, "\nqueue {} on core {}", worker.queue, worker.core);
        page.push_str(&profiled(&worker.profiled));
    }
    if report.workers.len() > 1 {
        page.push_str("\nall queues\n");
        page.push_str(&profiled(&report.total));
    }
    page.push_str(&budgets(report));
    let Profiled { clock_ghz, clock_read_ns, .. } = report.total;
    let _ = writeln!(
        page,
        "clock       {clock}, {clock_ghz:.3} GHz; a reading takes {clock_read_ns:.1} ns and is taken out of the stages"
    );
    page
}

/// How the turns were timed.
pub(super) fn sampling(every: u32) -> String {
    match every {
        1 => "every turn timed stage by stage".to_owned(),
        every => format!("one of {every} turns timed stage by stage, the others as a whole"),
    }
}

/// A name in the report as people read it.
pub(super) fn spoken(name: &str) -> String {
    name.replace('_', ": ")
}

fn profiled(profiled: &Profiled) -> String {
    let Profiled { frames, turns, kernel, .. } = profiled;
    let mut page = format!(
        "frames      {} received ({:.1} % of them timed), {} sent, {} of these by themselves\n",
        grouped(frames.received),
        profiled.sampled_percent,
        grouped(frames.sent),
        grouped(frames.emitted)
    );
    let _ = writeln!(
        page,
        "turns       {} with something to do ({} timed stage by stage), {} empty",
        grouped(turns.detailed + turns.whole),
        grouped(turns.detailed),
        grouped(turns.empty)
    );
    page.push('\n');
    let _ = writeln!(page, "{:<16}{:>12}{:>14}{:>12}", "stage", "ns/frame", "cycles/frame", "of a turn");
    for part in profiled.stages.iter().chain([&profiled.turn]) {
        page.push_str(&row(part));
    }
    let _ = writeln!(
        page,
        "  the stages add up to {:.2} % of the turns, which are timed by themselves",
        profiled.attributed_percent
    );
    page.push_str(&cost(profiled));
    page.push('\n');
    let _ = writeln!(page, "{:<16}{:>12}{:>14}{:>12}", "period", "ns/frame", "cycles/frame", "of all time");
    for part in &profiled.period {
        page.push_str(&row(part));
    }
    page.push('\n');
    let _ = writeln!(page, "batches     {}", batches(&profiled.batches));
    let _ = writeln!(page, "turn        {}", spread(&profiled.turn_us));
    let _ = writeln!(page, "completion  {}", spread(&profiled.completion_lag_us));
    let _ = writeln!(
        page,
        "kernel      {} kicks ({} frames each; {} left work, {} failed), {} wakeups for receiving, {} sleeps, {} publications: {} calls a frame",
        grouped(kernel.kicks),
        number(kernel.frames_per_kick, 1),
        grouped(kernel.kicks_again),
        grouped(kernel.kicks_failed),
        grouped(kernel.rx_wakeups),
        grouped(kernel.sleeps),
        grouped(kernel.publications),
        number(kernel.per_frame, 3)
    );
    page
}

fn row(part: &Part) -> String {
    format!(
        "{:<16}{:>12}{:>14}{:>10.2} %\n",
        spoken(&part.name),
        number(part.ns_per_frame, 1),
        number(part.cycles_per_frame, 0),
        part.percent
    )
}

/// What being timed costs, as far as it was measured.
fn cost(profiled: &Profiled) -> String {
    match (profiled.whole_ns_per_frame, profiled.turn.ns_per_frame) {
        (Some(whole), Some(detailed)) => format!(
            "  turns timed as a whole took {} ns a frame, those timed stage by stage {}\n",
            fixed(whole, 1),
            fixed(detailed, 1)
        ),
        _ => String::new(),
    }
}

/// With decimals; a dash where there is none.
pub(super) fn number(value: Option<f64>, decimals: usize) -> String {
    fixed(value.unwrap_or(f64::NAN), decimals)
}

/// The frames of a batch.
pub(super) fn size(batch: &Batch) -> String {
    let Batch { least, most, .. } = batch;
    if least == most { least.to_string() } else { format!("{least}-{most}") }
}

fn batches(batches: &[Batch]) -> String {
    let all: u64 = batches.iter().map(|batch| batch.turns).sum();
    let taken = batches.iter().filter(|batch| batch.turns > 0);
    let shares = taken.map(|batch| format!("{}: {}", size(batch), share(super::float(batch.turns), super::float(all))));
    let shares = shares.collect::<Vec<_>>().join(", ");
    if shares.is_empty() { "no turn had anything to do".to_owned() } else { format!("frames a turn: {shares}") }
}

fn spread(spread: &Spread) -> String {
    let Spread { count, p50, p90, p99, max } = spread;
    if *count == 0 {
        return "none was timed".to_owned();
    }
    let [p50, p90, p99, max] = [p50, p90, p99, max].map(|us| time(*us));
    format!("p50 {p50}, p90 {p90}, p99 {p99}, longest {max} ({} timed)", grouped(*count))
}

fn budgets(report: &ProfileReport) -> String {
    let Some(ns) = report.total.ns_per_frame else {
        return "\nNo frame was received in a turn that was timed stage by stage.\n".to_owned();
    };
    let mut page =
        format!("\nA frame takes {} ns of a worker. A full link of frames of 64 bytes has for each:\n", fixed(ns, 1));
    for budget in &report.budgets {
        let _ = writeln!(
            page,
            "  {:<8}{:>8} ns, this is {} times as much",
            budget.link,
            fixed(budget.ns_per_frame, 2),
            number(budget.times, 2)
        );
    }
    page.push('\n');
    page
}
