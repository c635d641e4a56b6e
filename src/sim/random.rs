//! The one source of chance in a world: SplitMix64 (Steele, Lea, Flood 2014), written out.
//!
//! It is here and not a crate because a seed is the name of a run: the same seed has to mean the same run next year, whatever
//! a dependency has changed about how it draws. What is deliberately not here: secrecy; nothing in a simulation is secret.

use core::ops::RangeInclusive;

/// A generator. Everything that it yields follows from its seed.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A generator of its own for one part of the world, so that what that part draws does not shift what others draw.
    pub fn fork(&mut self) -> Self {
        Self::new(self.word())
    }

    /// A number in `range`, both ends included. The bias of the multiplication is far below what a run could show.
    ///
    /// # Panics
    ///
    /// If the range is empty.
    pub fn within<T>(&mut self, range: RangeInclusive<T>) -> T
    where
        T: Copy + TryInto<u64> + TryFrom<u64>,
    {
        let end = |n: T| n.try_into().unwrap_or_else(|_| panic!("a range of numbers that are not negative"));
        let (lo, hi): (u64, u64) = (end(*range.start()), end(*range.end()));
        assert!(lo <= hi, "an empty range");
        let span = u128::from(hi - lo) + 1;
        let drawn = u64::try_from((u128::from(self.word()) * span) >> 64).expect("less than the span");
        T::try_from(lo + drawn).unwrap_or_else(|_| panic!("a number between two of its type is one of its type"))
    }

    /// True in `per_mille` of 1,000 cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.within(0..=999_u32) < per_mille
    }

    /// One of `choices`.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.within(0..=choices.len() - 1)]
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.word().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence_comes_out() {
        let mut random = Random::new(1_234_567);
        let words: [u64; 3] = core::array::from_fn(|_| random.word());
        assert_eq!(words, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn ranges_are_met_at_both_ends_and_never_left() {
        let mut random = Random::new(1);
        let drawn: Vec<u8> = (0..1_000).map(|_| random.within(3..=6)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&6)));
        assert_eq!(random.within(7..=7_u16), 7);
        random.within(0..=u64::MAX);
    }

    #[test]
    fn a_chance_is_about_what_it_says() {
        let mut random = Random::new(2);
        let hits = (0..10_000).filter(|_| random.chance(250)).count();
        assert!((2_300..2_700).contains(&hits), "{hits} of 10,000");
        assert!(!(0..1_000).any(|_| random.chance(0)) && (0..1_000).all(|_| random.chance(1_000)));
    }
}
