//! When connections are due: the schedule that the program keeps, as arithmetic without a clock.
//!
//! Open loop: connection k (from 0 on) is due at k / rate, whatever became of those before it. To send one by one costs
//! more than to send a few at a time, so connections go out in bursts: the last of a burst is not sent before it is due,
//! the first at most [`BURST_INTERVAL`] after it was.

use super::contract::{INTERVAL_BITS, Schedule};
use std::time::Duration;

/// The longest time over which connections are gathered into one burst.
const BURST_INTERVAL: Duration = Duration::from_micros(50);

/// The longest burst: what the kernel hands to an interface at once (DEV_MAP_BULK_SIZE).
const BURST_MAX: u64 = 16;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The schedule for `rate` connections a second, at least 1, over `duration` from `start_ns` on, and no more than
/// `connections` in all.
pub fn schedule(start_ns: u64, rate: u64, duration: Duration, connections: Option<u64>) -> Schedule {
    let rate = rate.max(1);
    let within = u128::from(rate).saturating_mul(duration.as_nanos()).div_ceil(NANOS_PER_SECOND.into());
    let within = u64::try_from(within).unwrap_or(u64::MAX);
    let gathered = u128::from(rate).saturating_mul(BURST_INTERVAL.as_nanos()) / u128::from(NANOS_PER_SECOND);
    Schedule {
        start_ns,
        interval: (NANOS_PER_SECOND << INTERVAL_BITS) / rate,
        limit: connections.map_or(within, |connections| connections.min(within)),
        burst: u64::try_from(gathered).unwrap_or(u64::MAX).clamp(1, BURST_MAX),
        ..Schedule::default()
    }
}

/// The schedule under which every connection is due at once.
pub fn at_once() -> Schedule {
    Schedule { limit: u64::MAX, burst: 1, ..Schedule::default() }
}

impl Schedule {
    /// True if all connections have been sent.
    pub fn is_over(&self) -> bool {
        self.sent >= self.limit
    }

    /// How long after `now_ns` the next burst is due; zero if it is due already, or there is none.
    pub fn wait(&self, now_ns: u64) -> Duration {
        let last = self.sent.saturating_add(self.burst).min(self.limit).saturating_sub(1);
        let after = (u128::from(last) * u128::from(self.interval)) >> INTERVAL_BITS;
        let due_ns = u128::from(self.start_ns) + after;
        let wait = due_ns.saturating_sub(now_ns.into());
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_run_has_as_many_connections_as_rate_and_time_make_and_no_more_than_asked_for() {
        let limit = |rate, duration, connections| schedule(0, rate, duration, connections).limit;
        assert_eq!(limit(1_000, SECOND * 2, None), 2_000);
        assert_eq!(limit(3, Duration::from_millis(500), None), 2, "at 0 and at a third of a second");
        assert_eq!(limit(1_000, SECOND, Some(7)), 7);
        assert_eq!(limit(1_000, SECOND, Some(7_000)), 1_000);
        assert_eq!(limit(u64::MAX, Duration::MAX, None), u64::MAX);
    }

    #[test]
    fn slow_rates_send_one_by_one_and_fast_ones_in_bursts() {
        let slow = schedule(500, 5_000, SECOND, None);
        assert_eq!((slow.burst, slow.interval), (1, 200_000 << 16));
        assert_eq!(slow.wait(500), Duration::ZERO);
        let second = Schedule { sent: 1, ..slow };
        assert_eq!(second.wait(50_500), Duration::from_micros(150));
        assert_eq!(second.wait(300_000), Duration::ZERO, "it was due before");
        let fast = schedule(0, 400_000, SECOND, None);
        assert_eq!((fast.burst, fast.wait(0)), (16, Duration::from_nanos(15 * 2_500)));
        assert_eq!(schedule(0, u64::MAX, SECOND, None).burst, BURST_MAX);
    }

    #[test]
    fn the_end_of_a_run_is_a_burst_whatever_its_size() {
        let almost = Schedule { sent: 32, ..schedule(0, 400_000, SECOND, Some(35)) };
        assert_eq!(almost.wait(0), Duration::from_nanos(34 * 2_500));
        let over = Schedule { sent: 35, ..almost };
        assert!(over.is_over() && !almost.is_over());
    }

    #[test]
    fn without_a_schedule_everything_is_due() {
        let schedule = Schedule { sent: 1 << 40, ..at_once() };
        assert!(!schedule.is_over() && schedule.wait(0).is_zero());
    }

    proptest! {
        #[test]
        fn the_last_connection_is_due_at_its_time_within_ten_microseconds(rate in 1_u64..5_000_000, seconds in 1_u64..100) {
            let schedule = schedule(0, rate, Duration::from_secs(seconds), None);
            prop_assert_eq!(schedule.limit, rate * seconds);
            let last = Schedule { sent: schedule.limit - 1, ..schedule };
            let exact = u128::from(last.sent) * u128::from(NANOS_PER_SECOND) / u128::from(rate);
            prop_assert!(last.wait(0).as_nanos().abs_diff(exact) <= 10_000);
        }

        #[test]
        fn no_burst_is_gathered_over_longer_than_the_interval(rate in 1_u64..5_000_000) {
            let schedule = schedule(0, rate, SECOND, None);
            prop_assert!(schedule.wait(0) <= BURST_INTERVAL);
        }
    }
}
