//! Several runs as one result: of each step the median one with all its figures, beside the least and the most of all; of what comes
//! behind the worst. Ratios of peaks are taken within each run, since only there the wire was the same.
//!
//! What is not here: the order of turns. Contenders take them in turn, run by run.

use super::report::{After, DefenderReport, Peak, StepReport};

/// One contender's runs as one. There is at least one, and all have the same steps.
pub(super) fn contender(mut runs: Vec<DefenderReport>) -> DefenderReport {
    let after = runs.iter().map(|run| run.after.clone()).reduce(worse).unwrap_or_default();
    let steps = runs.first().map_or(0, |run| run.steps.len());
    let steps = (0..steps).map(|at| step(runs.iter().map(|run| run.steps[at].clone()).collect())).collect();
    let last = runs.pop().unwrap_or_default();
    DefenderReport { steps, after, ..last }
}

/// The run whose flood was answered at the median rate; without a flood, the one whose handshakes took the median time.
fn step(mut runs: Vec<StepReport>) -> StepReport {
    let completed = spread(runs.iter().map(|run| run.honest.completed_percent));
    let answered = spread(runs.iter().map(|run| run.answered_per_second));
    let handshake = |run: &StepReport| run.honest.handshake_us[1];
    runs.sort_by(|a, b| {
        a.answered_per_second.total_cmp(&b.answered_per_second).then(handshake(a).total_cmp(&handshake(b)))
    });
    let middle = runs.swap_remove((runs.len() - 1) / 2);
    StepReport { completed_percent_spread: completed, answered_spread: answered, ..middle }
}

/// The worse of two ends: what is later or more. No ordinary service at all is the latest.
fn worse(a: After, b: After) -> After {
    let grown = |after: &After| after.rss_kib[1].saturating_sub(after.rss_kib[0]);
    After {
        ordinary_after_s: a.ordinary_after_s.zip(b.ordinary_after_s).map(|(a, b)| a.max(b)),
        half_open_at_end: a.half_open_at_end.max(b.half_open_at_end),
        half_open_later: a.half_open_later.max(b.half_open_later),
        half_open_later_s: a.half_open_later_s.max(b.half_open_later_s),
        rss_kib: if grown(&a) >= grown(&b) { a.rss_kib } else { b.rss_kib },
    }
}

/// The peaks of all runs as one row each, the fastest last.
pub(super) fn peaks(runs: &[Vec<Peak>]) -> Vec<Peak> {
    let of = |name: &str| runs.iter().flatten().filter(move |peak| peak.name == name).collect::<Vec<_>>();
    let one = |first: &Peak| {
        let all = of(&first.name);
        let ratios = || all.iter().filter_map(|peak| peak.over_reflector);
        Peak {
            name: first.name.clone(),
            sent_per_second: median(all.iter().map(|peak| peak.sent_per_second)).unwrap_or_default(),
            answered_per_second: median(all.iter().map(|peak| peak.answered_per_second)).unwrap_or_default(),
            over_kernel_cookies: median(all.iter().filter_map(|peak| peak.over_kernel_cookies)),
            over_reflector: median(ratios()),
            over_reflector_spread: median(ratios()).map(|_| spread(ratios())),
        }
    };
    let mut peaks: Vec<Peak> = runs.first().into_iter().flatten().map(one).collect();
    peaks.sort_by(|a, b| a.answered_per_second.total_cmp(&b.answered_per_second));
    peaks
}

/// The lower of the two in the middle, where there are two.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// The least and the most.
fn spread(values: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
    [values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max)]
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;
    use super::*;

    /// The example's first contender with another rate and completion in its last step.
    fn run(answered_per_second: f64, completed_percent: f64) -> DefenderReport {
        let mut run = example().contenders.remove(0);
        let last = run.steps.last_mut().unwrap();
        last.answered_per_second = answered_per_second;
        last.honest.completed_percent = completed_percent;
        run
    }

    #[test]
    fn a_step_is_its_median_run_with_the_spread_of_all() {
        let one = contender(vec![run(9.0, 99.0), run(1.0, 97.0), run(5.0, 100.0)]);
        let last = one.steps.last().unwrap();
        assert_eq!((last.answered_per_second, last.honest.completed_percent), (5.0, 100.0));
        assert_eq!((last.answered_spread, last.completed_percent_spread), ([1.0, 9.0], [97.0, 100.0]));
        assert_eq!((one.steps.len(), one.name.as_str()), (3, "kernel cookies"));
        let alone = contender(vec![run(9.0, 99.0)]);
        assert_eq!(alone.steps[2].answered_spread, [9.0, 9.0]);
    }

    #[test]
    fn of_what_comes_behind_the_worst_counts() {
        let with = |ordinary_after_s, half_open_later, rss_kib| {
            let mut run = run(1.0, 1.0);
            run.after = After { ordinary_after_s, half_open_later, rss_kib, ..run.after };
            run
        };
        let runs = || vec![with(Some(0.5), Some(3), [10, 30]), with(Some(2.0), Some(0), [10, 11])];
        let after = contender(runs()).after;
        assert_eq!((after.ordinary_after_s, after.half_open_later, after.rss_kib), (Some(2.0), Some(3), [10, 30]));
        let never = contender([runs(), vec![with(None, None, [10, 10])]].concat()).after;
        assert_eq!((never.ordinary_after_s, never.half_open_later), (None, Some(3)));
    }

    #[test]
    fn ratios_are_medians_of_the_runs_own() {
        let run = |kernel, xdp, reflector| {
            let peak = |name: &str, rate| Peak { name: name.into(), answered_per_second: rate, ..Peak::default() };
            let all = vec![peak("kernel", kernel), peak("xdp", xdp), peak(super::super::report::REFLECTOR, reflector)];
            super::super::report::peaks(all, "kernel")
        };
        let runs = [run(1.0, 9.0, 10.0), run(2.0, 4.0, 5.0), run(1.0, 14.0, 20.0)];
        let found = peaks(&runs);
        let xdp = found.iter().find(|peak| peak.name == "xdp").unwrap();
        assert_eq!((xdp.answered_per_second, xdp.over_reflector, xdp.over_kernel_cookies), (9.0, Some(0.8), Some(9.0)));
        assert_eq!(xdp.over_reflector_spread, Some([0.7, 0.9]));
        assert_eq!(found.last().unwrap().name, super::super::report::REFLECTOR);
        assert_eq!(peaks(&[]), []);
    }
}
