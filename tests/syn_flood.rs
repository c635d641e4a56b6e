//! Honest clients during a SYN flood, on a virtual clock: how many get their connection, by what the engine does at its
//! limit. The figures of docs/performance.md come from here:
//!
//! ```text
//! cargo test --test syn_flood -- --nocapture
//! ```
//!
//! What counts is how many SYNs come within the honest clients' round trip, in units of the limit; so a small limit and a slow flood say
//! what a large one and a fast one would.

use handfast::engine::listeners::{Endpoint, Listener, Listeners};
use handfast::engine::{Engine, EngineConfig, Secrets, TIMER_BUDGET};
use handfast::service::{AnyService, Discard};
use handfast::stats::ledger::{flows_unaccounted, frames_unaccounted};
use handfast::tcp::config::{HalfOpenFull, SynCookies, TcpConfig};
use handfast::tcp::cookie::{Key, Keys};
use handfast::time::Now;
use handfast::verdict::Verdict;
use handfast::wire::ether::VlanTags;
use handfast::wire::options::Options;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::reply::{Addressing, Reply, write};
use handfast::wire::segment::{Control, Segment};
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::{Addr, FourTuple};
use std::collections::BTreeMap;

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const FRAME_ROOM: usize = 1_514;
/// Half-open connections at most.
const LIMIT: u32 = 512;
/// SYNs of the flood in a millisecond.
const FLOOD_PER_MS: u32 = 10;
/// How long it lasts; honest clients come all the while, one every [`HONEST_EVERY_MS`].
const FLOOD_MS: u64 = 12_000;
const HONEST_EVERY_MS: u64 = 10;
/// When an honest client sends its SYN again, counted from the one before (Linux: 1 s, then doubled); then it gives up.
const AGAIN_AFTER_MS: [u64; 2] = [1_000, 2_000];

/// What an engine does at its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Defence {
    Drop,
    EvictOldest,
    EvictRandom,
    Cookies,
}

impl Defence {
    const ALL: [Self; 4] = [Self::Drop, Self::EvictOldest, Self::EvictRandom, Self::Cookies];

    fn config(self) -> TcpConfig {
        let (half_open_full, syn_cookies) = match self {
            Self::Drop => (HalfOpenFull::Drop, SynCookies::Never),
            Self::EvictOldest => (HalfOpenFull::EvictOldest, SynCookies::Never),
            Self::EvictRandom => (HalfOpenFull::EvictRandom, SynCookies::Never),
            Self::Cookies => (HalfOpenFull::Drop, SynCookies::Auto),
        };
        let resets_per_second = u32::MAX;
        TcpConfig { half_open_limit: LIMIT, half_open_full, syn_cookies, resets_per_second, ..TcpConfig::default() }
    }
}

/// What comes of honest clients, in per cent of those that tried.
#[derive(Clone, Copy, Debug, Default)]
struct Goodput {
    /// With their first SYN.
    at_once: f64,
    /// With one of three.
    in_the_end: f64,
}

/// What an honest client does next.
#[derive(Clone, Copy)]
enum Step {
    /// Its SYN, for the first time or again.
    Syn { client: u32, attempt: usize },
    /// The acknowledgment of a SYN-ACK.
    Ack { client: u32, attempt: usize, ack: SeqNum, echo: u32 },
}

struct World {
    engine: Engine,
    now: Now,
    steps: BTreeMap<u64, Vec<Step>>,
    round_trip_ms: u64,
    tried: u32,
    at_once: u32,
    in_the_end: u32,
}

impl World {
    fn new(defence: Defence, round_trip_ms: u64) -> Self {
        let config = EngineConfig {
            tcp: defence.config(),
            flows: 4_096,
            burst: 1,
            mac: OUR_MAC,
            partial_checksums: PartialChecksums::Refuse,
            events: 0,
        };
        let listener =
            Listener { endpoint: Endpoint { addr: None, port: 80 }, service: AnyService::Discard(Discard), open: true };
        let secrets = Secrets { flow_hash: [1, 2], isn: [3; 16], timestamp_offset: 4 };
        let now = Now::from_millis(1_000);
        let mut engine = Engine::new(config, &secrets, Listeners::new(vec![listener]), now);
        engine.set_cookie_keys(Keys { current: Key([5; 16]), previous: None, parity: false });
        Self { engine, now, steps: BTreeMap::new(), round_trip_ms, tried: 0, at_once: 0, in_the_end: 0 }
    }

    /// The flood from its beginning to its end.
    fn run(mut self) -> Goodput {
        // The flood is there first.
        let begins = 1_000;
        for ms in 0..FLOOD_MS {
            if ms >= begins && ms % HONEST_EVERY_MS == 0 && ms + 3_500 < FLOOD_MS {
                self.tried += 1;
                self.steps.entry(ms).or_default().push(Step::Syn { client: self.tried, attempt: 0 });
            }
            self.attack(ms, FLOOD_PER_MS / 2);
            for step in self.steps.remove(&ms).unwrap_or_default() {
                self.step(ms, step);
            }
            self.attack(ms + FLOOD_MS, FLOOD_PER_MS / 2);
            self.turn();
        }
        let counters = self.engine.counters();
        let flows = self.engine.flows().into();
        assert_eq!((frames_unaccounted(counters), flows_unaccounted(counters, flows)), (0, 0));
        let share = |count: u32| f64::from(count) * 100.0 / f64::from(self.tried);
        Goodput { at_once: share(self.at_once), in_the_end: share(self.in_the_end) }
    }

    /// SYNs of clients that do not exist.
    fn attack(&mut self, ms: u64, count: u32) {
        for i in 0..count {
            let number = u32::try_from(ms).unwrap() * FLOOD_PER_MS + i;
            let [_, a, b, c] = number.to_be_bytes();
            let peer = (Addr::v4([10, a, b, c]), 7_000);
            let options = Options { mss: Some(1460), ..Options::default() };
            self.commit(peer, Reply { seq: SeqNum(number), control: Control::SYN, options, ..Reply::default() });
        }
    }

    fn step(&mut self, ms: u64, step: Step) {
        let timestamps =
            |echo: u32| Options { timestamps: Some((u32::try_from(ms).unwrap(), echo)), ..Options::default() };
        match step {
            Step::Syn { client, attempt } => {
                let options = Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, ..timestamps(0) };
                let syn =
                    Reply { seq: SeqNum(client), control: Control::SYN, window: 64_000, options, ..Reply::default() };
                let next = match self.commit(peer_of(client), syn) {
                    Some(syn_ack) => {
                        let (echo, _) = syn_ack.options.timestamps.expect("it was offered");
                        (self.round_trip_ms, Step::Ack { client, attempt, ack: syn_ack.seq + 1, echo })
                    }
                    None if attempt < AGAIN_AFTER_MS.len() => {
                        (AGAIN_AFTER_MS[attempt], Step::Syn { client, attempt: attempt + 1 })
                    }
                    None => return,
                };
                self.steps.entry(ms + next.0).or_default().push(next.1);
            }
            Step::Ack { client, attempt, ack, echo } => {
                let reply =
                    Reply { seq: SeqNum(client + 1), ack, control: Control::ACK, window: 500, ..Reply::default() };
                let before = self.engine.counters().established;
                // A RST is what a client hears whose half-open connection was given up: connect() has failed for good.
                self.commit(peer_of(client), Reply { options: timestamps(echo), ..reply });
                let opened = u32::from(self.engine.counters().established > before);
                self.in_the_end += opened;
                self.at_once += if attempt == 0 { opened } else { 0 };
            }
        }
    }

    /// One frame in; the answer, if there is one.
    fn commit(&mut self, (addr, port): (Addr, u16), reply: Reply) -> Option<Segment> {
        let local_addr = Addr::v4([198, 18, 0, 1]);
        let tuple = FourTuple { local_addr, remote_addr: addr, local_port: 80, remote_port: port };
        let to = Addressing { dst_mac: OUR_MAC, src_mac: PEER_MAC, tags: VlanTags::default(), tuple: tuple.reversed() };
        let mut frame = [0; FRAME_ROOM];
        let len = write(&mut frame, &to, &reply, |_| {});
        self.engine.stage(&frame[..len]);
        let verdict = self.engine.commit(0, &mut frame, self.now);
        self.engine.end_burst();
        match verdict {
            Verdict::Transmit { len } => {
                Some(parse(&frame[..len], PartialChecksums::Refuse).expect("the engine's frames are legal"))
            }
            Verdict::Accept | Verdict::Drop(_) => None,
        }
    }

    /// A millisecond passes.
    fn turn(&mut self) {
        self.now = Now(self.now.0 + 1_000_000);
        self.engine.follow(self.now);
        let mut frame = [0; FRAME_ROOM];
        let mut budget = TIMER_BUDGET;
        while self.engine.emit(self.now, &mut budget, &mut frame).is_some() {}
    }
}

/// An honest client's address and port.
fn peer_of(client: u32) -> (Addr, u16) {
    let [_, _, a, b] = client.to_be_bytes();
    (Addr::v4([172, 16, a, b]), 9_000)
}

/// Goodput of every defence, where so many per cent of the limit come in a round trip.
fn measured(load_percent: u64) -> [Goodput; 4] {
    let round_trip_ms = u64::from(LIMIT) * load_percent / 100 / u64::from(FLOOD_PER_MS);
    Defence::ALL.map(|defence| World::new(defence, round_trip_ms).run())
}

#[test]
fn honest_clients_get_through_a_flood_as_the_defence_lets_them() {
    println!("SYNs in a round trip / limit: connected at once, in the end (of three SYNs), in per cent");
    for load_percent in [10, 50, 90, 120, 200, 500] {
        let [drop, oldest, random, cookies] = measured(load_percent);
        let load = f64::from(u32::try_from(load_percent).unwrap()) / 100.0;
        print!("{load:4.1}");
        for (defence, goodput) in Defence::ALL.into_iter().zip([drop, oldest, random, cookies]) {
            print!("   {defence:?} {:5.1} {:5.1}", goodput.at_once, goodput.in_the_end);
        }
        println!();
        assert!(cookies.at_once == 100.0, "cookies at {load}: {cookies:?}");
        assert!(drop.at_once < 20.0, "dropping at {load}: {drop:?}");
        // The oldest is as old as the limit is long: a round trip within that always fits, one beyond never.
        assert!(if load <= 0.9 { oldest.at_once == 100.0 } else { oldest.at_once < 5.0 }, "at {load}: {oldest:?}");
        // Each SYN hits one of all: e^-load survive.
        assert!((random.at_once - 100.0 * (-load).exp()).abs() < 12.0, "at {load}: {random:?}");
    }
}
