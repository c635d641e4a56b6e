//! Sequence numbers: arithmetic modulo 2^32 with named comparisons (RFC 9293 3.4).
//!
//! There is no `Ord`, because "less than" on a circle is no order, and no subtraction operator, because a distance needs
//! to be known as non-negative before it means anything.

use core::ops::Add;

/// A TCP sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// `self < other` in the sense of RFC 9293 3.4: `self` lies in the half of the circle before `other`.
    pub const fn before(self, other: SeqNum) -> bool {
        (self.0.wrapping_sub(other.0)) > (1 << 31)
    }

    /// `self > other`.
    pub const fn after(self, other: SeqNum) -> bool {
        other.before(self)
    }

    /// `self =< other`.
    pub const fn at_or_before(self, other: SeqNum) -> bool {
        !self.after(other)
    }

    /// `self >= other`.
    pub const fn at_or_after(self, other: SeqNum) -> bool {
        !self.before(other)
    }

    /// How far `self` lies beyond `earlier`, modulo 2^32. Meaningful if the caller knows that it does.
    pub const fn distance_from(self, earlier: SeqNum) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// True if `self` lies in the `len` numbers that start at `start`.
    pub const fn in_window(self, start: SeqNum, len: u32) -> bool {
        self.distance_from(start) < len
    }

    /// The number `n` before this one.
    #[must_use]
    pub const fn minus(self, n: u32) -> SeqNum {
        SeqNum(self.0.wrapping_sub(n))
    }
}

impl Add<u32> for SeqNum {
    type Output = SeqNum;

    fn add(self, n: u32) -> SeqNum {
        SeqNum(self.0.wrapping_add(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_hold_across_the_wrap() {
        let a = SeqNum(u32::MAX - 1);
        let b = a + 4;
        assert_eq!(b, SeqNum(2));
        assert!(a.before(b) && b.after(a) && !b.before(a));
        assert!(a.at_or_before(a) && a.at_or_after(a) && !a.before(a) && !a.after(a));
        assert_eq!(b.distance_from(a), 4);
        assert_eq!(b.minus(4), a);
    }

    #[test]
    fn a_window_is_half_open_and_wraps() {
        let start = SeqNum(u32::MAX);
        assert!(start.in_window(start, 1));
        assert!(!start.in_window(start, 0));
        assert!(SeqNum(1).in_window(start, 3));
        assert!(!SeqNum(2).in_window(start, 3));
        assert!(!start.minus(1).in_window(start, 3));
    }

    #[test]
    fn the_opposite_number_is_on_one_side_only() {
        let a = SeqNum(0);
        let opposite = SeqNum(1 << 31);
        assert!(!a.before(opposite) && !a.after(opposite));
        assert!(a.before(SeqNum((1 << 31) - 1)));
    }
}
