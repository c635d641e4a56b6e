//! The flow table: preallocated, found by four-tuple, never grown.
//!
//! [`FlowTable`] joins an [`index::Index`] (open addressing, four-tuple hash to slot) with a [`slab::Slab`] (the slots
//! themselves). Full is a value, not an error path: a table that is full is a normal day.
//!
//! What is deliberately not here: any meaning of what is stored, time, and growth. A slot's number stays the same for the
//! life of the flow, so that timers can name it.
#![forbid(unsafe_code)]

pub mod hash;
pub mod index;
pub mod slab;

use crate::wire::tuple::FourTuple;
use hash::{FlowHash, FlowHasher};
use index::Index;
use slab::Slab;
pub use slab::{FlowId, Slot};

/// What a flow table stores: something that knows its own key.
pub trait Keyed: Copy + Default {
    /// The four-tuple it was inserted under. Its local port is not 0.
    fn key(&self) -> &FourTuple;

    /// Where that is kept. A slot without a flow has its own use for it.
    fn key_mut(&mut self) -> &mut FourTuple;
}

/// Why nothing was inserted: every slot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Flows by four-tuple. All memory is allocated by [`FlowTable::new`].
#[derive(Debug)]
pub struct FlowTable<T> {
    index: Index,
    slab: Slab<T>,
    hasher: FlowHasher,
}

impl<T: Keyed> FlowTable<T> {
    /// A table for `capacity` flows (1 to 2^30), hashed with `key`.
    pub fn new(capacity: u32, key: [u64; 2]) -> Self {
        Self { index: Index::new(capacity), slab: Slab::new(capacity), hasher: FlowHasher::new(key) }
    }

    /// Bytes that a table for `capacity` flows allocates.
    pub fn memory_bytes(capacity: u32) -> u64 {
        Index::memory_bytes(capacity) + Slab::<T>::memory_bytes(capacity)
    }

    /// The hash of a four-tuple in this table; to be computed once per segment.
    pub fn hash(&self, tuple: &FourTuple) -> FlowHash {
        self.hasher.hash(tuple)
    }

    /// Announces to the processor that the flow with this hash will be looked for.
    #[inline]
    pub fn prefetch_index(&self, hash: FlowHash) {
        self.index.prefetch(hash);
    }

    /// Announces to the processor that the flow with this hash will be read, if one of that hash is there. Best called some
    /// time after [`FlowTable::prefetch_index`]. Returns its slot.
    #[inline]
    pub fn prefetch_flow(&self, hash: FlowHash) -> Option<Slot> {
        let slot = self.index.find(hash, |_| true)?;
        self.slab.prefetch(slot);
        Some(slot)
    }

    /// The slot of the flow `tuple`, if there is one.
    pub fn find(&self, hash: FlowHash, tuple: &FourTuple) -> Option<Slot> {
        self.index.find(hash, |slot| self.slab.taken_at(slot).key() == tuple)
    }

    /// Inserts `flow` under its own key and returns its slot.
    ///
    /// # Errors
    ///
    /// [`Full`] if every slot is taken.
    ///
    /// # Panics
    ///
    /// In debug builds, if the key is present already: our own bug, the caller looked first.
    pub fn insert(&mut self, hash: FlowHash, flow: T) -> Result<Slot, Full> {
        debug_assert!(self.find(hash, flow.key()).is_none(), "two flows under one four-tuple");
        let slot = self.slab.insert(flow).ok_or(Full)?;
        self.index.insert(hash, slot);
        Ok(slot)
    }

    /// Removes the flow in `slot`. Nothing happens if the slot is free.
    pub fn remove(&mut self, slot: Slot) {
        if let Some(flow) = self.slab.get(slot) {
            let hash = self.hasher.hash(flow.key());
            self.index.remove(hash, slot);
            self.slab.remove(slot);
        }
    }

    /// The flow in `slot`, or `None` if the slot is free or does not exist.
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.slab.get(slot)
    }

    /// The flow in `slot`, to change. Its key must not change.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.slab.get_mut(slot)
    }

    /// The flow in a slot that [`FlowTable::find`] has just returned.
    #[inline]
    pub fn found(&self, slot: Slot) -> &T {
        self.slab.taken_at(slot)
    }

    /// [`FlowTable::found`], to change. Its key must not change.
    #[inline]
    pub fn found_mut(&mut self, slot: Slot) -> &mut T {
        self.slab.taken_at_mut(slot)
    }

    /// The name of the flow in `slot` that no later flow in the same slot has.
    pub fn id(&self, slot: Slot) -> Option<FlowId> {
        self.slab.id(slot)
    }

    /// The slot of the flow `id`, unless it has ended.
    pub fn slot(&self, id: FlowId) -> Option<Slot> {
        self.slab.slot(id)
    }

    /// How many flows there are.
    pub fn len(&self) -> u32 {
        self.slab.taken()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.slab.taken() == 0
    }

    /// True if every slot is taken.
    pub fn is_full(&self) -> bool {
        self.slab.taken() == self.slab.capacity()
    }

    /// How many flows there can be.
    pub fn capacity(&self) -> u32 {
        self.slab.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tuple::Addr;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    struct Entry {
        tuple: FourTuple,
        value: u32,
    }

    impl Keyed for Entry {
        fn key(&self) -> &FourTuple {
            &self.tuple
        }

        fn key_mut(&mut self) -> &mut FourTuple {
            &mut self.tuple
        }
    }

    fn tuple(n: u16) -> FourTuple {
        FourTuple {
            local_addr: Addr::v4([198, 18, 0, 1]),
            remote_addr: Addr::v4([198, 18, 0, 2]),
            local_port: 80,
            remote_port: n,
        }
    }

    #[test]
    fn a_full_table_says_so_and_takes_again_after_a_removal() {
        let mut table = FlowTable::new(3, [1, 2]);
        let insert = |table: &mut FlowTable<Entry>, n| {
            let entry = Entry { tuple: tuple(n), value: 0 };
            table.insert(table.hash(&entry.tuple), entry)
        };
        let slots: Vec<Slot> = (0..3).map(|n| insert(&mut table, n).unwrap()).collect();
        assert_eq!(insert(&mut table, 9), Err(Full));
        assert_eq!(table.len(), table.capacity());
        let id = table.id(slots[1]).unwrap();
        table.remove(slots[1]);
        table.remove(slots[1]);
        assert_eq!(table.len(), 2);
        let slot = insert(&mut table, 9).unwrap();
        assert_eq!(slot, slots[1]);
        assert_ne!(table.id(slot), Some(id), "a later flow in the same slot has another name");
        assert_eq!((table.slot(id), table.slot(table.id(slot).unwrap())), (None, Some(slot)));
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map(steps in proptest::collection::vec((any::<bool>(), 0_u16..48, any::<u32>()), 0..600)) {
            let mut table = FlowTable::<Entry>::new(32, [7, 11]);
            let mut model: HashMap<FourTuple, u32> = HashMap::new();
            for (add, n, value) in steps {
                let tuple = tuple(n);
                let hash = table.hash(&tuple);
                match (add, table.find(hash, &tuple)) {
                    (true, None) => {
                        let inserted = table.insert(hash, Entry { tuple, value });
                        prop_assert_eq!(inserted.is_ok(), model.len() < 32);
                        if inserted.is_ok() {
                            model.insert(tuple, value);
                        }
                    }
                    (false, Some(slot)) => {
                        table.remove(slot);
                        prop_assert!(model.remove(&tuple).is_some());
                    }
                    (_, found) => prop_assert_eq!(found.is_some(), model.contains_key(&tuple)),
                }
                prop_assert_eq!(table.len() as usize, model.len());
                for (tuple, value) in &model {
                    let slot = table.find(table.hash(tuple), tuple);
                    prop_assert_eq!(slot.and_then(|s| table.get(s)).map(|e| e.value), Some(*value));
                }
            }
        }
    }
}
