//! How a worker spends its time: how much of it on work, and how late its turns began.
//!
//! Made of the clock reading that every turn begins with: no further one, no atomics, a few additions a turn. A turn that
//! begins late was kept from its core: the worker itself never waits but in its sleep, whose length is known.

use crate::time::Now;

/// A turn that begins later than this is counted as late. Longer than any turn, shorter than what fills the rings.
pub const LATE_NANOS: u64 = 5_000_000;

/// Where a worker's time went. Nanoseconds since the start where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// In turns that had something to do, with the wait for their core.
    pub busy_nanos: u64,
    /// By which turns began late, those counted in `late_turns` only.
    pub late_nanos: u64,
    /// Turns that began more than [`LATE_NANOS`] late.
    pub late_turns: u64,
    /// The most that a turn began late.
    pub longest_gap_nanos: u64,
    last: Now,
    worked: bool,
    slept_nanos: u64,
}

impl Pace {
    /// A worker that begins at `now`.
    pub fn new(now: Now) -> Self {
        Self { last: now, ..Self::default() }
    }

    /// A turn begins.
    pub fn turn_begins(&mut self, now: Now) {
        let gap = now.nanos_since(self.last);
        if self.worked {
            self.busy_nanos += gap;
        }
        let late = gap.saturating_sub(self.slept_nanos);
        self.longest_gap_nanos = self.longest_gap_nanos.max(late);
        if late > LATE_NANOS {
            self.late_nanos += late;
            self.late_turns += 1;
        }
        (self.last, self.worked, self.slept_nanos) = (now, false, 0);
    }

    /// The turn that began last had something to do.
    pub fn worked(&mut self) {
        self.worked = true;
    }

    /// The worker sleeps before its next turn, for so long at most.
    pub fn sleeps(&mut self, nanos: u64) {
        self.slept_nanos = nanos;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn time_counts_as_busy_from_a_turn_with_work_to_the_next() {
        let mut pace = Pace::new(Now(0));
        pace.turn_begins(Now(MS));
        pace.worked();
        pace.turn_begins(Now(3 * MS));
        pace.turn_begins(Now(7 * MS));
        assert_eq!((pace.busy_nanos, pace.late_turns, pace.longest_gap_nanos), (2 * MS, 0, 4 * MS));
    }

    #[test]
    fn a_turn_is_late_by_what_it_began_after_the_one_before_and_its_sleep() {
        let mut pace = Pace::new(Now(0));
        pace.turn_begins(Now(20 * MS));
        assert_eq!((pace.late_turns, pace.late_nanos), (1, 20 * MS));
        pace.sleeps(20 * MS);
        pace.turn_begins(Now(41 * MS));
        assert_eq!(pace.late_turns, 1, "it slept no longer than it meant to");
        pace.sleeps(20 * MS);
        pace.turn_begins(Now(101 * MS));
        assert_eq!((pace.late_turns, pace.late_nanos, pace.longest_gap_nanos), (2, 60 * MS, 40 * MS));
        pace.turn_begins(Now(102 * MS));
        assert_eq!((pace.late_turns, pace.busy_nanos), (2, 0), "a sleep counts for one turn");
    }
}
