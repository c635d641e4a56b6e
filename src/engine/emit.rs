//! What goes out without a segment that asks for it: the rest of a send stream, and what timers are for.

use super::arrive::{count_sent, write};
use super::{Engine, env};
use crate::flow::Slot;
use crate::tcp::output;
use crate::tcp::state::State;
use crate::tcp::tcb::Tcb;
use crate::tcp::timeout::{self, Expired, deadline, is_waiting};
use crate::time::{Now, Tick};
use crate::wire::ether::Mac;
use crate::wire::reply::{Addressing, Reply};

/// Flows with nothing to send that one call of [`Engine::emit`] passes over in the queue of those that had, at most.
const STREAM_BUDGET: usize = 64;

impl Engine {
    /// Writes the next frame that is due into `frame` and returns its length; `None` when nothing is due any more, or `budget`
    /// timers were looked at. `frame` has room for a whole frame of the interface's MTU.
    ///
    /// Streams and timers take turns, so that neither can starve the other; so do the flows that have more to send, one segment
    /// each.
    pub fn emit(&mut self, now: Now, budget: &mut u32, frame: &mut [u8]) -> Option<usize> {
        let tick = now.tick();
        self.timers_next = !self.timers_next;
        let len = if self.timers_next {
            let len = self.next_timer(tick, budget, frame);
            if len.is_some() { len } else { self.next_stream(tick, frame) }
        } else {
            let len = self.next_stream(tick, frame);
            if len.is_some() { len } else { self.next_timer(tick, budget, frame) }
        };
        self.counters.emitted += u64::from(len.is_some());
        len
    }

    /// Ends the connections whose timers end them without a word, up to `budget` timers; for a turn in which no frame is free.
    /// What has something to send is looked at again in the next tick.
    pub fn expire_without_frame(&mut self, now: Now, budget: &mut u32) {
        self.counters.frame_shortage += 1;
        let tick = now.tick();
        while *budget > 0
            && let Some(slot) = self.wheel.expired(tick)
        {
            *budget -= 1;
            let Some(mut tcb) = self.flows.get(slot).copied() else {
                self.wheel.forgotten();
                continue;
            };
            let env = env(&self.config, self.timestamp_offset, tick);
            let env = self.flood.env_of_timer(&tcb, self.is_under_pressure(), env);
            match timeout::expire(&mut tcb, env) {
                Expired::End(end, None) => {
                    self.counters.timers_fired += 1;
                    self.end_expired(slot, tcb.state, end);
                }
                Expired::NotYet => self.wheel.arm(slot, tcb.deadline),
                Expired::SynAgain(_)
                | Expired::Retransmit(_)
                | Expired::WindowProbe(_)
                | Expired::KeepaliveProbe(_)
                | Expired::End(_, Some(_)) => self.wheel.arm(slot, tick + 1),
            }
        }
    }

    /// The next segment of the first flow in the queue that has one.
    fn next_stream(&mut self, now: Tick, frame: &mut [u8]) -> Option<usize> {
        for _ in 0..STREAM_BUDGET {
            let slot = self.ready.pop()?;
            if let Some(len) = self.continue_stream(slot, frame, now) {
                return Some(len);
            }
        }
        None
    }

    /// The next frame that a due timer asks for.
    fn next_timer(&mut self, now: Tick, budget: &mut u32, frame: &mut [u8]) -> Option<usize> {
        while *budget > 0 {
            let slot = self.wheel.expired(now)?;
            *budget -= 1;
            if let Some(len) = self.expire(slot, frame, now) {
                return Some(len);
            }
        }
        None
    }

    /// Counts a turn whose timer budget was used up, if a timer is left that is due.
    pub fn note_timers_left(&mut self, now: Now) {
        let left = self.wheel.is_due(now.tick());
        self.counters.timer_budget_exhausted += u64::from(left);
    }

    /// The next segment of a flow that had more to send.
    fn continue_stream(&mut self, slot: Slot, frame: &mut [u8], now: Tick) -> Option<usize> {
        let env = env(&self.config, self.timestamp_offset, now);
        // The flow may have ended, and another may have its slot: that one has nothing to send or is glad to.
        let tcb = self.flows.get_mut(slot)?;
        let before = tcb.state;
        let was_waiting = is_waiting(tcb);
        let sent = output::next_segment(tcb, false, env)?;
        if !was_waiting {
            tcb.deadline = deadline(tcb, env);
        }
        if output::has_more(tcb) {
            self.ready.push(slot);
        }
        let reply = count_sent(&sent, &mut self.counters);
        let len = write(frame, &addressing(tcb, self.config.mac), &reply, tcb, self.listeners.service(tcb.service));
        self.settle(slot, before);
        Some(len)
    }

    /// A timer that came due.
    fn expire(&mut self, slot: Slot, frame: &mut [u8], now: Tick) -> Option<usize> {
        let crowded = self.is_under_pressure();
        let env = env(&self.config, self.timestamp_offset, now);
        let Some(tcb) = self.flows.get_mut(slot) else {
            self.wheel.forgotten();
            return None;
        };
        let before = tcb.state;
        let expired = timeout::expire(tcb, self.flood.env_of_timer(tcb, crowded, env));
        let to = addressing(tcb, self.config.mac);
        let tcb = *tcb;
        self.counters.timers_fired += u64::from(expired != Expired::NotYet);
        let reply: Option<Reply> = match expired {
            Expired::NotYet => None,
            Expired::SynAgain(reply) => {
                match before {
                    State::SynSent => self.counters.syn_retransmissions += 1,
                    _ => self.counters.syn_ack_retransmissions += 1,
                }
                Some(reply)
            }
            Expired::Retransmit(sent) => Some(count_sent(&sent, &mut self.counters)),
            Expired::WindowProbe(sent) => {
                self.counters.window_probes += 1;
                self.counters.bytes_sent += u64::from(sent.fresh);
                Some(sent.reply)
            }
            Expired::KeepaliveProbe(reply) => {
                self.counters.keepalive_probes += 1;
                Some(reply)
            }
            Expired::End(end, reset) => {
                self.end_expired(slot, before, end);
                reset
            }
        };
        self.settle(slot, before);
        let service = self.listeners.service(tcb.service);
        reply.map(|reply| write(frame, &to, &reply, &tcb, service))
    }
}

/// Where a frame of the connection goes that answers none.
pub(super) fn addressing(tcb: &Tcb, mac: Mac) -> Addressing {
    Addressing { dst_mac: tcb.peer_mac, src_mac: mac, tags: tcb.tags, tuple: tcb.tuple }
}
