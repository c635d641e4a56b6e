//! The slots of a flow table and the list of the free ones.
//!
//! A free slot holds a flow that nobody can have: its local port is 0, which no segment that parses has, and its remote address
//! links to the next free slot. So whether a slot is taken, and which is free next, is read in memory that is read anyway; beside the
//! flows there is one word a slot, its generation, which is only written where a flow begins.

use super::Keyed;
use crate::arch::{pages, prefetch};
use crate::wire::tuple::{Addr, FourTuple};

/// The place of a flow: 0 to capacity - 1. The same for the flow's whole life, used again for another flow afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot as an index of an array.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A flow's name: no other flow has it until 2^32 flows have been inserted after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId {
    /// Where the flow is.
    pub slot: Slot,
    generation: u32,
}

impl FlowId {
    /// The name of no flow.
    pub const NONE: Self = Self { slot: Slot(u32::MAX), generation: 0 };
}

/// End of the free list.
const NONE: u32 = u32::MAX;

/// The key of a free slot that `next` follows in the free list.
fn vacant(next: u32) -> FourTuple {
    let mut link = Addr::default();
    link.0[..4].copy_from_slice(&next.to_ne_bytes());
    FourTuple { remote_addr: link, ..FourTuple::default() }
}

/// The slot that follows in the free list, or `None` for the key of a flow.
#[inline(always)]
fn next_vacant(key: &FourTuple) -> Option<u32> {
    let link = key.remote_addr.0.first_chunk().expect("four of sixteen bytes");
    (key.local_port == 0).then(|| u32::from_ne_bytes(*link))
}

/// A fixed number of slots.
#[derive(Debug)]
pub struct Slab<T> {
    flows: Box<[T]>,
    generations: Box<[u32]>,
    first_free: u32,
    next_generation: u32,
    len: u32,
}

impl<T: Keyed> Slab<T> {
    /// A slab of `capacity` free slots (at most 2^30).
    pub fn new(capacity: u32) -> Self {
        let free = |next: u32| {
            let mut flow = T::default();
            *flow.key_mut() = vacant(if next == capacity { NONE } else { next });
            flow
        };
        Self {
            flows: pages::table((0..capacity).map(|slot| free(slot + 1))),
            generations: pages::table((0..capacity).map(|_| 0)),
            first_free: 0,
            next_generation: 0,
            len: 0,
        }
    }

    /// Bytes that a slab of `capacity` slots allocates.
    pub fn memory_bytes(capacity: u32) -> u64 {
        u64::from(capacity) * (size_of::<T>() + size_of::<u32>()) as u64
    }

    /// Takes a free slot for `flow`; `None` if there is none. The slot freed last is taken first: its lines are still warm.
    pub fn insert(&mut self, flow: T) -> Option<Slot> {
        debug_assert!(flow.key().local_port != 0, "no flow has port 0");
        let slot = Slot(self.first_free);
        let place = self.flows.get_mut(slot.index())?;
        self.first_free = next_vacant(place.key()).expect("the free list has free slots only");
        *place = flow;
        self.generations[slot.index()] = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        self.len += 1;
        Some(slot)
    }

    /// Frees `slot`. Nothing happens if it is free.
    pub fn remove(&mut self, slot: Slot) {
        let next = self.first_free;
        if let Some(flow) = self.get_mut(slot) {
            *flow.key_mut() = vacant(next);
            self.first_free = slot.0;
            self.len -= 1;
        }
    }

    /// Announces to the processor that what is in `slot` will be read.
    #[inline]
    pub fn prefetch(&self, slot: Slot) {
        if let Some(flow) = self.flows.get(slot.index()) {
            prefetch::value(flow);
        }
    }

    /// What is in `slot`, unless it is free.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.flows.get(slot.index()).filter(|flow| next_vacant(flow.key()).is_none())
    }

    /// What is in `slot`, to change, unless it is free.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.flows.get_mut(slot.index()).filter(|flow| next_vacant(flow.key()).is_none())
    }

    /// What is in a slot that is known to be taken.
    #[inline]
    pub fn taken_at(&self, slot: Slot) -> &T {
        debug_assert!(self.get(slot).is_some(), "{slot:?} is free");
        &self.flows[slot.index()]
    }

    /// [`Slab::taken_at`], to change.
    #[inline]
    pub fn taken_at_mut(&mut self, slot: Slot) -> &mut T {
        debug_assert!(self.get(slot).is_some(), "{slot:?} is free");
        &mut self.flows[slot.index()]
    }

    /// The name of the flow in `slot`.
    pub fn id(&self, slot: Slot) -> Option<FlowId> {
        self.get(slot).map(|_| FlowId { slot, generation: self.generations[slot.index()] })
    }

    /// The slot of the flow `id`, unless it has ended.
    pub fn slot(&self, id: FlowId) -> Option<Slot> {
        (self.id(id.slot) == Some(id)).then_some(id.slot)
    }

    /// How many slots are taken.
    pub fn taken(&self) -> u32 {
        self.len
    }

    /// How many slots there are.
    pub fn capacity(&self) -> u32 {
        u32::try_from(self.flows.len()).expect("made from a u32")
    }
}
