//! RFC 9293 as pure functions over a [`tcb::Tcb`]: (TCB, segment, now) in, [`effects::Effects`] out.
//!
//! | Room | What it is |
//! |---|---|
//! | [`closed`] | SEGMENT ARRIVES without a connection (RFC 9293 3.10.7.1) |
//! | [`listen`] | SEGMENT ARRIVES in LISTEN (3.10.7.2) and the passive OPEN |
//! | [`syn_sent`] | the active OPEN (3.10.1) and SEGMENT ARRIVES in SYN-SENT (3.10.7.3) |
//! | [`negotiate`] | options of the SYNs, in both roles |
//! | [`input`] | SEGMENT ARRIVES in every other state, in the RFC's step order (3.10.7.4) |
//! | [`acknowledge`] | what a new acknowledgment does: round-trip time, congestion window (RFC 6298, 5681) |
//! | [`output`] | the next segment of the send stream |
//! | [`close`] | CLOSE and ABORT by the user (3.10.4, 3.10.5) |
//! | [`timeout`] | what a due timer does (3.10.8) |
//! | [`isn`] | initial sequence numbers (RFC 6528) |
//! | [`cookie`] | initial sequence numbers that stand for a connection in SYN-RECEIVED (RFC 4987 3.6) |
//!
//! What is deliberately not here: a clock, randomness, frame bytes, the flow table, and a queue of out-of-order segments:
//! what is out of order is acknowledged as missing and comes again.
#![forbid(unsafe_code)]

pub mod acknowledge;
pub mod close;
pub mod closed;
pub mod config;
pub mod cookie;
pub mod effects;
pub mod input;
pub mod isn;
pub mod listen;
pub mod negotiate;
pub mod output;
pub mod state;
pub mod syn_sent;
pub mod tcb;
pub mod timeout;

use crate::time::Tick;
use config::TcpConfig;

/// What a protocol function may know beside the TCB and the segment.
#[derive(Clone, Copy, Debug)]
pub struct Env<'a> {
    /// Limits and times.
    pub config: &'a TcpConfig,
    /// The time of this turn.
    pub now: Tick,
    /// Our timestamp clock (RFC 7323 4.1): ticks plus a random offset, so that uptime does not show.
    pub tsval: u32,
}
