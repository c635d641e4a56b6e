//! A segment arrives: which connection it belongs to, what that asks for, and the answer, written over the frame.

use core::ops::ControlFlow::{self, Break, Continue};

use super::events::What;
use super::flood::Another;
use super::limit::RateLimit;
use super::{Engine, env};
use crate::flow::hash::FlowHash;
use crate::flow::{Full, Slot};
use crate::profile::{Probe, Stage};
use crate::service::{AnyService, Reaction, Service, Stream};
use crate::stats::counters::Counters;
use crate::tcp::effects::{Answer, Effects, End, Life};
use crate::tcp::input::{self, may_reuse_time_wait};
use crate::tcp::listen::{self, Listen};
use crate::tcp::output::{self, Sent};
use crate::tcp::state::State;
use crate::tcp::tcb::{Flags, Tcb};
use crate::tcp::timeout::{deadline, is_waiting};
use crate::tcp::{Env, close, closed};
use crate::time::{Now, Tick};
use crate::verdict::{DropReason, Verdict};
use crate::wire::reply::{self, Addressing, Reply};
use crate::wire::segment::{Control, Segment};

impl Engine {
    /// Finds the connection of `segment` and processes it.
    pub(super) fn segment_arrives<P: Probe>(
        &mut self,
        segment: &Segment,
        hash: FlowHash,
        frame: &mut [u8],
        now: Now,
        probe: P,
    ) -> Verdict {
        self.counters.partial_checksums += u64::from(segment.partial_checksum);
        let found = self.flows.find(hash, &segment.tuple);
        probe.mark(Stage::Lookup);
        let found = match found {
            Some(slot) if self.flood.are_sent_elsewhere() => match self.cookie_for_another(slot, segment, now.tick()) {
                Some(Another::Reset(reset)) => {
                    return self.answer_with_reset(segment, &reset, frame, now.tick(), probe);
                }
                Some(Another::GaveWay) => None,
                None => Some(slot),
            },
            found => found,
        };
        let slot = match found {
            Some(slot) => slot,
            None => match self.arrives_without_connection(segment, hash, frame, now, probe) {
                Continue(slot) => slot,
                Break(verdict) => return verdict,
            },
        };
        if segment.control.has(Control::SYN)
            && let Some(tcb) = self.reusable_time_wait(slot, segment, now)
        {
            self.counters.syns_received += 1;
            self.end(slot, End::TimeWaitReused);
            return self.open_passive(tcb, segment, hash, frame, now, probe);
        }
        self.arrives_for_connection(slot, segment, frame, now.tick(), probe)
    }

    /// The connection that a newer SYN opens in the place of one in TIME-WAIT (RFC 6191), if it may be opened at all.
    #[inline(never)]
    fn reusable_time_wait(&self, slot: Slot, segment: &Segment, now: Now) -> Option<Tcb> {
        let old = self.flows.found(slot);
        let tcp = &self.config.tcp;
        if !may_reuse_time_wait(old, segment, tcp) || self.half_open() >= tcp.half_open_limit {
            return None;
        }
        let service = self.find_listener(segment)?;
        let iss = listen::isn_after(old, self.isn.isn(&segment.tuple, now));
        Some(listen::open_passive(segment, iss, service, self.env(now.tick())))
    }

    /// Who listens for the segment; nobody while the server drains.
    fn find_listener(&self, segment: &Segment) -> Option<u16> {
        if self.draining { None } else { self.listeners.find(&segment.tuple) }
    }

    /// LISTEN or CLOSED. What comes back without a verdict is the connection that a cookie made: the segment is for it.
    #[inline(never)]
    fn arrives_without_connection<P: Probe>(
        &mut self,
        segment: &Segment,
        hash: FlowHash,
        frame: &mut [u8],
        now: Now,
        probe: P,
    ) -> ControlFlow<Verdict, Slot> {
        let Some(service) = self.find_listener(segment) else {
            return Break(match closed::segment_arrives(segment) {
                Some(reset) => self.answer_with_reset(segment, &reset, frame, now.tick(), probe),
                None => Verdict::Drop(DropReason::RstToClosed),
            });
        };
        match listen::segment_arrives(segment) {
            Listen::Drop(reason) => Break(Verdict::Drop(reason)),
            Listen::Reset(reset) => {
                let made = match self.flood.looks_at_cookies(now.tick()) {
                    true => self.cookie_arrives(segment, service, hash, now.tick()),
                    false => None,
                };
                match made {
                    Some(Ok(slot)) => Continue(slot),
                    Some(Err(Full)) => Break(Verdict::Drop(DropReason::FlowTableFull)),
                    None => Break(self.answer_with_reset(segment, &reset, frame, now.tick(), probe)),
                }
            }
            Listen::Open => Break(self.syn_arrives(segment, service, hash, frame, now, probe)),
        }
    }

    /// A SYN for a listener.
    fn syn_arrives<P: Probe>(
        &mut self,
        segment: &Segment,
        service: u16,
        hash: FlowHash,
        frame: &mut [u8],
        now: Now,
        probe: P,
    ) -> Verdict {
        self.counters.syns_received += 1;
        if (self.half_open() >= self.flood.crowd() || self.flows.is_full())
            && let Some(verdict) = self.syn_arrives_in_a_crowd(segment, frame, now.tick(), probe)
        {
            return verdict;
        }
        let iss = self.isn.isn(&segment.tuple, now);
        let tcb = listen::open_passive(segment, iss, service, self.env(now.tick()));
        self.open_passive(tcb, segment, hash, frame, now, probe)
    }

    /// Puts a new connection into the table and answers with its SYN-ACK.
    fn open_passive<P: Probe>(
        &mut self,
        tcb: Tcb,
        segment: &Segment,
        hash: FlowHash,
        frame: &mut [u8],
        now: Now,
        probe: P,
    ) -> Verdict {
        let slot = match self.admit(tcb, hash) {
            Ok(slot) => slot,
            Err(Full) => return Verdict::Drop(DropReason::FlowTableFull),
        };
        if let Some(id) = self.flows.id(slot) {
            self.flood.half_open.push(id);
        }
        answer_without_payload(frame, segment, &tcb.syn(self.env(now.tick())), probe)
    }

    /// Puts a new connection in SYN-RECEIVED into the table.
    pub(super) fn admit(&mut self, tcb: Tcb, hash: FlowHash) -> Result<Slot, Full> {
        let slot = self.flows.insert(hash, tcb)?;
        self.counters.passive_opens += 1;
        self.states[State::SynReceived.index()] += 1;
        self.listeners.acquired(tcb.service, State::SynReceived);
        self.wheel.start(slot, tcb.deadline);
        Ok(slot)
    }

    /// A RST for a segment without a connection, within its rate limit.
    fn answer_with_reset<P: Probe>(
        &mut self,
        segment: &Segment,
        reset: &Reply,
        frame: &mut [u8],
        now: Tick,
        probe: P,
    ) -> Verdict {
        if !self.resets.admits(now) {
            return Verdict::Drop(DropReason::ResetLimited);
        }
        self.counters.resets_sent += 1;
        answer_without_payload(frame, segment, reset, probe)
    }

    /// A segment of the connection in `slot`: the protocol first, then the service, then the answer.
    fn arrives_for_connection<P: Probe>(
        &mut self,
        slot: Slot,
        segment: &Segment,
        frame: &mut [u8],
        now: Tick,
        probe: P,
    ) -> Verdict {
        let env = env(&self.config, self.timestamp_offset, now);
        let tcb = self.flows.found_mut(slot);
        let (before, was_waiting, deadline_before) = (tcb.state, is_waiting(tcb), tcb.deadline);
        let effects = input::segment_arrives(tcb, segment, env);
        self.counters.paws_rejected += u64::from(effects.paws);
        if let Life::Delete(end) = effects.life {
            self.end_in_state(slot, before, end);
            return Verdict::Accept;
        }
        if effects.refused.is_none() {
            tcb.peer_mac = segment.src_mac;
            tcb.tags = segment.tags;
        }
        let active = tcb.flags.has(Flags::ACTIVE);
        let service = self.listeners.service(tcb.service);
        let payload = &frame[segment.payload()];
        let requests = self.counters.requests;
        let Ok(window_opened) = serve(tcb, service, payload, &effects, &mut self.counters) else {
            let reset = tcb.reset();
            self.end_in_state(slot, before, End::Aborted);
            return answer_without_payload(frame, segment, &reset, probe);
        };
        let answer = answer(tcb, &effects, window_opened, env, &mut self.counters, &mut self.challenges);
        if effects.restart_timer || !was_waiting && is_waiting(tcb) {
            tcb.deadline = deadline(tcb, env);
        }
        if output::has_more(tcb) {
            self.ready.push(slot);
        }
        let verdict = match answer {
            Ok(Some(reply)) => {
                probe.mark(Stage::Tcp);
                let len = write(frame, &Addressing::answering(segment), &reply, tcb, service);
                probe.mark(Stage::Reply);
                Verdict::Transmit { len }
            }
            Ok(None) => effects.refused.map_or(Verdict::Accept, Verdict::Drop),
            Err(reason) => Verdict::Drop(reason),
        };
        // The timer expires at the old deadline or earlier: one that only moves away leaves the wheel alone.
        if tcb.deadline.before(deadline_before) {
            self.wheel.arm(slot, tcb.deadline);
        }
        if active {
            let answered = self.counters.requests != requests;
            self.note_events(slot, &effects, answered);
        }
        self.note_state(slot, before);
        verdict
    }

    /// Tells whoever opened the connection what the segment brought.
    fn note_events(&mut self, slot: Slot, effects: &Effects, answered: bool) {
        let Some(id) = self.flows.id(slot) else { return };
        if effects.established {
            self.events.push(id, What::Established);
        }
        if effects.delivery.len > 0 {
            self.events.push(id, What::Received(effects.delivery.len));
        }
        if answered {
            self.events.push(id, What::Answered);
        }
        if effects.peer_closed {
            self.events.push(id, What::PeerClosed);
        }
    }
}

/// Tells the service what happened and does what it wants. `Ok(true)` if that opened a receive window that was closed.
///
/// # Errors
///
/// The service gives the connection up.
fn serve(
    tcb: &mut Tcb,
    service: &AnyService,
    payload: &[u8],
    effects: &Effects,
    counters: &mut Counters,
) -> Result<bool, ()> {
    if effects.acked > 0 {
        tcb.stream_base = service.rebase(tcb.stream_base);
    }
    if effects.established {
        counters.established += 1;
        let reaction = service.established(&mut tcb.app);
        apply(tcb, reaction, counters)?;
    }
    if effects.delivery.len > 0 {
        let start = usize::from(effects.delivery.skip);
        let bytes = &payload[start..start + usize::from(effects.delivery.len)];
        counters.bytes_received += u64::from(effects.delivery.len);
        // Whoever closed has nothing more to say (RFC 9293 3.10.2), so there is nobody to hear it either.
        if !tcb.flags.has(Flags::FIN_QUEUED) {
            let reaction = service.received(&mut tcb.app, tcb.queued, bytes);
            apply(tcb, reaction, counters)?;
        }
    }
    if effects.peer_closed {
        let reaction = service.peer_closed(&mut tcb.app);
        apply(tcb, reaction, counters)?;
    }
    let limit = service.backlog_bytes();
    let was_backlogged = tcb.flags.has(Flags::BACKLOGGED);
    let is_backlogged = tcb.queued > if was_backlogged { limit / 2 } else { limit };
    tcb.flags.put(Flags::BACKLOGGED, is_backlogged);
    Ok(was_backlogged && !is_backlogged)
}

/// Does what a service wants.
fn apply(tcb: &mut Tcb, reaction: Reaction, counters: &mut Counters) -> Result<(), ()> {
    if reaction.abort {
        return Err(());
    }
    counters.requests += u64::from(reaction.requests);
    tcb.queued += reaction.queue;
    match reaction.close.then(|| close::close(tcb)) {
        None | Some(Life::Keep) => Ok(()),
        Some(Life::Delete(_)) => Err(()),
    }
}

/// The segment to answer with, if any.
///
/// # Errors
///
/// The drop reason, where a limit holds an answer back.
fn answer(
    tcb: &mut Tcb,
    effects: &Effects,
    window_opened: bool,
    env: Env<'_>,
    counters: &mut Counters,
    challenges: &mut RateLimit,
) -> Result<Option<Reply>, DropReason> {
    match effects.answer {
        Answer::Reset(reset) => {
            counters.resets_sent += 1;
            Ok(Some(reset))
        }
        Answer::SynAck => {
            counters.syn_ack_retransmissions += u64::from(effects.refused.is_some());
            Ok(Some(tcb.syn(env)))
        }
        Answer::ChallengeAck if challenges.admits(env.now) => {
            counters.challenge_acks += 1;
            Ok(Some(tcb.ack(env)))
        }
        Answer::ChallengeAck => Err(DropReason::ChallengeLimited),
        Answer::DuplicateAck if !effects.retransmit_first => {
            counters.duplicate_acks += 1;
            Ok(Some(tcb.ack(env)))
        }
        // What waits to be sent goes out by itself; as an answer it would hide the refusal, and answer a forged RST.
        Answer::Nothing if effects.refused.is_some() => Ok(None),
        // It carries an acknowledgment, too.
        Answer::DuplicateAck | Answer::Ack | Answer::Nothing if effects.retransmit_first => {
            counters.duplicate_acks += u64::from(effects.answer == Answer::DuplicateAck);
            let sent = output::first_segment_again(tcb, env);
            counters.fast_retransmissions += u64::from(sent.is_some());
            Ok(sent.map(|sent| sent.reply))
        }
        Answer::DuplicateAck | Answer::Ack | Answer::Nothing => {
            let owed = effects.answer != Answer::Nothing || window_opened;
            let sent = output::next_segment(tcb, owed, env);
            Ok(sent.map(|sent| count_sent(&sent, counters)))
        }
    }
}

/// Counts a segment of a send stream, and returns it.
pub(super) fn count_sent(sent: &Sent, counters: &mut Counters) -> Reply {
    counters.bytes_sent += u64::from(sent.fresh);
    match (sent.again, sent.reply.payload.len) {
        (false, _) => {}
        (true, 0) => counters.fin_retransmissions += u64::from(sent.fin),
        (true, _) => counters.data_retransmissions += 1,
    }
    sent.reply
}

/// Writes `reply` of the connection `tcb` into `frame`, its payload from the service.
pub(super) fn write(frame: &mut [u8], to: &Addressing, reply: &Reply, tcb: &Tcb, service: &AnyService) -> usize {
    let stream = Stream { base: tcb.stream_base, queued: tcb.queued, app: tcb.app };
    reply::write(frame, to, reply, |out| service.fill(&stream, reply.payload.from_una, out))
}

/// Writes a reply without payload over the frame of the segment that it answers.
pub(super) fn answer_without_payload<P: Probe>(
    frame: &mut [u8],
    segment: &Segment,
    reply: &Reply,
    probe: P,
) -> Verdict {
    probe.mark(Stage::Tcp);
    let len = reply::write(frame, &Addressing::answering(segment), reply, |_| {});
    probe.mark(Stage::Reply);
    Verdict::Transmit { len }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::config::TcpConfig;

    /// What answers a segment with these effects on a connection that has a segment to send.
    fn answer_with_text_waiting(effects: &Effects) -> Result<Option<Reply>, DropReason> {
        let mut tcb =
            Tcb { state: State::Established, queued: 10, snd_wnd: 1_000, snd_mss: 536, cwnd: 1, ..Tcb::default() };
        let config = TcpConfig::default();
        let env = Env { config: &config, now: Tick(0), tsval: 0 };
        answer(&mut tcb, effects, false, env, &mut Counters::new(), &mut RateLimit::new(0, Tick(0)))
    }

    #[test]
    fn a_refused_segment_is_not_answered_with_text_that_waits_to_be_sent() {
        let refused = Effects::refuse(DropReason::RstOutOfWindow, Answer::Nothing);
        assert_eq!(answer_with_text_waiting(&refused), Ok(None));
        let taken = answer_with_text_waiting(&Effects::default());
        assert_eq!(taken.map(|reply| reply.map(|reply| reply.payload.len)), Ok(Some(10)));
    }
}
