//! What the engine is measured in: a worker over a [`MemoryPort`], and a population of peers that take connections through their
//! lives, one segment at a time and in an order that is asked for.
//!
//! Only [`Worker::turn`] is timed: frames in from the RX ring, parsed, looked up, processed, answered, handed to the TX ring, timers
//! and completions. What the peers do (writing their frames, reading the answers) is not. The packets of a burst are in the cache
//! when the turn begins, as a NIC that writes into the cache (DDIO) would leave them.
//!
//! A connection's life is four segments in (SYN, ACK, FIN, ACK) and two out. It is the shortest life there is, and all of it is
//! handshake and teardown, which is what handfast is for.
#![allow(dead_code, reason = "each benchmark that takes this file in uses a part of it")]

#[path = "../../tests/common/peers.rs"]
mod peers;
pub mod samples;
pub mod smol;

use handfast::engine::listeners::{Endpoint, Listener, Listeners};
use handfast::engine::{Engine, EngineConfig, Secrets};
use handfast::port::BURST_FRAMES;
use handfast::port::memory::{Injected, MemoryConfig, MemoryPort};
use handfast::service::{AnyService, Discard};
use handfast::tcp::config::TcpConfig;
use handfast::time::Now;
use handfast::wire::ether::VlanTags;
use handfast::wire::options::Options;
use handfast::wire::parse::PartialChecksums;
use handfast::wire::reply::{Addressing, Reply, write};
use handfast::wire::segment::Control;
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::{Addr, FourTuple};
use handfast::worker::mailbox::Mailbox;
use handfast::worker::{Idle, Worker};
pub use peers::{GivenTime, PEER_MAC, Random, WORKER_MAC};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ports that a peer's address is used with.
const PORTS: u32 = 50_000;
const FIRST_PORT: u16 = 1_024;
/// Virtual time of a turn: what a burst takes at 40 million segments a second.
const TURN_NANOS: u64 = 1_600;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn peer(self, host: u32) -> Addr {
        let [a, b, c, d] = host.to_be_bytes();
        match self {
            Self::V4 => Addr::v4([10, b, c, d]),
            Self::V6 => Addr([0x20, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, a, b, c, d]),
        }
    }

    fn worker(self) -> Addr {
        match self {
            Self::V4 => Addr::v4([198, 18, 0, 1]),
            Self::V6 => Addr([0x20, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        }
    }

    /// Where the TCP header of a frame without tags starts.
    fn tcp_at(self) -> usize {
        match self {
            Self::V4 => 14 + 20,
            Self::V6 => 14 + 40,
        }
    }
}

/// Whose segment comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The same few connections over and over: all that they touch stays in the cache.
    Hot,
    /// Any of all connections: nothing that one touches is in the cache unless all of it is.
    Random,
}

/// What a population is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Room in the flow table.
    pub flows: u32,
    /// Of that, how many flows are taken on average, as a share.
    pub load: f64,
    /// Whose segment comes next.
    pub order: Order,
    /// Addresses of all.
    pub family: Family,
    /// How many ports are listened at; the connections spread over them.
    pub listeners: u16,
    /// One of so many of the peers' segments is lost on the way (0: none).
    pub lose_one_of: u32,
    /// The peers offer all options: timestamps in every segment.
    pub options: bool,
    /// Segments in a burst, at most 64.
    pub burst: u32,
}

impl Setup {
    /// A population that fills a table of `flows` almost to the end, without loss.
    pub fn new(flows: u32, order: Order) -> Self {
        Self { flows, load: 0.98, order, family: Family::V4, listeners: 1, lose_one_of: 0, options: false, burst: 64 }
    }
}

/// What a peer says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Syn,
    Ack,
    Fin,
    LastAck,
}

impl Phase {
    fn control(self) -> Control {
        match self {
            Self::Syn => Control::SYN,
            Self::Ack | Self::LastAck => Control::ACK,
            Self::Fin => Control::FIN | Control::ACK,
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Syn => Self::Ack,
            Self::Ack => Self::Fin,
            Self::Fin => Self::LastAck,
            Self::LastAck => Self::Syn,
        }
    }
}

/// One connection, from the peer's side.
#[derive(Clone, Copy, Debug)]
struct Peer {
    phase: Phase,
    /// The worker's initial sequence number.
    irs: u32,
    /// The worker's last timestamp.
    tsval: u32,
    /// The burst that last had a segment of it: at most one a burst, as the next depends on the answer.
    last_burst: u32,
}

/// Many peers and the worker that they talk to.
pub struct Population {
    /// The worker.
    pub worker: Worker<MemoryPort, GivenTime>,
    setup: Setup,
    peers: Vec<Peer>,
    /// The peers in the order in which [`Order::Hot`] takes them: the next to speak, as a place in a window of peers.
    hot: u32,
    random: Random,
    now: Now,
    bursts: u32,
    frame: [u8; 128],
    stopwatch: Stopwatch,
    /// Segments that the worker was given.
    pub segments: u64,
    /// Connections that came to their end.
    pub completed: u64,
    /// Frames that the worker sent.
    pub answers: u64,
}

impl Population {
    /// A population in its steady state: each connection somewhere in its life.
    pub fn new(setup: &Setup) -> Self {
        let now = Now::from_millis(1_000_000);
        let engine = engine(setup, now);
        let port =
            MemoryPort::new(&MemoryConfig { frames: 256, fill_ring: 128, rx_ring: 128, ..MemoryConfig::default() });
        let mut worker = Worker::new(engine, port, GivenTime(now), Arc::new(Mailbox::new()), Idle::Spin);
        worker.turn(now);
        // Three of the four phases have a flow.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a u32, and a third more"
        )]
        let count = (f64::from(setup.flows) * setup.load * 4.0 / 3.0) as u32;
        let peers = vec![Peer { phase: Phase::Syn, irs: 0, tsval: 0, last_burst: 0 }; count.max(setup.burst) as usize];
        let mut population = Self {
            worker,
            setup: setup.clone(),
            peers,
            hot: 0,
            random: Random::new(7),
            now,
            bursts: 0,
            frame: [0; 128],
            stopwatch: Stopwatch::new(),
            segments: 0,
            completed: 0,
            answers: 0,
        };
        population.spread();
        population
    }

    /// Takes each peer a random part of the way, in a random order.
    fn spread(&mut self) {
        let mut order: Vec<u32> = (0..u32::try_from(self.peers.len()).expect("a u32's worth of peers")).collect();
        for last in (1..order.len()).rev() {
            let other = self.random.below(u32::try_from(last + 1).expect("a u32's worth of peers"));
            order.swap(last, other as usize);
        }
        for pass in 1..4 {
            for chosen in order.chunks(BURST_FRAMES) {
                self.bursts += 1;
                for peer in chosen {
                    if peer % 4 >= pass {
                        self.speak(*peer);
                    }
                }
                self.worker.turn(self.now);
                self.hear();
            }
        }
    }

    /// `bursts` full bursts. Returns the time that the worker took for them.
    pub fn run(&mut self, bursts: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..bursts {
            self.bursts += 1;
            for _ in 0..self.setup.burst {
                let peer = self.choose();
                self.speak(peer);
            }
            took += self.turn();
        }
        took
    }

    /// A peer that has said nothing in this burst.
    fn choose(&mut self) -> u32 {
        match self.setup.order {
            Order::Hot => {
                // As many connections as a burst has segments speak in turn.
                self.hot = (self.hot + 1) % self.setup.burst;
                self.hot
            }
            Order::Random => loop {
                let peer = self.random.below(u32::try_from(self.peers.len()).expect("a u32's worth of peers"));
                if self.peers[peer as usize].last_burst != self.bursts {
                    return peer;
                }
            },
        }
    }

    /// The peer's next segment goes out, and may be lost: then it will say it again.
    fn speak(&mut self, number: u32) {
        let peer = self.peers[number as usize];
        self.peers[number as usize].last_burst = self.bursts;
        if self.setup.lose_one_of > 0 && self.random.below(self.setup.lose_one_of) == 0 {
            return;
        }
        let listener = u16::try_from(number % u32::from(self.setup.listeners)).expect("less than 2^16");
        let options = self.options(&peer);
        let family = self.setup.family;
        let len = Self::write(&mut self.frame, number, &peer, family, FIRST_LISTENER + listener, options);
        let injected = self.worker.port_mut().inject(&self.frame[..len.max(60)]);
        assert_eq!(injected, Injected::Received, "a burst finds room");
        self.segments += 1;
        self.completed += u64::from(peer.phase == Phase::LastAck);
        self.peers[number as usize].phase = peer.phase.next();
    }

    /// Writes what peer `number` says next to the worker's `port`.
    fn write(frame: &mut [u8], number: u32, peer: &Peer, family: Family, port: u16, options: Options) -> usize {
        let tuple = FourTuple {
            local_addr: family.peer(number / PORTS),
            remote_addr: family.worker(),
            local_port: u16::try_from(number % PORTS).expect("less than 2^16") + FIRST_PORT,
            remote_port: port,
        };
        let iss = SeqNum(number.wrapping_mul(0x9e37_79b9));
        let (seq, ack) = match peer.phase {
            Phase::Syn => (iss, SeqNum(0)),
            Phase::Ack | Phase::Fin => (iss + 1, SeqNum(peer.irs) + 1),
            Phase::LastAck => (iss + 2, SeqNum(peer.irs) + 2),
        };
        let reply = Reply { seq, ack, control: peer.phase.control(), window: 16_000, options, ..Reply::default() };
        let to = Addressing { dst_mac: WORKER_MAC, src_mac: PEER_MAC, tags: VlanTags::default(), tuple };
        write(frame, &to, &reply, |_| {})
    }

    fn options(&self, peer: &Peer) -> Options {
        let timestamps = Some((self.now.tick().0, peer.tsval)).filter(|_| self.setup.options);
        match peer.phase {
            Phase::Syn if self.setup.options => {
                Options { mss: Some(1_460), window_scale: Some(7), sack_permitted: true, timestamps }
            }
            Phase::Syn => Options { mss: Some(1_460), ..Options::default() },
            Phase::Ack | Phase::Fin | Phase::LastAck => Options { timestamps, ..Options::default() },
        }
    }

    /// One turn of the worker, timed, and the peers' hearing of what it said.
    fn turn(&mut self) -> Duration {
        self.now = Now(self.now.0 + TURN_NANOS);
        let (worker, now) = (&mut self.worker, self.now);
        let took = self.stopwatch.time(|| worker.turn(now));
        self.hear();
        took
    }

    /// The peers hear what the worker said.
    fn hear(&mut self) {
        let family = self.setup.family;
        let peers = &mut self.peers;
        let taken = self.worker.port_mut().take_sent(usize::MAX, |frame| hear(peers, family, frame));
        self.answers += taken as u64;
    }
}

/// Measures times of some tens of nanoseconds: what reading the clock takes is taken off.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    own: Duration,
}

impl Stopwatch {
    /// A watch that knows its own time: the median of many readings.
    pub fn new() -> Self {
        let mut readings: Vec<Duration> = (0..10_001).map(|_| Instant::now().elapsed()).collect();
        readings.sort_unstable();
        Self { own: readings[readings.len() / 2] }
    }

    /// The time that `work` takes.
    pub fn time<R>(self, work: impl FnOnce() -> R) -> Duration {
        let began = Instant::now();
        black_box(measured(work));
        began.elapsed().saturating_sub(self.own)
    }
}

/// Calls `work`. Its own name is what the benchmark of instructions tells its work from everything else by.
#[inline(never)]
pub fn measured<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// The first port that is listened at.
const FIRST_LISTENER: u16 = 80;

/// A peer keeps what it needs of a SYN-ACK.
fn hear(peers: &mut [Peer], family: Family, frame: &[u8]) {
    let tcp_at = family.tcp_at();
    let tcp = &frame[tcp_at..];
    let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    let host = match family {
        Family::V4 => u32::from_be_bytes([0, frame[31], frame[32], frame[33]]),
        Family::V6 => u32::from_be_bytes([frame[50], frame[51], frame[52], frame[53]]),
    };
    let port = u32::from(u16::from_be_bytes([tcp[2], tcp[3]]) - FIRST_PORT);
    let peer = &mut peers[(host * PORTS + port) as usize];
    if Control(tcp[13]).has(Control::SYN) {
        peer.irs = word(4);
        if tcp.len() >= 36 {
            peer.tsval = word(28);
        }
    }
}

/// The engine of a population.
pub fn engine(setup: &Setup, now: Now) -> Engine {
    let config = EngineConfig {
        tcp: TcpConfig { half_open_limit: u32::MAX, ..TcpConfig::default() },
        flows: setup.flows,
        burst: BURST_FRAMES,
        mac: WORKER_MAC,
        partial_checksums: PartialChecksums::Accept,
        events: 0,
    };
    let secrets = Secrets { flow_hash: [1, 2], isn: [3; 16], timestamp_offset: 4 };
    let listeners = (0..setup.listeners)
        .map(|number| Listener {
            endpoint: Endpoint { addr: None, port: FIRST_LISTENER + number },
            service: AnyService::Discard(Discard),
            open: true,
        })
        .collect();
    Engine::new(config, &secrets, Listeners::new(listeners), now)
}
