//! One of the places where threads meet: a worker publishes a block of words, anybody reads a consistent copy.
//!
//! A sequence lock with one writer. The writer makes the version odd, stores the words, makes it even; it never waits and
//! never does an atomic read-modify-write. A reader copies the words between two reads of the same even version, and tries
//! again otherwise. The words are relaxed atomics, so a torn copy is discarded and never a data race.

use crossbeam::utils::CachePadded;
use sync::{AtomicU64, Ordering, fence, spin_loop};

/// The processor's atomics, or loom's, which try every order of two threads' steps (tests/loom.rs).
mod sync {
    #[cfg(not(loom))]
    pub(super) use core::{
        hint::spin_loop,
        sync::atomic::{AtomicU64, Ordering, fence},
    };
    #[cfg(loom)]
    pub(super) use loom::{
        hint::spin_loop,
        sync::atomic::{AtomicU64, Ordering, fence},
    };
}

/// A block of `N` words with one writer and any number of readers.
#[derive(Debug)]
pub struct Published<const N: usize> {
    version: CachePadded<AtomicU64>,
    words: CachePadded<[AtomicU64; N]>,
}

/// How often a reader tries before it gives up: the writer is then stuck in the middle of a publication.
const READ_ATTEMPTS: u32 = 10_000;

impl<const N: usize> Default for Published<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Published<N> {
    /// A block of zeros.
    pub fn new() -> Self {
        Self {
            version: CachePadded::new(AtomicU64::new(0)),
            words: CachePadded::new(core::array::from_fn(|_| AtomicU64::new(0))),
        }
    }

    /// Publishes `words`. Only one thread may ever call this; the worker that owns the block is the one.
    ///
    /// Ordering: the release fence keeps the odd version ahead of the words, the release store keeps the words ahead of
    /// the even version.
    pub fn publish(&self, words: &[u64; N]) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (cell, word) in self.words.iter().zip(words) {
            cell.store(*word, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// A consistent copy of the last publication, or `None` if the writer was found in the middle of one every time.
    ///
    /// Ordering: the acquire load pairs with the writer's release store, the acquire fence keeps the second look at the
    /// version behind the words.
    pub fn read(&self) -> Option<[u64; N]> {
        for _ in 0..READ_ATTEMPTS {
            let before = self.version.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let words = core::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    return Some(words);
                }
            }
            spin_loop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Miri interprets, and needs less to find a race.
    const PUBLICATIONS: u64 = if cfg!(miri) { 200 } else { 20_000 };

    #[test]
    fn readers_see_whole_publications_only() {
        let published = Published::<16>::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 1..=PUBLICATIONS {
                    published.publish(&[value; 16]);
                }
            });
            scope.spawn(|| {
                let mut last = 0;
                while last < PUBLICATIONS {
                    let Some(words) = published.read() else { continue };
                    assert!(words.iter().all(|w| *w == words[0]), "torn read: {words:?}");
                    assert!(words[0] >= last, "a reader went back in time");
                    last = words[0];
                }
            });
        });
    }
}
