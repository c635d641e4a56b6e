//! Time as values: [`Now`] in nanoseconds for whoever measures, [`Tick`] in milliseconds for whoever waits.
//!
//! There is no clock here. The worker reads one once per turn and hands the value down, so that everything below can be
//! replayed (a test or a simulation passes any value it likes).

use core::ops::Add;

/// An instant of a monotonic clock, in nanoseconds since an arbitrary origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

/// Nanoseconds in one [`Tick`].
pub const NANOS_PER_TICK: u64 = 1_000_000;

impl Now {
    /// An instant given in milliseconds since the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * NANOS_PER_TICK)
    }

    /// The tick this instant lies in; wraps about every 49.7 days, which [`Tick`] is made for.
    #[expect(clippy::cast_possible_truncation, reason = "a Tick is the low 32 bits of the millisecond count")]
    pub const fn tick(self) -> Tick {
        Tick((self.0 / NANOS_PER_TICK) as u32)
    }

    /// Nanoseconds from `earlier` to `self`, 0 if `earlier` is the later one.
    pub const fn nanos_since(self, earlier: Now) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A millisecond count that wraps. Two ticks are comparable while they are less than 2^31 ms (24.8 days) apart; like
/// sequence numbers they have no total order, so there is no `Ord`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// True if `self` lies at or after `other`.
    pub const fn at_or_after(self, other: Tick) -> bool {
        self.0.wrapping_sub(other.0) < 1 << 31
    }

    /// True if `self` lies before `other`.
    pub const fn before(self, other: Tick) -> bool {
        !self.at_or_after(other)
    }

    /// Milliseconds from `earlier` to `self`, modulo 2^32.
    pub const fn millis_since(self, earlier: Tick) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

impl Add<u32> for Tick {
    type Output = Tick;

    /// The tick `millis` later.
    fn add(self, millis: u32) -> Tick {
        Tick(self.0.wrapping_add(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_compare_across_the_wrap() {
        let late = Tick(u32::MAX - 5);
        let wrapped = late + 10;
        assert_eq!(wrapped, Tick(4));
        assert!(wrapped.at_or_after(late));
        assert!(late.before(wrapped));
        assert!(late.at_or_after(late));
        assert_eq!(wrapped.millis_since(late), 10);
    }

    #[test]
    fn an_instant_knows_its_tick() {
        assert_eq!(Now(1_999_999).tick(), Tick(1));
        assert_eq!(Now::from_millis((1 << 32) + 7).tick(), Tick(7));
        assert_eq!(Now(5).nanos_since(Now(9)), 0);
    }
}
