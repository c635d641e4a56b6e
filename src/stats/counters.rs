//! The counters of one engine: plain `u64`s with one owner, no atomics.
//!
//! They are declared once, in a table; struct, names and array form all follow from it, so a counter that is counted is
//! also published and reported.

use crate::verdict::{DROP_REASONS, DropReason, Verdict};

macro_rules! counters {
    ($( $(#[$doc:meta])* $name:ident ),+ $(,)?) => {
        /// What one engine counted since its start. Units are in the docs of the fields; frames where nothing is said.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Counters {
            $( $(#[$doc])* pub $name: u64, )+
            /// Dropped frames by reason, at [`DropReason::index`].
            pub dropped: [u64; DROP_REASONS],
        }

        /// Names of the scalar counters in the order of [`Counters::to_array`].
        const SCALAR_NAMES: &[&str] = &[ $( stringify!($name) ),+ ];

        impl Counters {
            /// All counters at zero.
            pub const fn new() -> Self {
                Self { $( $name: 0, )+ dropped: [0; DROP_REASONS] }
            }

            /// The scalar counters by name, in their declared order. The drops are in [`Counters::dropped`].
            pub fn scalars(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                SCALAR_NAMES.iter().copied().zip([ $( self.$name ),+ ])
            }

            /// All counters as words, scalars first, for publishing.
            pub fn to_array(&self) -> [u64; COUNTERS] {
                let mut words = [0; COUNTERS];
                let mut i = 0;
                $( words[i] = self.$name; i += 1; )+
                words[i..].copy_from_slice(&self.dropped);
                words
            }

            /// The inverse of [`Counters::to_array`].
            pub fn from_array(words: &[u64; COUNTERS]) -> Self {
                let mut counters = Self::new();
                let mut i = 0;
                $( counters.$name = words[i]; i += 1; )+
                counters.dropped.copy_from_slice(&words[i..]);
                counters
            }

            /// Adds another worker's counters to these.
            pub fn add(&mut self, other: &Counters) {
                $( self.$name += other.$name; )+
                for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
                    *mine += theirs;
                }
            }
        }
    };
}

counters! {
    /// Frames that the engine was given.
    received,
    /// Frames rewritten in place and sent as an answer.
    transmitted_in_place,
    /// Frames taken in without an answer.
    accepted,
    /// Frames written into a free frame: retransmissions, probes, data beyond the first segment.
    emitted,
    /// Frames whose TCP checksum was only the pseudo-header's sum (a local sender that leaves the rest to hardware), accepted by policy.
    partial_checksums,
    /// Valid SYN segments that arrived for LISTEN.
    syns_received,
    /// Connections opened by the peer: flows created in SYN-RECEIVED.
    passive_opens,
    /// Connections opened by us: flows created in SYN-SENT.
    active_opens,
    /// Connections that reached ESTABLISHED.
    established,
    /// Connections that ended in LAST-ACK: the peer closed first. Where we closed first, TIME-WAIT is the end.
    closed,
    /// Connections that ended by a RST from the peer.
    reset_by_peer,
    /// Connections that we gave up by our own will.
    aborted,
    /// Half-open connections given up: the SYN-ACK was never acknowledged.
    half_open_timeouts,
    /// Half-open connections that a RST from the peer ended.
    half_open_resets,
    /// Half-open connections given up for a newer connection that found no room.
    half_open_evicted,
    /// Active opens that a RST answered.
    refused,
    /// Active opens that nothing answered.
    open_timeouts,
    /// Connections given up after the last data or FIN retransmission.
    retransmission_timeouts,
    /// Connections ended because the peer sent nothing for the idle time-out, or answered no keepalive probe.
    idle_timeouts,
    /// FIN-WAIT-2 connections given up: the peer never closed.
    fin_wait_2_timeouts,
    /// TIME-WAIT connections whose 2 MSL ended.
    time_wait_expired,
    /// TIME-WAIT connections replaced by a newer SYN (RFC 6191).
    time_wait_reused,
    /// SYN-ACK segments sent with a cookie, for which nothing is kept.
    cookies_sent,
    /// Connections that an acknowledgment of a cookie opened.
    cookies_accepted,
    /// Acknowledgments without a connection that were looked at for a cookie and had none that is good.
    cookies_refused,
    /// Times that the engine began to send cookies because it was under pressure.
    cookies_switched_on,
    /// SYN-ACK segments sent again.
    syn_ack_retransmissions,
    /// SYN segments sent again.
    syn_retransmissions,
    /// Data segments sent again.
    data_retransmissions,
    /// FIN segments sent again.
    fin_retransmissions,
    /// Segments sent again early, on the third duplicate ACK (RFC 5681 3.2).
    fast_retransmissions,
    /// Keepalive probes sent.
    keepalive_probes,
    /// Zero-window probes sent.
    window_probes,
    /// Challenge ACKs sent (RFC 5961).
    challenge_acks,
    /// RST segments sent for segments without a connection.
    resets_sent,
    /// Duplicate ACKs sent for segments out of order, beyond the window or old.
    duplicate_acks,
    /// Segments refused by PAWS (RFC 7323 5).
    paws_rejected,
    /// Payload bytes accepted in order.
    bytes_received,
    /// Payload bytes sent, without retransmissions.
    bytes_sent,
    /// Requests answered by an http service.
    requests,
    /// Timers that came due.
    timers_fired,
    /// Turns that left due timers for the next turn because the budget was used up.
    timer_budget_exhausted,
    /// Turns that left something to send for later because no free frame was there.
    frame_shortage,
    /// Frames that the steering program promises not to let through: not TCP over IP, a fragment, or not for this interface. The
    /// drop reasons say which.
    steering_breaches,
}

/// How many words [`Counters::to_array`] has.
pub const COUNTERS: usize = SCALAR_NAMES.len() + DROP_REASONS;

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// Counts the end of one received frame.
    pub fn count(&mut self, verdict: Verdict) {
        self.received += 1;
        match verdict {
            Verdict::Transmit { .. } => self.transmitted_in_place += 1,
            Verdict::Accept => self.accepted += 1,
            Verdict::Drop(reason) => self.dropped[reason.index()] += 1,
        }
    }

    /// Sum of all drops.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// The drops by reason, those at zero too.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|reason| (*reason, self.dropped[reason.index()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_array_form_carries_every_counter() {
        let mut words = [0; COUNTERS];
        for (i, word) in words.iter_mut().enumerate() {
            *word = i as u64 + 1;
        }
        let counters = Counters::from_array(&words);
        assert_eq!(counters.to_array(), words);
        assert_eq!(counters.scalars().count() + counters.drops().count(), COUNTERS);
        assert_eq!(counters.scalars().next(), Some(("received", 1)));
    }

    #[test]
    fn every_verdict_is_counted_once() {
        let mut counters = Counters::new();
        counters.count(Verdict::Accept);
        counters.count(Verdict::Transmit { len: 54 });
        counters.count(Verdict::Drop(DropReason::BadTcpChecksum));
        assert_eq!(counters.received, 3);
        assert_eq!(counters.accepted + counters.transmitted_in_place + counters.dropped_total(), 3);
        let mut sum = counters;
        sum.add(&counters);
        assert_eq!(sum.received, 6);
        assert_eq!(sum.dropped[DropReason::BadTcpChecksum.index()], 2);
    }
}
