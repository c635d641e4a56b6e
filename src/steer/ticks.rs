//! The kernel's clock of ticks: what it shows, when, and how long a tick is.
//!
//! The steering program takes its timestamps from that clock, since reading it is one load where the monotonic clock costs a third of
//! an answer. User space cannot read it, so a program of the same object says what it shows. The coarse monotonic clock moves
//! with it, but an interrupt that comes late sets it to where the late tick ends, less than a tick after where that tick began. So
//! what it shows is taken for a tick later than it was: no timestamp of the program is ahead of the workers', whose next segment the peer
//! would take for an old one (RFC 7323 5.3), and none is behind by more than three ticks.
//!
//! What is not here: what a timestamp is made of ([`super::cookies`]).

use super::contract::TICK_MS_BITS;
use libbpf_rs::{ProgramInput, ProgramMut};
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

/// Reads of the coarse clock that have to agree; it moves a hundred to a thousand times a second.
const TRIES: u32 = 4;

/// An XDP program runs over a frame, which has an Ethernet header at least.
const FRAME: [u8; 14] = [0; 14];

/// An instant by the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    /// The tick, modulo 2^32.
    pub tick: u32,
    /// When it began at the latest, in ns of CLOCK_MONOTONIC; up to two ticks earlier.
    pub at_ns: u64,
    /// How long a tick is.
    pub length_ns: u64,
}

impl Ticks {
    /// What the clock shows now. `program` is the one that reads it.
    pub fn read(program: &ProgramMut<'_>) -> libbpf_rs::Result<Self> {
        let length_ns = ns(clock_getres(ClockId::MonotonicCoarse));
        let coarse_ns = || ns(clock_gettime(ClockId::MonotonicCoarse));
        let (mut before_ns, mut tick) = (0, 0);
        for _ in 0..TRIES {
            before_ns = coarse_ns();
            let input = ProgramInput { data_in: Some(&FRAME), ..ProgramInput::default() };
            tick = program.test_run(input)?.return_value;
            // Where the clock moved meanwhile, the earlier instant only makes timestamps older.
            if coarse_ns() == before_ns {
                break;
            }
        }
        Ok(Self { tick, at_ns: before_ns.saturating_sub(length_ns), length_ns })
    }

    /// The ms of a tick as the program multiplies with them.
    pub fn tick_ms(self) -> u32 {
        u32::try_from((self.length_ns << TICK_MS_BITS) / 1_000_000).expect("a tick is at most 10 ms")
    }
}

fn ns(time: Timespec) -> u64 {
    let part = |value: i64| u64::try_from(value).expect("a monotonic clock is not negative");
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_a_thousandth_to_a_hundredth_of_a_second() {
        for (hertz, tick_ms) in [(100, 10 << 20), (250, 4 << 20), (1_000, 1 << 20)] {
            let ticks = Ticks { tick: 0, at_ns: 0, length_ns: 1_000_000_000 / hertz };
            assert_eq!(ticks.tick_ms(), tick_ms);
        }
        // 300 a second: over the 64 s of a key the product falls behind by less than a microsecond.
        let ticks = Ticks { tick: 0, at_ns: 0, length_ns: 3_333_333 };
        let after = (64 * 300 * u64::from(ticks.tick_ms()) * 1_000) >> TICK_MS_BITS;
        assert!((63_999_900..64_000_000).contains(&after), "{after} us");
        let here = ns(clock_getres(ClockId::MonotonicCoarse));
        assert!((1_000_000..=10_000_000).contains(&here), "{here} ns");
    }
}
