//! Open addressing with linear probing: hash to slot, one 8-byte entry a place.
//!
//! An entry holds the slot and 32 bits of the hash, so a probe touches one cache line and compares keys only when the
//! 32 bits agree. There are 15/8 as many places as slots, so the load stays at or below 0.54. At 3/4 a segment takes longer, most
//! of it for branches of longer probes that the processor guesses wrong (docs/performance.md). Removal shifts the entries behind it
//! back (no tombstones), which keeps probes short however long the table lives.

use super::hash::FlowHash;
use super::slab::Slot;
use crate::arch::{pages, prefetch};

/// One place: 0 is empty, else the upper half of the hash and slot + 1.
type Entry = u64;

/// Hash to slot. Knows no keys: the caller compares them.
#[derive(Debug)]
pub struct Index {
    entries: Box<[Entry]>,
}

impl Index {
    /// An index for up to `slots` entries.
    ///
    /// # Panics
    ///
    /// If `slots` is 0 or above 2^30; the configuration was validated before.
    pub fn new(slots: u32) -> Self {
        assert!((1..=1 << 30).contains(&slots), "an index for {slots} slots");
        Self { entries: pages::table(core::iter::repeat_n(0, Self::places(slots))) }
    }

    /// Places for `slots` entries.
    fn places(slots: u32) -> usize {
        // At least two, so that one place is always empty and a probe ends.
        (slots as usize * 15).div_ceil(8).max(2)
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
            at = self.after(at);
        }
    }

    /// Adds `slot` under `hash`. The caller never adds more entries than the index was made for.
    pub fn insert(&mut self, hash: FlowHash, slot: Slot) {
        let mut at = self.home(hash);
        while self.entries[at] != 0 {
            at = self.after(at);
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
                _ => at = self.after(at),
            }
        }
        self.close_gap(at);
    }

    /// Empties the place `gap` and moves the entries behind it back, so that each stays reachable from its home.
    fn close_gap(&mut self, mut gap: usize) {
        let mut at = gap;
        loop {
            at = self.after(at);
            let entry = self.entries[at];
            if entry == 0 {
                break;
            }
            // An entry may move back to the gap only if the gap does not lie before its home on the circle.
            let from_home = self.distance(self.home_of(entry), at);
            let from_gap = self.distance(gap, at);
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

    /// Where the probe for an entry starts. The place comes from the upper half of the hash, the only half an entry keeps: as a
    /// fraction of 2^32, it is the same fraction of the places.
    #[inline(always)]
    fn home_of(&self, entry: Entry) -> usize {
        (((entry >> 32) * self.entries.len() as u64) >> 32) as usize
    }

    /// The place behind `at` on the circle.
    #[inline(always)]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.entries.len() { 0 } else { at + 1 }
    }

    /// How many places `to` lies behind `from` on the circle.
    #[inline(always)]
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.entries.len() - from }
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

    /// A hash whose home is `home` in an index of eight places.
    fn at_home(home: u64, salt: u64) -> FlowHash {
        FlowHash((home << 29 | salt) << 32)
    }

    #[test]
    fn a_cluster_that_wraps_round_the_end_stays_reachable_in_any_order_of_removal() {
        let hashes = [at_home(7, 1), at_home(7, 2), at_home(0, 3), at_home(7, 4), at_home(1, 5), at_home(6, 6)];
        let slots: Vec<u32> = (0..6).collect();
        for first in 0..6 {
            for second in (0..6).filter(|s| *s != first) {
                let mut index = Index::new(4);
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
