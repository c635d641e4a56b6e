//! The books from the interface to the last frame: what one place counted against what the next one did.
//!
//! Each identity is computed from a report and shown with both sides and their difference. A report of a running server is not of
//! one moment: workers publish at times of their own, and the kernel counts on while it is read. So what is under way
//! between two places is a difference, and `tolerance` says how much of it that can be. Of a server that has ended all
//! tolerances are 0, but for frames that arrived while the program was attached or detached.
//!
//! What is not here: where the numbers come from (control), and what a difference may be caused by (why).

use super::report::{Figures, Stats, Values};
use serde::{Deserialize, Serialize};

/// One equation of the books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name, one of [`NAMES`].
    pub name: String,
    /// The queue that it is about; `None` for all together.
    pub queue: Option<u32>,
    /// What the first place counted.
    pub left: u64,
    /// What the next place counted.
    pub right: u64,
    /// `left` less `right`.
    pub difference: i64,
    /// How large a difference can be that is under way or between two readings.
    pub tolerance: u64,
}

/// The identities, in the order of a frame's way.
pub const NAMES: [&str; 9] = [
    "interface_to_program",
    "program_to_outcomes",
    "program_to_rings",
    "rings_to_engine",
    "engine_to_verdicts",
    "engine_to_tx_ring",
    "tx_ring_to_completion",
    "umem_frames",
    "flows",
];

/// Frames that one poll of a driver takes in at most (NAPI_POLL_WEIGHT): it may count them only when it is done.
const POLL_FRAMES: u64 = 64;

/// What is known about when the parts of a report were read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readings {
    /// True while frames are steered and workers turn.
    pub running: bool,
    /// Frames that were redirected in a second, lately.
    pub redirected_per_second: f64,
    /// Frames that arrived while the program was being attached or detached, at most.
    pub at_the_edges: u64,
    /// Processors that may run the program.
    pub processors: u64,
    /// Receive queues of the interface.
    pub rx_queues: u64,
}

impl Identity {
    /// True if the difference is no more than what can be under way.
    pub fn holds(&self) -> bool {
        self.difference.unsigned_abs() <= self.tolerance
    }

    fn new(name: &str, queue: Option<u32>, (left, right): (u64, u64), tolerance: u64) -> Self {
        let difference = i128::from(left) - i128::from(right);
        let difference = i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX });
        Self { name: name.to_owned(), queue, left, right, difference, tolerance }
    }
}

/// What became of each frame that the steering program saw: the counters behind `seen`, up to `tx_cookie`. Those behind that
/// count something else (bpf/contract.h).
pub fn outcomes(steering: &Values) -> impl Iterator<Item = (&str, u64)> {
    let mut is_behind = false;
    let up_to_the_last = move |(name, _): &(&str, u64)| {
        let goes_on = !is_behind;
        is_behind |= *name == "tx_cookie";
        goes_on
    };
    steering.iter().take_while(up_to_the_last).filter(|(name, _)| *name != "seen")
}

/// All identities of a report, those over everything first and then queue by queue.
pub fn identities(stats: &Stats, readings: &Readings) -> Vec<Identity> {
    let running = u64::from(readings.running);
    let steering = |name| stats.steering.get(name).unwrap_or(0);
    let outcomes = outcomes(&stats.steering).map(|(_, count)| count).sum();
    let interface = stats.interface_counters.get("rx_packets").unwrap_or(0);
    let sum = |names: fn(&Figures) -> u64| stats.workers.iter().map(|worker| names(&worker.figures)).sum::<u64>();
    let in_rings = sum(|figures| figures.ledger.get("fill").unwrap_or(0));
    let [to_program, to_outcomes, to_rings, ..] = NAMES;
    let mut books = vec![
        Identity::new(
            to_program,
            None,
            (interface, steering("seen")),
            readings.at_the_edges + running * (POLL_FRAMES * readings.rx_queues + per_millisecond(readings)),
        ),
        Identity::new(to_outcomes, None, (steering("seen"), outcomes), running * readings.processors),
        Identity::new(
            to_rings,
            None,
            (steering("redirected"), sum(arrived)),
            running * (in_rings + since_publication(stats, readings)),
        ),
    ];
    books.extend(stats.workers.iter().flat_map(|worker| of_queue(worker.queue, &worker.figures)));
    books
}

/// Frames that reached a socket: received by its worker, or dropped by the kernel for want of a frame, a place or room.
fn arrived(figures: &Figures) -> u64 {
    let kernel = |name| figures.xdp_statistics.get(name).unwrap_or(0);
    figures.port.get("rx_frames").unwrap_or(0) + kernel("rx_dropped") + kernel("rx_ring_full")
}

/// The identities within one publication of a worker: they hold exactly.
fn of_queue(queue: u32, figures: &Figures) -> Vec<Identity> {
    let Figures { engine, drops, port, ledger, .. } = figures;
    let get = |values: &Values, name| values.get(name).unwrap_or(0);
    let sum = |values: &Values| values.iter().map(|(_, value)| value).sum::<u64>();
    let (received, rx_frames, tx_frames) = (get(engine, "received"), get(port, "rx_frames"), get(port, "tx_frames"));
    let answered = get(engine, "transmitted_in_place");
    let places = ["fill", "in_hand", "tx_pending", "tx", "free"].map(|place| get(ledger, place)).iter().sum();
    let made = get(engine, "passive_opens") + get(engine, "active_opens");
    let ended: u64 = ENDS.iter().map(|end| get(engine, end)).sum();
    let sides = [
        (rx_frames, received),
        (received, answered + get(engine, "accepted") + sum(drops)),
        (answered + get(engine, "emitted"), tx_frames + get(ledger, "tx_pending")),
        (tx_frames, get(port, "tx_completed") + get(ledger, "tx")),
        (get(ledger, "total"), places),
        (made, ended + figures.flows),
    ];
    NAMES[3..].iter().zip(sides).map(|(name, sides)| Identity::new(name, Some(queue), sides, 0)).collect()
}

/// The ways in which a flow ends, each with a counter of the engine.
const ENDS: [&str; 13] = [
    "closed",
    "reset_by_peer",
    "aborted",
    "half_open_timeouts",
    "half_open_resets",
    "half_open_evicted",
    "refused",
    "open_timeouts",
    "retransmission_timeouts",
    "idle_timeouts",
    "fin_wait_2_timeouts",
    "time_wait_expired",
    "time_wait_reused",
];

/// Frames that may have been redirected since the oldest publication of a worker: twice what the rate of late would make.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of frames, rounded up")]
#[expect(clippy::cast_precision_loss, reason = "a span of time, to be multiplied by an estimate")]
fn since_publication(stats: &Stats, readings: &Readings) -> u64 {
    let age = stats.workers.iter().map(|worker| worker.figures.age_ns).max().unwrap_or(0);
    POLL_FRAMES + (2.0 * readings.redirected_per_second * age as f64 / 1e9).ceil() as u64
}

/// Frames that may arrive between the readings of two counters of the kernel.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of frames, rounded up")]
fn per_millisecond(readings: &Readings) -> u64 {
    (readings.redirected_per_second / 1e3).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::report::WorkerReport;

    /// 100 frames arrive: 90 are redirected, of which 80 are received; 60 are answered, of which 50 are sent already.
    fn stats() -> Stats {
        let values = |pairs: &[(&'static str, u64)]| pairs.iter().copied().collect::<Values>();
        let figures = Figures {
            engine: values(&[
                ("received", 80),
                ("transmitted_in_place", 60),
                ("accepted", 15),
                ("emitted", 4),
                ("passive_opens", 9),
                ("closed", 2),
            ]),
            drops: values(&[("bad_flags", 5)]),
            port: values(&[("rx_frames", 80), ("tx_frames", 61), ("tx_completed", 50)]),
            ledger: values(&[("total", 32), ("fill", 10), ("in_hand", 0), ("tx_pending", 3), ("tx", 11), ("free", 8)]),
            xdp_statistics: values(&[("rx_dropped", 1), ("rx_ring_full", 2)]),
            flows: 7,
            age_ns: 50_000_000,
            ..Figures::default()
        };
        Stats {
            interface_counters: values(&[("rx_packets", 100)]),
            steering: values(&[
                ("seen", 100),
                ("pass_not_ip", 8),
                ("redirected", 90),
                ("tx_cookie", 2),
                ("syn_buckets", 7),
            ]),
            workers: vec![WorkerReport { queue: 3, core: None, figures }],
            ..Stats::default()
        }
    }

    fn running() -> Readings {
        Readings { running: true, redirected_per_second: 100.0, at_the_edges: 0, processors: 2, rx_queues: 1 }
    }

    #[test]
    fn every_identity_has_both_sides_and_its_difference() {
        let books = identities(&stats(), &running());
        let rows: Vec<_> =
            books.iter().map(|row| (row.name.as_str(), row.queue, row.left, row.right, row.difference)).collect();
        let expected = [
            ("interface_to_program", None, 100, 100, 0),
            ("program_to_outcomes", None, 100, 100, 0),
            ("program_to_rings", None, 90, 83, 7),
            ("rings_to_engine", Some(3), 80, 80, 0),
            ("engine_to_verdicts", Some(3), 80, 80, 0),
            ("engine_to_tx_ring", Some(3), 64, 64, 0),
            ("tx_ring_to_completion", Some(3), 61, 61, 0),
            ("umem_frames", Some(3), 32, 32, 0),
            ("flows", Some(3), 9, 9, 0),
        ];
        assert_eq!(rows, expected);
        assert!(books.iter().all(Identity::holds), "{books:?}");
    }

    #[test]
    fn what_waits_in_a_ring_is_a_difference_while_running_and_a_defect_at_the_end() {
        let wait = |readings: &Readings| identities(&stats(), readings).remove(2);
        // 10 frames of the fill and RX ring, a poll, and twice 50 ms of 100 frames a second.
        assert_eq!(wait(&running()).tolerance, 10 + 64 + 10);
        let ended = wait(&Readings::default());
        assert_eq!((ended.difference, ended.tolerance, ended.holds()), (7, 0, false));
    }

    #[test]
    fn a_difference_keeps_its_sign() {
        let mut stats = stats();
        stats.interface_counters = [("rx_packets", 95)].into_iter().collect();
        stats.workers[0].figures.flows = 8;
        let books = identities(&stats, &Readings::default());
        assert_eq!((books[0].difference, books[8].difference), (-5, -1));
        assert!(!books[0].holds() && !books[8].holds());
    }
}
