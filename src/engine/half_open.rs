//! The half-open connections in the order of their SYNs, so that one can be given up for a newer one.
//!
//! Nothing is taken out when a connection leaves SYN-RECEIVED: the names of those that did are noticed when it is their turn.
//! So opening a connection costs one store here and completing it nothing. What is older than the ring is long is not
//! in it any more, and ends by its timer.

use crate::flow::FlowId;

/// Connections in the ring at most.
const MAX_REMEMBERED: u32 = 65_536;
/// Names that one search looks at, at most.
const SEARCH_BUDGET: u32 = 64;

/// A ring of names, and a generator of lots.
#[derive(Debug)]
pub struct HalfOpen {
    ring: Box<[FlowId]>,
    /// Where the oldest is and where the next goes, counted on without end.
    oldest: u64,
    next: u64,
    lot: u64,
}

impl HalfOpen {
    /// A ring for an engine with `flows` slots; `seed` decides the lots.
    pub fn new(flows: u32, seed: u64) -> Self {
        Self { ring: vec![FlowId::NONE; Self::places(flows)].into_boxed_slice(), oldest: 0, next: 0, lot: seed }
    }

    fn places(flows: u32) -> usize {
        flows.min(MAX_REMEMBERED).next_power_of_two() as usize
    }

    /// Bytes that a ring for `flows` slots allocates.
    pub fn memory_bytes(flows: u32) -> u64 {
        (Self::places(flows) * size_of::<FlowId>()) as u64
    }

    /// Enters the newest; the oldest is forgotten if there is no room.
    #[inline]
    pub fn push(&mut self, id: FlowId) {
        let at = self.place(self.next);
        self.ring[at] = id;
        self.next += 1;
        self.oldest = self.oldest.max(self.next.saturating_sub(self.ring.len() as u64));
    }

    /// Takes out the oldest that is half-open. `None` if there is none among those that one search looks at.
    pub fn take_oldest(&mut self, is_half_open: impl Fn(FlowId) -> bool) -> Option<FlowId> {
        for _ in 0..SEARCH_BUDGET {
            if self.oldest == self.next {
                return None;
            }
            let id = self.ring[self.place(self.oldest)];
            self.oldest += 1;
            if is_half_open(id) {
                return Some(id);
            }
        }
        None
    }

    /// Takes out one that is half-open, drawn by lot. `None` if none of those drawn is.
    pub fn take_random(&mut self, is_half_open: impl Fn(FlowId) -> bool) -> Option<FlowId> {
        for _ in 0..SEARCH_BUDGET {
            if self.oldest == self.next {
                return None;
            }
            let lot = self.draw() % (self.next - self.oldest);
            let drawn = self.place(self.oldest + lot);
            let id = self.ring[drawn];
            // The oldest moves into its place, so that there are no gaps.
            self.ring[drawn] = self.ring[self.place(self.oldest)];
            self.oldest += 1;
            if is_half_open(id) {
                return Some(id);
            }
        }
        None
    }

    #[expect(clippy::cast_possible_truncation, reason = "a position in the ring, whose length is a power of two")]
    fn place(&self, count: u64) -> usize {
        count as usize & (self.ring.len() - 1)
    }

    /// The next of the lots (SplitMix64); they need to be unknown to peers, and the seed is.
    fn draw(&mut self) -> u64 {
        self.lot = self.lot.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.lot ^ self.lot >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::slab::Slab;
    use crate::tcp::tcb::Tcb;
    use crate::wire::tuple::FourTuple;

    /// So many names, all different.
    fn ids(count: u32) -> Vec<FlowId> {
        let mut slab = Slab::new(count);
        let tuple = FourTuple { local_port: 80, ..FourTuple::default() };
        let mut name = || slab.insert(Tcb { tuple, ..Tcb::default() }).and_then(|slot| slab.id(slot)).unwrap();
        (0..count).map(|_| name()).collect()
    }

    fn filled(places: u32, ids: &[FlowId]) -> HalfOpen {
        let mut half_open = HalfOpen::new(places, 7);
        ids.iter().for_each(|id| half_open.push(*id));
        half_open
    }

    #[test]
    fn the_oldest_come_first_and_those_that_are_over_are_passed_by() {
        let ids = ids(8);
        let mut half_open = filled(8, &ids);
        assert_eq!(half_open.take_oldest(|_| true), Some(ids[0]));
        assert_eq!(half_open.take_oldest(|id| id == ids[3]), Some(ids[3]));
        assert_eq!(half_open.take_oldest(|_| true), Some(ids[4]));
        assert_eq!(half_open.take_oldest(|_| false), None);
        assert_eq!(half_open.take_oldest(|_| true), None, "all were looked at");
    }

    #[test]
    fn a_full_ring_forgets_the_oldest() {
        let ids = ids(11);
        let mut half_open = filled(8, &ids);
        assert_eq!(half_open.take_oldest(|_| true), Some(ids[3]));
    }

    #[test]
    fn lots_find_each_once() {
        let ids = ids(8);
        let mut half_open = filled(8, &ids);
        let mut drawn: Vec<_> = std::iter::from_fn(|| half_open.take_random(|_| true)).collect();
        assert_ne!(drawn, ids);
        drawn.sort_by_key(|id| id.slot.0);
        assert_eq!(drawn, ids);
    }

    #[test]
    fn a_search_has_an_end() {
        let ids = ids(1_000);
        let looked_at = std::cell::Cell::new(0);
        let over = |_| {
            looked_at.set(looked_at.get() + 1);
            false
        };
        let mut half_open = filled(1_000, &ids);
        assert_eq!(half_open.take_oldest(over), None);
        assert_eq!(half_open.take_random(over), None);
        assert_eq!(looked_at.get(), 2 * SEARCH_BUDGET);
    }
}
