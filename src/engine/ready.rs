//! Flows that have more to send than one segment: a queue in which each flow stands at most once.

use crate::flow::Slot;

/// Places in the queue at most; see [`Ready::push`].
const MAX_QUEUED: u32 = 65_536;

/// The queue: a ring of slots, and one bit per slot that is in it.
#[derive(Debug)]
pub struct Ready {
    ring: Box<[u32]>,
    head: usize,
    len: usize,
    queued: Box<[u64]>,
}

impl Ready {
    /// A queue for an engine with `flows` slots.
    pub fn new(flows: u32) -> Self {
        Self {
            ring: vec![0; flows.min(MAX_QUEUED) as usize].into_boxed_slice(),
            head: 0,
            len: 0,
            queued: vec![0; Self::words(flows)].into_boxed_slice(),
        }
    }

    fn words(flows: u32) -> usize {
        (flows as usize).div_ceil(64)
    }

    /// Bytes that a queue for `flows` slots allocates.
    pub fn memory_bytes(flows: u32) -> u64 {
        u64::from(flows.min(MAX_QUEUED)) * size_of::<u32>() as u64 + (Self::words(flows) * size_of::<u64>()) as u64
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `slot` at the end, unless it is in the queue already. False if the queue is full: the flow's retransmission timer
    /// then sends the rest.
    pub fn push(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot.index() / 64, 1 << (slot.index() % 64));
        if self.queued[word] & bit != 0 {
            return true;
        }
        if self.len == self.ring.len() {
            return false;
        }
        self.queued[word] |= bit;
        let at = (self.head + self.len) % self.ring.len();
        self.ring[at] = slot.0;
        self.len += 1;
        true
    }

    /// Takes the first slot out. Its flow may have ended since.
    pub fn pop(&mut self) -> Option<Slot> {
        if self.len == 0 {
            return None;
        }
        let slot = Slot(self.ring[self.head]);
        self.head = (self.head + 1) % self.ring.len();
        self.len -= 1;
        self.queued[slot.index() / 64] &= !(1 << (slot.index() % 64));
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_stands_in_it_once_and_leaves_in_order() {
        let mut ready = Ready::new(100);
        for slot in [70, 3, 70, 99, 3] {
            assert!(ready.push(Slot(slot)));
        }
        let order: Vec<u32> = std::iter::from_fn(|| ready.pop()).map(|slot| slot.0).collect();
        assert_eq!(order, [70, 3, 99]);
        assert!(ready.is_empty() && ready.push(Slot(70)));
    }

    #[test]
    fn a_full_queue_says_so() {
        let mut ready = Ready::new(MAX_QUEUED + 1);
        assert!((0..MAX_QUEUED).all(|slot| ready.push(Slot(slot))));
        assert!(!ready.push(Slot(MAX_QUEUED)));
        assert!(ready.push(Slot(0)), "one that is in it already needs no place");
        assert_eq!(ready.pop(), Some(Slot(0)));
        assert!(ready.push(Slot(MAX_QUEUED)));
    }
}
