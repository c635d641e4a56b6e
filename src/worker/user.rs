//! The user of a worker's TCP, who opens connections (RFC 9293 3.9.1 calls it so). A server has [`Nobody`]: its services
//! answer, and nobody opens anything.
//!
//! What is deliberately not here: what a user wants. A load generator is one.

use crate::engine::Engine;
use crate::port::Port;
use crate::time::Now;

/// User calls (OPEN, CLOSE, ABORT) that a user makes in one turn at most. Each may end a connection, so this is part of the
/// room that an engine's queue of events needs.
pub const CALL_BUDGET: usize = 256;

/// Opens connections through a worker's engine, and hears what becomes of them.
pub trait User {
    /// Does what is to be done at `now`: takes all events of the engine, makes at most [`CALL_BUDGET`] calls. Called once a turn,
    /// behind the received frames and ahead of what is sent without a request. True if there was anything to do.
    fn turn<P: Port>(&mut self, engine: &mut Engine, port: &mut P, now: Now) -> bool;

    /// When the user has something to do by itself next; `None` if it only waits for events.
    fn next_due(&self) -> Option<Now>;

    /// True once it wants nothing more: the worker then ends.
    fn is_over(&self) -> bool;
}

/// The user of a server's engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl User for Nobody {
    #[inline]
    fn turn<P: Port>(&mut self, _engine: &mut Engine, _port: &mut P, _now: Now) -> bool {
        false
    }

    #[inline]
    fn next_due(&self) -> Option<Now> {
        None
    }

    #[inline]
    fn is_over(&self) -> bool {
        false
    }
}
