//! Forged segments. The adversary knows everything: addresses, ports, and where the engine's windows stand. What it sends reaches the
//! engine at once, so that it hits the state that it was made for.
//!
//! [`harmless`] makes what RFC 9293 and RFC 5961 promise to be without effect: the world checks that state, SND.UNA and RCV.NXT
//! are the same before and after. [`wild`] makes anything: the engine has to survive it with its ledgers in order, and what
//! becomes of the connection is nobody's promise.

use super::random::Random;
use crate::engine::snapshot::FlowSnapshot;
use crate::tcp::state::State;
use crate::wire::ether::{ETHER_LEN, Mac, VlanTags};
use crate::wire::options::Options;
use crate::wire::reply::{Addressing, MAX_HEADER_LEN, Reply, StreamPiece, write};
use crate::wire::segment::Control;
use crate::wire::seq::SeqNum;
use crate::wire::tuple::{Addr, FourTuple};

/// What an adversary is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malice {
    /// There is none.
    Absent,
    /// It forges what must be without effect.
    Harmless,
    /// It forges anything.
    Wild,
}

/// Longest text that a forged segment carries.
const MOST_TEXT: usize = 600;
/// How far from an edge the numbers lie that a wild segment carries.
const NEAR: u32 = 4;

/// Where a forged frame goes, and whom it is to come from.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The engine's address.
    pub victim: Mac,
    /// The address of the peer that it pretends to be.
    pub peer: Mac,
}

/// A segment before it becomes a frame.
#[derive(Clone, Debug, Default)]
struct Forgery {
    seq: SeqNum,
    ack: SeqNum,
    control: Control,
    window: u16,
    options: Options,
    text: Vec<u8>,
}

impl Forgery {
    fn frame(&self, route: Route, tuple: &FourTuple) -> Vec<u8> {
        let len = u16::try_from(self.text.len()).expect("forged text is short");
        let reply = Reply {
            seq: self.seq,
            ack: self.ack,
            control: self.control,
            window: self.window,
            options: self.options,
            payload: StreamPiece { from_una: 0, len },
        };
        let to = Addressing {
            dst_mac: route.victim,
            src_mac: route.peer,
            tags: VlanTags::default(),
            tuple: tuple.reversed(),
        };
        let mut frame = vec![0; MAX_HEADER_LEN + self.text.len()];
        let written = write(&mut frame, &to, &reply, |out| out.copy_from_slice(&self.text));
        frame.truncate(written);
        frame
    }
}

/// True if [`harmless`] knows something to do to a flow in this state.
pub fn has_harmless(state: State) -> bool {
    match state {
        State::Established | State::FinWait1 | State::FinWait2 | State::CloseWait | State::Closing | State::LastAck => {
            true
        }
        State::SynSent | State::SynReceived | State::TimeWait => false,
    }
}

/// A frame for a synchronized connection that must change nothing. `window` is at most its receive window, in bytes.
pub fn harmless(flow: &FlowSnapshot, window: u32, route: Route, random: &mut Random) -> Vec<u8> {
    let inside = flow.rcv_nxt + random.within(1..=window.max(2) - 1);
    let behind = flow.rcv_nxt + (1 << 30) + random.within(0..=1_000_u32);
    let len = random.within(1..=MOST_TEXT);
    let before = flow.rcv_nxt.minus(random.within(0..=1_000_u32) + 1);
    let good_ack = flow.snd_una;
    let bad_ack = flow.snd_nxt + random.within(1..=100_000_u32);
    let text = random.bytes(len);
    let text_len = u32::try_from(len).expect("forged text is short");
    let any_bits = Control(u8::try_from(random.word() & 0xff).expect("eight bits"));
    let base = Forgery { ack: good_ack, control: Control::ACK, window: 1_000, ..Forgery::default() };
    let forgery = match random.within(0..=9_u8) {
        // RFC 5961 3.2: in the window, but not at RCV.NXT.
        0 => Forgery { seq: inside, control: Control::RST, ..base },
        1 => Forgery {
            seq: random.pick(&[before, behind]),
            control: random.pick(&[Control::RST, Control::RST | Control::ACK]),
            ..base
        },
        // RFC 5961 4.2: a SYN anywhere.
        2 => {
            let control = random.pick(&[Control::SYN, Control::SYN | Control::ACK]);
            Forgery { seq: random.pick(&[before, behind, inside, flow.rcv_nxt]), control, ..base }
        }
        // Text and FIN that came before or lie beyond the window.
        3 => {
            let control = random.pick(&[Control::ACK, Control::ACK | Control::FIN]);
            let fin = u32::from(control.has(Control::FIN));
            Forgery { seq: before.minus(text_len + fin), control, text, ..base }
        }
        4 => Forgery { seq: behind, control: Control::ACK | random.pick(&[Control::FIN, Control::PSH]), text, ..base },
        // RFC 5961 5.2: an acknowledgment of what was never sent takes text and FIN down with it. Without the timestamps option:
        // where timestamps are on, that alone is a reason to drop it.
        5 => Forgery { seq: flow.rcv_nxt, ack: bad_ack, control: Control::ACK | Control::FIN, text, ..base },
        6 => Forgery { seq: inside, ack: bad_ack, text, ..base },
        // RFC 9293 3.10.7.4, fifth: no ACK, no effect.
        7 => Forgery {
            seq: flow.rcv_nxt,
            control: random.pick(&[Control::default(), Control::FIN, Control::PSH]),
            text,
            ..base
        },
        // An acknowledgment from before SND.UNA.
        8 => {
            Forgery { seq: flow.rcv_nxt, ack: flow.snd_una.minus(random.within(1..=1_000_000_u32)), window: 0, ..base }
        }
        // Anything at all, exactly at RCV.NXT, but with a checksum that does not hold.
        _ => {
            return broken_checksum(
                Forgery { seq: flow.rcv_nxt, control: any_bits, text, ..base }.frame(route, &flow.tuple),
                random,
            );
        }
    };
    forgery.frame(route, &flow.tuple)
}

/// Flips one bit of the TCP segment's last byte: no ones' complement sum forgives that.
fn broken_checksum(mut frame: Vec<u8>, random: &mut Random) -> Vec<u8> {
    if let Some(last) = frame.last_mut() {
        *last ^= 1 << random.within(0..=7_u8);
    }
    frame
}

/// A frame for a live connection that may do anything to it: numbers at the edges, any control bits, any options.
pub fn wild(flow: &FlowSnapshot, window: u32, route: Route, random: &mut Random) -> Vec<u8> {
    let seq_edges = [flow.rcv_nxt, flow.rcv_nxt + window, flow.rcv_nxt.minus(1), flow.rcv_nxt + (1 << 31)];
    let ack_edges = [flow.snd_una, flow.snd_nxt, flow.snd_una.minus(flow.snd_wnd), flow.snd_nxt + (1 << 31)];
    let len = if random.chance(500) { 0 } else { random.within(1..=MOST_TEXT) };
    let usual = [Control::RST, Control::SYN, Control::FIN | Control::ACK, Control::ACK, Control::SYN | Control::ACK];
    let any = Control(u8::try_from(random.word() & 0xff).expect("eight bits"));
    let timestamps = (u32::try_from(random.word() >> 32).expect("32 bits"), 0);
    let forgery = Forgery {
        seq: near(random.pick(&seq_edges), random),
        ack: near(random.pick(&ack_edges), random),
        control: if random.chance(700) { random.pick(&usual) } else { any },
        window: random.pick(&[0, 1, 1_000, u16::MAX]),
        options: Options {
            mss: random.chance(100).then_some(random.within(0..=1_460)),
            window_scale: random.chance(100).then_some(random.within(0..=255)),
            sack_permitted: random.chance(100),
            timestamps: random.chance(500).then_some(timestamps),
        },
        text: random.bytes(len),
    };
    spoil(forgery.frame(route, &flow.tuple), random)
}

fn near(edge: SeqNum, random: &mut Random) -> SeqNum {
    edge.minus(NEAR) + random.within(0..=2 * NEAR)
}

/// Now and then random bytes over a part of the frame, or an end too early.
fn spoil(mut frame: Vec<u8>, random: &mut Random) -> Vec<u8> {
    if random.chance(100) {
        let at = random.within(ETHER_LEN..=frame.len() - 1);
        let garbage = random.bytes((frame.len() - at).min(12));
        frame[at..at + garbage.len()].copy_from_slice(&garbage);
    } else if random.chance(100) {
        frame.truncate(random.within(0..=frame.len()));
    }
    frame
}

/// A SYN from an address where nobody is, to `port` of the engine at `local`.
pub fn stray_syn(local: Addr, port: u16, route: Route, random: &mut Random) -> Vec<u8> {
    let remote_addr = if local.is_v4() {
        Addr::v4([198, 19, random.within(0..=255), random.within(1..=254)])
    } else {
        let mut addr = local;
        addr.0[14..].copy_from_slice(&random.within(0x100..=u16::MAX).to_be_bytes());
        addr
    };
    let tuple =
        FourTuple { local_addr: local, remote_addr, local_port: port, remote_port: random.within(1..=u16::MAX) };
    let seq = SeqNum(u32::try_from(random.word() >> 32).expect("32 bits"));
    Forgery { seq, control: Control::SYN, window: 1_000, ..Forgery::default() }.frame(route, &tuple)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse::{PartialChecksums, parse};

    fn flow() -> FlowSnapshot {
        FlowSnapshot {
            tuple: FourTuple::new("198.18.0.1:80".parse().unwrap(), "198.18.0.2:4000".parse().unwrap()),
            state: State::Established,
            snd_una: SeqNum(100),
            snd_nxt: SeqNum(200),
            rcv_nxt: SeqNum(u32::MAX - 5),
            snd_wnd: 1_000,
            queued: 100,
            retries: 0,
            srtt_us: 0,
            due_in_ms: 0,
            listener: 0,
        }
    }

    #[test]
    fn forged_frames_are_for_the_connection_and_mostly_legal() {
        let route = Route { victim: [2; 6], peer: [4; 6] };
        let mut random = Random::new(5);
        let mut legal = 0;
        for _ in 0..1_000 {
            let frames = [harmless(&flow(), 500, route, &mut random), wild(&flow(), 500, route, &mut random)];
            for segment in frames.iter().filter_map(|frame| parse(frame, PartialChecksums::Refuse).ok()) {
                legal += usize::from(segment.tuple == flow().tuple);
            }
        }
        assert!(legal > 1_200, "{legal} of 2,000");
    }
}
