//! A profile as folded stacks, one a line with its nanoseconds, which flame-graph tools read (inferno, flamegraph.pl, speedscope).

use super::{ProfileReport, Profiled};
use crate::profile::Stage;
use std::fmt::Write as _;

/// Every worker's whole period. What the stages take in turns that were timed stage by stage is spread over all turns with
/// something to do, so that the stacks add up to the period.
pub fn folded(report: &ProfileReport) -> String {
    let mut lines = String::new();
    for worker in &report.workers {
        add(&mut lines, worker.queue, &worker.profiled);
    }
    lines
}

fn add(lines: &mut String, queue: u32, profiled: &Profiled) {
    let mut line = |stack: &str, ns: f64| {
        if ns >= 0.5 {
            let _ = writeln!(lines, "worker {queue};{stack} {ns:.0}");
        }
    };
    for part in &profiled.period {
        if part.name == "turns" {
            for stage in &profiled.stages {
                line(&stack_of(&stage.name), stage.percent / 100.0 * part.ns);
            }
            if profiled.turns.detailed == 0 {
                line("turn", part.ns);
            }
        } else {
            line(&part.name.replacen('_', ";", 1), part.ns);
        }
    }
}

/// Where a stage lies within a turn.
fn stack_of(stage: &str) -> String {
    let is_engine = Stage::ALL.into_iter().any(|known| known.name() == stage && known.is_engine());
    if is_engine { format!("turn;engine;{stage}") } else { format!("turn;{stage}") }
}
