//! The world: a virtual clock, events in their order, nodes and the links between them, and the rules that are checked after
//! every step.
//!
//! A world has two ages. In the first the links have their faults and the adversary strikes. Then they heal, nobody
//! disturbs any more, and within bounded time every connection has to end, every slot to be free and every frame to be home.

use core::fmt;
use std::collections::{BTreeMap, HashSet};

use super::adversary::{self, Malice, Route};
use super::link::{Fate, Faults, Link};
use super::node::Node;
use super::random::Random;
use super::rules::{self, Broken};
use super::trace::{Trace, What};
use super::witness::Witness;
use crate::engine::snapshot::FlowSnapshot;
use crate::stats::counters::Counters;
use crate::time::Now;
use crate::wire::ether::Mac;
use crate::wire::tuple::{Addr, FourTuple};

/// Steps of one run at most; a run that needs more does not come to an end.
const MOST_STEPS: u64 = 1_000_000;
/// The address of nobody.
const NOBODY: Mac = [2, 0, 0, 0, 0, 0xee];

/// What a world is made from, beside its nodes.
#[derive(Clone, Debug)]
pub struct Order {
    /// Everything that the world itself draws comes from it.
    pub random: Random,
    /// How the links behave in the first age.
    pub faults: Faults,
    /// When the second age begins.
    pub heals_at: Now,
    /// How long the second age may last, in nanoseconds.
    pub patience_ns: u64,
    /// What the adversary does in the first age.
    pub malice: Malice,
    /// Time between two strikes at most, in nanoseconds.
    pub strike_every_ns: u64,
    /// The receive window of our engines at most, in bytes.
    pub window: u32,
    /// Port for SYNs from nowhere.
    pub flood_port: u16,
    /// A server of ours answers SYNs with cookies.
    pub cookies: bool,
}

/// A node with what belongs to it.
struct Seat {
    node: Box<dyn Node>,
    addrs: Vec<Addr>,
    /// For our own engines.
    witness: Option<Witness>,
    capacity: u32,
    /// When it wants its next turn: at once after something arrived, else what it said after its last one.
    due: Option<Now>,
}

/// A frame on its way.
struct Arrival {
    to: usize,
    frame: Vec<u8>,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Hash over all events: the same for the same seed.
    pub hash: u64,
    /// Steps.
    pub steps: u64,
    /// Events in the trace.
    pub events: u64,
    /// How long the run lasted on the virtual clock.
    pub lasted: Now,
    /// The counters of all our engines.
    pub counters: Counters,
    /// Nobody gave anything up and nobody forged: every conversation came to its end with all its bytes.
    pub complete: bool,
    /// The last events, one a line.
    pub tail: String,
}

/// A rule that was broken, and how it came to that.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The rule.
    pub broken: Broken,
    /// In which step.
    pub step: u64,
    /// When.
    pub at: Now,
    /// The last events, one a line.
    pub tail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.at.0 / 1_000_000;
        write!(f, "step {} at {millis} ms: {}\nthe last events:\n{}", self.step, self.broken, self.tail)
    }
}

/// The world.
pub struct World {
    order: Order,
    seats: Vec<Seat>,
    links: BTreeMap<(usize, usize), Link>,
    arrivals: BTreeMap<(Now, u64), Arrival>,
    serial: u64,
    now: Now,
    healed: bool,
    next_strike: Option<Now>,
    /// Connections that a wild forgery was for, as both ends name them.
    forged: HashSet<FourTuple>,
    /// A frame did not arrive as it was sent, or arrived twice.
    harmed: bool,
    trace: Trace,
    steps: u64,
}

impl World {
    /// A world without nodes, at time `now`.
    pub fn new(order: Order, now: Now) -> Self {
        let next_strike = (order.malice != Malice::Absent).then_some(now);
        Self {
            order,
            seats: Vec::new(),
            links: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            serial: 0,
            now,
            healed: false,
            next_strike,
            forged: HashSet::new(),
            harmed: false,
            trace: Trace::default(),
            steps: 0,
        }
    }

    /// Puts a node into the world, at the addresses `addrs`.
    pub fn seat(&mut self, node: Box<dyn Node>, addrs: &[Addr]) {
        let (witness, capacity) =
            node.engine().map(|engine| (Witness::new(self.order.cookies), engine.capacity())).unzip();
        let capacity = capacity.unwrap_or(0);
        self.seats.push(Seat { node, addrs: addrs.to_vec(), witness, capacity, due: Some(self.now) });
    }

    /// Lets the world go on to its end.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn run(mut self) -> Result<Summary, Box<Failure>> {
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return Ok(self.summary()),
                Err(broken) => {
                    let (step, at, tail) = (self.steps, self.now, self.trace.tail());
                    return Err(Box::new(Failure { broken, step, at, tail }));
                }
            }
        }
    }

    /// One instant: what arrives, what is forged, what the nodes make of it. False if everything has come to its end.
    fn step(&mut self) -> Result<bool, Broken> {
        self.steps += 1;
        self.now = self.now.max(self.next_instant());
        if !self.healed && self.now >= self.order.heals_at {
            self.heal();
        }
        self.check_patience()?;
        while let Some(entry) = self.arrivals.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let Arrival { to, frame } = entry.remove();
            self.deliver(to, &frame)?;
        }
        if self.next_strike.is_some_and(|at| at <= self.now) {
            self.strike()?;
        }
        for seat in 0..self.seats.len() {
            self.turn(seat)?;
        }
        self.check()?;
        if self.healed && self.arrivals.is_empty() && self.seats.iter().all(|seat| seat.node.is_finished()) {
            return self.judge().map(|()| false);
        }
        Ok(true)
    }

    /// When something happens next.
    fn next_instant(&self) -> Now {
        let arrival = self.arrivals.keys().next().map(|(at, _)| *at);
        let due = self.seats.iter().filter_map(|seat| seat.due).min();
        let heal = (!self.healed).then_some(self.order.heals_at);
        let next = [arrival, due, heal, self.next_strike].into_iter().flatten().min();
        // With nothing left to happen only the end of patience is left.
        next.unwrap_or(Now(self.order.heals_at.0 + self.order.patience_ns + 1))
    }

    fn heal(&mut self) {
        self.healed = true;
        self.next_strike = None;
        self.links.values_mut().for_each(Link::heal);
        for seat in &mut self.seats {
            seat.node.wind_down(self.now);
            seat.due = Some(self.now);
        }
    }

    /// Nothing may go on for ever.
    fn check_patience(&self) -> Result<(), Broken> {
        if self.steps < MOST_STEPS && self.now.0 <= self.order.heals_at.0 + self.order.patience_ns {
            return Ok(());
        }
        let mut left = String::new();
        for seat in &self.seats {
            left += &format!("\n  {}: finished: {}", seat.node.name(), seat.node.is_finished());
            let flows = seat.node.engine().map(|engine| rules::flows(engine, self.now)).unwrap_or_default();
            flows.iter().for_each(|flow| left += &format!("\n    {flow:?}"));
            seat.node.unfinished().iter().for_each(|line| left += &format!("\n    {line}"));
        }
        Err(Broken::new(format!("it does not come to an end:{left}")))
    }

    fn deliver(&mut self, to: usize, frame: &[u8]) -> Result<(), Broken> {
        let seat = &mut self.seats[to];
        let taken = seat.node.deliver(frame, self.now)?;
        seat.due = Some(self.now);
        let what = if taken { What::Delivered } else { What::Refused };
        self.harmed |= !taken;
        if let Some(witness) = seat.witness.as_mut().filter(|_| taken) {
            witness.delivered(frame);
        }
        self.trace.add(self.now, seat.node.name(), what, frame);
        Ok(())
    }

    /// A turn for the node, if it has a reason; what it sends goes onto the links.
    fn turn(&mut self, from: usize) -> Result<(), Broken> {
        let seat = &mut self.seats[from];
        if seat.due.is_none_or(|at| at > self.now) {
            return Ok(());
        }
        let mut sent = Vec::new();
        let turned = seat.node.turn(self.now, &mut sent);
        seat.due = seat.node.next_due(self.now);
        let turned = turned.or_else(|broken| self.excuse(broken));
        for frame in sent {
            self.send(from, frame)?;
        }
        turned
    }

    /// A stream that a forger was at work on may say anything.
    fn excuse(&self, broken: Broken) -> Result<(), Broken> {
        match &broken.stream_of {
            Some(tuple) if self.forged.contains(tuple) => Ok(()),
            _ => Err(broken),
        }
    }

    fn send(&mut self, from: usize, frame: Vec<u8>) -> Result<(), Broken> {
        let name = self.seats[from].node.name();
        if let Some(witness) = &mut self.seats[from].witness {
            let legal = witness.sent(&frame);
            if legal.is_err() {
                self.trace.add(self.now, name, What::Sent(Fate::Whole), &frame);
            }
            legal?;
        }
        let Some(to) = self.seats.iter().position(|seat| frame.starts_with(&seat.node.mac())) else {
            self.trace.add(self.now, name, What::Sent(Fate::Lost), &frame);
            return Ok(());
        };
        let faults = if self.healed { Faults::none(self.order.faults.delay_ns) } else { self.order.faults };
        let link = self.links.entry((from, to)).or_insert_with(|| Link::new(faults));
        link.carry(frame, self.now, &mut self.order.random, |at, frame, fate| {
            self.trace.add(self.now, name, What::Sent(fate), &frame);
            self.harmed |= fate != Fate::Whole;
            if fate != Fate::Lost {
                self.serial += 1;
                self.arrivals.insert((at, self.serial), Arrival { to, frame });
            }
        });
        Ok(())
    }

    /// The adversary's turn.
    fn strike(&mut self) -> Result<(), Broken> {
        let wait = self.order.random.within(1..=self.order.strike_every_ns);
        self.next_strike = Some(Now(self.now.0 + wait));
        let victims: Vec<usize> = (0..self.seats.len()).filter(|i| self.seats[*i].node.engine().is_some()).collect();
        let victim = self.order.random.pick(&victims);
        // What waits there goes first, so that the forgery meets the state that it is made for.
        self.seats[victim].due = Some(self.now);
        self.turn(victim)?;
        let mut flows = self.flows_of(victim);
        let wild = self.order.malice == Malice::Wild;
        flows.retain(|flow| wild || adversary::has_harmless(flow.state));
        if wild && (flows.is_empty() || self.order.random.chance(150)) {
            return self.strike_from_nowhere(victim);
        }
        let Some(last) = flows.len().checked_sub(1) else { return Ok(()) };
        let before = flows[self.order.random.within(0..=last)];
        let peer = self.mac_of(&before.tuple.remote_addr);
        let route = Route { victim: self.seats[victim].node.mac(), peer };
        let forge = if wild { adversary::wild } else { adversary::harmless };
        let frame = forge(&before, self.order.window, route, &mut self.order.random);
        if wild {
            self.forged.extend([before.tuple, before.tuple.reversed()]);
        }
        self.put(victim, &frame)?;
        if wild { Ok(()) } else { self.check_harmless(victim, &before) }
    }

    /// SYNs of nobody, and noise.
    fn strike_from_nowhere(&mut self, victim: usize) -> Result<(), Broken> {
        let random = &mut self.order.random;
        let route = Route { victim: self.seats[victim].node.mac(), peer: NOBODY };
        let frame = if random.chance(800) {
            let local = random.pick(&self.seats[victim].addrs);
            adversary::stray_syn(local, self.order.flood_port, route, random)
        } else {
            let len = random.within(0..=200_usize);
            let mut noise = random.bytes(len);
            let mac = &route.victim[..noise.len().min(6)];
            noise[..mac.len()].copy_from_slice(mac);
            noise
        };
        self.put(victim, &frame)
    }

    /// Puts a forged frame before the victim and lets it answer.
    fn put(&mut self, victim: usize, frame: &[u8]) -> Result<(), Broken> {
        let seat = &mut self.seats[victim];
        self.trace.add(self.now, seat.node.name(), What::Forged, frame);
        let taken = seat.node.deliver(frame, self.now)?;
        if let Some(witness) = seat.witness.as_mut().filter(|_| taken) {
            witness.delivered(frame);
        }
        seat.due = Some(self.now);
        self.turn(victim)
    }

    fn check_harmless(&self, victim: usize, before: &FlowSnapshot) -> Result<(), Broken> {
        let essence = |flow: &FlowSnapshot| (flow.tuple, flow.state, flow.snd_una, flow.rcv_nxt);
        let after = self.flows_of(victim).into_iter().find(|flow| flow.tuple == before.tuple);
        if after.as_ref().map(essence) == Some(essence(before)) {
            return Ok(());
        }
        Err(Broken::new(format!("a forged segment that must change nothing changed {before:?} to {after:?}")))
    }

    fn flows_of(&self, seat: usize) -> Vec<FlowSnapshot> {
        self.seats[seat].node.engine().map(|engine| rules::flows(engine, self.now)).unwrap_or_default()
    }

    fn mac_of(&self, addr: &Addr) -> Mac {
        self.seats.iter().find(|seat| seat.addrs.contains(addr)).map_or(NOBODY, |seat| seat.node.mac())
    }

    /// The rules that hold after every step.
    fn check(&self) -> Result<(), Broken> {
        for seat in &self.seats {
            if let Some(engine) = seat.node.engine() {
                rules::engine(engine, seat.capacity, self.now)?;
            }
        }
        Ok(())
    }

    /// The end: what was begun is complete, unless somebody had a reason to give up.
    fn judge(&self) -> Result<(), Broken> {
        if !self.is_undisturbed() {
            return Ok(());
        }
        let unfinished: Vec<String> = self.seats.iter().flat_map(|seat| seat.node.unfinished()).collect();
        if !unfinished.is_empty() {
            return Err(Broken::new(format!("nobody gave up, and yet: {}", unfinished.join("; "))));
        }
        let Some(users) = self.seats.iter().find_map(|seat| seat.node.exchanged()) else { return Ok(()) };
        let Counters { bytes_received, bytes_sent, .. } = self.counters();
        if (bytes_received, bytes_sent) == (users.said, users.heard) {
            return Ok(());
        }
        Err(Broken::new(format!("{users:?} by the users, but {bytes_received} bytes received and {bytes_sent} sent")))
    }

    /// With cookies a lost acknowledgment leaves one end alone with a connection that the other never had.
    fn is_undisturbed(&self) -> bool {
        let kept = !self.order.cookies || !self.harmed;
        self.order.malice != Malice::Wild && rules::given_up(&self.counters()) == 0 && kept
    }

    fn counters(&self) -> Counters {
        let mut sum = Counters::new();
        self.seats.iter().filter_map(|seat| seat.node.engine()).for_each(|engine| sum.add(engine.counters()));
        sum
    }

    fn summary(&self) -> Summary {
        Summary {
            hash: self.trace.hash(),
            steps: self.steps,
            events: self.trace.events(),
            lasted: self.now,
            counters: self.counters(),
            complete: self.is_undisturbed(),
            tail: self.trace.tail(),
        }
    }
}
