//! The simulation (`handfast::sim`) with smoltcp as the independent end.
//!
//! ```text
//! cargo test --test sim                              a fixed range of seeds, in batches: the gate
//! cargo test --release --no-default-features --test sim -- seed 12345      one seed, in words; add "trace" to see its last events
//! cargo test --release --no-default-features --test sim -- soak 10m        seeds without end, for so long; scripts/soak is the short form
//! ```
//!
//! A failure names its seed, the rule, the step and the command that brings it back. The same seed is the same run to the bit,
//! in every build.

#[path = "../common/alloc.rs"]
mod alloc;
mod smol;
mod soak;
mod watch;

use handfast::sim::scenario::Scenario;
use handfast::sim::world::Summary;
use libtest_mimic::{Arguments, Failed, Trial};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Seeds of the gate.
const SEEDS: u64 = 2_000;
/// Seeds of one test.
const BATCH: u64 = 100;
/// Of this many seeds in a batch at least one in three has to run undisturbed to its end: the strictest rules are for those.
const LEAST_COMPLETE: u64 = BATCH / 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["seed", seed] => replay(seed, false),
        ["seed", seed, "trace"] => replay(seed, true),
        ["soak", time] => soak::run_words(time),
        _ => libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
    }
}

/// Runs the scenario of `seed`; the error says all that is known of its failure.
fn run(seed: u64) -> Result<Summary, String> {
    let scenario = Scenario::from_seed(seed, true);
    let run = || scenario.run(Some(&smol::Smol::boxed), alloc::allocations);
    watch::begins(seed);
    let result = catch_unwind(AssertUnwindSafe(run));
    watch::ends();
    let what = match result {
        Ok(Ok(summary)) => return Ok(summary),
        Ok(Err(failure)) => format!("breaks a rule: {failure}"),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
            format!("panics: {text}\n")
        }
    };
    let command = "cargo test --release --no-default-features --test sim -- seed";
    Err(format!("seed {seed} {what}{scenario:#?}\nto see it again: {command} {seed}"))
}

fn replay(seed: &str, trace: bool) -> ExitCode {
    let Ok(seed) = seed.parse() else {
        eprintln!("a seed is a number between 0 and 2^64 - 1, not {seed:?}");
        return ExitCode::from(2);
    };
    match run(seed) {
        Ok(summary) => {
            println!("seed {seed} keeps all rules: {summary:#?}");
            if trace {
                println!("{}", summary.tail);
            }
            ExitCode::SUCCESS
        }
        Err(report) => {
            println!("{report}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("a_handshake_over_a_perfect_link_is_completed_with_smoltcp", smol::perfect_handshake),
        Trial::test("the_same_seed_is_the_same_run", the_same_seed_is_the_same_run),
        Trial::test("our_own_engine_alone_keeps_all_rules", our_own_engine_alone_keeps_all_rules),
    ];
    trials.extend((0..SEEDS / BATCH).map(|batch| {
        let (first, behind) = (batch * BATCH, (batch + 1) * BATCH);
        Trial::test(format!("seeds_{first}_to_{}_keep_all_rules", behind - 1), move || seeds(first, behind))
    }));
    trials
}

fn seeds(first: u64, behind: u64) -> Result<(), Failed> {
    let mut complete = 0;
    for seed in first..behind {
        let summary = run(seed)?;
        complete += u64::from(summary.complete);
    }
    if complete < LEAST_COMPLETE {
        return Err(
            format!("only {complete} of {BATCH} runs were undisturbed: the scenarios have become too rough").into()
        );
    }
    Ok(())
}

fn the_same_seed_is_the_same_run() -> Result<(), Failed> {
    let mut hashes = Vec::new();
    for seed in 0..50 {
        let (first, second) = (run(seed)?, run(seed)?);
        if first != second {
            return Err(format!("seed {seed} ran twice, differently: {first:#?} {second:#?}").into());
        }
        hashes.push(first.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.len() == 50 { Ok(()) } else { Err("two seeds are the same run".into()) }
}

fn our_own_engine_alone_keeps_all_rules() -> Result<(), Failed> {
    for seed in 0..BATCH {
        let result = Scenario::from_seed(seed, false).run(None, alloc::allocations);
        result.map_err(|failure| format!("seed {seed} without an independent TCP: {failure}"))?;
    }
    Ok(())
}
