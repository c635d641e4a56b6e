//! Where a worker's time comes from.

use std::time::Instant;

use crate::time::Now;

/// A source of instants that never go back.
pub trait Clock {
    /// The present instant.
    fn now(&mut self) -> Now;
}

/// The kernel's monotonic clock (CLOCK_MONOTONIC, read without a system call), counted from when the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// A clock that starts at 0. All workers of a server share one origin by copying it.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for MonotonicClock {
    fn now(&mut self) -> Now {
        // 2^64 ns are 584 years.
        Now(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
