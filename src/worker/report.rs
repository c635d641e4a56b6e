//! What a worker publishes of itself: counters, ledgers, gauges, as one block of words.

use super::capture::CaptureCounters;
use crate::port::{FrameLedger, KernelStatistics, PortCounters};
use crate::stats::counters::{COUNTERS, Counters};
use crate::tcp::state::State;

const PORT: usize = PortCounters::NAMES.len();
const LEDGER: usize = FrameLedger::NAMES.len();
const KERNEL: usize = KernelStatistics::NAMES.len();
const CAPTURE: usize = CaptureCounters::NAMES.len();
const STATES: usize = State::ALL.len();
const GAUGES: usize = 11;

/// Words of a report.
pub const REPORT_WORDS: usize = COUNTERS + PORT + LEDGER + KERNEL + CAPTURE + STATES + GAUGES;

/// A worker at one moment between two turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the engine counted.
    pub counters: Counters,
    /// What the port counted.
    pub port: PortCounters,
    /// Where the frames are.
    pub ledger: FrameLedger,
    /// What the kernel counted on the socket.
    pub kernel: KernelStatistics,
    /// What was counted of what it captures; all zero without a capture.
    pub capture: CaptureCounters,
    /// Flows by state, at [`State::index`].
    pub states: [u64; STATES],
    /// Flows.
    pub flows: u64,
    /// Flows there can be.
    pub capacity: u64,
    /// Timers armed; one a flow.
    pub timers: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Sleeps for want of work.
    pub sleeps: u64,
    /// Turns that left something to send for the next turn because the budget of frames was used up.
    pub emit_budget_exhausted: u64,
    /// Nanoseconds spent in turns that had something to do.
    pub busy_nanos: u64,
    /// Nanoseconds by which turns began late, those counted in `late_turns` only.
    pub late_nanos: u64,
    /// Turns that began later than [`super::pace::LATE_NANOS`].
    pub late_turns: u64,
    /// The most nanoseconds that a turn began late.
    pub longest_gap_nanos: u64,
    /// When this was published, by the worker's clock.
    pub published_nanos: u64,
}

impl Report {
    /// The report as words.
    pub fn to_words(&self) -> [u64; REPORT_WORDS] {
        let gauges: [u64; GAUGES] = [
            self.flows,
            self.capacity,
            self.timers,
            self.turns,
            self.sleeps,
            self.emit_budget_exhausted,
            self.busy_nanos,
            self.late_nanos,
            self.late_turns,
            self.longest_gap_nanos,
            self.published_nanos,
        ];
        let counters = self.counters.to_array();
        let (port, ledger, kernel) = (self.port.to_array(), self.ledger.to_array(), self.kernel.to_array());
        let capture = self.capture.to_array();
        let mut words = [0; REPORT_WORDS];
        let mut rest = &mut words[..];
        for part in [&counters[..], &port, &ledger, &kernel, &capture, &self.states, &gauges] {
            let (here, behind) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = behind;
        }
        words
    }

    /// The inverse of [`Report::to_words`].
    pub fn from_words(words: &[u64; REPORT_WORDS]) -> Self {
        let mut rest = &words[..];
        let counters = Counters::from_array(take(&mut rest));
        let port = PortCounters::from_array(take(&mut rest));
        let ledger = FrameLedger::from_array(take(&mut rest));
        let kernel = KernelStatistics::from_array(take(&mut rest));
        let capture = CaptureCounters::from_array(take(&mut rest));
        let states = *take(&mut rest);
        let gauges: [u64; GAUGES] = *take(&mut rest);
        let [flows, capacity, timers, turns, sleeps, emit_budget_exhausted, rest @ ..] = gauges;
        let [busy_nanos, late_nanos, late_turns, longest_gap_nanos, published_nanos] = rest;
        Self {
            counters,
            port,
            ledger,
            kernel,
            capture,
            states,
            flows,
            capacity,
            timers,
            turns,
            sleeps,
            emit_budget_exhausted,
            busy_nanos,
            late_nanos,
            late_turns,
            longest_gap_nanos,
            published_nanos,
        }
    }

    /// Half-open connections.
    pub fn half_open(&self) -> u64 {
        self.states[State::SynReceived.index()]
    }

    /// Adds another worker's report to this one. Of the gaps the longest stays, of the moments the earlier.
    pub fn add(&mut self, other: &Report) {
        let (mine, theirs) = (self.to_words(), other.to_words());
        *self = Self {
            longest_gap_nanos: self.longest_gap_nanos.max(other.longest_gap_nanos),
            published_nanos: self.published_nanos.min(other.published_nanos),
            ..Self::from_words(&core::array::from_fn(|i| mine[i] + theirs[i]))
        };
    }
}

/// The next `N` words. The sizes add up by the definition of [`REPORT_WORDS`].
fn take<'a, const N: usize>(rest: &mut &'a [u64]) -> &'a [u64; N] {
    let (here, behind) = rest.split_first_chunk().expect("the parts of a report add up");
    *rest = behind;
    here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_carry_the_whole_report() {
        let words: [u64; REPORT_WORDS] = core::array::from_fn(|i| i as u64 * 3 + 1);
        let report = Report::from_words(&words);
        assert_eq!(report.to_words(), words);
        assert_eq!(report.published_nanos, words[REPORT_WORDS - 1]);
        let mut sum = report;
        sum.add(&report);
        assert_eq!(sum.flows, report.flows * 2);
        assert_eq!(sum.longest_gap_nanos, report.longest_gap_nanos);
        assert_eq!(sum.counters.received, 2);
    }
}
