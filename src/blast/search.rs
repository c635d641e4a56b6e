//! `--search`: the highest rate without loss, as RFC 2544 26.1 looks for a throughput: trials of a fixed length, each at a fixed
//! rate, until the highest that passed and the lowest that did not are within one percent.
//!
//! Not from the top, as the RFC has it, because nobody knows the top: from a low rate by doubling, then by halving what lies
//! between. What is not here: how a trial is run.

use super::args::BlastArgs;
use super::command::{BlastError, once};
use super::plan::Plan;
use super::report::{BlastReport, SearchReport, SearchStep, float};
use super::setup::Setup;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first rate that is tried, connections a second.
const FIRST_RATE: f64 = 10_000.0;
/// The highest rate that is tried if nobody says otherwise.
const HIGHEST_RATE: f64 = 4_000_000.0;
/// How close the result comes: the lowest rate that failed is at most this many times the highest that passed.
const WITHIN: f64 = 1.01;
/// Trials at most.
const MOST_TRIALS: usize = 40;
/// Least share of a rate that has to be offered for a trial to say something.
const OFFERED: f64 = 0.99;

/// The rates between which the answer lies, and which to try next. Pure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bracket {
    passed: f64,
    failed: f64,
    highest: f64,
}

impl Bracket {
    /// Nothing is known yet but the highest rate to try.
    pub fn new(highest: f64) -> Self {
        Self { passed: 0.0, failed: f64::INFINITY, highest }
    }

    /// The rate to try next; `None` if the answer is close enough.
    pub fn next(&self) -> Option<f64> {
        let first = FIRST_RATE.min(self.highest);
        if self.failed.is_infinite() {
            return match self.passed {
                0.0 => Some(first),
                passed if passed >= self.highest => None,
                passed => Some((passed * 2.0).min(self.highest)),
            };
        }
        if self.passed == 0.0 {
            // Even the first rate was too much: down to a connection a second.
            return (self.failed > 1.0).then(|| (self.failed / 2.0).max(1.0));
        }
        (self.failed > self.passed * WITHIN).then(|| (self.passed * self.failed).sqrt())
    }

    /// Takes the result of a trial.
    pub fn take(&mut self, rate: f64, passed: bool) {
        if passed {
            self.passed = self.passed.max(rate);
        } else {
            self.failed = self.failed.min(rate);
        }
    }

    /// The highest rate that passed; 0 if none did.
    pub fn passed(&self) -> f64 {
        self.passed
    }
}

/// Whether a trial at `rate` passed: it was offered, and no more than `tolerance` percent of it was lost. What had to be sent
/// again was lost before.
fn trial(rate: f64, report: &BlastReport, tolerance: f64) -> SearchStep {
    let again = |name: &str| report.generator.limits.get(name).copied().unwrap_or(0);
    let failed = report.connections.failed_total();
    let lost = failed + again("syn_retransmissions") + again("fin_retransmissions") + again("data_retransmissions");
    let attempted = float(report.connections.attempted);
    let offered = attempted / report.duration_s.max(1e-9);
    let passed = offered >= rate * OFFERED && float(lost) <= attempted * tolerance / 100.0;
    SearchStep { rate, offered, completed: report.connections_per_second, failed: lost, passed }
}

/// Searches, and returns the report of the best trial with the search in it; of the last one if none passed.
///
/// # Errors
///
/// What a trial failed with.
pub fn search(
    args: &BlastArgs,
    setup: &Setup,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<BlastReport, BlastError> {
    let highest = setup.plan.rate.map_or(HIGHEST_RATE, float);
    let mut bracket = Bracket::new(highest);
    let mut steps = Vec::new();
    let (mut best, mut last) = (None, None);
    while let Some(rate) = bracket.next().map(f64::round)
        && steps.len() < MOST_TRIALS
        && !stop.load(Ordering::Relaxed)
    {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole rate from 1 to the highest"
        )]
        let plan = Plan { rate: Some(rate as u64), ..setup.plan.clone() };
        let report = once(args, setup, &plan, stop, &mut |_| {})?;
        let step = trial(rate, &report, args.tolerance);
        bracket.take(rate, step.passed);
        tell(&format!(
            "{:>9.0}/s: {:>9.0}/s offered, {:>9.0}/s completed, {} lost or sent again: {}",
            rate,
            step.offered,
            step.completed,
            step.failed,
            if step.passed { "passed" } else { "failed" }
        ));
        steps.push(step);
        if step.passed { best = Some(report) } else { last = Some(report) }
    }
    let mut report = match (best, last) {
        (Some(best), _) | (None, Some(best)) => best,
        (None, None) => once(args, setup, &setup.plan, stop, tell)?,
    };
    report.search = Some(SearchReport { rate: bracket.passed(), steps });
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates that are tried on a target that takes up to `limit`.
    fn tried(limit: f64, highest: f64) -> (Vec<f64>, f64) {
        let mut bracket = Bracket::new(highest);
        let mut rates = Vec::new();
        while let Some(rate) = bracket.next() {
            assert!(rates.len() < MOST_TRIALS, "{rates:?}");
            bracket.take(rate, rate <= limit);
            rates.push(rate);
        }
        (rates, bracket.passed())
    }

    #[test]
    fn the_answer_is_found_to_within_one_percent() {
        for limit in [3.0, 999.0, 10_000.0, 123_456.0, 447_000.0, 3_900_000.0] {
            let (rates, found) = tried(limit, HIGHEST_RATE);
            assert!(found <= limit && found * WITHIN >= limit * 0.999, "{limit}: {found}");
            assert!(rates.len() <= 22, "{limit}: {rates:?}");
        }
    }

    #[test]
    fn the_highest_rate_ends_it_and_a_dead_target_too() {
        assert_eq!(tried(f64::INFINITY, 25_000.0).0, [10_000.0, 20_000.0, 25_000.0]);
        assert_eq!(tried(f64::INFINITY, 500.0).0, [500.0]);
        assert_eq!(tried(0.0, HIGHEST_RATE).1.to_bits(), 0);
    }
}
