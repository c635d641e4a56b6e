//! A link: a frame goes in, and later comes out once, twice, late, damaged, cut short, or never.
//!
//! Damage is one flipped bit where a checksum covers it, so that a receiver is known to be able to see it. The Ethernet header
//! stays whole: its own check sequence would have had the frame dropped below us. What is deliberately not here:
//! bandwidth and queues; a link carries any number of frames at once.

use super::random::Random;
use crate::time::Now;
use crate::wire::ether::{ETHER_LEN, TYPE_IPV6};

/// How a link misbehaves. Rates are per mille of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Frames lost.
    pub loss: u32,
    /// Frames that arrive twice.
    pub duplicate: u32,
    /// Frames that are held back, so that later ones overtake them.
    pub reorder: u32,
    /// Frames with one bit flipped.
    pub corrupt: u32,
    /// Frames that end too early.
    pub truncate: u32,
    /// How long a frame takes at least, in nanoseconds.
    pub delay_ns: u64,
    /// How much longer some take, in nanoseconds; frames held back for this are overtaken.
    pub jitter_ns: u64,
    /// The link is dead from the first to the second instant.
    pub outage: (Now, Now),
}

impl Faults {
    /// A link that does nothing wrong and takes `delay_ns`.
    pub fn none(delay_ns: u64) -> Self {
        Self { delay_ns, ..Self::default() }
    }
}

/// What became of a frame on its way, for the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives as it was sent.
    Whole,
    /// It arrives once more.
    Again,
    /// It never arrives.
    Lost,
    /// It arrives with a bit flipped.
    Corrupt,
    /// It arrives without its end.
    Truncated,
}

/// One direction of a connection between two nodes.
#[derive(Clone, Debug)]
pub struct Link {
    faults: Faults,
    /// When the last frame arrives that was not held back: frames keep their order but for those that were.
    latest: Now,
}

impl Link {
    /// An empty link.
    pub fn new(faults: Faults) -> Self {
        Self { faults, latest: Now(0) }
    }

    /// From now on the link does nothing wrong.
    pub fn heal(&mut self) {
        self.faults = Faults::none(self.faults.delay_ns);
    }

    /// Carries `frame`, sent at `now`. `arrive` gets every arrival: when, what, and its fate. A lost frame is told too, with the time of its
    /// sending.
    pub fn carry(&mut self, frame: Vec<u8>, now: Now, random: &mut Random, mut arrive: impl FnMut(Now, Vec<u8>, Fate)) {
        let faults = self.faults;
        if (faults.outage.0..faults.outage.1).contains(&now) || random.chance(faults.loss) {
            return arrive(now, frame, Fate::Lost);
        }
        if random.chance(faults.duplicate) {
            arrive(self.arrival(now, random), frame.clone(), Fate::Again);
        }
        let at = self.arrival(now, random);
        if random.chance(faults.corrupt) {
            let (damaged, fate) = corrupt(frame, random);
            arrive(at, damaged, fate);
        } else if random.chance(faults.truncate) {
            let len = random.within(0..=frame.len() - 1);
            arrive(at, frame[..len].to_vec(), Fate::Truncated);
        } else {
            arrive(at, frame, Fate::Whole);
        }
    }

    /// When a frame that is sent at `now` arrives.
    fn arrival(&mut self, now: Now, random: &mut Random) -> Now {
        let soonest = Now(now.0 + self.faults.delay_ns);
        if random.chance(self.faults.reorder) {
            return Now(soonest.0 + random.within(0..=self.faults.jitter_ns));
        }
        self.latest = self.latest.max(soonest);
        self.latest
    }
}

/// Flips one bit. Of an IPv6 header only the addresses are covered by a checksum; a frame too short for that stays whole.
fn corrupt(mut frame: Vec<u8>, random: &mut Random) -> (Vec<u8>, Fate) {
    const IPV6_ADDRESSES: usize = 8;
    let is_ipv6 = frame.get(12..ETHER_LEN).is_some_and(|ethertype| ethertype == TYPE_IPV6.to_be_bytes());
    let first = ETHER_LEN + if is_ipv6 { IPV6_ADDRESSES } else { 0 };
    if frame.len() <= first {
        return (frame, Fate::Whole);
    }
    let at = random.within(first..=frame.len() - 1);
    frame[at] ^= 1 << random.within(0..=7_u8);
    (frame, Fate::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(faults: Faults, frames: u8) -> Vec<(Now, Vec<u8>, Fate)> {
        let (mut link, mut random) = (Link::new(faults), Random::new(3));
        let mut arrivals = Vec::new();
        for i in 0..frames {
            let frame = vec![i; 60];
            link.carry(frame, Now(u64::from(i)), &mut random, |at, frame, fate| arrivals.push((at, frame, fate)));
        }
        arrivals
    }

    fn fates(faults: Faults) -> Vec<Fate> {
        let mut fates: Vec<Fate> = carried(faults, 20).into_iter().map(|(_, _, fate)| fate).collect();
        fates.dedup();
        fates
    }

    #[test]
    fn a_link_without_faults_keeps_order_bytes_and_delay() {
        for (i, (at, frame, fate)) in carried(Faults::none(500), 20).into_iter().enumerate() {
            assert_eq!((at, fate), (Now(500 + i as u64), Fate::Whole));
            assert_eq!(frame, vec![u8::try_from(i).unwrap(); 60]);
        }
    }

    #[test]
    fn each_fault_happens_when_its_rate_is_1000() {
        let always = 1_000;
        assert_eq!(fates(Faults { loss: always, ..Faults::default() }), [Fate::Lost]);
        assert_eq!(fates(Faults { corrupt: always, ..Faults::default() }), [Fate::Corrupt]);
        assert_eq!(fates(Faults { truncate: always, ..Faults::default() }), [Fate::Truncated]);
        assert_eq!(fates(Faults { outage: (Now(0), Now(99)), ..Faults::default() }), [Fate::Lost]);
        let twice = carried(Faults { duplicate: always, ..Faults::default() }, 20);
        assert_eq!(twice.iter().filter(|(_, _, fate)| *fate == Fate::Again).count(), 20);
        let shuffled = carried(Faults { reorder: always, jitter_ns: 1_000, ..Faults::default() }, 20);
        assert!(shuffled.windows(2).any(|pair| pair[0].0 > pair[1].0), "nothing was overtaken");
    }

    #[test]
    fn a_corrupt_frame_differs_in_one_bit_behind_the_ethernet_header() {
        for (_, frame, _) in carried(Faults { corrupt: 1_000, ..Faults::default() }, 20) {
            let sent = frame[0];
            assert!(frame[..ETHER_LEN].iter().all(|byte| *byte == sent));
            assert_eq!(frame.iter().map(|byte| (byte ^ sent).count_ones()).sum::<u32>(), 1);
        }
    }
}
