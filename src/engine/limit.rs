//! A limit of events a second, by windows of one second.

use crate::time::Tick;

/// Admits so many events in each second.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    per_second: u32,
    window: Tick,
    used: u32,
}

impl RateLimit {
    /// A limit whose first second starts at `now`.
    pub fn new(per_second: u32, now: Tick) -> Self {
        Self { per_second, window: now, used: 0 }
    }

    /// True, and counted, if one more is admitted at `now`.
    pub fn admits(&mut self, now: Tick) -> bool {
        if now.millis_since(self.window) >= 1_000 {
            self.window = now;
            self.used = 0;
        }
        let admitted = self.used < self.per_second;
        self.used += u32::from(admitted);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_admits_its_share_and_no_more() {
        let mut limit = RateLimit::new(2, Tick(0));
        let admitted: Vec<bool> = [0, 1, 2, 999, 1000, 1500, 1999, 9000].map(|t| limit.admits(Tick(t))).into();
        assert_eq!(admitted, [true, true, false, false, true, true, false, true]);
        assert!(!RateLimit::new(0, Tick(0)).admits(Tick(5)));
    }
}
