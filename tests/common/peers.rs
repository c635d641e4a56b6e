//! A worker over a [`MemoryPort`] and the peers at the other end of its cable, in virtual time. Peers behave as their
//! [`Conduct`] says, well or badly, so that a few hundred of them take a worker through every part of a connection's life.
//!
//! They are no second TCP: they do not retransmit, and believe what they hear. What is said to whom is judged elsewhere (the
//! packet scripts); here it only has to happen.
#![allow(dead_code, reason = "each test program that takes this file in uses a part of it")]

use handfast::engine::listeners::{Endpoint, Listener, Listeners};
use handfast::engine::{Engine, EngineConfig, Secrets};
use handfast::port::BURST_FRAMES;
use handfast::port::memory::{Injected, MemoryConfig, MemoryPort};
use handfast::service::{AnyService, Close, Discard, Http};
use handfast::tcp::config::TcpConfig;
use handfast::time::Now;
use handfast::wire::ether::VlanTags;
use handfast::wire::options::Options;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::reply::{Addressing, Reply, StreamPiece, write};
use handfast::wire::segment::{Control, Segment};
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;
use handfast::worker::capture::{Tap, Untapped};
use handfast::worker::clock::Clock;
use handfast::worker::mailbox::Mailbox;
use handfast::worker::user::Nobody;
use handfast::worker::{Idle, Worker};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// The worker's MAC address.
pub const WORKER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The peers' MAC address.
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Ports with an http, a discard and a close service.
pub const HTTP: u16 = 80;
/// See [`HTTP`].
pub const DISCARD: u16 = 81;
/// See [`HTTP`].
pub const CLOSE: u16 = 82;
/// Length of the http service's body: some segments.
pub const BODY_LEN: usize = 20_000;
/// Longest frame of a peer.
const FRAME_ROOM: usize = 1522;

/// Segments that a peer hears before it falls silent: one whose own words were lost would answer keepalive probes for ever.
const PATIENCE: u32 = 100;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
const UPLOAD: &[u8] = &[b'u'; 1000];

/// How a peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Asks for the http response and closes when the service has.
    Asks,
    /// Sends to discard and closes first.
    Uploads,
    /// Lets the close service close first, then closes.
    IsClosed,
    /// Does not answer the SYN-ACK.
    VanishesHalfOpen,
    /// Asks, and acknowledges nothing of the answer.
    VanishesOpen,
    /// Asks, and loses the first data segment once: what follows it brings duplicate ACKs.
    LosesOne,
    /// Acknowledges the close service's FIN and never closes.
    NeverCloses,
    /// Asks, and resets: first beside the right sequence number, then at it.
    Resets,
    /// Asks, and closes its window for a while when the first data comes.
    ShutsWindow,
    /// Opens, and then says nothing, and answers few keepalive probes.
    Idles,
}

impl Conduct {
    /// All of them.
    pub const ALL: [Conduct; 10] = [
        Conduct::Asks,
        Conduct::Uploads,
        Conduct::IsClosed,
        Conduct::VanishesHalfOpen,
        Conduct::VanishesOpen,
        Conduct::LosesOne,
        Conduct::NeverCloses,
        Conduct::Resets,
        Conduct::ShutsWindow,
        Conduct::Idles,
    ];

    fn port(self) -> u16 {
        match self {
            Conduct::Uploads | Conduct::Idles => DISCARD,
            Conduct::IsClosed | Conduct::NeverCloses => CLOSE,
            Conduct::Asks
            | Conduct::VanishesHalfOpen
            | Conduct::VanishesOpen
            | Conduct::LosesOne
            | Conduct::Resets
            | Conduct::ShutsWindow => HTTP,
        }
    }

    /// What it says as soon as the connection is open.
    fn opening(self) -> &'static [u8] {
        match self {
            Conduct::Uploads => UPLOAD,
            Conduct::IsClosed | Conduct::NeverCloses | Conduct::VanishesHalfOpen | Conduct::Idles => &[],
            Conduct::Asks | Conduct::VanishesOpen | Conduct::LosesOne | Conduct::Resets | Conduct::ShutsWindow => {
                REQUEST
            }
        }
    }
}

/// One peer.
#[derive(Debug)]
struct Peer {
    conduct: Conduct,
    /// Both ends, the peer's as local.
    tuple: FourTuple,
    snd_nxt: SeqNum,
    rcv_nxt: SeqNum,
    is_open: bool,
    has_closed: bool,
    /// Segments heard since it was open.
    heard: u32,
}

/// What a peer says next: control bits, window, payload.
type Saying = (Control, u16, &'static [u8]);

impl Peer {
    fn new(number: u32, conduct: Conduct) -> Self {
        let host = 2 + number / 50_000;
        let port = 1024 + number % 50_000;
        let addr = |text: String| -> SocketAddr { text.parse().expect("an address") };
        let tuple =
            FourTuple::new(addr(format!("198.18.0.{host}:{port}")), addr(format!("198.18.0.1:{}", conduct.port())));
        Self {
            conduct,
            tuple,
            snd_nxt: SeqNum(number.wrapping_mul(0x9e37_79b9)),
            rcv_nxt: SeqNum(0),
            is_open: false,
            has_closed: false,
            heard: 0,
        }
    }

    /// Writes a frame and counts what it takes of the sequence space.
    fn say(&mut self, (control, window, payload): Saying) -> Vec<u8> {
        let options = if control.has(Control::SYN) {
            Options { mss: Some(1460), window_scale: Some(2), sack_permitted: true, ..Options::default() }
        } else {
            Options::default()
        };
        let frame = frame(&self.tuple, self.snd_nxt, self.rcv_nxt, control, window, options, payload);
        let len = u32::try_from(payload.len()).expect("a short payload");
        let numbers = u32::from(control.has(Control::SYN)) + u32::from(control.has(Control::FIN));
        self.snd_nxt = self.snd_nxt + len + numbers;
        frame
    }

    /// Takes in a segment and answers.
    fn hear(&mut self, segment: &Segment) -> Option<Saying> {
        let ack = |peer: &Self| Some((Control::ACK, peer.window(), &[] as &[u8]));
        if segment.control.has(Control::RST) || self.conduct == Conduct::VanishesHalfOpen {
            return None;
        }
        if segment.control.has(Control::SYN) {
            if self.is_open {
                return ack(self);
            }
            self.is_open = true;
            self.rcv_nxt = segment.seq + 1;
            let fin = if self.conduct == Conduct::Uploads { Control::FIN } else { Control::default() };
            self.has_closed = fin == Control::FIN;
            return Some((Control::ACK | fin, self.window(), self.conduct.opening()));
        }
        self.heard += 1;
        if self.heard > PATIENCE {
            return None;
        }
        let first_data = segment.payload_len > 0 && self.heard <= 1;
        match self.conduct {
            Conduct::VanishesOpen => return None,
            Conduct::Resets => {
                self.snd_nxt = if self.heard == 1 { self.snd_nxt + 1 } else { self.snd_nxt.minus(1) };
                return (self.heard <= 2).then_some((Control::RST, 0, &[]));
            }
            Conduct::LosesOne if first_data => return None,
            Conduct::Idles if self.heard > 3 => return None,
            _ => {}
        }
        if segment.seq == self.rcv_nxt && self.window() > 0 {
            self.rcv_nxt = self.rcv_nxt + segment.len();
            if segment.control.has(Control::FIN) && self.conduct != Conduct::NeverCloses && !self.has_closed {
                self.has_closed = true;
                return Some((Control::ACK | Control::FIN, self.window(), &[]));
            }
        } else if segment.is_empty() && segment.seq == self.rcv_nxt {
            return None;
        }
        ack(self)
    }

    fn window(&self) -> u16 {
        if self.conduct == Conduct::ShutsWindow && (1..16).contains(&self.heard) { 0 } else { 16_000 }
    }
}

/// A frame of a peer, whose end is the tuple's local one.
pub fn frame(
    tuple: &FourTuple,
    seq: SeqNum,
    ack: SeqNum,
    control: Control,
    window: u16,
    options: Options,
    payload: &[u8],
) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a short payload");
    let reply = Reply { seq, ack, control, window, options, payload: StreamPiece { from_una: 0, len } };
    let to = Addressing { dst_mac: WORKER_MAC, src_mac: PEER_MAC, tags: VlanTags::default(), tuple: *tuple };
    let mut frame = vec![0; FRAME_ROOM];
    let len = write(&mut frame, &to, &reply, |out| out.copy_from_slice(payload));
    frame.truncate(len);
    frame
}

/// Numbers that look random and follow from a seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = u32::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).expect("32 bits");
        high % bound
    }
}

/// A clock for a worker whose turns are given their time.
#[derive(Clone, Copy, Debug)]
pub struct GivenTime(pub Now);

impl Clock for GivenTime {
    fn now(&mut self) -> Now {
        self.0
    }
}

/// What a worker is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its port.
    pub port: MemoryConfig,
    /// Its flows.
    pub flows: u32,
    /// Its TCP.
    pub tcp: TcpConfig,
}

impl Default for Setup {
    /// A worker of ordinary size whose TCP gives up soon.
    fn default() -> Self {
        Self { port: MemoryConfig::default(), flows: 1024, tcp: hasty() }
    }
}

/// A TCP that gives up soon, so that a test comes to every end.
pub fn hasty() -> TcpConfig {
    TcpConfig {
        rto_initial_ms: 200,
        rto_min_ms: 50,
        rto_max_ms: 2_000,
        syn_retries: 3,
        half_open_timeout_ms: 2_500,
        data_retries: 4,
        time_wait_ms: 700,
        fin_wait_2_ms: 600,
        idle_timeout_ms: 4_000,
        keepalive_idle_ms: 500,
        keepalive_interval_ms: 300,
        keepalive_probes: 3,
        ..TcpConfig::default()
    }
}

/// The listeners at [`HTTP`], [`DISCARD`] and [`CLOSE`].
pub fn listeners() -> Vec<Listener> {
    let http = Http::new(&[b'x'; BODY_LEN], "text/plain").expect("a small body");
    [(HTTP, AnyService::Http(http)), (DISCARD, AnyService::Discard(Discard)), (CLOSE, AnyService::Close(Close))]
        .map(|(port, service)| Listener { endpoint: Endpoint { addr: None, port }, service, open: true })
        .into()
}

/// An engine with [`listeners`].
pub fn engine(setup: &Setup, mac: [u8; 6], now: Now) -> Engine {
    let config = EngineConfig {
        tcp: setup.tcp.clone(),
        flows: setup.flows,
        burst: BURST_FRAMES,
        mac,
        partial_checksums: PartialChecksums::Accept,
        events: 0,
    };
    let secrets = Secrets { flow_hash: [1, 2], isn: [3; 16], timestamp_offset: 4 };
    Engine::new(config, &secrets, Listeners::new(listeners()), now)
}

/// A worker, its peers, and the cable between them.
pub struct Cable<T = Untapped> {
    pub worker: Worker<MemoryPort, GivenTime, Nobody, T>,
    pub mailbox: Arc<Mailbox>,
    pub now: Now,
    /// How many frames the peers take at a turn.
    pub take: usize,
    peers: HashMap<FourTuple, Peer>,
    opened: u32,
    to_worker: VecDeque<Vec<u8>>,
    /// Frames that came from the worker and could not be read: there must be none.
    pub unreadable: Vec<Vec<u8>>,
    /// Frames that came from the worker.
    pub heard: u64,
}

impl Cable {
    /// A worker that is ready to receive, and no peers yet.
    pub fn new(setup: &Setup) -> Self {
        Self::tapped(setup, Untapped)
    }
}

impl<T: Tap> Cable<T> {
    /// The same with a worker that tells `tap` of its frames.
    pub fn tapped(setup: &Setup, tap: T) -> Self {
        let now = Now::from_millis(1_000_000);
        let mailbox = Arc::new(Mailbox::new());
        let port = MemoryPort::new(&setup.port);
        let engine = engine(setup, WORKER_MAC, now);
        let mut worker = Worker::with_tap(engine, port, GivenTime(now), Arc::clone(&mailbox), Idle::Spin, Nobody, tap);
        worker.turn(now);
        Self {
            worker,
            mailbox,
            now,
            take: usize::MAX,
            peers: HashMap::new(),
            opened: 0,
            to_worker: VecDeque::new(),
            unreadable: Vec::new(),
            heard: 0,
        }
    }

    /// A new peer sends its SYN.
    pub fn open(&mut self, conduct: Conduct) {
        let mut peer = Peer::new(self.opened, conduct);
        self.opened += 1;
        self.to_worker.push_back(peer.say((Control::SYN, 16_000, &[])));
        self.peers.insert(peer.tuple, peer);
    }

    /// A frame goes to the worker.
    pub fn send(&mut self, frame: Vec<u8>) {
        self.to_worker.push_back(frame);
    }

    /// Something that no good peer sends.
    pub fn send_noise(&mut self, random: &mut Random) {
        let stranger = Peer::new(1_000_000 + random.below(10_000), Conduct::Asks);
        let (seq, ack) = (SeqNum(random.below(u32::MAX)), SeqNum(random.below(u32::MAX)));
        let control = Control(u8::try_from(random.below(64)).expect("six bits"));
        let mut frame = frame(&stranger.tuple, seq, ack, control, 100, Options::default(), b"noise");
        match random.below(4) {
            0 => {}
            1 => frame.truncate(1 + random.below(60) as usize),
            2 => frame[random.below(54) as usize] ^= 1 << random.below(8),
            _ => frame.iter_mut().for_each(|byte| *byte = u8::try_from(random.below(256)).expect("a byte")),
        }
        self.to_worker.push_back(frame);
    }

    /// Time passes, the frames on the cable arrive, the worker turns as `turn` has it, and the peers hear it.
    pub fn turn_with<R>(
        &mut self,
        nanos: u64,
        turn: impl FnOnce(&mut Worker<MemoryPort, GivenTime, Nobody, T>, Now) -> R,
    ) -> R {
        self.now = Now(self.now.0 + nanos);
        for frame in self.to_worker.drain(..) {
            match self.worker.port_mut().inject(&frame) {
                // What the kernel drops is lost on the way.
                Injected::Received | Injected::TooLong | Injected::FillRingEmpty | Injected::RxRingFull => {}
            }
        }
        let result = turn(&mut self.worker, self.now);
        self.hear();
        result
    }

    /// [`Cable::turn_with`] an ordinary turn.
    pub fn turn(&mut self, nanos: u64) -> bool {
        self.turn_with(nanos, |worker, now| worker.turn(now))
    }

    /// The peers take frames off the cable and answer them.
    pub fn hear(&mut self) {
        let Self { worker, peers, to_worker, unreadable, heard, take, .. } = self;
        worker.port_mut().take_sent(*take, |bytes| {
            *heard += 1;
            let Ok(segment) = parse(bytes, PartialChecksums::Refuse) else {
                unreadable.push(bytes.to_vec());
                return;
            };
            if let Some(peer) = peers.get_mut(&segment.tuple)
                && let Some(saying) = peer.hear(&segment)
            {
                to_worker.push_back(peer.say(saying));
            }
        });
    }

    /// How many frames wait to arrive.
    pub fn waiting(&self) -> usize {
        self.to_worker.len()
    }
}
