//! One of the places where threads meet: a worker hands captured frames to the one who writes them.
//!
//! A ring of slots with one producer and one consumer (Lamport's): each side has a count of its own and reads the other's, so neither ever
//! waits, and there is no atomic read-modify-write. A slot is words, not bytes: relaxed atomics that are plain stores and loads in
//! the machine, and need no unsafe code to be written by one thread and read by another.
//!
//! Orderings: the producer stores its count with release behind a slot's words, the consumer loads it with acquire ahead of reading them.
//! The consumer stores its own count with release behind its reads, the producer loads that with acquire ahead of writing over them.

use super::Note;
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use sync::{AtomicU64, Ordering};

/// The processor's atomics, or loom's, which try every order of two threads' steps (tests/loom.rs).
mod sync {
    #[cfg(not(loom))]
    pub(super) use core::sync::atomic::{AtomicU64, Ordering};
    #[cfg(loom)]
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

/// Words of a slot ahead of the frame's bytes.
const HEAD_WORDS: usize = Note::WORDS;
const WORD_BYTES: usize = size_of::<u64>();

/// What both sides have.
#[derive(Debug)]
struct Shared {
    /// How many slots were ever filled; the producer's.
    filled: CachePadded<AtomicU64>,
    /// How many slots were ever emptied; the consumer's.
    emptied: CachePadded<AtomicU64>,
    words: Box<[AtomicU64]>,
    slots: u64,
    slot_words: usize,
}

/// The worker's side.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    filled: u64,
    /// The consumer's count as it was last seen.
    emptied: u64,
}

/// The writer's side.
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    emptied: u64,
}

/// A queue of `slots` slots, each with room for `frame_bytes` bytes of a frame.
pub fn pair(slots: usize, frame_bytes: usize) -> (Producer, Consumer) {
    let slot_words = HEAD_WORDS + frame_bytes.div_ceil(WORD_BYTES);
    let shared = Arc::new(Shared {
        filled: CachePadded::new(AtomicU64::new(0)),
        emptied: CachePadded::new(AtomicU64::new(0)),
        words: (0..slots * slot_words).map(|_| AtomicU64::new(0)).collect(),
        slots: slots as u64,
        slot_words,
    });
    (Producer { shared: Arc::clone(&shared), filled: 0, emptied: 0 }, Consumer { shared, emptied: 0 })
}

impl Shared {
    /// The words of the slot that is filled or emptied when the count stands at `count`.
    #[expect(clippy::cast_possible_truncation, reason = "less than the number of slots, which is a usize")]
    fn slot(&self, count: u64) -> &[AtomicU64] {
        let at = (count % self.slots) as usize * self.slot_words;
        &self.words[at..at + self.slot_words]
    }
}

impl Producer {
    /// Hands over a frame of `bytes`, as much of it as a slot has room for. False, and nothing done, if there is no free slot.
    pub fn push(&mut self, note: &Note, bytes: &[u8]) -> bool {
        let shared = &*self.shared;
        if self.filled - self.emptied == shared.slots {
            self.emptied = shared.emptied.load(Ordering::Acquire);
            if self.filled - self.emptied == shared.slots {
                return false;
            }
        }
        let (head, body) = shared.slot(self.filled).split_at(HEAD_WORDS);
        let kept = bytes.len().min(body.len() * WORD_BYTES);
        let store = |cell: &AtomicU64, word| cell.store(word, Ordering::Relaxed);
        head.iter().zip(note.to_words(kept)).for_each(|(cell, word)| store(cell, word));
        let (words, rest) = bytes[..kept].as_chunks::<WORD_BYTES>();
        body.iter().zip(words).for_each(|(cell, word)| store(cell, u64::from_ne_bytes(*word)));
        if !rest.is_empty() {
            let mut word = [0; WORD_BYTES];
            word[..rest.len()].copy_from_slice(rest);
            store(&body[words.len()], u64::from_ne_bytes(word));
        }
        self.filled += 1;
        shared.filled.store(self.filled, Ordering::Release);
        true
    }
}

impl Consumer {
    /// Takes the oldest frame: its bytes take the place of what `bytes` held.
    pub fn pop(&mut self, bytes: &mut Vec<u8>) -> Option<Note> {
        let shared = &*self.shared;
        if shared.filled.load(Ordering::Acquire) == self.emptied {
            return None;
        }
        let (head, body) = shared.slot(self.emptied).split_at(HEAD_WORDS);
        let (note, kept) = Note::from_words(core::array::from_fn(|i| head[i].load(Ordering::Relaxed)));
        bytes.clear();
        for cell in &body[..kept.div_ceil(WORD_BYTES)] {
            bytes.extend_from_slice(&cell.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes.truncate(kept);
        self.emptied += 1;
        shared.emptied.store(self.emptied, Ordering::Release);
        Some(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::effects::End;
    use crate::verdict::{DropReason, Verdict};
    use crate::worker::capture::{Book, Way};

    fn note(nanos: u64) -> Note {
        Note { nanos, len: 60, way: Way::In, book: Book::All, verdict: None, end: None }
    }

    #[test]
    fn a_note_survives_the_way_through_the_queue() {
        let (mut producer, mut consumer) = pair(4, 16);
        let notes = [
            note(1),
            Note { verdict: Some(Verdict::Accept), ..note(2) },
            Note { way: Way::Out, book: Book::Failed, end: Some(End::Aborted), ..note(3) },
            Note { verdict: Some(Verdict::Drop(DropReason::MissingTimestamp)), end: Some(End::Closed), ..note(4) },
        ];
        let mut bytes = Vec::new();
        for (length, note) in [0, 7, 16, 40].into_iter().zip(notes) {
            assert!(producer.push(&note, &vec![0xa5; length]));
            assert_eq!(consumer.pop(&mut bytes), Some(note));
            assert_eq!(bytes, vec![0xa5; length.min(16)], "what does not fit is cut");
        }
        assert_eq!(consumer.pop(&mut bytes), None);
    }

    #[test]
    fn a_full_queue_takes_nothing_and_loses_nothing() {
        let (mut producer, mut consumer) = pair(3, 8);
        let pushed: Vec<bool> = (0..5).map(|n| producer.push(&note(n), &[])).collect();
        assert_eq!(pushed, [true, true, true, false, false]);
        let mut taken = || consumer.pop(&mut Vec::new()).map(|note| note.nanos);
        assert_eq!((taken(), taken()), (Some(0), Some(1)));
        assert!(producer.push(&note(9), &[]), "there is room again");
        assert_eq!((taken(), taken(), taken()), (Some(2), Some(9), None));
    }

    #[test]
    fn two_threads_pass_every_frame_on_in_order() {
        const FRAMES: u64 = if cfg!(miri) { 100 } else { 100_000 };
        let (mut producer, mut consumer) = pair(16, 24);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..FRAMES {
                    let bytes = [n.to_ne_bytes(), (n * 3).to_ne_bytes()].concat();
                    while !producer.push(&note(n), &bytes) {
                        std::thread::yield_now();
                    }
                }
            });
            let mut bytes = Vec::new();
            for n in 0..FRAMES {
                let note = loop {
                    match consumer.pop(&mut bytes) {
                        Some(note) => break note,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!((note.nanos, &bytes[8..]), (n, &(n * 3).to_ne_bytes()[..]));
            }
        });
    }
}
