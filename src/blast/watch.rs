//! Where one worker of a generator and whoever watches it meet.

use crate::stats::publish::Published;
use core::sync::atomic::{AtomicBool, Ordering};

/// Words of [`Progress`].
const PROGRESS_WORDS: usize = 7;

/// Where a worker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Connections attempted.
    pub attempted: u64,
    /// Connections established.
    pub established: u64,
    /// Connections completed.
    pub completed: u64,
    /// Connections failed.
    pub failed: u64,
    /// Of those, how many were refused.
    pub refused: u64,
    /// Connections that are established and not closing.
    pub open: u64,
    /// Connections neither completed nor failed.
    pub in_progress: u64,
}

impl Progress {
    fn to_words(self) -> [u64; PROGRESS_WORDS] {
        let Self { attempted, established, completed, failed, refused, open, in_progress } = self;
        [attempted, established, completed, failed, refused, open, in_progress]
    }

    fn from_words(
        [attempted, established, completed, failed, refused, open, in_progress]: [u64; PROGRESS_WORDS],
    ) -> Self {
        Self { attempted, established, completed, failed, refused, open, in_progress }
    }

    /// Adds another worker's.
    pub fn add(&mut self, other: Self) {
        let (mine, theirs) = (self.to_words(), other.to_words());
        *self = Self::from_words(core::array::from_fn(|i| mine[i] + theirs[i]));
    }
}

/// Where a worker and whoever watches it meet: its progress, and the wish that it comes to an end.
#[derive(Debug, Default)]
pub struct Watch {
    progress: Published<PROGRESS_WORDS>,
    /// Stands alone, so relaxed is enough.
    stop: AtomicBool,
}

impl Watch {
    /// Where the worker stands; zeros if it is stuck in the middle of saying so.
    pub fn progress(&self) -> Progress {
        self.progress.read().map_or_else(Progress::default, Progress::from_words)
    }

    /// Worker: says where it stands.
    pub(super) fn publish(&self, progress: Progress) {
        self.progress.publish(&progress.to_words());
    }

    /// Worker: true once it is to come to an end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Has the worker open nothing more, close what is open, and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
