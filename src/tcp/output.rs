//! The next segment of a connection's send stream, one at a time, within the peer's window, the congestion window and
//! the MSS.

use super::Env;
use super::tcb::{Flags, Tcb};
use crate::wire::reply::{Reply, StreamPiece};
use crate::wire::segment::Control;
use crate::wire::seq::SeqNum;

/// A segment that goes out, and what it is for the counters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sent {
    /// The segment.
    pub reply: Reply,
    /// Some of it was sent before.
    pub again: bool,
    /// Payload bytes in it that were not.
    pub fresh: u32,
    /// It carries our FIN.
    pub fin: bool,
}

/// What may be sent now from SND.NXT on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sendable {
    len: u32,
    fin: bool,
}

/// True if [`next_segment`] would send text or a FIN.
pub fn has_more(tcb: &Tcb) -> bool {
    sendable(tcb) != Sendable::default()
}

/// The next segment with text or FIN that may go out now, or else a pure acknowledgment if one is owed.
pub fn next_segment(tcb: &mut Tcb, ack_owed: bool, env: Env<'_>) -> Option<Sent> {
    let sendable = sendable(tcb);
    if sendable != Sendable::default() {
        return Some(send(tcb, sendable, env));
    }
    ack_owed.then(|| Sent { reply: tcb.ack(env), again: false, fresh: 0, fin: false })
}

/// What windows, MSS and queue allow. A part of the text is held back while it is neither a full segment, nor all there is,
/// nor half of the peer's largest window (sender's silly window avoidance, RFC 9293 3.8.6.2.1). Nagle's algorithm is off:
/// responses are queued whole.
fn sendable(tcb: &Tcb) -> Sendable {
    let in_flight = tcb.snd_nxt.distance_from(tcb.snd_una);
    let (Some(unsent), true) = (tcb.queued.checked_sub(in_flight), tcb.state.may_send()) else {
        return Sendable::default();
    };
    let window = tcb.send_window().saturating_sub(in_flight);
    let congestion = tcb.congestion_window().saturating_sub(in_flight);
    let mss = u32::from(tcb.snd_mss);
    let len = unsent.min(mss).min(window).min(congestion);
    let worth_it = len == unsent || len == mss || len > 0 && len >= tcb.max_send_window() / 2;
    let len = if worth_it { len } else { 0 };
    // The FIN takes a number of the sequence space and so needs room in the window behind the text.
    let fin = tcb.flags.has(Flags::FIN_QUEUED) && tcb.state.awaits_ack_of_fin() && len == unsent && window > len;
    Sendable { len, fin }
}

/// Sends `sendable` from SND.NXT on.
fn send(tcb: &mut Tcb, sendable: Sendable, env: Env<'_>) -> Sent {
    let seq = tcb.snd_nxt;
    let from_una = seq.distance_from(tcb.snd_una);
    let again = seq.before(tcb.snd_max);
    let fresh = beyond_sent(tcb, seq, sendable.len);
    tcb.snd_nxt = seq + sendable.len + u32::from(sendable.fin);
    if tcb.snd_nxt.after(tcb.snd_max) {
        tcb.snd_max = tcb.snd_nxt;
        if !again && !tcb.flags.has(Flags::RTT_RUNNING) {
            tcb.flags.put(Flags::RTT_RUNNING, true);
            tcb.rtt_seq = tcb.snd_nxt;
            tcb.rtt_sent = env.now;
        }
    }
    let last = from_una + sendable.len == tcb.queued;
    Sent { reply: piece(tcb, from_una, sendable, last, env), again, fresh, fin: sendable.fin }
}

/// The first unacknowledged segment once more, without touching SND.NXT (RFC 5681 3.2, RFC 6582 3.2).
pub fn first_segment_again(tcb: &mut Tcb, env: Env<'_>) -> Option<Sent> {
    let sent = tcb.snd_max.distance_from(tcb.snd_una);
    let len = tcb.queued.min(u32::from(tcb.snd_mss)).min(sent);
    let fin = sent > tcb.queued && len == tcb.queued;
    if len == 0 && !fin {
        return None;
    }
    tcb.flags.put(Flags::RTT_RUNNING, false);
    let reply = piece(tcb, 0, Sendable { len, fin }, len == tcb.queued, env);
    Some(Sent { reply, again: true, fresh: 0, fin })
}

/// A zero-window probe (RFC 9293 3.8.6.1): at least one byte of what is queued, or the FIN, even beyond the window. Where the
/// window has some room and text was held back for its smallness, this is the override that sends it (3.8.6.2.1).
pub fn window_probe(tcb: &mut Tcb, env: Env<'_>) -> Sent {
    let len = tcb.send_window().min(u32::from(tcb.snd_mss)).max(1).min(tcb.queued);
    let probe = Sendable { len, fin: tcb.queued == 0 };
    let again = tcb.has_outstanding();
    let fresh = beyond_sent(tcb, tcb.snd_una, len);
    tcb.snd_nxt = tcb.snd_una + len.max(1);
    if tcb.snd_nxt.after(tcb.snd_max) {
        tcb.snd_max = tcb.snd_nxt;
    }
    tcb.flags.put(Flags::RTT_RUNNING, false);
    Sent { reply: piece(tcb, 0, probe, tcb.queued == len, env), again, fresh, fin: probe.fin }
}

/// How many of the `len` bytes from `seq` on lie beyond everything that was sent.
fn beyond_sent(tcb: &Tcb, seq: SeqNum, len: u32) -> u32 {
    let end = seq + len;
    if end.after(tcb.snd_max) { end.distance_from(tcb.snd_max) } else { 0 }
}

/// A segment that starts `from_una` bytes behind SND.UNA.
fn piece(tcb: &Tcb, from_una: u32, sendable: Sendable, push: bool, env: Env<'_>) -> Reply {
    let mut control = Control::ACK;
    if push && sendable.len > 0 {
        control = control | Control::PSH;
    }
    if sendable.fin {
        control = control | Control::FIN;
    }
    let len = u16::try_from(sendable.len).expect("not more than the MSS");
    Reply { seq: tcb.snd_una + from_una, control, payload: StreamPiece { from_una, len }, ..tcb.ack(env) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::state::State;

    #[test]
    fn there_is_more_while_text_or_fin_may_go_out() {
        let open = Tcb { state: State::Established, snd_wnd: 100, cwnd: 1, snd_mss: 100, ..Tcb::default() };
        assert!(!has_more(&open));
        assert!(has_more(&Tcb { queued: 1, ..open }));
        assert!(!has_more(&Tcb { queued: 1, snd_wnd: 0, ..open }));
        assert!(!has_more(&Tcb { queued: 1, cwnd: 0, ..open }));
        let mut closed = Tcb { state: State::FinWait1, ..open };
        closed.flags.put(Flags::FIN_QUEUED, true);
        assert!(has_more(&closed));
        assert!(!has_more(&Tcb { snd_wnd: 0, ..closed }));
    }
}
