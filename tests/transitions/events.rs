//! What does not come from the peer: the user's calls (RFC 9293 3.10.1, 3.10.4, 3.10.5) and time-outs (3.10.8).

use crate::rules::Deviation;
use crate::starts::{Setting, Start};
use crate::world::{Connection, Outcome, send_all};
use handfast::tcp::Env;
use handfast::tcp::close;
use handfast::tcp::config::TcpConfig;
use handfast::tcp::effects::{End, Life};
use handfast::tcp::state::State;
use handfast::tcp::tcb::Tcb;
use handfast::tcp::timeout::{Expired, deadline, expire};
use handfast::time::Tick;

/// Something that happens to a connection.
pub struct Event {
    pub name: &'static str,
    pub starts: Vec<Start>,
    pub happen: fn(&mut Connection) -> Outcome,
    pub rule: fn(Start) -> &'static str,
    pub deviation: fn(Start) -> Option<Deviation>,
}

/// The states with a TCB.
const WITH_TCB: [Start; 10] = [
    Start::SynSent,
    Start::SynReceivedPassive,
    Start::SynReceivedActive,
    Start::Established,
    Start::FinWait1,
    Start::FinWait2,
    Start::CloseWait,
    Start::Closing,
    Start::LastAck,
    Start::TimeWait,
];
const OPENING: [Start; 3] = [Start::SynSent, Start::SynReceivedPassive, Start::SynReceivedActive];
const SENDING: [Start; 5] = [Start::Established, Start::FinWait1, Start::CloseWait, Start::Closing, Start::LastAck];
const IDLE: [Start; 2] = [Start::Established, Start::CloseWait];

/// Every event, in groups.
pub fn groups() -> Vec<(&'static str, Vec<Event>)> {
    vec![("User calls", calls()), ("Time-outs", timeouts())]
}

fn never(_: Start) -> Option<Deviation> {
    None
}

fn calls() -> Vec<Event> {
    let close = Event {
        name: "CLOSE",
        starts: WITH_TCB.to_vec(),
        happen: user_closes,
        rule: |_| "RFC 9293 3.10.4",
        deviation: |start| match start {
            Start::SynReceivedPassive | Start::SynReceivedActive => Some(Deviation::CloseInSynReceived),
            Start::Closing | Start::LastAck | Start::TimeWait => Some(Deviation::CloseTwice),
            _ => None,
        },
    };
    let abort = Event {
        name: "ABORT",
        starts: WITH_TCB.to_vec(),
        happen: user_aborts,
        rule: |_| "RFC 9293 3.10.5",
        deviation: |start| match start {
            Start::SynSent | Start::Closing | Start::LastAck | Start::TimeWait => None,
            _ => Some(Deviation::RstWithAck),
        },
    };
    vec![close, abort]
}

fn timeouts() -> Vec<Event> {
    let event =
        |name, starts: &[Start], happen, rule| Event { name, starts: starts.to_vec(), happen, rule, deviation: never };
    vec![
        event("retransmission time-out of the SYN", &OPENING, time_passes, |_| "RFC 9293 3.10.8, RFC 6298 5.4"),
        Event {
            deviation: |_| Some(Deviation::GivesUpHalfOpen),
            ..event("the last retransmission time-out of the SYN", &OPENING, last_time_out, |_| "RFC 9293 3.8.3 R2")
        },
        event("retransmission time-out", &SENDING, time_passes, |_| "RFC 9293 3.10.8, RFC 6298 5.4"),
        event("the last retransmission time-out", &SENDING, last_time_out, |_| "RFC 9293 3.8.3 R2"),
        event("persist time-out with a closed window", &SENDING, persist, |_| "RFC 9293 3.8.6.1"),
        Event {
            deviation: |_| Some(Deviation::FinWait2Ends),
            ..event("time-out of FIN-WAIT-2", &[Start::FinWait2], time_passes, |_| "none")
        },
        event("TIME-WAIT time-out", &[Start::TimeWait], time_passes, |_| "RFC 9293 3.10.8"),
        Event { deviation: |_| Some(Deviation::IdleEnds), ..event("idle time-out", &IDLE, idle, |_| "none") },
        event("keepalive time-out", &IDLE, keepalive, |_| "RFC 9293 3.8.4"),
        event("keepalive time-out behind the last probe", &IDLE, last_keepalive, |_| "RFC 9293 3.8.4"),
    ]
}

fn user_closes(connection: &mut Connection) -> Outcome {
    let mut tcb = connection.tcb.expect("a state with a TCB");
    match close::close(&mut tcb) {
        Life::Keep => {
            let said = send_all(&mut tcb, connection.env());
            Outcome { said, next: Some(tcb.state.name()), ..Outcome::default() }
        }
        Life::Delete(end) => Outcome { end: Some(end), ..Outcome::default() },
    }
}

fn user_aborts(connection: &mut Connection) -> Outcome {
    let said = close::abort(&connection.tcb.expect("a state with a TCB")).into_iter().collect();
    Outcome { said, end: Some(End::Aborted), ..Outcome::default() }
}

/// The timer of the connection, at its deadline.
fn time_passes(connection: &mut Connection) -> Outcome {
    let env = connection.env();
    let mut tcb = connection.tcb.expect("a state with a TCB");
    tcb.deadline = deadline_of(&tcb, env);
    let ms = tcb.deadline.millis_since(env.now);
    let early = Env { now: env.now + (ms - 1), ..env };
    assert_eq!(expire(&mut tcb, early), Expired::NotYet, "not before its deadline");
    let due = Env { now: tcb.deadline, ..env };
    let expired = expire(&mut tcb, due);
    outcome(expired, &tcb, ms, tcb.deadline.millis_since(due.now))
}

/// The deadline: opening states got it when they were made, others by what happened last.
fn deadline_of(tcb: &Tcb, env: Env<'_>) -> Tick {
    match tcb.state {
        State::SynSent | State::SynReceived => tcb.deadline,
        _ => deadline(tcb, env),
    }
}

fn outcome(expired: Expired, tcb: &Tcb, after_ms: u32, again_ms: u32) -> Outcome {
    let (kind, said, end) = match expired {
        Expired::NotYet => ("", Vec::new(), None),
        Expired::SynAgain(reply) | Expired::KeepaliveProbe(reply) => ("", vec![reply], None),
        Expired::Retransmit(sent) => ("again ", vec![sent.reply], None),
        Expired::WindowProbe(sent) => ("probe ", vec![sent.reply], None),
        Expired::End(end, reset) => ("", reset.into_iter().collect(), Some(end)),
    };
    let again = end.is_none().then(|| format!("and again after {again_ms} ms"));
    let does = [Some(format!("after {after_ms} ms")), again].into_iter().flatten().collect();
    Outcome { kind, said, end, next: end.is_none().then_some(tcb.state.name()), does, refused: None }
}

/// All retries are used up.
fn last_time_out(connection: &mut Connection) -> Outcome {
    let TcpConfig { syn_retries, data_retries, .. } = connection.config;
    let tcb = connection.tcb.as_mut().expect("a state with a TCB");
    tcb.retries = if tcb.state.may_send() { data_retries } else { syn_retries };
    time_passes(connection)
}

/// The peer closed its window over what is in flight.
fn persist(connection: &mut Connection) -> Outcome {
    connection.tcb.as_mut().expect("a state with a TCB").snd_wnd = 0;
    time_passes(connection)
}

/// Everything was acknowledged, and the peer is silent.
fn idle(connection: &mut Connection) -> Outcome {
    let tcb = connection.tcb.as_mut().expect("a state with a TCB");
    tcb.snd_una = tcb.snd_max;
    tcb.queued = 0;
    time_passes(connection)
}

fn keepalive(connection: &mut Connection) -> Outcome {
    connection.config.keepalive_idle_ms = 60_000;
    idle(connection)
}

fn last_keepalive(connection: &mut Connection) -> Outcome {
    connection.tcb.as_mut().expect("a state with a TCB").retries = connection.config.keepalive_probes;
    keepalive(connection)
}

/// The user's OPEN, where there is nothing yet: a connection in SYN-SENT.
pub fn opened() -> Connection {
    Start::SynSent.connection(Setting::Plain)
}
