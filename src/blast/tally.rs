//! What one worker of a generator counts: connections by what became of them, and latencies by phase. Owned by that worker;
//! merged when all of them have ended.

use crate::tcp::effects::End;
use hdrhistogram::Histogram;

/// Longest latency that is told apart from longer ones, in nanoseconds: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Why a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A RST answered the SYN.
    Refused,
    /// A RST ended the connection later.
    Reset,
    /// Nothing answered the SYN.
    HandshakeTimeout,
    /// An established connection fell silent: no acknowledgment, no answer, no FIN.
    Timeout,
    /// What the target sent is no whole HTTP answer with status 2xx.
    WrongAnswer,
    /// The target closed a connection that was to be held.
    ClosedEarly,
    /// Sent, and not heard of again (the stateless engine, which repeats nothing).
    Lost,
    /// The run was over before the connection was.
    Unfinished,
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: usize = 8;
    /// All reasons, in the order of [`Reason::index`].
    pub const ALL: [Reason; Self::COUNT] = [
        Reason::Refused,
        Reason::Reset,
        Reason::HandshakeTimeout,
        Reason::Timeout,
        Reason::WrongAnswer,
        Reason::ClosedEarly,
        Reason::Lost,
        Reason::Unfinished,
    ];

    /// Position in [`Reason::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Timeout => "timeout",
            Self::WrongAnswer => "wrong_answer",
            Self::ClosedEarly => "closed_early",
            Self::Lost => "lost",
            Self::Unfinished => "unfinished",
        }
    }

    /// The reason for a connection that ended in this way before it was complete.
    pub fn of(end: End) -> Self {
        match end {
            End::Refused => Self::Refused,
            End::ResetByPeer | End::HalfOpenReset => Self::Reset,
            End::OpenTimeout | End::HalfOpenTimeout => Self::HandshakeTimeout,
            End::RetransmissionTimeout
            | End::IdleTimeout
            | End::FinWait2Timeout
            | End::Closed
            | End::TimeWaitExpired
            | End::HalfOpenEvicted
            | End::TimeWaitReused => Self::Timeout,
            End::Aborted => Self::WrongAnswer,
        }
    }
}

/// A part of a connection's life that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the intended start to ESTABLISHED.
    Handshake,
    /// From ESTABLISHED to the first byte of the answer.
    FirstByte,
    /// From the first FIN, ours as it is sent or the target's as it arrives, until both are acknowledged.
    Teardown,
    /// From the intended start until both FINs are acknowledged, or to our RST; without the time of a hold.
    Total,
}

impl Phase {
    /// How many phases there are.
    pub const COUNT: usize = 4;
    /// All phases, in the order of [`Phase::index`].
    pub const ALL: [Phase; Self::COUNT] = [Phase::Handshake, Phase::FirstByte, Phase::Teardown, Phase::Total];

    /// Position in [`Phase::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::FirstByte => "first_byte",
            Self::Teardown => "teardown",
            Self::Total => "total",
        }
    }
}

/// A histogram of nanoseconds with three digits, all its memory allocated.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds that the crate allows")
}

/// The counts. attempted = completed + sum of failed + in progress, at every moment.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Connections whose SYN was sent.
    pub attempted: u64,
    /// Connections that reached ESTABLISHED.
    pub established: u64,
    /// Connections that went to their end as planned.
    pub completed: u64,
    /// Those that did not, at [`Reason::index`].
    pub failed: [u64; Reason::COUNT],
    /// Latencies in nanoseconds, at [`Phase::index`].
    pub latency: [Histogram<u64>; Phase::COUNT],
    /// Connections in progress at once, at most.
    pub most_in_progress: u64,
    /// Starts behind the schedule by more than a millisecond.
    pub late: u64,
    /// The most that a start was behind the schedule, in nanoseconds.
    pub most_late_ns: u64,
    /// Times that no frame was free for a SYN.
    pub no_frame: u64,
    /// Times that no flow was free for a connection.
    pub no_flow: u64,
    /// Times that no free four-tuple was found.
    pub no_tuple: u64,
    /// Nanoseconds of turns in which there was something to do.
    pub busy_ns: u64,
    /// When the last connection of the run had started or, if none had to wait for another's end, ended; nanoseconds since the
    /// start.
    pub sending_ns: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            attempted: 0,
            established: 0,
            completed: 0,
            failed: [0; Reason::COUNT],
            latency: core::array::from_fn(|_| histogram()),
            most_in_progress: 0,
            late: 0,
            most_late_ns: 0,
            no_frame: 0,
            no_flow: 0,
            no_tuple: 0,
            busy_ns: 0,
            sending_ns: 0,
        }
    }
}

impl Tally {
    /// Adds a latency.
    pub fn measured(&mut self, phase: Phase, ns: u64) {
        self.latency[phase.index()].saturating_record(ns);
    }

    /// All failures.
    pub fn failed_total(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Tally) {
        self.attempted += other.attempted;
        self.established += other.established;
        self.completed += other.completed;
        self.failed.iter_mut().zip(other.failed).for_each(|(mine, theirs)| *mine += theirs);
        for (mine, theirs) in self.latency.iter_mut().zip(&other.latency) {
            mine.add(theirs).expect("all histograms have the same bounds");
        }
        self.most_in_progress += other.most_in_progress;
        self.late += other.late;
        self.most_late_ns = self.most_late_ns.max(other.most_late_ns);
        self.no_frame += other.no_frame;
        self.no_flow += other.no_flow;
        self.no_tuple += other.no_tuple;
        self.busy_ns += other.busy_ns;
        self.sending_ns = self.sending_ns.max(other.sending_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_places_of_reasons_and_phases_agree() {
        assert!(Reason::ALL.iter().enumerate().all(|(i, reason)| reason.index() == i));
        assert!(Phase::ALL.iter().enumerate().all(|(i, phase)| phase.index() == i));
        assert_eq!(Reason::of(End::OpenTimeout).name(), "handshake_timeout");
    }

    #[test]
    fn tallies_add_up() {
        let mut one = Tally { attempted: 3, completed: 1, most_late_ns: 5, ..Tally::default() };
        one.failed[Reason::Reset.index()] = 2;
        one.measured(Phase::Total, 1_000);
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!((sum.attempted, sum.completed, sum.failed_total(), sum.most_late_ns), (6, 2, 4, 5));
        assert_eq!(sum.latency[Phase::Total.index()].len(), 2);
    }
}
