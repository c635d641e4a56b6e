//! What happens to the connections that were opened actively, for whoever opened them.
//!
//! A queue that is filled during a turn and emptied by its reader before the next one. It never grows: its room is what a
//! turn can bring about at most. An engine that only answers keeps none.

use std::collections::VecDeque;

use crate::flow::FlowId;
use crate::tcp::effects::End;

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It reached ESTABLISHED.
    Established,
    /// Payload arrived in order, this many bytes.
    Received(u16),
    /// The service has the whole answer to its request.
    Answered,
    /// The peer's FIN arrived in order.
    PeerClosed,
    /// Both FINs are acknowledged: it entered TIME-WAIT, or ends in LAST-ACK.
    Finished,
    /// It is over, and its slot is free. What comes next in this slot has another name.
    Ended(End),
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// To which connection.
    pub id: FlowId,
    /// What.
    pub what: What,
}

/// Events that one received segment, one timer or one user call brings about at most: established, payload, its answer,
/// the peer's FIN, finished, ended.
pub const EVENTS_PER_STEP: usize = 6;

/// The queue.
#[derive(Debug)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    room: usize,
}

impl Events {
    /// A queue with room for `room` events; with 0 none are kept.
    pub(super) fn new(room: usize) -> Self {
        Self { queue: VecDeque::with_capacity(room), room }
    }

    /// Adds an event, if events are kept.
    ///
    /// # Panics
    ///
    /// If there is no room: the reader left the events of an earlier turn.
    pub(super) fn push(&mut self, id: FlowId, what: What) {
        if self.room > 0 {
            assert!(self.queue.len() < self.room, "events of more than one turn in the queue");
            self.queue.push_back(Event { id, what });
        }
    }

    /// Takes the oldest event.
    pub(super) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }
}
