//! The transmission control block (RFC 9293 3.3.1): 128 bytes, two cache lines, IPv4 or IPv6.
//!
//! What every segment of a handshake reads and writes sits in the first line. Names are the RFC's. Three of its variables
//! are not kept, because others hold them: ISS is SND.UNA until our SYN is acknowledged, IRS is RCV.NXT - 1 until the peer's
//! first byte, and SND.WL2 never lies beyond SND.UNA, so its part of the window-update test (RFC 9293 3.10.7.4) always holds.
//!
//! There is no send buffer: what a connection has to send is a position in bytes that its service owns, and how many
//! bytes from there on are queued. A retransmission fills them in again from the same place.

use super::Env;
use super::config::TcpConfig;
use super::state::State;
use crate::flow::Keyed;
use crate::time::Tick;
use crate::wire::ether::{Mac, VlanTags};
use crate::wire::options::{MAX_WINDOW_SHIFT, Options};
use crate::wire::reply::Reply;
use crate::wire::segment::Control;
use crate::wire::seq::SeqNum;
use crate::wire::tuple::FourTuple;

/// What a connection is, beside its state: a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Both ends sent the timestamps option.
    pub const TIMESTAMPS: u8 = 1;
    /// Both ends sent SACK-permitted.
    pub const SACK_PERMITTED: u8 = 1 << 1;
    /// Both ends sent the window scale option.
    pub const WINDOW_SCALE: u8 = 1 << 2;
    /// The user closed: a FIN follows the queued bytes.
    pub const FIN_QUEUED: u8 = 1 << 3;
    /// A round trip is being measured, up to the acknowledgment of `rtt_seq`.
    pub const RTT_RUNNING: u8 = 1 << 4;
    /// In fast recovery, until `recover` is acknowledged (RFC 6582).
    pub const RECOVERY: u8 = 1 << 5;
    /// The service takes no more for now: our receive window is closed.
    pub const BACKLOGGED: u8 = 1 << 6;
    /// We opened the connection (active OPEN).
    pub const ACTIVE: u8 = 1 << 7;

    /// True if `bit` is set.
    pub const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// Sets or clears `bit`.
    pub fn put(&mut self, bit: u8, on: bool) {
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }
}

/// What a service remembers of a connection. Only the service knows what the bytes mean; fresh is all zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppState(pub [u8; 6]);

/// One connection.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Tcb {
    /// Both ends.
    pub tuple: FourTuple,
    /// SND.UNA: oldest unacknowledged sequence number.
    pub snd_una: SeqNum,
    /// SND.NXT: next sequence number to send. A retransmission time-out takes it back to SND.UNA.
    pub snd_nxt: SeqNum,
    /// RCV.NXT: next sequence number expected.
    pub rcv_nxt: SeqNum,
    /// TS.Recent (RFC 7323 4.3).
    pub ts_recent: u32,
    /// When the connection's timer is due, whatever it then means ([`super::timeout::expire`]).
    pub deadline: Tick,
    /// SND.WND as the peer last sent it, not scaled.
    pub snd_wnd: u16,
    /// The state.
    pub state: State,
    /// How often the present timer has fired in a row: retransmissions, probes.
    pub retries: u8,
    /// Window shifts: the peer's in the low four bits (Snd.Wind.Shift), ours in the high four (Rcv.Wind.Shift).
    pub shifts: u8,
    /// Flags.
    pub flags: Flags,
    /// Which service the connection talks to.
    pub service: u16,

    /// The highest SND.NXT so far: what the peer may acknowledge.
    pub snd_max: SeqNum,
    /// SND.WL1: sequence number of the segment that last updated SND.WND.
    pub snd_wl1: SeqNum,
    /// SND.NXT when the last loss was noticed (RFC 6582).
    pub recover: SeqNum,
    /// The measured round trip ends when this number is acknowledged.
    pub rtt_seq: SeqNum,
    /// When the measured segment was sent; in SYN-RECEIVED, when the first SYN-ACK was.
    pub rtt_sent: Tick,
    /// When the last challenge ACK was sent.
    pub challenged_at: Tick,
    /// The service's name for the position of the byte at SND.UNA.
    pub stream_base: u32,
    /// Bytes queued from SND.UNA on, sent or not.
    pub queued: u32,
    /// What the service remembers.
    pub app: AppState,
    /// Duplicate acknowledgments in a row (RFC 5681 2), saturating.
    pub dup_acks: u8,
    /// Segments acknowledged since the congestion window last grew, in congestion avoidance.
    pub cwnd_acked: u8,
    /// Next hop to the peer.
    pub peer_mac: Mac,
    /// VLAN tags towards the peer.
    pub tags: VlanTags,
    /// Most payload bytes in a segment to the peer, options already subtracted.
    pub snd_mss: u16,
    /// Congestion window in segments.
    pub cwnd: u16,
    /// Slow start threshold in segments.
    pub ssthresh: u16,
    /// Smoothed round-trip time in 1/8 ms; 0 before the first sample.
    pub srtt: u16,
    /// Round-trip time variation in 1/4 ms.
    pub rttvar: u16,
    /// MAX.SND.WND, not scaled (RFC 5961 5.2).
    pub max_snd_wnd: u16,
}

const _: () = assert!(size_of::<Tcb>() == 128);
const _: () = assert!(core::mem::offset_of!(Tcb, snd_max) == 64);

impl Keyed for Tcb {
    fn key(&self) -> &FourTuple {
        &self.tuple
    }

    fn key_mut(&mut self) -> &mut FourTuple {
        &mut self.tuple
    }
}

/// Our receive window's shift (RFC 7323 2.3): the smallest that lets the header's 16 bits carry the window.
pub fn receive_shift(window_bytes: u32) -> u8 {
    let mut shift = 0;
    while shift < MAX_WINDOW_SHIFT && window_bytes >> shift > u32::from(u16::MAX) {
        shift += 1;
    }
    shift
}

impl Tcb {
    /// SND.WND in bytes.
    pub fn send_window(&self) -> u32 {
        u32::from(self.snd_wnd) << (self.shifts & 0x0f)
    }

    /// The window of a SYN, which is not scaled (RFC 7323 2.2), in the unit of the others. What a unit does not hold is left.
    pub fn window_of_syn(&self, window: u16) -> u16 {
        window >> (self.shifts & 0x0f)
    }

    /// MAX.SND.WND in bytes.
    pub fn max_send_window(&self) -> u32 {
        u32::from(self.max_snd_wnd) << (self.shifts & 0x0f)
    }

    /// Congestion window in bytes.
    pub fn congestion_window(&self) -> u32 {
        u32::from(self.cwnd) * u32::from(self.snd_mss)
    }

    /// RCV.WND in bytes: what the service takes, as far as the 16 bits of the header carry it without scaling.
    pub fn receive_window(&self, config: &TcpConfig) -> u32 {
        if self.flags.has(Flags::BACKLOGGED) {
            0
        } else if self.flags.has(Flags::WINDOW_SCALE) {
            (config.window_bytes >> self.receive_shift()).min(u32::from(u16::MAX)) << self.receive_shift()
        } else {
            config.window_bytes.min(u32::from(u16::MAX))
        }
    }

    /// Rcv.Wind.Shift.
    pub fn receive_shift(&self) -> u8 {
        self.shifts >> 4
    }

    /// The window field of a segment that is not a SYN.
    #[expect(clippy::cast_possible_truncation, reason = "the shift was chosen so that the window fits")]
    pub fn window_field(&self, config: &TcpConfig) -> u16 {
        (self.receive_window(config) >> self.receive_shift()) as u16
    }

    /// True while something that we sent is not acknowledged.
    pub fn has_outstanding(&self) -> bool {
        self.snd_una != self.snd_max
    }

    /// True while queued bytes or a queued FIN were never sent.
    pub fn has_unsent(&self) -> bool {
        let fin = u32::from(self.flags.has(Flags::FIN_QUEUED) && self.state.awaits_ack_of_fin());
        self.queued + fin > self.snd_max.distance_from(self.snd_una)
    }

    /// Options of a segment that is not a SYN.
    pub fn options(&self, env: Env<'_>) -> Options {
        let timestamps = self.flags.has(Flags::TIMESTAMPS).then_some((env.tsval, self.ts_recent));
        Options { timestamps, ..Options::default() }
    }

    /// An acknowledgment of all that was received, without payload: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.
    ///
    /// SEQ is the highest that was sent: behind a time-out, SND.NXT itself may lie below what the peer has acknowledged as
    /// sequence space.
    pub fn ack(&self, env: Env<'_>) -> Reply {
        Reply {
            seq: self.snd_max,
            ack: self.rcv_nxt,
            control: Control::ACK,
            window: self.window_field(env.config),
            options: self.options(env),
            ..Reply::default()
        }
    }

    /// The SYN of a connection in SYN-SENT, or the SYN-ACK of one in SYN-RECEIVED; the first and every repetition.
    pub fn syn(&self, env: Env<'_>) -> Reply {
        let acknowledges = match self.state {
            State::SynSent => Control::default(),
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => Control::ACK,
        };
        let mss = if self.tuple.is_v4() { env.config.mss_v4 } else { env.config.mss_v6 };
        let options = Options {
            mss: Some(mss),
            window_scale: self.flags.has(Flags::WINDOW_SCALE).then_some(self.receive_shift()),
            sack_permitted: self.flags.has(Flags::SACK_PERMITTED),
            ..self.options(env)
        };
        Reply {
            seq: self.snd_una,
            ack: self.rcv_nxt,
            control: Control::SYN | acknowledges,
            // The window of a SYN is never scaled (RFC 7323 2.2).
            window: u16::try_from(self.receive_window(env.config)).unwrap_or(u16::MAX),
            options,
            ..Reply::default()
        }
    }

    /// A reset that the peer accepts: <SEQ=SND.NXT><CTL=RST,ACK>.
    pub fn reset(&self) -> Reply {
        Reply { seq: self.snd_max, ack: self.rcv_nxt, control: Control::RST | Control::ACK, ..Reply::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receive_shift_is_the_least_that_carries_the_window() {
        for (window, shift) in [(1, 0), (65_535, 0), (65_536, 1), (131_071, 1), (262_144, 3), (1 << 30, 14)] {
            assert_eq!(receive_shift(window), shift, "window {window}");
        }
    }

    #[test]
    fn flags_are_put_one_by_one() {
        let mut flags = Flags::default();
        flags.put(Flags::FIN_QUEUED, true);
        flags.put(Flags::TIMESTAMPS, true);
        flags.put(Flags::FIN_QUEUED, false);
        assert!(flags.has(Flags::TIMESTAMPS) && !flags.has(Flags::FIN_QUEUED));
    }
}
