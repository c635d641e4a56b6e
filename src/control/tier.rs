//! When the steering program answers SYNs by itself: two watermarks over what is counted anyway.
//!
//! A worker answers SYNs with cookies when it is under pressure. When all of them together send more than so many cookies a
//! second, the program takes over, which costs no ring, copy or wakeup; when it answers fewer than half as many for some time,
//! the workers have them back. What is here decides, over counters and instants that it is handed. What is not here: who reads the
//! counters and does the switching (office), and everything on the data path.

use super::values::SynXdp;
use std::collections::VecDeque;
use std::time::Duration;

/// Over how long a rate is taken. Workers publish every 100 ms, so less would mostly measure that.
const WINDOW: Duration = Duration::from_millis(300);

/// For how long the rate has to be low until the workers answer again.
pub const CALM: Duration = Duration::from_secs(5);

/// Lines about switching are this far apart at least.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The program answers from now on, or no more.
    pub on: bool,
    /// SYNs answered with a cookie in a second, at this moment.
    pub per_second: u64,
    /// It is to be told; how many switches were not since the last that was.
    pub tell: Option<u32>,
}

/// The watermarks and what was seen of the rate.
#[derive(Debug, Default)]
pub struct Tier {
    on: bool,
    /// Instants and the number of cookies sent until then, the oldest first: one at or before the window, and those in it.
    seen: VecDeque<(Duration, u64)>,
    /// Since when the rate has been low.
    calm_since: Option<Duration>,
    /// When a switch was last told, and how many have not been told since.
    told: Option<Duration>,
    untold: u32,
    /// How often it was switched on.
    pub switched_on: u64,
}

impl Tier {
    /// True if the program answers.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Looks at how many SYNs were answered with a cookie until `now`, by workers and program, and says if somebody else is to
    /// answer from now on. `at` is how many a second are for the program; 0 is never.
    pub fn look(&mut self, now: Duration, cookies: u64, mode: SynXdp, at: u32) -> Option<Switch> {
        let per_second = self.rate(now, cookies);
        let at = u64::from(at);
        let wanted = match mode {
            SynXdp::Always => true,
            SynXdp::Never => false,
            SynXdp::Auto if at == 0 => false,
            SynXdp::Auto if self.on => !self.is_calm(now, per_second < at.div_ceil(2)),
            SynXdp::Auto => per_second >= at,
        };
        (wanted != self.on).then(|| self.switch(now, wanted, per_second))
    }

    /// Takes a switch back that could not be made.
    pub fn take_back(&mut self, switch: Switch) {
        self.on = !switch.on;
        self.switched_on -= u64::from(switch.on);
    }

    fn switch(&mut self, now: Duration, on: bool, per_second: u64) -> Switch {
        self.on = on;
        self.calm_since = None;
        self.switched_on += u64::from(on);
        let tell = self.told.is_none_or(|told| now.saturating_sub(told) >= LOG_INTERVAL).then_some(self.untold);
        match tell {
            Some(_) => (self.told, self.untold) = (Some(now), 0),
            None => self.untold += 1,
        }
        Switch { on, per_second, tell }
    }

    /// True once it has been low for long enough.
    fn is_calm(&mut self, now: Duration, low: bool) -> bool {
        if !low {
            self.calm_since = None;
            return false;
        }
        now.saturating_sub(*self.calm_since.get_or_insert(now)) >= CALM
    }

    /// The rate over the window; 0 until it is full.
    fn rate(&mut self, now: Duration, cookies: u64) -> u64 {
        self.seen.push_back((now, cookies));
        let is_before = |seen: &VecDeque<(Duration, u64)>, i: usize| {
            seen.get(i).is_some_and(|(then, _)| now.saturating_sub(*then) >= WINDOW)
        };
        while is_before(&self.seen, 1) {
            self.seen.pop_front();
        }
        let Some((then, before)) = self.seen.front().filter(|_| is_before(&self.seen, 0)) else { return 0 };
        let elapsed_us = now.saturating_sub(*then).as_micros().max(1);
        let per_second = u128::from(cookies.saturating_sub(*before)) * 1_000_000 / elapsed_us;
        u64::try_from(per_second).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_millis(100);

    /// A tier under a row of rates, each for so long; returns when it switched, in rounds.
    fn switches(tier: &mut Tier, mode: SynXdp, at: u32, rates: &[(u64, u32)]) -> Vec<(u32, bool)> {
        let (mut cookies, mut round, mut switches) = (0, 0, Vec::new());
        for (per_second, rounds) in rates {
            for _ in 0..*rounds {
                round += 1;
                cookies += per_second / 10;
                let switch = tier.look(ROUND * round, cookies, mode, at);
                switches.extend(switch.map(|switch| (round, switch.on)));
            }
        }
        switches
    }

    #[test]
    fn it_comes_on_above_the_watermark_and_goes_off_after_some_calm_below_half_of_it() {
        let mut tier = Tier::default();
        let rates = [(9_000, 50), (10_000, 20), (6_000, 100), (4_000, 40), (6_000, 10), (4_000, 100), (9_000, 50)];
        let found = switches(&mut tier, SynXdp::Auto, 10_000, &rates);
        // The window takes three rounds to fill with the new rate.
        assert_eq!(found.len(), 2, "{found:?}");
        assert!((51..=53).contains(&found[0].0) && found[0].1, "{found:?}");
        let calm = 50 + 20 + 100 + 40 + 10;
        assert!((calm + 50..=calm + 54).contains(&found[1].0) && !found[1].1, "{found:?}");
        assert_eq!((tier.switched_on, tier.is_on()), (1, false));
    }

    #[test]
    fn a_burst_within_one_publication_is_a_rate_over_the_window() {
        let mut tier = Tier::default();
        // Published every third round: 0, 0, 3,000 are 10,000 a second.
        let mut cookies = 0;
        for round in 1..=30 {
            cookies += if round % 3 == 0 { 3_000 } else { 0 };
            assert_eq!(tier.look(ROUND * round, cookies, SynXdp::Auto, 10_001), None, "round {round}");
        }
    }

    #[test]
    fn always_and_never_do_not_look_at_the_rate() {
        let mut tier = Tier::default();
        assert_eq!(switches(&mut tier, SynXdp::Always, 10, &[(0, 100)]), [(1, true)]);
        let off = tier.look(Duration::from_secs(20), 0, SynXdp::Never, 10).unwrap();
        assert!(!off.on);
        assert_eq!(switches(&mut Tier::default(), SynXdp::Never, 10, &[(1_000_000, 100)]), []);
        assert_eq!(switches(&mut Tier::default(), SynXdp::Auto, 0, &[(1_000_000, 100)]), []);
    }

    #[test]
    fn what_could_not_be_switched_is_tried_again() {
        let mut tier = Tier::default();
        let switch = tier.look(ROUND, 0, SynXdp::Always, 1).unwrap();
        tier.take_back(switch);
        assert_eq!((tier.is_on(), tier.switched_on), (false, 0));
        assert!(tier.look(ROUND * 2, 0, SynXdp::Always, 1).is_some_and(|switch| switch.on));
    }

    #[test]
    fn switches_are_told_once_a_minute() {
        let mut tier = Tier::default();
        let mut told = Vec::new();
        for second in 0..130_u32 {
            let mode = if second % 2 == 0 { SynXdp::Always } else { SynXdp::Never };
            let switch = tier.look(Duration::from_secs(second.into()), 0, mode, 1).unwrap();
            told.extend(switch.tell.map(|untold| (second, untold)));
        }
        assert_eq!(told, [(0, 0), (60, 59), (120, 59)]);
        assert_eq!(tier.switched_on, 65);
    }
}
