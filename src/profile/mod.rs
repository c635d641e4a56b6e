//! Where a worker's time goes, stage by stage: the stages, the marks between them, and the sheet on which they are summed up.
//!
//! What is timed is generic over a [`Probe`]. With [`Off`] a mark is nothing: no instruction, no argument, so the code is what
//! it would be without marks. With [`Marks`](sheet::Marks) a mark reads the processor's clock and books the time since the mark
//! before. A worker has its turn compiled with each and chooses by the turn.
//!
//! What is deliberately not here: threads, the worker's turn itself, and what people read (observe). All memory is plain
//! integers of one owner, allocated before the first mark.
#![forbid(unsafe_code)]

pub mod histogram;
pub mod sheet;

/// A part of a worker's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Commands and questions of the control path.
    Mailbox,
    /// The rings on the way in: sent frames collected, the fill ring filled up, received frames taken.
    Receive,
    /// Looking ahead over a burst: headers, four-tuples, their places in the index and flows, all announced to the processor.
    Prefetch,
    /// Reading a frame: headers, options, checksum.
    Parse,
    /// Finding the connection.
    Lookup,
    /// The protocol, the service, the flow table's and the timer's part in it, counters.
    Tcp,
    /// Writing the answer.
    Reply,
    /// What is due without a frame that asks for it: timers, the rest of send streams.
    Timers,
    /// Queueing frames and handing them to the TX ring, or back.
    Transmit,
    /// Calling the kernel to send.
    Kick,
}

impl Stage {
    /// All of them, in the order in which reports name them.
    pub const ALL: [Stage; 10] = [
        Self::Mailbox,
        Self::Receive,
        Self::Prefetch,
        Self::Parse,
        Self::Lookup,
        Self::Tcp,
        Self::Reply,
        Self::Timers,
        Self::Transmit,
        Self::Kick,
    ];

    /// Its place in [`Stage::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mailbox => "mailbox",
            Self::Receive => "receive",
            Self::Prefetch => "prefetch",
            Self::Parse => "parse",
            Self::Lookup => "lookup",
            Self::Tcp => "tcp",
            Self::Reply => "reply",
            Self::Timers => "timers",
            Self::Transmit => "transmit",
            Self::Kick => "kick",
        }
    }

    /// True if it is the engine's, which handles frame after frame.
    pub const fn is_engine(self) -> bool {
        matches!(self, Self::Prefetch | Self::Parse | Self::Lookup | Self::Tcp | Self::Reply)
    }
}

/// Is told where one stage ends and the next begins. It is passed by value, so that [`Off`] is no argument at all.
pub trait Probe: Copy {
    /// `stage` ends here: what passed since the mark before belongs to it.
    fn mark(self, stage: Stage);
}

/// Nobody looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Off;

impl Probe for Off {
    #[inline(always)]
    fn mark(self, _stage: Stage) {}
}

const _: () = assert!(size_of::<Off>() == 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_stand_at_their_index_and_have_names_of_their_own() {
        for (i, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage.index(), i);
            assert_eq!(Stage::ALL.iter().filter(|other| other.name() == stage.name()).count(), 1);
        }
    }
}
