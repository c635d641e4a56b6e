//! One thread's loop: a port below, an engine above it, and a mailbox to the control path.
//!
//! [`Worker::turn`] is the whole data path in a straight line: one clock read, a burst in, the answers out, what the user of
//! the engine wants, what is due, one flush. Nothing in it allocates, locks or logs. [`Worker::run`] repeats it and decides when to sleep.
//!
//! What is deliberately not here: TCP, AF_XDP, and any decision about other workers.
#![forbid(unsafe_code)]

pub mod capture;
pub mod clock;
pub mod mailbox;
pub mod pace;
pub mod profile;
pub mod report;
mod tapped;
pub mod user;

use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Engine, TIMER_BUDGET};
use crate::port::{Burst, Port};
use crate::profile::{Off, Probe, Stage};
use crate::time::{NANOS_PER_TICK, Now, Tick};
use crate::verdict::Verdict;
use capture::{Tap, Untapped};
use clock::Clock;
use mailbox::{Answer, Command, FlowQuery, Mailbox};
use pace::Pace;
use profile::Profile;
use report::Report;
use tapped::Tapped;
use user::{CALL_BUDGET, Nobody, User};

/// Frames without a request that one turn sends at most: the rest of send streams, retransmissions, probes.
const EMIT_BUDGET: usize = 256;
/// How long a worker that found nothing to do goes on looking before it sleeps.
const SPIN_NANOS: u64 = 50_000;
/// The longest sleep: commands and the stop flag are noticed after it at the latest.
const MAX_SLEEP: Duration = Duration::from_millis(20);
/// The longest sleep while frames wait to be sent and nothing but another kick would send them.
const TX_RETRY_SLEEP: Duration = Duration::from_millis(1);
/// How often a busy worker publishes its counters.
const PUBLISH_NANOS: u64 = 100_000_000;
/// Connections that fail between two looks at most: by the calls of a user, by timers, or by a frame.
const FAILURES: usize = max(CALL_BUDGET, TIMER_BUDGET as usize) + 1;
/// Bursts that a worker takes at its end at most, from a ring that nothing more is steered to.
const LAST_BURSTS: usize = 16_384;

/// When a worker without traffic stops looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Never: the core is its own.
    Spin,
    /// Soon; the kernel wakes it when a frame arrives or a timer is due.
    Sleep,
}

/// The larger of two.
const fn max(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}

/// A port, an engine, its user, who listens in, and what belongs to them.
#[derive(Debug)]
pub struct Worker<P, C, U = Nobody, T = Untapped> {
    engine: Engine,
    port: P,
    user: U,
    tap: T,
    clock: C,
    burst: Burst,
    mailbox: Arc<Mailbox>,
    query: Option<FlowQuery>,
    idle: Idle,
    /// The tick of the last turn.
    tick: Tick,
    /// What was due at the last turn waits for a free frame, and nothing but time brings one.
    starved: bool,
    turns: u64,
    sleeps: u64,
    emit_budget_exhausted: u64,
    pace: Pace,
    last_work: Now,
    last_publication: Now,
    /// What it is timed on, while it is. During a timed turn that turn has it.
    profile: Option<Box<Profile>>,
    /// The profile is to end with the present turn.
    profile_ends: bool,
}

impl<P: Port, C: Clock> Worker<P, C> {
    /// A worker that only answers, and has not started.
    pub fn new(engine: Engine, port: P, clock: C, mailbox: Arc<Mailbox>, idle: Idle) -> Self {
        Self::with_user(engine, port, clock, mailbox, idle, Nobody)
    }
}

impl<P: Port, C: Clock, U: User> Worker<P, C, U> {
    /// A worker whose engine has a user, and that has not started.
    pub fn with_user(engine: Engine, port: P, clock: C, mailbox: Arc<Mailbox>, idle: Idle, user: U) -> Self {
        Self::with_tap(engine, port, clock, mailbox, idle, user, Untapped)
    }
}

impl<P: Port, C: Clock, U: User, T: Tap> Worker<P, C, U, T> {
    /// A worker that tells `tap` of its frames, and has not started.
    pub fn with_tap(
        mut engine: Engine,
        port: P,
        mut clock: C,
        mailbox: Arc<Mailbox>,
        idle: Idle,
        user: U,
        tap: T,
    ) -> Self {
        if T::ON {
            engine.keep_failures(FAILURES);
        }
        let now = clock.now();
        Self {
            engine,
            port,
            user,
            tap,
            clock,
            burst: Burst::new(),
            mailbox,
            query: None,
            idle,
            tick: now.tick(),
            starved: false,
            turns: 0,
            sleeps: 0,
            emit_budget_exhausted: 0,
            pace: Pace::new(now),
            last_work: now,
            last_publication: now,
            profile: None,
            profile_ends: false,
        }
    }

    /// Turns until the mailbox says stop, or the user is done. Afterwards the last counters are published.
    pub fn run(&mut self) {
        self.publish(self.last_work);
        while !self.mailbox.is_stopped() && !self.user.is_over() {
            let now = self.clock.now();
            self.pace.turn_begins(now);
            if self.turn(now) {
                self.pace.worked();
                self.last_work = now;
            } else if self.idle == Idle::Sleep && now.nanos_since(self.last_work) > SPIN_NANOS {
                self.sleep(now);
            }
            if now.nanos_since(self.last_publication) > PUBLISH_NANOS {
                self.publish(now);
            }
        }
        let now = self.clock.now();
        if self.mailbox.is_stopped() {
            self.take_the_rest(now);
        }
        self.port.flush();
        self.publish(now);
    }

    /// Answers what was received before the end, so that every steered frame is in the books.
    fn take_the_rest(&mut self, now: Now) {
        for _ in 0..LAST_BURSTS {
            if self.port.receive(&mut self.burst) == 0 {
                return;
            }
            self.process_burst(now, Off);
            self.port.flush();
        }
    }

    /// One turn at `now`. True if there was anything to do.
    pub fn turn(&mut self, now: Now) -> bool {
        if self.profile.is_none() { self.turn_timed(now, Off) } else { self.turn_on_profile(now) }
    }

    /// [`Worker::turn`] with a mark behind each of its stages.
    fn turn_timed<Q: Probe>(&mut self, now: Now, probe: Q) -> bool {
        self.turns += 1;
        self.follow(now);
        probe.mark(Stage::Timers);
        let commanded = self.obey(now);
        probe.mark(Stage::Mailbox);
        let received = self.port.receive(&mut self.burst);
        probe.mark(Stage::Receive);
        self.process_burst(now, probe);
        let used = self.use_engine(now);
        let emitted = self.emit(now);
        probe.mark(Stage::Timers);
        self.port.submit();
        probe.mark(Stage::Transmit);
        self.port.kick();
        probe.mark(Stage::Kick);
        commanded || received > 0 || used || emitted
    }

    /// The user's part of a turn.
    fn use_engine(&mut self, now: Now) -> bool {
        if !T::ON {
            return self.user.turn(&mut self.engine, &mut self.port, now);
        }
        let mut port = Tapped { port: &mut self.port, tap: &mut self.tap, now };
        let used = self.user.turn(&mut self.engine, &mut port, now);
        self.note_failures();
        used
    }

    /// Tells of the connections that failed since the last look.
    fn note_failures(&mut self) {
        while T::ON
            && let Some(failure) = self.engine.next_failure()
        {
            self.tap.failed(&failure);
        }
    }

    /// True once the user wants nothing more.
    pub fn is_over(&self) -> bool {
        self.user.is_over()
    }

    /// The user, to be asked what came of it.
    pub fn into_user(self) -> U {
        self.user
    }

    /// Lets the engine's timers follow the time, once a tick and before anything arms one.
    fn follow(&mut self, now: Now) {
        if now.tick() != self.tick {
            self.tick = now.tick();
            self.engine.follow(now);
        }
    }

    /// Every frame of the burst gets its verdict.
    fn process_burst<Q: Probe>(&mut self, now: Now, probe: Q) {
        // Packets, index and flows come from memory that others wrote or that was not used for long: each of these loops waits
        // for many misses of the cache at once, where one loop would wait for one after another.
        for frame in self.burst.frames() {
            self.port.prefetch(frame);
        }
        for frame in self.burst.frames() {
            self.engine.stage(self.port.bytes(frame));
        }
        self.engine.prefetch();
        probe.mark(Stage::Prefetch);
        for (index, mut frame) in self.burst.drain().enumerate() {
            if T::ON {
                self.tap.received(self.port.bytes(&frame), now);
            }
            let verdict = self.engine.commit_timed(index, self.port.bytes_mut(&mut frame), now, probe);
            if T::ON {
                self.tap.judged(verdict);
            }
            match verdict {
                Verdict::Transmit { len } if T::ON => {
                    Tapped { port: &mut self.port, tap: &mut self.tap, now }.transmit(frame, len);
                }
                Verdict::Transmit { len } => self.port.transmit(frame, len),
                Verdict::Accept | Verdict::Drop(_) => self.port.recycle(frame),
            }
            while T::ON
                && let Some(failure) = self.engine.next_failure()
            {
                self.tap.failed(&failure);
            }
            probe.mark(Stage::Transmit);
        }
        self.engine.end_burst();
    }

    /// Sends what is due without a request, up to the budgets. True if any of it was done.
    fn emit(&mut self, now: Now) -> bool {
        let mut timers = TIMER_BUDGET;
        let worked = self.emit_within(now, &mut timers);
        self.note_failures();
        if timers == 0 {
            self.engine.note_timers_left(now);
        }
        worked
    }

    /// [`Worker::emit`] with what is left of the timers' budget.
    fn emit_within(&mut self, now: Now, timers: &mut u32) -> bool {
        self.starved = false;
        for emitted in 0..EMIT_BUDGET {
            if !self.engine.has_due(now) {
                return emitted > 0;
            }
            let Some(mut frame) = self.port.take_free() else {
                self.engine.expire_without_frame(now, timers);
                self.starved = true;
                return emitted > 0;
            };
            match self.engine.emit(now, timers, self.port.bytes_mut(&mut frame)) {
                Some(len) if T::ON => {
                    Tapped { port: &mut self.port, tap: &mut self.tap, now }.transmit(frame, len);
                }
                Some(len) => self.port.transmit(frame, len),
                None => {
                    self.port.recycle(frame);
                    return true;
                }
            }
        }
        self.emit_budget_exhausted += u64::from(self.engine.has_due(now));
        true
    }

    /// Does what the mailbox asks for, one command after another: a query keeps the next command waiting. True if it asked
    /// for anything.
    fn obey(&mut self, now: Now) -> bool {
        if let Some(query) = self.query.take() {
            self.continue_query(query, now);
            return true;
        }
        let Some(command) = self.mailbox.next_command() else { return false };
        match command {
            Command::Drain => self.engine.drain(),
            Command::Listeners(listeners) => {
                let old = self.engine.replace_listeners(listeners);
                self.mailbox.answer(Answer::OldListeners(old));
            }
            Command::TcpConfig(tcp) => self.engine.set_tcp_config(tcp, now),
            Command::CookieKeys(keys) => self.engine.set_cookie_keys(keys),
            Command::CookiesElsewhere(elsewhere) => self.engine.set_cookies_elsewhere(elsewhere, now),
            Command::Flows(query) => self.continue_query(query, now),
            Command::Profile(profile) => self.begin_profile(profile),
            Command::EndProfile => self.profile_ends = true,
        }
        true
    }

    /// Copies out some more flows, and answers once that was all.
    fn continue_query(&mut self, mut query: FlowQuery, now: Now) {
        if query.advance(&self.engine, now.tick()) {
            self.mailbox.answer(Answer::Flows(query));
        } else {
            self.query = Some(query);
        }
    }

    /// Sleeps until a frame arrives, a timer is due, or it is time to look after the mailbox.
    fn sleep(&mut self, now: Now) {
        self.publish(now);
        let longest = if self.port.tx_outstanding() { TX_RETRY_SLEEP } else { MAX_SLEEP };
        let until_due = match self.engine.next_due(now.tick()) {
            Some(due) if !self.starved => {
                let ticks = if now.tick().before(due) { due.millis_since(now.tick()) } else { 0 };
                Duration::from_nanos(u64::from(ticks) * NANOS_PER_TICK)
            }
            // What is due already can only wait for a frame to come back.
            _ => longest,
        };
        let until_user = self.user.next_due().map_or(longest, |due| Duration::from_nanos(due.nanos_since(now)));
        self.sleeps += 1;
        let sleep = until_due.min(until_user).min(longest);
        self.pace.sleeps(u64::try_from(sleep.as_nanos()).unwrap_or(u64::MAX));
        self.port.wait(sleep);
        if let Some(profile) = &mut self.profile {
            profile.sheet.slept();
        }
    }

    fn publish(&mut self, now: Now) {
        self.last_publication = now;
        let report = Report {
            counters: *self.engine.counters(),
            port: self.port.counters(),
            ledger: self.port.ledger(),
            kernel: self.port.kernel_statistics(),
            capture: self.tap.counters(),
            states: self.engine.states().map(u64::from),
            flows: u64::from(self.engine.flows()),
            capacity: u64::from(self.engine.capacity()),
            timers: u64::from(self.engine.timers()),
            turns: self.turns,
            sleeps: self.sleeps,
            emit_budget_exhausted: self.emit_budget_exhausted,
            busy_nanos: self.pace.busy_nanos,
            late_nanos: self.pace.late_nanos,
            late_turns: self.pace.late_turns,
            longest_gap_nanos: self.pace.longest_gap_nanos,
            published_nanos: now.0,
        };
        self.mailbox.publish(&report);
        if let Some(profile) = &mut self.profile {
            profile.sheet.published();
        }
    }

    /// The engine, to look at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The port, to look at.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// The port, for tests that play the kernel.
    pub fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }
}
