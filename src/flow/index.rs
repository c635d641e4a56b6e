//! Open addressing with linear probing: hash to slot, one 8-byte entry a place.
//!
//! An entry holds the slot and 32 bits of the hash, so a probe touches one cache line and compares keys only when the
//! 32 bits agree. The capacity is the next power of two at or above 4/3 of the slots, so the load stays at or below 3/4.
//! Removal shifts the entries behind it back (no tombstones), which keeps probes short however long the table lives.

use super::hash::FlowHash;
use super::slab::Slot;
use crate::arch::{pages, prefetch};

/// One place: 0 is empty, else the upper half of the hash and slot + 1.
type Entry = u64;

/// Hash to slot. Knows no keys: the caller compares them.
#[derive(Debug)]
pub struct Index {
    entries: Box<[Entry]>,
    mask: usize,
}

impl Index {
    /// An index for up to `slots` entries.
    ///
    /// # Panics
    ///
    /// If `slots` is 0 or above 2^30; the configuration was validated before.
    pub fn new(slots: u32) -> Self {
        assert!((1..=1 << 30).contains(&slots), "an index for {slots} slots");
        let places = Self::places(slots);
        Self { entries: pages::table(core::iter::repeat_n(0, places)), mask: places - 1 }
    }

    /// Places for `slots` entries.
    fn places(slots: u32) -> usize {
        // At least two, so that one place is always empty and a probe ends.
        (slots as usize * 4).div_ceil(3).max(2).next_power_of_two()
    }

    /// Bytes that an index for `slots` entries allocates.
    pub fn memory_bytes(slots: u32) -> u64 {
        Self::places(slots) as u64 * size_of::<Entry>() as u64
    }

    /// Announces to the processor that `hash` will be looked for.
    #[inline]
    pub fn prefetch(&self, hash: FlowHash) {
        prefetch::value(&self.entries[self.home(hash)]);
    }

    /// The first slot under `hash` for which `is_it` holds.
    pub fn find(&self, hash: FlowHash, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let mut at = self.home(hash);
        loop {
            let entry = self.entries[at];
            if entry == 0 {
                return None;
            }
            if entry >> 32 == hash.0 >> 32 && is_it(slot_of(entry)) {
                return Some(slot_of(entry));
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Adds `slot` under `hash`. The caller never adds more entries than the index was made for.
    pub fn insert(&mut self, hash: FlowHash, slot: Slot) {
        let mut at = self.home(hash);
        while self.entries[at] != 0 {
            at = (at + 1) & self.mask;
        }
        self.entries[at] = hash.0 >> 32 << 32 | (u64::from(slot.0) + 1);
    }

    /// Removes the entry of `slot` under `hash`. Nothing happens if it is not there.
    pub fn remove(&mut self, hash: FlowHash, slot: Slot) {
        let mut at = self.home(hash);
        loop {
            match self.entries[at] {
                0 => return,
                entry if slot_of(entry) == slot => break,
                _ => at = (at + 1) & self.mask,
            }
        }
        self.close_gap(at);
    }

    /// Empties the place `gap` and moves the entries behind it back, so that each stays reachable from its home.
    fn close_gap(&mut self, mut gap: usize) {
        let mut at = gap;
        loop {
            at = (at + 1) & self.mask;
            let entry = self.entries[at];
            if entry == 0 {
                break;
            }
            // An entry may move back to the gap only if the gap does not lie before its home on the circle.
            let from_home = at.wrapping_sub(self.home_of(entry)) & self.mask;
            let from_gap = at.wrapping_sub(gap) & self.mask;
            if from_home >= from_gap {
                self.entries[gap] = entry;
                gap = at;
            }
        }
        self.entries[gap] = 0;
    }

    /// Where the probe for `hash` starts.
    fn home(&self, hash: FlowHash) -> usize {
        self.home_of(hash.0)
    }

    /// Where the probe for an entry starts. The place comes from the upper half of the hash, the only half an entry keeps.
    fn home_of(&self, entry: Entry) -> usize {
        (entry >> 32) as usize & self.mask
    }
}

/// The slot in an entry that is not empty.
#[expect(clippy::cast_possible_truncation, reason = "the lower half of an entry is a slot + 1")]
fn slot_of(entry: Entry) -> Slot {
    Slot((entry as u32).wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash whose home is `home` in any index of at most 2^16 places.
    fn at_home(home: u64, salt: u64) -> FlowHash {
        FlowHash((salt << 16 | home) << 32)
    }

    #[test]
    fn a_cluster_that_wraps_round_the_end_stays_reachable_in_any_order_of_removal() {
        let hashes = [at_home(7, 1), at_home(7, 2), at_home(0, 3), at_home(7, 4), at_home(1, 5), at_home(6, 6)];
        let slots: Vec<u32> = (0..6).collect();
        for first in 0..6 {
            for second in (0..6).filter(|s| *s != first) {
                let mut index = Index::new(6);
                assert_eq!(index.entries.len(), 8);
                for (hash, slot) in hashes.iter().zip(&slots) {
                    index.insert(*hash, Slot(*slot));
                }
                index.remove(hashes[first], Slot(slots[first]));
                index.remove(hashes[second], Slot(slots[second]));
                for i in 0..6 {
                    let expected = (i != first && i != second).then_some(Slot(slots[i]));
                    assert_eq!(index.find(hashes[i], |_| true), expected, "{i} after removing {first}, {second}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_removed() {
        let mut index = Index::new(4);
        index.insert(at_home(1, 1), Slot(0));
        index.remove(at_home(1, 1), Slot(3));
        index.remove(at_home(2, 1), Slot(0));
        assert_eq!(index.find(at_home(1, 1), |_| true), Some(Slot(0)));
    }
}
