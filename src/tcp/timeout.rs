//! The connection's one timer: when it is due, and what it does then (RFC 9293 3.10.8, 3.8.3, 3.8.4, RFC 6298 5).
//!
//! A connection needs one timer at a time, and what it means follows from the TCB: something unacknowledged means
//! retransmission, something that the peer's window holds back means a window probe, TIME-WAIT and FIN-WAIT-2 mean their end,
//! and otherwise the peer is idle.

use super::Env;
use super::acknowledge::{half_of_flight, rto_ms};
use super::effects::End;
use super::output::{self, Sent};
use super::state::State;
use super::tcb::{Flags, Tcb};
use crate::time::Tick;
use crate::wire::reply::Reply;

/// What a due timer asks for. Except where the connection ends, its next deadline is in the TCB already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expired {
    /// The deadline had moved; nothing to do before it.
    NotYet,
    /// Send the SYN or SYN-ACK again.
    SynAgain(Reply),
    /// Send text or FIN again; more may follow as acknowledgments come.
    Retransmit(Sent),
    /// Send a zero-window probe.
    WindowProbe(Sent),
    /// Send a keepalive probe.
    KeepaliveProbe(Reply),
    /// The connection is over; a RST tells the peer, if there is one.
    End(End, Option<Reply>),
}

/// The deadline of a connection in which something just happened.
pub fn deadline(tcb: &Tcb, env: Env<'_>) -> Tick {
    let config = env.config;
    let ahead = match tcb.state {
        State::TimeWait => config.time_wait_ms,
        _ if is_waiting(tcb) => rto_ms(tcb, env),
        State::FinWait2 => config.fin_wait_2_ms,
        State::SynSent
        | State::SynReceived
        | State::Established
        | State::FinWait1
        | State::CloseWait
        | State::Closing
        | State::LastAck => idle_ms(tcb, env),
    };
    env.now + ahead
}

/// True while the retransmission or persist timer is needed. A connection that comes to need it, or whose effects ask for
/// it, gets a new [`deadline`].
pub fn is_waiting(tcb: &Tcb) -> bool {
    tcb.has_outstanding() || tcb.has_unsent()
}

/// How long an open connection may be silent until its timer has something to do.
fn idle_ms(tcb: &Tcb, env: Env<'_>) -> u32 {
    /// With neither keepalive nor idle time-out the timer only looks in.
    const NEVER_MS: u32 = 86_400_000;
    let config = env.config;
    let keepalive = if tcb.retries == 0 { config.keepalive_idle_ms } else { config.keepalive_interval_ms };
    let on = |ms: u32| if ms == 0 { NEVER_MS } else { ms };
    if config.keepalive_idle_ms == 0 { on(config.idle_timeout_ms) } else { keepalive.min(on(config.idle_timeout_ms)) }
}

/// What the timer of `tcb` does at `env.now`.
pub fn expire(tcb: &mut Tcb, env: Env<'_>) -> Expired {
    if env.now.before(tcb.deadline) {
        return Expired::NotYet;
    }
    match tcb.state {
        State::SynSent | State::SynReceived => half_open(tcb, env),
        State::TimeWait => Expired::End(End::TimeWaitExpired, None),
        _ if tcb.has_outstanding() => retransmit(tcb, env),
        _ if tcb.has_unsent() => probe_window(tcb, env),
        State::FinWait2 => Expired::End(End::FinWait2Timeout, None),
        State::Established | State::FinWait1 | State::CloseWait | State::Closing | State::LastAck => idle(tcb, env),
    }
}

/// SYN-SENT and SYN-RECEIVED: the SYN or SYN-ACK again with a doubled time-out, until the retries or the half-open time are used up.
fn half_open(tcb: &mut Tcb, env: Env<'_>) -> Expired {
    let config = env.config;
    let give_up = tcb.rtt_sent + config.half_open_timeout_ms;
    if tcb.retries >= config.syn_retries || env.now.at_or_after(give_up) {
        let active = tcb.flags.has(Flags::ACTIVE);
        return Expired::End(if active { End::OpenTimeout } else { End::HalfOpenTimeout }, None);
    }
    tcb.retries += 1;
    let next = env.now + rto_ms(tcb, env);
    tcb.deadline = if next.at_or_after(give_up) { give_up } else { next };
    Expired::SynAgain(tcb.syn(env))
}

/// RFC 6298 5.4 to 5.6 and RFC 5681 3.1: the first segment again, the time-out doubled, one segment of congestion window,
/// and everything behind it again as acknowledgments come in.
fn retransmit(tcb: &mut Tcb, env: Env<'_>) -> Expired {
    if tcb.retries >= env.config.data_retries {
        return Expired::End(End::RetransmissionTimeout, None);
    }
    if tcb.send_window() == 0 {
        // The window closed over what is in flight: probing it is the retransmission.
        return probe_window(tcb, env);
    }
    if tcb.retries == 0 {
        tcb.ssthresh = half_of_flight(tcb);
    }
    tcb.retries += 1;
    tcb.cwnd = 1;
    tcb.cwnd_acked = 0;
    tcb.dup_acks = 0;
    tcb.recover = tcb.snd_max;
    tcb.flags.put(Flags::RECOVERY, false);
    tcb.deadline = env.now + rto_ms(tcb, env);
    match output::first_segment_again(tcb, env) {
        Some(sent) => {
            tcb.snd_nxt = tcb.snd_una + u32::from(sent.reply.payload.len) + u32::from(sent.fin);
            Expired::Retransmit(sent)
        }
        None => Expired::NotYet,
    }
}

/// The peer's window holds text or FIN back: one byte asks whether it still does (RFC 9293 3.8.6.1).
fn probe_window(tcb: &mut Tcb, env: Env<'_>) -> Expired {
    if tcb.retries >= env.config.data_retries {
        return Expired::End(End::RetransmissionTimeout, None);
    }
    tcb.retries += 1;
    tcb.deadline = env.now + rto_ms(tcb, env);
    Expired::WindowProbe(output::window_probe(tcb, env))
}

/// The peer is silent: a keepalive probe while there are some left, then the end (RFC 9293 3.8.4).
fn idle(tcb: &mut Tcb, env: Env<'_>) -> Expired {
    let config = env.config;
    let probing = config.keepalive_idle_ms != 0
        && (config.idle_timeout_ms == 0 || config.keepalive_idle_ms < config.idle_timeout_ms);
    if !probing && config.idle_timeout_ms == 0 {
        tcb.deadline = deadline(tcb, env);
        return Expired::NotYet;
    }
    if !probing || tcb.retries >= config.keepalive_probes {
        return Expired::End(End::IdleTimeout, Some(tcb.reset()));
    }
    tcb.retries += 1;
    tcb.deadline = deadline(tcb, env);
    let probe = Reply { seq: tcb.snd_max.minus(1), ..tcb.ack(env) };
    Expired::KeepaliveProbe(probe)
}
