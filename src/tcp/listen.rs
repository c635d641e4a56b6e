//! SEGMENT ARRIVES, state LISTEN (RFC 9293 3.10.7.2), and the TCB of a passive OPEN.

use super::Env;
use super::closed::reset_for;
use super::negotiate::{accept_options, initial_window, offer, send_mss};
use super::state::State;
use super::tcb::Tcb;
use crate::verdict::DropReason;
use crate::wire::reply::Reply;
use crate::wire::segment::{Control, Segment};
use crate::wire::seq::SeqNum;

/// What LISTEN makes of a segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Listen {
    /// It opens a connection: see [`open_passive`].
    Open,
    /// It is answered with a RST.
    Reset(Reply),
    /// It is dropped.
    Drop(DropReason),
}

/// Judges a segment for a listener, in the RFC's order: RST, ACK, SYN, other.
pub fn segment_arrives(segment: &Segment) -> Listen {
    if segment.control.has(Control::RST) {
        Listen::Drop(DropReason::RstToClosed)
    } else if segment.control.has(Control::ACK) {
        Listen::Reset(reset_for(segment))
    } else if segment.control.has(Control::SYN) {
        Listen::Open
    } else {
        Listen::Drop(DropReason::NotASyn)
    }
}

/// The TCB that a SYN opens, in SYN-RECEIVED, with the first SYN-ACK counted as sent.
///
/// Options are taken only if the SYN offers them (RFC 7323 2.5, 3.2; RFC 2018 2). Payload of the SYN is not taken: it is
/// not acknowledged either, so the peer sends it again (RFC 9293 3.4 allows to leave it).
pub fn open_passive(segment: &Segment, iss: SeqNum, service: u16, env: Env<'_>) -> Tcb {
    let config = env.config;
    let mut tcb = Tcb {
        tuple: segment.tuple,
        snd_una: iss,
        snd_nxt: iss + 1,
        snd_max: iss + 1,
        recover: iss,
        rcv_nxt: segment.seq + 1,
        state: State::SynReceived,
        service,
        snd_wl1: segment.seq,
        rtt_sent: env.now,
        deadline: env.now + config.rto_initial_ms.min(config.half_open_timeout_ms),
        // So that the first challenge ACK is not held back.
        challenged_at: env.now + config.challenge_interval_ms.wrapping_neg(),
        peer_mac: segment.src_mac,
        tags: segment.tags,
        ssthresh: u16::MAX,
        ..Tcb::default()
    };
    accept_options(&mut tcb, &segment.options, offer(config), config);
    tcb.snd_mss = send_mss(&tcb, segment.options.mss, env);
    tcb.cwnd = initial_window(tcb.snd_mss, config);
    tcb.snd_wnd = tcb.window_of_syn(segment.window);
    tcb.max_snd_wnd = tcb.snd_wnd;
    tcb
}

/// The initial sequence number of a connection that takes over the four-tuple of `old`, which is in TIME-WAIT: larger
/// than any that the old one used (RFC 9293 3.6.1), else the generated one.
pub fn isn_after(old: &Tcb, generated: SeqNum) -> SeqNum {
    if generated.after(old.snd_max) { generated } else { old.snd_max + ISN_STEP }
}

/// How far a reused tuple's sequence numbers start beyond the old ones, where the clock has not got there by itself.
const ISN_STEP: u32 = 64_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::config::TcpConfig;
    use crate::time::Tick;
    use crate::wire::ether::VlanTags;
    use crate::wire::options::Options;
    use crate::wire::tuple::FourTuple;

    fn syn() -> Segment {
        Segment {
            tuple: FourTuple::new("198.18.0.1:80".parse().unwrap(), "198.18.0.2:5000".parse().unwrap()),
            seq: SeqNum(7),
            ack: SeqNum(0),
            control: Control::SYN,
            window: 1_000,
            options: Options::default(),
            payload_at: 0,
            payload_len: 0,
            src_mac: [2; 6],
            dst_mac: [3; 6],
            tags: VlanTags::default(),
            partial_checksum: false,
        }
    }

    #[test]
    fn a_new_connection_may_challenge_at_once_and_takes_its_first_loss_for_new() {
        let config = TcpConfig::default();
        // The first tick there is: nothing that was never set lies before it.
        let env = Env { config: &config, now: Tick(0), tsval: 0 };
        for iss in [0, 1 << 30, 1 << 31, 3 << 30] {
            let tcb = open_passive(&syn(), SeqNum(iss), 0, env);
            assert!(env.now.millis_since(tcb.challenged_at) >= config.challenge_interval_ms);
            assert!((tcb.snd_una + 1).after(tcb.recover));
        }
    }

    #[test]
    fn a_reused_four_tuple_starts_beyond_its_old_numbers() {
        let old = Tcb { snd_max: SeqNum(u32::MAX), ..Tcb::default() };
        assert_eq!(isn_after(&old, SeqNum(5)), SeqNum(5), "the clock got there by itself");
        for generated in [SeqNum(u32::MAX), SeqNum(u32::MAX - 1), SeqNum(1 << 31)] {
            let isn = isn_after(&old, generated);
            assert!(isn.after(old.snd_max) && isn.before(old.snd_max + 100_000), "{isn:?}");
        }
    }
}
