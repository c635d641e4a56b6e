//! What an acknowledgment in the window does: SND.UNA and SND.WND (RFC 9293 3.10.7.4, fifth), the round-trip time (RFC 6298),
//! and the congestion window (RFC 5681, fast recovery by RFC 6582).
//!
//! Windows are counted in segments, times in milliseconds: a TCB has 16 bits for each.

use super::Env;
use super::tcb::{Flags, Tcb};
use crate::wire::segment::{Control, Segment};

/// What was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// Stream bytes, for the first time.
    pub bytes: u32,
    /// Our FIN, with this segment or an earlier one.
    pub fin: bool,
    /// The first unacknowledged segment is lost by all signs.
    pub retransmit_first: bool,
}

/// Duplicate acknowledgments that mean a loss (RFC 5681 3.2).
const DUP_ACK_THRESHOLD: u8 = 3;

/// Processes SEG.ACK and SEG.WND of a segment whose acknowledgment is not beyond SND.NXT.
pub fn acknowledge(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let is_new = segment.ack.after(tcb.snd_una);
    if is_new {
        acknowledged = advance(tcb, segment, env);
    } else if is_duplicate(tcb, segment) {
        acknowledged.retransmit_first = count_duplicate(tcb);
    }
    // A new acknowledgment is newer than every window known so far, wherever its segment stands: text that came out of order may have
    // taken SND.WL1 ahead of it.
    if is_new || segment.ack == tcb.snd_una && tcb.snd_wl1.at_or_before(segment.seq) {
        if tcb.snd_wnd == 0 && segment.window > 0 {
            // What probed the closed window was not taken: sending starts again where the peer waits.
            tcb.snd_nxt = tcb.snd_una;
        }
        tcb.snd_wnd = segment.window;
        tcb.snd_wl1 = segment.seq;
        tcb.max_snd_wnd = tcb.max_snd_wnd.max(segment.window);
    }
    if tcb.snd_wnd == 0 {
        // The peer is there and its window is closed: it is probed for as long as it answers (RFC 9293 3.8.6.1).
        tcb.retries = tcb.retries.min(env.config.data_retries / 2);
    }
    acknowledged
}

/// SND.UNA moves up to SEG.ACK.
fn advance(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> Acknowledged {
    let distance = segment.ack.distance_from(tcb.snd_una);
    let bytes = distance.min(tcb.queued);
    let fin = distance > bytes;
    sample(tcb, segment, env);
    let retransmit_first = if fin { false } else { grow_or_recover(tcb, segment, bytes) };
    tcb.snd_una = segment.ack;
    if tcb.snd_nxt.before(tcb.snd_una) {
        tcb.snd_nxt = tcb.snd_una;
    }
    tcb.queued -= bytes;
    tcb.stream_base = tcb.stream_base.wrapping_add(bytes);
    tcb.retries = 0;
    tcb.dup_acks = 0;
    Acknowledged { bytes, fin, retransmit_first }
}

/// RFC 5681 2: outstanding data, no payload, no SYN or FIN, the same acknowledgment, the same window. With a closed window
/// it answers a probe.
fn is_duplicate(tcb: &Tcb, segment: &Segment) -> bool {
    tcb.has_outstanding()
        && tcb.snd_wnd != 0
        && segment.is_empty()
        && !segment.control.has(Control::SYN)
        && segment.ack == tcb.snd_una
        && segment.window == tcb.snd_wnd
}

/// Counts a duplicate acknowledgment; true on the third, if no recovery is under way for that part of the stream.
fn count_duplicate(tcb: &mut Tcb) -> bool {
    tcb.dup_acks = tcb.dup_acks.saturating_add(1);
    let known_loss = tcb.flags.has(Flags::RECOVERY) || !tcb.snd_una.after(tcb.recover);
    if tcb.dup_acks != DUP_ACK_THRESHOLD || known_loss {
        return false;
    }
    tcb.recover = tcb.snd_max;
    tcb.flags.put(Flags::RECOVERY, true);
    tcb.flags.put(Flags::RTT_RUNNING, false);
    tcb.ssthresh = half_of_flight(tcb);
    tcb.cwnd = tcb.ssthresh;
    true
}

/// Half of what is in flight, at least two segments (RFC 5681 3.1, equation 4).
pub fn half_of_flight(tcb: &Tcb) -> u16 {
    let flight = tcb.snd_max.distance_from(tcb.snd_una);
    let segments = flight / u32::from(tcb.snd_mss.max(1)) / 2;
    u16::try_from(segments).unwrap_or(u16::MAX).max(2)
}

/// The congestion window after new data was acknowledged. True if the acknowledgment is a partial one within a recovery:
/// the next segment is lost too (RFC 6582 3.2, step 3).
fn grow_or_recover(tcb: &mut Tcb, segment: &Segment, bytes: u32) -> bool {
    if tcb.flags.has(Flags::RECOVERY) {
        let partial = segment.ack.before(tcb.recover);
        tcb.flags.put(Flags::RECOVERY, partial);
        return partial;
    }
    if bytes == 0 {
        return false;
    }
    if tcb.cwnd < tcb.ssthresh {
        tcb.cwnd = tcb.cwnd.saturating_add(1);
    } else {
        tcb.cwnd_acked = tcb.cwnd_acked.saturating_add(1);
        // A window beyond 255 segments grows once per 255 acknowledgments.
        if u16::from(tcb.cwnd_acked) >= tcb.cwnd.min(u16::from(u8::MAX)) {
            tcb.cwnd_acked = 0;
            tcb.cwnd = tcb.cwnd.saturating_add(1);
        }
    }
    false
}

/// A round-trip sample from the timestamps (RFC 7323 4.1), else from the one measured segment, if it was not sent
/// twice (Karn's rule, RFC 6298 3).
fn sample(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) {
    if tcb.flags.has(Flags::TIMESTAMPS) {
        if let Some((_, tsecr)) = segment.options.timestamps {
            update_rtt(tcb, env.tsval.wrapping_sub(tsecr), env);
        }
    } else if tcb.flags.has(Flags::RTT_RUNNING) && segment.ack.at_or_after(tcb.rtt_seq) {
        tcb.flags.put(Flags::RTT_RUNNING, false);
        update_rtt(tcb, env.now.millis_since(tcb.rtt_sent), env);
    }
}

/// The sample of the handshake. Where our SYN was sent twice there is none, and data starts with 3 seconds (RFC 6298 5.7);
/// where it was lost more than once, with one segment (RFC 6928 2, RFC 5681 3.1).
pub fn sample_handshake(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) {
    const RTTVAR_FOR_THREE_SECONDS: u16 = 3_000;
    if tcb.retries > 1 {
        tcb.cwnd = 1;
    }
    if tcb.retries == 0 {
        update_rtt(tcb, env.now.millis_since(tcb.rtt_sent), env);
    } else if let Some((_, tsecr)) = segment.options.timestamps.filter(|_| tcb.flags.has(Flags::TIMESTAMPS)) {
        update_rtt(tcb, env.tsval.wrapping_sub(tsecr), env);
    } else {
        tcb.rttvar = RTTVAR_FOR_THREE_SECONDS;
    }
}

/// RFC 6298 2.2 and 2.3: SRTT and RTTVAR from one sample in milliseconds. A sample above the upper bound of the time-out
/// is a forged or stale echo and is ignored.
fn update_rtt(tcb: &mut Tcb, rtt_ms: u32, env: Env<'_>) {
    if rtt_ms > env.config.rto_max_ms {
        return;
    }
    let clamp = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    if tcb.srtt == 0 {
        // SRTT = R, RTTVAR = R/2; the quarter-millisecond unit makes the latter 2R.
        tcb.srtt = clamp((rtt_ms * 8).max(1));
        tcb.rttvar = clamp(rtt_ms * 2);
        return;
    }
    let srtt_ms = u32::from(tcb.srtt) / 8;
    let error = srtt_ms.abs_diff(rtt_ms);
    // RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R| and SRTT = 7/8 SRTT + 1/8 R, in their units of 1/4 and 1/8 ms.
    tcb.rttvar = clamp(u32::from(tcb.rttvar) * 3 / 4 + error);
    tcb.srtt = clamp((u32::from(tcb.srtt) - srtt_ms + rtt_ms).max(1));
}

/// The retransmission time-out in milliseconds, with the back-off of `tcb.retries` (RFC 6298 2, 5.5).
pub fn rto_ms(tcb: &Tcb, env: Env<'_>) -> u32 {
    let config = env.config;
    let base = if tcb.srtt == 0 && tcb.rttvar == 0 {
        config.rto_initial_ms
    } else {
        // The clock's granularity G is one tick.
        (u32::from(tcb.srtt) / 8 + u32::from(tcb.rttvar).max(1)).max(config.rto_min_ms)
    };
    base.saturating_mul(1 << tcb.retries.min(16)).min(config.rto_max_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::config::TcpConfig;
    use crate::time::Tick;
    use crate::wire::seq::SeqNum;

    /// SRTT in 1/8 ms, RTTVAR in 1/4 ms and the time-out in ms after these samples.
    fn after(samples: &[u32]) -> (u16, u16, u32) {
        let config = TcpConfig::default();
        let env = Env { config: &config, now: Tick(0), tsval: 0 };
        let mut tcb = Tcb::default();
        samples.iter().for_each(|sample| update_rtt(&mut tcb, *sample, env));
        (tcb.srtt, tcb.rttvar, rto_ms(&tcb, env))
    }

    #[test]
    fn round_trips_are_smoothed_as_rfc_6298_has_it() {
        assert_eq!(after(&[]), (0, 0, 1_000));
        assert_eq!(after(&[100]), (800, 200, 300));
        assert_eq!(after(&[100, 180]), (880, 230, 340));
        assert_eq!(after(&[100, 180, 30]), (800, 252, 352));
        // A variation below the clock's granularity counts as one tick.
        assert_eq!(after(&[300; 50]), (2_400, 0, 301));
    }

    #[test]
    fn a_round_trip_of_nothing_is_a_sample_too() {
        assert_eq!(after(&[0]), (1, 0, 200));
        assert_eq!(after(&[0, 0]), (1, 0, 200));
    }

    #[test]
    fn a_sample_beyond_the_longest_time_out_is_ignored() {
        assert_eq!(after(&[100, 60_001]), after(&[100]));
        assert_ne!(after(&[100, 60_000]), after(&[100]));
        assert_eq!(after(&[60_000]), (u16::MAX, u16::MAX, 60_000));
    }

    #[test]
    fn half_of_the_flight_is_at_least_two_segments() {
        let half = |flight: u32| {
            let snd_una = SeqNum(u32::MAX);
            half_of_flight(&Tcb { snd_una, snd_max: snd_una + flight, snd_mss: 100, ..Tcb::default() })
        };
        assert_eq!([0, 400, 599, 600, 1_000, 1_300].map(half), [2, 2, 2, 3, 5, 6]);
    }
}
