//! How the steering program answers SYNs with cookies, as its map has it.
//!
//! What a SYN-ACK offers is not decided here once more: a SYN that offers everything is answered by `tcp::cookie`, and what that
//! SYN-ACK carries is what the program is told. What is not here: when SYNs are answered, where the keys come from, and what time
//! it is (`ticks`).

use super::contract::{Cookies, ODD_PERIOD, PARTIAL_CHECKSUMS, SACK_PERMITTED, TIMESTAMPS, WINDOW_SCALE};
use super::ticks::Ticks;
use crate::tcp::Env;
use crate::tcp::config::TcpConfig;
use crate::tcp::cookie::{self, Keys};
use crate::time::Tick;
use crate::wire::ether::VlanTags;
use crate::wire::options::Options;
use crate::wire::parse::PartialChecksums;
use crate::wire::segment::{Control, Segment};
use crate::wire::seq::SeqNum;
use crate::wire::tuple::FourTuple;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The clock that workers take their timestamps from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimestampClock {
    /// Where it starts, in ns of CLOCK_MONOTONIC.
    pub origin_ns: u64,
    /// What is added to its milliseconds.
    pub offset: u32,
}

impl TimestampClock {
    /// The timestamp at an instant of CLOCK_MONOTONIC, which may lie before the start.
    fn at(self, ns: u64) -> u32 {
        let ms = (i128::from(ns) - i128::from(self.origin_ns)).div_euclid(1_000_000);
        let ms = u32::try_from(ms.rem_euclid(1 << 32)).expect("below 2^32");
        self.offset.wrapping_add(ms)
    }
}

/// How SYNs are answered: with which key, with what offers, and by which clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynAnswers {
    /// All but the clock.
    offers: Cookies,
    clock: TimestampClock,
}

impl SynAnswers {
    /// Answers as a worker with these keys and this configuration gives them.
    pub fn new(keys: &Keys, config: &TcpConfig, partial: PartialChecksums, clock: TimestampClock) -> Self {
        let (v4, v6) =
            (offered(Ipv4Addr::LOCALHOST.into(), keys, config), offered(Ipv6Addr::LOCALHOST.into(), keys, config));
        let [low, high] = [0, 8].map(|at| {
            let mut word = [0; 8];
            word.copy_from_slice(&keys.current.0[at..at + 8]);
            u64::from_le_bytes(word)
        });
        let options = v4.options;
        let flags = [
            (options.timestamps.is_some(), TIMESTAMPS),
            (options.window_scale.is_some(), WINDOW_SCALE),
            (options.sack_permitted, SACK_PERMITTED),
            (keys.parity, ODD_PERIOD),
            (partial == PartialChecksums::Accept, PARTIAL_CHECKSUMS),
        ];
        let offers = Cookies {
            key: [low, high],
            window: v4.window,
            mss_v4: options.mss.unwrap_or_default(),
            mss_v6: v6.options.mss.unwrap_or_default(),
            shift: options.window_scale.unwrap_or_default().into(),
            flags: flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag).sum(),
            ..Cookies::default()
        };
        Self { offers, clock }
    }

    /// The value of the map; from here on the program counts the time by the kernel's ticks.
    pub(super) fn row(&self, ticks: Ticks) -> Cookies {
        let timestamp = self.clock.at(ticks.at_ns);
        Cookies { tick: ticks.tick, timestamp, tick_ms: ticks.tick_ms(), ..self.offers }
    }
}

/// The SYN-ACK for a SYN that offers everything.
fn offered(addr: std::net::IpAddr, keys: &Keys, config: &TcpConfig) -> crate::wire::reply::Reply {
    let syn = Segment {
        tuple: FourTuple::new(SocketAddr::new(addr, 1), SocketAddr::new(addr, 2)),
        seq: SeqNum(0),
        ack: SeqNum(0),
        control: Control::SYN,
        window: 0,
        options: Options { mss: Some(u16::MAX), window_scale: Some(0), sack_permitted: true, timestamps: Some((0, 0)) },
        payload_at: 0,
        payload_len: 0,
        src_mac: [0; 6],
        dst_mac: [0; 6],
        tags: VlanTags::default(),
        partial_checksum: false,
    };
    cookie::syn_ack(&syn, keys, Env { config, now: Tick(0), tsval: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::cookie::Key;

    #[test]
    fn what_is_switched_off_is_not_offered() {
        let keys = Keys { current: Key([1; 16]), previous: None, parity: true };
        let all = TcpConfig::default();
        let none = TcpConfig { timestamps: false, window_scaling: false, sack_permitted: false, ..all.clone() };
        let row =
            |config: &TcpConfig, partial| SynAnswers::new(&keys, config, partial, TimestampClock::default()).offers;
        let offers = TIMESTAMPS | WINDOW_SCALE | SACK_PERMITTED;
        let with = row(&all, PartialChecksums::Accept);
        assert_eq!(with.flags, offers | ODD_PERIOD | PARTIAL_CHECKSUMS);
        assert_eq!((with.mss_v4, with.mss_v6, with.window, with.shift), (1460, 1440, 65_535, 3));
        let without = row(&none, PartialChecksums::Refuse);
        assert_eq!((without.flags, without.shift), (ODD_PERIOD, 0));
    }
    #[test]
    fn the_clock_of_ticks_is_the_workers() {
        let keys = Keys { current: Key([1; 16]), previous: None, parity: true };
        let clock = TimestampClock { origin_ns: 5_000_000, offset: 100 };
        let answers = SynAnswers::new(&keys, &TcpConfig::default(), PartialChecksums::Accept, clock);
        let row = |at_ns| answers.row(Ticks { tick: 7, at_ns, length_ns: 4_000_000 });
        assert_eq!((row(5_000_000).tick, row(5_000_000).timestamp, row(5_000_000).tick_ms), (7, 100, 4 << 20));
        assert_eq!((row(7_999_999).timestamp, row(8_000_000).timestamp), (102, 103));
        assert_eq!((row(4_999_999).timestamp, row(0).timestamp), (99, 95), "before the workers' clock began");
        assert_eq!(row(5_000_000 + (1 << 32) * 1_000_000).timestamp, 100, "it is modulo 2^32");
    }
}
