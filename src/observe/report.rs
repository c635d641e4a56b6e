//! The shape of every report. Field names and their order are the JSON's, and stay.
//!
//! Counters are carried by name, taken from where they are declared, so that a new counter shows up here by itself.

use super::identity::Identity;
use crate::port::FrameLedger;
use crate::stats::counters::Counters;
use crate::stats::ledger;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Values by name, in the order in which they were declared; a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(Vec<(Cow<'static, str>, u64)>);

impl Values {
    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// Adds to each value the one of the same name, and appends the names that are not here yet.
    pub fn add(&mut self, other: &Values) {
        for (name, value) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum = sum.saturating_add(*value),
                None => self.0.push((name.clone(), *value)),
            }
        }
    }
}

impl<S: Into<Cow<'static, str>>> FromIterator<(S, u64)> for Values {
    fn from_iter<I: IntoIterator<Item = (S, u64)>>(values: I) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counts by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    values.push(entry);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// What one worker, or all of them together, counted and hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Figures {
    /// The engine's counters but for the drops.
    pub engine: Values,
    /// Dropped frames by reason, all reasons.
    pub drops: Values,
    /// The port's counters.
    pub port: Values,
    /// UMEM frames by place.
    pub ledger: Values,
    /// XDP_STATISTICS of the socket.
    pub xdp_statistics: Values,
    /// What was counted of what is captured; not there without a capture.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub capture: Values,
    /// Flows by TCP state, under the RFC's names.
    pub states: Values,
    /// Flows that live.
    pub flows: u64,
    /// Flows that there is room for.
    pub flows_capacity: u64,
    /// Flows in the middle of the handshake.
    pub half_open: u64,
    /// Half-open flows at most.
    pub half_open_limit: u64,
    /// Armed timers; one for each flow.
    pub timers: u64,
    /// Turns of the worker's loop.
    pub turns: u64,
    /// Times that the worker went to sleep for want of work.
    pub sleeps: u64,
    /// Turns that left something to send for the next turn, because the budget of frames was used up.
    pub emit_budget_exhausted: u64,
    /// Nanoseconds spent in turns that had something to do.
    pub busy_ns: u64,
    /// Nanoseconds by which turns began late, those counted in `late_turns` only.
    pub late_ns: u64,
    /// Turns that began more than 5 ms late.
    pub late_turns: u64,
    /// The most nanoseconds that a turn began late.
    pub longest_gap_ns: u64,
    /// How old these figures are, in nanoseconds.
    pub age_ns: u64,
}

impl Figures {
    /// Takes in what an engine counted.
    pub fn set_counters(&mut self, counters: &Counters) {
        self.engine = counters.scalars().collect();
        self.drops = counters.drops().map(|(reason, count)| (reason.name(), count)).collect();
    }

    /// Adds another worker's figures.
    pub fn add(&mut self, other: &Figures) {
        let Figures { engine, drops, port, ledger, xdp_statistics, capture, states, .. } = other;
        self.engine.add(engine);
        self.drops.add(drops);
        self.port.add(port);
        self.ledger.add(ledger);
        self.xdp_statistics.add(xdp_statistics);
        self.capture.add(capture);
        self.states.add(states);
        self.flows += other.flows;
        self.flows_capacity += other.flows_capacity;
        self.half_open += other.half_open;
        self.half_open_limit += other.half_open_limit;
        self.timers += other.timers;
        self.turns += other.turns;
        self.sleeps += other.sleeps;
        self.emit_budget_exhausted += other.emit_budget_exhausted;
        self.busy_ns += other.busy_ns;
        self.late_ns += other.late_ns;
        self.late_turns += other.late_turns;
        self.longest_gap_ns = self.longest_gap_ns.max(other.longest_gap_ns);
        self.age_ns = self.age_ns.max(other.age_ns);
    }
}

/// One worker's part of the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WorkerReport {
    /// The queue it serves.
    pub queue: u32,
    /// The core it is pinned to; `None` if it could not be pinned.
    pub core: Option<u32>,
    /// What it counted and holds.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The modes that were chosen and granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mode {
    /// Where the steering program runs: `native` or `generic`.
    pub xdp: String,
    /// How sockets and driver share frames: `copy` or `zero-copy`.
    pub bind: String,
}

/// What does not change while a server runs, and the clocks it runs by.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Setting {
    /// Receive queues of the interface, served or not.
    pub rx_queues: u32,
    /// MTU of the interface in bytes.
    pub mtu: u32,
    /// True if partial TCP checksums are accepted.
    pub partial_checksums: bool,
    /// True for one end of a veth pair.
    pub veth: bool,
    /// Seconds since the machine was started, its sleep included.
    pub since_boot_s: f64,
    /// The time of day, in seconds since 1970.
    pub time_of_day_s: f64,
    /// Nanoseconds by which rounds of the control thread began late, those only that began more than 50 ms late.
    pub control_late_ns: u64,
}

/// One listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ListenerReport {
    /// Its address; `None` is any.
    pub addr: Option<std::net::IpAddr>,
    /// Its port.
    pub port: u16,
    /// Its service as it was configured.
    pub service: String,
    /// Connections that live; `None` if a worker did not say in time, or the server has ended.
    pub connections: Option<u64>,
    /// Connections that were opened since it listens; `None` as above.
    pub opened: Option<u64>,
    /// Connections in the middle of the handshake; `None` as above.
    #[serde(default)]
    pub half_open: Option<u64>,
    /// Connections by TCP state, under the RFC's names; `None` as above.
    #[serde(default)]
    pub states: Option<Values>,
}

/// By how much the identities of the books are missed; all 0 when everything is accounted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ledgers {
    /// Received frames less those transmitted in place, accepted and dropped.
    pub frames_unaccounted: i64,
    /// Flows created less those ended and alive.
    pub flows_unaccounted: i64,
    /// UMEM frames less those in a known place.
    pub umem_frames_unaccounted: i64,
}

impl Ledgers {
    /// True if nothing is missing and nothing is counted twice.
    pub fn balanced(&self) -> bool {
        *self == Self::default()
    }

    /// Draws up one worker's books from its counters, its port's ledger and its living flows, all of one moment.
    pub fn of(counters: &Counters, frames: &FrameLedger, flows: u64) -> Self {
        let places = [frames.fill, frames.in_hand, frames.tx_pending, frames.tx, frames.free];
        let umem = i128::from(frames.total) - places.iter().map(|place| i128::from(*place)).sum::<i128>();
        Self {
            frames_unaccounted: clamped(ledger::frames_unaccounted(counters)),
            flows_unaccounted: clamped(ledger::flows_unaccounted(counters, flows)),
            umem_frames_unaccounted: clamped(umem),
        }
    }

    /// Adds the magnitudes of another worker's differences, so that two of opposite sign do not hide one another.
    pub fn add(&mut self, other: &Ledgers) {
        let sum = |a: i64, b: i64| a.saturating_abs().saturating_add(b.saturating_abs());
        self.frames_unaccounted = sum(self.frames_unaccounted, other.frames_unaccounted);
        self.flows_unaccounted = sum(self.flows_unaccounted, other.flows_unaccounted);
        self.umem_frames_unaccounted = sum(self.umem_frames_unaccounted, other.umem_frames_unaccounted);
    }
}

/// The nearest i64.
fn clamped(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// SYNs that the steering program answers instead of the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SynXdpReport {
    /// It does so now.
    pub on: bool,
    /// How often that was switched on.
    pub switched_on: u64,
}

/// A file of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CaptureFile {
    /// Its path, as it was given.
    pub path: String,
    /// Frames in it.
    pub frames: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Frames that were for it and are not in it: it reached its limit, or could not be written.
    pub unwritten: u64,
    /// Why nothing more is written; `None` while something is.
    pub ended: Option<String>,
}

/// The files of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CaptureReport {
    /// The one for the frames that the filter lets through.
    pub all: Option<CaptureFile>,
    /// The one for the connections that failed.
    pub failed: Option<CaptureFile>,
}

/// The whole report of a server.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Stats {
    /// Version of handfast.
    pub version: String,
    /// The interface served.
    pub interface: String,
    /// Seconds since it serves.
    pub uptime_s: f64,
    /// The modes granted.
    pub mode: Mode,
    /// What is listened on.
    pub listeners: Vec<ListenerReport>,
    /// Each worker, in the order of the queues.
    pub workers: Vec<WorkerReport>,
    /// All workers together.
    pub total: Figures,
    /// What the kernel counted on the interface since the program was attached.
    pub interface_counters: Values,
    /// The steering program's counters.
    pub steering: Values,
    /// Whether that program answers SYNs.
    pub syn_xdp: SynXdpReport,
    /// The files of its capture, if it captures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureReport>,
    /// Whether the books balance, over all workers.
    pub ledgers: Ledgers,
    /// The books from the interface to the last frame, equation by equation.
    pub identities: Vec<Identity>,
    /// What is served and by which clocks.
    pub setting: Setting,
    /// True while no new connection is accepted.
    pub draining: bool,
}

/// What a server had counted at one moment, as far as rates are shown of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Moment {
    /// Seconds since it serves.
    pub uptime_s: f64,
    /// Connections that reached ESTABLISHED.
    pub established: u64,
    /// Connections that peers opened.
    pub opened: u64,
    /// Frames received by the workers.
    pub rx_frames: u64,
    /// Frames put into the TX rings.
    pub tx_frames: u64,
    /// Frames that were dropped: by the engine, by steering, by the kernel on the sockets.
    pub lost: u64,
}

impl Moment {
    /// The moment of a report.
    pub fn of(stats: &Stats) -> Self {
        let value = |values: &Values, name| values.get(name).unwrap_or(0);
        let Figures { engine, port, drops, xdp_statistics, .. } = &stats.total;
        let steering = stats.steering.iter().filter(|(name, _)| name.starts_with("drop_"));
        let kernel = ["rx_dropped", "rx_ring_full"].map(|name| value(xdp_statistics, name));
        Self {
            uptime_s: stats.uptime_s,
            established: value(engine, "established"),
            opened: value(engine, "passive_opens"),
            rx_frames: value(port, "rx_frames"),
            tx_frames: value(port, "tx_frames"),
            lost: drops.iter().chain(steering).map(|(_, count)| count).chain(kernel).sum(),
        }
    }
}

/// The moments of the last minutes, one a second, oldest first.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Past {
    /// The moments.
    pub moments: Vec<Moment>,
}

/// One flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FlowRow {
    /// The queue whose worker owns it.
    pub queue: u32,
    /// Its TCP state, under the RFC's name.
    pub state: String,
    /// Local address and port.
    pub local: String,
    /// Remote address and port.
    pub remote: String,
    /// Milliseconds until its timer is due.
    pub due_ms: u64,
    /// Smoothed round-trip time in microseconds; 0 before the first sample.
    pub srtt_us: u64,
    /// Bytes queued to be sent and not acknowledged.
    pub queued: u64,
    /// SND.UNA.
    pub snd_una: u32,
    /// SND.NXT.
    pub snd_nxt: u32,
    /// RCV.NXT.
    pub rcv_nxt: u32,
    /// How often the oldest unacknowledged segment was sent again.
    pub retries: u32,
    /// Its service.
    pub service: String,
}

/// The flows that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Flows {
    /// How many live flows there are that match, listed or not.
    pub matching: u64,
    /// Those listed, up to the limit asked for.
    pub flows: Vec<FlowRow>,
}

/// What a reload did. Listeners are written as in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reloaded {
    /// Listeners that are new.
    pub added: Vec<String>,
    /// Listeners that are gone; their connections go on.
    pub removed: Vec<String>,
    /// Listeners with another service or body.
    pub changed: Vec<String>,
    /// Listeners that are as they were.
    pub unchanged: Vec<String>,
    /// Limits and times that have another value now.
    pub limits: Vec<String>,
    /// Settings that differ now, but take effect with a restart only.
    pub needs_restart: Vec<String>,
}

/// How far draining came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Drained {
    /// Flows that still lived at the end of the time-out.
    pub remaining: u64,
}

/// What ended a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// SIGINT or SIGTERM.
    Signal,
    /// The duration that was asked for is over.
    Duration,
    /// It was drained.
    Drain,
    /// A worker failed.
    Failure,
}

/// The closing summary.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// What ended it.
    pub ended_by: EndedBy,
    /// The last report; the uptime is the whole run.
    #[serde(flatten)]
    pub stats: Stats,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::port::PortCounters;
    use crate::verdict::{DropReason, Verdict};

    /// A capture of all frames.
    fn capture() -> CaptureReport {
        let path = "/tmp/all.pcapng".into();
        CaptureReport {
            all: Some(CaptureFile { path, frames: 1_200, bytes: 90_000, ..CaptureFile::default() }),
            failed: None,
        }
    }

    /// Two workers with a few figures each, the second's books out of balance by a frame.
    pub(crate) fn example() -> Stats {
        let mut counters = Counters::new();
        counters.count(Verdict::Accept);
        counters.count(Verdict::Transmit { len: 54 });
        counters.count(Verdict::Drop(DropReason::BadTcpChecksum));
        counters.passive_opens = 2;
        let ledger = FrameLedger { total: 8, fill: 4, in_hand: 0, tx_pending: 1, tx: 1, free: 2 };
        let mut figures = Figures {
            flows: 2,
            flows_capacity: 100,
            half_open: 1,
            half_open_limit: 10,
            timers: 2,
            busy_ns: 41_750_000_000,
            longest_gap_ns: 1_500_000,
            ..Figures::default()
        };
        figures.set_counters(&counters);
        figures.port = PortCounters { rx_frames: 3, rx_bytes: 180, ..PortCounters::default() }.named().collect();
        figures.ledger = ledger.named().collect();
        figures.xdp_statistics = [("rx_dropped", 0)].into_iter().collect();
        figures.capture = [("captured", 600), ("missed", 0)].into_iter().collect();
        figures.states = [("SYN-RECEIVED", 1), ("ESTABLISHED", 1), ("LAST-ACK", 0)].into_iter().collect();
        let mut ledgers = Ledgers::of(&counters, &ledger, 2);
        ledgers.add(&Ledgers { umem_frames_unaccounted: -1, ..Ledgers::default() });
        let mut total = figures.clone();
        total.add(&figures);
        let worker = |queue, core| WorkerReport { queue, core, figures: figures.clone() };
        let listener = |addr, port, service: &str| ListenerReport {
            addr,
            port,
            service: service.into(),
            connections: Some(2),
            opened: Some(3),
            half_open: Some(1),
            states: Some([("SYN-RECEIVED", 1), ("ESTABLISHED", 1), ("LAST-ACK", 0)].into_iter().collect()),
        };
        let identity = |name: &str, queue, difference: u64, tolerance| Identity {
            name: name.into(),
            queue,
            left: 10,
            right: 10 - difference,
            difference: difference.cast_signed(),
            tolerance,
        };
        Stats {
            version: "0.1.0".into(),
            interface: "hf-server".into(),
            uptime_s: 83.5,
            mode: Mode { xdp: "native".into(), bind: "copy".into() },
            listeners: vec![
                listener(None, 80, "http"),
                listener(Some([0, 0, 0, 0, 0, 0, 0, 1].into()), 7000, "discard"),
            ],
            workers: vec![worker(0, Some(0)), worker(1, Some(1))],
            total,
            interface_counters: [("rx_packets", 10), ("rx_errors", 0)].into_iter().collect(),
            steering: [("redirected", 6), ("passed", 4)].into_iter().collect(),
            syn_xdp: SynXdpReport::default(),
            capture: Some(capture()),
            ledgers,
            identities: vec![
                identity("interface_to_program", None, 2, 4),
                identity("program_to_rings", None, 2, 0),
                identity("flows", Some(1), 0, 0),
            ],
            setting: Setting { rx_queues: 2, mtu: 1500, veth: true, ..Setting::default() },
            draining: false,
        }
    }

    #[test]
    fn the_books_balance_or_name_the_difference() {
        let mut counters = Counters::new();
        counters.count(Verdict::Accept);
        let frames = FrameLedger { total: 4, fill: 2, in_hand: 1, tx_pending: 0, tx: 1, free: 0 };
        assert!(Ledgers::of(&counters, &frames, 0).balanced());
        counters.received += 2;
        let ledgers = Ledgers::of(&counters, &FrameLedger { total: 3, ..frames }, 5);
        let expected = Ledgers { frames_unaccounted: 2, flows_unaccounted: -5, umem_frames_unaccounted: -1 };
        assert_eq!(ledgers, expected);
    }

    #[test]
    fn differences_of_opposite_sign_do_not_hide_one_another() {
        let mut sum = Ledgers { frames_unaccounted: 3, ..Ledgers::default() };
        sum.add(&Ledgers { frames_unaccounted: -3, ..Ledgers::default() });
        assert_eq!(sum.frames_unaccounted, 6);
        assert!(!sum.balanced());
    }

    #[test]
    fn figures_add_up_by_name() {
        let stats = example();
        assert_eq!(stats.total.engine.get("received"), Some(6));
        assert_eq!(stats.total.drops.get("bad_tcp_checksum"), Some(2));
        assert_eq!((stats.total.flows, stats.total.flows_capacity, stats.total.timers), (4, 200, 4));
        assert_eq!(stats.total.ledger.get("total"), Some(16));
        let mut values: Values = [("a", 1)].into_iter().collect();
        values.add(&[("b", 2), ("a", 3)].into_iter().collect());
        assert_eq!(values.iter().collect::<Vec<_>>(), [("a", 4), ("b", 2)]);
    }
}
