//! How many SYNs a second the prefix of a source may send to endpoints, and what the steering program is told of it.
//!
//! What is not here: the buckets. They live in the program's map (bpf/sources.h).

use super::contract::Rate;
use super::prefix::{MAPPED_BITS, mask};

/// Prefixes whose buckets are kept. When there are more, the one that was not seen for longest starts anew.
pub const MAX_BUCKETS: u32 = 65_536;

/// The highest rate that can be set. A nanosecond is the least that a SYN can take out of a bucket.
pub const MAX_SYN_RATE: u32 = 1_000_000_000;

/// How much time a bucket holds: so many SYNs as the rate allows in it may come at once.
const DEPTH_NS: u64 = 1_000_000_000;

/// A limit of SYNs by the prefix of their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynRate {
    /// SYNs a second, up to [`MAX_SYN_RATE`]; 0 is no limit.
    pub per_second: u32,
    /// How many bits of an IPv4 address make its prefix, at most 32.
    pub prefix_v4: u8,
    /// How many bits of an IPv6 address make its prefix, at most 128.
    pub prefix_v6: u8,
}

impl Default for SynRate {
    /// No limit; prefixes as they are routed in the Internet.
    fn default() -> Self {
        Self { per_second: 0, prefix_v4: 24, prefix_v6: 48 }
    }
}

impl SynRate {
    /// What the map of the rate holds; `None` if there is no limit.
    pub(super) fn to_row(self) -> Option<Rate> {
        let interval_ns = DEPTH_NS.checked_div(self.per_second.into())?.max(1);
        Some(Rate {
            interval_ns,
            depth_ns: DEPTH_NS,
            mask_v4: mask(MAPPED_BITS + u32::from(self.prefix_v4)).to_be_bytes(),
            mask_v6: mask(self.prefix_v6.into()).to_be_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_the_rate_fits_into_a_bucket() {
        for per_second in [1, 3, 1_000, MAX_SYN_RATE] {
            let row = SynRate { per_second, ..SynRate::default() }.to_row().unwrap();
            assert!(row.depth_ns / row.interval_ns >= u64::from(per_second));
        }
        assert_eq!(SynRate::default().to_row(), None);
    }

    #[test]
    fn masks_cover_the_prefix_of_either_family() {
        let row = SynRate { per_second: 1, prefix_v4: 20, prefix_v6: 0 }.to_row().unwrap();
        assert_eq!((row.mask_v4[..14].to_vec(), row.mask_v4[14], row.mask_v4[15]), (vec![0xff; 14], 0xf0, 0));
        assert_eq!(row.mask_v6, [0; 16]);
    }
}
