//! The keyed hash of a four-tuple.
//!
//! Peers choose half of the tuple, so an unkeyed hash would let them pile their flows onto one place of the index. What is
//! needed is not a cryptographic hash but one whose collisions cannot be found without the key: 64 x 64 -> 128 bit multiplications whose
//! halves are folded together, each word mixed with key material first (the construction of wyhash and its descendants).

use crate::wire::tuple::FourTuple;

/// The hash of one four-tuple under one key. 64 bits: the index uses the low half as a place and the high half as a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash(pub u64);

/// The key, drawn once per engine.
#[derive(Clone, Debug)]
pub struct FlowHasher {
    key: [u64; 2],
}

/// Odd constants with balanced bits, so that a key of zeros still mixes.
const MIX: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];

impl FlowHasher {
    /// A hasher with the given random key.
    pub fn new(key: [u64; 2]) -> Self {
        Self { key: [key[0] ^ MIX[0], key[1] ^ MIX[1]] }
    }

    /// The hash of `tuple`.
    pub fn hash(&self, tuple: &FourTuple) -> FlowHash {
        let [l0, l1, r0, r1, ports] = tuple.words();
        let [k0, k1] = self.key;
        let addresses = fold(l0 ^ k0, r1 ^ k1) ^ fold(l1 ^ k1, r0 ^ k0.rotate_left(32));
        FlowHash(fold(addresses ^ ports ^ k1, k0.rotate_left(17) ^ MIX[1]))
    }
}

/// The product's halves, folded together.
#[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart on purpose")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tuple::Addr;

    fn tuples() -> impl Iterator<Item = FourTuple> {
        (0..64_u8).flat_map(|host| {
            (0..1024_u16).map(move |port| FourTuple {
                local_addr: Addr::v4([198, 18, 0, 1]),
                remote_addr: Addr::v4([198, 18, 1, host]),
                local_port: 80,
                remote_port: 1024 + port,
            })
        })
    }

    #[test]
    fn neighbouring_tuples_spread_over_all_places() {
        // 65,536 tuples into 4,096 places: 16 each on average, and far from the mean nowhere.
        for key in [[0, 0], [1, 2], [u64::MAX, 3]] {
            let hasher = FlowHasher::new(key);
            let mut places = vec![0_u32; 4096];
            tuples().for_each(|t| places[usize::try_from(hasher.hash(&t).0 & 4095).unwrap()] += 1);
            let (least, most) = (places.iter().min().unwrap(), places.iter().max().unwrap());
            assert!(*least >= 1 && *most <= 45, "key {key:?}: between {least} and {most}");
        }
    }

    #[test]
    fn all_hashes_differ_and_the_key_matters() {
        let (one, other) = (FlowHasher::new([1, 2]), FlowHasher::new([1, 3]));
        let mut hashes: Vec<u64> = tuples().map(|t| one.hash(&t).0).collect();
        assert!(tuples().all(|t| one.hash(&t) != other.hash(&t)));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 65_536);
    }
}
