//! One worker's whole TCP: frames in, frames out, over preallocated flows.
//!
//! [`Engine::stage`] looks ahead at the frames of a burst, [`Engine::commit`] turns each into its answer in place, and
//! [`Engine::emit`] writes what nobody asked for: retransmissions, probes, and data beyond a first segment.
//! All allocation happens in [`Engine::new`].
//!
//! What is deliberately not here: AF_XDP, threads, atomics, logging and clocks. Time, randomness and secrets come in as
//! arguments; frames are byte slices.
#![forbid(unsafe_code)]

pub mod active;
mod arrive;
mod emit;
pub mod events;
pub mod failures;
mod flood;
mod half_open;
pub mod limit;
pub mod listeners;
mod ready;
pub mod snapshot;

use crate::flow::hash::FlowHash;
use crate::flow::{FlowTable, Slot};
use crate::profile::{Off, Probe, Stage};
use crate::stats::counters::Counters;
use crate::tcp::Env;
use crate::tcp::config::TcpConfig;
use crate::tcp::effects::End;
use crate::tcp::isn::IsnGenerator;
use crate::tcp::state::State;
use crate::tcp::tcb::{Flags, Tcb};
use crate::time::{Now, Tick};
use crate::timer::Wheel;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ether::Mac;
use crate::wire::parse::{PartialChecksums, parse};
use crate::wire::plain;
use crate::wire::segment::{Control, Segment};
use events::{Event, Events, What};
use failures::{Failure, Failures};
use flood::Flood;
use limit::RateLimit;
use listeners::Listeners;
use ready::Ready;

/// Expired timers that one turn looks at, at most; the rest waits for the next turn.
pub const TIMER_BUDGET: u32 = 256;

/// What an engine is made from.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Limits and times of its TCP.
    pub tcp: TcpConfig,
    /// Flows it holds at most (1 to 2^30).
    pub flows: u32,
    /// Frames it stages at most before it commits them.
    pub burst: usize,
    /// The interface's MAC address: the source of what it sends, and the only destination it accepts.
    pub mac: Mac,
    /// Whether checksums that a local sender left partial are good enough.
    pub partial_checksums: PartialChecksums,
    /// Room for events of actively opened connections between two calls of [`Engine::next_event`]: [`events::EVENTS_PER_STEP`]
    /// for each frame and timer of a turn. With 0 none are kept.
    pub events: usize,
}

/// Random numbers that an engine needs; drawn once, by whoever makes it.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Key of the flow hash.
    pub flow_hash: [u64; 2],
    /// Key of the initial sequence numbers (RFC 6528).
    pub isn: [u8; 16],
    /// Where the timestamp clock starts (RFC 7323 5.4).
    pub timestamp_offset: u32,
}

/// A frame that was looked at, until it is committed.
#[derive(Clone, Copy, Debug)]
struct Staged {
    /// Bytes of packet in it.
    len: usize,
    /// What it is looked for by, if the frame is of the plain kinds.
    ahead: Option<Ahead>,
}

/// What is known of a segment before it is read.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    /// The hash of its four-tuple.
    hash: FlowHash,
    /// Its control bits.
    control: Control,
}

/// A worker's TCP.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    timestamp_offset: u32,
    isn: IsnGenerator,
    flows: FlowTable<Tcb>,
    wheel: Wheel,
    ready: Ready,
    /// Whose turn it is in [`Engine::emit`].
    timers_next: bool,
    listeners: Listeners,
    staged: Vec<Staged>,
    counters: Counters,
    states: [u32; State::ALL.len()],
    flood: Flood,
    challenges: RateLimit,
    resets: RateLimit,
    events: Events,
    failures: Failures,
    draining: bool,
}

impl Engine {
    /// An engine with empty tables whose time starts at `now`. Allocates everything that it will ever use.
    pub fn new(config: EngineConfig, secrets: &Secrets, listeners: Listeners, now: Now) -> Self {
        Self {
            timestamp_offset: secrets.timestamp_offset,
            isn: IsnGenerator::new(secrets.isn),
            flows: FlowTable::new(config.flows, secrets.flow_hash),
            wheel: Wheel::new(config.flows, now.tick()),
            ready: Ready::new(config.flows),
            timers_next: false,
            listeners,
            staged: Vec::with_capacity(config.burst),
            counters: Counters::new(),
            states: [0; State::ALL.len()],
            flood: Flood::new(&config.tcp, config.flows, secrets.flow_hash),
            challenges: RateLimit::new(config.tcp.challenges_per_second, now.tick()),
            resets: RateLimit::new(config.tcp.resets_per_second, now.tick()),
            events: Events::new(config.events),
            failures: Failures::none(),
            draining: false,
            config,
        }
    }

    /// Bytes that an engine for `flows` flows allocates, listeners aside.
    pub fn memory_bytes(flows: u32) -> u64 {
        FlowTable::<Tcb>::memory_bytes(flows)
            + Wheel::memory_bytes(flows)
            + Ready::memory_bytes(flows)
            + Flood::memory_bytes(flows)
    }

    /// Looks at a received frame: whose flow it will be, so that this can be fetched meanwhile. Frames are committed in the order in
    /// which they were staged.
    ///
    /// # Panics
    ///
    /// If more than [`EngineConfig::burst`] frames are staged.
    pub fn stage(&mut self, frame: &[u8]) {
        assert!(self.staged.len() < self.config.burst, "more frames staged than a burst has");
        let ahead = plain::tuple(frame).map(|(tuple, control)| Ahead { hash: self.flows.hash(&tuple), control });
        if let Some(Ahead { hash, .. }) = ahead {
            self.flows.prefetch_index(hash);
        }
        self.staged.push(Staged { len: frame.len(), ahead });
    }

    /// Has the processor fetch the flows of all staged frames. To be called between the last [`Engine::stage`] of a burst and its
    /// first [`Engine::commit`]; nothing but time depends on it.
    pub fn prefetch(&self) {
        for Ahead { hash, control } in self.staged.iter().filter_map(|staged| staged.ahead) {
            let Some(slot) = self.flows.prefetch_flow(hash) else { continue };
            // What closes a connection brings its deadline nearer, or frees its slot.
            if control.has(Control::FIN) || control.has(Control::RST) {
                self.wheel.prefetch(slot);
            }
        }
    }

    /// Processes the staged frame number `index` and, if it is to be answered, writes the answer over it. `frame` starts as the
    /// staged frame did and has room for a whole frame of the interface's MTU.
    ///
    /// # Panics
    ///
    /// If no such frame is staged.
    #[inline]
    pub fn commit(&mut self, index: usize, frame: &mut [u8], now: Now) -> Verdict {
        self.commit_timed(index, frame, now, Off)
    }

    /// [`Engine::commit`] with a mark behind each of its stages.
    ///
    /// # Panics
    ///
    /// If no such frame is staged.
    pub fn commit_timed<P: Probe>(&mut self, index: usize, frame: &mut [u8], now: Now, probe: P) -> Verdict {
        let Staged { len, ahead } = self.staged[index];
        let verdict = match (plain::parse(&frame[..len]), ahead) {
            (Some(segment), Some(Ahead { hash, .. })) => {
                probe.mark(Stage::Parse);
                self.segment_is_read(&segment, hash, frame, now, probe)
            }
            _ => self.commit_stepwise(len, frame, now, probe),
        };
        self.counters.count(verdict);
        probe.mark(Stage::Tcp);
        verdict
    }

    /// [`Engine::commit`] for a frame of whatever kind.
    #[inline(never)]
    fn commit_stepwise<P: Probe>(&mut self, len: usize, frame: &mut [u8], now: Now, probe: P) -> Verdict {
        let parsed = parse(&frame[..len], self.config.partial_checksums);
        probe.mark(Stage::Parse);
        match parsed {
            Ok(segment) => {
                let hash = self.flows.hash(&segment.tuple);
                self.segment_is_read(&segment, hash, frame, now, probe)
            }
            Err(reason) => {
                self.counters.steering_breaches += u64::from(reason.breaks_steering_contract());
                Verdict::Drop(reason)
            }
        }
    }

    /// A legal segment, if it is for us.
    fn segment_is_read<P: Probe>(
        &mut self,
        segment: &Segment,
        hash: FlowHash,
        frame: &mut [u8],
        now: Now,
        probe: P,
    ) -> Verdict {
        if segment.dst_mac == self.config.mac {
            self.segment_arrives(segment, hash, frame, now, probe)
        } else {
            self.counters.steering_breaches += u64::from(DropReason::NotForUs.breaks_steering_contract());
            Verdict::Drop(DropReason::NotForUs)
        }
    }

    /// Forgets the staged frames, after the last of them was committed.
    pub fn end_burst(&mut self) {
        self.staged.clear();
    }

    /// What the protocol functions get to know.
    fn env(&self, now: Tick) -> Env<'_> {
        env(&self.config, self.timestamp_offset, now)
    }

    /// Ends the flow in `slot`: its timer, its place in the table, its counters.
    fn end(&mut self, slot: Slot, end: End) {
        if let Some(tcb) = self.flows.get(slot) {
            self.end_in_state(slot, tcb.state, end);
        }
    }

    /// [`Engine::end`] for a flow that is still booked under the state `before`.
    fn end_in_state(&mut self, slot: Slot, before: State, end: End) {
        self.wheel.abandon();
        self.end_expired(slot, before, end);
    }

    /// [`Engine::end_in_state`] for a flow whose timer has just expired and is not armed again.
    fn end_expired(&mut self, slot: Slot, before: State, end: End) {
        let Some(tcb) = self.flows.get(slot) else { return };
        if tcb.flags.has(Flags::ACTIVE)
            && let Some(id) = self.flows.id(slot)
        {
            if end == End::Closed {
                self.events.push(id, What::Finished);
            }
            self.events.push(id, What::Ended(end));
        }
        self.failures.note(&tcb.tuple, end);
        self.states[before.index()] -= 1;
        self.listeners.released(tcb.service, before);
        self.flows.remove(slot);
        // The slot freed last is taken first, and its timer started.
        self.wheel.prefetch(slot);
        let counters = &mut self.counters;
        let counter = match end {
            End::Closed => &mut counters.closed,
            End::ResetByPeer => &mut counters.reset_by_peer,
            End::HalfOpenReset => &mut counters.half_open_resets,
            End::HalfOpenTimeout => &mut counters.half_open_timeouts,
            End::HalfOpenEvicted => &mut counters.half_open_evicted,
            End::Refused => &mut counters.refused,
            End::OpenTimeout => &mut counters.open_timeouts,
            End::RetransmissionTimeout => &mut counters.retransmission_timeouts,
            End::IdleTimeout => &mut counters.idle_timeouts,
            End::FinWait2Timeout => &mut counters.fin_wait_2_timeouts,
            End::TimeWaitExpired => &mut counters.time_wait_expired,
            End::TimeWaitReused => &mut counters.time_wait_reused,
            End::Aborted => &mut counters.aborted,
        };
        *counter += 1;
    }

    /// Books a change of state, and arms the timer for the flow's deadline.
    fn settle(&mut self, slot: Slot, before: State) {
        let Some(tcb) = self.flows.get(slot) else { return };
        self.wheel.arm(slot, tcb.deadline);
        self.note_state(slot, before);
    }

    /// Books a change of state of the flow in `slot`, which is taken.
    fn note_state(&mut self, slot: Slot, before: State) {
        let tcb = self.flows.found(slot);
        if tcb.state == before {
            return;
        }
        if tcb.state == State::TimeWait
            && tcb.flags.has(Flags::ACTIVE)
            && let Some(id) = self.flows.id(slot)
        {
            self.events.push(id, What::Finished);
        }
        self.states[before.index()] -= 1;
        self.states[tcb.state.index()] += 1;
        self.listeners.moved(tcb.service, before, tcb.state);
    }

    /// The oldest event of an actively opened connection that was not taken yet.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Has the connections that fail from now on noted, as many as `room` between two looks. Allocates.
    pub fn keep_failures(&mut self, room: usize) {
        self.failures = Failures::with_room(room);
    }

    /// The connection that failed first of those not taken yet.
    pub fn next_failure(&mut self) -> Option<Failure> {
        self.failures.pop()
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Flows by state, at [`State::index`].
    pub fn states(&self) -> [u32; State::ALL.len()] {
        self.states
    }

    /// How many flows there are.
    pub fn flows(&self) -> u32 {
        self.flows.len()
    }

    /// How many flows there can be.
    pub fn capacity(&self) -> u32 {
        self.flows.capacity()
    }

    /// How many timers are armed: one for each flow.
    pub fn timers(&self) -> u32 {
        self.wheel.armed()
    }

    /// How many connections are half-open.
    pub fn half_open(&self) -> u32 {
        self.states[State::SynReceived.index()]
    }

    /// The listeners, with how many flows each has.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Exchanges the listeners; those flows keep that belong to a listener of the same id. Returns the old ones, for whoever may
    /// free memory.
    #[must_use = "the old listeners are to be freed elsewhere"]
    pub fn replace_listeners(&mut self, mut listeners: Listeners) -> Listeners {
        listeners.take_over(&self.listeners);
        core::mem::replace(&mut self.listeners, listeners)
    }

    /// Exchanges the limits and times. Connections keep what they negotiated.
    pub fn set_tcp_config(&mut self, tcp: TcpConfig, now: Now) {
        self.challenges = RateLimit::new(tcp.challenges_per_second, now.tick());
        self.resets = RateLimit::new(tcp.resets_per_second, now.tick());
        self.config.tcp = tcp;
        self.flood.configure(&self.config.tcp, now.tick());
    }

    /// From now on every SYN is answered as if nobody listened; what is open goes on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// When the engine has something to do by itself next: the earliest timer, or at once. `None` if there is nothing.
    pub fn next_due(&self, now: Tick) -> Option<Tick> {
        if self.ready.is_empty() { self.wheel.next_due() } else { Some(now) }
    }

    /// True if [`Engine::emit`] has something to look at.
    pub fn has_due(&self, now: Now) -> bool {
        !self.ready.is_empty() || self.wheel.is_due(now.tick())
    }

    /// Lets the timers follow the time while none is due (see [`Wheel::follow`]), and cookies be switched off again.
    pub fn follow(&mut self, now: Now) {
        self.wheel.follow(now.tick());
        self.flood.follow(self.half_open(), &self.config.tcp, now.tick());
    }
}

/// [`Engine::env`] for callers that hold other parts of the engine meanwhile.
fn env(config: &EngineConfig, timestamp_offset: u32, now: Tick) -> Env<'_> {
    Env { config: &config.tcp, now, tsval: now.0.wrapping_add(timestamp_offset) }
}
