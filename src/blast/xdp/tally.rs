//! What the program counted, as a result: sums that add up, and latencies as histograms.

use super::contract::{Count, Counters, LATENCY_BITS, LATENCY_BUCKETS};
use hdrhistogram::Histogram;
use std::fmt;
use std::time::Duration;

/// The longest latency that a histogram has, in ns: where the last bucket ends.
const LONGEST_NS: u64 = 1 << 37;

/// What the sending thread knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Connections sent more than 1 ms after they were due.
    pub late: u64,
    /// Connections of the plan that were never sent.
    pub unsent: u64,
    /// From the start to the end of sending.
    pub elapsed: Duration,
}

/// How connections ended. `attempted = completed + refused + reset + lost +` [`XdpTally::in_flight`], always.
#[derive(Clone, PartialEq)]
pub struct XdpTally {
    /// Connections whose SYN was handed to the interface.
    pub attempted: u64,
    /// Those that the target answered with a SYN-ACK.
    pub established: u64,
    /// Those that ended as planned.
    pub completed: u64,
    /// Those that the target answered with RST.
    pub refused: u64,
    /// Those that the target ended by RST later.
    pub reset: u64,
    /// Those that had not ended when it was the four-tuple's turn again, or when the grace was over.
    pub lost: u64,
    /// Frames from the target that no connection expects, and data offsets or control bits that cannot be.
    pub wrong: u64,
    /// Retransmissions of the target, which were answered again.
    pub repeated: u64,
    /// Frames from the target to one of our four-tuples.
    pub rx_frames: u64,
    /// Frames handed to the interface: SYNs and answers.
    pub tx_frames: u64,
    /// Frames that the interface did not take (its statistics' `tx_dropped` and `tx_errors`, whoever sent them).
    pub tx_errors: u64,
    /// Connections that were sent more than 1 ms after they were due.
    pub late: u64,
    /// Connections of the plan that were never sent: stopped, or sending fell too far behind.
    pub unsent: u64,
    /// From the SYN to the first SYN-ACK, in ns, within 1.6 %.
    pub handshake: Histogram<u64>,
    /// From the SYN to the segment that completed the connection, in ns, within 1.6 %.
    pub total: Histogram<u64>,
    /// How long was sent.
    pub elapsed: Duration,
}

impl XdpTally {
    /// The tally of these counters; `lost` are those that were overtaken.
    pub(super) fn new(counters: &Counters, sent: Sent, tx_errors: u64) -> Self {
        let get = |count| counters.get(count);
        Self {
            attempted: get(Count::Attempted),
            established: get(Count::Established),
            completed: get(Count::Completed),
            refused: get(Count::Refused),
            reset: get(Count::Reset),
            lost: get(Count::Overtaken),
            wrong: get(Count::Wrong),
            repeated: get(Count::Repeated),
            rx_frames: get(Count::Received),
            tx_frames: get(Count::Attempted) + get(Count::Answered),
            tx_errors,
            late: sent.late,
            unsent: sent.unsent,
            handshake: histogram(counters.handshake()),
            total: histogram(counters.total()),
            elapsed: sent.elapsed,
        }
    }

    /// Connections that have not ended yet. The counters are not read at one instant, so that while connections end the
    /// number may be off by those few.
    pub fn in_flight(&self) -> u64 {
        self.attempted.saturating_sub(self.completed + self.refused + self.reset + self.lost)
    }

    /// Gives up those in flight.
    pub(super) fn close(mut self) -> Self {
        self.lost += self.in_flight();
        self
    }
}

impl fmt::Debug for XdpTally {
    /// The numbers, and of the histograms no more than their sizes: each has thousands of places.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = [
            ("attempted", self.attempted),
            ("established", self.established),
            ("completed", self.completed),
            ("refused", self.refused),
            ("reset", self.reset),
            ("lost", self.lost),
            ("wrong", self.wrong),
            ("repeated", self.repeated),
            ("rx_frames", self.rx_frames),
            ("tx_frames", self.tx_frames),
            ("tx_errors", self.tx_errors),
            ("late", self.late),
            ("unsent", self.unsent),
            ("handshakes", self.handshake.len()),
            ("totals", self.total.len()),
        ];
        f.debug_map().entries(connections).entry(&"elapsed", &self.elapsed).finish()
    }
}

/// The middle of a bucket, in ns.
fn middle(bucket: usize) -> u64 {
    let per_power = 1_usize << LATENCY_BITS;
    if bucket < 2 * per_power {
        return bucket as u64;
    }
    let power = bucket / per_power - 1;
    let low = ((bucket % per_power + per_power) as u64) << power;
    low + (1 << power) / 2
}

/// Buckets as a histogram of their middles.
fn histogram(buckets: &[u64]) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("bounds that a histogram takes");
    debug_assert!(middle(LATENCY_BUCKETS - 1) < LONGEST_NS);
    for (bucket, count) in buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
        histogram.saturating_record_n(middle(bucket), *count);
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the program chooses a bucket: the arithmetic of latency_bucket() in bpf/generate.bpf.c.
    fn bucket(ns: u64) -> usize {
        let rest = ns >> LATENCY_BITS;
        if rest == 0 {
            return usize::try_from(ns).unwrap();
        }
        let power = rest.ilog2();
        usize::try_from((u64::from(power) << LATENCY_BITS) + (ns >> power)).unwrap().min(LATENCY_BUCKETS - 1)
    }

    #[test]
    fn the_middle_of_a_bucket_lies_in_it_and_near_all_of_it() {
        for i in 0..LATENCY_BUCKETS {
            assert_eq!(bucket(middle(i)), i);
        }
        for ns in (0..37).flat_map(|bit| [1_u64 << bit, (1 << bit) + 1, (1 << bit) * 2 - 1]) {
            assert!(middle(bucket(ns)).abs_diff(ns) <= ns / 64 + 1, "{ns} ns");
        }
        assert_eq!((bucket(LONGEST_NS - 1), bucket(LONGEST_NS)), (LATENCY_BUCKETS - 1, LATENCY_BUCKETS - 1));
    }

    #[test]
    fn a_histogram_has_every_count() {
        let mut buckets = vec![0; LATENCY_BUCKETS];
        buckets[bucket(50_000)] = 90;
        buckets[bucket(2_000_000)] = 10;
        buckets[LATENCY_BUCKETS - 1] = 1;
        let histogram = histogram(&buckets);
        assert_eq!(histogram.len(), 101);
        assert!(histogram.value_at_quantile(0.5).abs_diff(50_000) < 1_000);
        assert!(histogram.value_at_quantile(0.95).abs_diff(2_000_000) < 40_000);
    }

    #[test]
    fn what_has_not_ended_is_lost_in_the_end() {
        let mut words = vec![0_u64; Count::ALL.len() + 2 * LATENCY_BUCKETS];
        for (count, n) in [
            (Count::Attempted, 100),
            (Count::Completed, 90),
            (Count::Refused, 1),
            (Count::Reset, 2),
            (Count::Overtaken, 3),
            (Count::Answered, 180),
        ] {
            words[count as usize] = n;
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let tally = XdpTally::new(&Counters::sum([&bytes[..]].into_iter()), Sent::default(), 0);
        assert_eq!((tally.in_flight(), tally.lost, tally.tx_frames), (4, 3, 280));
        let closed = tally.close();
        assert_eq!((closed.in_flight(), closed.lost), (0, 7));
    }
}
