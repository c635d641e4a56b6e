//! What can happen to an engine, read from bytes: a head of four bytes, then steps of eight bytes each.
//!
//! The layout is fixed, so that seeds can be written by hand ([`Step::bytes`]) and a change of one byte changes one thing.
//! Sequence numbers stand relative to what the engine knows: absolute ones would hardly ever meet a window.

use arbitrary::{Arbitrary, Unstructured};

/// What is settled before the first step.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Head {
    /// Which limits and times.
    pub config: u8,
    /// How many flows the table holds.
    pub flows: u8,
    /// How many frames come in one burst.
    pub burst: u8,
    /// Where the clock starts.
    pub clock: u8,
}

/// A segment of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromPeer {
    /// Which connection: see [`super::world::tuple_of`].
    pub who: u8,
    /// Control bits.
    pub control: u8,
    /// SEG.SEQ, relative to RCV.NXT: see [`offset`].
    pub seq: i8,
    /// SEG.ACK, relative to the highest SND.NXT: see [`offset`]. [`FromPeer::ACK_UNA`] is SND.UNA.
    pub ack: i8,
    /// Options and payload: see [`super::peer`].
    pub with: u8,
    /// SEG.WND.
    pub window: u16,
}

impl FromPeer {
    /// Acknowledges nothing new.
    pub const ACK_UNA: i8 = i8::MIN;
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A segment arrives, with the frame's bytes changed by XOR at a place, if that is not 0.
    Segment(FromPeer, u8),
    /// Time goes by, in milliseconds.
    Wait(u32),
    /// The user opens a connection: which, and with which listener's service.
    Open(u8, u8),
    /// The user closes the connection that was opened as number so.
    Close(u8),
    /// The user aborts it.
    Abort(u8),
    /// No new connections from now on.
    Drain,
    /// Other limits and times.
    Configure(u8),
    /// Other listeners: all open, or one closed.
    Listen(u8),
}

impl Step {
    /// The step as [`Step::arbitrary`] reads it.
    #[cfg(test)]
    pub fn bytes(self) -> [u8; 8] {
        match self {
            Step::Segment(FromPeer { who, control, seq, ack, with, window }, change) => {
                let [high, low] = window.to_be_bytes();
                [change, who, control, seq.cast_unsigned(), ack.cast_unsigned(), with, high, low]
            }
            Step::Wait(millis) => {
                let [b0, b1, b2, b3] = millis.to_be_bytes();
                [0xf0, b0, b1, b2, b3, 0, 0, 0]
            }
            Step::Open(who, service) => [0xf1, who, service, 0, 0, 0, 0, 0],
            Step::Close(number) => [0xf2, number, 0, 0, 0, 0, 0, 0],
            Step::Abort(number) => [0xf3, number, 0, 0, 0, 0, 0, 0],
            Step::Drain => [0xf4, 0, 0, 0, 0, 0, 0, 0],
            Step::Configure(config) => [0xf5, config, 0, 0, 0, 0, 0, 0],
            Step::Listen(which) => [0xf6, which, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// Longest wait in one step: 2^24 ms are 4.7 hours, more than any time-out.
const MAX_WAIT_MS: u32 = (1 << 24) - 1;

impl Arbitrary<'_> for Step {
    fn arbitrary(u: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let [what, a, b, c, d, e, f, g] = u.arbitrary()?;
        Ok(match what {
            0xf0 | 0xf7..=0xff => Step::Wait(u32::from_be_bytes([a, b, c, d]) & MAX_WAIT_MS),
            0xf1 => Step::Open(a, b),
            0xf2 => Step::Close(a),
            0xf3 => Step::Abort(a),
            0xf4 => Step::Drain,
            0xf5 => Step::Configure(a),
            0xf6 => Step::Listen(a),
            change => {
                let (seq, ack, window) = (c.cast_signed(), d.cast_signed(), u16::from_be_bytes([f, g]));
                Step::Segment(FromPeer { who: a, control: b, seq, ack, with: e, window }, change)
            }
        })
    }
}

/// A distance on the circle of sequence numbers: itself up to 31, then growing by powers of two.
pub fn offset(code: i8) -> u32 {
    let size = u32::from(code.unsigned_abs());
    let distance = if size < 32 { size } else { 1 << ((size - 32) / 3 + 1).min(31) };
    if code < 0 { distance.wrapping_neg() } else { distance }
}
