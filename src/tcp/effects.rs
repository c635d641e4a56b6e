//! What a protocol function asks for. It says what; the engine does it.

use crate::verdict::DropReason;
use crate::wire::reply::Reply;

macro_rules! ends {
    ($( $(#[$doc:meta])* $name:ident => $text:literal ),+ $(,)?) => {
        /// Why a connection ended. Each way has one counter, so that flows made = flows ended + flows alive.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum End { $( $(#[$doc])* $name ),+ }

        impl End {
            /// Every way, in the order of their discriminants.
            pub const ALL: &'static [End] = &[ $( End::$name ),+ ];

            /// The name used where it is written: lower case, words joined by `_`.
            pub const fn name(self) -> &'static str {
                match self { $( End::$name => $text ),+ }
            }
        }
    };
}

ends! {
    /// LAST-ACK: our FIN, the second one, was acknowledged.
    Closed => "closed",
    /// The peer sent a RST in sequence.
    ResetByPeer => "reset_by_peer",
    /// A RST, or a SYN in the window, took SYN-RECEIVED of a passive OPEN back to LISTEN.
    HalfOpenReset => "half_open_reset",
    /// SYN-RECEIVED of a passive OPEN was given up.
    HalfOpenTimeout => "half_open_timeout",
    /// SYN-RECEIVED of a passive OPEN was given up for a newer connection that found no room.
    HalfOpenEvicted => "half_open_evicted",
    /// A RST answered our active OPEN.
    Refused => "refused",
    /// Nothing answered our active OPEN.
    OpenTimeout => "open_timeout",
    /// Data or a FIN was never acknowledged.
    RetransmissionTimeout => "retransmission_timeout",
    /// The peer was silent for too long, or answered no keepalive probe.
    IdleTimeout => "idle_timeout",
    /// The peer never closed after we did.
    FinWait2Timeout => "fin_wait_2_timeout",
    /// TIME-WAIT is over.
    TimeWaitExpired => "time_wait_expired",
    /// A newer SYN took over the four-tuple (RFC 6191).
    TimeWaitReused => "time_wait_reused",
    /// We sent a RST by our own will.
    Aborted => "aborted",
}

impl End {
    /// True unless both sides closed: the ways to end that somebody may ask the reason of.
    pub const fn is_failure(self) -> bool {
        !matches!(self, End::Closed | End::TimeWaitExpired | End::TimeWaitReused)
    }

    /// Position in [`End::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It goes on.
    #[default]
    Keep,
    /// The TCB is to be deleted.
    Delete(End),
}

/// What a segment is to be answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Answer {
    /// Nothing by itself; data that became sendable may still go out.
    #[default]
    Nothing,
    /// An acknowledgment, which a data segment may carry.
    Ack,
    /// An acknowledgment of its own, for a segment that was out of order, old or beyond the window.
    DuplicateAck,
    /// A challenge ACK (RFC 5961). This connection's limit was asked; the limit over all is the engine's to ask.
    ChallengeAck,
    /// Our SYN-ACK: once more, or for the first time in a simultaneous open.
    SynAck,
    /// A RST for a segment that no state of this connection explains.
    Reset(Reply),
}

/// Payload that was accepted in order, as a part of the segment's payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes at its start that had come before.
    pub skip: u16,
    /// New bytes; 0 if there are none.
    pub len: u16,
}

/// What an arriving segment did to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effects {
    /// What to answer.
    pub answer: Answer,
    /// Whether the connection goes on.
    pub life: Life,
    /// The segment completed the handshake.
    pub established: bool,
    /// The segment carried the peer's FIN, in order.
    pub peer_closed: bool,
    /// Payload to hand to the service.
    pub delivery: Delivery,
    /// Stream bytes that were acknowledged for the first time.
    pub acked: u32,
    /// The first unacknowledged segment is to be sent again at once (RFC 5681 3.2).
    pub retransmit_first: bool,
    /// The segment changed nothing, for this reason. An answer may be due all the same.
    pub refused: Option<DropReason>,
    /// PAWS refused it (RFC 7323 5); a counter of its own beside the reason.
    pub paws: bool,
    /// The connection's timer starts anew.
    pub restart_timer: bool,
}

impl Effects {
    /// The segment is refused for `reason` and answered with `answer`.
    pub fn refuse(reason: DropReason, answer: Answer) -> Self {
        Self { answer, refused: Some(reason), ..Self::default() }
    }

    /// The connection ends.
    pub fn end(end: End) -> Self {
        Self { life: Life::Delete(end), ..Self::default() }
    }
}
