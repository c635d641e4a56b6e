//! The reports of the last minute, one a second: what rates, and causes, are found in. Of the minutes before that only what a view shows of
//! them is kept.
//!
//! Kept by the thread that waits for the server's end. What is not here: a clock. A report carries its own time.

use crate::observe::report::{Moment, Past, Stats};
use crate::observe::top::SAMPLES;
use std::collections::VecDeque;

/// How many seconds lie between two reports that are kept.
pub const STEP_S: f64 = 1.0;

/// How many reports are kept: a minute of them, and the one that it began with.
pub const KEPT: usize = 61;

/// How many moments are kept: as many as a view shows rates between.
pub const MOMENTS: usize = SAMPLES + 1;

/// The last reports, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    kept: VecDeque<Stats>,
    moments: VecDeque<Moment>,
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
        if self.moments.len() == MOMENTS {
            self.moments.pop_front();
        }
        self.moments.push_back(Moment::of(&stats));
        self.kept.push_back(stats);
    }

    /// What is known of the last minutes.
    pub fn past(&self) -> Past {
        Past { moments: self.moments.iter().copied().collect() }
    }

    /// The newest report that is at least `seconds` older than `uptime_s`; `None` if the server has not run for that long.
    pub fn before(&self, uptime_s: f64, seconds: f64) -> Option<&Stats> {
        self.kept.iter().rev().find(|stats| uptime_s - stats.uptime_s >= seconds)
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
        assert_eq!((history.past().moments.len(), history.past().moments[0].uptime_s), (100, 0.0));
    }

    #[test]
    fn moments_are_kept_for_as_long_as_a_view_shows_them() {
        let times: Vec<f64> = (0..1_000).map(f64::from).collect();
        let past = history(&times).past();
        assert_eq!((past.moments.len(), past.moments[MOMENTS - 1].uptime_s), (MOMENTS, 999.0));
    }

    #[test]
    fn the_report_of_some_seconds_ago_is_the_newest_that_is_as_old() {
        let history = history(&[1.0, 2.0, 3.0]);
        let at = |seconds| history.before(4.5, seconds).map(|stats| stats.uptime_s);
        assert_eq!((at(0.0), at(1.5), at(2.0), at(9.0)), (Some(3.0), Some(3.0), Some(2.0), None));
        assert!(History::default().before(4.5, 1.0).is_none());
    }
}
