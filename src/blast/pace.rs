//! When connections are meant to start: a constant rate, reached over a ramp. Pure arithmetic over nanoseconds since the start.
//!
//! The schedule does not know how the target does (open loop): what starts late was meant to start earlier, and its latency
//! counts from there.

/// A schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    per_second: f64,
    ramp_ns: f64,
}

const NANOS_PER_SECOND: f64 = 1e9;

/// A time in nanoseconds as a float: exact up to 2^53 ns, which are 104 days.
#[expect(clippy::cast_precision_loss, reason = "a run is shorter than 104 days")]
fn to_f64(ns: u64) -> f64 {
    ns as f64
}

/// A time or count that was computed, cut to a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and nothing here is negative"
)]
fn to_u64(value: f64) -> u64 {
    value as u64
}

impl Pace {
    /// `per_second` connections a second, reached in a straight line over the first `ramp_ns` nanoseconds.
    pub fn new(per_second: f64, ramp_ns: u64) -> Self {
        Self { per_second, ramp_ns: to_f64(ramp_ns) }
    }

    /// When connection number `n`, counted from 0, is meant to start.
    pub fn start_of(&self, n: u64) -> u64 {
        let n = to_f64(n);
        let in_ramp = self.per_second * self.ramp_ns / 2.0 / NANOS_PER_SECOND;
        to_u64(if n < in_ramp {
            (2.0 * n * self.ramp_ns * NANOS_PER_SECOND / self.per_second).sqrt()
        } else {
            (n - in_ramp) * NANOS_PER_SECOND / self.per_second + self.ramp_ns
        })
    }

    /// How many connections are meant to start within the first `ns` nanoseconds.
    pub fn within(&self, ns: u64) -> u64 {
        let ns = to_f64(ns);
        let seconds = if ns < self.ramp_ns { ns * ns / self.ramp_ns / 2.0 } else { ns - self.ramp_ns / 2.0 };
        to_u64((self.per_second * seconds / NANOS_PER_SECOND).ceil())
    }
}

/// What a limit that is reached over a ramp is at `elapsed_ns`; at least 1, so that something can begin.
pub fn ramped(limit: u32, ramp_ns: u64, elapsed_ns: u64) -> u32 {
    if elapsed_ns >= ramp_ns {
        return limit;
    }
    let share = u128::from(limit) * u128::from(elapsed_ns) / u128::from(ramp_ns);
    u32::try_from(share).unwrap_or(limit).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_constant_rate_starts_one_each_interval() {
        let pace = Pace::new(1_000.0, 0);
        assert_eq!((pace.start_of(0), pace.start_of(1), pace.start_of(1_000)), (0, 1_000_000, 1_000_000_000));
        assert_eq!((pace.within(0), pace.within(1), pace.within(1_000_000_000)), (0, 1, 1_000));
    }

    #[test]
    fn a_ramp_starts_half_as_many_and_ends_at_the_full_rate() {
        let pace = Pace::new(1_000.0, 2_000_000_000);
        assert_eq!(pace.within(2_000_000_000), 1_000);
        assert_eq!(pace.within(3_000_000_000), 2_000);
        assert_eq!(pace.start_of(1_000), 2_000_000_000);
        assert!(pace.start_of(1) > 30_000_000, "slow at first");
        assert_eq!((ramped(100, 1_000, 0), ramped(100, 1_000, 500), ramped(100, 1_000, 1_000)), (1, 50, 100));
        assert_eq!(ramped(100, 0, 0), 100);
    }

    proptest! {
        #[test]
        fn the_two_questions_agree(rate in 1.0f64..2e6, ramp in 0u64..10_000_000_000, at in 0u64..100_000_000_000) {
            let pace = Pace::new(rate, ramp);
            let n = pace.within(at);
            // A count that was rounded up by less than a float can tell may be one off.
            prop_assert!(n == 0 || pace.start_of(n - 1) <= at + 1);
            prop_assert!(pace.start_of(n + 1) + 1 >= at);
        }
    }
}
