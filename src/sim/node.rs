//! What sits at the end of a link. What is here: the [`Node`] trait, [`Server`] (a whole worker over a port in memory) and
//! [`Opener`] (a bare engine in the active role, with its user). What is not here: links, time, chance beyond what a node was given.

use std::collections::VecDeque;
use std::sync::Arc;

use super::random::Random;
use super::rules::{self, Broken};
use crate::engine::{Engine, TIMER_BUDGET};
use crate::flow::FlowId;
use crate::port::memory::{Injected, MemoryPort};
use crate::port::{Burst, Port};
use crate::tcp::syn_sent::ActiveOpen;
use crate::time::{NANOS_PER_TICK, Now};
use crate::verdict::Verdict;
use crate::wire::ether::Mac;
use crate::wire::parse::{PartialChecksums, parse};
use crate::wire::segment::Control;
use crate::wire::tuple::FourTuple;
use crate::worker::clock::Clock;
use crate::worker::mailbox::Mailbox;
use crate::worker::{Idle, Worker};

/// Largest frame that an [`Opener`] writes: an MTU of 1,500 behind an Ethernet header.
const FRAME_ROOM: usize = 1_514;
/// A node with work left that it could not do looks again after this long, in nanoseconds.
const RETRY_NANOS: u64 = 50_000;
/// Turns in a row at one instant: more would be an endless loop.
const MOST_TURNS: usize = 10_000;

/// Something that takes and sends frames.
pub trait Node {
    /// What the trace calls it.
    fn name(&self) -> &'static str;

    /// Its address on the link.
    fn mac(&self) -> Mac;

    /// A frame arrives. False if there was no room for it.
    ///
    /// # Errors
    ///
    /// The rule that the node found broken.
    fn deliver(&mut self, frame: &[u8], now: Now) -> Result<bool, Broken>;

    /// Does what is to be done at `now`, and appends what it sends.
    ///
    /// # Errors
    ///
    /// The rule that the node found broken.
    fn turn(&mut self, now: Now, sent: &mut Vec<Vec<u8>>) -> Result<(), Broken>;

    /// When it wants its next turn, if no frame arrives before.
    fn next_due(&self, now: Now) -> Option<Now>;

    /// Our engine, if it is one of ours.
    fn engine(&self) -> Option<&Engine>;

    /// The links are healed and nobody disturbs any more: what is begun is to be finished.
    fn wind_down(&mut self, now: Now);

    /// Nothing is left to do.
    fn is_finished(&self) -> bool;

    /// What was begun and did not come to its end, one line each. It matters only if nobody had a reason to give up.
    fn unfinished(&self) -> Vec<String>;

    /// Bytes that its users said and heard, if they count them.
    fn exchanged(&self) -> Option<Exchanged>;
}

/// Payload bytes, seen from the users of an independent TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// What they had sent.
    pub said: u64,
    /// What they were given.
    pub heard: u64,
}

/// The virtual clock, for a worker that asks for one; [`Worker::turn`] is told the time.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock(pub Now);

impl Clock for VirtualClock {
    fn now(&mut self) -> Now {
        self.0
    }
}

/// The instant of the engine's next timer or of its waiting work.
fn engine_due(engine: &Engine, now: Now) -> Option<Now> {
    let tick = now.tick();
    engine.next_due(tick).map(|due| {
        if tick.before(due) {
            Now((now.0 / NANOS_PER_TICK + u64::from(due.millis_since(tick))) * NANOS_PER_TICK)
        } else {
            Now(now.0 + RETRY_NANOS)
        }
    })
}

/// True for a frame that is a RST to whoever parses it.
fn is_rst(frame: &[u8]) -> bool {
    parse(frame, PartialChecksums::Refuse).is_ok_and(|segment| segment.control.has(Control::RST))
}

/// Our passive side: a worker, its port, and the kernel below the port.
#[derive(Debug)]
pub struct Server {
    worker: Worker<MemoryPort, VirtualClock>,
    mac: Mac,
    random: Random,
    /// Completions come late and in parts, per mille of turns.
    slow_completions: u32,
    /// What an allocation counter says; it stands still during a turn.
    meter: fn() -> u64,
}

impl Server {
    /// A server at the address `mac` that its engine was made for. `slow_completions` is how often, per mille of turns, the
    /// kernel keeps sent frames back. `meter` counts something that a turn must not do.
    pub fn new(
        engine: Engine,
        mut port: MemoryPort,
        mac: Mac,
        random: Random,
        slow_completions: u32,
        meter: fn() -> u64,
    ) -> Self {
        // The fill ring gets its first frames.
        port.receive(&mut Burst::new());
        let worker = Worker::new(engine, port, VirtualClock(Now(0)), Arc::new(Mailbox::new()), Idle::Spin);
        Self { worker, mac, random, slow_completions, meter }
    }

    /// Turns until there is nothing more to do now.
    fn settle(&mut self, now: Now) -> Result<(), Broken> {
        for _ in 0..MOST_TURNS {
            let before = (self.meter)();
            let busy = self.worker.turn(now);
            if (self.meter)() != before {
                return Err(Broken::new("a turn allocated"));
            }
            rules::port(self.worker.port())?;
            if !busy {
                return Ok(());
            }
        }
        Err(Broken::new("the worker finds something to do for ever"))
    }
}

impl Node for Server {
    fn name(&self) -> &'static str {
        "server"
    }

    fn mac(&self) -> Mac {
        self.mac
    }

    /// A RST gets a turn of its own, so that its answer can be told from others.
    fn deliver(&mut self, frame: &[u8], now: Now) -> Result<bool, Broken> {
        let alone = is_rst(frame);
        if alone {
            self.settle(now)?;
        }
        let before = *self.worker.engine().counters();
        let received = self.worker.port_mut().inject(frame) == Injected::Received;
        if alone {
            self.settle(now)?;
            rules::rst_is_not_answered(&before, self.worker.engine().counters())?;
        }
        Ok(received)
    }

    fn turn(&mut self, now: Now, sent: &mut Vec<Vec<u8>>) -> Result<(), Broken> {
        self.settle(now)?;
        let waiting = self.worker.port().sent_waiting();
        let most = if self.random.chance(self.slow_completions) { self.random.within(0..=waiting) } else { waiting };
        self.worker.port_mut().take_sent(most, |frame| sent.push(frame.to_vec()));
        // What was taken is completed, and what waited in the port goes out.
        self.settle(now)
    }

    fn next_due(&self, now: Now) -> Option<Now> {
        let outstanding = self.worker.port().tx_outstanding().then_some(Now(now.0 + RETRY_NANOS));
        engine_due(self.worker.engine(), now).into_iter().chain(outstanding).min()
    }

    fn engine(&self) -> Option<&Engine> {
        Some(self.worker.engine())
    }

    fn wind_down(&mut self, _now: Now) {
        self.slow_completions = 0;
    }

    fn is_finished(&self) -> bool {
        let ledger = self.worker.port().ledger();
        self.worker.engine().flows() == 0 && ledger.total == ledger.fill + ledger.free
    }

    /// Whether a connection came to its end is for its peer to say; what is left here shows in the ledgers.
    fn unfinished(&self) -> Vec<String> {
        Vec::new()
    }

    fn exchanged(&self) -> Option<Exchanged> {
        None
    }
}

/// What the user of a connection does of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserCall {
    /// CLOSE.
    Close,
    /// ABORT.
    Abort,
}

/// A connection that an [`Opener`] is to open.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When.
    pub at: Now,
    /// Where to.
    pub open: ActiveOpen,
    /// What the user does, and when.
    pub user: Option<(Now, UserCall)>,
}

/// Our active side: an engine and the user who opens its connections.
#[derive(Debug)]
pub struct Opener {
    engine: Engine,
    mac: Mac,
    /// Not opened yet, earliest first.
    plans: VecDeque<Plan>,
    /// User's calls to come.
    calls: Vec<(Now, FlowId, UserCall)>,
    outbox: VecDeque<Vec<u8>>,
}

impl Opener {
    /// An opener at the address `mac` that its engine was made for.
    pub fn new(engine: Engine, mac: Mac, mut plans: Vec<Plan>) -> Self {
        plans.sort_by_key(|plan| plan.at);
        Self { engine, mac, plans: plans.into(), calls: Vec::new(), outbox: VecDeque::new() }
    }

    /// Opens what is to be opened by now.
    fn open_due(&mut self, now: Now) -> Result<(), Broken> {
        while self.plans.front().is_some_and(|plan| plan.at <= now) {
            let Some(plan) = self.plans.pop_front() else { break };
            let mut frame = vec![0; FRAME_ROOM];
            match self.engine.open(&plan.open, now, &mut frame) {
                Ok((id, len)) => {
                    self.calls.extend(plan.user.map(|(at, call)| (at, id, call)));
                    self.outbox.push_back(frame[..len].to_vec());
                }
                Err(error) => return Err(Broken::new(format!("OPEN of {:?}: {error:?}", plan.open.tuple))),
            }
        }
        Ok(())
    }

    /// Does what the user wants by now. A flow that has ended meanwhile is none of its business.
    fn call_due(&mut self, now: Now) {
        let (due, later) = self.calls.iter().copied().partition(|(at, ..)| *at <= now);
        self.calls = later;
        let due: Vec<(Now, FlowId, UserCall)> = due;
        for (_, id, call) in due {
            let mut frame = vec![0; FRAME_ROOM];
            match call {
                UserCall::Close => self.engine.close(id, now).unwrap_or_default(),
                UserCall::Abort => {
                    if let Ok(Some(len)) = self.engine.abort(id, &mut frame) {
                        self.outbox.push_back(frame[..len].to_vec());
                    }
                }
            }
        }
    }

    /// Takes what the engine has to send by itself.
    fn emit_due(&mut self, now: Now) -> Result<(), Broken> {
        for _ in 0..MOST_TURNS {
            let mut frame = vec![0; FRAME_ROOM];
            let mut budget = TIMER_BUDGET;
            match self.engine.emit(now, &mut budget, &mut frame) {
                Some(len) => self.outbox.push_back(frame[..len].to_vec()),
                None if self.engine.has_due(now) => {}
                None => return Ok(()),
            }
        }
        Err(Broken::new("the engine finds something to send for ever"))
    }

    /// The connections that are still to be opened.
    fn planned(&self) -> impl Iterator<Item = FourTuple> + '_ {
        self.plans.iter().map(|plan| plan.open.tuple)
    }
}

impl Node for Opener {
    fn name(&self) -> &'static str {
        "opener"
    }

    fn mac(&self) -> Mac {
        self.mac
    }

    fn deliver(&mut self, frame: &[u8], now: Now) -> Result<bool, Broken> {
        let before = *self.engine.counters();
        let mut room = vec![0; FRAME_ROOM.max(frame.len())];
        room[..frame.len()].copy_from_slice(frame);
        self.engine.stage(frame);
        let verdict = self.engine.commit(0, &mut room, now);
        self.engine.end_burst();
        if let Verdict::Transmit { len } = verdict {
            self.outbox.push_back(room[..len].to_vec());
        }
        if is_rst(frame) {
            rules::rst_is_not_answered(&before, self.engine.counters())?;
        }
        Ok(true)
    }

    fn turn(&mut self, now: Now, sent: &mut Vec<Vec<u8>>) -> Result<(), Broken> {
        self.open_due(now)?;
        self.call_due(now);
        self.emit_due(now)?;
        sent.extend(self.outbox.drain(..));
        Ok(())
    }

    fn next_due(&self, now: Now) -> Option<Now> {
        let plan = self.plans.front().map(|plan| plan.at);
        let call = self.calls.iter().map(|(at, ..)| *at).min();
        engine_due(&self.engine, now).into_iter().chain(plan).chain(call).min()
    }

    fn engine(&self) -> Option<&Engine> {
        Some(&self.engine)
    }

    fn wind_down(&mut self, now: Now) {
        for (at, ..) in &mut self.calls {
            *at = (*at).min(now);
        }
    }

    fn is_finished(&self) -> bool {
        self.plans.is_empty() && self.engine.flows() == 0 && self.outbox.is_empty()
    }

    fn unfinished(&self) -> Vec<String> {
        self.planned().map(|tuple| format!("never opened: {tuple:?}")).collect()
    }

    fn exchanged(&self) -> Option<Exchanged> {
        None
    }
}
