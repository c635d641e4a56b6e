//! What a profile says: where the time of a server's workers went, by stage and by frame, of each queue and in total. Its
//! renderings lie beside it: [`text`] for people, [`page`] as HTML, [`folded`] for tools that draw flame graphs.
//!
//! The report is made from the sheets that the workers handed back ([`Profiled::of`]). How they came to be is not here (profile,
//! worker), nor how they are fetched (control).

pub mod folded;
pub mod page;
pub mod text;

#[cfg(test)]
mod tests;

use crate::arch::cycles;
use crate::port::PortCounters;
use crate::profile::Stage;
use crate::profile::histogram::Histogram;
use crate::profile::sheet::{BATCHES, Sheet, Turns, least_of_batch};
use crate::worker::profile::Profile;
use serde::{Deserialize, Serialize};

/// Names of links and the time that each has for a frame of 64 bytes, in nanoseconds: preamble and gap make it 84 bytes.
pub const LINKS: [(&str, f64); 5] =
    [("1GbE", 672.0), ("10GbE", 67.2), ("25GbE", 26.88), ("40GbE", 16.8), ("100GbE", 6.72)];

/// The whole report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfileReport {
    /// Of the server.
    pub version: String,
    /// The served interface.
    pub interface: String,
    /// How long was to be profiled.
    pub duration_s: f64,
    /// One of so many turns was timed stage by stage, the others as a whole.
    pub every: u32,
    /// What was read for the time.
    pub clock: String,
    /// Each queue.
    pub workers: Vec<WorkerProfile>,
    /// All of them.
    pub total: Profiled,
    /// A frame's time beside what links have for it.
    pub budgets: Vec<Budget>,
}

/// One queue's worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerProfile {
    /// Its queue.
    pub queue: u32,
    /// Its core.
    pub core: u32,
    /// Where its time went.
    #[serde(flatten)]
    pub profiled: Profiled,
}

/// Where time went. "A frame" is a received one; what is per frame is null where none was received.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profiled {
    /// How long was profiled; over all queues the sum.
    pub period_s: f64,
    /// Cycles of the clock in a nanosecond.
    pub clock_ghz: f64,
    /// What one reading of it takes.
    pub clock_read_ns: f64,
    /// Frames meanwhile.
    pub frames: Frames,
    /// Turns meanwhile.
    pub turns: TurnCounts,
    /// Of the received frames, those in turns timed stage by stage.
    pub sampled_percent: f64,
    /// The stages of the turns that were timed so, in the order of a turn. The last two are `profiling`, the readings of the clock,
    /// which the stages before are without, and `unattributed`, what the stages do not add up to.
    pub stages: Vec<Part>,
    /// The length of these turns, taken by itself.
    pub turn: Part,
    /// How much of that the stages add up to, `profiling` included.
    pub attributed_percent: f64,
    /// A frame's share of the length of turns without what the readings cost.
    pub ns_per_frame: Option<f64>,
    /// The same of the turns that were timed as a whole; null if there were none.
    pub whole_ns_per_frame: Option<f64>,
    /// The whole period: turns with something to do, and what lies between them.
    pub period: Vec<Part>,
    /// Turns with something to do by how many frames they received.
    pub batches: Vec<Batch>,
    /// Lengths of the turns with something to do.
    pub turn_us: Spread,
    /// From the end of a turn that sent frames to the end of the turn that had all of them back.
    pub completion_lag_us: Spread,
    /// Calls of the kernel.
    pub kernel: KernelCalls,
}

/// Frames of the period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// Received.
    pub received: u64,
    /// Given to the kernel to send.
    pub sent: u64,
    /// Of these, those that no frame asked for.
    pub emitted: u64,
}

/// Turns of the period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnCounts {
    /// With something to do, timed stage by stage.
    pub detailed: u64,
    /// With something to do, timed as a whole.
    pub whole: u64,
    /// That found nothing to do.
    pub empty: u64,
}

/// A part of a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What.
    pub name: String,
    /// How long in all.
    pub ns: f64,
    /// A frame's share of it.
    pub ns_per_frame: Option<f64>,
    /// The same in cycles of the clock.
    pub cycles_per_frame: Option<f64>,
    /// Of the whole.
    pub percent: f64,
}

/// Turns that received so many frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The fewest frames.
    pub least: u64,
    /// The most.
    pub most: u64,
    /// How many turns.
    pub turns: u64,
}

/// How values are spread. Percentiles are at most an eighth too high.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// Nine of ten are no longer.
    pub p90: f64,
    /// 99 of 100 are no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Calls of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelCalls {
    /// To have it send.
    pub kicks: u64,
    /// Of these, answered that work is left.
    pub kicks_again: u64,
    /// Of these, failed.
    pub kicks_failed: u64,
    /// Frames sent by one.
    pub frames_per_kick: Option<f64>,
    /// To have it take frames out of the fill ring.
    pub rx_wakeups: u64,
    /// Sleeps in `poll`: as often the worker was woken.
    pub sleeps: u64,
    /// Publications, each of which asks for the socket's statistics.
    pub publications: u64,
    /// All of these by received frames.
    pub per_frame: Option<f64>,
}

/// A frame's time beside what a link has for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The link.
    pub link: String,
    /// What it has for a frame of 64 bytes when it is full.
    pub ns_per_frame: f64,
    /// How many times as long a frame takes here.
    pub times: Option<f64>,
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts and cycles of a profile are below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// To a millionth: what is behind it is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// `value` for each of `count`.
fn per(value: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| rounded(value / float(count)))
}

/// `part` of `whole` in percent; 0 of nothing.
fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { rounded(part / whole * 100.0) } else { 0.0 }
}

/// Sums over sheets, and what their cycles are in nanoseconds.
struct Sums<'a> {
    profiles: &'a [&'a Profile],
    nanos_per_cycle: f64,
}

impl Sums<'_> {
    fn sum(&self, of: impl Fn(&Sheet) -> u64) -> u64 {
        self.profiles.iter().map(|profile| of(&profile.sheet)).sum()
    }

    fn nanos(&self, of: impl Fn(&Sheet) -> u64) -> f64 {
        float(self.sum(of)) * self.nanos_per_cycle
    }

    fn counted(&self, of: impl Fn(&PortCounters) -> u64) -> u64 {
        self.profiles.iter().map(|profile| of(&profile.port)).sum()
    }

    /// What readings of the clock took, if each took what one takes.
    fn price(&self, readings: u64) -> f64 {
        let sheets = self.profiles.len().max(1);
        let one = self.nanos(|sheet| sheet.price) / float(Sheet::PRICE_OF) / float(sheets as u64);
        one * float(readings)
    }

    fn part(&self, name: &str, ns: f64, whole: f64, frames: u64) -> Part {
        let cycles = if self.nanos_per_cycle > 0.0 { ns / self.nanos_per_cycle } else { 0.0 };
        Part {
            name: name.to_owned(),
            ns: ns.round(),
            ns_per_frame: per(ns, frames),
            cycles_per_frame: per(cycles, frames),
            percent: percent(ns, whole),
        }
    }

    fn spread(&self, of: impl Fn(&Sheet) -> &Histogram) -> Spread {
        let mut all = Histogram::default();
        for profile in self.profiles {
            all.add(of(&profile.sheet));
        }
        let us = |cycles: u64| rounded(float(cycles) * self.nanos_per_cycle / 1e3);
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|part| us(all.quantile(part)));
        Spread { count: all.count(), p50, p90, p99, max: us(all.most()) }
    }

    /// The stages, `profiling` and `unattributed`, and how much of the turns they add up to, in percent.
    fn stages(&self) -> (Vec<Part>, f64) {
        let detailed = |of: fn(&Turns) -> u64| self.sum(|sheet| of(&sheet.detailed));
        let (turn, frames) =
            (float(detailed(|turns| turns.cycles)) * self.nanos_per_cycle, detailed(|turns| turns.frames));
        let (mut parts, mut profiling, mut attributed) = (Vec::new(), 0.0, 0.0);
        for stage in Stage::ALL {
            let raw = self.nanos(|sheet| sheet.stages[stage.index()]);
            let price = self.price(self.sum(|sheet| sheet.readings[stage.index()])).min(raw);
            parts.push(self.part(stage.name(), raw - price, turn, frames));
            profiling += price;
            attributed += raw;
        }
        parts.push(self.part("profiling", profiling, turn, frames));
        parts.push(self.part("unattributed", (turn - attributed).max(0.0), turn, frames));
        (parts, percent(attributed, turn))
    }

    /// What the period consists of.
    fn period(&self, whole: f64, frames: u64) -> Vec<Part> {
        let turns = self.nanos(|sheet| sheet.detailed.cycles + sheet.whole.cycles);
        let turns = std::iter::once(self.part("turns", turns, whole, frames));
        let between = [
            ("loop", self.nanos(|sheet| sheet.loops.cycles)),
            ("publication", self.nanos(|sheet| sheet.publications.cycles)),
            ("idle_poll", self.nanos(|sheet| sheet.polls.cycles)),
            ("idle_sleep", self.nanos(|sheet| sheet.sleeps.cycles)),
        ];
        turns.chain(between.map(|(name, ns)| self.part(name, ns, whole, frames))).collect()
    }

    fn kernel(&self, received: u64, sent: u64) -> KernelCalls {
        let (kicks, rx_wakeups) = (self.counted(|port| port.tx_kicks), self.counted(|port| port.rx_wakeups));
        let (sleeps, publications) = (self.sum(|sheet| sheet.sleeps.times), self.sum(|sheet| sheet.publications.times));
        KernelCalls {
            kicks,
            kicks_again: self.counted(|port| port.tx_kicks_again),
            kicks_failed: self.counted(|port| port.tx_kicks_failed),
            frames_per_kick: per(float(sent), kicks),
            rx_wakeups,
            sleeps,
            publications,
            per_frame: per(float(kicks + rx_wakeups + sleeps + publications), received),
        }
    }
}

impl Profiled {
    /// Where the time of these workers went.
    pub fn of(profiles: &[&Profile]) -> Self {
        let rates = profiles.iter().map(|profile| profile.sheet.nanos_per_cycle());
        let nanos_per_cycle = rates.sum::<f64>() / float(profiles.len().max(1) as u64);
        let sums = Sums { profiles, nanos_per_cycle };
        let period = sums.nanos(Sheet::cycles);
        let received = sums.counted(|port| port.rx_frames);
        let sent = sums.counted(|port| port.tx_frames);
        let sampled = sums.sum(|sheet| sheet.detailed.frames);
        let whole_frames = sums.sum(|sheet| sheet.whole.frames);
        let turn = sums.nanos(|sheet| sheet.detailed.cycles);
        let (stages, attributed_percent) = sums.stages();
        let profiling = stages.iter().find(|part| part.name == "profiling").map_or(0.0, |part| part.ns);
        let batch = |place: usize| Batch {
            least: least_of_batch(place),
            most: if place + 1 == BATCHES { least_of_batch(place) } else { least_of_batch(place + 1) - 1 },
            turns: sums.sum(|sheet| sheet.batches[place]),
        };
        Self {
            period_s: rounded(period / 1e9),
            clock_ghz: if nanos_per_cycle > 0.0 { rounded(1.0 / nanos_per_cycle) } else { 0.0 },
            clock_read_ns: rounded(sums.price(1)),
            frames: Frames { received, sent, emitted: profiles.iter().map(|profile| profile.emitted).sum() },
            turns: TurnCounts {
                detailed: sums.sum(|sheet| sheet.detailed.turns),
                whole: sums.sum(|sheet| sheet.whole.turns),
                empty: sums.sum(|sheet| sheet.polls.times),
            },
            sampled_percent: percent(float(sampled), float(sampled + whole_frames)),
            stages,
            turn: sums.part("turn", turn, turn, sampled),
            attributed_percent,
            ns_per_frame: per(turn - profiling, sampled),
            whole_ns_per_frame: per(sums.nanos(|sheet| sheet.whole.cycles), whole_frames),
            period: sums.period(period, received),
            batches: (0..BATCHES).map(batch).collect(),
            turn_us: sums.spread(|sheet| &sheet.turn_lengths),
            completion_lag_us: sums.spread(|sheet| &sheet.completion_lags),
            kernel: sums.kernel(received, sent),
        }
    }
}

impl ProfileReport {
    /// The report on workers, each with its queue and core.
    pub fn of(interface: &str, duration_s: f64, every: u32, workers: &[(u32, u32, Box<Profile>)]) -> Self {
        let all: Vec<&Profile> = workers.iter().map(|(_, _, profile)| &**profile).collect();
        let total = Profiled::of(&all);
        let budget = |(link, ns_per_frame): (&str, f64)| Budget {
            link: link.to_owned(),
            ns_per_frame,
            times: total.ns_per_frame.map(|ns| rounded(ns / ns_per_frame)),
        };
        let worker = |(queue, core, profile): &(u32, u32, Box<Profile>)| WorkerProfile {
            queue: *queue,
            core: *core,
            profiled: Profiled::of(&[profile]),
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interface: interface.to_owned(),
            duration_s,
            every,
            clock: cycles::SOURCE.to_owned(),
            workers: workers.iter().map(worker).collect(),
            budgets: LINKS.into_iter().map(budget).collect(),
            total,
        }
    }
}
