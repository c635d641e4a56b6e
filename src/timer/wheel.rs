//! The wheel: bucket heads, a bitmap of the buckets in use, and a doubly linked list through the slots' entries.

use crate::arch::{pages, prefetch};
use crate::flow::Slot;
use crate::time::Tick;

/// Buckets of the wheel; one millisecond each.
const BUCKETS: u32 = 1 << 16;
const MASK: u32 = BUCKETS - 1;
/// Words of the bitmap.
const WORDS: usize = BUCKETS as usize / 64;
/// No slot.
const NONE: u32 = u32::MAX;

/// How far ahead in milliseconds a timer can be armed; a later deadline is entered here. One bucket less than the wheel has,
/// so that "now" and the horizon never share one.
pub const HORIZON_MS: u32 = BUCKETS - 1;

/// One slot's timer: 12 bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    next: u32,
    prev: u32,
    at: Tick,
}

/// An entry that is in no bucket marks itself by being its own predecessor.
impl Entry {
    fn idle(slot: u32) -> Self {
        Self { next: NONE, prev: slot, at: Tick(0) }
    }
}

/// The timers of as many slots as it was made for.
#[derive(Debug)]
pub struct Wheel {
    heads: Box<[u32]>,
    used: Box<[u64]>,
    entries: Box<[Entry]>,
    /// Every bucket before this tick is empty.
    current: Tick,
    armed: u32,
    /// Of the armed timers, those whose slots have no owner any more.
    abandoned: u32,
}

impl Wheel {
    /// A wheel for `slots` slots, none armed, that starts at `now`.
    pub fn new(slots: u32, now: Tick) -> Self {
        Self {
            heads: vec![NONE; BUCKETS as usize].into_boxed_slice(),
            used: vec![0; WORDS].into_boxed_slice(),
            entries: pages::table((0..slots).map(Entry::idle)),
            current: now,
            armed: 0,
            abandoned: 0,
        }
    }

    /// Bytes that a wheel for `slots` slots allocates.
    pub fn memory_bytes(slots: u32) -> u64 {
        let fixed = BUCKETS as usize * size_of::<u32>() + WORDS * size_of::<u64>();
        u64::from(slots) * size_of::<Entry>() as u64 + fixed as u64
    }

    /// How many timers are armed for slots that have an owner.
    pub fn armed(&self) -> u32 {
        self.armed - self.abandoned
    }

    /// [`Wheel::arm`] for a slot that has a new owner. What an earlier owner left armed is taken over.
    pub fn start(&mut self, slot: Slot, deadline: Tick) {
        self.abandoned -= u32::from(self.is_armed(slot));
        self.arm(slot, deadline);
    }

    /// The owner of a slot whose timer is armed is gone. The timer is left where it is, because to take it out would touch its
    /// neighbours, which are in nobody's cache: it is the next owner's, or it expires and is [`Wheel::forgotten`].
    pub fn abandon(&mut self) {
        self.abandoned += 1;
    }

    /// A timer that expired was one that nobody owned.
    pub fn forgotten(&mut self) {
        self.abandoned -= 1;
    }

    /// Announces to the processor that the timer of `slot` will be looked at.
    #[inline]
    pub fn prefetch(&self, slot: Slot) {
        if let Some(entry) = self.entries.get(slot.index()) {
            prefetch::value(entry);
        }
    }

    /// Makes sure that `slot` expires at `deadline` or earlier, but not later. A timer that is armed for earlier stays as it
    /// is: see the head of the module.
    pub fn arm(&mut self, slot: Slot, deadline: Tick) {
        let at = self.within_horizon(deadline);
        if self.is_armed(slot) {
            if at.at_or_after(self.entries[slot.index()].at) {
                return;
            }
            self.unlink(slot);
        }
        self.link(slot, at);
    }

    /// The next slot whose timer expired at or before `now`, oldest bucket first; its timer is not armed any more. If the slot has
    /// no owner, [`Wheel::forgotten`] is to be told.
    pub fn expired(&mut self, now: Tick) -> Option<Slot> {
        let bucket = self.next_used(now)?;
        let slot = Slot(self.heads[bucket as usize]);
        self.unlink(slot);
        // The one behind it will be looked at next.
        if let Some(Entry { next, .. }) = self.entries.get(self.heads[bucket as usize] as usize)
            && let Some(after) = self.entries.get(*next as usize)
        {
            prefetch::value(after);
        }
        Some(slot)
    }

    /// Lets the wheel follow the time over empty buckets. To be called at least every 24 days: a wheel that stood still for half the
    /// circle of a [`Tick`] would take the next deadline for one that lies ahead as far.
    pub fn follow(&mut self, now: Tick) {
        self.next_used(now);
    }

    /// The tick at which the earliest armed timer expires.
    pub fn next_due(&self) -> Option<Tick> {
        let start = self.current.0 & MASK;
        self.first_used_from(start).map(|bucket| self.current + (bucket.wrapping_sub(start) & MASK))
    }

    /// True if a timer expires at or before `now`. Within one tick the answer is there without a search.
    pub fn is_due(&self, now: Tick) -> bool {
        !self.current.at_or_after(now + 1) && self.next_due().is_some_and(|due| now.at_or_after(due))
    }

    /// Advances over empty buckets up to and including `now`; returns the first one in use.
    fn next_used(&mut self, now: Tick) -> Option<u32> {
        if self.current.at_or_after(now + 1) {
            return None;
        }
        match self.next_due() {
            Some(due) if now.at_or_after(due) => {
                self.current = due;
                Some(due.0 & MASK)
            }
            // Nothing until now: the wheel stands just behind it.
            _ => {
                self.current = now + 1;
                None
            }
        }
    }

    /// The first bucket in use at or after `start` on the circle.
    fn first_used_from(&self, start: u32) -> Option<u32> {
        if self.armed == 0 {
            return None;
        }
        let (word, bit) = (start as usize / 64, start % 64);
        let masked = self.used[word] & (!0 << bit);
        let found = |word: usize, bits: u64| {
            let bucket = u32::try_from(word * 64).expect("at most 65,536 buckets") + bits.trailing_zeros();
            (bits != 0).then_some(bucket)
        };
        found(word, masked)
            .or_else(|| (1..=WORDS).map(|i| (word + i) % WORDS).find_map(|word| found(word, self.used[word])))
    }

    /// `deadline`, not before the wheel's present bucket and not beyond its horizon.
    fn within_horizon(&self, deadline: Tick) -> Tick {
        if deadline.before(self.current) {
            return self.current;
        }
        self.current + deadline.millis_since(self.current).min(HORIZON_MS)
    }

    fn is_armed(&self, slot: Slot) -> bool {
        self.entries[slot.index()].prev != slot.0
    }

    fn link(&mut self, slot: Slot, at: Tick) {
        let bucket = at.0 & MASK;
        let head = self.heads[bucket as usize];
        self.entries[slot.index()] = Entry { next: head, prev: NONE, at };
        if head != NONE {
            self.entries[head as usize].prev = slot.0;
        }
        self.heads[bucket as usize] = slot.0;
        self.used[bucket as usize / 64] |= 1 << (bucket % 64);
        self.armed += 1;
    }

    fn unlink(&mut self, slot: Slot) {
        let Entry { next, prev, at } = self.entries[slot.index()];
        let bucket = at.0 & MASK;
        if prev == NONE {
            self.heads[bucket as usize] = next;
            if next == NONE {
                self.used[bucket as usize / 64] &= !(1 << (bucket % 64));
            }
        } else {
            self.entries[prev as usize].next = next;
        }
        if next != NONE {
            self.entries[next as usize].prev = prev;
        }
        self.entries[slot.index()] = Entry::idle(slot.0);
        self.armed -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    fn drain(wheel: &mut Wheel, now: Tick) -> Vec<u32> {
        let mut slots: Vec<u32> = std::iter::from_fn(|| wheel.expired(now)).map(|slot| slot.0).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn a_timer_expires_at_its_tick_and_not_before() {
        let mut wheel = Wheel::new(4, Tick(10));
        wheel.arm(Slot(1), Tick(15));
        wheel.arm(Slot(2), Tick(15));
        wheel.arm(Slot(3), Tick(16));
        assert_eq!(wheel.next_due(), Some(Tick(15)));
        assert!(drain(&mut wheel, Tick(14)).is_empty());
        assert_eq!(drain(&mut wheel, Tick(15)), [1, 2]);
        assert_eq!(drain(&mut wheel, Tick(100)), [3]);
        assert_eq!((wheel.armed(), wheel.next_due()), (0, None));
    }

    #[test]
    fn an_earlier_timer_is_left_and_a_later_one_is_moved() {
        let mut wheel = Wheel::new(2, Tick(0));
        wheel.arm(Slot(0), Tick(50));
        wheel.arm(Slot(0), Tick(90));
        assert_eq!(wheel.next_due(), Some(Tick(50)));
        wheel.arm(Slot(0), Tick(20));
        assert_eq!(wheel.next_due(), Some(Tick(20)));
        assert_eq!(wheel.armed(), 1);
    }

    #[test]
    fn an_abandoned_timer_is_the_next_owners_or_is_forgotten() {
        let mut wheel = Wheel::new(2, Tick(0));
        wheel.start(Slot(0), Tick(50));
        wheel.start(Slot(1), Tick(60));
        wheel.abandon();
        wheel.abandon();
        assert_eq!((wheel.armed(), wheel.next_due()), (0, Some(Tick(50))));
        wheel.start(Slot(1), Tick(90));
        assert_eq!(wheel.armed(), 1, "the timer of slot 1 has an owner again");
        assert_eq!(wheel.expired(Tick(60)), Some(Slot(0)));
        wheel.forgotten();
        assert_eq!(wheel.armed(), 1);
        assert_eq!(wheel.expired(Tick(60)), Some(Slot(1)), "earlier than its new owner needs it, as ever");
        assert_eq!((wheel.armed(), wheel.next_due()), (0, None));
    }

    #[test]
    fn a_deadline_beyond_the_horizon_expires_at_the_horizon() {
        let mut wheel = Wheel::new(1, Tick(u32::MAX - 3));
        wheel.arm(Slot(0), Tick(u32::MAX - 3) + 1_000_000);
        assert_eq!(wheel.next_due(), Some(Tick(u32::MAX - 3) + HORIZON_MS));
    }

    #[test]
    fn a_wheel_that_follows_the_time_keeps_its_deadlines_across_half_the_circle() {
        let mut wheel = Wheel::new(1, Tick(0));
        let mut now = Tick(0);
        for _ in 0..3 {
            now = now + (1 << 30);
            wheel.follow(now);
        }
        wheel.arm(Slot(0), now + 5);
        assert_eq!(wheel.next_due(), Some(now + 5));
        wheel.follow(now + 9);
        assert_eq!(wheel.expired(now + 9), Some(Slot(0)), "following takes nothing out");
    }

    #[test]
    fn a_deadline_in_the_past_expires_at_once() {
        let mut wheel = Wheel::new(1, Tick(100));
        wheel.arm(Slot(0), Tick(5));
        assert_eq!(wheel.expired(Tick(100)), Some(Slot(0)));
    }

    #[test]
    fn a_slot_armed_again_while_its_own_tick_is_drained_expires_in_the_same_drain() {
        let mut wheel = Wheel::new(1, Tick(0));
        wheel.arm(Slot(0), Tick(3));
        assert_eq!(wheel.expired(Tick(7)), Some(Slot(0)));
        wheel.arm(Slot(0), Tick(6));
        assert_eq!(wheel.expired(Tick(7)), Some(Slot(0)));
        assert_eq!(wheel.expired(Tick(7)), None);
    }

    #[test]
    fn time_may_leap_over_many_turns_of_the_wheel() {
        let mut wheel = Wheel::new(2, Tick(0));
        wheel.arm(Slot(0), Tick(70_000));
        wheel.arm(Slot(1), Tick(7));
        assert_eq!(drain(&mut wheel, Tick(1_000_000)), [0, 1]);
        wheel.arm(Slot(1), Tick(1_000_004));
        assert!(drain(&mut wheel, Tick(1_000_003)).is_empty());
        assert_eq!(drain(&mut wheel, Tick(1_000_004)), [1]);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_list_of_deadlines(
            start: u32,
            steps in proptest::collection::vec((0_u8..4, 0_u32..20, 0_u32..200_000, 0_u32..5_000), 0..400),
        ) {
            let mut wheel = Wheel::new(20, Tick(start));
            let mut model: HashMap<u32, Tick> = HashMap::new();
            // Those that are armed but have no owner.
            let mut abandoned: HashSet<u32> = HashSet::new();
            let mut now = Tick(start);
            for (what, slot, ahead, leap) in steps {
                match what {
                    0 | 1 => {
                        // What is armed earlier stays; the horizon counts from the bucket the wheel stands at.
                        let at = now + ahead.min(HORIZON_MS - 1);
                        if abandoned.remove(&slot) || !model.contains_key(&slot) {
                            wheel.start(Slot(slot), at);
                        } else {
                            wheel.arm(Slot(slot), at);
                        }
                        let kept = model.get(&slot).copied().filter(|old| at.at_or_after(*old));
                        model.insert(slot, kept.unwrap_or(at));
                    }
                    2 => {
                        if model.contains_key(&slot) && abandoned.insert(slot) {
                            wheel.abandon();
                        }
                    }
                    _ => {
                        now = now + leap;
                        let mut due: Vec<u32> =
                            model.iter().filter(|(_, at)| now.at_or_after(**at)).map(|(slot, _)| *slot).collect();
                        due.sort_unstable();
                        prop_assert_eq!(drain(&mut wheel, now), due.clone());
                        for slot in due {
                            model.remove(&slot);
                            if abandoned.remove(&slot) {
                                wheel.forgotten();
                            }
                        }
                    }
                }
                prop_assert_eq!(wheel.armed() as usize, model.len() - abandoned.len());
                let earliest = model.values().map(|at| at.millis_since(Tick(start))).min();
                let due = wheel.next_due().map(|at| at.millis_since(Tick(start)));
                // An entry armed for the past counts as due in the wheel's present bucket.
                prop_assert_eq!(due.is_some(), earliest.is_some());
                if let (Some(due), Some(earliest)) = (due, earliest) {
                    prop_assert!(due == earliest || due == earliest + 1, "due {due}, earliest {earliest}");
                }
            }
        }
    }
}
