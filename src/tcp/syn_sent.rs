//! The active OPEN (RFC 9293 3.10.1) and SEGMENT ARRIVES, state SYN-SENT (3.10.7.3).

use core::ops::ControlFlow::{self, Break, Continue};

use super::acknowledge::sample_handshake;
use super::effects::{Answer, Effects, End};
use super::negotiate::{accept_options, initial_window, offer, own_shift, send_mss};
use super::state::State;
use super::tcb::{Flags, Tcb};
use super::{Env, closed};
use crate::verdict::DropReason;
use crate::wire::ether::{Mac, VlanTags};
use crate::wire::segment::{Control, Segment};
use crate::wire::seq::SeqNum;
use crate::wire::tuple::FourTuple;

/// Where an active OPEN goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveOpen {
    /// Both ends.
    pub tuple: FourTuple,
    /// Next hop to the peer.
    pub peer_mac: Mac,
    /// VLAN tags towards the peer.
    pub tags: VlanTags,
    /// Which service talks to the connection.
    pub service: u16,
}

/// The TCB of an active OPEN, in SYN-SENT, with its first SYN counted as sent. It offers all that the configuration allows.
pub fn open_active(open: &ActiveOpen, iss: SeqNum, env: Env<'_>) -> Tcb {
    let config = env.config;
    let mut flags = offer(config);
    flags.put(Flags::ACTIVE, true);
    Tcb {
        tuple: open.tuple,
        snd_una: iss,
        snd_nxt: iss + 1,
        snd_max: iss + 1,
        recover: iss,
        state: State::SynSent,
        shifts: own_shift(flags, config),
        flags,
        service: open.service,
        rtt_sent: env.now,
        deadline: env.now + config.rto_initial_ms.min(config.half_open_timeout_ms),
        // So that the first challenge ACK is not held back.
        challenged_at: env.now + config.challenge_interval_ms.wrapping_neg(),
        peer_mac: open.peer_mac,
        tags: open.tags,
        ssthresh: u16::MAX,
        ..Tcb::default()
    }
}

/// Processes one segment of a connection in SYN-SENT, in the RFC's order: ACK, RST, SYN, other. Payload is not taken: it is not
/// acknowledged either, so the peer sends it again.
pub fn segment_arrives(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> Effects {
    match process(tcb, segment, env) {
        Break(effects) | Continue(effects) => effects,
    }
}

fn process(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> ControlFlow<Effects, Effects> {
    first_check_ack(tcb, segment)?;
    second_check_rst(segment)?;
    Continue(fourth_check_syn(tcb, segment, env))
}

/// First: an acknowledgment of anything but our SYN is answered with a RST, unless it is one.
fn first_check_ack(tcb: &Tcb, segment: &Segment) -> ControlFlow<Effects> {
    if !segment.control.has(Control::ACK) || segment.ack == tcb.snd_max {
        return Continue(());
    }
    let answer = match segment.control.has(Control::RST) {
        true => Answer::Nothing,
        false => Answer::Reset(closed::reset_for(segment)),
    };
    Break(Effects::refuse(DropReason::AckOutOfWindow, answer))
}

/// Second: a RST with an acceptable acknowledgment refuses the connection; one without is dropped, it could be anybody's.
fn second_check_rst(segment: &Segment) -> ControlFlow<Effects> {
    if !segment.control.has(Control::RST) {
        return Continue(());
    }
    Break(match segment.control.has(Control::ACK) {
        true => Effects::end(End::Refused),
        false => Effects::refuse(DropReason::UnexpectedInSynSent, Answer::Nothing),
    })
}

/// Fourth: a SYN with the acknowledgment of ours opens the connection, one without is a simultaneous open.
fn fourth_check_syn(tcb: &mut Tcb, segment: &Segment, env: Env<'_>) -> Effects {
    if !segment.control.has(Control::SYN) {
        return Effects::refuse(DropReason::UnexpectedInSynSent, Answer::Nothing);
    }
    accept_options(tcb, &segment.options, tcb.flags, env.config);
    tcb.snd_mss = send_mss(tcb, segment.options.mss, env);
    tcb.cwnd = initial_window(tcb.snd_mss, env.config);
    tcb.rcv_nxt = segment.seq + 1;
    tcb.snd_wnd = tcb.window_of_syn(segment.window);
    tcb.max_snd_wnd = tcb.snd_wnd;
    tcb.snd_wl1 = segment.seq;
    if !segment.control.has(Control::ACK) {
        tcb.state = State::SynReceived;
        return Effects { answer: Answer::SynAck, ..Effects::default() };
    }
    tcb.snd_una = segment.ack;
    tcb.state = State::Established;
    sample_handshake(tcb, segment, env);
    tcb.retries = 0;
    Effects { answer: Answer::Ack, established: true, restart_timer: true, ..Effects::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::config::TcpConfig;
    use crate::tcp::{acknowledge, output};
    use crate::time::Tick;
    use crate::wire::options::Options;

    /// The first tick there is: nothing that was never set lies before it.
    const NOW: Tick = Tick(0);

    fn open(iss: u32, config: &TcpConfig) -> Tcb {
        let tuple = FourTuple::new("198.18.0.1:5000".parse().unwrap(), "198.18.0.2:80".parse().unwrap());
        let open = ActiveOpen { tuple, peer_mac: [2; 6], tags: VlanTags::default(), service: 3 };
        open_active(&open, SeqNum(iss), Env { config, now: NOW, tsval: 0 })
    }

    /// From the peer, at the start of its window.
    fn segment(tcb: &Tcb, control: Control, window: u16) -> Segment {
        Segment {
            tuple: tcb.tuple,
            seq: tcb.rcv_nxt,
            ack: tcb.snd_max,
            control,
            window,
            options: Options { mss: Some(1_000), window_scale: Some(3), ..Options::default() },
            payload_at: 0,
            payload_len: 0,
            src_mac: tcb.peer_mac,
            dst_mac: [3; 6],
            tags: tcb.tags,
            partial_checksum: false,
        }
    }

    fn established(config: &TcpConfig, window: u16) -> Tcb {
        let mut tcb = open(u32::MAX, config);
        let answer = segment(&tcb, Control::SYN | Control::ACK, window);
        let env = Env { config, now: NOW, tsval: 0 };
        assert!(segment_arrives(&mut tcb, &answer, env).established);
        tcb
    }

    #[test]
    fn the_window_of_the_answer_counts_as_it_stands_there() {
        let tcb = established(&TcpConfig::default(), 1_000);
        assert_eq!((tcb.send_window(), tcb.max_send_window()), (1_000, 1_000));
    }

    #[test]
    fn the_opener_starts_with_ten_segments_and_slow_start() {
        let config = TcpConfig { timestamps: false, ..TcpConfig::default() };
        let env = Env { config: &config, now: NOW, tsval: 0 };
        let mut tcb = established(&config, u16::MAX);
        tcb.queued = 100_000;
        let flight = std::iter::from_fn(|| output::next_segment(&mut tcb, false, env)).count();
        assert_eq!((flight, tcb.cwnd), (10, 10));
        let ack = Segment { seq: tcb.rcv_nxt, ack: tcb.snd_una + 1_000, ..segment(&tcb, Control::ACK, u16::MAX) };
        assert_eq!(acknowledge::acknowledge(&mut tcb, &ack, env).bytes, 1_000);
        assert_eq!(tcb.cwnd, 11);
    }

    #[test]
    fn an_opener_may_challenge_at_once_and_takes_its_first_loss_for_new() {
        let config = TcpConfig::default();
        for iss in [0, 1 << 30, 1 << 31, 3 << 30] {
            let tcb = open(iss, &config);
            assert!(NOW.millis_since(tcb.challenged_at) >= config.challenge_interval_ms);
            assert!((tcb.snd_una + 1).after(tcb.recover));
            assert_eq!(tcb.service, 3, "the service that was named");
        }
    }
}
