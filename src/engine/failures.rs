//! Connections that failed, for whoever keeps the frames that led there.
//!
//! A queue that is filled during a turn and emptied before the next one, by somebody who may be there or not: without one nothing is
//! noted. It never grows: its room is what happens between two looks at most.

use std::collections::VecDeque;

use crate::tcp::effects::End;
use crate::wire::tuple::FourTuple;

/// A connection that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one.
    pub tuple: FourTuple,
    /// In which way.
    pub end: End,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Failures {
    queue: VecDeque<Failure>,
    room: usize,
}

impl Failures {
    /// A queue for nobody.
    pub(super) const fn none() -> Self {
        Self { queue: VecDeque::new(), room: 0 }
    }

    /// A queue with room for `room` failures.
    pub(super) fn with_room(room: usize) -> Self {
        Self { queue: VecDeque::with_capacity(room), room }
    }

    /// Notes the end of a connection, if it is a failure and somebody looks.
    ///
    /// # Panics
    ///
    /// If there is no room: whoever looks left the failures of an earlier turn.
    #[inline]
    pub(super) fn note(&mut self, tuple: &FourTuple, end: End) {
        if self.room > 0 {
            self.push(tuple, end);
        }
    }

    #[cold]
    fn push(&mut self, tuple: &FourTuple, end: End) {
        if end.is_failure() {
            assert!(self.queue.len() < self.room, "failures of more than one turn in the queue");
            self.queue.push_back(Failure { tuple: *tuple, end });
        }
    }

    /// Takes the oldest.
    pub(super) fn pop(&mut self) -> Option<Failure> {
        self.queue.pop_front()
    }
}
