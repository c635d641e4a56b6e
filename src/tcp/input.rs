//! SEGMENT ARRIVES in a state with a TCB (RFC 9293 3.10.7.4), in the RFC's step order, one function a step. SYN-SENT has a
//! page of its own ([`super::syn_sent`]).
//!
//! RFC 7323 puts its timestamp test before the first step; RFC 5961 tightens the second, fourth and fifth. What is left
//! out: the third step (security and precedence), and the urgent pointer of the sixth, which nothing here reads.

use core::ops::ControlFlow::{self, Break, Continue};

use super::acknowledge::{self, Acknowledged};
use super::config::TcpConfig;
use super::effects::{Answer, Delivery, Effects, End};
use super::state::State;
use super::tcb::{Flags, Tcb};
use super::{Env, closed, syn_sent};
use crate::verdict::DropReason;
use crate::wire::segment::{Control, Segment};

/// A step either ends the processing with its effects or leads to the next one.
type Step = ControlFlow<Effects>;

/// Processes one segment of the connection `tcb`.
pub fn segment_arrives(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> Effects {
    match process(tcb, segment, env) {
        Break(effects) | Continue(effects) => effects,
    }
}

fn process(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> ControlFlow<Effects, Effects> {
    if tcb.state == State::SynSent {
        return Break(syn_sent::segment_arrives(tcb, segment, env));
    }
    let without_syn = without_syn_of_simultaneous_open(tcb, segment);
    let segment = without_syn.as_ref().unwrap_or(segment);
    let mut effects = Effects::default();
    check_timestamps(tcb, segment, env)?;
    first_check_sequence_number(tcb, segment, env)?;
    second_check_rst(tcb, segment, env)?;
    fourth_check_syn(tcb, segment, env)?;
    update_ts_recent(tcb, segment);
    fifth_check_ack(tcb, segment, env, &mut effects)?;
    seventh_process_text(tcb, segment, env, &mut effects)?;
    eighth_check_fin(tcb, segment, &mut effects);
    effects.restart_timer |= note_sign_of_life(tcb);
    Continue(effects)
}

/// In a simultaneous open both ends are in SYN-RECEIVED and send a SYN-ACK (RFC 9293 3.5, figure 8). Its SYN is known
/// already and lies before the window, so that the first step would refuse the whole segment; what is left without it is
/// the acknowledgment that both wait for.
fn without_syn_of_simultaneous_open(tcb: &Tcb, segment: &Segment) -> Option<Segment> {
    let syn_ack = Control::SYN | Control::ACK;
    let is_one = tcb.state == State::SynReceived
        && tcb.flags.has(Flags::ACTIVE)
        && segment.control.has(syn_ack)
        && segment.seq + 1 == tcb.rcv_nxt
        && segment.ack == tcb.snd_max;
    if !is_one {
        return None;
    }
    let control = Control(segment.control.0 & !Control::SYN.0);
    Some(Segment { seq: tcb.rcv_nxt, control, window: tcb.window_of_syn(segment.window), ..*segment })
}

/// RFC 7323 5.3 R1 and 3.2: a segment with an older timestamp is a duplicate of an earlier turn of the sequence space; one
/// without timestamps on a connection that negotiated them is dropped. A RST is exempt from both. A SYN is exempt from the
/// second: it may be from a peer that started anew, and the steps below challenge it (RFC 5961 4.2).
fn check_timestamps(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> Step {
    if !tcb.flags.has(Flags::TIMESTAMPS) || segment.control.has(Control::RST) {
        return Continue(());
    }
    let Some((tsval, _)) = segment.options.timestamps else {
        return match segment.control.has(Control::SYN) {
            true => Continue(()),
            false => Break(Effects::refuse(DropReason::MissingTimestamp, Answer::Nothing)),
        };
    };
    let older = tsval.wrapping_sub(tcb.ts_recent) > 1 << 31;
    if !older {
        return Continue(());
    }
    Break(Effects { paws: true, ..refuse_unacceptable(tcb, segment, env) })
}

/// First: a segment is acceptable if any of it lies in the receive window (RFC 9293 3.4, the table of four cases).
fn first_check_sequence_number(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> Step {
    if is_acceptable(tcb, segment, env) {
        return Continue(());
    }
    if segment.control.has(Control::RST) {
        return Break(Effects::refuse(DropReason::RstOutOfWindow, Answer::Nothing));
    }
    if tcb.state == State::SynReceived && is_repeated_syn(tcb, segment) {
        return Break(Effects::refuse(DropReason::OldDuplicate, Answer::SynAck));
    }
    let repeated_fin = segment.control.has(Control::FIN) && segment.seq + segment.len() == tcb.rcv_nxt;
    let in_time_wait = tcb.state == State::TimeWait && repeated_fin;
    let restart_timer = in_time_wait || is_probe(tcb, segment) && note_sign_of_life(tcb);
    Break(Effects { restart_timer, ..refuse_unacceptable(tcb, segment, env) })
}

fn is_acceptable(tcb: &Tcb, segment: &Segment, env: Env<'_>) -> bool {
    let window = tcb.receive_window(env.config);
    match (segment.len(), window) {
        (0, 0) => segment.seq == tcb.rcv_nxt,
        (0, window) => segment.seq.in_window(tcb.rcv_nxt, window),
        // A closed window takes no text, but what acknowledges and resets in such a segment still counts (RFC 9293 MUST-66).
        (_, 0) => segment.seq == tcb.rcv_nxt,
        // Of a SYN its own number counts: trimmed to the window it would be no SYN any more.
        (len, window) => {
            let ends_inside = (segment.seq + (len - 1)).in_window(tcb.rcv_nxt, window);
            segment.seq.in_window(tcb.rcv_nxt, window) || ends_inside && !segment.control.has(Control::SYN)
        }
    }
}

/// The peer's SYN once more: our SYN-ACK was lost, or is late.
fn is_repeated_syn(tcb: &Tcb, segment: &Segment) -> bool {
    segment.control.has(Control::SYN) && !segment.control.has(Control::ACK) && segment.seq + 1 == tcb.rcv_nxt
}

/// A keepalive probe, or another segment that ends just before RCV.NXT and carries nothing new (RFC 9293 3.8.4).
fn is_probe(tcb: &Tcb, segment: &Segment) -> bool {
    segment.seq + 1 == tcb.rcv_nxt && segment.len() <= 1
}

/// An unacceptable segment is answered with an acknowledgment. For a SYN it is a challenge (RFC 5961 4.2). So it is for one that
/// carries nothing, because two ends that disagree would answer each other's acknowledgments for ever; a probe is
/// exempt, its answer is what it came for.
fn refuse_unacceptable(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> Effects {
    if segment.control.has(Control::SYN) || segment.is_empty() && !is_probe(tcb, segment) {
        refuse_with_challenge(tcb, DropReason::OldDuplicate, env)
    } else {
        Effects::refuse(DropReason::OldDuplicate, Answer::DuplicateAck)
    }
}

/// The peer is alive. True if that starts the timer of an open and idle connection anew.
fn note_sign_of_life(tcb: &mut Tcb) -> bool {
    let open = match tcb.state {
        State::Established | State::CloseWait => true,
        State::SynSent
        | State::SynReceived
        | State::FinWait1
        | State::FinWait2
        | State::Closing
        | State::LastAck
        | State::TimeWait => false,
    };
    let idle = open && !tcb.has_outstanding() && !tcb.has_unsent();
    if idle {
        tcb.retries = 0;
    }
    idle
}

/// A refusal that a challenge ACK answers, unless this connection sent one less than the limit ago (RFC 5961 7): then the
/// drop is put down to the limit.
fn refuse_with_challenge(tcb: &mut Tcb, reason: DropReason, env: Env<'_>) -> Effects {
    if env.now.millis_since(tcb.challenged_at) < env.config.challenge_interval_ms {
        return Effects::refuse(DropReason::ChallengeLimited, Answer::Nothing);
    }
    tcb.challenged_at = env.now;
    Effects::refuse(reason, Answer::ChallengeAck)
}

/// Second: a RST exactly at RCV.NXT resets; elsewhere in the window it is challenged (RFC 5961 3.2). TIME-WAIT ignores it
/// (RFC 1337).
fn second_check_rst(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> Step {
    if !segment.control.has(Control::RST) {
        return Continue(());
    }
    if tcb.state == State::TimeWait {
        return Break(Effects::refuse(DropReason::RstInTimeWait, Answer::Nothing));
    }
    if segment.seq != tcb.rcv_nxt {
        return Break(refuse_with_challenge(tcb, DropReason::RstOutOfWindow, env));
    }
    Break(Effects::end(match tcb.state {
        State::SynReceived if tcb.flags.has(Flags::ACTIVE) => End::Refused,
        State::SynReceived => End::HalfOpenReset,
        State::SynSent
        | State::Established
        | State::FinWait1
        | State::FinWait2
        | State::CloseWait
        | State::Closing
        | State::LastAck
        | State::TimeWait => End::ResetByPeer,
    }))
}

/// Fourth: a SYN in the window takes a passive SYN-RECEIVED back to LISTEN, and is challenged in every synchronized state
/// (RFC 5961 4.2).
fn fourth_check_syn(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> Step {
    if !segment.control.has(Control::SYN) {
        return Continue(());
    }
    Break(match tcb.state {
        State::SynReceived if !tcb.flags.has(Flags::ACTIVE) => Effects::end(End::HalfOpenReset),
        State::SynSent
        | State::SynReceived
        | State::Established
        | State::FinWait1
        | State::FinWait2
        | State::CloseWait
        | State::Closing
        | State::LastAck
        | State::TimeWait => refuse_with_challenge(tcb, DropReason::BadFlags, env),
    })
}

/// RFC 7323 4.3 (2): TS.Recent follows a segment that starts at or before the last acknowledgment sent. That is RCV.NXT
/// here: everything in order is acknowledged at once.
fn update_ts_recent(tcb: &mut Tcb, segment: &Segment) {
    if let Some((tsval, _)) = segment.options.timestamps
        && tcb.flags.has(Flags::TIMESTAMPS)
        && segment.seq.at_or_before(tcb.rcv_nxt)
    {
        tcb.ts_recent = tsval;
    }
}

/// Fifth: the ACK field.
fn fifth_check_ack(tcb: &mut Tcb, segment: &Segment, env: Env<'_>, effects: &mut Effects) -> Step {
    if !segment.control.has(Control::ACK) {
        return Break(Effects::refuse(DropReason::NoAck, Answer::Nothing));
    }
    if tcb.state == State::SynReceived {
        complete_handshake(tcb, segment, env, effects)?;
    }
    // RFC 5961 5.2: neither beyond what was sent nor further back than the peer's largest window.
    let oldest = tcb.snd_una.minus(tcb.max_send_window());
    if segment.ack.after(tcb.snd_max) || segment.ack.before(oldest) {
        return Break(refuse_with_challenge(tcb, DropReason::AckOutOfWindow, env));
    }
    let Acknowledged { bytes, fin, retransmit_first } = acknowledge::acknowledge(tcb, segment, env);
    effects.acked = bytes;
    effects.retransmit_first = retransmit_first;
    effects.restart_timer |= bytes > 0 || fin;
    if fin { our_fin_is_acknowledged(tcb) } else { without_ack_of_fin(tcb, segment) }
}

/// SYN-RECEIVED: an acknowledgment of our SYN opens the connection, any other is answered with a RST.
fn complete_handshake(tcb: &mut Tcb, segment: &Segment, env: Env<'_>, effects: &mut Effects) -> Step {
    if segment.ack != tcb.snd_max {
        let reset = Answer::Reset(closed::reset_for(segment));
        return Break(Effects::refuse(DropReason::AckOutOfWindow, reset));
    }
    // A CLOSE that came too early takes effect now.
    let closed = tcb.flags.has(Flags::FIN_QUEUED);
    tcb.state = if closed { State::FinWait1 } else { State::Established };
    tcb.snd_una = segment.ack;
    tcb.snd_wnd = segment.window;
    tcb.snd_wl1 = segment.seq;
    acknowledge::sample_handshake(tcb, segment, env);
    tcb.retries = 0;
    effects.established = true;
    effects.restart_timer = true;
    Continue(())
}

/// What the acknowledgment of our FIN leads to. LAST-ACK ends here.
fn our_fin_is_acknowledged(tcb: &mut Tcb) -> Step {
    match tcb.state {
        State::FinWait1 => tcb.state = State::FinWait2,
        State::Closing => tcb.state = State::TimeWait,
        State::LastAck => return Break(Effects::end(End::Closed)),
        // No FIN of ours is outstanding in these: the RFC has nothing to do.
        State::SynSent
        | State::SynReceived
        | State::Established
        | State::FinWait2
        | State::CloseWait
        | State::TimeWait => {}
    }
    Continue(())
}

/// In TIME-WAIT nothing but the peer's FIN can come, which the
/// first step answered; what is left is an acknowledgment, or text beyond the FIN.
fn without_ack_of_fin(tcb: &Tcb, segment: &Segment) -> Step {
    match tcb.state {
        State::TimeWait if segment.is_empty() => Break(Effects::refuse(DropReason::OldDuplicate, Answer::Nothing)),
        State::TimeWait => Break(Effects::refuse(DropReason::OldDuplicate, Answer::DuplicateAck)),
        State::SynSent
        | State::SynReceived
        | State::Established
        | State::FinWait1
        | State::FinWait2
        | State::CloseWait
        | State::Closing
        | State::LastAck => Continue(()),
    }
}

/// Seventh: text in order is taken, the part that came before is cut off, and so is the part beyond the window. Text out of
/// order is not kept: a duplicate acknowledgment says what is missing (RFC 5681 4.2). Text after the peer's FIN is ignored.
fn seventh_process_text(tcb: &mut Tcb, segment: &Segment, env: Env<'_>, effects: &mut Effects) -> Step {
    if segment.is_empty() || !tcb.state.peer_may_send() {
        return Continue(());
    }
    if segment.seq.after(tcb.rcv_nxt) {
        effects.answer = Answer::DuplicateAck;
        effects.refused = Some(DropReason::OutOfOrder);
        return Break(*effects);
    }
    let skip = tcb.rcv_nxt.distance_from(segment.seq);
    let fresh = u32::from(segment.payload_len).saturating_sub(skip);
    let len = fresh.min(tcb.receive_window(env.config));
    if len > 0 {
        let narrow = |bytes: u32| u16::try_from(bytes).expect("not more than the payload's length");
        effects.delivery = Delivery { skip: narrow(skip), len: narrow(len) };
        tcb.rcv_nxt = tcb.rcv_nxt + len;
        effects.answer = Answer::Ack;
        effects.restart_timer |= !tcb.has_outstanding();
    } else if fresh > 0 {
        effects.answer = Answer::DuplicateAck;
        effects.refused = Some(DropReason::BeyondWindow);
    }
    Continue(())
}

/// Eighth: a FIN counts once everything before it has been taken.
fn eighth_check_fin(tcb: &mut Tcb, segment: &Segment, effects: &mut Effects) {
    let in_order = segment.control.has(Control::FIN) && segment.seq + segment.len() == tcb.rcv_nxt + 1;
    if !in_order || !tcb.state.peer_may_send() {
        return;
    }
    tcb.rcv_nxt = tcb.rcv_nxt + 1;
    effects.answer = Answer::Ack;
    effects.peer_closed = true;
    effects.restart_timer |= !tcb.has_outstanding();
    tcb.state = match tcb.state {
        State::SynReceived | State::Established => State::CloseWait,
        State::FinWait1 => State::Closing,
        State::FinWait2 => State::TimeWait,
        State::SynSent | State::CloseWait | State::Closing | State::LastAck | State::TimeWait => tcb.state,
    };
}

/// May this SYN take over a four-tuple that is in TIME-WAIT (RFC 6191 2, RFC 9293 3.6.1)? To be asked before
/// [`segment_arrives`]; if so, the old TCB is to be deleted as [`End::TimeWaitReused`] and the SYN is LISTEN's.
pub fn may_reuse_time_wait(tcb: &Tcb, segment: &Segment, config: &TcpConfig) -> bool {
    let only_syn =
        segment.control.has(Control::SYN) && !segment.control.has(Control::ACK) && !segment.control.has(Control::RST);
    if tcb.state != State::TimeWait || !only_syn {
        return false;
    }
    // The last sequence number seen is RCV.NXT - 1, the peer's FIN.
    let newer_sequence = segment.seq.at_or_after(tcb.rcv_nxt);
    // Timestamps count if they would be enabled for the new connection.
    match (tcb.flags.has(Flags::TIMESTAMPS), segment.options.timestamps.filter(|_| config.timestamps)) {
        (true, Some((tsval, _))) if tsval != tcb.ts_recent => tsval.wrapping_sub(tcb.ts_recent) < 1 << 31,
        (false, Some(_)) => true,
        (true, Some(_)) | (_, None) => newer_sequence,
    }
}
