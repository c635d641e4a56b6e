//! SYNs that the steering program answers: what it is told, and the switch itself.
//!
//! The order is what keeps every answer good: workers judge cookies with a key before the program sends any that is made with
//! it, and go on judging after it has stopped. When to switch is not here ([`super::tier`]).

use super::crew::{Crew, CrewError};
use super::doctor::peer::{Peer, Polls};
use super::link::Link;
use super::tier::{Switch, Tier};
use super::values::SynXdp;
use crate::observe::report::SynXdpReport;
use crate::steer::{SteerCounter, SteerError, Steering, SynAnswers, TimestampClock, XdpMode};
use crate::tcp::config::{SynCookies, TcpConfig};
use crate::tcp::cookie::Keys;
use crate::time::Now;
use crate::wire::parse::PartialChecksums;
use crate::worker::clock::{Clock as _, MonotonicClock};
use rustix::system::uname;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Why answers could not be changed or switched.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// The maps.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// The workers.
    #[error(transparent)]
    Crew(#[from] CrewError),
}

/// What the program is told, and whether it answers.
#[derive(Debug)]
pub struct Answers {
    keys: Keys,
    partial: PartialChecksums,
    clock: TimestampClock,
    /// Why answers might not arrive; they are sent only if told to `always`.
    doubt: Option<String>,
    tier: Tier,
    /// SYNs that the program had answered when it was last asked.
    answered: u64,
}

/// What decides whether the program answers.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// As configured.
    pub mode: SynXdp,
    /// Cookies a second from which on it does by itself.
    pub at: u32,
    /// No new connection is accepted: only a worker can say so.
    pub draining: bool,
}

impl Answers {
    /// Answers with timestamps by the clock of the workers, who add `timestamp_offset` to it.
    pub fn new(keys: Keys, partial: PartialChecksums, clock: MonotonicClock, timestamp_offset: u32) -> Self {
        let clock = TimestampClock { origin_ns: origin_ns(clock), offset: timestamp_offset };
        Self { keys, partial, clock, doubt: None, tier: Tier::default(), answered: 0 }
    }

    /// Has answers leave a veth in a way in which they arrive. In native mode they do only if its other end polls (NAPI); where
    /// that is not known to be so, the program does not begin to answer by itself.
    ///
    /// # Errors
    ///
    /// The map.
    pub fn on_veth(&mut self, mode: XdpMode, link: &Link, steering: &mut Steering) -> Result<(), SteerError> {
        if mode == XdpMode::Native {
            self.doubt = polls(link).err();
            steering.redirect_answers(true)?;
        }
        Ok(())
    }

    /// Why the program does not answer by itself, if that is so.
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// Has the program answer with these keys. The workers have them already.
    ///
    /// # Errors
    ///
    /// The map.
    pub fn set_keys(&mut self, keys: &Keys, tcp: &TcpConfig, steering: &mut Steering) -> Result<(), SteerError> {
        self.keys = *keys;
        self.set_config(tcp, steering)
    }

    /// Has the program offer what a worker with this configuration offers.
    ///
    /// # Errors
    ///
    /// The map.
    pub fn set_config(&self, tcp: &TcpConfig, steering: &mut Steering) -> Result<(), SteerError> {
        steering.set_answers(&SynAnswers::new(&self.keys, tcp, self.partial, self.clock))
    }

    /// Looks at the counters `since` the start and switches, if it is time to.
    ///
    /// # Errors
    ///
    /// What stood in the way; nothing is switched then, and the next look tries again.
    pub fn look(
        &mut self,
        since: Duration,
        wanted: Wanted,
        tcp: &TcpConfig,
        (crew, steering): (&Crew, &mut Steering),
    ) -> Result<(), AnswersError> {
        let may = !wanted.draining && tcp.syn_cookies != SynCookies::Never;
        let mode = match wanted.mode {
            _ if !may => SynXdp::Never,
            SynXdp::Auto if self.doubt.is_some() => SynXdp::Never,
            mode => mode,
        };
        if self.tier.is_on() {
            self.answered = steering.counters()?.get(SteerCounter::TxCookie);
        }
        let sent: u64 = crew.reports().map(|(_, _, report)| report.counters.cookies_sent).sum();
        let Some(switch) = self.tier.look(since, sent + self.answered, mode, wanted.at) else { return Ok(()) };
        let switched = if switch.on { switch_on(crew, steering) } else { switch_off(crew, steering) };
        match switched {
            Ok(()) => tell(switch),
            Err(_) => self.tier.take_back(switch),
        }
        switched
    }

    /// What reports say of it.
    pub fn report(&self) -> SynXdpReport {
        SynXdpReport { on: self.tier.is_on(), switched_on: self.tier.switched_on }
    }
}

fn switch_on(crew: &Crew, steering: &mut Steering) -> Result<(), AnswersError> {
    crew.set_cookies_elsewhere(true)?;
    Ok(steering.answer_syns(true)?)
}

fn switch_off(crew: &Crew, steering: &mut Steering) -> Result<(), AnswersError> {
    steering.answer_syns(false)?;
    Ok(crew.set_cookies_elsewhere(false)?)
}

fn tell(Switch { on, per_second, tell }: Switch) {
    let Some(untold) = tell else { return };
    let who = if on { "the steering program answers SYNs now" } else { "the workers answer SYNs again" };
    let before = if untold == 0 { String::new() } else { format!("; {untold} switches since the last line like this") };
    tracing::warn!("{per_second} cookies a second: {who}{before}");
}

/// Why the other end of a veth is not known to poll, if it is not.
fn polls(link: &Link) -> Result<(), String> {
    let peer = Peer::find(link.joined.ok_or("the other end of the veth is not known")?)?;
    match peer.polls(&uname().release().to_string_lossy()) {
        Polls::Yes(_) => Ok(()),
        Polls::No(found, remedy) => Err(format!("{found}; {remedy}")),
        Polls::Untold(reason) => Err(reason),
    }
}

/// Where a clock starts, in ns of CLOCK_MONOTONIC; late by the time between two readings rather than early, so that no timestamp
/// of the program is ahead of the workers'.
fn origin_ns(mut clock: MonotonicClock) -> u64 {
    let Now(elapsed_ns) = clock.now();
    let now = clock_gettime(ClockId::Monotonic);
    let ns = |value: i64| u64::try_from(value).unwrap_or(0);
    (ns(now.tv_sec) * 1_000_000_000 + ns(now.tv_nsec)).saturating_sub(elapsed_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_where_the_clock_began() {
        let monotonic = || {
            let now = clock_gettime(ClockId::Monotonic);
            u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap()
        };
        let before = monotonic();
        let clock = MonotonicClock::start();
        let after = monotonic();
        let origin = origin_ns(clock);
        // A few readings of the clock, and whatever else the machine does in between.
        assert!(origin >= before && origin < after + 1_000_000_000, "{before} {origin} {after}");
    }
}
