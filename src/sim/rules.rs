//! What holds of an engine and a port after every step, whatever the network did.

use core::fmt;

use crate::engine::Engine;
use crate::engine::listeners::ListenerFlows;
use crate::engine::snapshot::FlowSnapshot;
use crate::port::Port;
use crate::stats::counters::Counters;
use crate::stats::ledger::{flows_unaccounted, frames_unaccounted};
use crate::time::Now;
use crate::wire::tuple::FourTuple;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What was found.
    pub text: String,
    /// The connection whose stream was not what it had to be, as the peer names it. Such a finding does not count where a
    /// forger was at work on that connection.
    pub stream_of: Option<FourTuple>,
}

impl Broken {
    /// A rule that nobody may break.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), stream_of: None }
    }

    /// A stream that is not what it had to be.
    pub fn stream(tuple: FourTuple, text: impl Into<String>) -> Self {
        Self { text: text.into(), stream_of: Some(tuple) }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.stream_of.map_or(Ok(()), |tuple| write!(f, " (connection {tuple:?})"))
    }
}

/// Flows that a world looks at, at most.
pub const MOST_FLOWS: usize = 1_024;

/// The flows of an engine.
pub fn flows(engine: &Engine, now: Now) -> Vec<FlowSnapshot> {
    let mut flows = Vec::with_capacity(MOST_FLOWS);
    engine.snapshot_flows(0, None, &mut flows, now.tick());
    flows
}

/// The identities of an engine between two turns. `capacity` is what it was made for.
///
/// # Errors
///
/// The rule that is broken.
pub fn engine(engine: &Engine, capacity: u32, now: Now) -> Result<(), Broken> {
    let (counters, live) = (engine.counters(), engine.flows());
    let frames = frames_unaccounted(counters);
    let flows_missing = flows_unaccounted(counters, live.into());
    let by_state: u32 = engine.states().iter().sum();
    let mut by_listener = ListenerFlows::default();
    engine.listeners().iter().for_each(|(_, flows)| by_listener.add(&flows));
    let timers = engine.timers();
    let rules = [
        (frames == 0, "frame ledger"),
        (flows_missing == 0, "flow ledger"),
        (by_state == live, "flows by state"),
        (by_listener.states == engine.states(), "flows by listener and state"),
        (timers == live, "one timer a flow"),
        (engine.capacity() == capacity && live <= capacity, "the table keeps its size"),
    ];
    if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
        return Err(Broken::new(format!(
            "{rule}: {frames} frames and {flows_missing} flows unaccounted for; {live} flows of {}, {by_state} by state, \
             {} by listener, {timers} timers",
            engine.capacity(),
            by_listener.live()
        )));
    }
    flows(engine, now).iter().try_for_each(flow)
}

/// What holds of one flow.
fn flow(flow: &FlowSnapshot) -> Result<(), Broken> {
    let sent = flow.snd_nxt.distance_from(flow.snd_una);
    // SYN and FIN take a number each beside what is queued.
    if sent > flow.queued + 2 {
        return Err(Broken::new(format!("more is in flight than was ever queued: {flow:?}")));
    }
    Ok(())
}

/// The identities of a port between two turns.
///
/// # Errors
///
/// The rule that is broken.
pub fn port(port: &impl Port) -> Result<(), Broken> {
    let ledger = port.ledger();
    if !ledger.balances() || ledger.in_hand != 0 {
        return Err(Broken::new(format!("a frame is lost, twice owned or kept: {ledger:?}")));
    }
    Ok(())
}

/// A RST was all that came between two states of the counters: nothing answers it, but a challenge (RFC 5961 3.2).
///
/// # Errors
///
/// The rule that is broken.
pub fn rst_is_not_answered(before: &Counters, after: &Counters) -> Result<(), Broken> {
    let answers = after.transmitted_in_place - before.transmitted_in_place;
    let challenges = after.challenge_acks - before.challenge_acks;
    if answers != challenges || after.resets_sent != before.resets_sent {
        return Err(Broken::new(format!("a RST was answered {answers} times, {challenges} of them challenges")));
    }
    Ok(())
}

/// How often our side gave something up, or was told to. Zero means that everything that was begun has to come to its end.
pub fn given_up(counters: &Counters) -> u64 {
    counters.reset_by_peer
        + counters.aborted
        + counters.half_open_timeouts
        + counters.half_open_resets
        + counters.half_open_evicted
        + counters.refused
        + counters.open_timeouts
        + counters.retransmission_timeouts
        + counters.idle_timeouts
        + counters.fin_wait_2_timeouts
}
