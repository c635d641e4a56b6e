//! Options of the SYNs: what we offer, and what both offered (RFC 9293 3.7.1, RFC 7323 1.3, RFC 2018 2).

use super::Env;
use super::config::TcpConfig;
use super::tcb::{Flags, Tcb, receive_shift};
use crate::wire::options::{MAX_WINDOW_SHIFT, Options};
use crate::wire::tuple::FourTuple;

/// MSS of a peer that names none (RFC 9293 3.7.1).
const DEFAULT_MSS_V4: u16 = 536;
const DEFAULT_MSS_V6: u16 = 1220;
/// A smaller MSS of the peer counts as this: it would have us send headers rather than data.
const LEAST_MSS: u16 = 64;
/// What the timestamps option takes of every segment.
const TIMESTAMPS_LEN: u16 = 12;

/// What the configuration has us offer.
pub fn offer(config: &TcpConfig) -> Flags {
    let mut flags = Flags::default();
    flags.put(Flags::TIMESTAMPS, config.timestamps);
    flags.put(Flags::WINDOW_SCALE, config.window_scaling);
    flags.put(Flags::SACK_PERMITTED, config.sack_permitted);
    flags
}

/// Our shift as it stands in our SYN, for a connection that offers to scale.
pub fn own_shift(flags: Flags, config: &TcpConfig) -> u8 {
    if flags.has(Flags::WINDOW_SCALE) { receive_shift(config.window_bytes) << 4 } else { 0 }
}

/// Keeps of what we `offered` what the peer's SYN offers too, and takes over its values.
pub fn accept_options(tcb: &mut Tcb, peer: &Options, offered: Flags, config: &TcpConfig) {
    let timestamps = peer.timestamps.filter(|_| offered.has(Flags::TIMESTAMPS));
    let window_scale = peer.window_scale.filter(|_| offered.has(Flags::WINDOW_SCALE));
    tcb.flags.put(Flags::TIMESTAMPS, timestamps.is_some());
    tcb.flags.put(Flags::WINDOW_SCALE, window_scale.is_some());
    tcb.flags.put(Flags::SACK_PERMITTED, peer.sack_permitted && offered.has(Flags::SACK_PERMITTED));
    tcb.ts_recent = timestamps.map_or(0, |(val, _)| val);
    tcb.shifts = window_scale.map_or(0, |snd| snd.min(MAX_WINDOW_SHIFT) | own_shift(tcb.flags, config));
}

/// The initial congestion window in segments (RFC 6928 2): as many as configured while they are of 1,460 bytes or less, which
/// makes 14,600 bytes of the default; larger ones as far as these bytes allow, but two at least.
pub fn initial_window(snd_mss: u16, config: &TcpConfig) -> u16 {
    const USUAL_BYTES: u32 = 1_460;
    let most_bytes = u32::from(config.initial_window_segments) * USUAL_BYTES;
    let segments = (most_bytes / u32::from(snd_mss.max(1))).max(2);
    u16::try_from(segments)
        .map_or(config.initial_window_segments, |segments| segments.min(config.initial_window_segments))
}

/// What the peer's SYN says of segment sizes: the default of the family where it says nothing.
pub fn peer_mss(tuple: &FourTuple, named: Option<u16>) -> u16 {
    let default = if tuple.is_v4() { DEFAULT_MSS_V4 } else { DEFAULT_MSS_V6 };
    named.unwrap_or(default).max(LEAST_MSS)
}

/// Eff.snd.MSS (RFC 9293 3.7.1): what the peer takes, what our link carries, less the options of every segment.
pub fn send_mss(tcb: &Tcb, named: Option<u16>, env: Env<'_>) -> u16 {
    let ours = if tcb.tuple.is_v4() { env.config.mss_v4 } else { env.config.mss_v6 };
    let mss = peer_mss(&tcb.tuple, named).min(ours);
    mss - if tcb.flags.has(Flags::TIMESTAMPS) { TIMESTAMPS_LEN } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_window_is_ten_segments_and_14600_bytes_at_most() {
        let config = TcpConfig::default();
        let windows = [(536, 10), (1_448, 10), (1_460, 10), (1_461, 9), (8_960, 2), (65_000, 2), (0, 10)];
        for (snd_mss, segments) in windows {
            assert_eq!(initial_window(snd_mss, &config), segments, "MSS {snd_mss}");
        }
        let small = TcpConfig { initial_window_segments: 1, ..config };
        assert_eq!(initial_window(1_460, &small), 1);
        let large = TcpConfig { initial_window_segments: 30, ..small };
        assert_eq!([1_460, 2_920].map(|snd_mss| initial_window(snd_mss, &large)), [30, 15]);
    }
}
