//! How often values of which size came: a fixed array of buckets, eight for each power of two, so that a value is known to an
//! eighth of itself. Recording one is a shift and an addition; nothing is ever allocated.

/// Buckets for each power of two, as a power of two.
const PARTS_BITS: u32 = 3;
const PARTS: usize = 1 << PARTS_BITS;
/// One for each value below [`PARTS`], and [`PARTS`] for each power of two from there on.
const BUCKETS: usize = (64 - PARTS_BITS as usize + 1) * PARTS;

/// The values recorded, by size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, most: 0 }
    }
}

/// The bucket of a value.
#[inline]
fn bucket(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(PARTS_BITS + 1);
    let part = value >> shift;
    // `part` is below 2 * PARTS, and `shift` below 64.
    shift as usize * PARTS + usize::try_from(part).unwrap_or(BUCKETS)
}

/// The greatest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let shift = (bucket / PARTS).saturating_sub(1);
    let part = bucket - shift * PARTS;
    u64::try_from(((part as u128 + 1) << shift) - 1).unwrap_or(u64::MAX)
}

impl Histogram {
    /// Counts a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
        self.most = self.most.max(value);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The greatest, exactly.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// A value that the share `part` (0 to 1) of all does not exceed, at most an eighth too high; 0 if there is none.
    pub fn quantile(&self, part: f64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
        let wanted = part * self.count as f64;
        let mut seen = 0;
        for (i, count) in self.buckets.iter().enumerate() {
            seen += count;
            #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
            if *count > 0 && seen as f64 >= wanted {
                return top_of(i).min(self.most);
            }
        }
        self.most
    }

    /// Adds what another one has.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.most = self.most.max(other.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
        assert_eq!(top_of(BUCKETS - 1), u64::MAX);
        for i in 0..BUCKETS {
            let top = top_of(i);
            assert_eq!(bucket(top), i, "the top of {i} is {top}");
            assert!(i + 1 == BUCKETS || bucket(top + 1) == i + 1, "behind {top}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.most(), histogram.count()), (0, 0, 0));
        for value in 1..=1_000 {
            histogram.record(value);
        }
        for (part, exact) in [(0.001, 1), (0.5, 500), (0.9, 900), (1.0, 1_000)] {
            let found = histogram.quantile(part);
            assert!((exact..=exact + exact / 8).contains(&found), "{part}: {found} for {exact}");
        }
        let mut sum = histogram.clone();
        sum.add(&histogram);
        assert_eq!((sum.count(), sum.most(), sum.quantile(0.5)), (2_000, 1_000, histogram.quantile(0.5)));
    }

    proptest! {
        #[test]
        fn a_value_is_known_to_an_eighth(value in any::<u64>()) {
            let mut histogram = Histogram::default();
            histogram.record(value);
            prop_assert_eq!(histogram.quantile(0.5), value);
            prop_assert!(top_of(bucket(value)) - value <= value / 8);
        }
    }
}
