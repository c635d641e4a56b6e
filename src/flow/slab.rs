//! The slots of a flow table and the list of the free ones.
//!
//! One word of administration per slot: for a free slot it links to the next free one, for a taken slot it is the generation
//! of its flow. The topmost bit tells which, so a stale [`FlowId`] can never match a free slot.

use crate::arch::prefetch;

/// The place of a flow: 0 to capacity - 1. The same for the flow's whole life, used again for another flow afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot as an index of an array.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A flow's name: no other flow has it until 2^31 flows have been inserted after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId {
    /// Where the flow is.
    pub slot: Slot,
    generation: u32,
}

/// Set in the administration word of a taken slot.
const TAKEN: u32 = 1 << 31;
/// End of the free list.
const NONE: u32 = TAKEN - 1;

/// A fixed number of slots.
#[derive(Debug)]
pub struct Slab<T> {
    flows: Box<[T]>,
    words: Box<[u32]>,
    first_free: u32,
    next_generation: u32,
    len: u32,
}

impl<T: Copy + Default> Slab<T> {
    /// A slab of `capacity` free slots (at most 2^30).
    pub fn new(capacity: u32) -> Self {
        let words = (1..=capacity).map(|next| if next == capacity { NONE } else { next }).collect();
        Self {
            flows: vec![T::default(); capacity as usize].into_boxed_slice(),
            words,
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
        let slot = Slot(self.first_free);
        let word = self.words.get_mut(slot.index())?;
        self.first_free = *word;
        *word = TAKEN | self.next_generation;
        self.next_generation = (self.next_generation + 1) & !TAKEN;
        self.flows[slot.index()] = flow;
        self.len += 1;
        Some(slot)
    }

    /// Frees `slot`. Nothing happens if it is free.
    pub fn remove(&mut self, slot: Slot) {
        match self.words.get_mut(slot.index()) {
            Some(word) if *word & TAKEN != 0 => {
                *word = self.first_free;
                self.first_free = slot.0;
                self.len -= 1;
            }
            _ => {}
        }
    }

    /// Announces to the processor that what is in `slot` will be read.
    #[inline]
    pub fn prefetch(&self, slot: Slot) {
        if let (Some(flow), Some(word)) = (self.flows.get(slot.index()), self.words.get(slot.index())) {
            prefetch::value(flow);
            prefetch::value(word);
        }
    }

    /// What is in `slot`, unless it is free.
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.is_taken(slot).then(|| &self.flows[slot.index()])
    }

    /// What is in `slot`, to change.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.is_taken(slot).then(|| &mut self.flows[slot.index()])
    }

    /// The name of the flow in `slot`.
    pub fn id(&self, slot: Slot) -> Option<FlowId> {
        self.is_taken(slot).then(|| FlowId { slot, generation: self.words[slot.index()] & !TAKEN })
    }

    /// The slot of the flow `id`, unless it has ended.
    pub fn slot(&self, id: FlowId) -> Option<Slot> {
        (self.id(id.slot) == Some(id)).then_some(id.slot)
    }

    fn is_taken(&self, slot: Slot) -> bool {
        self.words.get(slot.index()).is_some_and(|word| word & TAKEN != 0)
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
