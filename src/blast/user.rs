//! One worker's load generator: the user of its engine. Opens connections when the plan wants them, hears what becomes of
//! them, closes them, and counts.
//!
//! Everything that it ever needs is allocated by [`Blaster::new`]; a turn makes a bounded number of user calls. What is
//! deliberately not here: TCP, which the engine does, and the shape of the result.

use super::pace::ramped;
use super::plan::{CloseBy, Hold, Share};
use super::tally::{Phase, Reason, Tally};
use super::watch::{Progress, Watch};
use crate::engine::Engine;
use crate::engine::active::OpenError;
use crate::engine::events::{Event, What};
use crate::flow::FlowId;
use crate::port::Port;
use crate::tcp::effects::End;
use crate::tcp::state::State;
use crate::tcp::syn_sent::ActiveOpen;
use crate::time::Now;
use crate::wire::ether::{Mac, VlanTags};
use crate::worker::user::{CALL_BUDGET, User};
use std::collections::VecDeque;
use std::sync::Arc;

/// Connections that one turn opens at most.
const OPEN_BUDGET: usize = 128;
/// Connections that one turn closes or aborts at most.
const CLOSE_BUDGET: usize = CALL_BUDGET - OPEN_BUDGET;
/// Four-tuples that are tried for one connection; so many in a row are in use only if nearly all of them are.
const TUPLE_TRIES: usize = 32;
/// Handshakes under way at most where no schedule says otherwise: what a target's receive ring has room for.
const MOST_OPENING: u32 = 512;
/// Teardowns under way at most when everything is closed at the end of a run; each brings a frame, and as many as the rings of
/// both ends have room for may be under way.
const MOST_CLOSING: u64 = 512;
/// Slots that one turn looks at when everything is to be closed, at most.
const SCAN_BUDGET: usize = 1_024;
/// How often a worker publishes where it stands.
const PUBLISH_NANOS: u64 = 20_000_000;
/// A start that lies further behind the schedule is counted as late.
const LATE_NANOS: u64 = 1_000_000;

/// What a connection is about to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doing {
    /// The slot has none of ours.
    #[default]
    Nothing,
    /// Its handshake.
    Opening,
    /// Its request is not answered yet.
    Asking,
    /// It is held, or waits for the target to close.
    Open,
    /// A FIN was sent or came.
    Closing,
    /// It was counted; only its TIME-WAIT may be left.
    Counted,
}

/// Why we give a connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Abort {
    /// That is how connections end in this run.
    Planned,
    /// The run is over.
    Unfinished,
}

/// One connection, at the index of its slot.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    id: Option<FlowId>,
    doing: Doing,
    /// The target closed while the connection was to be held.
    early: bool,
    /// When it was meant to start.
    started: Now,
    /// When it was established and, later, when its teardown began.
    mark: Now,
    /// Nanoseconds between the two that it was held.
    held_ns: u64,
    /// The first byte of the answer is still to come.
    awaits_byte: bool,
}

/// What the whole run is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Connections are started.
    Running,
    /// None is started any more; what is in progress may end until then.
    Finishing { until: Now },
    /// What is left is given up.
    GivingUp,
    /// All is counted.
    Over,
}

/// The user of one worker's engine.
#[derive(Debug)]
pub struct Blaster {
    share: Share,
    peer_mac: Mac,
    watch: Arc<Watch>,
    stage: Stage,
    start: Option<Now>,
    entries: Box<[Entry]>,
    /// Connections that are held, in the order in which they became so, with when that is over.
    held: VecDeque<(FlowId, Now)>,
    /// Where the search for open connections goes on, when all are to be closed.
    cursor: usize,
    /// When the last connection started, in nanoseconds since the first turn.
    last_start_ns: u64,
    in_progress: u64,
    open: u64,
    /// User calls that this turn may still make to end a connection.
    closes_left: usize,
    tally: Tally,
    last_turn: Now,
    was_busy: bool,
    last_publication: Now,
}

impl Blaster {
    /// A generator that has not started, for an engine with room for `flows` flows. It starts with its first turn.
    pub fn new(share: Share, peer_mac: Mac, flows: u32, watch: Arc<Watch>) -> Self {
        Self {
            share,
            peer_mac,
            watch,
            stage: Stage::Running,
            start: None,
            entries: vec![Entry::default(); flows as usize].into_boxed_slice(),
            held: VecDeque::with_capacity(flows as usize),
            cursor: 0,
            last_start_ns: 0,
            in_progress: 0,
            open: 0,
            closes_left: 0,
            tally: Tally::default(),
            last_turn: Now(0),
            was_busy: false,
            last_publication: Now(0),
        }
    }

    /// Bytes that a generator for `flows` flows allocates, its engine not counted.
    pub fn memory_bytes(flows: u32) -> u64 {
        u64::from(flows) * (size_of::<Entry>() + size_of::<(FlowId, Now)>()) as u64
    }

    /// What was counted.
    pub fn into_tally(self) -> Tally {
        self.tally
    }

    fn entry(&mut self, id: FlowId) -> &mut Entry {
        &mut self.entries[id.slot.index()]
    }

    /// Hears one event.
    fn hear<P: Port>(&mut self, event: Event, engine: &mut Engine, port: &mut P, now: Now) {
        let id = event.id;
        // One that we gave up was counted then, and its slot may be another's by now.
        if self.entry(id).id != Some(id) {
            return;
        }
        match event.what {
            What::Established => self.established(id, engine, port, now),
            What::Received(_) => self.first_byte(id, now),
            What::Answered => self.ready_to_close(id, engine, port, now),
            What::PeerClosed => self.peer_closed(id, now),
            What::Finished => self.finished(id, now),
            What::Ended(end) => self.ended(id, end),
        }
    }

    fn established<P: Port>(&mut self, id: FlowId, engine: &mut Engine, port: &mut P, now: Now) {
        let has_request = self.share.has_request;
        let entry = self.entry(id);
        entry.mark = now;
        entry.awaits_byte = has_request;
        let took = now.nanos_since(entry.started);
        self.tally.established += 1;
        self.tally.measured(Phase::Handshake, took);
        self.open += 1;
        if has_request {
            self.entry(id).doing = Doing::Asking;
        } else {
            self.ready_to_close(id, engine, port, now);
        }
    }

    fn first_byte(&mut self, id: FlowId, now: Now) {
        let entry = self.entry(id);
        if core::mem::take(&mut entry.awaits_byte) {
            let took = now.nanos_since(entry.mark);
            self.tally.measured(Phase::FirstByte, took);
        }
    }

    /// The connection has done all that it is for: it is closed, or held.
    fn ready_to_close<P: Port>(&mut self, id: FlowId, engine: &mut Engine, port: &mut P, now: Now) {
        let entry = self.entry(id);
        if !matches!(entry.doing, Doing::Opening | Doing::Asking) {
            return;
        }
        entry.doing = Doing::Open;
        entry.mark = now;
        if self.share.closes_at_once() {
            return self.teardown_begins(id, now);
        }
        match (self.share.hold, self.share.close) {
            (_, CloseBy::Server) | (Hold::UntilEnd, _) => {}
            (Hold::Nanos(0), _) if self.end_one(id, engine, port, now) => {}
            (Hold::Nanos(ns), _) => self.held.push_back((id, Now(now.0 + ns))),
            (Hold::WhileWithin, _) => {
                self.held.push_back((id, now));
                if self.held.len() as u64 > u64::from(self.share.at_once.unwrap_or(u32::MAX)) {
                    self.end_oldest(engine, port, now);
                }
            }
        }
    }

    /// Ends the connection that is held longest, unless this turn has ended enough.
    fn end_oldest<P: Port>(&mut self, engine: &mut Engine, port: &mut P, now: Now) -> bool {
        let Some((id, _)) = self.held.front().copied() else { return false };
        let ended = self.end_one(id, engine, port, now);
        if ended {
            self.held.pop_front();
        }
        ended
    }

    /// Closes or resets a connection that is open. False if that has to wait for the next turn.
    fn end_one<P: Port>(&mut self, id: FlowId, engine: &mut Engine, port: &mut P, now: Now) -> bool {
        let entry = self.entry(id);
        if entry.id != Some(id) || entry.doing != Doing::Open {
            return true;
        }
        if self.closes_left == 0 {
            return false;
        }
        match self.share.close {
            CloseBy::Reset => self.abort(id, Abort::Planned, engine, port, now),
            CloseBy::Client | CloseBy::Server => {
                self.closes_left -= 1;
                self.teardown_begins(id, now);
                // It cannot have ended: its entry says that it is open.
                let _ = engine.close(id, now);
                true
            }
        }
    }

    /// Gives a connection up and counts it, if a frame is free for the RST.
    fn abort<P: Port>(&mut self, id: FlowId, why: Abort, engine: &mut Engine, port: &mut P, now: Now) -> bool {
        let Some(mut frame) = port.take_free() else {
            self.tally.no_frame += 1;
            return false;
        };
        self.closes_left -= 1;
        let mut entry = core::mem::take(self.entry(id));
        if matches!(entry.doing, Doing::Open | Doing::Asking) {
            self.open -= 1;
        }
        match why {
            Abort::Planned => {
                entry.held_ns = now.nanos_since(entry.mark);
                self.completed(&entry, now);
            }
            Abort::Unfinished => self.failed(Reason::Unfinished),
        }
        match engine.abort(id, port.bytes_mut(&mut frame)) {
            Ok(Some(len)) => port.transmit(frame, len),
            Ok(None) | Err(_) => port.recycle(frame),
        }
        true
    }

    fn teardown_begins(&mut self, id: FlowId, now: Now) {
        let entry = self.entry(id);
        entry.held_ns = now.nanos_since(entry.mark);
        entry.mark = now;
        entry.doing = Doing::Closing;
        self.open -= 1;
    }

    fn peer_closed(&mut self, id: FlowId, now: Now) {
        let is_early = self.share.close != CloseBy::Server && self.stage == Stage::Running;
        let entry = self.entry(id);
        if matches!(entry.doing, Doing::Open | Doing::Asking) {
            entry.early = is_early && entry.doing == Doing::Open;
            self.teardown_begins(id, now);
        }
    }

    /// Both FINs are acknowledged.
    fn finished(&mut self, id: FlowId, now: Now) {
        let entry = *self.entry(id);
        if entry.doing == Doing::Counted {
            return;
        }
        self.entry(id).doing = Doing::Counted;
        if entry.early {
            return self.failed(Reason::ClosedEarly);
        }
        self.tally.measured(Phase::Teardown, now.nanos_since(entry.mark));
        self.completed(&entry, now);
    }

    fn completed(&mut self, entry: &Entry, now: Now) {
        self.in_progress -= 1;
        self.tally.completed += 1;
        self.tally.measured(Phase::Total, now.nanos_since(entry.started).saturating_sub(entry.held_ns));
    }

    fn failed(&mut self, reason: Reason) {
        self.in_progress -= 1;
        self.tally.failed[reason.index()] += 1;
    }

    /// The connection is no more.
    fn ended(&mut self, id: FlowId, end: End) {
        let entry = core::mem::take(self.entry(id));
        match entry.doing {
            Doing::Nothing | Doing::Counted => {}
            Doing::Opening | Doing::Closing => self.failed(Reason::of(end)),
            Doing::Asking | Doing::Open => {
                self.open -= 1;
                self.failed(Reason::of(end));
            }
        }
    }

    /// Ends what has been held long enough. True if there was any.
    fn end_held<P: Port>(&mut self, engine: &mut Engine, port: &mut P, now: Now) -> bool {
        let mut any = false;
        while let Some((_, due)) = self.held.front()
            && self.is_over_hold(*due, now)
            && self.end_oldest(engine, port, now)
        {
            any = true;
        }
        any
    }

    /// True if a connection that may be ended from `due` on is to be ended now.
    fn is_over_hold(&self, due: Now, now: Now) -> bool {
        match self.share.hold {
            Hold::Nanos(_) => due <= now,
            Hold::UntilEnd => false,
            Hold::WhileWithin => self.held.len() as u64 > u64::from(self.share.at_once.unwrap_or(u32::MAX)),
        }
    }

    /// Opens what the plan wants opened now. True if it opened any.
    fn open_due<P: Port>(&mut self, engine: &mut Engine, port: &mut P, start: Now, now: Now) -> bool {
        for opened in 0..OPEN_BUDGET {
            let Some(intended) = self.next_start(engine, start, now) else { return opened > 0 };
            if !self.open_one(engine, port, intended, now) {
                return opened > 0;
            }
            self.last_start_ns = now.nanos_since(start);
        }
        true
    }

    /// When the connection that may be opened now was meant to start; `None` if none may.
    fn next_start(&self, engine: &Engine, start: Now, now: Now) -> Option<Now> {
        if self.share.connections.is_some_and(|most| self.tally.attempted >= most) {
            return None;
        }
        let elapsed = now.nanos_since(start);
        let limits_open = self.share.hold != Hold::WhileWithin;
        if let Some(most) = self.share.at_once.filter(|_| limits_open) {
            let ramp_ns = if self.share.pace.is_some() { 0 } else { self.share.ramp_ns };
            if self.in_progress >= u64::from(ramped(most, ramp_ns, elapsed)) {
                return None;
            }
        }
        match &self.share.pace {
            Some(pace) => {
                let offset = pace.start_of(self.tally.attempted);
                (offset <= elapsed && offset < self.share.duration_ns).then(|| Now(start.0 + offset))
            }
            None => (engine.states()[State::SynSent.index()] < MOST_OPENING).then_some(now),
        }
    }

    fn open_one<P: Port>(&mut self, engine: &mut Engine, port: &mut P, intended: Now, now: Now) -> bool {
        let Some(mut frame) = port.take_free() else {
            self.tally.no_frame += 1;
            return false;
        };
        for _ in 0..TUPLE_TRIES {
            let open = ActiveOpen {
                tuple: self.share.tuples.advance(),
                peer_mac: self.peer_mac,
                tags: VlanTags::default(),
                service: 0,
            };
            match engine.open(&open, now, port.bytes_mut(&mut frame)) {
                Ok((id, len)) => {
                    port.transmit(frame, len);
                    self.opened(id, intended, now);
                    return true;
                }
                Err(OpenError::InUse) => {}
                Err(OpenError::Full) => {
                    self.tally.no_flow += 1;
                    port.recycle(frame);
                    return false;
                }
            }
        }
        self.tally.no_tuple += 1;
        port.recycle(frame);
        false
    }

    fn opened(&mut self, id: FlowId, intended: Now, now: Now) {
        *self.entry(id) =
            Entry { id: Some(id), doing: Doing::Opening, started: intended, mark: intended, ..Entry::default() };
        self.in_progress += 1;
        let tally = &mut self.tally;
        tally.attempted += 1;
        tally.most_in_progress = tally.most_in_progress.max(self.in_progress);
        let late = now.nanos_since(intended);
        tally.late += u64::from(late > LATE_NANOS);
        tally.most_late_ns = tally.most_late_ns.max(late);
    }

    /// Moves on from one stage to the next. True if that was done.
    fn advance(&mut self, start: Now, now: Now) -> bool {
        let elapsed = now.nanos_since(start);
        let before = self.stage;
        self.stage = match self.stage {
            Stage::Running => match self.sent_all(elapsed) {
                Some(sending_ns) => {
                    self.tally.sending_ns = sending_ns;
                    Stage::Finishing { until: Now(now.0 + self.share.timeout_ns) }
                }
                None => Stage::Running,
            },
            Stage::Finishing { .. } | Stage::GivingUp if self.in_progress == 0 => Stage::Over,
            Stage::Finishing { until } if now >= until => {
                self.cursor = 0;
                Stage::GivingUp
            }
            stage => stage,
        };
        before != self.stage
    }

    /// How long connections were started, if no more are to be.
    fn sent_all(&self, elapsed: u64) -> Option<u64> {
        if self.watch.is_stopped() {
            return Some(elapsed.min(self.share.duration_ns));
        }
        if self.share.connections.is_some_and(|most| self.tally.attempted >= most) {
            let done =
                self.in_progress == 0 || self.share.hold == Hold::WhileWithin || elapsed >= self.share.duration_ns;
            return done.then(|| match &self.share.pace {
                // The interval behind the last one belongs to it.
                Some(pace) => pace.start_of(self.tally.attempted).max(self.last_start_ns),
                None => elapsed,
            });
        }
        let is_due = |pace: &super::pace::Pace| pace.start_of(self.tally.attempted) < self.share.duration_ns;
        // What was meant to start within the duration is still started, late as it is, unless that takes as long again.
        let behind = self.share.pace.as_ref().is_some_and(is_due) && elapsed < self.share.duration_ns.saturating_mul(2);
        (elapsed >= self.share.duration_ns && !behind).then_some(elapsed)
    }

    /// Ends, or gives up, connections that are left, some in each turn. True if there was any.
    fn sweep<P: Port>(&mut self, engine: &mut Engine, port: &mut P, now: Now) -> bool {
        let give_up = self.stage == Stage::GivingUp;
        if !give_up {
            let opening = u64::from(engine.states()[State::SynSent.index()]);
            let closing = self.in_progress.saturating_sub(self.open + opening);
            let room = usize::try_from(MOST_CLOSING.saturating_sub(closing)).unwrap_or(CLOSE_BUDGET);
            self.closes_left = self.closes_left.min(room);
        }
        let before = self.closes_left;
        for _ in 0..SCAN_BUDGET {
            if self.closes_left == 0 || self.in_progress == 0 {
                break;
            }
            let entry = self.entries[self.cursor];
            let done = match (entry.id, entry.doing) {
                (None, _) | (_, Doing::Nothing | Doing::Counted) => true,
                (Some(id), _) if give_up => self.abort(id, Abort::Unfinished, engine, port, now),
                (Some(id), Doing::Open) if self.share.close != CloseBy::Server => self.end_one(id, engine, port, now),
                (_, Doing::Opening | Doing::Asking | Doing::Open | Doing::Closing) => true,
            };
            if !done {
                break;
            }
            self.cursor = if self.cursor + 1 == self.entries.len() { 0 } else { self.cursor + 1 };
        }
        before != self.closes_left
    }

    fn publish(&mut self, now: Now) {
        self.last_publication = now;
        let progress = Progress {
            attempted: self.tally.attempted,
            established: self.tally.established,
            completed: self.tally.completed,
            failed: self.tally.failed_total(),
            refused: self.tally.failed[Reason::Refused.index()],
            open: self.open,
            in_progress: self.in_progress,
        };
        self.watch.publish(progress);
    }
}

impl User for Blaster {
    fn turn<P: Port>(&mut self, engine: &mut Engine, port: &mut P, now: Now) -> bool {
        let start = *self.start.get_or_insert(now);
        if self.was_busy {
            self.tally.busy_ns += now.nanos_since(self.last_turn);
        }
        self.last_turn = now;
        self.closes_left = CLOSE_BUDGET;
        let mut worked = false;
        while let Some(event) = engine.next_event() {
            self.hear(event, engine, port, now);
            worked = true;
        }
        worked |= self.end_held(engine, port, now);
        worked |= match self.stage {
            Stage::Running => self.open_due(engine, port, start, now),
            Stage::Finishing { .. } | Stage::GivingUp => self.sweep(engine, port, now),
            Stage::Over => false,
        };
        worked |= self.advance(start, now);
        self.was_busy = worked;
        if now.nanos_since(self.last_publication) > PUBLISH_NANOS || self.stage == Stage::Over {
            self.publish(now);
        }
        worked
    }

    fn next_due(&self) -> Option<Now> {
        let start = self.start?;
        let end = match self.stage {
            Stage::Running => Now(start.0 + self.share.duration_ns),
            Stage::Finishing { until } => until,
            Stage::GivingUp | Stage::Over => return Some(Now(0)),
        };
        let next = match (&self.share.pace, self.stage) {
            (Some(pace), Stage::Running) => Now(start.0 + pace.start_of(self.tally.attempted)).min(end),
            _ => end,
        };
        let held = self.held.front().filter(|_| matches!(self.share.hold, Hold::Nanos(_)));
        Some(held.map_or(next, |(_, due)| next.min(*due)))
    }

    fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }
}
