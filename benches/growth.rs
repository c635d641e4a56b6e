//! How the cost of a segment grows with the number of flows, of listeners, and with loss; what a flow takes in memory, and how long an engine
//! takes to start. `scripts/plots` draws the figures into docs.
//!
//! Without an argument the figures are printed; with a folder, the plots are written there, too.
#![allow(missing_docs, reason = "a program without a public part")]

mod world;

use handfast::engine::Engine;
use handfast::observe::chart::{self, Axis, Line, LineChart, Look};
use handfast::observe::number;
use handfast::observe::page::Colour;
use handfast::time::Now;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use world::{Order, Population, Setup};

/// Runs of a population, of which the median counts.
const RUNS: usize = 5;
/// Bursts in a run.
const BURSTS: u64 = 4_000;
/// The largest table.
const MOST_FLOWS: u32 = 1 << 23;

/// A cost over something: (what it depends on, ns a segment).
type Points = Vec<(f64, f64)>;

/// Nanoseconds that a received segment takes, as the median of some runs.
fn cost(setup: &Setup) -> f64 {
    let mut population = Population::new(setup);
    population.run(BURSTS);
    let mut costs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let before = population.segments;
            let took = population.run(BURSTS);
            #[expect(clippy::cast_precision_loss, reason = "far less than 2^52 segments and nanoseconds")]
            let cost = took.as_nanos() as f64 / (population.segments - before) as f64;
            cost
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    costs[RUNS / 2]
}

/// The cost at each of these setups, printed as it comes.
fn costs(over: &str, setups: impl IntoIterator<Item = (f64, Setup)>) -> Points {
    println!("{over:>16}   ns a segment");
    let measured = setups.into_iter().map(|(at, setup)| {
        let cost = cost(&setup);
        println!("{:>16}   {cost:.1}", number::short(at));
        (at, cost)
    });
    measured.collect()
}

fn plot(title: &str, x: Axis, points: Points) -> String {
    let highest = points.iter().map(|(_, cost)| *cost).fold(0.0, f64::max);
    let line = Line { name: "one segment".into(), colour: Colour::Blue, look: Look::Line, points: points.clone() };
    let marks = Line { name: "measured".into(), colour: Colour::Blue, look: Look::Dots, points };
    let chart = LineChart {
        title: title.into(),
        summary: "Nanoseconds that a worker takes for a received segment, over memory".into(),
        x,
        y: Axis::from_zero("ns for a received segment", highest, 6, |value| number::fixed(value, 0)),
        lines: vec![line, marks],
        height: 240.0,
        room: ["", ""],
    };
    chart::file(&chart.svg())
}

fn main() -> ExitCode {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let began = Instant::now();
    let started = world::engine(&Setup::new(MOST_FLOWS, Order::Random), Now::from_millis(1));
    println!("an engine for {} flows starts in {:.2} s", started.capacity(), began.elapsed().as_secs_f64());
    drop(started);
    #[expect(clippy::cast_precision_loss, reason = "far less than 2^52 bytes")]
    let bytes = Engine::memory_bytes(MOST_FLOWS) as f64 / f64::from(MOST_FLOWS);
    println!("a flow takes {bytes:.2} bytes");

    let sizes = [10, 12, 14, 16, 18, 20, 22, 23].map(|bits| 1_u32 << bits);
    let flows = costs("flows", sizes.map(|flows| (f64::from(flows), Setup::new(flows, Order::Random))));
    let few = |listeners| Setup { listeners, ..Setup::new(1 << 14, Order::Random) };
    let listeners = costs("listeners", [1, 10, 100, 1_000, 10_000].map(|count| (f64::from(count), few(count))));
    let losing = |lose_one_of| Setup { lose_one_of, ..Setup::new(1 << 14, Order::Random) };
    let loss = costs(
        "% lost",
        [(0.0, 0), (1.0, 100), (2.0, 50), (5.0, 20), (10.0, 10)].map(|(share, one_of)| (share, losing(one_of))),
    );

    let Some(folder) = folder else { return ExitCode::SUCCESS };
    let count = number::short;
    let plots = [
        (
            "growth-flows.svg",
            plot(
                "Cost of a segment over the number of flows",
                Axis::log("flows, in random order", 1e3, 1e7, count),
                flows,
            ),
        ),
        (
            "growth-listeners.svg",
            plot("Cost of a segment over the number of listeners", Axis::log("listeners", 1.0, 1e4, count), listeners),
        ),
        (
            "growth-loss.svg",
            plot(
                "Cost of a segment over loss",
                Axis::from_zero("% of the peers' segments lost", 10.0, 10, count),
                loss,
            ),
        ),
    ];
    for (name, svg) in plots {
        let path = Path::new(&folder).join(name);
        if let Err(error) = std::fs::write(&path, svg) {
            eprintln!("growth: cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
