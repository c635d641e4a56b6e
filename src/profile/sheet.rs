//! The sheet on which one worker's time is booked, and the marks that book it.
//!
//! Of all turns that had something to do, one in so many is timed stage by stage and the others as a whole: a reading of the clock
//! for each stage of each frame is not free. What lies between turns is booked too, so that nothing of the period is without a
//! name: the loop with its clock, publications, sleeps, and turns that found nothing. The turn's own length is taken by
//! readings of its own and not from the stages, which have to add up to it. A clock that goes back, as that of a machine which is
//! moved may, makes a length 0 and nothing worse.

use core::cell::Cell;

use super::histogram::Histogram;
use super::{Probe, Stage};
use crate::arch::cycles;
use crate::time::Now;

/// How many stages there are.
pub const STAGES: usize = Stage::ALL.len();
/// Batch sizes that are told apart, by powers of two: 0, 1, 2 to 3, 4 to 7 and so on, and 64 or more.
pub const BATCHES: usize = 8;
/// Readings that the price of one is taken from.
const READINGS: u32 = 32;
/// The price is the least of so many trials: whatever came in between is no price.
const TRIALS: u32 = 16;

/// The marks of one turn. Cells, because many hold it while a turn goes on; it has one thread.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    last: Cell<u64>,
    cycles: [Cell<u64>; STAGES],
    readings: [Cell<u64>; STAGES],
}

impl Marks {
    /// The first stage begins.
    fn begin(&self) {
        self.last.set(cycles::now());
    }
}

impl Probe for &Marks {
    #[inline]
    fn mark(self, stage: Stage) {
        let (now, i) = (cycles::now(), stage.index());
        self.cycles[i].set(self.cycles[i].get() + now.saturating_sub(self.last.get()));
        self.readings[i].set(self.readings[i].get() + 1);
        self.last.set(now);
    }
}

/// Turns that had something to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// How many.
    pub turns: u64,
    /// Frames received in them.
    pub frames: u64,
    /// Their length.
    pub cycles: u64,
}

/// Something between turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// How often.
    pub times: u64,
    /// How long in all.
    pub cycles: u64,
}

/// What a turn did, as the port counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// True if it had anything to do.
    pub worked: bool,
    /// Frames that it received.
    pub received: u64,
    /// Frames given to the kernel to send, since the start.
    pub given: u64,
    /// Frames of these that had come back, since the start.
    pub completed: u64,
}

/// One worker's time. Lengths are in cycles of [`cycles::now`].
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// The marks of the turn under way.
    pub marks: Marks,
    every: u32,
    until_detailed: u32,
    /// Up to here everything is booked.
    booked: u64,
    turn_began: u64,
    /// A turn that sent frames, and is watched for when they come back: how many were given then, and when.
    watched: Option<(u64, u64)>,
    /// Time of each stage, in the turns timed stage by stage; the clock's own readings included.
    pub stages: [u64; STAGES],
    /// Readings of the clock in each stage.
    pub readings: [u64; STAGES],
    /// The turns timed stage by stage.
    pub detailed: Turns,
    /// The turns timed as a whole only.
    pub whole: Turns,
    /// Turns that found nothing to do.
    pub polls: Between,
    /// The loop between turns: its clock, its questions.
    pub loops: Between,
    /// Publications.
    pub publications: Between,
    /// Sleeps.
    pub sleeps: Between,
    /// Turns with something to do by how many frames they received: see [`BATCHES`].
    pub batches: [u64; BATCHES],
    /// Lengths of the turns with something to do.
    pub turn_lengths: Histogram,
    /// From the end of a turn that sent frames to the end of the turn that had all of them back.
    pub completion_lags: Histogram,
    /// What a reading of the clock takes, times [`Sheet::PRICE_OF`].
    pub price: u64,
    began: (u64, Now),
    ended: (u64, Now),
}

impl Sheet {
    /// [`Sheet::price`] is the price of so many readings.
    pub const PRICE_OF: u64 = READINGS as u64;

    /// A sheet on which one of `every` turns is to be timed stage by stage; 0 counts as 1.
    pub fn new(every: u32) -> Self {
        Self { every: every.max(1), ..Self::default() }
    }

    /// One of so many turns is timed stage by stage.
    pub fn every(&self) -> u32 {
        self.every
    }

    /// The period begins, at `now` by the worker's clock.
    pub fn begin(&mut self, now: Now) {
        self.price = price_of_readings();
        self.began = (cycles::now(), now);
        self.booked = self.began.0;
    }

    /// A turn begins. True if it is to be timed stage by stage.
    #[inline]
    pub fn turn_begins(&mut self) -> bool {
        self.turn_began = cycles::now();
        let detailed = self.until_detailed == 0;
        self.until_detailed = if detailed { self.every - 1 } else { self.until_detailed - 1 };
        if detailed {
            self.marks.begin();
        }
        detailed
    }

    /// The turn has ended that began last; `detailed` is what was said then.
    pub fn turn_ends(&mut self, detailed: bool, moved: &Moved) {
        let now = cycles::now();
        let length = now.saturating_sub(self.turn_began);
        let gap = self.turn_began.saturating_sub(self.booked);
        self.booked = now;
        if moved.worked {
            self.loops.times += 1;
            self.loops.cycles += gap;
            self.turn_lengths.record(length);
            self.batches[batch(moved.received)] += 1;
            let turns = if detailed { &mut self.detailed } else { &mut self.whole };
            turns.turns += 1;
            turns.frames += moved.received;
            turns.cycles += length;
        } else {
            self.polls.times += 1;
            self.polls.cycles += gap + length;
        }
        if detailed {
            self.take_marks(moved.worked);
        }
        self.watch(now, moved);
    }

    /// Takes the marks off; they are booked if the turn had something to do.
    fn take_marks(&mut self, worked: bool) {
        for i in 0..STAGES {
            let (cycles, readings) = (self.marks.cycles[i].take(), self.marks.readings[i].take());
            if worked {
                self.stages[i] += cycles;
                self.readings[i] += readings;
            }
        }
    }

    /// Follows the frames of one turn at a time until all of them are back.
    fn watch(&mut self, now: u64, moved: &Moved) {
        match self.watched {
            Some((given, since)) if moved.completed >= given => {
                self.completion_lags.record(now.saturating_sub(since));
                self.watched = None;
            }
            Some(_) => {}
            None if moved.given > moved.completed => self.watched = Some((moved.given, now)),
            None => {}
        }
    }

    /// A publication has ended.
    pub fn published(&mut self) {
        Self::book(&mut self.booked, &mut self.publications);
    }

    /// A sleep has ended.
    pub fn slept(&mut self) {
        Self::book(&mut self.booked, &mut self.sleeps);
    }

    fn book(booked: &mut u64, between: &mut Between) {
        let now = cycles::now();
        between.times += 1;
        between.cycles += now.saturating_sub(*booked);
        *booked = now;
    }

    /// The period has ended with the turn that began last, at `now` by the worker's clock.
    pub fn end(&mut self, now: Now) {
        self.ended = (self.turn_began, now);
    }

    /// A period with these ends, each by both clocks, of which all is booked.
    #[cfg(all(test, feature = "xdp"))]
    pub(crate) fn set_period(&mut self, began: (u64, Now), ended: (u64, Now)) {
        (self.began, self.ended, self.booked) = (began, ended, ended.0);
    }

    /// Nanoseconds that a cycle takes, by the worker's clock over the whole period; 0 if there was none.
    #[expect(clippy::cast_precision_loss, reason = "a period is below 2^53 ns and cycles for years")]
    pub fn nanos_per_cycle(&self) -> f64 {
        let (cycles, nanos) = (self.ended.0.saturating_sub(self.began.0), self.ended.1.nanos_since(self.began.1));
        if cycles == 0 { 0.0 } else { nanos as f64 / cycles as f64 }
    }

    /// The period, to the end of its last turn.
    pub fn cycles(&self) -> u64 {
        self.booked.saturating_sub(self.began.0)
    }
}

/// The place of a batch size in [`Sheet::batches`].
fn batch(frames: u64) -> usize {
    let bits = u64::BITS - frames.leading_zeros();
    (bits as usize).min(BATCHES - 1)
}

/// The fewest frames of a batch at that place in [`Sheet::batches`].
pub fn least_of_batch(place: usize) -> u64 {
    if place == 0 { 0 } else { 1 << (place - 1) }
}

/// What [`READINGS`] readings of the clock take one after another.
fn price_of_readings() -> u64 {
    let mut least = u64::MAX;
    for _ in 0..TRIALS {
        let before = cycles::now();
        for _ in 1..READINGS {
            core::hint::black_box(cycles::now());
        }
        least = least.min(cycles::now().saturating_sub(before));
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes some time.
    fn work(amount: u64) {
        for i in 0..amount {
            core::hint::black_box(i);
        }
    }

    fn turn(sheet: &mut Sheet, moved: Moved) {
        let detailed = sheet.turn_begins();
        if detailed {
            for (stage, amount) in [(Stage::Receive, 2_000), (Stage::Tcp, 10_000), (Stage::Kick, 4_000)] {
                work(amount);
                (&sheet.marks).mark(stage);
            }
        } else {
            work(16_000);
        }
        sheet.turn_ends(detailed, &moved);
    }

    const BUSY: Moved = Moved { worked: true, received: 5, given: 0, completed: 0 };
    const EMPTY: Moved = Moved { worked: false, received: 0, given: 0, completed: 0 };

    #[test]
    fn stages_add_up_to_the_turn_which_is_timed_by_itself() {
        let mut sheet = Sheet::new(1);
        sheet.begin(Now(0));
        for _ in 0..200 {
            turn(&mut sheet, BUSY);
        }
        let sum: u64 = sheet.stages.iter().sum();
        assert!(sum <= sheet.detailed.cycles, "{sum} of {}", sheet.detailed.cycles);
        assert!(sum * 100 >= sheet.detailed.cycles * 95, "{sum} of {}", sheet.detailed.cycles);
        assert_eq!((sheet.detailed.turns, sheet.detailed.frames, sheet.whole.turns), (200, 1_000, 0));
        assert_eq!(sheet.readings.iter().sum::<u64>(), 600);
        let of = |stage: Stage| sheet.stages[stage.index()];
        assert!(of(Stage::Tcp) > of(Stage::Kick) && of(Stage::Kick) > of(Stage::Receive), "{:?}", sheet.stages);
        assert_eq!(of(Stage::Parse), 0);
    }

    #[test]
    fn every_cycle_of_the_period_is_booked_once() {
        let mut sheet = Sheet::new(3);
        sheet.begin(Now(0));
        for round in 0..100 {
            turn(&mut sheet, if round % 2 == 0 { BUSY } else { EMPTY });
            if round % 10 == 0 {
                work(1_000);
                sheet.published();
                work(3_000);
                sheet.slept();
            }
        }
        turn(&mut sheet, EMPTY);
        let between = [sheet.polls, sheet.loops, sheet.publications, sheet.sleeps];
        let sum =
            between.iter().map(|between| between.cycles).sum::<u64>() + sheet.detailed.cycles + sheet.whole.cycles;
        assert_eq!(sum, sheet.cycles());
        assert_eq!(between.map(|between| between.times), [51, 50, 10, 10]);
        assert_eq!(sheet.detailed.turns + sheet.whole.turns, 50);
        assert!(sheet.detailed.turns.abs_diff(17) <= 1, "{:?}", sheet.detailed);
        assert!(sheet.sleeps.cycles > sheet.publications.cycles);
    }

    #[test]
    fn a_turn_that_found_nothing_leaves_no_stages_behind() {
        let mut sheet = Sheet::new(1);
        sheet.begin(Now(0));
        turn(&mut sheet, EMPTY);
        assert_eq!((sheet.stages, sheet.readings), ([0; STAGES], [0; STAGES]));
        turn(&mut sheet, BUSY);
        assert_eq!(sheet.readings.iter().sum::<u64>(), 3);
    }

    #[test]
    fn a_completion_is_timed_from_its_turn_to_the_turn_that_has_all_of_it() {
        let mut sheet = Sheet::new(1);
        sheet.begin(Now(0));
        let sends = |given, completed| Moved { given, completed, ..BUSY };
        for (moved, lags) in [
            (sends(10, 0), 0),
            (sends(15, 9), 0),
            (sends(20, 10), 1),
            // The next one to be watched is the turn behind.
            (sends(20, 15), 1),
            (sends(20, 19), 1),
            (sends(20, 20), 2),
            (sends(20, 20), 2),
        ] {
            turn(&mut sheet, moved);
            assert_eq!(sheet.completion_lags.count(), lags, "{moved:?}");
        }
    }

    #[test]
    fn batches_are_told_apart_by_powers_of_two() {
        for (frames, place) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (31, 5), (32, 6), (63, 6), (64, 7), (1_000, 7)]
        {
            assert_eq!(batch(frames), place, "{frames}");
            assert!(least_of_batch(place) <= frames);
        }
    }

    #[test]
    fn the_clock_is_calibrated_by_the_workers() {
        let mut sheet = Sheet::new(1);
        assert!(sheet.nanos_per_cycle().abs() < f64::EPSILON);
        sheet.begin(Now(1_000));
        turn(&mut sheet, BUSY);
        turn(&mut sheet, BUSY);
        sheet.end(Now(3_000));
        let until_the_last_turn = (sheet.turn_began - sheet.began.0) as f64;
        assert!((sheet.nanos_per_cycle() * until_the_last_turn - 2_000.0).abs() < 1e-6);
        assert!(sheet.price > 0);
    }
}
