//! The last frames of a worker, so that those of a connection can be found once it has failed.
//!
//! A ring of slots that are allocated once; each new frame takes the oldest one's place. Frames whose four-tuples have the same hash are
//! chained, newest first, so that finding a connection's frames takes steps for its own and not for all.

use super::{Glance, Note};
use crate::flow::hash::FlowHasher;
use crate::wire::tuple::FourTuple;

/// Frames of one connection that are found at most, the newest of them.
pub const MAX_FOUND: usize = 64;
/// Frames that one search looks at, at most: others may have the same hash.
const SEARCH_BUDGET: u32 = 256;

/// One frame, its bytes aside.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    note: Note,
    /// Its connection, ours as local; `None` if it has none or was found already.
    tuple: Option<FourTuple>,
    kept: u32,
    /// The place of the one before with the same hash, in the way of [`Recall::heads`].
    before: u64,
}

/// The ring.
#[derive(Debug)]
pub struct Recall {
    frames: Box<[Remembered]>,
    bytes: Box<[u8]>,
    frame_bytes: usize,
    /// For each hash the place of the newest frame, counted from 1 on without end; 0 for none.
    heads: Box<[u64]>,
    hasher: FlowHasher,
    /// Frames that were ever remembered.
    count: u64,
}

impl Recall {
    /// A ring of at least `frames` frames (at least one) of `frame_bytes` bytes each, hashed by `hasher`.
    pub fn new(frames: usize, frame_bytes: usize, hasher: FlowHasher) -> Self {
        let frames = frames.next_power_of_two();
        let empty = Remembered { note: Note::default(), tuple: None, kept: 0, before: 0 };
        Self {
            frames: vec![empty; frames].into_boxed_slice(),
            bytes: vec![0; frames * frame_bytes].into_boxed_slice(),
            frame_bytes,
            heads: vec![0; frames].into_boxed_slice(),
            hasher,
            count: 0,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than the number of slots, which is a power of two")]
    fn slot(&self, count: u64) -> usize {
        count as usize & (self.frames.len() - 1)
    }

    /// Remembers a frame in the place of the oldest one.
    pub fn push(&mut self, note: Note, glance: Option<&Glance>, bytes: &[u8]) {
        let slot = self.slot(self.count);
        self.count += 1;
        let kept = bytes.len().min(self.frame_bytes);
        let at = slot * self.frame_bytes;
        self.bytes[at..at + kept].copy_from_slice(&bytes[..kept]);
        let before = match glance {
            Some(Glance { tuple, .. }) => {
                let head = self.slot(self.hasher.hash(tuple).0);
                core::mem::replace(&mut self.heads[head], self.count)
            }
            None => 0,
        };
        let kept = u32::try_from(kept).unwrap_or(u32::MAX);
        self.frames[slot] = Remembered { note, tuple: glance.map(|glance| glance.tuple), kept, before };
    }

    /// The frame that was remembered last; there must be one.
    pub fn last(&self) -> (&Note, &[u8]) {
        let (note, bytes) = self.frame(self.slot(self.count.wrapping_sub(1)));
        (note, bytes)
    }

    /// The note of the frame that was remembered last.
    pub fn last_note(&mut self) -> &mut Note {
        let slot = self.slot(self.count.wrapping_sub(1));
        &mut self.frames[slot].note
    }

    fn frame(&self, slot: usize) -> (&Note, &[u8]) {
        let (Remembered { note, kept, .. }, at) = (&self.frames[slot], slot * self.frame_bytes);
        (note, &self.bytes[at..at + *kept as usize])
    }

    /// Hands the frames of `tuple` to `take`, oldest first, the last one with `true`. They are not found again. Returns how many there were.
    pub fn take(&mut self, tuple: &FourTuple, mut take: impl FnMut(&Note, &[u8], bool)) -> usize {
        let oldest = self.count.saturating_sub(self.frames.len() as u64);
        let mut slots = [0; MAX_FOUND];
        let mut found = 0;
        let mut at = self.heads[self.slot(self.hasher.hash(tuple).0)];
        for _ in 0..SEARCH_BUDGET {
            if at <= oldest || found == MAX_FOUND {
                break;
            }
            let slot = self.slot(at - 1);
            if self.frames[slot].tuple.as_ref() == Some(tuple) {
                self.frames[slot].tuple = None;
                slots[found] = slot;
                found += 1;
            }
            at = self.frames[slot].before;
        }
        for (left, slot) in slots[..found].iter().rev().enumerate() {
            let (note, bytes) = self.frame(*slot);
            take(note, bytes, left + 1 == found);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::segment::Control;
    use crate::wire::tuple::Addr;

    fn glance(port: u16) -> Glance {
        let tuple = FourTuple {
            local_addr: Addr::v4([10, 0, 0, 1]),
            local_port: 80,
            remote_port: port,
            ..FourTuple::default()
        };
        Glance { tuple, control: Control::SYN }
    }

    fn push(recall: &mut Recall, port: u16, nanos: u64) {
        let bytes = nanos.to_le_bytes();
        recall.push(Note { nanos, ..Note::default() }, Some(&glance(port)), &bytes);
    }

    fn taken(recall: &mut Recall, port: u16) -> Vec<(u64, bool)> {
        let mut taken = Vec::new();
        recall.take(&glance(port).tuple, |note, bytes, is_last| {
            assert_eq!(bytes, &note.nanos.to_le_bytes()[..4], "cut to the slot's length");
            taken.push((note.nanos, is_last));
        });
        taken
    }

    #[test]
    fn the_frames_of_a_connection_come_oldest_first_and_once() {
        let mut recall = Recall::new(8, 4, FlowHasher::new([1, 2]));
        for (nanos, port) in (0..).zip([7, 8, 7, 9, 7]) {
            push(&mut recall, port, nanos);
        }
        assert_eq!(taken(&mut recall, 7), [(0, false), (2, false), (4, true)]);
        assert_eq!(taken(&mut recall, 7), []);
        assert_eq!((taken(&mut recall, 8), taken(&mut recall, 10)), (vec![(1, true)], vec![]));
    }

    #[test]
    fn what_was_overwritten_is_not_found() {
        let mut recall = Recall::new(4, 4, FlowHasher::new([1, 2]));
        for nanos in 0..100 {
            push(&mut recall, if nanos == 97 { 8 } else { 7 }, nanos);
        }
        assert_eq!(taken(&mut recall, 7), [(96, false), (98, false), (99, true)]);
        assert_eq!(taken(&mut recall, 8), [(97, true)]);
    }

    #[test]
    fn of_very_many_frames_the_newest_are_found() {
        let mut recall = Recall::new(1_000, 4, FlowHasher::new([1, 2]));
        (0..1_000).for_each(|nanos| push(&mut recall, 7, nanos));
        let taken = taken(&mut recall, 7);
        assert_eq!((taken.len(), taken[0].0, taken[MAX_FOUND - 1]), (MAX_FOUND, 936, (999, true)));
    }

    #[test]
    fn a_frame_without_ends_is_remembered_for_nobody() {
        let mut recall = Recall::new(2, 4, FlowHasher::new([1, 2]));
        recall.push(Note { nanos: 5, ..Note::default() }, None, &[1, 2]);
        assert_eq!(recall.last(), (&Note { nanos: 5, ..Note::default() }, &[1, 2][..]));
        recall.last_note().nanos = 6;
        assert_eq!(recall.last().0.nanos, 6);
        assert_eq!(recall.take(&FourTuple::default(), |_, _, _| {}), 0);
    }
}
