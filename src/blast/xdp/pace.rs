//! When connections are due: arithmetic over a rate and a time since the start, without a clock.
//!
//! Open loop: connection k (from 0 on) is due at k / rate, whatever became of those before it. Sending takes a system
//! call for each burst, so connections are sent a few at a time; the last of a burst is never sent before it is due, the
//! first at most [`BURST_INTERVAL`] after it was.

use std::time::Duration;

/// The longest time over which connections are gathered into one burst.
pub const BURST_INTERVAL: Duration = Duration::from_micros(125);

/// The longest burst: a quarter of what veth's ring holds.
pub const BURST_MAX: u64 = 64;

/// A connection that is sent this much after it was due is late.
pub const LATE_AFTER: Duration = Duration::from_millis(1);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The schedule of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    rate: u64,
    limit: u64,
    burst: u64,
}

impl Pace {
    /// `rate` connections a second, at least 1, for `duration`, and no more than `connections` in all.
    pub fn new(rate: u64, duration: Duration, connections: Option<u64>) -> Self {
        let rate = rate.max(1);
        let within = u128::from(rate).saturating_mul(duration.as_nanos()).div_ceil(NANOS_PER_SECOND);
        let within = u64::try_from(within).unwrap_or(u64::MAX);
        let burst = u128::from(rate) * BURST_INTERVAL.as_nanos() / NANOS_PER_SECOND;
        let burst = u64::try_from(burst).unwrap_or(u64::MAX).clamp(1, BURST_MAX);
        Self { rate, limit: connections.map_or(within, |connections| connections.min(within)), burst }
    }

    /// How many connections there are in all.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How many are due at `elapsed`.
    pub fn due(&self, elapsed: Duration) -> u64 {
        let passed = u128::from(self.rate).saturating_mul(elapsed.as_nanos()) / NANOS_PER_SECOND + 1;
        u64::try_from(passed).unwrap_or(u64::MAX).min(self.limit)
    }

    /// How many to send now that `sent` were sent before; 0 as long as a burst is not due.
    pub fn burst(&self, elapsed: Duration, sent: u64) -> u64 {
        let waiting = self.due(elapsed).saturating_sub(sent);
        let whole = self.burst.min(self.limit.saturating_sub(sent));
        if waiting < whole { 0 } else { waiting.min(BURST_MAX) }
    }

    /// How long after `elapsed` the next burst is due.
    pub fn wait(&self, elapsed: Duration, sent: u64) -> Duration {
        let last = (sent + self.burst).min(self.limit).saturating_sub(1);
        let due_nanos = (u128::from(last) * NANOS_PER_SECOND).div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(due_nanos.saturating_sub(elapsed.as_nanos())).unwrap_or(u64::MAX))
    }

    /// How many of the next `count` after the first `sent` are late at `elapsed`.
    pub fn late(&self, elapsed: Duration, sent: u64, count: u64) -> u64 {
        elapsed.checked_sub(LATE_AFTER).map_or(0, |then| self.due(then).saturating_sub(sent).min(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_is_due_at_once_and_the_others_at_the_rate() {
        let pace = Pace::new(1_000, SECOND * 2, None);
        assert_eq!(pace.limit(), 2_000);
        let at = |micros| pace.due(Duration::from_micros(micros));
        assert_eq!((at(0), at(999), at(1_000), at(1_500_000), at(9_000_000)), (1, 1, 2, 1_501, 2_000));
    }

    #[test]
    fn the_number_of_connections_limits_what_the_time_would_allow() {
        assert_eq!(Pace::new(1_000, SECOND, Some(7)).limit(), 7);
        assert_eq!(Pace::new(1_000, SECOND, Some(7_000)).limit(), 1_000);
        assert_eq!(Pace::new(u64::MAX, Duration::MAX, None).limit(), u64::MAX);
    }

    #[test]
    fn slow_rates_send_one_by_one_and_fast_ones_in_bursts() {
        let slow = Pace::new(5_000, SECOND, None);
        assert_eq!(slow.burst(Duration::ZERO, 0), 1);
        assert_eq!(slow.burst(Duration::from_micros(199), 1), 0);
        assert_eq!(slow.wait(Duration::from_micros(50), 1), Duration::from_micros(150));
        let fast = Pace::new(400_000, SECOND, None);
        assert_eq!(fast.burst(Duration::from_micros(120), 0), 0, "49 are due, and a burst is 50");
        assert_eq!(fast.burst(Duration::from_nanos(122_500), 0), 50);
        assert_eq!(fast.wait(Duration::ZERO, 0), Duration::from_nanos(122_500));
    }

    #[test]
    fn the_end_of_a_run_is_a_burst_whatever_its_size() {
        let pace = Pace::new(400_000, SECOND, Some(53));
        assert_eq!(pace.burst(Duration::from_micros(125), 50), 0);
        assert_eq!(pace.burst(Duration::from_micros(130), 50), 3);
        assert_eq!(pace.burst(SECOND, 53), 0);
    }

    #[test]
    fn what_has_fallen_behind_is_sent_in_bursts_and_counted_as_late() {
        let pace = Pace::new(100_000, SECOND, None);
        let now = Duration::from_millis(11);
        assert_eq!(pace.burst(now, 0), BURST_MAX);
        assert_eq!(pace.late(now, 0, BURST_MAX), BURST_MAX);
        assert_eq!(pace.late(now, 980, BURST_MAX), 21, "due by 10 ms: 1001");
        assert_eq!(pace.late(now, 1_001, 100), 0);
        assert_eq!(pace.late(Duration::from_micros(900), 0, 50), 0);
    }

    proptest! {
        #[test]
        fn a_run_that_waits_as_told_sends_all_and_none_too_early_or_late(
            rate in 1_u64..2_000_000, micros in 1_u64..20_000,
        ) {
            let pace = Pace::new(rate, Duration::from_micros(micros), None);
            let (mut sent, mut elapsed) = (0, Duration::ZERO);
            while sent < pace.limit() {
                elapsed += pace.wait(elapsed, sent);
                let burst = pace.burst(elapsed, sent);
                prop_assert!(burst > 0);
                prop_assert!(sent + burst <= pace.due(elapsed));
                prop_assert_eq!(pace.late(elapsed, sent, burst), 0);
                sent += burst;
            }
            prop_assert_eq!(sent, pace.limit());
        }
    }
}
