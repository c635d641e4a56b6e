//! The reports of the last minute, one a second: what rates, and causes, are found in.
//!
//! Kept by the thread that waits for the server's end. What is not here: a clock. A report carries its own time.

use crate::observe::report::Stats;
use std::collections::VecDeque;

/// How many seconds lie between two reports that are kept.
pub const STEP_S: f64 = 1.0;

/// How many reports are kept: a minute of them, and the one that it began with.
pub const KEPT: usize = 61;

/// The last reports, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    kept: VecDeque<Stats>,
}

impl History {
    /// True if a report of `uptime_s` is due to be kept.
    pub fn is_due(&self, uptime_s: f64) -> bool {
        self.kept.back().is_none_or(|last| uptime_s - last.uptime_s >= STEP_S)
    }

    /// Keeps a report, and forgets the oldest if there are too many.
    pub fn keep(&mut self, stats: Stats) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(stats);
    }

    /// The newest report that is at least `seconds` older than `uptime_s`; the oldest if none is.
    pub fn before(&self, uptime_s: f64, seconds: f64) -> Option<&Stats> {
        let old_enough = |stats: &&Stats| uptime_s - stats.uptime_s >= seconds;
        self.kept.iter().rev().find(old_enough).or_else(|| self.kept.front())
    }

    /// The greatest gap between two neighbouring reports since `from_s`, beyond the step that there should be, in seconds.
    pub fn longest_delay_s(&self, from_s: f64) -> f64 {
        let kept = self.kept.iter().zip(self.kept.iter().skip(1)).filter(|(_, later)| later.uptime_s > from_s);
        kept.map(|(earlier, later)| later.uptime_s - earlier.uptime_s - STEP_S).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(times: &[f64]) -> History {
        let mut history = History::default();
        for time in times {
            history.keep(Stats { uptime_s: *time, ..Stats::default() });
        }
        history
    }

    #[test]
    fn one_report_a_second_is_due_and_a_minute_is_kept() {
        assert!(history(&[]).is_due(0.0) && !history(&[5.0]).is_due(5.9) && history(&[5.0]).is_due(6.0));
        let times: Vec<f64> = (0..100).map(f64::from).collect();
        let history = history(&times);
        assert_eq!((history.kept.len(), history.kept[0].uptime_s), (KEPT, 39.0));
    }

    #[test]
    fn the_report_of_some_seconds_ago_is_the_newest_that_is_as_old_or_else_the_oldest() {
        let history = history(&[1.0, 2.0, 3.0]);
        let at = |seconds| history.before(4.5, seconds).map(|stats| stats.uptime_s);
        assert_eq!((at(0.0), at(1.5), at(2.0), at(9.0)), (Some(3.0), Some(3.0), Some(2.0), Some(1.0)));
        assert!(History::default().before(4.5, 1.0).is_none());
    }

    #[test]
    fn a_delay_is_what_a_report_came_late() {
        let history = history(&[1.0, 2.0, 3.5, 4.5]);
        assert_eq!((history.longest_delay_s(0.0), history.longest_delay_s(3.5)), (0.5, 0.0));
    }
}
