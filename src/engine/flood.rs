//! What an engine does when SYNs come faster than handshakes complete: SYN cookies, giving up half-open connections for
//! newer ones, and a shorter time-out for all of them (RFC 4987 3.3, 3.4, 3.6).
//!
//! On the way of a SYN without pressure there is one comparison for all this, with [`Flood::crowd`], and everything behind it is
//! cold. What cookies are made of is not here but in `tcp::cookie`, and the keys come from outside.

use super::Engine;
use super::arrive::answer_without_payload;
use super::half_open::HalfOpen;
use crate::flow::hash::FlowHash;
use crate::flow::{FlowId, FlowTable, Full, Slot};
use crate::profile::Probe;
use crate::tcp::Env;
use crate::tcp::closed::reset_for;
use crate::tcp::config::{HalfOpenFull, SynCookies, TcpConfig};
use crate::tcp::cookie::{self, Keys, PERIOD_MS};
use crate::tcp::effects::End;
use crate::tcp::state::State;
use crate::tcp::tcb::{Flags, Tcb};
use crate::time::{Now, Tick};
use crate::verdict::{DropReason, Verdict};
use crate::wire::reply::Reply;
use crate::wire::segment::{Control, Segment};

/// Cookies that pressure switched on are switched off again when there were less than half as many half-open connections
/// as switch them on, for this long.
const CALM_MS: u32 = 5_000;

/// The state of the defence.
#[derive(Debug)]
pub(super) struct Flood {
    keys: Option<Keys>,
    /// Pressure has switched cookies on.
    on: bool,
    /// There is less than half of the pressure, since then.
    calm_since: Option<Tick>,
    /// When the last cookies were sent, after they were switched off and while some may still be good.
    off_since: Option<Tick>,
    /// Somebody else answers SYNs with these keys' cookies, too, and hands on what comes back.
    elsewhere: bool,
    /// See [`Flood::crowd`].
    crowd: u32,
    /// The configuration of half-open connections under pressure.
    pressed: TcpConfig,
    /// Who is half-open, by age.
    pub(super) half_open: HalfOpen,
}

impl Flood {
    /// The defence of an engine with `flows` slots, without keys: no cookies until they come.
    pub(super) fn new(tcp: &TcpConfig, flows: u32, seed: [u64; 2]) -> Self {
        Self {
            keys: None,
            on: false,
            calm_since: None,
            off_since: None,
            elsewhere: false,
            crowd: tcp.half_open_limit,
            pressed: tcp.under_pressure(),
            half_open: HalfOpen::new(flows, seed[0].rotate_left(32) ^ seed[1]),
        }
    }

    /// Bytes that it allocates for `flows` slots.
    pub(super) fn memory_bytes(flows: u32) -> u64 {
        HalfOpen::memory_bytes(flows)
    }

    /// From so many half-open connections on, a SYN is not simply taken.
    #[inline]
    pub(super) fn crowd(&self) -> u32 {
        self.crowd
    }

    /// True while acknowledgments without a connection may be of cookies.
    #[inline]
    pub(super) fn looks_at_cookies(&self, now: Tick) -> bool {
        self.crowd == 0 || self.elsewhere || self.off_since.is_some_and(|off| now.millis_since(off) <= 2 * PERIOD_MS)
    }

    /// True if a connection may get the acknowledgment of a cookie that it did not send.
    #[inline]
    pub(super) fn are_sent_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// Takes over another configuration.
    pub(super) fn configure(&mut self, tcp: &TcpConfig, now: Tick) {
        let sent = self.crowd == 0;
        self.on &= tcp.syn_cookies == SynCookies::Auto;
        self.pressed = tcp.under_pressure();
        self.set_crowd(tcp);
        if sent && self.crowd > 0 {
            self.off_since = Some(now);
        }
    }

    fn set_crowd(&mut self, tcp: &TcpConfig) {
        self.crowd = match (self.keys, tcp.syn_cookies) {
            (Some(_), SynCookies::Always) => 0,
            (Some(_), SynCookies::Auto) if self.on => 0,
            (Some(_), SynCookies::Auto) => tcp.pressure_at(),
            (Some(_), SynCookies::Never) | (None, _) => tcp.half_open_limit,
        };
    }

    /// Switches cookies off after some calm, and forgets them when the last of them is too old; with the time.
    #[inline]
    pub(super) fn follow(&mut self, half_open: u32, tcp: &TcpConfig, now: Tick) {
        if self.on || self.off_since.is_some() {
            self.calm_down(half_open, tcp, now);
        }
    }

    #[cold]
    fn calm_down(&mut self, half_open: u32, tcp: &TcpConfig, now: Tick) {
        if self.off_since.is_some_and(|off| now.millis_since(off) > 2 * PERIOD_MS) {
            self.off_since = None;
        }
        if !self.on {
            return;
        }
        if half_open >= tcp.pressure_at().div_ceil(2) {
            self.calm_since = None;
        } else if now.millis_since(*self.calm_since.get_or_insert(now)) >= CALM_MS {
            self.calm_since = None;
            self.on = false;
            self.off_since = Some(now);
            self.set_crowd(tcp);
        }
    }

    /// What the timer of `tcb` may know: under pressure, half-open connections of peers are given up early.
    pub(super) fn env_of_timer<'a>(&'a self, tcb: &Tcb, under_pressure: bool, env: Env<'a>) -> Env<'a> {
        if under_pressure && is_half_open(tcb) { Env { config: &self.pressed, ..env } } else { env }
    }
}

/// What becomes of a connection and of the acknowledgment of a cookie that somebody else sent.
pub(super) enum Another {
    /// The connection has ended for the new one.
    GaveWay,
    /// It stays; this answers the acknowledgment.
    Reset(Reply),
}

/// In SYN-RECEIVED by a SYN of the peer.
fn is_half_open(tcb: &Tcb) -> bool {
    tcb.state == State::SynReceived && !tcb.flags.has(Flags::ACTIVE)
}

impl Engine {
    /// Makes and judges SYN cookies with these keys from now on. Before the first there are none, whatever is configured.
    pub fn set_cookie_keys(&mut self, keys: Keys) {
        self.flood.keys = Some(keys);
        self.flood.set_crowd(&self.config.tcp);
    }

    /// Judges cookies from now on because the steering program sends them, or does so for as long only as the last of them may
    /// be good.
    pub fn set_cookies_elsewhere(&mut self, elsewhere: bool, now: Now) {
        if self.flood.elsewhere && !elsewhere {
            self.flood.off_since = Some(now.tick());
        }
        self.flood.elsewhere = elsewhere;
    }

    /// What becomes of the connection in `slot`, if `segment` acknowledges a good cookie and nothing that the connection sent.
    /// Whoever sent the cookie knows no connections, so it answered a SYN that this one would have been asked about:
    ///
    /// - In SYN-RECEIVED the SYN came again, in TIME-WAIT it takes over (RFC 6191): the old one gives way.
    /// - In any other state the peer has forgotten the connection. A challenge ACK would have told, and a RST have come back
    ///   (RFC 9293 3.5.1); now a RST ends what the cookie began, and the peer opens anew. The old one stays: its end must take more
    ///   than a guess of 24 bits.
    #[cold]
    pub(super) fn cookie_for_another(&mut self, slot: Slot, segment: &Segment, now: Tick) -> Option<Another> {
        let (keys, tcb) = (self.flood.keys?, self.flows.get(slot)?);
        let in_flight = tcb.snd_max.distance_from(tcb.snd_una);
        if !segment.control.has(Control::ACK) || segment.ack.distance_from(tcb.snd_una) <= in_flight {
            return None;
        }
        cookie::check(segment, &keys, self.env(now))?;
        match tcb.state {
            State::SynReceived if is_half_open(tcb) => self.end(slot, End::HalfOpenEvicted),
            State::TimeWait => self.end(slot, End::TimeWaitReused),
            State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => return Some(Another::Reset(reset_for(segment))),
        }
        Some(Another::GaveWay)
    }

    /// True if so many connections are half-open that they are given up early.
    pub(super) fn is_under_pressure(&self) -> bool {
        self.half_open() >= self.config.tcp.pressure_at()
    }

    /// A SYN for a listener, where cookies are sent or room is short. `None` if it may have a connection after all.
    #[cold]
    pub(super) fn syn_arrives_in_a_crowd<P: Probe>(
        &mut self,
        segment: &Segment,
        frame: &mut [u8],
        now: Tick,
        probe: P,
    ) -> Option<Verdict> {
        let no_slot = self.flows.is_full();
        if let Some(keys) = self.keys_for_a_cookie(no_slot, now) {
            self.counters.cookies_sent += 1;
            let syn_ack = cookie::syn_ack(segment, &keys, self.env(now));
            return Some(answer_without_payload(frame, segment, &syn_ack, probe));
        }
        if !no_slot && self.half_open() < self.config.tcp.half_open_limit {
            return None;
        }
        if self.config.tcp.half_open_full != HalfOpenFull::Drop && self.evict() {
            return None;
        }
        Some(Verdict::Drop(if no_slot { DropReason::FlowTableFull } else { DropReason::HalfOpenFull }))
    }

    /// The keys, if a SYN is to be answered with a cookie. Pressure switches them on: many half-open connections, or some where
    /// there is no slot. If there is none and nobody who would give way, a cookie would promise what could not be kept.
    fn keys_for_a_cookie(&mut self, no_slot: bool, now: Tick) -> Option<Keys> {
        let keys = self.flood.keys?;
        self.flood.follow(self.half_open(), &self.config.tcp, now);
        if no_slot && self.half_open() == 0 {
            return None;
        }
        let pressed = no_slot || self.is_under_pressure();
        match self.config.tcp.syn_cookies {
            SynCookies::Never => None,
            SynCookies::Always => Some(keys),
            SynCookies::Auto if self.flood.on => Some(keys),
            SynCookies::Auto if pressed => {
                self.flood.on = true;
                self.flood.calm_since = None;
                self.flood.set_crowd(&self.config.tcp);
                self.counters.cookies_switched_on += 1;
                Some(keys)
            }
            SynCookies::Auto => None,
        }
    }

    /// An acknowledgment for a listener that no connection has sent for. If it is of a good cookie, the connection is made, in
    /// SYN-RECEIVED as a SYN would have made it, if there is room for it; `None` if it is of none.
    #[cold]
    pub(super) fn cookie_arrives(
        &mut self,
        segment: &Segment,
        service: u16,
        hash: FlowHash,
        now: Tick,
    ) -> Option<Result<Slot, Full>> {
        let keys = self.flood.keys?;
        let Some(tcb) = cookie::open(segment, &keys, service, self.env(now)) else {
            self.counters.cookies_refused += 1;
            return None;
        };
        // Whoever answers a cookie is there; whoever is half-open may be nobody.
        if self.flows.is_full() && !self.evict() {
            return Some(Err(Full));
        }
        let admitted = self.admit(tcb, hash);
        self.counters.cookies_accepted += u64::from(admitted.is_ok());
        Some(admitted)
    }

    /// Gives up a half-open connection. False if none was found.
    fn evict(&mut self) -> bool {
        let flows = &self.flows;
        let half_open = |id: FlowId| named(flows, id).is_some_and(is_half_open);
        let found = match self.config.tcp.half_open_full {
            HalfOpenFull::EvictRandom => self.flood.half_open.take_random(half_open),
            HalfOpenFull::EvictOldest | HalfOpenFull::Drop => self.flood.half_open.take_oldest(half_open),
        };
        if let Some(id) = found {
            self.end(id.slot, End::HalfOpenEvicted);
        }
        found.is_some()
    }
}

/// The connection of that name, unless it has ended.
fn named(flows: &FlowTable<Tcb>, id: FlowId) -> Option<&Tcb> {
    flows.slot(id).and_then(|slot| flows.get(slot))
}
