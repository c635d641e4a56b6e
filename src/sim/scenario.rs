//! What a seed stands for: who takes part, how they are configured, what they are up to, and how bad the network is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::adversary::Malice;
use super::link::Faults;
use super::node::{Node, Opener, Plan, Server, UserCall};
use super::random::Random;
use super::talk::{Partner, Talk};
use super::world::{Failure, Order, Summary, World};
use crate::engine::listeners::{Endpoint, Listener, Listeners};
use crate::engine::{Engine, EngineConfig, Secrets};
use crate::port::BURST_FRAMES;
use crate::port::memory::{MemoryConfig, MemoryPort};
use crate::service::{AnyService, Close, Discard, Http};
use crate::tcp::config::{HalfOpenFull, SynCookies, TcpConfig};
use crate::tcp::cookie::{Key, Keys};
use crate::tcp::syn_sent::ActiveOpen;
use crate::time::Now;
use crate::wire::ether::{Mac, VlanTags};
use crate::wire::parse::PartialChecksums;
use crate::wire::tuple::{Addr, FourTuple};

/// Where the virtual clock starts: not at 0, where an underflow could hide.
const START: Now = Now::from_millis(1_000_000);
/// When the first [`crate::time::Tick`] wraps; some runs begin shortly before.
const TICK_WRAPS: Now = Now::from_millis(1 << 32);
/// The three addresses on the link.
const SERVER_MAC: Mac = [2, 0, 0, 0, 0, 1];
const OPENER_MAC: Mac = [2, 0, 0, 0, 0, 2];
const INDEPENDENT_MAC: Mac = [2, 0, 0, 0, 0, 3];
/// Ports of our services, in the order of [`Scenario::partners`].
const PORTS: [u16; 3] = [9, 13, 80];

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// An independent TCP, and our own engine beside it, connect to our server.
    Serve,
    /// Our engine opens connections to an independent listener.
    OpenToIndependent,
    /// Our engine opens connections to our server.
    OpenToServer,
    /// Two of our engines open the same connections to each other at about the same time.
    OpenToEachOther,
}

/// The role of the independent end of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It connects at this time, once its own end is not in use any more.
    Connect(Now),
    /// It listens.
    Listen,
}

/// One connection of an independent TCP: its TCP's settings and what its user does.
#[derive(Clone, Debug)]
pub struct Dialogue {
    /// Both ends, the independent one as local.
    pub tuple: FourTuple,
    /// Who opens.
    pub role: Role,
    /// What is said.
    pub talk: Talk,
    /// When the user gives it up with a RST, whatever is still to be said.
    pub abort_at: Option<Now>,
    /// The other end's user may close before all is said.
    pub cut_short: bool,
    /// Bytes that the user reads and writes at once, and nanoseconds until it looks again.
    pub sip: usize,
    /// See `sip`.
    pub every_ns: u64,
    /// Size of the receive buffer in bytes.
    pub rx_buffer: usize,
    /// Size of the send buffer in bytes.
    pub tx_buffer: usize,
    /// Nagle's algorithm.
    pub nagle: bool,
    /// Delayed acknowledgments, in milliseconds; 0 for none.
    pub ack_delay_ms: u64,
    /// Time between keepalive probes, in milliseconds; 0 for none.
    pub keep_alive_ms: u64,
}

/// What an independent TCP is to be.
#[derive(Clone, Debug)]
pub struct Independent {
    /// Its address on the link.
    pub mac: Mac,
    /// Where its frames go.
    pub peer_mac: Mac,
    /// Its IP addresses, IPv4 first.
    pub addrs: [IpAddr; 2],
    /// Its MTU in bytes.
    pub mtu: usize,
    /// It offers the timestamps option.
    pub timestamps: bool,
    /// For what it draws itself.
    pub seed: u64,
    /// How long after the links have healed its users give up what is still under way, in nanoseconds.
    pub patience_ns: u64,
    /// Its connections.
    pub dialogues: Vec<Dialogue>,
}

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// Who takes part.
    pub cast: Cast,
    /// What the adversary does.
    pub malice: Malice,
    /// Where the virtual clock starts.
    pub starts_at: Now,
    /// The links of the first age.
    pub faults: Faults,
    /// When the second age begins.
    pub heals_at: Now,
    /// Our configuration.
    pub tcp: TcpConfig,
    /// Slots of our flow tables.
    pub flows: u32,
    /// Our server's port.
    pub port: MemoryConfig,
    /// How often our server's completions are late, per mille.
    pub slow_completions: u32,
    /// What our services are, in the order of their ports 9, 13 and 80.
    pub partners: [Partner; 3],
    /// How many connections are made.
    pub connections: u16,
    /// Users who give their connection up, per mille.
    pub impatience: u32,
    /// Our server answers every SYN with a cookie.
    pub cookies: bool,
    random: Random,
}

/// Makes an independent TCP.
pub type MakeIndependent<'a> = &'a dyn Fn(Independent) -> Box<dyn Node>;

impl Scenario {
    /// The scenario of `seed`. Without an independent TCP (`with_independent` false) the casts that need one are left out.
    pub fn from_seed(seed: u64, with_independent: bool) -> Self {
        let mut random = Random::new(seed);
        let casts: &[Cast] = match with_independent {
            true => &[
                Cast::Serve,
                Cast::Serve,
                Cast::Serve,
                Cast::OpenToIndependent,
                Cast::OpenToIndependent,
                Cast::OpenToServer,
                Cast::OpenToEachOther,
            ],
            false => &[Cast::OpenToServer, Cast::OpenToEachOther],
        };
        let cast = random.pick(casts);
        let malice = random.pick(&[Malice::Absent, Malice::Absent, Malice::Harmless, Malice::Wild]);
        let before_wrap = Now(TICK_WRAPS.0 - random.within(0..=seconds(60)));
        let starts_at = random.pick(&[START, START, START, before_wrap]);
        let heals_at = Now(starts_at.0 + seconds(random.within(2..=20_u64)));
        let body_len = random.pick(&[0, 1, 100, 1_448, 9_000]);
        let body = random.bytes(body_len);
        Self {
            seed,
            cast,
            malice,
            starts_at,
            faults: draw_faults(&mut random, starts_at, heals_at),
            heals_at,
            tcp: draw_tcp(&mut random),
            flows: if random.chance(200) { random.within(1..=6) } else { 64 },
            port: draw_port(&mut random),
            slow_completions: random.pick(&[0, 0, 300, 800]),
            partners: [Partner::Discard, Partner::Close, Partner::Http(body)],
            connections: draw_connections(&mut random),
            impatience: random.pick(&[0, 0, 0, 200]),
            cookies: random.chance(200),
            random,
        }
    }

    /// Runs it to its end. `meter` counts something that a turn of the server must not do; allocations, for example.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    ///
    /// # Panics
    ///
    /// If its cast needs an independent TCP and `independent` is `None`.
    pub fn run(&self, independent: Option<MakeIndependent<'_>>, meter: fn() -> u64) -> Result<Summary, Box<Failure>> {
        let mut random = self.random.clone();
        let mut world = World::new(self.order(&mut random), self.starts_at);
        let make = || independent.expect("a scenario with an independent TCP needs one");
        match self.cast {
            Cast::Serve => {
                let (server, opener) =
                    (self.server(&mut random, meter), self.opener_to_server(&mut random, self.connections.div_ceil(3)));
                world.seat(server, &addrs(1));
                world.seat(opener, &addrs(2));
                world.seat(make()(self.clients(&mut random)), &addrs(3));
            }
            Cast::OpenToServer => {
                world.seat(self.server(&mut random, meter), &addrs(1));
                world.seat(self.opener_to_server(&mut random, self.connections), &addrs(2));
            }
            Cast::OpenToIndependent => {
                let (plans, listener) = self.openings_to_independent(&mut random);
                world.seat(self.opener(&mut random, OPENER_MAC, plans), &addrs(2));
                world.seat(make()(listener), &addrs(3));
            }
            Cast::OpenToEachOther => {
                let (ours, theirs) = self.openings_to_each_other(&mut random);
                world.seat(self.opener(&mut random, SERVER_MAC, ours), &addrs(1));
                world.seat(self.opener(&mut random, OPENER_MAC, theirs), &addrs(2));
            }
        }
        world.run()
    }

    fn order(&self, random: &mut Random) -> Order {
        Order {
            random: random.fork(),
            faults: self.faults,
            heals_at: self.heals_at,
            patience_ns: self.patience_ns(),
            malice: self.malice,
            strike_every_ns: random.pick(&[5_000_000, 50_000_000, 500_000_000]),
            window: self.tcp.window_bytes,
            flood_port: random.pick(&PORTS),
            cookies: self.cookies,
        }
    }

    /// How long it can take, at worst, until all is over once the links have healed: what can follow one after another in one
    /// connection (giving up, idling, the last states' time), and that as often as connections may wait for each other's slots.
    fn patience_ns(&self) -> u64 {
        let tcp = &self.tcp;
        let retrying = u64::from(tcp.data_retries.max(tcp.syn_retries) + 2) * u64::from(tcp.rto_max_ms);
        let probes = u64::from(tcp.keepalive_probes) + 1;
        let probing = u64::from(tcp.keepalive_idle_ms) + u64::from(tcp.keepalive_interval_ms) * probes;
        let lasting = u64::from(tcp.half_open_timeout_ms + tcp.idle_timeout_ms + tcp.fin_wait_2_ms + tcp.time_wait_ms);
        seconds(120) + u64::from(self.connections + 2) * (retrying + probing + lasting) * 1_000_000
    }

    fn engine(&self, random: &mut Random, mac: Mac, open: bool) -> Engine {
        let listeners = self.partners.iter().zip(PORTS).map(|(partner, port)| {
            let service = match partner {
                Partner::Discard => AnyService::Discard(Discard),
                Partner::Close => AnyService::Close(Close),
                Partner::Http(body) => AnyService::Http(Http::new(body, "text/plain").expect("a short body")),
            };
            Listener { endpoint: Endpoint { addr: None, port }, service, open }
        });
        let config = EngineConfig {
            tcp: self.tcp.clone(),
            flows: self.flows,
            burst: BURST_FRAMES,
            mac,
            partial_checksums: PartialChecksums::Refuse,
            events: 0,
        };
        let secrets = Secrets {
            flow_hash: [random.word(), random.word()],
            isn: core::array::from_fn(|_| random.within(0..=u8::MAX)),
            timestamp_offset: random.within(0..=u32::MAX),
        };
        Engine::new(config, &secrets, Listeners::new(listeners.collect()), self.starts_at)
    }

    fn server(&self, random: &mut Random, meter: fn() -> u64) -> Box<dyn Node> {
        let mut engine = self.engine(random, SERVER_MAC, true);
        if self.cookies {
            let key = Key(core::array::from_fn(|_| random.within(0..=u8::MAX)));
            engine.set_cookie_keys(Keys { current: key, previous: None, parity: random.chance(500) });
        }
        let port = MemoryPort::new(&self.port);
        Box::new(Server::new(engine, port, SERVER_MAC, random.fork(), self.slow_completions, meter))
    }

    fn opener(&self, random: &mut Random, mac: Mac, plans: Vec<Plan>) -> Box<dyn Node> {
        Box::new(Opener::new(self.engine(random, mac, false), mac, plans))
    }

    /// A time in the first age.
    fn some_time(&self, random: &mut Random) -> Now {
        Now(random.within(self.starts_at.0..=self.heals_at.0 - 1))
    }

    /// A user who closes sooner or later, or, if it is of the impatient sort, gives up or closes before the connection is open.
    fn user(&self, at: Now, random: &mut Random) -> (Now, UserCall) {
        let call = if random.chance(self.impatience) { UserCall::Abort } else { UserCall::Close };
        let least = if self.impatience > 0 { 0 } else { seconds(1) };
        (Now(at.0 + random.within(least..=seconds(5))), call)
    }

    /// Our engine as a client of our server. Its service says nothing, so its user has to end most connections.
    fn opener_to_server(&self, random: &mut Random, connections: u16) -> Box<dyn Node> {
        // No more than the table takes, where it is the smaller one: OPEN of a full table is an error of the user's.
        let connections = connections.min(u16::try_from(self.flows).unwrap_or(u16::MAX));
        let plans = (0..connections).map(|i| {
            let ipv6 = random.chance(400);
            let tuple = tuple(host(2, ipv6), 20_000 + i, host(1, ipv6), random.pick(&PORTS));
            let at = self.some_time(random);
            let user = Some(self.user(at, random));
            Plan { at, open: active(tuple, SERVER_MAC, 0), user }
        });
        let plans = plans.collect();
        self.opener(random, OPENER_MAC, plans)
    }

    /// An independent TCP's connections to our server.
    fn clients(&self, random: &mut Random) -> Independent {
        let dialogues = (0..self.connections).map(|i| {
            let ipv6 = random.chance(400);
            let service = random.within(0..=PORTS.len() - 1);
            // Now and then a client comes again from the port of the one before.
            let port = if i > 0 && random.chance(300) { 30_000 + i - 1 } else { 30_000 + i };
            let tuple = tuple(host(3, ipv6), port, host(1, ipv6), PORTS[service]);
            self.dialogue(tuple, Role::Connect(self.some_time(random)), service, random)
        });
        let dialogues = dialogues.collect();
        self.independent(SERVER_MAC, dialogues, random)
    }

    /// Our engine's connections to an independent listener, one port each, and that listener.
    fn openings_to_independent(&self, random: &mut Random) -> (Vec<Plan>, Independent) {
        let connections = self.connections.min(u16::try_from(self.flows).unwrap_or(u16::MAX));
        let (mut plans, mut dialogues) = (Vec::new(), Vec::new());
        for i in 0..connections {
            let ipv6 = random.chance(400);
            let service = random.within(0..=PORTS.len() - 1);
            let tuple = tuple(host(2, ipv6), 20_000 + i, host(3, ipv6), 5_000 + i);
            let at = self.some_time(random);
            let user = if random.chance(150) { Some(self.user(at, random)) } else { None };
            let id = u16::try_from(service).expect("three services");
            plans.push(Plan { at, open: active(tuple, INDEPENDENT_MAC, id), user });
            let dialogue = self.dialogue(tuple.reversed(), Role::Listen, service, random);
            dialogues.push(Dialogue { cut_short: user.is_some(), ..dialogue });
        }
        (plans, self.independent(OPENER_MAC, dialogues, random))
    }

    /// Two engines that open the same connections, each from its side.
    fn openings_to_each_other(&self, random: &mut Random) -> (Vec<Plan>, Vec<Plan>) {
        let connections = self.connections.min(u16::try_from(self.flows).unwrap_or(u16::MAX));
        let one = |i: u16| {
            let ipv6 = random.chance(400);
            let tuple = tuple(host(1, ipv6), 20_000 + i, host(2, ipv6), 20_000 + i);
            let at = self.some_time(random);
            // Within one flight time the SYNs cross; a later one may find its peer refused.
            let most = if random.chance(100) { 2 } else { 1 } * self.faults.delay_ns;
            let later = Now(at.0 + random.within(0..=most));
            let mut plan = |at, tuple, mac| Plan { at, open: active(tuple, mac, 0), user: Some(self.user(at, random)) };
            (plan(at, tuple, OPENER_MAC), plan(later, tuple.reversed(), SERVER_MAC))
        };
        (0..connections).map(one).unzip()
    }

    fn independent(&self, peer_mac: Mac, dialogues: Vec<Dialogue>, random: &mut Random) -> Independent {
        Independent {
            mac: INDEPENDENT_MAC,
            peer_mac,
            addrs: [host(3, false), host(3, true)],
            mtu: random.pick(&[1_280, 1_500]),
            timestamps: random.chance(500),
            patience_ns: self.patience_ns() / 2,
            seed: random.word(),
            dialogues,
        }
    }

    fn dialogue(&self, tuple: FourTuple, role: Role, service: usize, random: &mut Random) -> Dialogue {
        let most = random.pick(&[100, 5_000, 60_000, 400_000]);
        // Small sips in quick succession make many small segments, which are put together when they are sent again.
        let (sip, every_ns) = random.pick(&[
            (20, 1_000_000),
            (1_000, 1_000_000),
            (1_000, 20_000_000),
            (10_000, 300_000_000),
            (100_000, 1_000_000),
        ]);
        Dialogue {
            tuple,
            role,
            talk: Talk::draw(&self.partners[service], most, random),
            abort_at: random.chance(self.impatience).then(|| self.some_time(random)),
            cut_short: false,
            sip,
            every_ns,
            rx_buffer: random.pick(&[1_000, 4_096, 65_535, 200_000]),
            tx_buffer: random.pick(&[1_000, 16_384, 65_535]),
            nagle: random.chance(500),
            ack_delay_ms: random.pick(&[0, 10, 200]),
            keep_alive_ms: random.pick(&[0, 1_000, 10_000]),
        }
    }
}

/// Nanoseconds in so many seconds.
fn seconds(n: u64) -> u64 {
    n * 1_000_000_000
}

/// The host's address: `198.18.0.host` or `2001:2::host`.
fn host(host: u8, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(198, 18, 0, host).into()
    }
}

fn addrs(id: u8) -> [Addr; 2] {
    [host(id, false).into(), host(id, true).into()]
}

fn tuple(local: IpAddr, local_port: u16, remote: IpAddr, remote_port: u16) -> FourTuple {
    FourTuple::new(SocketAddr::new(local, local_port), SocketAddr::new(remote, remote_port))
}

fn active(tuple: FourTuple, peer_mac: Mac, service: u16) -> ActiveOpen {
    ActiveOpen { tuple, peer_mac, tags: VlanTags::default(), service }
}

fn draw_connections(random: &mut Random) -> u16 {
    let most = random.pick(&[3, 8, 24, 60]);
    random.within(1..=most)
}

/// A third of the networks are fine, a third bad, a third dreadful.
fn draw_faults(random: &mut Random, starts_at: Now, heals_at: Now) -> Faults {
    let delay_ns = random.pick(&[10_000, 1_000_000, 40_000_000]);
    let badness: u32 = random.pick(&[0, 30, 150]);
    let mut rate = || if random.chance(700) { random.within(0..=badness) } else { 0 };
    let [loss, duplicate, reorder, corrupt, truncate] = core::array::from_fn(|_| rate());
    let begins = Now(random.within(starts_at.0..=heals_at.0));
    let outage_ns = if badness > 0 && random.chance(300) { random.within(0..=seconds(3)) } else { 0 };
    Faults {
        loss,
        duplicate,
        reorder,
        corrupt,
        truncate,
        delay_ns,
        jitter_ns: random.pick(&[delay_ns, 10 * delay_ns]),
        outage: (begins, Now(begins.0 + outage_ns)),
    }
}

/// Limits and times anywhere between strict and generous.
fn draw_tcp(random: &mut Random) -> TcpConfig {
    let keepalive_idle_ms = if random.chance(300) { random.within(1_000..=20_000) } else { 0 };
    TcpConfig {
        window_bytes: random.pick(&[2_000, 20_000, 65_535, 262_144]),
        window_scaling: random.chance(800),
        sack_permitted: random.chance(500),
        timestamps: random.chance(700),
        initial_window_segments: random.within(1..=10),
        rto_initial_ms: random.within(200..=1_000),
        rto_min_ms: random.within(20..=200),
        rto_max_ms: random.within(5_000..=60_000),
        syn_retries: random.within(3..=8),
        half_open_timeout_ms: random.within(5_000..=63_000),
        data_retries: random.within(8..=15),
        time_wait_ms: random.within(100..=60_000),
        fin_wait_2_ms: random.within(5_000..=60_000),
        idle_timeout_ms: random.within(30_000..=300_000),
        keepalive_idle_ms,
        keepalive_interval_ms: random.within(500..=5_000),
        keepalive_probes: random.within(3..=9),
        challenge_interval_ms: random.pick(&[0, 100, 1_000]),
        challenges_per_second: random.pick(&[1, 5, 1_000]),
        resets_per_second: random.pick(&[1, 5, 10_000]),
        half_open_limit: random.pick(&[1, 3, 1_000, 1_000]),
        half_open_full: random.pick(&HalfOpenFull::ALL),
        syn_cookies: SynCookies::Always,
        ..TcpConfig::for_mtu(random.pick(&[576, 1_280, 1_500]))
    }
}

/// A port with rings that are now and then so small that they overflow.
fn draw_port(random: &mut Random) -> MemoryConfig {
    let mut ring = || random.pick(&[8, 64, 64]);
    MemoryConfig {
        frames: 128,
        frame_size: 2_048,
        fill_ring: ring(),
        rx_ring: ring(),
        tx_ring: ring(),
        completion_ring: ring(),
        tx_budget: random.pick(&[1, 16, 512]),
    }
}
